//! What a registration may do beyond computing.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Text that is no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no grant `{grant}`; known grants are {known}")]
pub struct UnknownGrant {
    /// What was asked for.
    grant: String,
    /// What there is.
    known: String,
}

/// One capability. There is none for "everything".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// Write lines to the node's log.
    Log,
}

impl Grant {
    /// All that can be granted.
    pub const ALL: [Self; 1] = [Self::Log];

    /// The grant as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
        }
    }
}

impl FromStr for Grant {
    type Err = UnknownGrant;

    fn from_str(text: &str) -> Result<Self, UnknownGrant> {
        Self::ALL
            .into_iter()
            .find(|grant| grant.as_str() == text)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::as_str).join(", ");
                // An outsider's text, so no more of it than a message can bear.
                UnknownGrant {
                    grant: text.chars().take(64).collect(),
                    known,
                }
            })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The grants of a registration. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants(BTreeSet<Grant>);

impl Grants {
    /// Whether a capability is among them.
    pub fn allows(&self, grant: Grant) -> bool {
        self.0.contains(&grant)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Grant> + '_ {
        self.0.iter().copied()
    }

    /// Reads a list of grants.
    ///
    /// # Errors
    /// When one of them is unknown.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, UnknownGrant> {
        texts
            .into_iter()
            .map(|text| text.as_ref().parse())
            .collect()
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_by_default() {
        for grant in Grant::ALL {
            assert!(!Grants::default().allows(grant));
            assert_eq!(grant.as_str().parse::<Grant>().unwrap(), grant);
        }
        let grants = Grants::parse(["log", "log"]).unwrap();
        assert!(grants.allows(Grant::Log));
        assert_eq!(grants.iter().count(), 1);
    }

    #[test]
    fn an_unknown_grant_is_refused_with_the_known_ones() {
        let refused = Grants::parse(["log", "*"]).unwrap_err().to_string();
        assert_eq!(refused, "there is no grant `*`; known grants are log");
        assert!(
            Grants::parse(["x".repeat(10_000)])
                .unwrap_err()
                .to_string()
                .len()
                < 200
        );
    }
}
