//! Where messages wait to be written.
//!
//! Short and long messages have room of their own: a long one that waits for the peer to read does
//! not keep a short one from getting in, and overtaking it.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rpc_host_protocol::ExchangeId;
use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::frame::{FRAGMENT_BYTES, HEADER_BYTES};
use tokio::sync::{Semaphore, TryAcquireError};

use crate::config::Limits;

/// Room for short messages. Sixteen of the longest, thousands of ordinary ones.
const SHORT_LANE_BYTES: usize = 16 * FRAGMENT_BYTES;

/// The connection takes no more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection takes no more messages")]
pub struct OutboxClosed;

/// Why a message was not left that could not wait.
#[derive(Debug)]
pub enum NotLeft {
    /// There is no room for it now; here it is.
    Full(RawMessage),
    /// The connection takes no more messages.
    Closed,
}

/// Where the messages of one connection are left to be written. All clones are the same outbox.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Shared>);

/// The writer's end.
#[derive(Debug)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// How much more may wait, in bytes.
    short: Semaphore,
    long: Semaphore,
    long_lane_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Needs no bound of its own: nothing is in it without room.
    messages: VecDeque<Left>,
    /// Nothing that comes later is written.
    is_ended: bool,
    /// Set while the writer waits.
    writer: Option<Waker>,
}

/// A message as it was left to be written.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) message: RawMessage,
    /// It is written after what was left before it of this exchange: its own, where nothing else was said.
    pub(super) follows: ExchangeId,
}

/// Whether a message of so many bytes is written in one piece.
pub(super) fn is_short(payload: &[u8]) -> bool {
    payload.len() <= FRAGMENT_BYTES
}

pub(super) fn bounded(limits: &Limits) -> (Outbox, Queue) {
    let long_lane_bytes =
        u32::try_from(limits.max_queued_bytes_per_session).unwrap_or(u32::MAX) as usize;
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        short: Semaphore::new(SHORT_LANE_BYTES),
        long: Semaphore::new(long_lane_bytes),
        long_lane_bytes,
    });
    (Outbox(Arc::clone(&shared)), Queue(shared))
}

impl Outbox {
    /// Leaves a message to be written, as soon as there is room for it.
    ///
    /// # Errors
    /// When the connection is at its end.
    pub async fn send(&self, message: RawMessage) -> Result<(), OutboxClosed> {
        self.send_after(message, ()).await
    }

    /// The same, and lets go of `held` once there is room, before anybody can have the message: a peer that knows
    /// the answer may count on what its exchange held.
    ///
    /// # Errors
    /// When the connection is at its end.
    pub async fn send_after<H>(&self, message: RawMessage, held: H) -> Result<(), OutboxClosed> {
        let follows = message.id;
        self.send_behind(message, follows, held).await
    }

    /// Leaves a message to be written after all that was left of an exchange.
    ///
    /// # Errors
    /// When the connection is at its end.
    pub async fn send_following(
        &self,
        message: RawMessage,
        follows: ExchangeId,
    ) -> Result<(), OutboxClosed> {
        self.send_behind(message, follows, ()).await
    }

