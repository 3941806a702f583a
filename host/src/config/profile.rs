//! A client profile (`client.toml`): all that a client needs to reach this node.

use std::fmt;

use serde::Deserialize;
use toml::Value;
use zeroize::Zeroizing;

use super::ConfigError;

/// What the node writes for the clients of its own machine. Holds a token: private, and wiped
/// when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// `HOST:PORT` to connect to.
    pub address: String,
    /// The name the node's certificate is checked against.
    pub server_name: String,
    /// The certificate authority, as PEM.
    pub authority_pem: String,
    /// The token to present.
    pub token: Zeroizing<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ProfileTable {
    address: String,
    server_name: String,
    ca: String,
    token: String,
}

impl Profile {
    /// The profile as the text of its file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let quoted = |text: &str| Value::from(text).to_string();
        // PEM has neither quotes nor backslashes, so it needs no escapes in a multi-line string.
        Zeroizing::new(format!(
            "address = {}\nserver-name = {}\nca = \"\"\"\n{}\n\"\"\"\ntoken = {}\n",
            quoted(&self.address),
            quoted(&self.server_name),
            self.authority_pem.trim(),
            *Zeroizing::new(quoted(&self.token)),
        ))
    }

    /// Reads the text of a profile.
    ///
    /// # Errors
    /// When it is not one. The message holds nothing of the text, which may be a secret.
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        let table: ProfileTable = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            reason: error.message().to_owned(),
        })?;
        Ok(Self {
            address: table.address,
            server_name: table.server_name,
            authority_pem: table.ca,
            token: Zeroizing::new(table.token),
        })
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Profile")
            .field("address", &self.address)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_exactly_the_keys_that_clients_read() {
        let profile = Profile {
            address: "127.0.0.1:7443".to_owned(),
            server_name: "localhost".to_owned(),
            authority_pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
                .to_owned(),
            token: Zeroizing::new("rpch_00_11".to_owned()),
        };
        let text = profile.to_text();
        let expected = "address = \"127.0.0.1:7443\"\nserver-name = \"localhost\"\nca = \"\"\"\n\
            -----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\"\"\"\n\
            token = \"rpch_00_11\"\n";
        assert_eq!(*text, expected);
        assert_eq!(Profile::from_text(&text).unwrap(), profile);
        assert!(!format!("{profile:?}").contains("rpch_"));
        let broken = Profile::from_text("token = \"rpch_00_11\" x").unwrap_err();
        assert!(!format!("{broken} {broken:?}").contains("rpch_"));
    }
}
