//! The catalog: which name stands for what, in each tenant.
//!
//! All current revisions are held in memory, so that a call finds its target without the disk.
//! Earlier ones are read from the store when somebody asks. A change is durable first and visible
//! second; a reader holds on to the registration it got, whatever happens to the name.

mod changes;
mod notes;
mod proposal;

pub use proposal::{Answer, Concerned, Dependent, Proposal, Proposed};

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use notes::Noted;
use tokio::sync::Notify;

use super::{
    Digest, IfRevision, Modules, Registration, RegistrationName, RegistryError, Revision, Wish,
    record,
};
use crate::clock::WallClock;
use crate::config::Limits;
use crate::storage::{KeyRevision, Storage, StorageError, blocking};
use crate::tenant::{CallPermit, DeployPermit, ReadPermit, TenantId};

type Names = HashMap<RegistrationName, Held>;

/// A registration, and what only its next change needs to know.
#[derive(Clone)]
struct Held {
    registration: Arc<Registration>,
    /// The oldest revision that is still kept.
    first_kept: u64,
    /// The commit that wrote it, to notice another writer.
    stored: KeyRevision,
}

/// All registrations of the node. A clone is another handle to the same.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn WallClock>,
    modules: Modules,
    max_revisions: u64,
    known: RwLock<HashMap<TenantId, Names>>,
    /// Held over a whole change, disk included, by threads that may block: names change in the
    /// order in which the changes became durable, and no module goes while a name is about to
    /// point at it.
    changing: Mutex<()>,
    noted: Mutex<Noted>,
    /// Tells that something was noted.
    noting: Notify,
}

