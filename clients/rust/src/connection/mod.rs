//! One connection: exchanges under way, what waits to be written, and how it ends.
//!
//! A caller writes its own frames as far as the socket takes them at once, so a small call costs no
//! change of task; the writer task takes over what the socket does not take. One reader task hands each
//! answer to the exchange that waits for it. A connection ends once and for all: it never reconnects,
//! that is [`crate::client`]'s part.

mod exchange;
mod handshake;
mod keepalive;
mod outbox;
mod reader;
mod writer;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::frame::FRAGMENT_BYTES;
use rpc_host_protocol::message::Ack;
use rpc_host_protocol::value::ValueError;
use rpc_host_protocol::{ExchangeId, Failure, Message};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::AbortHandle;

use crate::call::RawReply;
use crate::error::Error;
use crate::tls::Dialer;

pub(crate) use exchange::Exchange;
use outbox::Outbox;
use writer::Writer;

/// The most frames of incomplete messages that are ever on their way: 1 GiB of them.
const MAX_ROOM: u32 = 1 << 16;

/// One connection. Dropping it closes it.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    reader: AbortHandle,
}

/// The most exchanges that are ever under way at once, whatever the host allows.
const MAX_SLOTS: usize = 1 << 16;

/// What the tasks of a connection and its exchanges share.
struct Shared {
    state: Mutex<State>,
    writer: Mutex<Writer>,
    /// Something waits that the socket did not take at once, or the end has come.
    writer_wanted: Notify,
    /// One permit for each exchange that the host allows at once.
    slots: Arc<Semaphore>,
    /// Room at the host for messages that are not complete, in frames: as many as the longest message
    /// that it takes has. Long messages together never need more, or it would end the connection.
    room: Arc<Semaphore>,
    max_message_bytes: usize,
    /// Whether the host was heard, and spoken to, since the last beat.
    heard: AtomicBool,
    spoke: AtomicBool,
}

/// Never locked for longer than it takes to look at; never while waiting. The writer's lock, where both
/// are needed, is taken first.
struct State {
    next_id: u32,
    waiting: HashMap<ExchangeId, Waiting>,
    outbox: Outbox,
    goaway: Option<Failure>,
    end: Option<Error>,
}

/// An exchange that the host has not ended. It stays here, with its slot, when its caller has gone: the
/// host is busy with it until it says so.
struct Waiting {
    reply: oneshot::Sender<Result<RawReply, Error>>,
    acks: watch::Sender<Ack>,
    _slot: OwnedSemaphorePermit,
}

/// Whether a connection takes new exchanges.
pub(crate) enum Standing {
    /// It does.
    Open,
    /// It does not, for the reason that the host gave.
    GoingAway(Failure),
    /// It is over, or its numbers are used up: a new one is due.
    Over,
}

impl Connection {
    /// Connects, proves who is who, and starts the tasks.
    pub(crate) async fn open(
        dialer: &Dialer,
        token: Option<&str>,
        max_reply_bytes: usize,
    ) -> Result<Self, Error> {
        let (stream, welcome) = handshake::establish(dialer, token).await?;
        let (read_half, write_half) = tokio::io::split(stream);
        let slots = usize::try_from(welcome.max_calls_in_flight).unwrap_or(usize::MAX);
        let slots = slots.clamp(1, MAX_SLOTS);
        let max_message_bytes = usize::try_from(welcome.max_message_bytes).unwrap_or(usize::MAX);
        let room = (max_message_bytes / FRAGMENT_BYTES).clamp(1, MAX_ROOM as usize);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                next_id: 1,
                waiting: HashMap::new(),
                outbox: Outbox::default(),
                goaway: None,
                end: None,
            }),
            writer: Mutex::new(Writer::new(write_half)),
            writer_wanted: Notify::new(),
            slots: Arc::new(Semaphore::new(slots)),
            room: Arc::new(Semaphore::new(room)),
            max_message_bytes,
            heard: AtomicBool::new(true),
            spoke: AtomicBool::new(true),
        });
        let reader = tokio::spawn(reader::run(
            shared.clone(),
            read_half,
            max_reply_bytes,
            slots,
        ));
        tokio::spawn(writer::run(shared.clone()));
        tokio::spawn(keepalive::run(
            Arc::downgrade(&shared),
            keepalive::beat(welcome.idle_timeout_ms),
        ));
        Ok(Connection {
            shared,
            reader: reader.abort_handle(),
        })
    }

    pub(crate) fn standing(&self) -> Standing {
        let state = self.shared.state();
        match (&state.end, &state.goaway) {
            (None, None) if state.next_id < u32::MAX => Standing::Open,
            (None, Some(failure)) => Standing::GoingAway(failure.clone()),
            _ => Standing::Over,
        }
    }

    /// Begins an exchange as soon as the host allows one more.
    pub(crate) async fn begin(self: Arc<Self>, message: Message) -> Result<Exchange, Error> {
        let message = message.encode(ExchangeId::CONNECTION);
        let shared = &self.shared;
        let slot = acquire(&shared.slots, 1).await;
        let slot = slot.ok_or_else(|| shared.why_ended())?;
        let room = match shared.frames_of(&message)? {
            0 => None,
            frames => {
                let room = acquire(&shared.room, frames).await;
                Some(room.ok_or_else(|| shared.why_ended())?)
            }
        };
        Exchange::begin(self, message, slot, room)
    }
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

    fn why_ended(&self) -> Error {
        let end = self.state().end.clone();
        end.unwrap_or_else(|| Error::lost("it is over"))
    }

    /// Ends the connection, if it has not ended: all that wait on it hear why.
    fn end(&self, why: Error) {
        let waiting = {
            let mut state = self.state();
            if state.end.is_some() {
                return;
            }
            state.end = Some(why.clone());
            std::mem::take(&mut state.waiting)
        };
        self.slots.close();
        self.room.close();
        for (_, waiting) in waiting {
            // Whoever does not listen any more does not need to know.
            let _gone = waiting.reply.send(Err(why.clone()));
        }
        self.writer().close();
        self.writer_wanted.notify_one();
    }
}
