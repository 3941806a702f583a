//! A registration and its revisions.

use super::{Bindings, Digest, Narrowing, RegistrationName};
use crate::capability::Grants;
use crate::clock::Timestamp;
use crate::tenant::{TenantId, TokenId};

/// One state of a registration. Never changed; a change is another revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Counts from one within a registration.
    pub number: u64,
    /// The module that answers.
    pub digest: Digest,
    /// What it may do.
    pub grants: Grants,
    /// How it is limited.
    pub narrowing: Narrowing,
    /// Who answers its imports.
    pub bindings: Bindings,
    /// When it was made.
    pub created_at: Timestamp,
    /// By the holder of which token.
    pub created_by: TokenId,
}

/// A name of a tenant and what it currently stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is called.
    pub name: RegistrationName,
    /// When its first revision was made.
    pub created_at: Timestamp,
    /// What it stands for.
    pub current: Revision,
}

/// How a module is to be registered. The default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterOptions {
    /// What it may do.
    pub grants: Grants,
    /// How it is limited.
    pub narrowing: Narrowing,
    /// Who answers its imports.
    pub bindings: Bindings,
    /// What the registration has to be now.
    pub if_revision: IfRevision,
}

/// What a registration has to be for a change to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfRevision {
    /// Anything, present or not.
    #[default]
    Any,
    /// Not there.
    Absent,
    /// At exactly this revision.
    Is(u64),
}

impl IfRevision {
    pub(super) fn holds(self, current: Option<u64>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Is(number) => current == Some(number),
        }
    }
}

impl Revision {
    /// Whether registering this again would change nothing.
    pub(super) fn is_already(&self, digest: &Digest, options: &RegisterOptions) -> bool {
        self.digest == *digest
            && self.grants == options.grants
            && self.narrowing == options.narrowing
            && self.bindings == options.bindings
    }
}
