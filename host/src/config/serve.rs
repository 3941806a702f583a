//! What `serve` runs with: flags over the configuration file over defaults.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::http::HttpTable;
use super::limits::LimitsTable;
use super::volumes::{self, VolumeTable};
use super::{
    AuditTable, ConfigError, Limits, ListenAddress, LogFormat, LogLevel, SandboxDemand, ServerName,
};
use crate::capability::Policy;
use crate::volume::{HostDirectory, VolumeName};

/// A configuration file is a page of text; a larger one is not one.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const MAX_SERVER_NAMES: usize = 64;
const DEFAULT_DATA: &str = "rpc-host-data";

/// What was said on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<ListenAddress>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
    /// `--sandbox`
    pub sandbox: Option<SandboxDemand>,
    /// `--log-level`
    pub log_level: Option<LogLevel>,
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen. Default `127.0.0.1:7443`.
    pub listen: ListenAddress,
    /// Where to keep everything. Default `./rpc-host-data`.
    pub data: PathBuf,
    /// Names beside `localhost` and the address listened on that clients know the node by; they
    /// go into its certificate. Default none.
    pub server_names: Vec<ServerName>,
    /// A certificate to show to those who know the node by a name that it is for. Default none: the
    /// node's own is shown to all.
    pub server_certificate: Option<ServerCertificateFiles>,
    /// Who signs certificates of clients, beside the node itself. Default nobody.
    pub client_certificates: Option<ClientCertificates>,
    /// For whom the log is. Default `human`.
    pub log_format: LogFormat,
    /// How much is logged. Default `info`.
    pub log_level: LogLevel,
    /// How much of its confinement the node insists on. Default `best-effort`.
    pub sandbox: SandboxDemand,
    /// The newest file of the audit log; `None`: there is none. Default `audit/audit.jsonl` in `data`.
    pub audit: Option<PathBuf>,
    /// What the node allows to be granted. Default: all that stays on the node, but for precise clocks.
    pub policy: Policy,
    /// What the node allows.
    pub limits: Limits,
    /// Directories of the machine that modules may be granted, by the name of the volume. Default none.
    pub volumes: BTreeMap<VolumeName, HostDirectory>,
    /// Requests of guests to hosts outside.
    #[cfg(feature = "http")]
    pub http: super::HttpConfig,
}

/// A certificate that the operator brings along.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServerCertificateFiles {
    /// The certificate, and those between it and its authority, in PEM.
    pub certificate: PathBuf,
    /// The key that belongs to it, in PEM.
    pub key: PathBuf,
}

/// Authorities of the operator's that sign certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientCertificates {
    /// Their certificates, in PEM.
    pub authority: PathBuf,
    /// Their revocation lists, in PEM: of each authority one, up to date. None means that nothing is
    /// ever revoked.
    pub revoked: Option<PathBuf>,
}

/// The configuration file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileTable {
    listen: Option<String>,
    data: Option<PathBuf>,
    #[serde(default)]
    server_names: Vec<String>,
    server_certificate: Option<ServerCertificateFiles>,
    client_certificates: Option<ClientCertificates>,
    log_format: Option<LogFormat>,
    log_level: Option<LogLevel>,
    sandbox: Option<SandboxDemand>,
    #[serde(default)]
    audit: AuditTable,
    #[serde(default)]
    grants: GrantsTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    volumes: BTreeMap<String, VolumeTable>,
    http: Option<HttpTable>,
}

/// `[grants]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantsTable {
    allow: Option<Vec<String>>,
}

