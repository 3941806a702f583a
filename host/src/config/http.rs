//! `[http]`: where requests of guests may go, beside what each grant says.

#[cfg(feature = "http")]
use std::fs::File;
#[cfg(feature = "http")]
use std::io::Read;
use std::path::PathBuf;

#[cfg(feature = "http")]
use ipnet::IpNet;
use serde::Deserialize;

use super::ConfigError;

/// `[http]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "a node without `http` only says that it is one")
)]
pub(super) struct HttpTable {
    #[serde(default)]
    allow_networks: Vec<String>,
    ports: Option<Vec<u16>>,
    ca_file: Option<PathBuf>,
}

/// Networks and ports are looked through for each request.
#[cfg(feature = "http")]
const MAX_ENTRIES: usize = 64;
/// Certificates of some authorities are a few pages of text.
#[cfg(feature = "http")]
const MAX_CA_BYTES: u64 = 1024 * 1024;

/// Where requests of guests may go, beside what each grant says.
#[cfg(feature = "http")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Networks that are open although their addresses are not public. Default none.
    pub allow_networks: Vec<IpNet>,
    /// Ports that are connected to. Default 443.
    pub ports: Vec<u16>,
    /// Certificates of authorities that are believed beside the public ones. Default none.
    pub ca_pem: Option<String>,
}

#[cfg(feature = "http")]
impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            allow_networks: Vec::new(),
            ports: vec![443],
            ca_pem: None,
        }
    }
}

impl HttpTable {
    /// A node without the feature has nothing that could be configured.
    #[cfg(not(feature = "http"))]
    pub(super) fn resolve(table: Option<Self>) -> Result<(), ConfigError> {
        match table {
            None => Ok(()),
            Some(_) => Err(ConfigError::BuiltWithout { feature: "http" }),
        }
    }

    /// Fills in what was left out, and reads the file of authorities: a moment later it is out of reach.
    #[cfg(feature = "http")]
    pub(super) fn resolve(table: Option<Self>) -> Result<HttpConfig, ConfigError> {
        let table = table.unwrap_or_default();
        let ports = table.ports.unwrap_or(HttpConfig::default().ports);
        let networks = table.allow_networks.iter().map(|text| network(text));
        let too_many = |name| ConfigError::TooManyEntries {
            name,
            limit: MAX_ENTRIES,
        };
        if table.allow_networks.len() > MAX_ENTRIES {
            return Err(too_many("allow-networks"));
        }
        if ports.len() > MAX_ENTRIES {
            return Err(too_many("ports"));
        }
        if ports.contains(&0) {
            return Err(ConfigError::NoPort);
        }
        Ok(HttpConfig {
            allow_networks: networks.collect::<Result<_, _>>()?,
            ports,
            ca_pem: table.ca_file.map(authorities).transpose()?,
        })
    }
}

/// A network has one spelling, so that nobody opens more than was meant.
#[cfg(feature = "http")]
fn network(text: &str) -> Result<IpNet, ConfigError> {
    let network = text.parse::<IpNet>().ok();
    let network = network.filter(|network| network.trunc() == *network);
    network.ok_or_else(|| ConfigError::InvalidNetwork {
        text: text.chars().take(64).collect(),
    })
}

#[cfg(feature = "http")]
fn authorities(path: PathBuf) -> Result<String, ConfigError> {
    let mut text = String::new();
    let read = File::open(&path)
        .and_then(|file| file.take(MAX_CA_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string());
    let reason = match read {
        Err(reason) => reason,
        Ok(bytes) if bytes as u64 > MAX_CA_BYTES => format!("it is over {MAX_CA_BYTES} bytes"),
        Ok(_) => return Ok(text),
    };
    Err(ConfigError::UnreadableAuthorities { path, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "http")]
    fn resolve(text: &str) -> Result<HttpConfig, String> {
        let table: HttpTable = toml::from_str(text).map_err(|error| error.to_string())?;
        HttpTable::resolve(Some(table)).map_err(|error| error.to_string())
    }

    #[cfg(not(feature = "http"))]
    #[test]
    fn a_node_without_it_says_so() {
        let refused = HttpTable::resolve(Some(HttpTable::default())).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "this node is built without `http`; leave `[http]` out, or build it with `--features http`"
        );
        assert_eq!(HttpTable::resolve(None), Ok(()));
    }

    #[cfg(feature = "http")]
    #[test]
    fn nothing_said_means_https_to_public_addresses() {
        let nothing = HttpTable::resolve(None).unwrap();
        assert_eq!(nothing, HttpConfig::default());
        assert_eq!(nothing, resolve("").unwrap());
        assert_eq!(nothing.ports, [443]);
        assert!(nothing.allow_networks.is_empty() && nothing.ca_pem.is_none());
    }

    #[cfg(feature = "http")]
    #[test]
    fn networks_ports_and_authorities_are_as_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, "certificates").unwrap();
        let said = resolve(&format!(
            "allow-networks = ['127.0.0.0/8', 'fd00::/8']\nports = [8080]\nca-file = {path:?}"
        ));
        let said = said.unwrap();
        let networks: Vec<_> = said.allow_networks.iter().map(IpNet::to_string).collect();
        assert_eq!(networks, ["127.0.0.0/8", "fd00::/8"]);
        assert_eq!(said.ports, [8080]);
        assert_eq!(said.ca_pem.as_deref(), Some("certificates"));
    }

    #[cfg(feature = "http")]
    #[test]
    fn bad_values_say_what_to_do() {
        let many = format!("ports = {:?}", vec![1; MAX_ENTRIES + 1]);
        let table = [
            (
                "allow-networks = ['127.0.0.1']",
                "`127.0.0.1` is not a network",
            ),
            (
                "allow-networks = ['127.0.0.1/8']",
                "`127.0.0.1/8` is not a network",
            ),
            (
                "allow-networks = ['localhost']",
                "`localhost` is not a network",
            ),
            ("ports = [0]", "port 0"),
            ("ports = [65536]", "65536"),
            (&many, "`ports` lists more than 64"),
            ("ca-file = '/nowhere/ca.pem'", "/nowhere/ca.pem"),
            ("ca-file = '/dev/zero'", "/dev/zero"),
            ("allow-network = []", "unknown field `allow-network`"),
        ];
        for (text, expected) in table {
            let refused = resolve(text).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }
}
