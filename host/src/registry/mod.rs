//! What tenants have: modules by digest, and registrations by name.
//!
//! A module is a file named by what is in it; a registration is a name that points at one, with
//! what it is granted and how it is limited; every change of it is a new revision. All of it is
//! scoped by the permit that each function takes, so one tenant's names and digests do not exist
//! for another.
//!
//! Deliberately not here: what is inside a module (the sandbox inspects, compiles and runs it) and
//! how artifacts are made and trusted. This layer only says where they lie.

mod bindings;
mod called;
mod catalog;
mod contract;
mod digest;
mod error;
#[cfg(test)]
mod fixture;
mod modules;
mod name;
mod record;
mod revision;
mod targets;

pub use bindings::{Bindings, ImportName};
pub use catalog::{Answer, Catalog, Concerned, Dependent, Proposal, Proposed};
pub use contract::{Breach, Contract};
pub use digest::Digest;
pub use error::RegistryError;
pub use modules::{Module, Modules, StagedModule, Upload, UploadStart};
pub use name::RegistrationName;
pub use revision::{IfRevision, RegisterOptions, Registration, Revision, Wish};
pub use targets::Targets;
pub(crate) use targets::{files, owner};

use std::sync::Arc;

use crate::clock::WallClock;
use crate::config::{DataDir, Limits};
use crate::storage::{Storage, blocking};
use crate::tenant::{RemovedTenant, TenantId};

/// What a tenant has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many registrations.
    pub registrations: u64,
    /// How many modules.
    pub modules: u64,
    /// Bytes of all its modules.
    pub stored_bytes: u64,
    /// Bytes of their compiled forms.
    pub artifact_bytes: u64,
}

/// The modules and the registrations of a node. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Registrations by name.
    pub catalog: Catalog,
    /// Modules by digest.
    pub modules: Modules,
}

impl Registry {
    /// Reads what the store holds for these tenants and clears away what crashes left behind.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// When the store or the file system fails, or a record is damaged.
    pub fn open(
        storage: &Arc<dyn Storage>,
        clock: &Arc<dyn WallClock>,
        data: &DataDir,
        tenants: &[TenantId],
        limits: &Limits,
    ) -> Result<Self, RegistryError> {
        let modules = Modules::open(storage, clock, data, tenants, limits)?;
        let catalog = Catalog::open(storage, clock, modules.clone(), tenants, limits)?;
        Ok(Self { catalog, modules })
    }

    /// What a tenant has.
    pub fn usage(&self, tenant: TenantId) -> Usage {
        let (modules, stored_bytes, artifact_bytes) = self.modules.usage(tenant);
        Usage {
            registrations: self.catalog.count(tenant),
            modules,
            stored_bytes,
            artifact_bytes,
        }
    }

    /// Lets go of what a removed tenant had, in memory and on disk. Its records are gone already;
    /// if this is cut off, the next start does the rest.
    ///
    /// # Errors
    /// When its files cannot be deleted.
    pub async fn forget(&self, removed: RemovedTenant) -> Result<(), RegistryError> {
        let registry = self.clone();
        blocking(move || {
            registry.catalog.forget(removed.id());
            registry.modules.forget(removed.id())
        })
        .await?
    }
}
