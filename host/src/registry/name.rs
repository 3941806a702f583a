//! What a registration is called.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::RegistryError;

const MAX_CHARACTERS: usize = 128;
/// How other things than names begin where either may stand: `swap NAME --to sha256:…`.
const RESERVED: [&str; 2] = ["sha256:", "revision:"];

/// The name of a registration: `calc`, or the name of an interface it stands for,
/// `acme:log/logger@1.0.0`. Unique within its tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationName(Arc<str>);

impl RegistrationName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, for whoever keeps it.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl FromStr for RegistrationName {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let of_the_alphabet = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-:/.@".contains(&byte)
        };
        let begins_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        let good = begins_well
            && text.len() <= MAX_CHARACTERS
            && text.bytes().all(of_the_alphabet)
            && !RESERVED.iter().any(|reserved| text.starts_with(reserved));
        if good {
            Ok(Self(Arc::from(text)))
        } else {
            Err(RegistryError::InvalidName)
        }
    }
}

impl fmt::Display for RegistrationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// So that a lookup by the text of a call allocates nothing.
impl Borrow<str> for RegistrationName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_say() {
        for good in [
            "a",
            "calc",
            "acme:log/logger",
            "acme:log/logger@1.0.0",
            &"x".repeat(128),
        ] {
            assert_eq!(good.parse::<RegistrationName>().unwrap().as_str(), good);
        }
        let bad = [
            "",
            "Calc",
            "1a",
            "-a",
            "../a",
            "a b",
            "a|b",
            "a\0",
            "é",
            "sha256:00",
            "revision:7",
            &"x".repeat(129),
        ];
        for bad in bad {
            assert!(bad.parse::<RegistrationName>().is_err(), "{bad:?}");
        }
    }
}
