//! One connection: exchanges under way, what waits to be written, and how it ends.
//!
//! A caller writes its own frames as far as the socket takes them at once, so a small call costs no
//! change of task; the writer task takes over what the socket does not take, and writes together what many
//! callers begin at once. One reader task hands each
//! answer to the exchange that waits for it. A connection ends once and for all: it never reconnects,
//! that is [`crate::client`]'s part.

mod exchange;
mod handshake;
mod keepalive;
mod methods;
mod objects;
mod outbox;
mod reader;
mod serving;
mod window;
mod writer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::frame::FRAGMENT_BYTES;
use rpc_host_protocol::message::{Ack, Provide, Welcome};
use rpc_host_protocol::value::ValueError;
use rpc_host_protocol::{ExchangeId, Failure, Message};
use tokio::runtime::Handle;
use tokio::sync::{
    Notify, OnceCell, OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot, watch,
};
use tokio::task::AbortHandle;

use crate::call::RawReply;
use crate::client::{OPERATION_TIMEOUT, within};
use crate::error::Error;
use crate::lease::Lost;
use crate::provider::Provider;
use crate::streams::Streams;
use crate::tls::Dialer;

use exchange::Opening;
pub(crate) use exchange::{Exchange, Line};
use methods::Methods;
pub(crate) use methods::constructor;
pub(crate) use objects::{Arrival, Passed, Proxy};
use objects::{Objects, Sent};
use outbox::Outbox;
use serving::Serving;
pub(crate) use serving::{Granted, Term};
use writer::Writer;

/// The most frames of incomplete messages that are ever on their way: 1 GiB of them.
const MAX_ROOM: u32 = 1 << 16;

/// One connection. Dropping it closes it.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    reader: AbortHandle,
    /// Where its tasks run.
    runtime: Handle,
}

/// The most exchanges that are ever under way at once, whatever the host allows.
const MAX_SLOTS: usize = 1 << 16;

/// One in so many of them is kept for calls that are made while serving, once something is served.
const KEPT_OF_SLOTS: u32 = 4;

/// What the tasks of a connection and its exchanges share.
struct Shared {
    connection: Weak<Connection>,
    state: Mutex<State>,
    objects: Mutex<Objects>,
    /// Some of them are to be released.
    is_release_due: AtomicBool,
    /// Of the modules whose objects were used.
    methods: Mutex<HashMap<Arc<str>, Arc<Methods>>>,
    writer: Mutex<Writer>,
    /// Something waits that the socket did not take at once or that is written together with more, or the end has
    /// come.
    writer_wanted: Notify,
    /// How many exchanges began since anything was last read.
    begun: AtomicUsize,
    /// One permit for each exchange that the host allows at once.
    slots: Arc<Semaphore>,
    /// Room at the host for messages that are not complete, in frames: as many as the longest message
    /// that it takes has. Long messages together never need more, or it would end the connection.
    room: Arc<Semaphore>,
    /// Slots that are kept for calls that this client makes while it serves one; see
    /// [`Connection::begin`].
    kept_slots: Arc<Semaphore>,
    all_slots: u32,
    keeping_slots: OnceCell<()>,
    max_message_bytes: usize,
    /// Whether the host was heard, and spoken to, since the last beat.
    heard: AtomicBool,
    spoke: AtomicBool,
    /// A lease was granted, so that signs of life are due more often, or the end has come.
    keepalive_wanted: Notify,
}

/// Never locked for longer than it takes to look at; never while waiting. The writer's lock, where both
/// are needed, is taken first.
struct State {
    next_id: u32,
    waiting: HashMap<ExchangeId, Waiting>,
    outbox: Outbox,
    serving: Serving,
    goaway: Option<Failure>,
    end: Option<Error>,
}

/// An exchange that the host has not ended. It stays here, with its slot, when its caller has gone: the
/// host is busy with it until it says so.
struct Waiting {
    reply: oneshot::Sender<Result<RawReply, Error>>,
    /// Whoever sends an upload.
    acks: Option<watch::Sender<Ack>>,
    slot: OwnedSemaphorePermit,
    /// The objects in it.
    sent: Option<Sent>,
    /// Whoever wants to see what is written meanwhile.
    lines: Option<mpsc::UnboundedSender<Line>>,
}

