//! Uploads of modules.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use rpc_host_protocol::Message;
use rpc_host_protocol::cbor::decode_envelope;
use rpc_host_protocol::frame::FRAGMENT_BYTES;
use rpc_host_protocol::message::UploadHeader;
use rpc_host_protocol::operation::ModuleEntry;
use rpc_host_protocol::value::ValueError;

use crate::call::RawReply;
use crate::client::Client;
use crate::connection::Exchange;
use crate::error::Error;

/// A chunk is one frame, so it is never incomplete at the host.
const CHUNK_BYTES: usize = FRAGMENT_BYTES;

/// A component to be uploaded, and its digest, which is worked out once: for whoever uploads the same one again, or to
/// several hosts. A host that has it answers at once then, however large it is.
///
/// All clones are the same.
#[derive(Clone)]
pub struct Component {
    wasm: Bytes,
    digest: Arc<OnceLock<String>>,
}

impl fmt::Debug for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Component({} bytes)", self.wasm.len())
    }
}

impl Component {
    /// Of these bytes.
    pub fn new(wasm: impl Into<Bytes>) -> Self {
        Component {
            wasm: wasm.into(),
            digest: Arc::default(),
        }
    }

    /// `sha256:` and 64 hex digits.
    pub fn digest(&self) -> &str {
        self.digest.get_or_init(|| digest_of(&self.wasm))
    }
}

/// A module that the host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    entry: ModuleEntry,
}

/// As it stands in the list of modules.
impl From<ModuleEntry> for Module {
    fn from(entry: ModuleEntry) -> Self {
        Module { entry }
    }
}

impl Module {
    /// `sha256:` and 64 hex digits.
    pub fn digest(&self) -> &str {
        &self.entry.digest
    }

    /// Bytes of the component.
    pub fn size_bytes(&self) -> u64 {
        self.entry.size_bytes
    }

    /// Whether the host had it before.
    pub fn was_known(&self) -> bool {
        self.entry.already_known
    }
}

/// How far an upload has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UploadProgress {
    /// So much has arrived.
    Sending {
        /// Bytes that the host has.
        received_bytes: u64,
        /// Bytes of the module.
        size_bytes: u64,
    },
    /// All has been sent; the host checks and compiles it.
    Compiling,
}

impl Client {
    /// Uploads a module. When this returns, the host has checked, compiled and durably stored it.
    ///
    /// The host knows modules by their digest: one that it has already is not sent again, and an upload
    /// that broke off may simply be repeated.
    pub async fn upload_module(&self, wasm: impl AsRef<[u8]> + Send) -> Result<Module, Error> {
        self.upload_module_with_progress(wasm, |_| {}).await
    }

    /// The same, telling how far it has come.
    pub async fn upload_module_with_progress(
        &self,
        wasm: impl AsRef<[u8]> + Send,
        progress: impl FnMut(UploadProgress) + Send,
    ) -> Result<Module, Error> {
        let wasm = wasm.as_ref();
        self.upload(wasm, digest_of(wasm), progress).await
    }

    /// The same, of what may be uploaded again.
    pub async fn upload_component(&self, component: &Component) -> Result<Module, Error> {
        let digest = component.digest().to_owned();
        self.upload(&component.wasm, digest, |_| {}).await
    }

    async fn upload(
        &self,
        wasm: &[u8],
        digest: String,
        mut progress: impl FnMut(UploadProgress) + Send,
    ) -> Result<Module, Error> {
        let header = UploadHeader {
            digest,
            size_bytes: wasm.len() as u64,
        };
        let expected = header.digest.clone();
        let mut exchange = self.begin(Message::Upload(header)).await?;
        let reply = send_chunks(&mut exchange, wasm, &mut progress).await?;
        let entry: ModuleEntry =
            decode_envelope(&reply.value).map_err(|error| mismatch(error.to_string()))?;
        if entry.digest != expected {
            return Err(mismatch(
                "the host answered about another module".to_owned(),
            ));
        }
        Ok(Module { entry })
    }
}

fn mismatch(problem: String) -> Error {
    Error::Decode(ValueError {
        path: "reply".to_owned(),
        problem,
    })
}

/// Sends as the host makes room, until it ends the exchange.
async fn send_chunks(
    exchange: &mut Exchange,
    wasm: &[u8],
    progress: &mut (impl FnMut(UploadProgress) + Send),
) -> Result<RawReply, Error> {
    let size_bytes = wasm.len() as u64;
    let mut rest = wasm;
    loop {
        let ack = match exchange.ack_or_end().await {
            Ok(ack) => ack,
            Err(end) => return end,
        };
        let sent_bytes = size_bytes - rest.len() as u64;
        progress(UploadProgress::Sending {
            received_bytes: ack.received_bytes.min(sent_bytes),
            size_bytes,
        });
        let allowed_bytes = ack.received_bytes.saturating_add(ack.window_bytes);
        let room = usize::try_from(allowed_bytes.saturating_sub(sent_bytes)).unwrap_or(usize::MAX);
        if rest.is_empty() || room == 0 {
            continue;
        }
        let (now, later) = rest.split_at(room.min(rest.len()));
        for chunk in now.chunks(CHUNK_BYTES) {
            exchange.send(Message::Chunk(chunk.to_owned()));
        }
        rest = later;
        if rest.is_empty() {
            progress(UploadProgress::Compiling);
        }
    }
}

/// `sha256:` and 64 hex digits.
fn digest_of(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = "sha256:".to_owned();
    for byte in digest(&SHA256, bytes).as_ref() {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::digest_of;

    #[test]
    fn a_digest_names_its_algorithm() {
        assert_eq!(
            digest_of(b""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
