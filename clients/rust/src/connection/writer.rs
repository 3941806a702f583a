//! Outbox → socket.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite;
use tokio::task::yield_now;

use super::Shared;
use crate::error::Error;
use crate::streams::Output;

/// Frames are gathered until there are so many bytes; then they are written at once.
const GATHER_BYTES: usize = 64 << 10;
/// So many exchanges are written as each begins.
const A_FEW: usize = 3;

/// The writing half, and bytes on their way into it.
pub(super) struct Writer {
    /// `None`: closed.
    stream: Option<Output>,
    buffer: Vec<u8>,
    written_bytes: usize,
    /// The socket is full: the writer task waits for room, and nobody else may poll, or it would never
    /// be woken.
    is_blocked: bool,
}

impl Writer {
    pub(super) fn new(stream: Output) -> Self {
        Writer {
            stream: Some(stream),
            buffer: Vec::with_capacity(GATHER_BYTES),
            written_bytes: 0,
            is_blocked: false,
        }
    }

    /// Says goodbye as far as that is possible without waiting, and lets go of the socket.
    pub(super) fn close(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            let mut context = Context::from_waker(Waker::noop());
            // A courtesy: the host learns the same from the closed socket.
            let _ignored = Pin::new(&mut stream).poll_shutdown(&mut context);
        }
    }

    /// Writes until nothing is left, or the socket is full.
    fn drive(&mut self, shared: &Shared, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Ok(()));
            };
            let mut stream = Pin::new(stream);
            if self.written_bytes == self.buffer.len() {
                self.buffer.clear();
                self.written_bytes = 0;
                let release = shared.release_due();
                let outbox = &mut shared.state().outbox;
                if let Some(release) = release {
                    outbox.lead(release);
                }
                outbox.fill(&mut self.buffer, GATHER_BYTES);
            }
            let rest = self.buffer.get(self.written_bytes..).unwrap_or_default();
            let progress = if rest.is_empty() {
                stream.as_mut().poll_flush(context).map_ok(|()| None)
            } else {
                stream.as_mut().poll_write(context, rest).map_ok(Some)
            };
            match progress {
                Poll::Pending => {
                    self.is_blocked = true;
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => {
                    self.is_blocked = false;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(Some(0))) => {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(Some(bytes))) => {
                    shared.spoke.store(true, Ordering::Relaxed);
                    self.written_bytes += bytes;
                }
            }
        }
    }
}

impl Shared {
    /// Writes what waits as far as the socket takes it now; the writer task does the rest.
    ///
    /// Never waits: a caller's future may be dropped at any time, but a frame must not be left half
    /// written.
    pub(super) fn write_now(&self) {
        // If somebody else holds the lock, it may have looked into the outbox before us.
        let Ok(mut writer) = self.writer.try_lock() else {
            self.writer_wanted.notify_one();
            return;
        };
        if writer.is_blocked {
            return;
        }
        let outcome = writer.drive(self, &mut Context::from_waker(Waker::noop()));
        drop(writer);
        match outcome {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => self.end(broken(&error)),
            Poll::Pending => self.writer_wanted.notify_one(),
        }
    }

    /// The same for an exchange that has just begun. Where some others began since anything was heard, many are likely to
    /// begin now, and the writer task writes them together: a write for each would cost more than the calls. A few
    /// are written at once, as that task may have to wait for one that computes.
    pub(super) fn write_begun(&self) {
        if self.begun.fetch_add(1, Ordering::Relaxed) < A_FEW {
            self.write_now();
        } else {
            self.writer_wanted.notify_one();
        }
    }
}

fn broken(error: &io::Error) -> Error {
    Error::lost(format!("cannot write: {error}"))
}

/// Writes what the callers did not, until the connection is over.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        shared.writer_wanted.notified().await;
        // Whoever else is about to say something does so first.
        yield_now().await;
        let outcome = poll_fn(|context| shared.writer().drive(&shared, context)).await;
        if let Err(error) = outcome {
            shared.end(broken(&error));
        }
        if shared.state().end.is_some() {
            return;
        }
    }
}
