//! Messages → bytes.
//!
//! Each round writes the short messages that wait and then, in turn, one fragment of each long one,
//! up to a bound, in one go. So a lone short message goes out at once, many short ones go out
//! together, and a long one never delays a short one by more than a round.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rpc_host_protocol::assembler::{RawMessage, fragments};
use rpc_host_protocol::frame::{FLAG_MORE, FRAGMENT_BYTES, HEADER_BYTES, Header};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::outbox::{Left, Queue, is_short};
use crate::transport::TransportError;

/// The bytes of one round. TLS turns as much into records before it writes.
const ROUND_BYTES: usize = 64 * 1024;

/// Writes what is left in an [`Outbox`](super::Outbox).
#[derive(Debug)]
pub struct FrameWriter<W> {
    stream: W,
    queue: Queue,
    timeout: Duration,
    is_ended: bool,
    collected: VecDeque<Left>,
    short: VecDeque<RawMessage>,
    long: VecDeque<Outgoing>,
    /// The short messages of a round, reused for each.
    gathered: Vec<u8>,
}

/// A long message on its way.
#[derive(Debug)]
struct Outgoing {
    message: RawMessage,
    sent_bytes: usize,
    unreturned_room_bytes: usize,
    /// Later messages of the same exchange, and those that follow it: within an exchange, order is kept.
    behind: Vec<Left>,
}

/// One fragment of a round.
struct Planned {
    /// Which of the long messages.
    index: usize,
    header: [u8; HEADER_BYTES],
    part: Range<usize>,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(super) fn new(stream: W, queue: Queue, timeout: Duration) -> Self {
        FrameWriter {
            stream,
            queue,
            timeout,
            is_ended: false,
            collected: VecDeque::new(),
            short: VecDeque::new(),
            long: VecDeque::new(),
            gathered: Vec::new(),
        }
    }

    /// Writes until the outbox is ended and all that was left before is gone; then ends the stream.
    ///
    /// # Errors
    /// When the stream fails, or the peer does not read.
    pub async fn run(mut self) -> Result<(), TransportError> {
        loop {
            self.collect().await;
            if self.is_idle() {
                break;
            }
            let has_rested = self.write_round().await?;
            if !has_rested && !self.long.is_empty() {
                // The task that writes also reads: whatever came meanwhile is not to wait until the peer reads slower
                // than this writes.
                yield_now().await;
            }
        }
        in_time(self.timeout, self.stream.shutdown()).await?;
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }

    /// Takes all that waits in the outbox; waits for something if there is nothing to write.
    async fn collect(&mut self) {
        while !self.is_ended {
            self.is_ended = !self.queue.take(&mut self.collected);
            while let Some(left) = self.collected.pop_front() {
                self.enlist(left);
            }
            if self.is_ended || !self.is_idle() {
                return;
            }
            poll_fn(|context| self.queue.poll_ready(context)).await;
        }
    }

    fn enlist(&mut self, left: Left) {
        // Whatever it follows, it must not come between the frames of a message that has its own id.
        let is_before = |earlier: &&mut Outgoing| {
            let id = earlier.message.id;
            id == left.follows || id == left.message.id
        };
        if let Some(earlier) = self.long.iter_mut().find(is_before) {
            earlier.behind.push(left);
            return;
        }
        let message = left.message;
        if is_short(&message.payload) {
            self.short.push_back(message);
        } else {
            self.long.push_back(Outgoing {
                unreturned_room_bytes: self.queue.cost_bytes(&message.payload),
                message,
                sent_bytes: 0,
                behind: Vec::new(),
            });
        }
    }

    /// Tells whether it had to wait for the peer.
    async fn write_round(&mut self) -> Result<bool, TransportError> {
        let short_room = self.gather_short();
        let plan = self.plan_long();
        let has_rested = in_time(self.timeout, self.write(&plan)).await?;
        self.queue.give_back_short(short_room);
        self.retire(&plan);
        Ok(has_rested)
    }

    /// Puts short messages into the buffer; gives the room they took.
    fn gather_short(&mut self) -> usize {
        let mut room = 0;
        self.gathered.clear();
        while self.gathered.len() < ROUND_BYTES
            && let Some(message) = self.short.pop_front()
        {
            room += self.queue.cost_bytes(&message.payload);
            for (header, part) in fragments(&message) {
                self.gathered.extend_from_slice(&header.encode());
                self.gathered.extend_from_slice(part);
            }
        }
        room
    }

