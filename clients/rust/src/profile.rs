//! Where the host is, how it proves itself, and how the client does.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcetera::BaseStrategy;
use serde::Deserialize;

/// Names the file of the profile to load.
const PROFILE_VARIABLE: &str = "RPC_HOST_PROFILE";
/// Where a node that was started in this directory has put one.
const LOCAL_PROFILE: &str = "rpc-host-data/client.toml";
/// Where it is below the user's configuration directory.
const USER_PROFILE: &str = "rpc-host/client.toml";
/// A profile is a few lines and a certificate.
const MAX_PROFILE_BYTES: u64 = 1 << 20;
/// As much as a host lets a reply be, unless it was told otherwise.
pub(crate) const DEFAULT_MAX_REPLY_BYTES: usize = 64 << 20;

/// Where the host is, how it proves itself, and how the client does.
///
/// Only a host whose certificate comes from the profile's own authority is believed; the system's are
/// never asked.
#[derive(Clone)]
pub struct Profile {
    address: String,
    server_name: Option<String>,
    ca_pem: Option<String>,
    token: Option<String>,
    certificate: Option<ClientCertificate>,
    max_reply_bytes: usize,
}

/// What a client shows in the TLS handshake.
#[derive(Clone)]
pub(crate) struct ClientCertificate {
    /// With the certificates between it and its authority, if there are any.
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

/// The file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ProfileFile {
    address: String,
    server_name: Option<String>,
    ca: Option<String>,
    token: Option<String>,
    /// A file, beside this one if its path is relative.
    certificate: Option<PathBuf>,
    /// The same.
    key: Option<PathBuf>,
}

/// Why there is no profile.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// It is in none of the places where it might be.
    #[error("no profile found; looked at {}", listed(.0))]
    NotFound(Vec<PathBuf>),
    /// It cannot be read.
    #[error("cannot read the profile {}: {cause}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: Arc<std::io::Error>,
    },
    /// It is not as a profile should be.
    #[error("the profile {} is wrong: {problem}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It cannot be used.
    #[error("the profile is wrong: {0}")]
    Unusable(String),
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

impl Profile {
    /// A host at `HOST:PORT`. It still needs [`Profile::ca_pem`], and [`Profile::token`] or
    /// [`Profile::certificate_pem`].
    pub fn new(address: impl Into<String>) -> Self {
        Profile {
            address: address.into(),
            server_name: None,
            ca_pem: None,
            token: None,
            certificate: None,
            max_reply_bytes: DEFAULT_MAX_REPLY_BYTES,
        }
    }

    /// The profile of the file that the environment variable `RPC_HOST_PROFILE` names; else of
    /// `./rpc-host-data/client.toml`; else of `rpc-host/client.toml` in the user's configuration
    /// directory.
    pub fn load() -> Result<Self, ProfileError> {
        if let Some(path) = std::env::var_os(PROFILE_VARIABLE).filter(|path| !path.is_empty()) {
            return Profile::from_file(path);
        }
        let user = etcetera::choose_base_strategy().ok();
        let user = user.map(|base| base.config_dir().join(USER_PROFILE));
        Profile::first_of(
            [Some(PathBuf::from(LOCAL_PROFILE)), user]
                .into_iter()
                .flatten(),
        )
    }

    fn first_of(candidates: impl Iterator<Item = PathBuf>) -> Result<Self, ProfileError> {
        let mut looked_at = Vec::new();
        for path in candidates {
            if path.is_file() {
                return Profile::from_file(path);
            }
            looked_at.push(path);
        }
        Err(ProfileError::NotFound(looked_at))
    }

