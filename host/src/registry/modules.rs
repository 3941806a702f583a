//! Modules: files named by their digest, one directory a tenant.
//!
//! Two tenants that upload the same bytes have a file each: sharing it would tell one that the
//! other has it, and would make removing a tenant a question of who else is there.
//!
//! # What survives a crash
//!
//! An upload is written to the staging directory, checked against its digest, synced, renamed into
//! its tenant's directory, the directory is synced, and only then a record is committed, and only
//! then the upload is acknowledged. So:
//!
//! * a record means a whole file: the rename it depends on was durable before it;
//! * a file in the tenant's directory is whole: it was synced before it got there;
//! * a file without a record was never acknowledged, and the next start deletes it;
//! * the staging directory holds nothing that anybody was promised, and the next start empties it.
//!
//! Removing goes the other way round, record first, so that it never leaves a record without its
//! file. Repeating any part changes nothing, so a crash during clearing up is cleared up too.

mod sweep;
mod upload;

pub use upload::{StagedModule, Upload, UploadStart};

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Digest, ImportName, RegistryError, record};
use crate::clock::{Timestamp, WallClock};
use crate::config::{DataDir, Limits};
use crate::storage::{Batch, Expect, Storage, StorageError, encode, file};
use crate::tenant::{Credential, ReadPermit, TenantId, tenant_key};

/// What is known of a module without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub digest: Digest,
    /// How large it is.
    pub size_bytes: u64,
    /// When it was uploaded first.
    pub uploaded_at: Timestamp,
    /// By whose token or certificate.
    pub uploaded_by: Credential,
    /// Its imports that registrations answer.
    pub imports: Arc<[ImportName]>,
}

/// The modules of all tenants. A clone is another handle to the same.
#[derive(Clone)]
pub struct Modules {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn WallClock>,
    tenants: PathBuf,
    staging: PathBuf,
    max_upload_bytes: u64,
    shelves: RwLock<HashMap<TenantId, Shelf>>,
    /// Held over a commit or a removal, disk included, by threads that may block: a file and its
    /// record come and go together.
    changing: Mutex<()>,
}

/// The modules of one tenant, and the room that its uploads under way will need.
#[derive(Default)]
struct Shelf {
    modules: HashMap<Digest, Module>,
    stored_bytes: u64,
    /// How large the compiled form of each is, where there is one.
    artifacts: HashMap<Digest, u64>,
    reserved_bytes: u64,
    uploads: u64,
}

impl Shelf {
    fn artifact_bytes(&self) -> u64 {
        self.artifacts
            .values()
            .fold(0, |all, one| all.saturating_add(*one))
    }
}

/// How large a compiled form is; nothing, where there is none.
fn artifact_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

