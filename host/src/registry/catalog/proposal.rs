//! A change that is not made yet, and whom it concerns.
//!
//! Whether a change breaks something can take long to tell: components have to be loaded for it. So it
//! is told without any lock, of the state of one moment, and the change is committed only if that state
//! still stands; or else all begins anew.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Held, Inner, Names};
use crate::clock::Timestamp;
use crate::registry::{
    Digest, IfRevision, ImportName, Registration, RegistrationName, RegistryError, Revision, Wish,
    record,
};
use crate::storage::KeyRevision;
use crate::tenant::{Credential, DeployPermit, TenantId};

/// The modules of a tenant that import anything that registrations answer, and what.
type Importing = HashMap<Digest, Arc<[ImportName]>>;

/// What a wish comes to.
pub enum Proposed {
    /// It is so already.
    Stands(Arc<Registration>),
    /// It would be a change.
    Change(Box<Proposal>),
}

/// A change of a registration that is not made yet.
pub struct Proposal {
    /// The registration as it would be.
    pub registration: Registration,
    pub(super) present: Option<Held>,
    /// How many registrations the tenant may have.
    pub(super) max_registrations: u64,
}

/// A registration that imports something through a name.
#[derive(Clone, Debug)]
pub struct Dependent {
    /// Which registration.
    pub registration: Arc<Registration>,
    /// Which of its imports.
    pub import: ImportName,
    stored: KeyRevision,
}

/// What would answer an import of the registration that is to be changed.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Which import.
    pub import: ImportName,
    /// Which registration. None: the changed one itself.
    pub by: Option<Arc<Registration>>,
    stored: Option<KeyRevision>,
}

/// Whom a change concerns, as of one moment.
#[derive(Debug)]
pub struct Concerned {
    /// What the name stands for.
    pub present: Option<Arc<Registration>>,
    /// The paths that clients have called under the name.
    pub called: Vec<Arc<str>>,
    /// Who would import through the name, once the change is made.
    pub dependents: Vec<Dependent>,
    /// Who would answer the imports of the registration, as far as there is anybody.
    pub answers: Vec<Answer>,
    stored: Option<KeyRevision>,
    additions: u64,
}

impl Inner {
    pub(super) fn propose(
        &self,
        permit: &DeployPermit,
        name: RegistrationName,
        wish: Wish,
        if_revision: IfRevision,
    ) -> Result<Proposed, RegistryError> {
        let tenant = permit.tenant();
        let found = self.find(tenant, name.as_str());
        let actual = found.as_ref().ok();
        let actual = actual.map(|held| held.registration.current.number);
        // What is not there cannot be swapped, whatever it was expected to be.
        let may_be = actual.is_some() || matches!(wish, Wish::Register(..));
        if may_be && !if_revision.holds(actual) {
            return Err(RegistryError::NotAsExpected { name, actual });
        }
        let now = self.clock.now();
        let (present, mut next) = self.wished(wish, found, (now, permit.holder()))?;
        let digest = next.digest;
        if self.modules.find(tenant, &digest).is_none() {
            return Err(RegistryError::NoSuchModule { digest });
        }
        let earlier = present.as_ref().map(|held| &held.registration);
        if let Some(earlier) = earlier
            && earlier.current.is_like(&next)
        {
            return Ok(Proposed::Stands(Arc::clone(earlier)));
        }
        next.number = earlier.map_or(1, |earlier| earlier.current.number.saturating_add(1));
        (next.created_at, next.created_by) = (now, permit.holder());
        let registration = Registration {
            tenant,
            name,
            created_at: earlier.map_or(now, |earlier| earlier.created_at),
            current: next,
            called: earlier.map_or_else(Arc::default, |earlier| Arc::clone(&earlier.called)),
        };
        Ok(Proposed::Change(Box::new(Proposal {
            registration,
            present,
            max_registrations: permit.settings().limits().max_registrations_per_tenant,
        })))
    }

    /// What is there, and the revision that a wish makes of it, but for its number, time and author.
    fn wished(
        &self,
        wish: Wish,
        found: Result<Held, RegistryError>,
        (created_at, created_by): (Timestamp, Credential),
    ) -> Result<(Option<Held>, Revision), RegistryError> {
        match wish {
            Wish::Register(digest, options) => {
                let next = Revision {
                    number: 0,
                    digest,
                    grants: Arc::new(options.grants),
                    narrowing: options.narrowing,
                    bindings: options.bindings,
                    sealed: options.sealed,
                    instancing: options.instancing,
                    restores: None,
                    created_at,
                    created_by,
                };
                Ok((found.ok(), next))
            }
            Wish::Swap(digest) => {
                let present = found?;
                let next = Revision {
                    digest,
                    restores: None,
                    ..present.registration.current.clone()
                };
                Ok((Some(present), next))
            }
            Wish::Restore(number) => {
                let present = found?;
                let next = self.kept(&present.registration, number)?;
                Ok((Some(present), next))
            }
            Wish::Rollback => {
                let present = found?;
                let of = &present.registration;
                let before = of.current.number.saturating_sub(1);
                if before == 0 {
                    let name = of.name.clone();
                    return Err(RegistryError::NoEarlierRevision { name });
                }
                let next = self.kept(of, before)?;
                Ok((Some(present), next))
            }
        }
    }

