//! Registrations → components that are ready for calls.
//!
//! A component is loaded when it is first called and kept, with its links, for the next call; a start loads none.
//! What is loaded is bounded in number and in bytes, and what was not called for a while goes by itself. Of several
//! that might go, the one that was not used for longest does. A tenant that has half of the room already makes room
//! among its own, so that no tenant's calls cost all others what they have loaded.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::sleep;

use super::{Digest, Modules, Registration, Revision};
use crate::capability::Kinds;
use crate::config::Limits;
use crate::sandbox::{ModuleFiles, Prepared, Sandbox, SandboxError};
use crate::storage::blocking;
use crate::tenant::TenantId;

/// What one takes beside its code: types, links, and what the engine notes of it.
const BESIDE_CODE_BYTES: u64 = 128 << 10;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    digest: Digest,
    kinds: Kinds,
}

struct Loaded<T> {
    cell: Arc<OnceCell<Arc<T>>>,
    last_use: u64,
    /// None until it is loaded.
    size_bytes: u64,
}

/// The components of all tenants that are ready for calls. A clone is another handle to the same.
#[derive(Clone)]
pub struct Targets {
    inner: Arc<Inner>,
}

struct Inner {
    sandbox: Arc<Sandbox>,
    modules: Modules,
    shelf: Mutex<Shelf<Prepared>>,
    uses: AtomicU64,
    idle_timeout: Duration,
}

/// What is loaded.
struct Shelf<T> {
    loaded: HashMap<Key, Loaded<T>>,
    max_count: u64,
    max_bytes: u64,
}

impl Targets {
    /// Loads from `modules` into `sandbox`; nothing yet.
    pub fn new(sandbox: Arc<Sandbox>, modules: Modules, limits: &Limits) -> Self {
        Targets {
            inner: Arc::new(Inner {
                sandbox,
                modules,
                shelf: Mutex::new(Shelf::new(limits)),
                uses: AtomicU64::new(0),
                idle_timeout: Duration::from_millis(limits.loaded_module_idle_timeout_ms),
            }),
        }
    }

    /// Lets go of what nobody calls, again and again.
    pub async fn keep_trim(&self) -> Infallible {
        loop {
            let mark = self.inner.uses.load(Ordering::Relaxed);
            sleep(self.inner.idle_timeout).await;
            self.inner.shelf().let_go_before(mark);
        }
    }

    /// The sandbox that they run in.
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        &self.inner.sandbox
    }

    /// What a registration stands for, ready for calls.
    ///
    /// # Errors
    /// When the component cannot be loaded; the next call tries again.
    pub async fn load(&self, registration: &Registration) -> Result<Arc<Prepared>, SandboxError> {
        let Revision { digest, grants, .. } = &registration.current;
        let kinds = grants.kinds();
        self.load_module(registration.tenant, *digest, kinds).await
    }

    /// A module under grants of these kinds, ready for calls. Loading goes on if the caller gives up, so that
    /// impatient callers cannot keep a large component from ever being loaded.
    ///
    /// # Errors
    /// When the component cannot be loaded; the next call tries again.
    pub async fn load_module(
        &self,
        tenant: TenantId,
        digest: Digest,
        kinds: Kinds,
    ) -> Result<Arc<Prepared>, SandboxError> {
        let key = Key {
            tenant,
            digest,
            kinds,
        };
        let cell = self.inner.cell(&key);
        if let Some(prepared) = cell.get() {
            return Ok(Arc::clone(prepared));
        }
        let inner = Arc::clone(&self.inner);
        let loading = tokio::spawn(async move {
            let prepared = cell.get_or_try_init(|| inner.prepare(&key)).await?;
            let size_bytes = prepared.size_bytes().saturating_add(BESIDE_CODE_BYTES);
            inner.shelf().note_loaded(&key, size_bytes);
            Ok(Arc::clone(prepared))
        });
        loading
            .await
            .unwrap_or_else(|error| Err(SandboxError::Internal(error.to_string())))
    }

    /// Lets go of what a removed tenant had.
    pub fn forget(&self, tenant: TenantId) {
        let mut shelf = self.inner.shelf();
        shelf.loaded.retain(|key, _| key.tenant != tenant);
    }
}

