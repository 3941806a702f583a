//! The leases of one tenant, by whom they serve and under which name.

use std::collections::HashMap;
use std::sync::Arc;

use rpc_host_protocol::message::ProvideScope;

use super::{Lease, ProviderError};
use crate::session::SessionId;

pub(super) type Names = HashMap<Arc<str>, Arc<Lease>>;

/// The leases of one tenant.
#[derive(Default)]
pub(super) struct Leases {
    /// Those that serve all of it.
    pub(super) wide: Names,
    /// Those that serve one session each.
    pub(super) overlays: HashMap<SessionId, Names>,
}

/// How many leases there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) per_session: u64,
    pub(super) per_tenant: u64,
}

impl Room {
    /// That there is room for one more lease of a session, in the place of `replaced` if there is one.
    pub(super) fn check(
        &self,
        leases: &Leases,
        session: SessionId,
        replaced: Option<&Lease>,
    ) -> Result<(), ProviderError> {
        let (mut of_tenant, mut of_session) = (0, 0);
        for lease in leases.all() {
            if replaced.is_none_or(|replaced| replaced.id() != lease.id()) {
                of_tenant += 1;
                of_session += u64::from(lease.session() == session);
            }
        }
        for (count, limit, of) in [
            (of_session, self.per_session, "session"),
            (of_tenant, self.per_tenant, "tenant"),
        ] {
            if count >= limit {
                return Err(ProviderError::TooMany { of, limit });
            }
        }
        Ok(())
    }
}

impl Leases {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Lease>> {
        let overlays = self.overlays.values().flat_map(HashMap::values);
        self.wide.values().chain(overlays)
    }

    pub(super) fn get(
        &self,
        scope: ProvideScope,
        session: SessionId,
        name: &str,
    ) -> Option<&Arc<Lease>> {
        match scope {
            ProvideScope::Tenant => self.wide.get(name),
            ProvideScope::Session => self.overlays.get(&session)?.get(name),
        }
    }

    /// Puts a lease in its place; gives the one that it takes it from.
    pub(super) fn put(&mut self, lease: &Arc<Lease>) -> Option<Arc<Lease>> {
        let names = match lease.scope() {
            ProvideScope::Tenant => &mut self.wide,
            ProvideScope::Session => self.overlays.entry(lease.session()).or_default(),
        };
        // The key is the new one's as well: the old one's would keep its name alive beside it.
        let before = names.remove(lease.name());
        names.insert(Arc::clone(lease.shared_name()), Arc::clone(lease));
        before
    }

    /// Takes out this very lease. False: it is not there.
    pub(super) fn take(&mut self, lease: &Lease) -> bool {
        let (scope, session, name) = (lease.scope(), lease.session(), lease.name());
        if self
            .get(scope, session, name)
            .is_none_or(|one| one.id() != lease.id())
        {
            return false;
        }
        match scope {
            ProvideScope::Tenant => {
                self.wide.remove(name);
            }
            ProvideScope::Session => {
                if let Some(names) = self.overlays.get_mut(&session) {
                    names.remove(name);
                    if names.is_empty() {
                        self.overlays.remove(&session);
                    }
                }
            }
        }
        true
    }
}
