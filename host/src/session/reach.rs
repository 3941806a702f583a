//! The way from the node to a client, over the connection that the client opened.
//!
//! The host begins exchanges of its own here, under even ids: calls of what the client serves. Each
//! has one place in one table, until the client answers, the caller stops waiting, or the session
//! ends; whichever comes first takes it out, and what comes later finds nothing. So an answer reaches
//! the caller that waits for it or nobody.
//!
//! Ids are never used twice. They need not arrive in order: a long call may be written after a short
//! one that began later.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rpc_host_protocol::frame::FRAGMENT_BYTES;
use rpc_host_protocol::message::{Beat, CallHeader, Lapse, MAX_RELEASED_HANDLES, Message, Release};
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::{ExchangeId, Failure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::SessionId;
use crate::chain::Chain;
use crate::config::Limits;
use crate::transport::frames::{NotLeft, Outbox};

/// Why a call into a client did not end with a reply.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReachError {
    /// The session has ended.
    #[error("the connection to the client is gone")]
    Lost,
    /// As many calls into this client are under way as there may be.
    #[error("{0} calls into this client are under way already; wait for one to end")]
    Full(u64),
    /// The call is longer than any message may be.
    #[error("the call takes {bytes} bytes; a message has {limit_bytes} at most")]
    TooLong {
        /// How many bytes it takes.
        bytes: usize,
        /// How many there may be.
        limit_bytes: u64,
    },
    /// The client answered with a failure.
    #[error("{0}")]
    Failed(Failure),
    /// The client answered with what is none.
    #[error("the client's answer is {0}")]
    Malformed(String),
    /// The client answered with more than there is room for beside its other answers.
    #[error("the client's answers that nobody has taken yet carry too many bytes")]
    TooMuch,
}

/// What a client answered. It takes room in its session until it is dropped.
#[derive(Debug)]
pub struct ClientReply {
    /// One CBOR item, as it came.
    pub value: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

type Answer = Result<ClientReply, ReachError>;

/// The way to one client. A clone is the same way.
#[derive(Clone)]
pub struct Reach(Arc<Shared>);

struct Shared {
    session: SessionId,
    outbox: Outbox,
    max_calls: u64,
    /// Bytes that long answers may have yet.
    room: Arc<Semaphore>,
    max_message_bytes: u64,
    state: Mutex<State>,
    due: Mutex<Due>,
    /// Beside the state, for those who ask often.
    is_ended: AtomicBool,
    /// How many calls are under way, those whose cancel is not written yet included.
    under_way: watch::Sender<u64>,
    began: Instant,
    /// When something was last heard of the client, in milliseconds since it began.
    heard_ms: AtomicU64,
    /// Answers that nobody waited for any more.
    late_answers: AtomicU64,
}

/// Releases of the client's objects that wait to be written.
#[derive(Default)]
struct Due {
    counts: HashMap<u64, u32>,
    /// Whether somebody sees to them.
    is_seen_to: bool,
}

struct State {
    /// `None`: all are used up.
    next_id: Option<u32>,
    waiting: HashMap<ExchangeId, Waiting>,
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    chain: Chain,
}

impl Reach {
    /// `max_bytes`: of long answers that are not dropped yet.
    pub(super) fn new(
        session: SessionId,
        outbox: Outbox,
        limits: &Limits,
        max_bytes: usize,
    ) -> Self {
        Reach(Arc::new(Shared {
            session,
            outbox,
            max_calls: limits.max_calls_into_client_per_session,
            max_message_bytes: limits.max_message_bytes,
            room: Arc::new(Semaphore::new(max_bytes.min(Semaphore::MAX_PERMITS))),
            state: Mutex::new(State {
                next_id: Some(2),
                waiting: HashMap::new(),
            }),
            due: Mutex::default(),
            is_ended: AtomicBool::new(false),
            under_way: watch::Sender::new(0),
            began: Instant::now(),
            heard_ms: AtomicU64::new(0),
            late_answers: AtomicU64::new(0),
        }))
    }

    /// The session that it belongs to.
    pub fn session(&self) -> SessionId {
        self.0.session
    }