impl Config {
    /// Reads the configuration file, if the flags name one, and resolves both.
    ///
    /// # Errors
    /// When the file cannot be read or anything in it or in the flags is not allowed.
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        match flags.config.clone() {
            None => Self::resolve(flags, FileTable::default()),
            Some(path) => {
                let text = read(&path)?;
                Self::from_text(flags, &text).map_err(|error| error.in_file(&path))
            }
        }
    }

    /// The ports that the node itself connects to: none, where no request of a guest could be granted.
    pub fn outgoing_ports(&self) -> &[u16] {
        #[cfg(feature = "http")]
        if self.policy.knows(crate::capability::Kind::Http) {
            return &self.http.ports;
        }
        &[]
    }

    /// Files beside the data directory that are read again while the node runs.
    pub fn files_to_read(&self) -> Vec<&Path> {
        let server = self.server_certificate.iter();
        let server = server.flat_map(|one| [Some(&one.certificate), Some(&one.key)]);
        let clients = self.client_certificates.iter();
        let clients = clients.flat_map(|one| [Some(&one.authority), one.revoked.as_ref()]);
        let all = server.chain(clients).flatten();
        all.map(PathBuf::as_path).collect()
    }

    fn from_text(flags: Flags, text: &str) -> Result<Self, ConfigError> {
        let table = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            reason: error.to_string().trim().to_owned(),
        })?;
        Self::resolve(flags, table)
    }

    fn resolve(flags: Flags, file: FileTable) -> Result<Self, ConfigError> {
        let listen = file.listen.as_deref().map(str::parse).transpose()?;
        if file.server_names.len() > MAX_SERVER_NAMES {
            return Err(ConfigError::TooManyServerNames {
                limit: MAX_SERVER_NAMES,
            });
        }
        #[cfg(feature = "http")]
        let http = HttpTable::resolve(file.http)?;
        #[cfg(not(feature = "http"))]
        HttpTable::resolve(file.http)?;
        let names: Result<Vec<_>, _> = file.server_names.iter().map(|name| name.parse()).collect();
        let data = flags.data.or(file.data);
        let data = data.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
        let limits = file.limits.resolve()?;
        let policy = match file.grants.allow {
            Some(patterns) => Policy::parse(&patterns, limits.max_patterns_per_policy)?,
            None => Policy::of_node(),
        };
        Ok(Self {
            listen: flags.listen.or(listen).unwrap_or_default(),
            audit: file.audit.file(&data),
            data,
            server_names: names?,
            server_certificate: file.server_certificate,
            client_certificates: file.client_certificates,
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
            log_level: flags.log_level.or(file.log_level).unwrap_or_default(),
            sandbox: flags.sandbox.or(file.sandbox).unwrap_or_default(),
            policy,
            volumes: volumes::resolve(file.volumes, &limits)?,
            limits,
            #[cfg(feature = "http")]
            http,
        })
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| unreadable(error.to_string()))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(unreadable(format!("it is over {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Config, String> {
        Config::from_text(Flags::default(), text).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_means_the_documented_defaults() {
        let config = Config::load(Flags::default()).unwrap();
        assert_eq!(config, resolve("").unwrap());
        assert_eq!(config.listen.to_string(), "127.0.0.1:7443");
        assert_eq!(config.data, Path::new("rpc-host-data"));
        assert_eq!(
            (config.log_format, config.log_level),
            (LogFormat::Human, LogLevel::Info)
        );
        assert_eq!(config.sandbox, SandboxDemand::BestEffort);
        let audit = Path::new("rpc-host-data/audit/audit.jsonl");
        assert_eq!(config.audit.as_deref(), Some(audit));
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.policy, Policy::of_node());
        assert_eq!(config.client_certificates, None);
        assert!(config.files_to_read().is_empty());
    }

    #[test]
    fn files_of_the_operator_are_read_where_they_lie() {
        let config = resolve("[client-certificates]\nauthority = 'ca.pem'").unwrap();
        assert_eq!(config.files_to_read(), [Path::new("ca.pem")]);
        let table = "[client-certificates]\nauthority = '/a/ca.pem'\nrevoked = '/b/revoked.pem'";
        let config = resolve(table).unwrap();
        let files = config.files_to_read();
        assert_eq!(files, [Path::new("/a/ca.pem"), Path::new("/b/revoked.pem")]);
        let table = "[server-certificate]\ncertificate = '/c/chain.pem'\nkey = '/c/key.pem'";
        let config = resolve(table).unwrap();
        let files = config.files_to_read();
        assert_eq!(files, [Path::new("/c/chain.pem"), Path::new("/c/key.pem")]);
        for bad in [
            "[server-certificate]\ncertificate = 'x'",
            "[server-certificate]\nkey = 'x'",
            "[client-certificates]",
            "[client-certificates]\nrevoked = 'x'",
            "[client-certificates]\nauthority = 'x'\nrequired = false",
        ] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let text = r#"
            listen = "0.0.0.0:1"
            data = "/file"
            server-names = ["Node.example.com", "10.0.0.7"]
            log-format = "json"
            log-level = "debug"
            sandbox = "off"
            [limits]
            max-connections = 7
            [grants]
            allow = ["log", "kv:cache=ro"]
        "#;
        let flags = Flags {
            listen: Some("[::1]:0".parse().unwrap()),
            data: Some("/flag".into()),
            sandbox: Some("require".parse().unwrap()),
            ..Flags::default()
        };
        let config = Config::from_text(flags, text).unwrap();
        assert_eq!(config.listen.to_string(), "[::1]:0");
        assert_eq!(config.data, Path::new("/flag"));
        assert_eq!(
            (config.log_format, config.log_level),
            (LogFormat::Json, LogLevel::Debug)
        );
        assert_eq!(config.sandbox, SandboxDemand::Require);
        assert_eq!(config.limits.max_connections, 7);
        assert_eq!(config.policy.texts(), ["log", "kv:cache=ro"]);
        let names: Vec<_> = config.server_names.iter().map(ServerName::as_str).collect();
        assert_eq!(names, ["node.example.com", "10.0.0.7"]);
    }

    #[test]
    fn bad_configurations_say_what_to_do() {
        let table = [
            ("listem = 'x'", "unknown field `listem`"),
            ("listen = 'x'", "`x` is not HOST:PORT"),
            ("listen = 7", "invalid type"),
            (
                "server-names = ['*.example.com']",
                "`*.example.com` is not a DNS name",
            ),
            ("log-format = 'xml'", "expected `human` or `json`"),
            ("log-level = 'loud'", "unknown variant `loud`"),
            ("sandbox = 'on'", "unknown variant `on`"),
            (
                "[limits]\nmax-connections = 0",
                "`max-connections` is 0, but must be between 1 and",
            ),
            (
                "[limits]\nmax-connections = 99999",
                "is 99999, but must be between 1 and 65536",
            ),
            (
                "[grants]\nallow = ['filesystem']",
                "`filesystem` matches no grant",
            ),
            ("[grants]\nallow = ['log', 'any']", "`any` stands alone"),
            (
                "[limits]\nmax-patterns-per-policy = 1\n[grants]\nallow = ['log', 'kv']",
                "at most 1 patterns",
            ),
            ("[grants]\nallows = []", "unknown field `allows`"),
            ("[limits]\nmax-connections = 'many'", "invalid type"),
            (
                "[limits]\nmax-connection = 1",
                "unknown field `max-connection`",
            ),
            ("[limit]\nmax-connections = 1", "unknown field `limit`"),
            ("listen = 'a:1'\nlisten = 'b:1'", "duplicate key"),
        ];
        for (text, expected) in table {
            let refused = resolve(text).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }

    #[test]
    fn a_bad_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        let flags = Flags {
            config: Some(path.clone()),
            ..Flags::default()
        };
        let missing = Config::load(flags.clone()).unwrap_err().to_string();
        assert!(
            missing.contains("node.toml") && missing.contains("cannot read"),
            "{missing}"
        );
        std::fs::write(&path, "listen = 'x'").unwrap();
        let bad = Config::load(flags).unwrap_err().to_string();
        assert!(
            bad.contains("node.toml") && bad.contains("HOST:PORT"),
            "{bad}"
        );
    }
}
