//! Calls into this client: what it serves, and the calls that are under way here.
//!
//! The reader hands each call to a task of its own, so nothing that an implementation does holds up the
//! reader or another call. A call has its place in the window of its lease until the answer is written;
//! so a host that does not read cannot make this client keep more than its windows allow.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::cbor::decode_envelope;
use rpc_host_protocol::message::{CallHeader, Lapse, Leased, Withdraw};
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Message};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::window::{Place, Window};
use super::{Shared, Waiting, acquire};
use crate::error::Error;
use crate::lease::Lost;
use crate::provider::{Answer, Functions, Incoming, Provider, ProviderError};

/// Answers of this client itself, to calls that have no place, that may wait to be written.
const MAX_WAITING_REFUSALS: usize = 64;

tokio::task_local! {
    /// The call into this client that a task serves.
    static SERVED: ServedCall;
}

struct ServedCall {
    connection: Weak<Shared>,
    id: ExchangeId,
}

/// The number of the host's call that this task serves, if it came over this connection.
pub(super) fn served_call(shared: &Arc<Shared>) -> Option<ExchangeId> {
    SERVED
        .try_with(|served| {
            std::ptr::eq(served.connection.as_ptr(), Arc::as_ptr(shared)).then_some(served.id)
        })
        .ok()
        .flatten()
}

/// An offer to serve a name, from the time it is made until it is over.
pub(crate) struct Term {
    name: Arc<str>,
    provider: Arc<dyn Provider>,
    window: Arc<Window>,
    grant: watch::Sender<Grant>,
    lost: watch::Sender<Option<Lost>>,
}

/// What the host said to an offer.
#[derive(Debug)]
enum Grant {
    /// Nothing yet.
    Awaited,
    Granted(Arc<Granted>),
    Refused,
}

/// An offer that the host took.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) lease: u64,
    pub(crate) lease_time: Duration,
    pub(crate) window: u32,
    pub(crate) functions: Arc<Functions>,
}