    /// Calls what the client serves. `chain` is what the call is part of; a call that the client makes
    /// within it goes on from there. Dropping the future tells the client that nobody waits any more.
    ///
    /// # Errors
    /// When the client fails, is lost, or has as many calls as it may have, and when the call is too long:
    /// what a client does not take would cost it its connection, and with it all that it serves.
    pub async fn call(
        &self,
        header: CallHeader,
        arguments: Payload,
        chain: Chain,
    ) -> Result<ClientReply, ReachError> {
        let (mut asked, answer) = self.begin(chain)?;
        let call = Message::Call { header, arguments }.encode(asked.id);
        let (bytes, limit_bytes) = (call.payload.len(), self.0.max_message_bytes);
        if bytes as u64 > limit_bytes {
            return Err(ReachError::TooLong { bytes, limit_bytes });
        }
        let sent = self.0.outbox.send(call).await;
        sent.map_err(|_closed| ReachError::Lost)?;
        asked.is_sent = true;
        // Taken out of the table without an answer only at the end of the session.
        answer.await.unwrap_or(Err(ReachError::Lost))
    }

    fn begin(&self, chain: Chain) -> Result<(Asked, oneshot::Receiver<Answer>), ReachError> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state();
        if self.is_ended() {
            return Err(ReachError::Lost);
        }
        let id = state.next_id.ok_or(ReachError::Lost)?;
        let place = self
            .take_place()
            .ok_or(ReachError::Full(self.0.max_calls))?;
        state.next_id = id.checked_add(2);
        let id = ExchangeId(id);
        state.waiting.insert(id, Waiting { answer, chain });
        let asked = Asked {
            reach: self.clone(),
            id,
            is_sent: false,
            place: Some(place),
        };
        Ok((asked, receiver))
    }

    fn take_place(&self) -> Option<Place> {
        let max_calls = self.0.max_calls;
        let is_taken = self.0.under_way.send_if_modified(|count| {
            let has_room = *count < max_calls;
            if has_room {
                *count += 1;
            }
            has_room
        });
        is_taken.then(|| Place(self.clone()))
    }