/// The files of a module whose bytes lie in `wasm`: where it is kept, or where it is staged.
pub(crate) fn files(
    modules: &Modules,
    tenant: TenantId,
    digest: &Digest,
    wasm: PathBuf,
) -> ModuleFiles {
    ModuleFiles {
        owner: owner(tenant),
        wasm,
        sha256: *digest.as_bytes(),
        artifact: modules.artifact_path(tenant, digest),
        binding: [&tenant.number().to_be_bytes()[..], digest.as_bytes()].concat(),
    }
}

/// A tenant, as the sandbox tells one from another.
pub(crate) fn owner(tenant: TenantId) -> Arc<str> {
    Arc::from(tenant.to_string())
}

impl<T> Shelf<T> {
    fn new(limits: &Limits) -> Self {
        Shelf {
            loaded: HashMap::new(),
            max_count: limits.max_loaded_modules,
            max_bytes: limits.max_loaded_module_bytes,
        }
    }

    fn cell(&mut self, key: &Key, last_use: u64) -> Arc<OnceCell<Arc<T>>> {
        if let Some(found) = self.loaded.get_mut(key) {
            found.last_use = last_use;
            return Arc::clone(&found.cell);
        }
        if self.loaded.len() as u64 >= self.max_count
            && let Some(gone) = self.next_to_go(key, self.max_count, |_| 1)
        {
            self.loaded.remove(&gone);
        }
        let cell = Arc::new(OnceCell::new());
        let loaded = Loaded {
            cell: Arc::clone(&cell),
            last_use,
            size_bytes: 0,
        };
        self.loaded.insert(key.clone(), loaded);
        cell
    }

    /// Notes how large `newest` is, and lets go of others until all are within the limit.
    fn note_loaded(&mut self, newest: &Key, size_bytes: u64) {
        if let Some(newest) = self.loaded.get_mut(newest) {
            newest.size_bytes = size_bytes;
        }
        let mut total_bytes: u64 = self.loaded.values().map(|one| one.size_bytes).sum();
        while total_bytes > self.max_bytes
            && let Some(gone) = self.next_to_go(newest, self.max_bytes, |one| one.size_bytes)
            && let Some(gone) = self.loaded.remove(&gone)
        {
            total_bytes = total_bytes.saturating_sub(gone.size_bytes);
        }
    }

    /// Who makes room for `newest`, of those that take any.
    fn next_to_go(&self, newest: &Key, max: u64, takes: impl Fn(&Loaded<T>) -> u64) -> Option<Key> {
        let is_own = |key: &Key| key.tenant == newest.tenant;
        let own = self.loaded.iter().filter(|(key, _)| is_own(key));
        let own: u64 = own.map(|(_, one)| takes(one)).sum();
        let oldest = |own_only: bool| {
            let others = self.loaded.iter().filter(|(key, one)| {
                *key != newest && takes(one) > 0 && (!own_only || is_own(key))
            });
            let oldest = others.min_by_key(|(_, one)| one.last_use);
            oldest.map(|(key, _)| key.clone())
        };
        let own = if own >= max.div_ceil(2) {
            oldest(true)
        } else {
            None
        };
        own.or_else(|| oldest(false))
    }

    /// Lets go of what was last used before the use of this number. What is being loaded stays: somebody waits for it.
    fn let_go_before(&mut self, mark: u64) {
        self.loaded
            .retain(|_, one| one.last_use >= mark || !one.cell.initialized());
    }
}

impl Inner {
    fn shelf(&self) -> MutexGuard<'_, Shelf<Prepared>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, key: &Key) -> Arc<OnceCell<Arc<Prepared>>> {
        let last_use = self.uses.fetch_add(1, Ordering::Relaxed);
        self.shelf().cell(key, last_use)
    }

    async fn prepare(&self, key: &Key) -> Result<Arc<Prepared>, SandboxError> {
        let wasm = self.modules.path(key.tenant, &key.digest);
        let files = files(&self.modules, key.tenant, &key.digest, wasm);
        let prepared = self.sandbox.prepare(&files, key.kinds).await?;
        // It may have been compiled again, by another engine.
        let (modules, tenant, digest) = (self.modules.clone(), key.tenant, key.digest);
        let measured = blocking(move || modules.measure_artifact(tenant, &digest)).await;
        measured.map_err(|error| SandboxError::Internal(error.to_string()))?;
        Ok(prepared)
    }
}

#[cfg(test)]
mod tests;
