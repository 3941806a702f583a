//! How much a token may do within its tenant.

use std::fmt;
use std::str::FromStr;

use super::TenantError;

/// What a token may do. Each role may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look at registrations.
    Reader,
    /// Call them.
    Caller,
    /// Upload, register, swap, remove.
    Deployer,
    /// Make and revoke the tenant's tokens; in tenant `default`, run the node.
    Admin,
}

impl Role {
    /// All roles, from the least to the most powerful.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Caller, Self::Deployer, Self::Admin];

    /// The role as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Caller => "caller",
            Self::Deployer => "deployer",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(TenantError::UnknownRole)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
