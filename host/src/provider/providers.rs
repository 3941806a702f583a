//! All leases of the node, and who serves what.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rpc_host_protocol::message::{Fallback, ProvideScope};

use super::lease::Use;
use super::table::Leases;
use super::{Lease, LeaseEnd, Offer, ProviderError, keeper};
use crate::clock::WallClock;
use crate::registry::RegistrationName;
use crate::sandbox::Functions;
use crate::session::{Reach, SessionId};
use crate::tenant::{Credential, TenantId};

/// What clients serve on this node. A clone is another handle to the same.
///
/// A name is answered by the lease that the asking session itself has on it, else by one that serves
/// the whole tenant. A lease that ended without anybody wanting it, and whose client chose that nobody
/// else answers, stays as a gravestone until somebody decides.
#[derive(Clone)]
pub struct Providers {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn WallClock>,
    last_id: AtomicU64,
    /// How many leases the table holds, for the calls of a node where nobody serves anything.
    count: AtomicUsize,
    table: RwLock<HashMap<TenantId, Leases>>,
}

/// Who answers for a name, if it is a client.
#[derive(Debug)]
pub enum Found {
    /// This one.
    Serving(Serving),
    /// One that is lost, and that nobody is to stand in for.
    Lost(ProviderError),
}

/// A lease that was found for a call. Hold it until the call is over: as long as one is held, a client
/// that is let go gracefully stays.
pub struct Serving(Use);

impl Deref for Serving {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        self.0.lease()
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

impl Providers {
    /// Nobody serves anything yet.
    pub fn new(clock: Arc<dyn WallClock>) -> Self {
        Providers {
            inner: Arc::new(Inner {
                clock,
                last_id: AtomicU64::new(0),
                count: AtomicUsize::new(0),
                table: RwLock::default(),
            }),
        }
    }

    /// Which client answers for a name: to `session` and the tenant, or to the tenant alone.
    pub fn find(&self, tenant: TenantId, session: Option<SessionId>, name: &str) -> Option<Found> {
        if self.inner.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let table = self.read();
        let leases = table.get(&tenant)?;
        let own = session.and_then(|session| leases.overlays.get(&session)?.get(name));
        [own, leases.wide.get(name)]
            .into_iter()
            .flatten()
            .find_map(found)
    }

    /// The lease by which a client serves a name to the whole tenant now.
    pub fn serving_tenant(&self, tenant: TenantId, name: &str) -> Option<Serving> {
        match self.find(tenant, None, name)? {
            Found::Serving(serving) => Some(serving),
            Found::Lost(_) => None,
        }
    }

    /// Refuses to change by registering what a client serves to the whole tenant, unless that is under
    /// the lease `promoted`.
    ///
    /// # Errors
    /// When a client serves it.
    pub fn check_unserved(
        &self,
        tenant: TenantId,
        name: &str,
        promoted: Option<u64>,
    ) -> Result<(), ProviderError> {
        match self.serving_tenant(tenant, name) {
            None => Ok(()),
            Some(serving) if Some(serving.id()) == promoted => Ok(()),
            Some(serving) => Err(ProviderError::ServedByClient {
                name: name.to_owned(),
                session: serving.session(),
            }),
        }
    }

    /// Lets a client serve a name. A session that serves it already in the same scope gets a new lease
    /// for it; calls under way there end under the old one.
    ///
    /// # Errors
    /// When another session serves the name to the tenant, when there are too many leases, or when the
    /// session is over.
    pub fn grant(
        &self,
        offer: Offer,
        tenant: TenantId,
        holder: Credential,
        contract: Functions,
        reach: Reach,
    ) -> Result<Arc<Lease>, ProviderError> {
        let session = reach.session();
        let mut table = self.write();
        let leases = table.entry(tenant).or_default();
        let present = leases.get(offer.scope, session, &offer.name).cloned();
        if let Some(present) = &present
            && present.session() != session
            && present.ended().is_none()
        {
            return Err(ProviderError::Taken {
                name: present.name().to_owned(),
                session: present.session(),
                holder: present.holder().described(),
            });
        }
        offer.room.check(leases, session, present.as_deref())?;
        let id = self.inner.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let since = self.inner.clock.now();
        let lease = Lease::new(id, offer, (tenant, holder), contract, reach, since);
        let lease = Arc::new(lease);
        // The session's end is noted in its reach before it is here, so none is missed.
        if lease.reach().is_ended() {
            return Err(ProviderError::lost(&lease, LeaseEnd::Disconnected));
        }
        if leases.put(&lease).is_none() {
            self.inner.count.fetch_add(1, Ordering::Relaxed);
        }
        drop(table);
        tracing::info!(name = lease.name(), lease = id, %session, "a client serves a name");
        tokio::spawn(keeper::keep(self.clone(), Arc::clone(&lease)));
        if let Some(present) = present {
            self.retire(present, LeaseEnd::Replaced);
        }
        Ok(lease)
    }

    /// Ends what a session serves under a name, or one lease of that.
    ///
    /// # Errors
    /// When it serves nothing there.
    pub fn withdraw(
        &self,
        tenant: TenantId,
        session: SessionId,
        name: &RegistrationName,
        lease: Option<u64>,
    ) -> Result<(), ProviderError> {
        let own = self.all(tenant, |one| {
            one.session() == session
                && one.name() == name.as_str()
                && lease.is_none_or(|lease| one.id() == lease)
        });
        if own.is_empty() {
            let name = name.to_string();
            return Err(ProviderError::NotServing { name });
        }
        self.end_all(own, &LeaseEnd::Withdrawn);
        Ok(())
    }

