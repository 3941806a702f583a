//! Changing the catalog: durable first, visible second.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Held, Inner};
use crate::registry::{
    Digest, RegisterOptions, Registration, RegistrationName, RegistryError, Revision, record,
};
use crate::storage::{Batch, Expect, encode};
use crate::tenant::{DeployPermit, TenantId, tenant_key};

/// How many revisions one commit forgets, should the limit have been lowered a lot. The next
/// commits forget the rest.
const MAX_FORGOTTEN_AT_ONCE: u64 = 1000;

impl Inner {
    pub(super) fn register(
        &self,
        permit: &DeployPermit,
        name: RegistrationName,
        digest: Digest,
        options: RegisterOptions,
    ) -> Result<Arc<Registration>, RegistryError> {
        let _changing = self.begin();
        let tenant = permit.tenant();
        let present = self
            .read()
            .get(&tenant)
            .and_then(|names| names.get(&name))
            .cloned();
        let actual = present
            .as_ref()
            .map(|held| held.registration.current.number);
        if !options.if_revision.holds(actual) {
            return Err(RegistryError::NotAsExpected { name, actual });
        }
        if self.modules.find(tenant, &digest).is_none() {
            return Err(RegistryError::NoSuchModule { digest });
        }
        match &present {
            None => self.room_for_another(tenant)?,
            Some(held) if held.registration.current.is_already(&digest, &options) => {
                return Ok(Arc::clone(&held.registration));
            }
            Some(_) => {}
        }
        let now = self.clock.now();
        let registration = Registration {
            tenant,
            name,
            created_at: present
                .as_ref()
                .map_or(now, |held| held.registration.created_at),
            current: Revision {
                number: actual.unwrap_or(0).saturating_add(1),
                digest,
                grants: options.grants,
                narrowing: options.narrowing,
                bindings: options.bindings,
                created_at: now,
                created_by: permit.holder(),
            },
        };
        self.append(registration, present.as_ref())
    }

    /// Commits a new current revision, forgetting the oldest ones beyond the limit.
    fn append(
        &self,
        registration: Registration,
        present: Option<&Held>,
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
        let committed = self.storage.commit(batch);
        let stored = committed.map_err(|error| RegistryError::committing(tenant, error))?;
        let registration = Arc::new(registration);
        let held = Held {
            registration: Arc::clone(&registration),
            first_kept,
            stored,
        };
        self.write().entry(tenant).or_default().insert(name, held);
        Ok(registration)
    }

    fn room_for_another(&self, tenant: TenantId) -> Result<(), RegistryError> {
        let present = self.read().get(&tenant).map_or(0, HashMap::len);
        if u64::try_from(present).unwrap_or(u64::MAX) >= self.max_registrations {
            let limit = self.max_registrations;
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
