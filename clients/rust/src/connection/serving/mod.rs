//! Calls into this client: what it serves, and the calls that are under way here.
//!
//! A call rests on a lease, or it is one of a method of an object that the host holds of this client.
//!
//! The reader hands each call to a task of its own, so nothing that an implementation does holds up the
//! reader or another call. A call has its place in the window of its lease until the answer is written;
//! so a host that does not read cannot make this client keep more than its windows allow.

mod call;
mod term;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::cbor::decode_envelope;
use rpc_host_protocol::message::{CallHeader, Lapse, Leased, Withdraw};
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Message};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::window::{Place, Window};
use super::{Passed, Shared, Waiting};
use crate::lease::Lost;
use crate::provide::MAX_WINDOW;
use crate::provider::without_self;
use call::{Call, Target};
pub(super) use call::{no_slot, served_call};
pub(crate) use term::{Granted, Term};

/// Answers of this client itself, to calls that have no place, that may wait to be written.
const MAX_WAITING_REFUSALS: usize = 64;

/// What of this is part of the connection's state.
#[derive(Default)]
pub(super) struct Serving {
    /// By the exchange in which they were offered.
    terms: HashMap<ExchangeId, Offered>,
    leases: HashMap<u64, ExchangeId>,
    calls: HashMap<ExchangeId, UnderWay>,
    /// Calls that have a place.
    taken: Arc<AtomicUsize>,
    /// The places of calls of this client's objects.
    of_objects: Option<Arc<Window>>,
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

    /// A place for a call of one of this client's objects.
    fn place_of_object(&mut self) -> Option<Arc<Place>> {
        let taken = &self.taken;
        let window = self
            .of_objects
            .get_or_insert_with(|| Arc::new(Window::new(MAX_WINDOW, taken.clone())));
        window.take()
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
                .find(|offered| offered.term.name() == header.module && offered.term.is_awaited()),
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
            term.refuse();
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
            term.refuse();
            serving.terms.remove(&id);
            return Ok(Settled::Abandoned(withdrawal(&term, lease), term));
        }
        serving.leases.insert(lease, id);
        term.grant(leased);
        Ok(Settled::Granted)
    }

    /// Begins to serve a call, or refuses it.
    pub(super) fn take_call(
        self: &Arc<Self>,
        id: ExchangeId,
        header: CallHeader,
        arguments: Payload,
    ) -> Result<(), String> {
        // Also where the call is refused: what it brings is counted, and let go of.
        let arrival = self.arrived(&arguments);
        // A method is its object's affair, also where the object came by way of a name that is served.
        let of_object = without_self(&header.function, &arguments);
        let (object, arguments) = match of_object {
            Some((number, rest)) => (Some(self.object_of(number)), rest),
            None => (None, arguments),
        };
        let (refusal, _without_a_lock) = {
            let mut state = self.state();
            if state.serving.calls.contains_key(&id) {
                return Err(format!("it used {id} for two calls at once"));
            }
            let term = state.serving.term_of(&header);
            let place = match (&term, &header.lease) {
                (Some(term), _) => term.take_place(),
                (None, None) if object.is_some() => state.serving.place_of_object(),
                (None, _) => None,
            };
            let target = match (object, term) {
                (Some(object), Some(_)) => object,
                (Some(object), None) if header.lease.is_none() => object,
                (None, Some(term)) => Ok(Target::Term(term)),
                (_, None) => Err(not_served(&header)),
            };
            match (target, place) {
                (Ok(target), Some(place)) => {
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
                        target,
                        header,
                        arguments,
                        arrival,
                        arrived: Instant::now(),
                    };
                    tokio::spawn(call.serve(place, stopped));
                    return Ok(());
                }
                (Ok(target), None) => {
                    let text = format!(
                        "all calls are under way that this client takes for {} at once",
                        header.module
                    );
                    let refusal = Failure::new(ErrorCode::ResourceExhausted, Fault::Peer, text);
                    (refusal, Some(target))
                }
                (Err(refusal), _) => (refusal, None),
            }
        };
        self.refuse(id, refusal)
    }

    fn object_of(&self, number: u64) -> Result<Target, Failure> {
        let found = self.own_object(number).map(Target::Object);
        found.ok_or_else(|| {
            let text = format!("this client has no object {number}");
            Failure::new(ErrorCode::NotFound, Fault::Peer, text)
        })
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

    /// The host has let go of a name, as it was asked to: what served it here is over.
    pub(super) fn withdrawn(&self, name: &str) {
        let over: Vec<_> = {
            let serving = &mut self.state().serving;
            let over = serving.terms.extract_if(|_, offered| {
                offered.term.name() == name && offered.term.granted().is_some()
            });
            let over: Vec<_> = over.map(|(_, offered)| offered.term).collect();
            for granted in over.iter().filter_map(|term| term.granted()) {
                serving.leases.remove(&granted.lease);
            }
            over
        };
        for term in over {
            term.lose(Lost::Withdrawn);
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

    fn answer(
        self: &Arc<Self>,
        message: RawMessage,
        room: Option<OwnedSemaphorePermit>,
        place: Arc<Place>,
        passed: Passed,
    ) {
        let mut sent = self.sending(passed);
        {
            let mut state = self.state();
            state.serving.calls.remove(&message.id);
            if state.end.is_some() {
                drop(state);
                return;
            }
            if let Some(sent) = &mut sent {
                sent.taken();
            }
            state.outbox.answer(message, room, place, sent);
        }
        self.write_now();
    }
}

fn not_served(header: &CallHeader) -> Failure {
    let text = format!("this client does not serve {}", header.module);
    Failure::new(ErrorCode::Unimplemented, Fault::Peer, text)
}

fn withdrawal(term: &Term, lease: u64) -> Withdraw {
    Withdraw {
        name: term.name().to_owned(),
        lease: Some(lease),
        steal: false,
    }
}