    /// Lets go of an object of the client's that was received once and is held no more. Nobody waits for it: where
    /// there is no room now, many are told together when there is.
    pub fn release(&self, number: u64) {
        if self.is_ended() {
            return;
        }
        {
            let mut due = self.due();
            if !due.is_seen_to {
                let handles = vec![(number, 1)];
                let release = Message::Release(Release { handles });
                // So that what is said after it comes after it.
                let left = self
                    .0
                    .outbox
                    .try_send(release.encode(ExchangeId::CONNECTION));
                if !matches!(left, Err(NotLeft::Full(_))) {
                    return;
                }
            }
            let counted = due.counts.entry(number).or_default();
            *counted = counted.saturating_add(1);
            if due.is_seen_to {
                return;
            }
            due.is_seen_to = true;
        }
        let reach = self.clone();
        // Without a runtime nothing is written any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { reach.see_to_releases().await });
        }
    }

    async fn see_to_releases(self) {
        loop {
            let handles: Vec<_> = {
                let mut due = self.due();
                let some: Vec<_> = due
                    .counts
                    .keys()
                    .take(MAX_RELEASED_HANDLES)
                    .copied()
                    .collect();
                let some = some.into_iter();
                let handles = some.filter_map(|number| due.counts.remove_entry(&number));
                let handles: Vec<_> = handles.collect();
                due.is_seen_to = !handles.is_empty();
                handles
            };
            if handles.is_empty() {
                return;
            }
            let release = Message::Release(Release { handles }).encode(ExchangeId::CONNECTION);
            if self.0.outbox.send(release).await.is_err() {
                return;
            }
        }
    }

    /// The same, after all that was left to be written of an exchange: what these objects came back in.
    pub fn release_behind(&self, numbers: Vec<u64>, follows: ExchangeId) {
        if numbers.is_empty() || self.is_ended() {
            return;
        }
        let outbox = self.0.outbox.clone();
        // Without a runtime nothing is written any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for numbers in numbers.chunks(MAX_RELEASED_HANDLES) {
                    let handles = numbers.iter().map(|number| (*number, 1)).collect();
                    let release = Message::Release(Release { handles });
                    let release = release.encode(ExchangeId::CONNECTION);
                    if outbox.send_following(release, follows).await.is_err() {
                        return;
                    }
                }
            });
        }
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn due(&self) -> MutexGuard<'_, Due> {
        self.0.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the client for a sign of life.
    pub fn ping(&self) {
        let ping = Message::Ping(Beat { nonce: 0 }).encode(ExchangeId::CONNECTION);
        // Without room, the client has much to read first, and the writer's own time limit watches it.
        let _unsent = self.0.outbox.try_send(ping);
    }

    /// When something was last heard of the client.
    pub fn last_heard(&self) -> Instant {
        let heard_ms = self.0.heard_ms.load(Ordering::Relaxed);
        self.0.began + Duration::from_millis(heard_ms)
    }

    /// Whether the session has ended. Once it has, every call is lost.
    pub fn is_ended(&self) -> bool {
        self.0.is_ended.load(Ordering::Acquire)
    }

    /// Tells the client that a lease of its has ended. Waits for nothing: a client that sleeps finds it
    /// when it wakes up.
    pub fn tell_lapse(&self, lapse: Lapse) {
        self.leave(Message::Lapse(lapse), ExchangeId::CONNECTION, None);
    }

    /// Leaves a message, now or as soon as there is room; holds a place until then. There are no more
    /// of these than calls and leases of one session.
    fn leave(&self, message: Message, id: ExchangeId, place: Option<Place>) {
        let Err(NotLeft::Full(message)) = self.0.outbox.try_send(message.encode(id)) else {
            return;
        };
        let outbox = self.0.outbox.clone();
        // Without a runtime nothing is written any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ended = outbox.send(message).await;
                drop(place);
            });
        }
    }

    /// Something came from the client.
    pub(super) fn hear(&self, at: Instant) {
        let heard = at.saturating_duration_since(self.0.began);
        let heard_ms = u64::try_from(heard.as_millis()).unwrap_or(u64::MAX);
        self.0.heard_ms.store(heard_ms, Ordering::Relaxed);
    }

    /// The client has answered. What nobody waits for is dropped and counted.
    pub(super) fn answer(&self, id: ExchangeId, answer: Result<Vec<u8>, ReachError>) {
        let waiting = self.state().waiting.remove(&id);
        let answer = answer.and_then(|value| {
            let room = self.room(value.len())?;
            Ok(ClientReply { value, _room: room })
        });
        // The one that waits may be about to stop.
        let is_late = waiting.is_none_or(|waiting| waiting.answer.send(answer).is_err());
        if is_late {
            self.0.late_answers.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(exchange = id.0, "an answer came that nobody waits for");
        }
    }

    /// Room for an answer. What is short is bounded by the number of calls alone.
    fn room(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, ReachError> {
        if bytes <= FRAGMENT_BYTES {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes).map_err(|_long| ReachError::TooMuch)?;
        let room = Arc::clone(&self.0.room).try_acquire_many_owned(bytes);
        room.map(Some).map_err(|_full| ReachError::TooMuch)
    }

    /// The chain that a call of the host's belongs to, while it is under way.
    pub(super) fn chain_of(&self, id: ExchangeId) -> Option<Chain> {
        let state = self.state();
        state.waiting.get(&id).map(|waiting| waiting.chain.clone())
    }

    /// Ends all calls, and takes no more.
    pub(super) fn end(&self) {
        let mut state = self.state();
        self.0.is_ended.store(true, Ordering::Release);
        // Each caller finds its sender gone.
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }

    /// Waits until no call is under way.
    pub(super) async fn all_answered(&self) {
        let mut under_way = self.0.under_way.subscribe();
        // The other end is held here, so this never fails.
        let _done = under_way.wait_for(|count| *count == 0).await;
    }

    /// How many answers nobody waited for any more.
    pub fn late_answers(&self) -> u64 {
        self.0.late_answers.load(Ordering::Relaxed)
    }

    /// As if all ids before this one had been used.
    #[cfg(test)]
    pub(super) fn skip_to(&self, id: u32) {
        self.state().next_id = Some(id);
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reach")
            .field("session", &self.0.session)
            .field("is_ended", &self.is_ended())
            .finish_non_exhaustive()
    }
}

/// Room for one call into a client.
struct Place(Reach);

impl Drop for Place {
    fn drop(&mut self) {
        let under_way = &self.0.0.under_way;
        under_way.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// A call that somebody waits for.
struct Asked {
    reach: Reach,
    id: ExchangeId,
    is_sent: bool,
    place: Option<Place>,
}

impl Drop for Asked {
    /// Nobody waits any more. If the client does not know, it is told; until it is, the call keeps its
    /// place, so that those who give up early cannot pile up cancels.
    fn drop(&mut self) {
        let forgotten = self.reach.state().waiting.remove(&self.id);
        if forgotten.is_some() && self.is_sent {
            self.reach
                .leave(Message::Cancel, self.id, self.place.take());
        }
    }
}