impl Modules {
    pub(super) fn open(
        storage: &Arc<dyn Storage>,
        clock: &Arc<dyn WallClock>,
        data: &DataDir,
        tenants: &[TenantId],
        limits: &Limits,
    ) -> Result<Self, RegistryError> {
        let inner = Inner {
            storage: Arc::clone(storage),
            clock: Arc::clone(clock),
            tenants: data.tenants(),
            staging: data.staging(),
            max_upload_bytes: limits.max_upload_bytes,
            shelves: RwLock::new(HashMap::new()),
            changing: Mutex::new(()),
        };
        file::create_directory(&inner.tenants)?;
        file::create_directory(&inner.staging)?;
        let shelves = inner.load(tenants)?;
        inner.sweep(&shelves)?;
        *inner.write() = shelves;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// A module of the holder's tenant.
    ///
    /// # Errors
    /// When it has no such module.
    pub fn show(&self, permit: &ReadPermit, digest: &Digest) -> Result<Module, RegistryError> {
        self.find(permit.tenant(), digest)
            .ok_or(RegistryError::NoSuchModule { digest: *digest })
    }

    /// All modules of the holder's tenant, oldest first.
    pub fn list(&self, permit: &ReadPermit) -> Vec<Module> {
        let shelves = self.inner.read();
        let shelf = shelves.get(&permit.tenant());
        let mut modules: Vec<_> = shelf
            .map(|shelf| shelf.modules.values().cloned().collect())
            .unwrap_or_default();
        modules.sort_by_key(|module| (module.uploaded_at, module.digest));
        modules
    }

    /// Where the bytes of a module are.
    pub fn path(&self, tenant: TenantId, digest: &Digest) -> PathBuf {
        self.inner
            .modules_of(tenant)
            .join(format!("{}.wasm", digest.hex()))
    }

    /// Where the compiled form of a module belongs. It may not be there, and what is there is not
    /// to be trusted without its MAC. Its directory exists if the module does.
    pub fn artifact_path(&self, tenant: TenantId, digest: &Digest) -> PathBuf {
        self.inner
            .artifacts_of(tenant)
            .join(format!("{}.cwasm", digest.hex()))
    }

    /// How many modules a tenant has, their bytes, and those of their compiled forms.
    pub(super) fn usage(&self, tenant: TenantId) -> (u64, u64, u64) {
        let shelves = self.inner.read();
        let shelf = shelves.get(&tenant);
        shelf.map_or((0, 0, 0), |shelf| {
            let modules = u64::try_from(shelf.modules.len()).unwrap_or(u64::MAX);
            (modules, shelf.stored_bytes, shelf.artifact_bytes())
        })
    }

    /// Measures the compiled form of a module anew, after it may have been made again. A module that is
    /// there is not taken away for it, but there may be no room for another one then. Blocks on the disk.
    pub(super) fn measure_artifact(&self, tenant: TenantId, digest: &Digest) {
        let bytes = artifact_bytes(&self.artifact_path(tenant, digest));
        if let Some(shelf) = self.inner.write().get_mut(&tenant)
            && shelf.modules.contains_key(digest)
        {
            shelf.artifacts.insert(*digest, bytes);
        }
    }

    /// The modules of a tenant that import anything that registrations answer, and what.
    pub(super) fn importing(&self, tenant: TenantId) -> HashMap<Digest, Arc<[ImportName]>> {
        let shelves = self.inner.read();
        let modules = shelves
            .get(&tenant)
            .into_iter()
            .flat_map(|shelf| shelf.modules.values());
        modules
            .filter(|module| !module.imports.is_empty())
            .map(|module| (module.digest, Arc::clone(&module.imports)))
            .collect()
    }

    pub(crate) fn find(&self, tenant: TenantId, digest: &Digest) -> Option<Module> {
        self.inner.read().get(&tenant)?.modules.get(digest).cloned()
    }

    /// Removes a module that nothing refers to; the caller has made sure of that.
    pub(super) fn remove(&self, tenant: TenantId, digest: &Digest) -> Result<(), RegistryError> {
        let _changing = self.inner.begin();
        let Some(module) = self.find(tenant, digest) else {
            return Err(RegistryError::NoSuchModule { digest: *digest });
        };
        self.inner
            .storage
            .commit(Batch::new().delete(record::module(tenant, digest)))?;
        if let Some(shelf) = self.inner.write().get_mut(&tenant) {
            shelf.modules.remove(digest);
            shelf.artifacts.remove(digest);
            shelf.stored_bytes = shelf.stored_bytes.saturating_sub(module.size_bytes);
        }
        file::remove(&self.artifact_path(tenant, digest))?;
        file::remove(&self.path(tenant, digest))?;
        Ok(())
    }

    pub(super) fn forget(&self, tenant: TenantId) -> Result<(), RegistryError> {
        let _changing = self.inner.begin();
        self.inner.write().remove(&tenant);
        remove_tree(&self.inner.of_tenant(tenant))?;
        Ok(())
    }
}

impl Inner {
    /// Makes a staged file a module.
    fn keep(
        &self,
        staged: StagedModule,
        imports: Arc<[ImportName]>,
        artifact_bytes: u64,
    ) -> Result<Module, RegistryError> {
        let (tenant, digest) = (staged.tenant(), *staged.digest());
        staged.sync()?;
        let directory = self.modules_of(tenant);
        let _changing = self.begin();
        if let Some(present) = self
            .read()
            .get(&tenant)
            .and_then(|shelf| shelf.modules.get(&digest))
        {
            return Ok(present.clone());
        }
        // Uploads are kept one after the other, so none comes between this and counting it.
        let used = self.read().get(&tenant).map_or(0, Shelf::artifact_bytes);
        let free_bytes = staged.max_artifact_bytes().saturating_sub(used);
        if artifact_bytes > free_bytes {
            return Err(RegistryError::NoRoomForArtifact {
                size_bytes: artifact_bytes,
                free_bytes,
            });
        }
        file::create_directory(&directory)?;
        file::create_directory(&self.artifacts_of(tenant))?;
        let path = directory.join(format!("{}.wasm", digest.hex()));
        let module = Module {
            digest,
            size_bytes: staged.size_bytes(),
            uploaded_at: self.clock.now(),
            uploaded_by: staged.holder(),
            imports,
        };
        // Held to the end: the room stays reserved until it is counted as used.
        let _reserved = staged.place(&path)?;
        file::sync_directory(&directory)?;
        let batch = Batch::new()
            .expect(tenant_key(tenant), Expect::Present)
            .put(
                record::module(tenant, &digest),
                encode(&record::ModuleRecord::from(&module))?,
            );
        if let Err(error) = self.storage.commit(batch) {
            // After any other failure nobody knows what the store holds, so the file stays and
            // the next start decides.
            let error = RegistryError::committing(tenant, error);
            if matches!(error, RegistryError::TenantGone) {
                file::remove(&path)?;
            }
            return Err(error);
        }
        let mut shelves = self.write();
        let shelf = shelves.entry(tenant).or_default();
        shelf.stored_bytes = shelf.stored_bytes.saturating_add(module.size_bytes);
        shelf.modules.insert(digest, module.clone());
        shelf.artifacts.insert(digest, artifact_bytes);
        Ok(module)
    }

    fn of_tenant(&self, tenant: TenantId) -> PathBuf {
        self.tenants.join(tenant.to_string())
    }

    fn modules_of(&self, tenant: TenantId) -> PathBuf {
        self.of_tenant(tenant).join("modules")
    }

    fn artifacts_of(&self, tenant: TenantId) -> PathBuf {
        self.of_tenant(tenant).join("artifacts")
    }

    fn begin(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<TenantId, Shelf>> {
        self.shelves.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<TenantId, Shelf>> {
        self.shelves.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_tree(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StorageError::file("delete", path)(error))
        }
        _ => Ok(()),
    }
}

impl fmt::Debug for Modules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self
            .inner
            .read()
            .values()
            .map(|shelf| shelf.modules.len())
            .sum();
        formatter
            .debug_struct("Modules")
            .field("count", &count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
