//! One client's right to serve one name.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::message::{CallHeader, Fallback, Lapse, ProvideScope};
use rpc_host_protocol::operation::ProviderEntry;
use rpc_host_protocol::payload::Payload;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use super::{LeaseEnd, Offer, ProviderError};
use crate::chain::Chain;
use crate::clock::Timestamp;
use crate::sandbox::{Function, Functions};
use crate::session::{ClientReply, Reach, ReachError, SessionId};
use crate::tenant::{Credential, TenantId};

/// One client's right to serve one name, for as long as it gives signs of life.
#[derive(Debug)]
pub struct Lease {
    /// Its epoch: no other lease has it while the node runs.
    id: u64,
    offer: Offer,
    tenant: TenantId,
    holder: Credential,
    contract: Functions,
    reach: Reach,
    since: Timestamp,
    /// One permit for each call that the client takes now.
    window: Semaphore,
    /// Calls that have found this lease and are not over.
    users: watch::Sender<u32>,
    end: watch::Sender<Option<LeaseEnd>>,
}

/// One call that has found the lease; until it is dropped, a lease that retires waits for it.
pub(super) struct Use(Arc<Lease>);

impl Use {
    pub(super) fn of(lease: &Arc<Lease>) -> Self {
        lease
            .users
            .send_modify(|users| *users = users.saturating_add(1));
        Use(Arc::clone(lease))
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.0
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0
            .users
            .send_modify(|users| *users = users.saturating_sub(1));
    }
}

