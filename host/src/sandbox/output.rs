//! A guest's stdout and stderr: told line by line while it runs, up to a limit; the rest is counted and dropped.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::{io, mem};

use bytes::Bytes;
use rpc_host_protocol::error::printable;
use rpc_host_protocol::message::OutputStream;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream as WasiStream, Pollable, StreamResult};

use super::{CallLabel, CallLimits};
use crate::account::Account;
use crate::capability;
use crate::journal::Room;

/// What a guest may write at once. The engine allocates as much before it asks, so it is small.
const MAX_WRITE_BYTES: usize = 16 << 10;

/// Lines of each stream that go to the node's log from one call.
const MAX_LOGGED_LINES: usize = 100;
/// Bytes of such a line.
const MAX_LOGGED_LINE_BYTES: usize = 4096;
/// What is kept of the end of it, for the account of the guest's own end.
const LAST_BYTES: usize = 4096;

/// One of the two. All clones are the same.
#[derive(Clone)]
pub(super) struct Output {
    stream: OutputStream,
    account: Arc<Account>,
    printed: Arc<Mutex<Printed>>,
    /// What nobody is to hear goes nowhere.
    is_heard: bool,
}

/// What was printed in the present call.
struct Printed {
    label: CallLabel,
    max_line_bytes: usize,
    journal_room: Room,
    /// Of what is told yet.
    room_bytes: usize,
    /// A line that has not ended.
    begun: Vec<u8>,
    last: VecDeque<u8>,
    lines: usize,
    dropped_bytes: u64,
}

impl Printed {
    fn new(label: &CallLabel, limits: &CallLimits) -> Self {
        let bytes = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
        Printed {
            label: label.clone(),
            max_line_bytes: bytes(limits.max_log_line_bytes),
            journal_room: limits.journal_room,
            room_bytes: bytes(limits.max_output_bytes),
            begun: Vec::new(),
            last: VecDeque::new(),
            lines: 0,
            dropped_bytes: 0,
        }
    }

    /// Takes lines that are to be told.
    fn told(&mut self, lines: &[u8]) -> Lines {
        let texts = lines.split(|byte| *byte == b'\n').map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            printable(&String::from_utf8_lossy(line), self.max_line_bytes)
        });
        let texts: Vec<_> = texts.collect();
        let logged = MAX_LOGGED_LINES.saturating_sub(self.lines);
        self.lines = self.lines.saturating_add(texts.len());
        Lines {
            label: self.label.clone(),
            journal_room: self.journal_room,
            texts,
            logged,
        }
    }
}

/// Lines on their way to whoever they are told.
struct Lines {
    label: CallLabel,
    journal_room: Room,
    texts: Vec<String>,
    /// How many of them go to the node's log.
    logged: usize,
}

impl Output {
    /// For an instance that begins with this call.
    pub(super) fn new(
        stream: OutputStream,
        account: &Arc<Account>,
        label: &CallLabel,
        limits: &CallLimits,
    ) -> Self {
        Output {
            stream,
            account: Arc::clone(account),
            printed: Arc::new(Mutex::new(Printed::new(label, limits))),
            is_heard: true,
        }
    }

    /// For an instance that no call has: nobody hears it.
    pub(super) fn unheard(mut self) -> Self {
        self.is_heard = false;
        self
    }

    /// Another call begins.
    pub(super) fn begin(&self, label: &CallLabel, limits: &CallLimits) {
        *self.printed() = Printed::new(label, limits);
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, bytes: &[u8]) {
        if !self.is_heard {
            return;
        }
        let mut printed = self.printed();
        let room = printed.room_bytes.min(bytes.len());
        printed.room_bytes = printed.room_bytes.saturating_sub(room);
        let (told, dropped) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        printed.dropped_bytes = printed.dropped_bytes.saturating_add(dropped.len() as u64);
        printed.last.extend(told);
        let too_many = printed.last.len().saturating_sub(LAST_BYTES);
        printed.last.drain(..too_many);
        let Some(end) = told.iter().rposition(|byte| *byte == b'\n') else {
            printed.begun.extend_from_slice(told);
            return;
        };
        let (ended, begun) = told.split_at_checked(end).unwrap_or((told, &[]));
        let mut lines = mem::take(&mut printed.begun);
        lines.extend_from_slice(ended);
        printed
            .begun
            .extend_from_slice(begun.get(1..).unwrap_or_default());
        let lines = printed.told(&lines);
        drop(printed);
        self.tell(&lines);
    }

    /// The call is over, for now: a line that has not ended is one, and what was dropped is told of.
    pub(super) fn settle(&self) {
        let mut printed = self.printed();
        let begun = mem::take(&mut printed.begun);
        let lines = (!begun.is_empty()).then(|| printed.told(&begun));
        let dropped_bytes = mem::take(&mut printed.dropped_bytes);
        let (label, room) = (printed.label.clone(), printed.journal_room);
        drop(printed);
        if let Some(lines) = lines {
            self.tell(&lines);
        }
        if dropped_bytes > 0 {
            let stream = self.name();
            tracing::warn!(target: "guest", tenant = %label.tenant, module = %label.module, call = %label.call,
                stream, dropped_bytes, "output over the limit was dropped");
            let text = format!(
                "output over the limit was dropped: {dropped_bytes} bytes of {stream} (`max-output-bytes-per-instance`)"
            );
            let (stream, level) = (OutputStream::Log, Some("warn"));
            label
                .scribe
                .write(&label.module, room, stream, level, &text);
        }
    }

    /// Line by line, so that none of it can pass for a line of the node.
    fn tell(&self, lines: &Lines) {
        let Lines {
            label,
            journal_room,
            texts,
            logged,
        } = lines;
        for (index, text) in texts.iter().enumerate() {
            label
                .scribe
                .write(&label.module, *journal_room, self.stream, None, text);
            if index >= *logged {
                continue;
            }
            let text = printable(text, MAX_LOGGED_LINE_BYTES);
            if capability::is_heard(&self.account, label, text.len()) {
                tracing::info!(target: "guest", tenant = %label.tenant, module = %label.module, call = %label.call,
                    stream = self.name(), "{text}");
            }
        }
    }

    /// The end of what was printed.
    pub(super) fn last_words(&self) -> String {
        let last: Vec<u8> = self.printed().last.iter().copied().collect();
        String::from_utf8_lossy(&last).into_owned()
    }

    fn name(&self) -> &'static str {
        match self.stream {
            OutputStream::Stderr => "stderr",
            _ => "stdout",
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn WasiStream> {
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

impl WasiStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
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
        self.print(bytes);
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
mod tests;