impl Term {
    pub(super) fn new(
        name: Arc<str>,
        provider: Arc<dyn Provider>,
        window: u32,
        taken: Arc<AtomicUsize>,
    ) -> Self {
        Term {
            name,
            provider,
            window: Arc::new(Window::new(window, taken)),
            grant: watch::Sender::new(Grant::Awaited),
            lost: watch::Sender::new(None),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn granted(&self) -> Option<Arc<Granted>> {
        match &*self.grant.borrow() {
            Grant::Granted(granted) => Some(granted.clone()),
            Grant::Awaited | Grant::Refused => None,
        }
    }

    fn is_awaited(&self) -> bool {
        matches!(*self.grant.borrow(), Grant::Awaited)
    }

    pub(crate) fn lost(&self) -> watch::Receiver<Option<Lost>> {
        self.lost.subscribe()
    }

    pub(super) fn lose(&self, why: Lost) {
        self.lost.send_replace(Some(why));
    }
}

/// What of this is part of the connection's state.
#[derive(Default)]
pub(super) struct Serving {
    /// By the exchange in which they were offered.
    terms: HashMap<ExchangeId, Offered>,
    leases: HashMap<u64, ExchangeId>,
    calls: HashMap<ExchangeId, UnderWay>,
    /// Calls that have a place.
    taken: Arc<AtomicUsize>,
}

struct Offered {
    term: Arc<Term>,
    /// Nobody wants it any more, but the host has not answered yet.
    is_abandoned: bool,
}

struct UnderWay {
    place: Arc<Place>,
    /// Dropped, it stops the call.
    _stop: oneshot::Sender<()>,
}

impl Serving {
    pub(super) fn taken(&self) -> Arc<AtomicUsize> {
        self.taken.clone()
    }

    pub(super) fn offer(&mut self, id: ExchangeId, term: Arc<Term>) {
        let is_abandoned = false;
        self.terms.insert(id, Offered { term, is_abandoned });
    }

    /// Takes back an offer that the host has not heard of.
    pub(super) fn retract(&mut self, id: ExchangeId) -> Option<Arc<Term>> {
        self.terms.remove(&id).map(|offered| offered.term)
    }

    /// Nothing is served any more. Whoever gets this must drop it without a lock: a provider may hold
    /// the client, and the client this connection.
    #[must_use]
    pub(super) fn end(&mut self) -> Vec<Arc<Term>> {
        self.calls.clear();
        self.leases.clear();
        let terms = self.terms.drain();
        terms.map(|(_, offered)| offered.term).collect()
    }

    /// The shortest time for which a lease stands without a sign of life.
    pub(super) fn shortest_lease(&self) -> Option<Duration> {
        let ids = self.leases.values();
        let granted = ids.filter_map(|id| self.terms.get(id)?.term.granted());
        granted.map(|granted| granted.lease_time).min()
    }

    /// Of a call: the one that serves its lease; or, where the host has not granted one yet, that
    /// offered its name: a short call may overtake a long answer to the offer.
    fn term_of(&self, header: &CallHeader) -> Option<Arc<Term>> {
        let lease = header.lease?;
        let offered = match self.leases.get(&lease) {
            Some(id) => self.terms.get(id),
            None => self
                .terms
                .values()
                .find(|offered| *offered.term.name == *header.module && offered.term.is_awaited()),
        };
        Some(offered?.term.clone())
    }
}

/// What is to be done when the host has answered an offer.
pub(super) enum Settled {
    /// Nothing.
    Nothing,
    /// It is served: signs of life may be due more often.
    Granted,
    /// It is not served: to be dropped without a lock.
    Over(Arc<Term>),
    /// It is served, though nobody wants it any more.
    Abandoned(Withdraw, Arc<Term>),
}

impl Shared {
    /// Notes how the host answered the exchange of an offer, if it is one. Before the next message is
    /// looked at, as that may be the first call.
    pub(super) fn settle(
        serving: &mut Serving,
        id: ExchangeId,
        answer: Option<&[u8]>,
    ) -> Result<Settled, String> {
        let Some(offered) = serving.terms.get(&id) else {
            return Ok(Settled::Nothing);
        };
        let Some(answer) = answer else {
            let term = offered.term.clone();
            term.grant.send_replace(Grant::Refused);
            serving.terms.remove(&id);
            return Ok(Settled::Over(term));
        };
        let leased: Leased = decode_envelope(answer)
            .map_err(|error| format!("malformed answer to an offer: {error}"))?;
        if serving.leases.contains_key(&leased.lease) {
            return Err("it granted a lease twice".to_owned());
        }
        let lease = leased.lease;
        let term = offered.term.clone();
        if offered.is_abandoned {
            term.grant.send_replace(Grant::Refused);
            serving.terms.remove(&id);
            return Ok(Settled::Abandoned(withdrawal(&term, lease), term));
        }
        serving.leases.insert(lease, id);
        let granted = Granted {
            lease,
            lease_time: Duration::from_millis(leased.lease_ms),
            window: leased.window,
            functions: Arc::new(Functions::new(leased.functions)),
        };
        term.grant.send_replace(Grant::Granted(Arc::new(granted)));
        Ok(Settled::Granted)
    }

    /// Begins to serve a call, or refuses it.
    pub(super) fn take_call(
        self: &Arc<Self>,
        id: ExchangeId,
        header: CallHeader,
        arguments: Vec<u8>,
    ) -> Result<(), String> {
        let refusal = {
            let mut state = self.state();
            if state.serving.calls.contains_key(&id) {
                return Err(format!("it used {id} for two calls at once"));
            }
            let term = state.serving.term_of(&header);
            let place = term.as_ref().and_then(|term| term.window.take());
            match (term, place) {
                (Some(term), Some(place)) => {
                    let (stop, stopped) = oneshot::channel();
                    let under_way = UnderWay {
                        place: place.clone(),
                        _stop: stop,
                    };
                    state.serving.calls.insert(id, under_way);
                    drop(state);
                    let call = Call {
                        shared: self.clone(),
                        id,
                        term,
                        header,
                        arguments,
                        arrived: Instant::now(),
                    };
                    tokio::spawn(call.serve(place, stopped));
                    return Ok(());
                }
                (Some(term), None) => Failure::new(
                    ErrorCode::ResourceExhausted,
                    Fault::Peer,
                    format!(
                        "all calls are under way that this client offered to take for {} at once",
                        term.name
                    ),
                ),
                (None, _) => Failure::new(
                    ErrorCode::Unimplemented,
                    Fault::Peer,
                    format!("this client does not serve {}", header.module),
                ),
            }
        };
        self.refuse(id, refusal)
    }

    /// Answers a call that has no place.
    fn refuse(&self, id: ExchangeId, failure: Failure) -> Result<(), String> {
        {
            let mut state = self.state();
            // Each exchange of ours has one lane at most, and so has each call that has a place; all
            // others are refusals that nobody reads.
            let expected = state.waiting.len() + state.serving.taken.load(Ordering::Relaxed);
            if state.outbox.lanes() > expected + MAX_WAITING_REFUSALS {
                return Err("calls without end".to_owned());
            }
            state.outbox.append(Message::Failure(failure).encode(id));
        }
        self.write_now();
        Ok(())
    }

    /// The host wants no answer to a call any more.
    pub(super) fn stop_call(&self, id: ExchangeId) {
        // If it is not here, its answer is on its way.
        if let Some(under_way) = self.state().serving.calls.remove(&id) {
            under_way.place.stop();
        }
    }

    /// The host has ended a lease. Calls that rest on it go on until they are done or stopped.
    pub(super) fn lapse(&self, lapse: Lapse) {
        let offered = {
            let serving = &mut self.state().serving;
            let id = serving.leases.remove(&lapse.lease);
            id.and_then(|id| serving.terms.remove(&id))
        };
        match offered {
            Some(offered) => offered.term.lose(Lost::Lapsed(lapse.failure)),
            None => tracing::debug!(lapse.lease, "a lease lapsed that is over"),
        }
    }

    pub(super) fn is_offered(&self, id: ExchangeId) -> bool {
        self.state().serving.terms.contains_key(&id)
    }

    /// What has to be said to the host to end an offer; nothing, if it is over, or if that has to wait
    /// for the host's answer to it.
    pub(super) fn abandon(&self, id: ExchangeId) -> Option<Withdraw> {
        let state = &mut *self.state();
        let offered = state.serving.terms.get_mut(&id)?;
        match offered.term.granted() {
            Some(granted) => Some(withdrawal(&offered.term, granted.lease)),
            None => {
                offered.is_abandoned = true;
                None
            }
        }
    }

    /// Forgets an offer that the host knows to be over.
    pub(super) fn forget(&self, id: ExchangeId) {
        let offered = {
            let serving = &mut self.state().serving;
            let offered = serving.terms.remove(&id);
            if let Some(granted) = offered.as_ref().and_then(|offered| offered.term.granted()) {
                serving.leases.remove(&granted.lease);
            }
            offered
        };
        drop(offered);
    }

    /// Says something in an exchange whose answer nobody waits for.
    pub(super) fn say(&self, message: Message, slot: OwnedSemaphorePermit) {
        {
            let mut state = self.state();
            let id = ExchangeId(state.next_id);
            let Some(next_id) = state.next_id.checked_add(2) else {
                return;
            };
            state.next_id = next_id;
            state.waiting.insert(id, Waiting::unheard(slot));
            state.outbox.begin(message.encode(id), None);
        }
        self.write_now();
    }

    fn answer(&self, message: RawMessage, room: Option<OwnedSemaphorePermit>, place: Arc<Place>) {
        {
            let mut state = self.state();
            state.serving.calls.remove(&message.id);
            if state.end.is_some() {
                return;
            }
            state.outbox.answer(message, room, place);
        }
        self.write_now();
    }
}

fn withdrawal(term: &Term, lease: u64) -> Withdraw {
    Withdraw {
        name: term.name().to_owned(),
        lease: Some(lease),
        steal: false,
    }
}

/// A call into this client.
struct Call {
    shared: Arc<Shared>,
    id: ExchangeId,
    term: Arc<Term>,
    header: CallHeader,
    arguments: Vec<u8>,
    arrived: Instant,
}

impl Call {
    /// Answers the call: with what the implementation gives, unless it is stopped before.
    async fn serve(self, place: Arc<Place>, mut stopped: oneshot::Receiver<()>) {
        let (shared, id) = (self.shared.clone(), self.id);
        let served = ServedCall {
            connection: Arc::downgrade(&shared),
            id,
        };
        let answered = async {
            let message = SERVED.scope(served, self.message()).await;
            shared.with_room(message.encode(id)).await
        };
        let (message, room) = tokio::select! {
            biased;
            _ = &mut stopped => {
                let problem = "the call was cancelled";
                let failure = Failure::new(ErrorCode::Cancelled, Fault::Peer, problem);
                (Message::Failure(failure).encode(id), None)
            }
            answer = answered => answer,
        };
        shared.answer(message, room, place);
    }

    async fn message(self) -> Message {
        match self.run().await {
            Ok((answer, is_result)) => Message::Reply {
                value: answer.into_value(),
                is_result,
            },
            Err(error) => Message::Failure(error.into_failure()),
        }
    }

    /// What the implementation gives, and whether the function returns a WIT `result`.
    async fn run(self) -> Result<(Answer, bool), ProviderError> {
        // Mostly it is there, and the sender is here.
        let mut grant = self.term.grant.subscribe();
        drop(
            grant
                .wait_for(|grant| !matches!(grant, Grant::Awaited))
                .await,
        );
        let granted = self.term.granted();
        let Some(granted) = granted.filter(|granted| Some(granted.lease) == self.header.lease)
        else {
            let problem = format!("{} is not served on this lease", self.header.module);
            return Err(ProviderError::new(problem).with_code(ErrorCode::FailedPrecondition));
        };
        let time_left = self.header.timeout_ms.map(Duration::from_millis);
        let call = Incoming::new(
            self.term.name.clone(),
            self.header.function,
            granted.functions.clone(),
            self.arguments,
            time_left.and_then(|time_left| self.arrived.checked_add(time_left)),
        );
        let is_result = call
            .signature()
            .is_some_and(|signature| signature.returns_result());
        let provider = self.term.provider.clone();
        let answer = caught(async move { provider.serve(call).await }).await?;
        Ok((answer, is_result))
    }
}

/// What comes of an implementation, a panic included.
async fn caught(
    serving: impl Future<Output = Result<Answer, ProviderError>>,
) -> Result<Answer, ProviderError> {
    let mut serving = std::pin::pin!(serving);
    poll_fn(|context| {
        // What a panic leaves half done is the implementation's own; it is not polled again.
        match catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(context))) {
            Ok(progress) => progress,
            Err(panic) => Err(ProviderError::of_panic(&*panic)).into(),
        }
    })
    .await
}

impl Shared {
    /// Waits until the host has room for an answer that is longer than a frame.
    async fn with_room(&self, answer: RawMessage) -> (RawMessage, Option<OwnedSemaphorePermit>) {
        match self.frames_of(&answer) {
            Ok(0) => (answer, None),
            // If there is none any more, there is nobody to answer.
            Ok(frames) => (answer, acquire(&self.room, frames).await),
            Err(error) => {
                let error = ProviderError::new(format!("the answer is too long: {error}"))
                    .with_code(ErrorCode::ResourceExhausted);
                let failure = Message::Failure(error.into_failure());
                (failure.encode(answer.id), None)
            }
        }
    }
}

/// The error of a call that is made while serving and finds no place among those that may be under way.
pub(super) fn no_slot() -> Error {
    Error::Remote(Failure::new(
        ErrorCode::ResourceExhausted,
        Fault::Peer,
        "as many calls are under way as the host allows, and one that is made while serving does not \
         wait: what it waits for may wait for it",
    ))
}