    /// Ends what any session serves under a name to the whole tenant.
    ///
    /// # Errors
    /// When none serves it.
    pub fn steal(
        &self,
        tenant: TenantId,
        by: Credential,
        name: &RegistrationName,
        lease: Option<u64>,
    ) -> Result<(), ProviderError> {
        let theirs = self.all(tenant, |one| {
            one.scope() == ProvideScope::Tenant
                && one.name() == name.as_str()
                && lease.is_none_or(|lease| one.id() == lease)
        });
        if theirs.is_empty() {
            let name = name.to_string();
            return Err(ProviderError::NotServed { name });
        }
        self.end_all(theirs, &LeaseEnd::Stolen(by));
        Ok(())
    }

    /// A registration answers for a name now. The lease `promoted`, if it still serves the name, serves
    /// it for no new call, and ends when those are over that have found it. Of one that was lost, nothing
    /// is left.
    pub fn registered(&self, tenant: TenantId, name: &str, promoted: Option<u64>) {
        let present = self
            .read()
            .get(&tenant)
            .and_then(|leases| leases.wide.get(name).cloned());
        let Some(lease) = present else {
            return;
        };
        let is_lost = lease.ended().is_some();
        if is_lost || Some(lease.id()) == promoted {
            self.remove(&lease);
        }
        if !is_lost && Some(lease.id()) == promoted {
            self.retire(lease, LeaseEnd::Promoted);
        }
    }

    /// What is served to the tenant and, beyond that, to one of its sessions; what was lost as well.
    pub fn list(&self, tenant: TenantId, session: SessionId) -> Vec<Arc<Lease>> {
        let mut leases = self.all(tenant, |lease| {
            lease.scope() == ProvideScope::Tenant || lease.session() == session
        });
        leases.sort_by(|one, other| (one.name(), one.id()).cmp(&(other.name(), other.id())));
        leases
    }

    /// Whether a session serves something.
    pub fn is_serving(&self, tenant: TenantId, session: SessionId) -> bool {
        !self
            .all(tenant, |lease| {
                lease.session() == session && lease.ended().is_none()
            })
            .is_empty()
    }

    /// The connection of a session is gone, and its reach has ended.
    pub fn session_ended(&self, tenant: TenantId, session: SessionId) {
        for lease in self.all(tenant, |lease| lease.session() == session) {
            self.end(&lease, LeaseEnd::Disconnected);
            if lease.scope() == ProvideScope::Session {
                // There is nobody left whom its gravestone could tell.
                self.remove(&lease);
            }
        }
    }

    /// A tenant is gone.
    pub fn forget(&self, tenant: TenantId) {
        for lease in self.all(tenant, |_| true) {
            self.end(&lease, LeaseEnd::TenantRemoved);
        }
    }

    /// Ends a lease. Calls under way end with it; where nobody wanted the end and nobody is to stand in,
    /// a gravestone stays.
    pub(super) fn end(&self, lease: &Arc<Lease>, how: LeaseEnd) {
        let is_first = lease.finish(&how);
        let stays = how.is_a_loss() && lease.fallback() == Fallback::Error;
        if !stays {
            self.remove(lease);
        }
        if is_first {
            let (name, session) = (lease.name(), lease.session());
            tracing::info!(name, lease = lease.id(), %session, %how, "a client serves a name no more");
        }
    }

    /// Ends a lease that is in no table any more, once the calls are over that have found it there.
    fn retire(&self, lease: Arc<Lease>, how: LeaseEnd) {
        let providers = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ended = lease.over() => {}
                () = lease.unused() => providers.end(&lease, how),
            }
        });
    }

    fn end_all(&self, leases: Vec<Arc<Lease>>, how: &LeaseEnd) {
        for lease in leases {
            self.end(&lease, how.clone());
        }
    }

    /// Takes a lease out of the table, if it is in there and not another that came after it.
    fn remove(&self, lease: &Lease) {
        let mut table = self.write();
        let Some(leases) = table.get_mut(&lease.tenant()) else {
            return;
        };
        if leases.take(lease) {
            self.inner.count.fetch_sub(1, Ordering::Relaxed);
        }
        if leases.all().next().is_none() {
            table.remove(&lease.tenant());
        }
    }

    fn all(&self, tenant: TenantId, wanted: impl Fn(&Lease) -> bool) -> Vec<Arc<Lease>> {
        let table = self.read();
        let leases = table.get(&tenant).into_iter().flat_map(Leases::all);
        leases.filter(|lease| wanted(lease)).cloned().collect()
    }

    /// Whether nothing is left of anybody.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.read().is_empty() && self.inner.count.load(Ordering::Relaxed) == 0
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<TenantId, Leases>> {
        self.inner
            .table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<TenantId, Leases>> {
        self.inner
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a lease in the table means for a call.
fn found(lease: &Arc<Lease>) -> Option<Found> {
    match lease.ended() {
        None => Some(Found::Serving(Serving(Use::of(lease)))),
        Some(how) if how.is_a_loss() && lease.fallback() == Fallback::Error => {
            Some(Found::Lost(ProviderError::lost(lease, how)))
        }
        Some(_) => None,
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.inner.count.load(Ordering::Relaxed);
        formatter
            .debug_struct("Providers")
            .field("leases", &count)
            .finish_non_exhaustive()
    }
}
