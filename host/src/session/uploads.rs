//! Bytes on their way in.
//!
//! The client may be ahead of what is stored by one window; the session's loop only leaves chunks in
//! an [`Inlet`] and never waits for the disk, so other exchanges go on. The window bounds what the
//! inlet holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rpc_host_protocol::cbor::encode_envelope;
use rpc_host_protocol::message::{Ack, Message, UploadHeader};
use rpc_host_protocol::operation::ModuleEntry;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Backend, CallReply, Origin, UploadSink, UploadStart};
use crate::tenant::Principal;
use crate::transport::frames::Outbox;

/// The most bytes of one chunk. Fixed by the protocol.
const MAX_CHUNK_BYTES: usize = 256 * 1024;

/// Where the session leaves the chunks of one upload.
#[derive(Debug)]
pub(super) struct Inlet {
    state: Mutex<InletState>,
    arrived: Notify,
}

/// stored ≤ received ≤ granted, and received ≤ size.
#[derive(Debug)]
struct InletState {
    /// Received, and not yet taken to be stored.
    waiting: Vec<u8>,
    received_bytes: u64,
    granted_bytes: u64,
    size_bytes: u64,
}

impl Inlet {
    /// For an upload that has been announced. It takes nothing until something is granted.
    pub(super) fn new(size_bytes: u64) -> Self {
        let state = InletState {
            waiting: Vec::new(),
            received_bytes: 0,
            granted_bytes: 0,
            size_bytes,
        };
        Inlet {
            state: Mutex::new(state),
            arrived: Notify::new(),
        }
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// When the client broke a rule; the upload is over then.
    pub(super) fn accept(&self, chunk: Vec<u8>) -> Result<(), Failure> {
        if chunk.is_empty() || chunk.len() > MAX_CHUNK_BYTES {
            let message = format!(
                "a chunk of {} bytes came; send 1 to {MAX_CHUNK_BYTES}",
                chunk.len()
            );
            return Err(broken(ErrorCode::InvalidArgument, message));
        }
        let mut state = self.state();
        let received_bytes = state.received_bytes.saturating_add(chunk.len() as u64);
        if received_bytes > state.size_bytes {
            let message = format!(
                "more bytes came than the {} that were announced",
                state.size_bytes
            );
            return Err(broken(ErrorCode::InvalidArgument, message));
        }
        if received_bytes > state.granted_bytes {
            let message = format!(
                "{received_bytes} bytes came where {} were granted; wait for an ack before sending more",
                state.granted_bytes
            );
            return Err(broken(ErrorCode::ResourceExhausted, message));
        }
        state.received_bytes = received_bytes;
        if state.waiting.is_empty() {
            state.waiting = chunk;
        } else {
            state.waiting.extend_from_slice(&chunk);
        }
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// All bytes that wait; waits for some if there are none.
    async fn take(&self) -> Vec<u8> {
        loop {
            let waiting = std::mem::take(&mut self.state().waiting);
            if !waiting.is_empty() {
                return waiting;
            }
            self.arrived.notified().await;
        }
    }

    fn grant(&self, granted_bytes: u64) {
        self.state().granted_bytes = granted_bytes;
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn state(&self) -> MutexGuard<'_, InletState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One upload, from its header to the module.
pub(super) struct Upload {
    pub(super) origin: Origin,
    pub(super) exchange: ExchangeId,
    pub(super) header: UploadHeader,
    pub(super) inlet: Arc<Inlet>,
    pub(super) outbox: Outbox,
    pub(super) window_bytes: u64,
    /// How long the next chunk may be in coming.
    pub(super) chunk_timeout: Duration,
}

impl Upload {
    /// Takes the upload in. Dropping the future forgets it.
    pub(super) async fn run<B: Backend>(
        self,
        backend: &B,
        principal: &Principal,
    ) -> Result<CallReply, Failure> {
        let module = match backend
            .begin_upload(principal, self.origin, self.header.clone())
            .await?
        {
            UploadStart::Known(module) => module,
            UploadStart::Proceed(sink) => self.store(sink).await?,
        };
        Ok(CallReply::new(encode_envelope(&module), false))
    }

    async fn store<S: UploadSink>(self, mut sink: S) -> Result<ModuleEntry, Failure> {
        let mut stored_bytes = 0;
        let mut acknowledged_bytes = 0;
        self.acknowledge(stored_bytes).await?;
        while stored_bytes < self.header.size_bytes {
            let bytes = timeout(self.chunk_timeout, self.inlet.take())
                .await
                .map_err(|_elapsed| {
                    let message = "no chunk came in time; begin the upload again";
                    broken(ErrorCode::DeadlineExceeded, message.to_owned())
                })?;
            stored_bytes += bytes.len() as u64;
            sink.write(bytes).await?;
            // Often enough that the client never waits while there is room.
            if stored_bytes < self.header.size_bytes
                && stored_bytes - acknowledged_bytes >= self.window_bytes / 4
            {
                self.acknowledge(stored_bytes).await?;
                acknowledged_bytes = stored_bytes;
            }
        }
        sink.finish().await
    }

    /// Tells the client how much is stored, and grants it a window beyond that.
    async fn acknowledge(&self, received_bytes: u64) -> Result<(), Failure> {
        let window_bytes = self.window_bytes;
        self.inlet
            .grant(received_bytes.saturating_add(window_bytes));
        let ack = Message::Ack(Ack {
            received_bytes,
            window_bytes,
        });
        let sent = self.outbox.send(ack.encode(self.exchange)).await;
        sent.map_err(|closed| Failure::new(ErrorCode::Cancelled, Fault::Peer, closed.to_string()))
    }
}

fn broken(code: ErrorCode, message: String) -> Failure {
    Failure::new(code, Fault::Peer, message)
}