    /// The profile of a file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ProfileError> {
        let path = path.as_ref();
        let text = read(path)?;
        // Only the message: the rest of what a parser says shows the line, and that may be the token.
        let file: ProfileFile = toml::from_str(&text).map_err(|error| ProfileError::Malformed {
            path: path.to_owned(),
            problem: match error.span() {
                Some(span) => format!("line {}: {}", line_of(&text, span.start), error.message()),
                None => error.message().to_owned(),
            },
        })?;
        let beside = |named: &PathBuf| read(&path.with_file_name("").join(named));
        let certificate = match (&file.certificate, &file.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(ClientCertificate {
                certificate_pem: beside(certificate)?,
                key_pem: beside(key)?,
            }),
            _ => {
                return Err(ProfileError::Malformed {
                    path: path.to_owned(),
                    problem: "`certificate` and `key` go together".to_owned(),
                });
            }
        };
        Ok(Profile {
            server_name: file.server_name,
            ca_pem: file.ca,
            token: file.token,
            certificate,
            ..Profile::new(file.address)
        })
    }

    /// A certificate for this client and the key that belongs to it, both as PEM text: the client shows
    /// it instead of a token, or beside one. The certificate goes first, then those between it and its
    /// authority, if there are any.
    pub fn certificate_pem(
        mut self,
        certificate: impl Into<String>,
        key: impl Into<String>,
    ) -> Self {
        self.certificate = Some(ClientCertificate {
            certificate_pem: certificate.into(),
            key_pem: key.into(),
        });
        self
    }

    /// The secret that the host gave out.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The certificates of the authority that vouches for the host, as PEM text.
    pub fn ca_pem(mut self, pem: impl Into<String>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// The name that the host's certificate is for, where it is not that of the address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// The longest message that is taken from the host: 64 MiB if not set.
    pub fn max_reply_bytes(mut self, max_bytes: usize) -> Self {
        self.max_reply_bytes = max_bytes;
        self
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn secret(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(crate) fn own_certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_ref()
    }

    pub(crate) fn authority_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    pub(crate) fn reply_limit_bytes(&self) -> usize {
        self.max_reply_bytes
    }

    /// The name that the host's certificate must be for.
    pub(crate) fn expected_name(&self) -> Result<&str, ProfileError> {
        if let Some(name) = &self.server_name {
            return Ok(name);
        }
        let (host, _) = self.address.rsplit_once(':').ok_or_else(|| {
            ProfileError::Unusable(format!("address {:?} is not HOST:PORT", self.address))
        })?;
        Ok(host.trim_start_matches('[').trim_end_matches(']'))
    }
}

fn read(path: &Path) -> Result<String, ProfileError> {
    let unreadable = |cause| ProfileError::Unreadable {
        path: path.to_owned(),
        cause: Arc::new(cause),
    };
    let size_bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if size_bytes > MAX_PROFILE_BYTES {
        let problem = "is too large to be a profile, or part of one";
        return Err(unreadable(std::io::Error::other(problem)));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    before.filter(|byte| *byte == b'\n').count() + 1
}

impl fmt::Debug for Profile {
    /// Never shows the token, nor the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("address", &self.address)
            .field("server_name", &self.server_name)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("certificate", &self.certificate.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Profile, ProfileError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("client.toml");
        std::fs::write(&path, text).unwrap();
        Profile::first_of([directory.path().join("absent"), path].into_iter())
    }

    #[test]
    fn a_file_has_exactly_these_keys() {
        let profile = read(
            "address = \"127.0.0.1:7443\"\nserver-name = \"localhost\"\nca = \"\"\"PEM\"\"\"\ntoken = \"t0ken\"\n",
        )
        .unwrap();
        assert_eq!(profile.address(), "127.0.0.1:7443");
        assert_eq!(profile.expected_name().unwrap(), "localhost");
        assert_eq!(profile.authority_pem(), Some("PEM"));
        assert_eq!(profile.secret(), Some("t0ken"));
        assert!(!format!("{profile:?}").contains("t0ken"));
    }

    #[test]
    fn certificate_and_key_lie_beside_the_profile() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("me.pem"), "certificate").unwrap();
        std::fs::write(at("me.key"), "s3cret").unwrap();
        let read = |text: &str| {
            std::fs::write(at("client.toml"), text).unwrap();
            Profile::from_file(at("client.toml"))
        };
        let profile =
            read("address = \"a:1\"\ncertificate = \"me.pem\"\nkey = \"me.key\"").unwrap();
        let own = profile.own_certificate().unwrap();
        assert_eq!(own.certificate_pem, "certificate");
        assert_eq!(own.key_pem, "s3cret");
        assert_eq!(profile.secret(), None);
        assert!(!format!("{profile:?}").contains("s3cret"));
        let absolute = format!(
            "address = \"a:1\"\ncertificate = {:?}\nkey = {:?}",
            at("me.pem"),
            at("me.key")
        );
        assert!(read(&absolute).unwrap().own_certificate().is_some());
        let alone = read("address = \"a:1\"\nkey = \"me.key\"").unwrap_err();
        assert!(alone.to_string().contains("go together"), "{alone}");
        let absent = "address = \"a:1\"\ncertificate = \"me.pem\"\nkey = \"no.key\"";
        let absent = read(absent).unwrap_err();
        assert!(absent.to_string().contains("no.key"), "{absent}");
    }

    #[test]
    fn what_is_wrong_is_named_without_showing_the_token() {
        let error = read("address = \"a:1\"\ntoken = \"t0ken\"\ntokn = \"t0ken\"").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("line 3: unknown field `tokn`"), "{text}");
        assert!(!text.contains("t0ken"), "{text}");
        let text = read("token = \"t0ken\" \"").unwrap_err().to_string();
        assert!(!text.contains("t0ken"), "{text}");
        let text = read("token = \"t0ken\"").unwrap_err().to_string();
        assert!(text.contains("missing field `address`"), "{text}");
    }

    #[test]
    fn the_places_that_were_looked_at_are_named() {
        let candidates = ["/nowhere/a.toml", "/nowhere/b.toml"].map(PathBuf::from);
        let error = Profile::first_of(candidates.into_iter()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no profile found; looked at /nowhere/a.toml, /nowhere/b.toml"
        );
    }

    #[test]
    fn the_expected_name_is_that_of_the_address_unless_set() {
        assert_eq!(Profile::new("[::1]:7443").expected_name().unwrap(), "::1");
        assert_eq!(
            Profile::new("node.test:1").expected_name().unwrap(),
            "node.test"
        );
        assert!(Profile::new("node.test").expected_name().is_err());
    }
}
