//! A registration and its revisions.

use std::sync::Arc;

use rpc_host_protocol::operation::Instancing;

use super::called::Called;
use super::{Bindings, Digest, RegistrationName};
use crate::capability::Grants;
use crate::clock::Timestamp;
use crate::config::Narrowing;
use crate::tenant::{Credential, TenantId};

/// One state of a registration. Never changed; a change is another revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Counts from one within a registration.
    pub number: u64,
    /// The module that answers.
    pub digest: Digest,
    /// What it may do.
    pub grants: Arc<Grants>,
    /// How it is limited.
    pub narrowing: Narrowing,
    /// Who answers its imports.
    pub bindings: Bindings,
    /// Whether the tenant's registrations alone answer its imports, whatever a session serves to
    /// itself.
    pub sealed: bool,
    /// How long its instances live.
    pub instancing: Instancing,
    /// The earlier revision that it brought back, if it did.
    pub restores: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whose token or certificate.
    pub created_by: Credential,
}

/// A name of a tenant and what it currently stands for.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is called.
    pub name: RegistrationName,
    /// When its first revision was made.
    pub created_at: Timestamp,
    /// What it stands for.
    pub current: Revision,
    /// What clients have called under the name. All revisions share it.
    pub(super) called: Arc<Called>,
}

/// A change of a registration that somebody wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This module, under these options, whether or not the name is there.
    Register(Digest, RegisterOptions),
    /// Another module, and all else as it is.
    Swap(Digest),
    /// An earlier revision as it was.
    Restore(u64),
    /// The revision before the present one, as it was.
    Rollback,
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
    /// Whether the tenant's registrations alone answer its imports.
    pub sealed: bool,
    /// How long its instances live.
    pub instancing: Instancing,
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
    /// Whether both stand for the same, whoever made them when.
    pub(super) fn is_like(&self, other: &Revision) -> bool {
        self.digest == other.digest
            && self.grants == other.grants
            && self.narrowing == other.narrowing
            && self.bindings == other.bindings
            && self.sealed == other.sealed
            && self.instancing == other.instancing
    }
}
