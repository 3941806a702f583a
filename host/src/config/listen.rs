//! Where a node listens, and under which names it is known.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::ConfigError;

const DEFAULT_PORT: u16 = 7443;
const MAX_NAME_CHARACTERS: usize = 253;

/// `HOST:PORT`. Port 0 lets the system choose one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    host: ServerName,
    port: u16,
}

impl ListenAddress {
    /// The name or address to bind.
    pub fn host(&self) -> &ServerName {
        &self.host
    }

    /// The port to bind.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Default for ListenAddress {
    /// The loopback interface: a node is reachable from outside only if somebody says so.
    fn default() -> Self {
        Self {
            host: ServerName("127.0.0.1".to_owned()),
            port: DEFAULT_PORT,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let invalid = || ConfigError::InvalidListen {
            text: text.to_owned(),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(inside) => ServerName(
                inside
                    .parse::<Ipv6Addr>()
                    .map_err(|_| invalid())?
                    .to_string(),
            ),
            None if host.contains(':') => return Err(invalid()),
            None => host.parse().map_err(|_| invalid())?,
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.ip() {
            Some(IpAddr::V6(ip)) => write!(formatter, "[{ip}]:{}", self.port),
            _ => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

/// A DNS name or an IP address that a client may know the node by. Lower case, no wildcard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerName(String);

impl ServerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }

    /// The names that every node has, whatever it listens on.
    pub fn local() -> [Self; 3] {
        ["localhost", "127.0.0.1", "::1"].map(|name| Self(name.to_owned()))
    }
}

impl FromStr for ServerName {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(ip.to_string()));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        // All digits at the end would be read as an address by some and as a name by others.
        let numeric = text
            .rsplit('.')
            .next()
            .is_some_and(|last| last.parse::<u64>().is_ok());
        if text.len() > MAX_NAME_CHARACTERS || numeric || !text.split('.').all(label) {
            return Err(ConfigError::InvalidServerName {
                text: text.to_owned(),
            });
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_text() {
        for text in [
            "127.0.0.1:7443",
            "localhost:0",
            "[::1]:7443",
            "0.0.0.0:1",
            "a.b-c.de:65535",
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        assert_eq!(ListenAddress::default().to_string(), "127.0.0.1:7443");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let bad = [
            "",
            "localhost",
            ":1",
            "localhost:",
            "localhost:65536",
            "::1:1",
            "[x]:1",
            "a b:1",
            "[::1]",
            "*.example.com:1",
            "256.1.1.1:1",
            "-a:1",
            "a..b:1",
            "http://a:1",
        ];
        for text in bad {
            assert!(text.parse::<ListenAddress>().is_err(), "{text:?}");
        }
    }
}