impl Lease {
    pub(super) fn new(
        id: u64,
        offer: Offer,
        (tenant, holder): (TenantId, Credential),
        contract: Functions,
        reach: Reach,
        since: Timestamp,
    ) -> Self {
        Lease {
            id,
            window: Semaphore::new(offer.window as usize),
            offer,
            tenant,
            holder,
            contract,
            reach,
            since,
            users: watch::Sender::new(0),
            end: watch::Sender::new(None),
        }
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The name that is served.
    pub fn name(&self) -> &str {
        &self.offer.name
    }

    /// The session that serves it.
    pub fn session(&self) -> SessionId {
        self.reach.session()
    }

    /// The functions that may be called.
    pub fn contract(&self) -> &Functions {
        &self.contract
    }

    pub(super) fn shared_name(&self) -> &Arc<str> {
        &self.offer.name
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub(super) fn scope(&self) -> ProvideScope {
        self.offer.scope
    }

    pub(super) fn fallback(&self) -> Fallback {
        self.offer.fallback
    }

    pub(super) fn holder(&self) -> Credential {
        self.holder.clone()
    }

    /// The way to its client.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(super) fn lease_time(&self) -> Duration {
        self.offer.lease_time
    }

    /// When it ends, if nothing more is heard of the client.
    pub(super) fn until(&self) -> Instant {
        self.reach.last_heard() + self.offer.lease_time
    }

    /// How it ended, if it has. The end of the session comes before anybody can have noted it here.
    pub(super) fn ended(&self) -> Option<LeaseEnd> {
        let noted = self.end.borrow().clone();
        noted.or_else(|| self.reach.is_ended().then_some(LeaseEnd::Disconnected))
    }

    /// Waits for its end.
    pub(super) async fn over(&self) -> LeaseEnd {
        let mut end = self.end.subscribe();
        // The other end is held here, so this never fails.
        let ended = end.wait_for(Option::is_some).await;
        ended
            .ok()
            .and_then(|end| end.clone())
            .unwrap_or(LeaseEnd::Disconnected)
    }

    /// Waits until no call uses it.
    pub(super) async fn unused(&self) {
        let mut users = self.users.subscribe();
        // The other end is held here, so this never fails.
        let _unused = users.wait_for(|users| *users == 0).await;
    }

    /// Notes its end, and tells the client. False: it had ended before.
    pub(super) fn finish(&self, how: &LeaseEnd) -> bool {
        let is_first = self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            if is_first {
                *end = Some(how.clone());
            }
            is_first
        });
        if is_first && let Some(failure) = how.notice() {
            self.reach.tell_lapse(Lapse {
                name: self.name().to_owned(),
                lease: self.id,
                failure,
            });
        }
        is_first
    }

    /// How many calls the client has.
    fn in_flight(&self) -> u32 {
        let free = u32::try_from(self.window.available_permits()).unwrap_or(u32::MAX);
        self.offer.window.saturating_sub(free)
    }

    /// What is told of it.
    pub fn entry(&self, now: Timestamp) -> ProviderEntry {
        let left = self.until().saturating_duration_since(Instant::now());
        ProviderEntry {
            name: self.name().to_owned(),
            scope: self.offer.scope,
            serving: self.ended().is_none(),
            session: self.session().to_string(),
            served_by: self.holder.to_string(),
            lease: self.id,
            since_ms: self.since.unix_ms(),
            until_ms: now.plus(left).unix_ms(),
            window: self.offer.window,
            in_flight: self.in_flight(),
            late_answers: self.reach.late_answers(),
            fallback: self.offer.fallback,
        }
    }

    /// Calls a function of the contract at the client. `chain` is what leads to this call; it ends at
    /// `deadline` or with the chain. Dropping the future tells the client that nobody waits any more.
    ///
    /// The reply's value is as the client sent it: whoever knows the type checks it.
    ///
    /// # Errors
    /// When the client fails or is lost, or when the call cannot be made or does not end in time.
    pub async fn call(
        &self,
        function: &Function,
        arguments: Payload,
        deadline: Instant,
        chain: &Chain,
    ) -> Result<ClientReply, ProviderError> {
        let inner = chain.then(Arc::clone(&self.offer.name), Some(self.id), deadline)?;
        let deadline = inner.deadline();
        let _slot = self.slot(chain, &inner).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let header = CallHeader {
            module: self.name().to_owned(),
            function: function.to_string(),
            timeout_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            lease: Some(self.id),
            ..CallHeader::default()
        };
        let reply = tokio::select! {
            // An end that was noted before the answer came counts more than the answer.
            biased;
            how = self.over() => return Err(ProviderError::lost(self, how)),
            reply = timeout_at(deadline, self.reach.call(header, arguments, inner)) => reply,
        };
        match reply {
            Err(_elapsed) => Err(self.late("did not answer")),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(ReachError::Lost)) => {
                let how = self.ended().unwrap_or(LeaseEnd::Disconnected);
                Err(ProviderError::lost(self, how))
            }
            Ok(Err(ReachError::Full(limit))) => Err(ProviderError::Full {
                name: self.name().to_owned(),
                limit,
            }),
            Ok(Err(ReachError::TooLong { bytes, limit_bytes })) => Err(ProviderError::TooLong {
                name: self.name().to_owned(),
                bytes,
                limit_bytes,
            }),
            // In the client's own words: a function may have a place for them.
            Ok(Err(ReachError::Failed(failure))) => {
                Err(ProviderError::failed(self, &failure.message))
            }
            Ok(Err(error @ (ReachError::Malformed(_) | ReachError::TooMuch))) => {
                Err(ProviderError::failed(self, &error.to_string()))
            }
        }
    }

    /// One of the calls that the client takes at once. A chain that has one already does not wait for
    /// another: the client may be waiting for this very call before it gives one back.
    async fn slot(
        &self,
        outer: &Chain,
        inner: &Chain,
    ) -> Result<SemaphorePermit<'_>, ProviderError> {
        if let Ok(slot) = self.window.try_acquire() {
            return Ok(slot);
        }
        if outer.rests_on(self.id) {
            return Err(ProviderError::WouldDeadlock {
                name: self.name().to_owned(),
                window: self.offer.window,
                chain: inner.to_string(),
            });
        }
        tokio::select! {
            biased;
            how = self.over() => Err(ProviderError::lost(self, how)),
            slot = timeout_at(inner.deadline(), self.window.acquire()) => match slot {
                Ok(Ok(slot)) => Ok(slot),
                // It is never closed.
                Ok(Err(_closed)) => Err(ProviderError::lost(self, LeaseEnd::Disconnected)),
                Err(_elapsed) => Err(self.late("had no place for another call")),
            },
        }
    }

    fn late(&self, waited_for: &'static str) -> ProviderError {
        ProviderError::DeadlineExceeded {
            name: self.name().to_owned(),
            session: self.session(),
            waited_for,
        }
    }
}
