//! Frames on any stream of bytes: [`FrameReader`] takes them off, [`FrameWriter`] puts messages on.
//!
//! Nothing here knows what a message means, or that TLS exists. Both halves bound what the other
//! side can make us hold, and for how long: a frame has to arrive within a time that depends on its
//! size, and what is written has to be taken within a time as well.

mod outbox;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use outbox::{NotLeft, Outbox, OutboxClosed};
pub use reader::{Frame, FrameReader};
pub use writer::FrameWriter;

use std::time::Duration;

use tokio::io::AsyncWrite;

use crate::config::Limits;

/// An outbox, and the writer that empties it onto `stream`.
pub fn outbox<W: AsyncWrite + Unpin>(stream: W, limits: &Limits) -> (Outbox, FrameWriter<W>) {
    let (outbox, queue) = outbox::bounded(limits);
    let timeout = Duration::from_millis(limits.write_timeout_ms);
    (outbox, FrameWriter::new(stream, queue, timeout))
}