/// Whether a connection takes new exchanges.
pub(crate) enum Standing {
    /// It does.
    Open,
    /// It does not, for the reason that the host gave.
    GoingAway(Failure),
    /// It is over, or its numbers are used up: a new one is due.
    Over(Error),
}

impl Waiting {
    /// The place of an exchange whose answer nobody waits for.
    fn unheard(slot: OwnedSemaphorePermit) -> Self {
        Waiting {
            reply: oneshot::channel().0,
            acks: None,
            slot,
            sent: None,
            lines: None,
        }
    }
}

impl Connection {
    /// Connects, proves who is who, and starts the tasks.
    pub(crate) async fn open(
        dialer: &Dialer,
        token: Option<&str>,
        max_reply_bytes: usize,
    ) -> Result<Arc<Self>, Error> {
        let (streams, welcome) = handshake::establish(dialer, token).await?;
        Ok(Connection::begin_over(streams, &welcome, max_reply_bytes))
    }

    /// The same over streams that somebody hands over. Whoever is at their other end knows who that is.
    pub(crate) async fn over(streams: Streams, max_reply_bytes: usize) -> Result<Arc<Self>, Error> {
        let (streams, welcome) = handshake::establish_over(streams).await?;
        Ok(Connection::begin_over(streams, &welcome, max_reply_bytes))
    }

    fn begin_over(streams: Streams, welcome: &Welcome, max_reply_bytes: usize) -> Arc<Self> {
        Arc::new_cyclic(|connection| {
            Connection::of(connection.clone(), streams, welcome, max_reply_bytes)
        })
    }