    /// An earlier revision, to be brought back.
    fn kept(&self, of: &Registration, number: u64) -> Result<Revision, RegistryError> {
        let key = record::revisions(of.tenant, &of.name).join_number(number);
        let Some(entry) = self.storage.get(&key)? else {
            let name = of.name.clone();
            return Err(RegistryError::NoSuchRevision { name, number });
        };
        Ok(Revision {
            restores: Some(number),
            ..record::read_revision(&entry)?
        })
    }

    pub(super) fn concerned(&self, proposal: &Proposal) -> Concerned {
        let Registration {
            tenant,
            name,
            current,
            called,
            ..
        } = &proposal.registration;
        let importing = self.modules.importing(*tenant);
        let called = called.then();
        let known = self.read();
        let none = Names::new();
        let names = known.get(tenant).unwrap_or(&none);
        let dependents = dependents(names, &importing, name);

        let is_there = |other: &&str| *other == name.as_str() || names.contains_key(*other);
        let mut answers = Vec::new();
        for import in imports(&importing, current) {
            let mut candidates = current.bindings.candidates(import.as_str());
            if let Some(answering) = candidates.find(is_there) {
                let by = names
                    .get(answering)
                    .filter(|held| held.registration.name != *name);
                answers.push(Answer {
                    import: import.clone(),
                    by: by.map(|held| Arc::clone(&held.registration)),
                    stored: by.map(|held| held.stored),
                });
            }
        }
        let present = names.get(name);
        Concerned {
            present: present.map(|held| Arc::clone(&held.registration)),
            stored: present.map(|held| held.stored),
            called: called.paths,
            additions: called.additions,
            dependents,
            answers,
        }
    }

    pub(super) fn dependents(&self, tenant: TenantId, name: &RegistrationName) -> Vec<Dependent> {
        let importing = self.modules.importing(tenant);
        let known = self.read();
        let names = known.get(&tenant);
        names.map_or_else(Vec::new, |names| dependents(names, &importing, name))
    }

    /// Whether all that a proposal was made of and checked against is as it was. Commits number what
    /// they write and never use a number twice, so what has the same number is the same.
    pub(super) fn stands(&self, proposal: &Proposal, checked: &Concerned) -> bool {
        let now = self.concerned(proposal);
        now.stored == proposal.present.as_ref().map(|held| held.stored)
            && now.stored == checked.stored
            && now.additions == checked.additions
            && now
                .dependents
                .iter()
                .map(Dependent::order)
                .eq(checked.dependents.iter().map(Dependent::order))
            && now
                .answers
                .iter()
                .map(Answer::order)
                .eq(checked.answers.iter().map(Answer::order))
    }
}

/// Who imports something through a name, if there is anybody who has it.
fn dependents(names: &Names, importing: &Importing, name: &RegistrationName) -> Vec<Dependent> {
    let is_there = |other: &&str| *other == name.as_str() || names.contains_key(*other);
    let mut dependents = Vec::new();
    for held in names.values() {
        let other = &held.registration;
        for import in imports(importing, &other.current) {
            let mut candidates = other.current.bindings.candidates(import.as_str());
            if candidates.find(is_there) == Some(name.as_str()) && other.name != *name {
                dependents.push(Dependent {
                    registration: Arc::clone(other),
                    import: import.clone(),
                    stored: held.stored,
                });
            }
        }
    }
    dependents.sort_by(|one, other| one.order().cmp(&other.order()));
    dependents
}

fn imports<'a>(importing: &'a Importing, revision: &Revision) -> &'a [ImportName] {
    let imports = importing.get(&revision.digest);
    imports.map_or(&[][..], |imports| imports)
}

impl Dependent {
    fn order(&self) -> (&RegistrationName, &ImportName, KeyRevision) {
        (&self.registration.name, &self.import, self.stored)
    }
}

impl Answer {
    fn order(&self) -> (&ImportName, Option<KeyRevision>) {
        (&self.import, self.stored)
    }
}

#[cfg(test)]
mod tests;