    async fn send_behind<H>(
        &self,
        message: RawMessage,
        follows: ExchangeId,
        held: H,
    ) -> Result<(), OutboxClosed> {
        let writer = self.leave(message, follows, held).await?;
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    /// The same as [`Outbox::send_after`] without waking the writer: only for the very task that runs it, which looks here
    /// before it rests. A task that wakes itself is run once more, and maybe another thread with it.
    ///
    /// Gives back what there is no room for at once.
    pub fn try_send_within_writing_task<H>(
        &self,
        message: RawMessage,
        held: H,
    ) -> Option<(RawMessage, H)> {
        let (lane, cost) = self.0.lane(&message.payload);
        match lane.try_acquire_many(cost) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits) => return Some((message, held)),
            // The connection has ended, and its own task says why.
            Err(TryAcquireError::Closed) => return None,
        }
        drop(held);
        let follows = message.id;
        if let Ok(Some(writer)) = self.0.push(message, follows) {
            self.0.state().writer = Some(writer);
        }
        None
    }

    /// Leaves a message if there is room for it at once: for whoever cannot wait.
    ///
    /// # Errors
    /// When there is no room, or the connection is at its end.
    pub fn try_send(&self, message: RawMessage) -> Result<(), NotLeft> {
        let (lane, cost) = self.0.lane(&message.payload);
        match lane.try_acquire_many(cost) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits) => return Err(NotLeft::Full(message)),
            Err(TryAcquireError::Closed) => return Err(NotLeft::Closed),
        }
        let follows = message.id;
        let writer = self
            .0
            .push(message, follows)
            .map_err(|OutboxClosed| NotLeft::Closed)?;
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    /// The same, but half of the room is for others: for what may come in any number, and can be lost.
    ///
    /// # Errors
    /// When there is no such room, or the connection is at its end.
    pub fn try_send_aside(&self, message: RawMessage) -> Result<(), NotLeft> {
        let (lane, cost) = self.0.lane(&message.payload);
        let lane_bytes = self.0.lane_bytes(&message.payload);
        let for_others = (lane_bytes / 2).min(lane_bytes.saturating_sub(cost as usize));
        if lane.available_permits() < for_others.saturating_add(cost as usize) {
            return Err(NotLeft::Full(message));
        }
        self.try_send(message)
    }

    /// Leaves a message; gives whom to wake.
    async fn leave<H>(
        &self,
        message: RawMessage,
        follows: ExchangeId,
        held: H,
    ) -> Result<Option<Waker>, OutboxClosed> {
        let (lane, cost) = self.0.lane(&message.payload);
        let permit = lane.acquire_many(cost).await;
        // The writer gives it back once the bytes are gone.
        permit.map_err(|_closed| OutboxClosed)?.forget();
        drop(held);
        self.0.push(message, follows)
    }

    /// Lets the writer end once it has written what was left here until now.
    pub fn end(&self) {
        self.0.close();
        let writer = self.0.state().writer.take();
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

impl Queue {
    /// Moves all that waits behind `into`. False: nothing will ever come again.
    pub(super) fn take(&self, into: &mut VecDeque<Left>) -> bool {
        let mut state = self.0.state();
        into.append(&mut state.messages);
        !state.is_ended
    }

    /// Waits for something to take, or the end.
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state();
        if state.is_ended || !state.messages.is_empty() {
            return Poll::Ready(());
        }
        match &mut state.writer {
            Some(writer) => writer.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// What a message takes of its lane, and has to give back.
    pub(super) fn cost_bytes(&self, payload: &[u8]) -> usize {
        self.0.lane(payload).1 as usize
    }

    pub(super) fn give_back_short(&self, bytes: usize) {
        self.0.short.add_permits(bytes);
    }

    pub(super) fn give_back_long(&self, bytes: usize) {
        self.0.long.add_permits(bytes);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.close();
        let unwritten = mem::take(&mut self.0.state().messages);
        drop(unwritten);
    }
}

impl Shared {
    /// Which lane a message takes, and how much of it. A message longer than the lane takes all.
    fn lane(&self, payload: &[u8]) -> (&Semaphore, u32) {
        let lane_bytes = self.lane_bytes(payload);
        let lane = match is_short(payload) {
            true => &self.short,
            false => &self.long,
        };
        let cost = payload.len().saturating_add(HEADER_BYTES).min(lane_bytes);
        // Both lanes fit in a u32, so the conversion never saturates.
        (lane, u32::try_from(cost).unwrap_or(u32::MAX))
    }

    fn lane_bytes(&self, payload: &[u8]) -> usize {
        match is_short(payload) {
            true => SHORT_LANE_BYTES,
            false => self.long_lane_bytes,
        }
    }

    /// Appends a message that has its room; gives whom to wake.
    fn push(
        &self,
        message: RawMessage,
        follows: ExchangeId,
    ) -> Result<Option<Waker>, OutboxClosed> {
        let mut state = self.state();
        if state.is_ended {
            return Err(OutboxClosed);
        }
        state.messages.push_back(Left { message, follows });
        Ok(state.writer.take())
    }

    /// Whoever waits for room hears that there will be none.
    fn close(&self) {
        self.state().is_ended = true;
        self.short.close();
        self.long.close();
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
