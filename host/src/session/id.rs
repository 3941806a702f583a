//! What a session is called.

use std::fmt;

use aws_lc_rs::error::Unspecified;

/// Names a session in the log, and tells those of its handles from others'. Random, so that it tells
/// a client nothing about how many others there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self, Unspecified> {
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes)?;
        Ok(SessionId(u64::from_be_bytes(bytes)))
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}
