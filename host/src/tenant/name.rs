//! What a tenant is called.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use super::TenantError;

const MAX_CHARACTERS: usize = 63;
const DEFAULT: &str = "default";

/// The name of a tenant: 1 to 63 of `a-z`, `0-9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(String);

impl TenantName {
    /// The tenant every node has. Its admins are the node's operators.
    pub fn operator() -> Self {
        Self(DEFAULT.to_owned())
    }

    /// Whether this is the tenant of the node's operators.
    pub fn is_operator(&self) -> bool {
        self.0 == DEFAULT
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        let of_the_alphabet =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > MAX_CHARACTERS || !text.bytes().all(of_the_alphabet) {
            return Err(TenantError::InvalidName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Borrow<str> for TenantName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_say() {
        for good in ["a", "default", "team-7", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<TenantName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "A",
            "a_b",
            "a b",
            "a/b",
            "..",
            "a\0",
            "é",
            "a|b",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad:?}");
        }
    }
}
