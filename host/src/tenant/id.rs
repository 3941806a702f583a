//! Which tenant.

use std::fmt;

/// The number of a tenant. Given once: a tenant made later under the same name is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(u64);

impl TenantId {
    /// One that no directory knows.
    #[cfg(test)]
    pub(crate) fn for_tests(number: u64) -> Self {
        Self::new(number)
    }

    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number itself, for keys and file names.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
