//! What this layer refuses, and what it cannot do.

use super::{Role, TenantName, TokenId};
use crate::capability::PolicyError;
use crate::config::NarrowingError;
use crate::storage::{Stopped, StorageError};

/// A refusal or a failure. All variants but `Storage` and `NoRandomness` are safe to send to the
/// peer that caused them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// The one answer to a token or certificate that is malformed, unknown, wrong, expired or
    /// revoked, or to two that do not belong together.
    #[error("the token or certificate is not valid; ask an admin of the tenant for a new one")]
    Unauthenticated,
    /// The token or certificate is good, but not for this.
    #[error(
        "this needs a token or certificate with role `{needed}` or above, this one has `{actual}`"
    )]
    RoleTooLow {
        /// The least that is enough.
        needed: Role,
        /// What this one has.
        actual: Role,
    },
    /// Reserved to the admins of the tenant itself and to the operators.
    #[error("this needs an admin token of that tenant, or of tenant `default`")]
    NotAdminOf,
    /// Reserved to the node's operators.
    #[error("this needs an admin token of tenant `default`")]
    NotOperator,
    /// Told to operators only: to all others an absent tenant is a refusal like any other.
    #[error("there is no tenant `{0}`; see `rpc-host tenant list`")]
    NoSuchTenant(TenantName),
    /// The name is taken.
    #[error("there is already a tenant `{0}`; choose another name")]
    TenantExists(TenantName),
    /// The tenant of the operators cannot go.
    #[error("tenant `default` belongs to the node and cannot be removed")]
    DefaultStays,
    /// Not among the tokens of that tenant.
    #[error("that tenant has no token `{0}`; see `rpc-host token list`")]
    NoSuchToken(TokenId),
    /// Revoking it would lock everybody out.
    #[error("this is the last admin token of tenant `default`; create another one first")]
    LastOperatorToken,
    /// A quota is used up.
    #[error("there are already {limit} {what}, the most that are allowed; remove one first")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },
    /// Not a name.
    #[error("a tenant's name is 1 to 63 characters of a-z, 0-9 and `-`")]
    InvalidName,
    /// Not a role.
    #[error("a role is one of reader, caller, deployer, admin")]
    UnknownRole,
    /// Not a weight.
    #[error("a weight is a number from 1 to {most}")]
    InvalidWeight {
        /// The largest.
        most: u32,
    },
    /// What may be granted is not written as it should be, or more than the node allows.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A limit that cannot be set so.
    #[error(transparent)]
    Limit(#[from] NarrowingError),
    /// Not a token's id.
    #[error("a token's id is 16 hexadecimal digits, as `rpc-host token list` shows it")]
    InvalidTokenId,
    /// Not the name of a certificate's holder.
    #[error("a holder's name is 1 to 63 characters of a-z, 0-9, `-` and `.`")]
    InvalidHolderName,
    /// A token that would never have been valid.
    #[error("the expiry lies in the past; choose a later one")]
    ExpiryInThePast,
    /// The node was given its first token already.
    #[error("the first admin token was made before; use it, or one made with it")]
    AlreadyFounded,
    /// The system gives no random numbers.
    #[error("the system has no randomness to make a token of")]
    NoRandomness,
    /// What is below failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<Stopped> for TenantError {
    fn from(stopped: Stopped) -> Self {
        Self::Storage(stopped.into())
    }
}