    fn of(
        connection: Weak<Connection>,
        streams: Streams,
        welcome: &Welcome,
        max_reply_bytes: usize,
    ) -> Self {
        let Streams { input, output } = streams;
        let slots = usize::try_from(welcome.max_calls_in_flight).unwrap_or(usize::MAX);
        let slots = slots.clamp(1, MAX_SLOTS);
        let max_message_bytes = usize::try_from(welcome.max_message_bytes).unwrap_or(usize::MAX);
        let room = (max_message_bytes / FRAGMENT_BYTES).clamp(1, MAX_ROOM as usize);
        let shared = Arc::new(Shared {
            connection,
            objects: Mutex::default(),
            is_release_due: AtomicBool::new(false),
            methods: Mutex::default(),
            state: Mutex::new(State {
                next_id: 1,
                waiting: HashMap::new(),
                outbox: Outbox::default(),
                serving: Serving::default(),
                goaway: None,
                end: None,
            }),
            writer: Mutex::new(Writer::new(output)),
            writer_wanted: Notify::new(),
            begun: AtomicUsize::new(0),
            slots: Arc::new(Semaphore::new(slots)),
            room: Arc::new(Semaphore::new(room)),
            kept_slots: Arc::new(Semaphore::new(0)),
            all_slots: u32::try_from(slots).unwrap_or(u32::MAX),
            keeping_slots: OnceCell::new(),
            max_message_bytes,
            heard: AtomicBool::new(true),
            spoke: AtomicBool::new(true),
            keepalive_wanted: Notify::new(),
        });
        let reader = tokio::spawn(reader::run(shared.clone(), input, max_reply_bytes, slots));
        tokio::spawn(writer::run(shared.clone()));
        tokio::spawn(keepalive::run(
            shared.clone(),
            keepalive::beat(Duration::from_millis(welcome.idle_timeout_ms)),
        ));
        Connection {
            shared,
            reader: reader.abort_handle(),
            runtime: Handle::current(),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        let state = self.shared.state();
        match (&state.end, &state.goaway) {
            (None, None) if state.next_id < u32::MAX => Standing::Open,
            (None, Some(failure)) => Standing::GoingAway(failure.clone()),
            (Some(why), _) => Standing::Over(why.clone()),
            (None, None) => Standing::Over(used_up()),
        }
    }

    /// Begins an exchange as soon as the host allows one more.
    ///
    /// A call that is made while serving one of the host's is part of that chain. It does not wait for a
    /// slot, as all of them may wait for what is served here; it fails at once if even those are taken
    /// that are kept for its like.
    pub(crate) async fn begin(self: Arc<Self>, message: Message) -> Result<Exchange, Error> {
        self.begin_with(message, Passed::default(), None).await
    }

    /// The same with objects in the message, and somebody who wants to see what is written meanwhile.
    pub(crate) async fn begin_with(
        self: Arc<Self>,
        mut message: Message,
        passed: Passed,
        lines: Option<mpsc::UnboundedSender<Line>>,
    ) -> Result<Exchange, Error> {
        let shared = &self.shared;
        if !passed.own.is_empty() {
            // From now on there may be calls into this client.
            let keeping = shared.keeping_slots.get_or_init(|| shared.keep_slots());
            keeping.await;
        }
        let served = serving::served_call(shared);
        if let (Message::Call { header, .. }, Some(served)) = (&mut message, served) {
            header.within = Some(served.0);
        }
        let is_call = matches!(message, Message::Call { .. });
        let slot = shared.slot(is_call && served.is_some()).await?;
        let message = message.encode(ExchangeId::CONNECTION);
        let room = shared.room_for(&message).await?;
        let opening = Opening {
            room,
            passed,
            lines,
            ..Opening::new(message, slot)
        };
        Exchange::begin(self, opening)
    }

    /// Lets go of an object for all that use it, and waits until the host has ended it.
    pub(crate) async fn release(self: Arc<Self>, proxy: &Proxy) -> Result<(), Error> {
        let shared = &self.shared;
        let slot = shared.slot(serving::served_call(shared).is_some()).await?;
        // From here to the exchange without waiting: what was taken out has to be said.
        let Some(release) = proxy.close() else {
            return Err(proxy.gone().unwrap_or_else(|| shared.why_ended()));
        };
        let message = Message::Release(release).encode(ExchangeId::CONNECTION);
        let opening = Opening {
            is_final: true,
            ..Opening::new(message, slot)
        };
        let exchange = Exchange::begin(self, opening)?;
        exchange.finished().await.map(|_null| ())
    }

    /// Offers to serve a name. The exchange ends with what the host says to it.
    pub(crate) async fn offer(
        self: Arc<Self>,
        provide: Provide,
        provider: Arc<dyn Provider>,
    ) -> Result<(Exchange, Arc<Term>), Error> {
        let shared = &self.shared;
        let keeping = shared.keeping_slots.get_or_init(|| shared.keep_slots());
        keeping.await;
        let slot = acquire(&shared.slots, 1).await;
        let slot = slot.ok_or_else(|| shared.why_ended())?;
        let taken = shared.state().serving.taken();
        let name = Arc::from(provide.name.as_str());
        let term = Arc::new(Term::new(name, provider, provide.window, taken));
        let message = Message::Provide(provide).encode(ExchangeId::CONNECTION);
        let room = shared.room_for(&message).await?;
        let opening = Opening {
            room,
            offered: Some(term.clone()),
            ..Opening::new(message, slot)
        };
        let exchange = Exchange::begin(self, opening)?;
        Ok((exchange, term))
    }

    /// Withdraws an offer, if it is not over. Calls that the host makes until it has answered are served.
    pub(crate) async fn withdraw(self: Arc<Self>, id: ExchangeId) -> Result<(), Error> {
        let Some(withdraw) = self.shared.abandon(id) else {
            return Ok(());
        };
        let answer = async {
            let exchange = self.clone().begin(Message::Withdraw(withdraw)).await?;
            exchange.finished().await
        };
        let outcome = within(OPERATION_TIMEOUT, answer).await;
        self.shared.forget(id);
        outcome.map(|_null| ())
    }

    /// The same for one who cannot wait.
    pub(crate) fn withdraw_soon(self: Arc<Self>, id: ExchangeId) {
        if self.shared.is_offered(id) {
            let runtime = self.runtime.clone();
            // If it cannot be said, the connection is over, and the lease with it.
            drop(runtime.spawn(self.withdraw(id)));
        }
    }

    /// The host has let go of a name, as it was asked to.
    pub(crate) fn withdrawn(&self, name: &str) {
        self.shared.withdrawn(name);
    }
}

/// Why a connection takes no more exchanges, though it is open.
fn used_up() -> Error {
    Error::lost("its numbers are used up; call again")
}

/// `None`: closed, as the connection is over.
async fn acquire(semaphore: &Arc<Semaphore>, count: u32) -> Option<OwnedSemaphorePermit> {
    // Mostly there are enough, and then nothing is queued.
    match semaphore.clone().try_acquire_many_owned(count) {
        Ok(permit) => Some(permit),
        Err(_) => semaphore.clone().acquire_many_owned(count).await.ok(),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.end(Error::lost("this client closed it"));
        self.reader.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many frames of room a message takes at the host: none if it is complete in one.
    fn frames_of(&self, message: &RawMessage) -> Result<u32, Error> {
        let bytes = message.payload.len();
        if bytes > self.max_message_bytes {
            let max = self.max_message_bytes;
            return Err(Error::Encode(ValueError {
                path: "args".to_owned(),
                problem: format!("{bytes} bytes, but the host takes messages of {max} at most"),
            }));
        }
        let most = (self.max_message_bytes / FRAGMENT_BYTES).max(1);
        let frames = (bytes / FRAGMENT_BYTES).min(most);
        Ok(u32::try_from(frames).unwrap_or(MAX_ROOM).min(MAX_ROOM))
    }

    /// Waits for room at the host for a message, if it takes some.
    async fn room_for(&self, message: &RawMessage) -> Result<Option<OwnedSemaphorePermit>, Error> {
        match self.frames_of(message)? {
            0 => Ok(None),
            frames => {
                let room = acquire(&self.room, frames).await;
                room.map(Some).ok_or_else(|| self.why_ended())
            }
        }
    }

    /// A place for one more exchange: as soon as there is one; or at once, for what a call waits for that is
    /// served here.
    async fn slot(&self, is_serving: bool) -> Result<OwnedSemaphorePermit, Error> {
        if is_serving {
            return self.slot_while_serving();
        }
        let slot = acquire(&self.slots, 1).await;
        slot.ok_or_else(|| self.why_ended())
    }

    fn slot_while_serving(&self) -> Result<OwnedSemaphorePermit, Error> {
        let slot = self.slots.clone().try_acquire_owned();
        let slot = slot.or_else(|_| self.kept_slots.clone().try_acquire_owned());
        slot.map_err(|error| match error {
            TryAcquireError::Closed => self.why_ended(),
            TryAcquireError::NoPermits => serving::no_slot(),
        })
    }

    /// Keeps a part of the slots for calls that are made while serving.
    async fn keep_slots(&self) {
        let kept = self.all_slots / KEPT_OF_SLOTS;
        if let Some(slots) = acquire(&self.slots, kept).await {
            slots.forget();
            self.kept_slots
                .add_permits(usize::try_from(kept).unwrap_or(usize::MAX));
        }
    }

    fn why_ended(&self) -> Error {
        let end = self.state().end.clone();
        end.unwrap_or_else(|| Error::lost("it is over"))
    }

    /// Ends the connection, if it has not ended: all that wait on it hear why.
    fn end(&self, why: Error) {
        let (waiting, terms) = {
            let mut state = self.state();
            if state.end.is_some() {
                return;
            }
            state.end = Some(why.clone());
            (std::mem::take(&mut state.waiting), state.serving.end())
        };
        self.slots.close();
        self.kept_slots.close();
        self.room.close();
        for term in terms {
            term.lose(Lost::Connection(why.clone()));
        }
        self.end_objects();
        for (_, waiting) in waiting {
            // Whoever does not listen any more does not need to know.
            let _gone = waiting.reply.send(Err(why.clone()));
        }
        self.writer().close();
        self.writer_wanted.notify_one();
        self.keepalive_wanted.notify_one();
    }
}
