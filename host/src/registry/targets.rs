//! Registrations → components that are ready for calls.
//!
//! A component is loaded when it is first called and kept, with its links, for the next call. What is
//! loaded is bounded in number and in bytes; the one that was not used for longest goes first.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::{Digest, Modules, Registration, Revision};
use crate::capability::Kinds;
use crate::sandbox::{ModuleFiles, Prepared, Sandbox, SandboxError};
use crate::storage::blocking;
use crate::tenant::TenantId;

/// Components that are kept loaded. A small one takes some hundred kilobytes, an interpreter tens of
/// megabytes.
const MAX_LOADED: usize = 256;
/// Bytes that all of them together may take.
const MAX_LOADED_BYTES: u64 = 2 << 30;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    digest: Digest,
    kinds: Kinds,
}

#[derive(Clone)]
struct Loaded {
    cell: Arc<OnceCell<Arc<Prepared>>>,
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
    loaded: Mutex<HashMap<Key, Loaded>>,
    uses: AtomicU64,
}

impl Targets {
    /// Loads from `modules` into `sandbox`.
    pub fn new(sandbox: Arc<Sandbox>, modules: Modules) -> Self {
        Targets {
            inner: Arc::new(Inner {
                sandbox,
                modules,
                loaded: Mutex::new(HashMap::new()),
                uses: AtomicU64::new(0),
            }),
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
            make_room(
                &mut inner.loaded(),
                &key,
                prepared.size_bytes(),
                MAX_LOADED_BYTES,
            );
            Ok(Arc::clone(prepared))
        });
        loading
            .await
            .unwrap_or_else(|error| Err(SandboxError::Internal(error.to_string())))
    }

    /// Lets go of what a removed tenant had.
    pub fn forget(&self, tenant: TenantId) {
        self.inner.loaded().retain(|key, _| key.tenant != tenant);
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

/// Notes how large `newest` is, and lets go of others until all are within the limit.
fn make_room(loaded: &mut HashMap<Key, Loaded>, newest: &Key, size_bytes: u64, max_bytes: u64) {
    if let Some(newest) = loaded.get_mut(newest) {
        newest.size_bytes = size_bytes;
    }
    let mut total_bytes: u64 = loaded.values().map(|one| one.size_bytes).sum();
    while total_bytes > max_bytes {
        let others = loaded
            .iter()
            .filter(|(key, one)| *key != newest && one.size_bytes > 0);
        let oldest = others.min_by_key(|(_, one)| one.last_use);
        let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
            return;
        };
        if let Some(gone) = loaded.remove(&oldest) {
            total_bytes = total_bytes.saturating_sub(gone.size_bytes);
        }
    }
}

impl Inner {
    fn loaded(&self) -> MutexGuard<'_, HashMap<Key, Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, key: &Key) -> Arc<OnceCell<Arc<Prepared>>> {
        let last_use = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut loaded = self.loaded();
        if let Some(found) = loaded.get_mut(key) {
            found.last_use = last_use;
            return Arc::clone(&found.cell);
        }
        if loaded.len() >= MAX_LOADED {
            let oldest = loaded
                .iter()
                .min_by_key(|(_, one)| one.last_use)
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                loaded.remove(&oldest);
            }
        }
        let cell = Arc::new(OnceCell::new());
        loaded.insert(
            key.clone(),
            Loaded {
                cell: Arc::clone(&cell),
                last_use,
                size_bytes: 0,
            },
        );
        cell
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
mod tests {
    use super::*;
    use crate::tenant::Principal;

    #[test]
    fn the_largest_go_only_when_they_are_the_oldest() {
        let key = |number: u8| Key {
            tenant: Principal::for_tests("team").tenant(),
            digest: Digest::from_hex(&format!("{number:02x}").repeat(32)).unwrap(),
            kinds: Kinds::default(),
        };
        let mut loaded = HashMap::new();
        for number in 0..5 {
            let one = Loaded {
                cell: Arc::default(),
                last_use: u64::from(number),
                size_bytes: 0,
            };
            loaded.insert(key(number), one);
        }
        let kept = |loaded: &HashMap<Key, Loaded>| -> Vec<u8> {
            (0..5)
                .filter(|number| loaded.contains_key(&key(*number)))
                .collect()
        };
        for number in 0..4 {
            make_room(&mut loaded, &key(number), 10, 40);
        }
        assert_eq!(kept(&loaded), [0, 1, 2, 3, 4], "all within the limit");
        make_room(&mut loaded, &key(4), 15, 40);
        assert_eq!(kept(&loaded), [2, 3, 4]);
        make_room(&mut loaded, &key(4), 100, 40);
        assert_eq!(kept(&loaded), [4], "the one in use stays, however large");
    }
}
