//! What clients call, noted on the way of the call and written down later.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Catalog, Inner};
use crate::registry::{Registration, RegistrationName, RegistryError, record};
use crate::storage::{Batch, Expect, blocking, encode};
use crate::tenant::{TenantId, tenant_key};

/// From the first new path to its record, so that one commit has many.
const WRITE_AFTER: Duration = Duration::from_secs(1);
/// Names in one commit, of up to 64 KiB each.
const MAX_NAMES_AT_ONCE: usize = 64;

/// Names under which something was called that the store does not know of.
pub(super) type Noted = HashMap<TenantId, HashSet<RegistrationName>>;

impl Catalog {
    /// Notes that a client called a function by `path` under a registration's name. A read lock and a
    /// look-up, but for the first time.
    pub fn note_call(&self, registration: &Registration, path: &str) {
        if registration.called.note(path) {
            let (tenant, name) = (registration.tenant, registration.name.clone());
            self.inner.noted().entry(tenant).or_default().insert(name);
            self.inner.noting.notify_one();
        }
    }

    /// Writes down what was noted, a moment after it was. Never ends.
    pub async fn keep_notes(&self) -> Infallible {
        loop {
            self.inner.noting.notified().await;
            tokio::time::sleep(WRITE_AFTER).await;
            if let Err(error) = self.write_notes().await {
                // It is in memory, and the next new path of the name brings it along.
                tracing::error!(%error, "what clients call was not written down");
            }
        }
    }

    /// Writes down what was noted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn write_notes(&self) -> Result<(), RegistryError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.write_notes()).await?
    }
}

impl Inner {
    fn write_notes(&self) -> Result<(), RegistryError> {
        loop {
            // Taken while nobody else writes: who finds nothing left knows that all of it is durable. And
            // nobody removes a name meanwhile, so no record outlives its registration.
            let _changing = self.begin();
            let Some((tenant, names)) = take_some(&mut self.noted()) else {
                return Ok(());
            };
            self.write_some(tenant, &names)?;
        }
    }

    fn write_some(
        &self,
        tenant: TenantId,
        names: &[RegistrationName],
    ) -> Result<(), RegistryError> {
        let mut batch = Batch::new().expect(tenant_key(tenant), Expect::Present);
        for name in names {
            if let Ok(held) = self.find(tenant, name.as_str()) {
                let paths = held.registration.called.then().paths;
                let record = encode(&record::CalledRecord { paths })?;
                batch = batch.put(record::called(tenant, name), record);
            }
        }
        let committed = self.storage.commit(batch);
        match committed.map_err(|error| RegistryError::committing(tenant, error)) {
            Ok(_) | Err(RegistryError::TenantGone) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many names of one tenant as one commit takes.
fn take_some(noted: &mut Noted) -> Option<(TenantId, Vec<RegistrationName>)> {
    let (&tenant, names) = noted.iter_mut().next()?;
    let some: Vec<_> = names.iter().take(MAX_NAMES_AT_ONCE).cloned().collect();
    names.retain(|name| !some.contains(name));
    if names.is_empty() {
        noted.remove(&tenant);
    }
    Some((tenant, some))
}
