//! What the client of a session holds, and what is kept for it.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rpc_host_protocol::Failure;
use rpc_host_protocol::message::Release;
use rpc_host_protocol::value::Handle;
use tokio::time::Instant;

use super::Node;
use super::calls::caller_of_session;
use super::kept::Kept;
use super::release::{Bounds, by_root};
use super::root::{Caller, Lasts, Root};
use crate::account::{Account, Quantity};
use crate::budget::Budget;
use crate::config::Limits;
use crate::error::HostError;
use crate::objects::{Gone, ObjectError, Table};
use crate::registry::RegistrationName;
use crate::session::{Origin, Reach, SessionId};
use crate::tenant::{Principal, TenantId};

/// Where an object is that a session holds.
#[derive(Clone)]
pub(super) struct Spot {
    pub(super) root: Arc<Root>,
    /// Its number among the objects of the root.
    pub(super) object: Handle,
}

impl PartialEq for Spot {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root) && self.object == other.object
    }
}

impl Eq for Spot {}

impl Hash for Spot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.root).hash(state);
        self.object.hash(state);
    }
}

/// What one session holds.
pub(super) struct Holdings {
    tenant: TenantId,
    reach: Reach,
    table: Mutex<Table<Spot>>,
    /// How many instances are there for it.
    pinned: Arc<Quantity>,
    /// Those of registrations that have one for each session; none when it has ended.
    kept: Mutex<Option<HashMap<RegistrationName, Arc<Kept>>>>,
}

impl Holdings {
    fn new(tenant: TenantId, reach: Reach, limits: &Limits) -> Self {
        Holdings {
            tenant,
            reach,
            table: Mutex::new(Table::new(limits.max_handles_per_session)),
            pinned: Arc::new(Quantity::new(limits.max_pinned_instances_per_session)),
            kept: Mutex::new(Some(HashMap::new())),
        }
    }

    /// The instance that a registration has for this session.
    ///
    /// # Errors
    /// When the session has ended.
    pub(super) fn kept(&self, name: &RegistrationName) -> Result<Arc<Kept>, ObjectError> {
        let mut kept = self.all_kept();
        let kept = kept.as_mut().ok_or(ObjectError::SessionOver)?;
        if let Some(one) = kept.get(name) {
            return Ok(Arc::clone(one));
        }
        let one = Arc::new(Kept::new(Some(Arc::clone(&self.pinned))));
        kept.insert(name.clone(), Arc::clone(&one));
        Ok(one)
    }

    fn all_kept(&self) -> MutexGuard<'_, Option<HashMap<RegistrationName, Arc<Kept>>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the client.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(super) fn pinned(&self) -> &Arc<Quantity> {
        &self.pinned
    }

    /// Nothing panics while it is locked, so poison means nothing here. Whatever is taken out of it is dropped
    /// when it is unlocked: the last object of a root ends instances.
    pub(super) fn table(&self) -> MutexGuard<'_, Table<Spot>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the client was told of these does not reach it.
    pub(super) fn untell(&self, numbers: &[u64], caller: &Arc<Caller>) {
        let unheld: Vec<_> = {
            let mut table = self.table();
            let unheld = numbers
                .iter()
                .filter_map(|number| table.release(*number, 1));
            unheld.collect()
        };
        let_go(unheld, caller);
    }
}

/// Nobody holds these any more.
pub(super) fn let_go(spots: Vec<Spot>, caller: &Arc<Caller>) {
    for (root, objects) in by_root(spots.into_iter().map(|spot| (spot.root, spot.object))) {
        root.let_go(objects, caller);
    }
}

/// What all sessions hold.
#[derive(Default)]
pub(super) struct AllHoldings {
    sessions: Mutex<HashMap<SessionId, Arc<Holdings>>>,
}

impl AllHoldings {
    pub(super) fn of(&self, session: SessionId) -> Option<Arc<Holdings>> {
        self.sessions().get(&session).map(Arc::clone)
    }

    pub(super) fn begin(
        &self,
        tenant: TenantId,
        session: SessionId,
        reach: Reach,
        limits: &Limits,
    ) {
        let holdings = Arc::new(Holdings::new(tenant, reach, limits));
        self.sessions().insert(session, holdings);
    }

