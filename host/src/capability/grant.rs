//! The grants there are.

use std::fmt;
use std::str::FromStr;

pub(super) const LOG: &str = "log";
/// All grants that this node can give.
pub(super) const GRANTS: &[&str] = &[LOG];

/// What a registration may do. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants {
    /// Write structured lines to the node's log.
    pub log: bool,
}

/// Text that is no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a grant; there are: {known}", known = GRANTS.join(", "))]
pub struct InvalidGrant(String);

impl Grants {
    /// The grants of these texts.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Grants, InvalidGrant> {
        let mut grants = Grants::default();
        for text in texts {
            match text {
                LOG => grants.log = true,
                _ => return Err(InvalidGrant(rpc_host_protocol::error::printable(text, 100))),
            }
        }
        Ok(grants)
    }

    /// Their texts.
    pub fn texts(&self) -> Vec<String> {
        let Grants { log } = self;
        [(*log, LOG)].iter().filter(|(given, _)| *given).map(|(_, text)| (*text).to_owned()).collect()
    }
}

impl FromStr for Grants {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Grants::parse([text])
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(", "))
    }
}
