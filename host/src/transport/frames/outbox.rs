//! Where messages wait to be written.
//!
//! Short and long messages have room of their own: a long one that waits for the peer to read does
//! not keep a short one from getting in, and overtaking it.

use std::sync::Arc;

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::frame::{FRAGMENT_BYTES, HEADER_BYTES};
use tokio::sync::{Semaphore, mpsc};

use crate::config::Limits;

/// Room for short messages. Sixteen of the longest, thousands of ordinary ones.
const SHORT_LANE_BYTES: usize = 16 * FRAGMENT_BYTES;

/// The connection takes no more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection takes no more messages")]
pub struct OutboxClosed;

/// Where the messages of one connection are left to be written. All clones are the same outbox.
#[derive(Clone, Debug)]
pub struct Outbox {
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Room>,
}

/// What the writer gets. The queue needs no bound of its own: nothing is in it without room.
#[derive(Debug)]
pub(super) enum Queued {
    Message(RawMessage),
    /// Nothing that comes later is written.
    End,
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) messages: mpsc::UnboundedReceiver<Queued>,
    pub(super) room: Arc<Room>,
}

/// How much more may wait, in bytes.
#[derive(Debug)]
pub(super) struct Room {
    short: Semaphore,
    long: Semaphore,
    long_lane_bytes: usize,
}

/// Whether a message of so many bytes is written in one piece.
pub(super) fn is_short(payload: &[u8]) -> bool {
    payload.len() <= FRAGMENT_BYTES
}

pub(super) fn bounded(limits: &Limits) -> (Outbox, Queue) {
    let (sender, messages) = mpsc::unbounded_channel();
    let long_lane_bytes =
        u32::try_from(limits.max_queued_bytes_per_session).unwrap_or(u32::MAX) as usize;
    let room = Arc::new(Room {
        short: Semaphore::new(SHORT_LANE_BYTES),
        long: Semaphore::new(long_lane_bytes),
        long_lane_bytes,
    });
    let outbox = Outbox {
        queue: sender,
        room: Arc::clone(&room),
    };
    (outbox, Queue { messages, room })
}

impl Outbox {
    /// Leaves a message to be written, as soon as there is room for it.
    ///
    /// # Errors
    /// When the connection is at its end.
    pub async fn send(&self, message: RawMessage) -> Result<(), OutboxClosed> {
        let (lane, cost) = self.room.lane(&message.payload);
        let permit = lane
            .acquire_many(cost)
            .await
            .map_err(|_closed| OutboxClosed)?;
        // The writer gives it back once the bytes are gone.
        permit.forget();
        self.queue
            .send(Queued::Message(message))
            .map_err(|_closed| OutboxClosed)
    }

    /// Lets the writer end once it has written what was left here until now.
    pub fn end(&self) {
        // Where the writer is gone already, there is nobody left to tell.
        let _gone = self.queue.send(Queued::End);
    }
}

impl Room {
    /// Which lane a message takes, and how much of it. A message longer than the lane takes all.
    fn lane(&self, payload: &[u8]) -> (&Semaphore, u32) {
        let (lane, lane_bytes) = if is_short(payload) {
            (&self.short, SHORT_LANE_BYTES)
        } else {
            (&self.long, self.long_lane_bytes)
        };
        let cost = payload.len().saturating_add(HEADER_BYTES).min(lane_bytes);
        // Both lanes fit in a u32, so the conversion never saturates.
        (lane, u32::try_from(cost).unwrap_or(u32::MAX))
    }

    /// What a long message has to give back as it is written.
    pub(super) fn cost_bytes(&self, payload: &[u8]) -> usize {
        self.lane(payload).1 as usize
    }

    pub(super) fn give_back_short(&self, bytes: usize) {
        self.short.add_permits(bytes);
    }

    pub(super) fn give_back_long(&self, bytes: usize) {
        self.long.add_permits(bytes);
    }

    /// Whoever waits for room hears that there will be none.
    pub(super) fn close(&self) {
        self.short.close();
        self.long.close();
    }
}