    /// Ends what sessions of a tenant hold of a registration that was removed, or of all of them.
    pub(super) fn removed(&self, tenant: TenantId, name: Option<&str>) {
        let of_tenant: Vec<_> = {
            let sessions = self.sessions();
            let of_tenant = sessions.values().filter(|one| one.tenant == tenant);
            of_tenant.map(Arc::clone).collect()
        };
        for holdings in of_tenant {
            let kept: Vec<_> = {
                let mut kept = holdings.all_kept();
                let is_meant = |of: &RegistrationName| name.is_none_or(|name| of.as_str() == name);
                let kept = kept.iter_mut();
                kept.flat_map(|kept| kept.extract_if(|of, _| is_meant(of)))
                    .collect()
            };
            for (_, kept) in kept {
                kept.end(Gone::Removed);
            }
            let spots: Vec<_> = holdings.table().homes().cloned().collect();
            for (root, _) in by_root(spots.into_iter().map(|spot| (spot.root, ()))) {
                if name.is_none_or(|name| root.has_part(name)) {
                    root.end(Gone::Removed);
                }
            }
        }
    }

    fn end(&self, session: SessionId) -> Option<Arc<Holdings>> {
        self.sessions().remove(&session)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Holdings>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client lets go of objects, and waits until they have ended.
///
/// # Errors
/// When the session does not hold them so often.
pub(super) fn release(
    node: &Node,
    principal: &Principal,
    origin: Origin,
    release: &Release,
) -> Result<impl Future<Output = Result<(), Failure>> + Send + 'static, HostError> {
    let caller = caller_of_session(node, principal, origin.session)?;
    let spots = match node.holdings().of(origin.session) {
        Some(holdings) => holdings.table().release_all(&release.handles)?,
        None => Vec::new(),
    };
    let mut ending = Vec::new();
    for (root, objects) in by_root(spots.into_iter().map(|spot| (spot.root, spot.object))) {
        if let Some(ticket) = root.join() {
            // It goes on even if the client waits no more.
            let ended = root.end_objects(ticket, objects, None, Arc::clone(&caller));
            ending.push(tokio::spawn(ended));
        }
    }
    Ok(async move {
        let mut outcome = Ok(());
        for ended in ending {
            // One that panics leaves nothing behind, as its root goes with it.
            outcome = outcome.and(ended.await.unwrap_or(Ok(())));
        }
        outcome
    })
}

/// The same where nobody waits.
pub(super) fn release_unanswered(
    node: &Node,
    principal: &Principal,
    origin: Origin,
    release: &Release,
) {
    let Some(holdings) = node.holdings().of(origin.session) else {
        return;
    };
    let unheld: Vec<_> = {
        let mut table = holdings.table();
        let pairs = release.handles.iter();
        let unheld = pairs.filter_map(|(number, count)| table.release(*number, (*count).into()));
        unheld.collect()
    };
    if unheld.is_empty() {
        return;
    }
    // Who may not call holds nothing.
    if let Ok(caller) = caller_of_session(node, principal, origin.session) {
        let_go(unheld, &caller);
    }
}

/// A session is over: all that it holds ends, within a bound of time and of processor time.
pub(super) fn session_ended(node: &Node, principal: &Principal, session: SessionId) {
    let Some(holdings) = node.holdings().end(session) else {
        return;
    };
    let ignored = holdings.table().ignored();
    if ignored > 0 {
        tracing::debug!(
            ignored,
            "objects were released that the session did not hold"
        );
    }
    let held = holdings.table().end();
    let kept = holdings.all_kept().take();
    for kept in kept.into_iter().flat_map(HashMap::into_values) {
        kept.leave();
    }
    if held.is_empty() {
        return;
    }
    let Ok(caller) = caller_of_session(node, principal, session) else {
        return;
    };
    let limits = &node.limits;
    let until = Instant::now() + Duration::from_millis(limits.session_end_timeout_ms);
    let cpu = Duration::from_millis(limits.max_cpu_ms_per_session_end);
    let roots = by_root(held.into_iter().map(|spot| (spot.root, spot.object)));
    let account: &Arc<Account> = &caller.account;
    let budget = Budget::new(cpu, Arc::clone(account));
    // Each root has its part, so that one that uses up all it gets leaves the others theirs.
    let part = cpu / u32::try_from(roots.len()).unwrap_or(u32::MAX).max(1);
    for (root, objects) in roots {
        if root.lasts() == Lasts::Ever {
            // Others wait for it as well, and it does not end with this session.
            root.let_go(objects, &caller);
            continue;
        }
        let Some(ticket) = root.join() else { continue };
        let budget = budget.part(part);
        let bounds = Some(Bounds { until, budget });
        let ended = root.end_objects(ticket, objects, bounds, Arc::clone(&caller));
        // Without a runtime nothing runs any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(ended);
        }
    }
}
