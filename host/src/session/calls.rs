//! The exchanges in flight.
//!
//! Each has a task and a [`ReplyToken`], which lies in one table. Whoever takes it out — the task when
//! it is done, or the session on a cancel or at its end — is the one who answers; the other finds
//! nothing. So an exchange gets one answer, however close the two come.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rpc_host_protocol::frame::FRAGMENT_BYTES;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument, Span, debug, error};

use super::CallReply;
use super::reply::ReplyToken;
use super::uploads::Inlet;
use crate::account::{Account, Held, Quantity};

/// Room for one exchange. Held until its answer is on its way, so that answers which nobody reads
/// count as well.
#[derive(Debug)]
pub(super) struct Slot {
    _one: OwnedSemaphorePermit,
    _bytes: Option<OwnedSemaphorePermit>,
    _of_tenant: Held,
}

/// How many exchanges of one sort may be in flight, and how much they may have brought with them.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    count: u32,
    free_bytes: Arc<Semaphore>,
    of_tenant: Arc<Quantity>,
}

/// Why there is no slot.
#[derive(Clone, Copy, Debug)]
pub(super) enum Full {
    /// That many exchanges are in flight.
    Count(u32),
    /// Those in flight brought too much with them.
    Bytes,
    /// That many are in flight in all sessions of the tenant.
    Tenant(u64),
}

impl Full {
    pub(super) fn failure(self, of: &str) -> Failure {
        let mut fault = Fault::Peer;
        let message = match self {
            Full::Count(count) => {
                format!("{count} {of} are in flight already; wait for one to end")
            }
            Full::Bytes => format!("the {of} in flight carry too many bytes; wait for one to end"),
            Full::Tenant(count) => {
                fault = Fault::Tenant;
                format!(
                    "the tenant's sessions together have {count} exchanges in flight already, the limit \
                     `max-calls-in-flight-per-tenant`; wait for one to end"
                )
            }
        };
        Failure::new(ErrorCode::ResourceExhausted, fault, message)
    }
}

impl Slots {
    pub(super) fn new(count: u64, max_bytes: usize, account: &Account) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let max_bytes = max_bytes.min(Semaphore::MAX_PERMITS);
        Slots {
            free: Arc::new(Semaphore::new(count as usize)),
            count,
            free_bytes: Arc::new(Semaphore::new(max_bytes)),
            of_tenant: Arc::clone(account.calls_in_flight()),
        }
    }

    /// A slot for an exchange that came with so many bytes, if one is free. Never waits: a client
    /// that waits for one of its own calls to end has to know it.
    pub(super) fn try_take(&self, bytes: usize) -> Result<Slot, Full> {
        let one = Arc::clone(&self.free).try_acquire_owned();
        let one = one.map_err(|_full| Full::Count(self.count))?;
        // What is short is bounded by the count alone, and need not be counted twice.
        let bytes = if bytes > FRAGMENT_BYTES {
            let bytes = u32::try_from(bytes).map_err(|_long| Full::Bytes)?;
            let taken = Arc::clone(&self.free_bytes).try_acquire_many_owned(bytes);
            Some(taken.map_err(|_full| Full::Bytes)?)
        } else {
            None
        };
        let of_tenant = Held::try_take(&self.of_tenant, 1);
        Ok(Slot {
            _of_tenant: of_tenant.ok_or_else(|| Full::Tenant(self.of_tenant.limit()))?,
            _one: one,
            _bytes: bytes,
        })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        (self.count as usize).saturating_sub(self.free.available_permits())
    }

    /// Waits until no slot is taken. Only for when none is given out any more.
    pub(super) async fn all_free(&self) {
        let _all = self.free.acquire_many(self.count).await;
    }
}

/// Room that a long reply takes until it is left to be written: in the session, and of the tenant's memory.
type Unread = Option<(Held, Held)>;

fn lost(fault: Fault, message: &str) -> Failure {
    Failure::new(ErrorCode::ResourceExhausted, fault, message)
}

/// The exchanges in flight of one session.
#[derive(Debug)]
pub(super) struct InFlight {
    entries: Mutex<HashMap<ExchangeId, Entry>>,
    /// Bytes of long replies that wait for room in the outbox.
    unread: Arc<Quantity>,
    /// They count as memory of the tenant, too: it may have many sessions.
    of_tenant: Arc<Quantity>,
}

#[derive(Debug)]
struct Entry {
    task: JoinHandle<()>,
    token: ReplyToken,
    inlet: Option<Arc<Inlet>>,
}

impl InFlight {
    /// None yet.
    pub(super) fn new(max_unread_bytes: u64, account: &Account) -> Self {
        InFlight {
            entries: Mutex::default(),
            unread: Arc::new(Quantity::new(max_unread_bytes)),
            of_tenant: Arc::clone(account.memory()),
        }
    }

