//! A guest's stdout and stderr: kept up to a limit, the rest counted and dropped.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What a guest may write at once. The engine allocates as much before it asks, so it is small.
const MAX_WRITE_BYTES: usize = 16 << 10;

#[derive(Clone)]
pub(super) struct Output {
    printed: Arc<Mutex<Printed>>,
}

#[derive(Default)]
struct Printed {
    bytes: Vec<u8>,
    dropped_bytes: u64,
    /// Of what is kept yet.
    room_bytes: usize,
}

impl Output {
    /// Keeps so much.
    pub(super) fn new(max_bytes: u64) -> Self {
        let output = Output {
            printed: Arc::default(),
        };
        output.begin(max_bytes);
        output
    }

    /// Another call begins, of which so much is kept.
    pub(super) fn begin(&self, max_bytes: u64) {
        let mut printed = self.printed();
        printed.room_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        printed.dropped_bytes = 0;
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, bytes: &[u8]) {
        let mut printed = self.printed();
        let room = printed.room_bytes.min(bytes.len());
        printed.room_bytes = printed.room_bytes.saturating_sub(room);
        let (kept, dropped) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        printed.bytes.extend_from_slice(kept);
        printed.dropped_bytes = printed.dropped_bytes.saturating_add(dropped.len() as u64);
    }

    /// What was printed since this was last asked, as text, and how many bytes were dropped.
    pub(super) fn take(&self) -> (String, u64) {
        let mut printed = self.printed();
        let bytes = std::mem::take(&mut printed.bytes);
        let dropped_bytes = std::mem::take(&mut printed.dropped_bytes);
        (String::from_utf8_lossy(&bytes).into_owned(), dropped_bytes)
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE_BYTES)
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.keep(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_capped_and_the_rest_counted() {
        let output = Output::new(4 * MAX_WRITE_BYTES as u64);
        let mut stream = output.clone();
        for _ in 0..5 {
            stream
                .write(Bytes::from_static(&[b'x'; MAX_WRITE_BYTES]))
                .unwrap();
        }
        let (text, dropped_bytes) = output.take();
        assert_eq!(
            (text.len(), dropped_bytes),
            (4 * MAX_WRITE_BYTES, MAX_WRITE_BYTES as u64)
        );
        // Whatever was taken of it, there is no more room in this call; in the next there is.
        stream.write(Bytes::from_static(b"more")).unwrap();
        assert_eq!(output.take(), (String::new(), 4));
        output.begin(2);
        stream.write(Bytes::from_static(b"next")).unwrap();
        assert_eq!(output.take(), ("ne".to_owned(), 2));
    }
}
