//! Reading and writing a file from a place on.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::task::Task;
use crate::volume::{At, File, VolumeError};

/// What is read or written at once. The engine's library makes as much room before it asks.
pub(super) const MAX_CHUNK_BYTES: usize = 64 << 10;

fn failed(error: VolumeError) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}

/// Reads a file from a place on.
pub(super) struct FileInput {
    file: Arc<File>,
    offset: u64,
    state: Reading,
    _room: OwnedSemaphorePermit,
}

enum Reading {
    Idle,
    Waiting(Task<Vec<u8>>),
    Read(Bytes),
    Failed(VolumeError),
    Over,
}

impl FileInput {
    pub(super) fn new(file: Arc<File>, offset: u64, room: OwnedSemaphorePermit) -> Self {
        FileInput {
            file,
            offset,
            state: Reading::Idle,
            _room: room,
        }
    }

    fn begin(&mut self, most_bytes: usize) {
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let most_bytes = most_bytes.clamp(1, MAX_CHUNK_BYTES);
        self.state = Reading::Waiting(Task::start(async move {
            file.run(move |file| file.read(offset, most_bytes)).await
        }));
    }

    fn arrived(&mut self, outcome: Result<Vec<u8>, VolumeError>) {
        self.state = match outcome {
            Ok(bytes) if bytes.is_empty() => Reading::Over,
            Ok(bytes) => {
                self.offset = self.offset.saturating_add(bytes.len() as u64);
                Reading::Read(bytes.into())
            }
            Err(error) => Reading::Failed(error),
        };
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for FileInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if let Reading::Waiting(task) = &mut self.state
            && let Some(outcome) = task.try_outcome()
        {
            self.arrived(outcome);
        }
        match &mut self.state {
            Reading::Idle if size > 0 => self.begin(size),
            Reading::Idle | Reading::Waiting(_) => {}
            Reading::Read(bytes) => {
                let taken = bytes.split_to(size.min(bytes.len()));
                if bytes.is_empty() {
                    self.state = Reading::Idle;
                }
                return Ok(taken);
            }
            Reading::Failed(error) => {
                let error = *error;
                self.state = Reading::Over;
                return Err(failed(error));
            }
            Reading::Over => return Err(StreamError::Closed),
        }
        Ok(Bytes::new())
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if matches!(self.state, Reading::Idle) && size > 0 {
            let (offset, most_bytes) = (self.offset, size.min(MAX_CHUNK_BYTES));
            let read = self
                .file
                .run(move |file| file.read(offset, most_bytes))
                .await;
            self.arrived(read);
        } else {
            self.ready().await;
        }
        self.read(size)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileInput {
    async fn ready(&mut self) {
        if matches!(self.state, Reading::Idle) {
            self.begin(MAX_CHUNK_BYTES);
        }
        if let Reading::Waiting(task) = &mut self.state {
            let outcome = task.outcome().await;
            self.arrived(outcome);
        }
    }
}

/// Writes a file from a place on, or at its end.
pub(super) struct FileOutput {
    file: Arc<File>,
    at: At,
    state: Writing,
    _room: OwnedSemaphorePermit,
}

enum Writing {
    Idle,
    Waiting(Task<u64>),
    Failed(VolumeError),
    Over,
}

impl FileOutput {
    pub(super) fn new(file: Arc<File>, at: At, room: OwnedSemaphorePermit) -> Self {
        FileOutput {
            file,
            at,
            state: Writing::Idle,
            _room: room,
        }
    }

    fn arrived(&mut self, outcome: Result<u64, VolumeError>) {
        self.state = match outcome {
            Ok(written) => {
                if let At::Offset(offset) = &mut self.at {
                    *offset = offset.saturating_add(written);
                }
                Writing::Idle
            }
            Err(error) => Writing::Failed(error),
        };
    }

    /// Tells of a failure, once.
    fn check(&mut self) -> StreamResult<()> {
        if let Writing::Waiting(task) = &mut self.state
            && let Some(outcome) = task.try_outcome()
        {
            self.arrived(outcome);
        }
        match &self.state {
            Writing::Idle | Writing::Waiting(_) => Ok(()),
            Writing::Failed(error) => {
                let error = *error;
                self.state = Writing::Over;
                Err(failed(error))
            }
            Writing::Over => Err(StreamError::Closed),
        }
    }
}

/// Writes all of it, as one piece if the system takes it so.
fn write_all(file: &File, mut at: At, bytes: &Bytes) -> Result<u64, VolumeError> {
    let mut written = 0;
    loop {
        let left = usize::try_from(written)
            .ok()
            .and_then(|from| bytes.get(from..));
        let left = left.unwrap_or_default();
        if left.is_empty() {
            return Ok(written);
        }
        let more = file.write(at, left)?;
        if more == 0 {
            return Err(VolumeError::Io);
        }
        written = written.saturating_add(more);
        if let At::Offset(offset) = &mut at {
            *offset = offset.saturating_add(more);
        }
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for FileOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.check()?;
        if !matches!(self.state, Writing::Idle) || bytes.len() > MAX_CHUNK_BYTES {
            return Err(StreamError::trap(
                "more was written than `check-write` allowed",
            ));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let (file, at) = (Arc::clone(&self.file), self.at);
        self.state = Writing::Waiting(Task::start(async move {
            file.run(move |file| write_all(file, at, &bytes)).await
        }));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Nothing is kept back: what is under way is waited for before more can be written.
        self.check()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check()?;
        Ok(match self.state {
            Writing::Idle => MAX_CHUNK_BYTES,
            _ => 0,
        })
    }

    async fn cancel(&mut self) {
        // Dropped by the guest, which is told that what it wrote is written.
        self.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for FileOutput {
    async fn ready(&mut self) {
        if let Writing::Waiting(task) = &mut self.state {
            let outcome = task.outcome().await;
            self.arrived(outcome);
        }
    }
}