    /// Room for what is answered, until it is left to be written; where there is none, that is the answer.
    fn fit(&self, outcome: Result<CallReply, Failure>) -> (Result<CallReply, Failure>, Unread) {
        let Ok(reply) = &outcome else {
            return (outcome, None);
        };
        if reply.value.len() <= FRAGMENT_BYTES {
            // Bounded by the number of calls alone.
            return (outcome, None);
        }
        let bytes = reply.value.len() as u64;
        let unread = Held::try_take(&self.unread, bytes);
        let of_tenant = Held::try_take(&self.of_tenant, bytes);
        match (unread, of_tenant) {
            (Some(unread), Some(of_tenant)) => (outcome, Some((unread, of_tenant))),
            (None, _) => {
                let limit = self.unread.limit();
                let message = format!(
                    "replies of {limit} bytes wait to be read, the limit `max-unread-reply-bytes-per-session`; \
                     the call was made, but its reply is lost: read faster, or have fewer calls in flight"
                );
                (Err(lost(Fault::Peer, &message)), None)
            }
            (_, None) => {
                let limit = self.of_tenant.limit();
                let message = format!(
                    "the tenant has as much memory as `max-memory-bytes-per-tenant` allows, {limit} bytes; \
                     the call was made, but its reply is lost: read faster, or have fewer calls in flight"
                );
                (Err(lost(Fault::Tenant, &message)), None)
            }
        }
    }

    /// Runs `work` in a task of its own, and answers with what it gives. Chunks for the exchange go to
    /// `inlet`.
    pub(super) fn spawn<F>(
        self: &Arc<Self>,
        token: ReplyToken,
        slot: Slot,
        inlet: Option<Arc<Inlet>>,
        began: Began,
        work: F,
    ) where
        F: Future<Output = Result<CallReply, Failure>> + Send + 'static,
    {
        let in_flight = Arc::clone(self);
        let exchange = token.exchange();
        let span = began.span.clone();
        let run = async move {
            let (outcome, unread) = in_flight.fit(isolated(work).await);
            if let Some(token) = in_flight.take(exchange) {
                began.note_end(&outcome);
                token.answer_after(outcome, (unread, slot)).await;
            }
        };
        // The task may be done before this line is; it then waits for the lock to find its token.
        let mut entries = self.entries();
        let task = tokio::spawn(run.instrument(span));
        entries.insert(exchange, Entry { task, token, inlet });
    }

    /// Gives `work` one turn in the calling task, and a task of its own only if that is not enough. Tells whether it
    /// was.
    pub(super) async fn try_at_once<F>(
        self: &Arc<Self>,
        token: ReplyToken,
        slot: Slot,
        began: Began,
        mut work: Pin<Box<F>>,
    ) -> bool
    where
        F: Future<Output = Result<CallReply, Failure>> + Send + 'static,
    {
        let turn = poll_fn(|context| Poll::Ready(poll_isolated(work.as_mut(), context)));
        let turn = turn.instrument(began.span.clone()).await;
        let is_over = turn.is_ready();
        match turn {
            Poll::Ready(outcome) => {
                let (outcome, unread) = self.fit(outcome);
                began.note_end(&outcome);
                if let Some(waiting) = token.answer_within_session(outcome, (unread, slot)) {
                    tokio::spawn(waiting.instrument(began.span));
                }
            }
            Poll::Pending => self.spawn(token, slot, None, began, work),
        }
        is_over
    }

    /// The right to answer, for the task of the exchange itself.
    fn take(&self, exchange: ExchangeId) -> Option<ReplyToken> {
        self.entries().remove(&exchange).map(|entry| entry.token)
    }

    /// Ends an exchange's task, and gives the right to answer when it is gone, and its slot with it: a
    /// peer that knows the answer may count on the slot. `None` if it is answered already.
    pub(super) async fn abort(&self, exchange: ExchangeId) -> Option<ReplyToken> {
        let Entry { task, token, .. } = self.entries().remove(&exchange)?;
        task.abort();
        // At the next tick, if a guest is at work.
        let _gone = task.await;
        Some(token)
    }

    /// Ends all tasks.
    pub(super) fn abort_all(&self) -> Vec<ReplyToken> {
        let entries = std::mem::take(&mut *self.entries());
        let aborted = entries.into_values().map(|entry| {
            entry.task.abort();
            entry.token
        });
        aborted.collect()
    }

    /// Where chunks of an exchange go, if it is an upload in flight.
    pub(super) fn inlet(&self, exchange: ExchangeId) -> Option<Arc<Inlet>> {
        self.entries().get(&exchange)?.inlet.clone()
    }

    /// A panic cannot leave the table half-changed, so poison means nothing here.
    fn entries(&self) -> MutexGuard<'_, HashMap<ExchangeId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Turns a panic within `work` into a failure of `work` alone. What it worked on goes down with it.
async fn isolated<F>(work: F) -> Result<CallReply, Failure>
where
    F: Future<Output = Result<CallReply, Failure>>,
{
    let mut work = pin!(work);
    poll_fn(|context| poll_isolated(work.as_mut(), context)).await
}

fn poll_isolated<F>(work: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output>
where
    F: Future<Output = Result<CallReply, Failure>>,
{
    let polled = catch_unwind(AssertUnwindSafe(|| work.poll(context)));
    polled.unwrap_or_else(|_panic| {
        error!("an exchange ended in a panic of the host");
        let message = "the host failed while it worked on this; its log says more";
        Poll::Ready(Err(Failure::new(ErrorCode::Internal, Fault::Host, message)))
    })
}

/// What is known of an exchange when it begins.
#[derive(Debug)]
pub(super) struct Began {
    pub(super) at: Instant,
    pub(super) span: Span,
}

impl Began {
    /// Below the level that is logged unless asked for: a client must not fill the log with its
    /// calls.
    fn note_end(&self, outcome: &Result<CallReply, Failure>) {
        debug!(
            parent: &self.span,
            code = outcome.as_ref().map_or_else(|failure| failure.code.name(), |_| "ok"),
            duration_us = u64::try_from(self.at.elapsed().as_micros()).unwrap_or(u64::MAX),
            "exchange ended"
        );
    }
}