    /// Chooses fragments of the long messages in turn: at least one, so that short ones cannot
    /// starve them.
    fn plan_long(&mut self) -> Vec<Planned> {
        let mut plan = Vec::new();
        let mut planned_bytes = self.gathered.len();
        let mut is_exhausted = self.long.is_empty();
        while !is_exhausted {
            is_exhausted = true;
            for (index, outgoing) in self.long.iter_mut().enumerate() {
                if planned_bytes >= ROUND_BYTES && !plan.is_empty() {
                    return plan;
                }
                if let Some((header, part)) = outgoing.next_fragment() {
                    planned_bytes += HEADER_BYTES + part.len();
                    plan.push(Planned {
                        index,
                        header: header.encode(),
                        part,
                    });
                    is_exhausted = false;
                }
            }
        }
        plan
    }

    /// Long payloads are written from where they are; only short ones were copied together.
    async fn write(&mut self, plan: &[Planned]) -> io::Result<()> {
        let stream = &mut self.stream;
        if plan.is_empty() {
            stream.write_all(&self.gathered).await?;
        } else {
            let mut slices = Vec::with_capacity(1 + 2 * plan.len());
            slices.push(IoSlice::new(&self.gathered));
            for planned in plan {
                let message = self
                    .long
                    .get(planned.index)
                    .map(|outgoing| &outgoing.message);
                let part = message.and_then(|message| message.payload.get(planned.part.clone()));
                slices.push(IoSlice::new(&planned.header));
                slices.push(IoSlice::new(part.unwrap_or_default()));
            }
            write_all_vectored(stream, &mut slices).await?;
        }
        stream.flush().await
    }

    /// Gives back the room of what was written, and lets go of long messages that are complete.
    fn retire(&mut self, plan: &[Planned]) {
        let Some(last) = plan.last() else {
            return;
        };
        for planned in plan {
            if let Some(outgoing) = self.long.get_mut(planned.index) {
                let bytes = outgoing.return_room(planned.part.len());
                self.queue.give_back_long(bytes);
            }
        }
        // The next round begins behind the one that this round ended with.
        self.long
            .rotate_left((last.index + 1) % self.long.len().max(1));
        let (complete, incomplete): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.long)
            .into_iter()
            .partition(Outgoing::is_complete);
        self.long = incomplete;
        for left in complete.into_iter().flat_map(|outgoing| outgoing.behind) {
            self.enlist(left);
        }
    }
}

impl Outgoing {
    fn is_complete(&self) -> bool {
        self.sent_bytes == self.message.payload.len()
    }

    fn next_fragment(&mut self) -> Option<(Header, Range<usize>)> {
        if self.is_complete() {
            return None;
        }
        let total = self.message.payload.len();
        let part = self.sent_bytes..total.min(self.sent_bytes + FRAGMENT_BYTES);
        self.sent_bytes = part.end;
        let more = if self.is_complete() { 0 } else { FLAG_MORE };
        let header = Header {
            // At most FRAGMENT_BYTES, so the conversion never saturates.
            length_bytes: u32::try_from(part.len()).unwrap_or(u32::MAX),
            kind: self.message.kind,
            flags: self.message.flags | more,
            id: self.message.id,
        };
        Some((header, part))
    }

    /// How much room goes back now that so many more bytes are written.
    fn return_room(&mut self, written_bytes: usize) -> usize {
        let bytes = if self.is_complete() {
            self.unreturned_room_bytes
        } else {
            written_bytes.min(self.unreturned_room_bytes)
        };
        self.unreturned_room_bytes -= bytes;
        bytes
    }
}

/// Gives up a write that takes too long. Nearly always there is room, and no clock is asked. Tells whether there was not.
async fn in_time(
    limit: Duration,
    writing: impl Future<Output = io::Result<()>>,
) -> Result<bool, TransportError> {
    let mut writing = pin!(writing);
    let at_once = poll_fn(|context| Poll::Ready(writing.as_mut().poll(context))).await;
    let has_rested = at_once.is_pending();
    let written = match at_once {
        Poll::Ready(written) => written,
        Poll::Pending => timeout(limit, writing)
            .await
            .map_err(|_elapsed| TransportError::WriteTooSlow)?,
    };
    written?;
    Ok(has_rested)
}

async fn write_all_vectored<W: AsyncWrite + Unpin>(
    stream: &mut W,
    mut slices: &mut [IoSlice<'_>],
) -> io::Result<()> {
    // Skips slices that are empty from the start.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match stream.write_vectored(slices).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => IoSlice::advance_slices(&mut slices, count),
        }
    }
    Ok(())
}
