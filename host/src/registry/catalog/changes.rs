//! Changing the catalog: durable first, visible second.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Concerned, Held, Inner, Proposal};
use crate::registry::{Digest, Registration, RegistryError, record};
use crate::storage::{Batch, Expect, encode};
use crate::tenant::{TenantId, tenant_key};

/// How many revisions one commit forgets, should the limit have been lowered a lot. The next
/// commits forget the rest.
const MAX_FORGOTTEN_AT_ONCE: u64 = 1000;

impl Inner {
    /// Makes a proposal hold, if all that it was checked against still stands; `gone` is what clients
    /// have called under the name and can no more.
    pub(super) fn commit(
        &self,
        proposal: &Proposal,
        checked: &Concerned,
        gone: &[Arc<str>],
    ) -> Result<Option<Arc<Registration>>, RegistryError> {
        let _changing = self.begin();
        if !self.stands(proposal, checked) {
            return Ok(None);
        }
        let registration = &proposal.registration;
        let (tenant, digest) = (registration.tenant, registration.current.digest);
        if self.modules.find(tenant, &digest).is_none() {
            return Err(RegistryError::NoSuchModule { digest });
        }
        if proposal.present.is_none() {
            self.room_for_another(tenant, proposal.max_registrations)?;
        }
        let registration = self.append(registration.clone(), proposal.present.as_ref(), gone)?;
        Ok(Some(registration))
    }

    /// Commits a new current revision, forgetting the oldest ones beyond the limit.
    fn append(
        &self,
        registration: Registration,
        present: Option<&Held>,
        gone: &[Arc<str>],
    ) -> Result<Arc<Registration>, RegistryError> {
        let (tenant, name, current) = (
            registration.tenant,
            registration.name.clone(),
            &registration.current,
        );
        let oldest = present.map_or(1, |held| held.first_kept);
        let first_kept = current
            .number
            .saturating_sub(self.max_revisions)
            .saturating_add(1)
            .clamp(oldest, oldest.saturating_add(MAX_FORGOTTEN_AT_ONCE));
        let key = record::registration(tenant, &name);
        let unchanged = present.map_or(Expect::Absent, |held| Expect::At(held.stored));
        let revisions = record::revisions(tenant, &name);
        let mut batch = Batch::new()
            .expect(tenant_key(tenant), Expect::Present)
            .expect(record::module(tenant, &current.digest), Expect::Present)
            .expect(key.clone(), unchanged)
            .put(
                key,
                encode(&record::RegistrationRecord::new(&registration, first_kept))?,
            )
            .put(
                revisions.clone().join_number(current.number),
                encode(&record::RevisionRecord::from(current))?,
            );
        for number in oldest..first_kept {
            batch = batch.delete(revisions.clone().join_number(number));
        }
        if !gone.is_empty() {
            let mut paths = registration.called.then().paths;
            paths.retain(|path| !gone.contains(path));
            let record = record::CalledRecord { paths };
            batch = batch.put(record::called(tenant, &name), encode(&record)?);
        }
        let committed = self.storage.commit(batch);
        let stored = committed.map_err(|error| RegistryError::committing(tenant, error))?;
        let registration = Arc::new(registration);
        let held = Held {
            registration: Arc::clone(&registration),
            first_kept,
            stored,
        };
        self.write().entry(tenant).or_default().insert(name, held);
        registration.called.forget(gone);
        Ok(registration)
    }

    fn room_for_another(&self, tenant: TenantId, limit: u64) -> Result<(), RegistryError> {
        let present = self.read().get(&tenant).map_or(0, HashMap::len);
        if u64::try_from(present).unwrap_or(u64::MAX) >= limit {
            return Err(RegistryError::TooMany {
                what: "registrations",
                limit,
            });
        }
        Ok(())
    }

    pub(super) fn remove(&self, tenant: TenantId, name: &str) -> Result<(), RegistryError> {
        let _changing = self.begin();
        let held = self.find(tenant, name)?;
        let name = &held.registration.name;
        let batch = Batch::new()
            .expect(record::registration(tenant, name), Expect::At(held.stored))
            .delete(record::registration(tenant, name))
            .delete(record::called(tenant, name))
            .delete_below(record::revisions(tenant, name).below());
        self.storage.commit(batch)?;
        if let Some(names) = self.write().get_mut(&tenant) {
            names.remove(name);
        }
        Ok(())
    }

    pub(super) fn remove_module(
        &self,
        tenant: TenantId,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let _changing = self.begin();
        for registration in self.all(tenant) {
            let used = registration.current.digest == *digest
                || self
                    .history(&registration)?
                    .iter()
                    .any(|revision| revision.digest == *digest);
            if used {
                let by = registration.name.clone();
                return Err(RegistryError::ModuleInUse {
                    digest: *digest,
                    by,
                });
            }
        }
        self.modules.remove(tenant, digest)
    }
}