impl Catalog {
    pub(super) fn open(
        storage: &Arc<dyn Storage>,
        clock: &Arc<dyn WallClock>,
        modules: Modules,
        tenants: &[TenantId],
        limits: &Limits,
    ) -> Result<Self, RegistryError> {
        let mut known = HashMap::new();
        for tenant in tenants {
            let mut names = Names::new();
            let mut called = HashMap::new();
            for entry in storage.scan(&record::calls(*tenant).below())? {
                let (name, paths) = record::read_called(&entry)?;
                called.insert(name, Arc::new(paths));
            }
            for entry in storage.scan(&record::registrations(*tenant).below())? {
                let (mut registration, first_kept) = record::read_registration(*tenant, &entry)?;
                if let Some(called) = called.remove(registration.name.as_str()) {
                    registration.called = called;
                }
                let (name, stored) = (registration.name.clone(), entry.revision);
                let registration = Arc::new(registration);
                names.insert(
                    name,
                    Held {
                        registration,
                        first_kept,
                        stored,
                    },
                );
            }
            known.insert(*tenant, names);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                storage: Arc::clone(storage),
                clock: Arc::clone(clock),
                modules,
                max_revisions: limits.max_revisions_per_registration,
                known: RwLock::new(known),
                changing: Mutex::new(()),
                noted: Mutex::default(),
                noting: Notify::new(),
            }),
        })
    }

    /// What a name stands for, for a call. Two look-ups in memory.
    ///
    /// # Errors
    /// When the holder's tenant has no such registration.
    pub fn resolve(
        &self,
        permit: &CallPermit,
        name: &str,
    ) -> Result<Arc<Registration>, RegistryError> {
        Ok(self.inner.find(permit.tenant(), name)?.registration)
    }

    /// What a name stands for, to look at.
    ///
    /// # Errors
    /// When the holder's tenant has no such registration.
    pub fn show(
        &self,
        permit: &ReadPermit,
        name: &str,
    ) -> Result<Arc<Registration>, RegistryError> {
        Ok(self.inner.find(permit.tenant(), name)?.registration)
    }

    /// All registrations of the holder's tenant, by name.
    pub fn list(&self, permit: &ReadPermit) -> Vec<Arc<Registration>> {
        let mut registrations = self.inner.all(permit.tenant());
        registrations.sort_by(|one, other| one.name.cmp(&other.name));
        registrations
    }

    /// The revisions that are kept of a registration, newest first.
    ///
    /// # Errors
    /// When the holder's tenant has no such registration, or the store fails.
    pub async fn history(
        &self,
        permit: &ReadPermit,
        name: &str,
    ) -> Result<Vec<Revision>, RegistryError> {
        let held = self.inner.find(permit.tenant(), name)?;
        let inner = Arc::clone(&self.inner);
        Ok(blocking(move || inner.history(&held.registration)).await??)
    }

    /// What a wish comes to now: a registration that stands so already, or a change to check and then
    /// to [commit](Self::commit).
    ///
    /// # Errors
    /// When the tenant has no such registration, revision or module, when the registration is not as
    /// expected, or when the store fails.
    pub async fn propose(
        &self,
        permit: &DeployPermit,
        name: &RegistrationName,
        wish: &Wish,
        if_revision: IfRevision,
    ) -> Result<Proposed, RegistryError> {
        let (inner, permit) = (Arc::clone(&self.inner), permit.clone());
        let (name, wish) = (name.clone(), wish.clone());
        blocking(move || inner.propose(&permit, name, wish, if_revision)).await?
    }

    /// Who is concerned by a change, as of now.
    pub fn concerned(&self, proposal: &Proposal) -> Concerned {
        self.inner.concerned(proposal)
    }

    /// Who imports something through a name, or would if somebody answered for it.
    pub fn dependents(&self, permit: &CallPermit, name: &RegistrationName) -> Vec<Dependent> {
        self.inner.dependents(permit.tenant(), name)
    }

    /// Makes a change hold, and durable, if everybody whom it was checked against is as they were then,
    /// and forgets the paths in `gone`, which clients have called and can no more. None if somebody is
    /// not as they were: nothing has changed, and the wish has to be proposed anew.
    ///
    /// # Errors
    /// When the module is gone, when there are too many registrations, or when the store fails.
    pub async fn commit(
        &self,
        proposal: Box<Proposal>,
        checked: Concerned,
        gone: Vec<Arc<str>>,
    ) -> Result<Option<Arc<Registration>>, RegistryError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.commit(&proposal, &checked, &gone)).await?
    }

    /// Removes a registration with its history. Its modules stay.
    ///
    /// # Errors
    /// When the holder's tenant has no such registration, or the store fails.
    pub async fn remove(&self, permit: &DeployPermit, name: &str) -> Result<(), RegistryError> {
        let (inner, tenant, name) = (Arc::clone(&self.inner), permit.tenant(), name.to_owned());
        blocking(move || inner.remove(tenant, &name)).await?
    }

    /// Removes a module that no kept revision of any registration refers to.
    ///
    /// # Errors
    /// When the tenant has no such module, when it is in use, or when the store fails.
    pub async fn remove_module(
        &self,
        permit: &DeployPermit,
        digest: Digest,
    ) -> Result<(), RegistryError> {
        let (inner, tenant) = (Arc::clone(&self.inner), permit.tenant());
        blocking(move || inner.remove_module(tenant, &digest)).await?
    }

    pub(super) fn count(&self, tenant: TenantId) -> u64 {
        let count = self.inner.read().get(&tenant).map_or(0, HashMap::len);
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    pub(super) fn forget(&self, tenant: TenantId) {
        let _changing = self.inner.begin();
        self.inner.write().remove(&tenant);
    }
}

impl Inner {
    fn find(&self, tenant: TenantId, name: &str) -> Result<Held, RegistryError> {
        let known = self.read();
        let found = known.get(&tenant).and_then(|names| names.get(name));
        found
            .cloned()
            .ok_or_else(|| RegistryError::NoSuchRegistration {
                // An outsider's text, so no more of it than a message can bear.
                name: name.chars().take(128).collect(),
            })
    }

    fn all(&self, tenant: TenantId) -> Vec<Arc<Registration>> {
        let known = self.read();
        let held = known.get(&tenant).into_iter().flat_map(HashMap::values);
        held.map(|held| Arc::clone(&held.registration)).collect()
    }

    fn history(&self, registration: &Registration) -> Result<Vec<Revision>, StorageError> {
        let revisions = record::revisions(registration.tenant, &registration.name);
        let entries = self.storage.scan(&revisions.below())?;
        entries.iter().rev().map(record::read_revision).collect()
    }

    fn begin(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<TenantId, Names>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<TenantId, Names>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self.inner.read().values().map(HashMap::len).sum();
        formatter
            .debug_struct("Catalog")
            .field("registrations", &count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
