//! Whose call it is, what it may use, and room for what it brings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::instance::INNER_PATIENCE;
use super::{Growth, Sandbox, SandboxError};
use crate::journal::{CallName, Room, Scribe};
use crate::share::{Shares, Taken};

/// Memory that the arguments of all calls may take, of one tenant half of it; and as much what clients
/// answer.
pub(super) const MAX_ARGUMENT_ROOM_KIB: u32 = 1 << 20;
/// Arguments up to this length are bounded by the number of calls alone.
const SHORT_ARGUMENT_BYTES: usize = 4 << 10;
/// Whose call it is, for the log.
#[derive(Clone, Debug)]
pub struct CallLabel {
    /// The tenant's name.
    pub tenant: Arc<str>,
    /// The registration.
    pub module: Arc<str>,
    /// Names the call in the log.
    pub call: CallName,
    /// Writes down what is said in it.
    pub scribe: Scribe,
}

impl fmt::Display for CallLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.tenant, self.module, self.call)
    }
}

/// What one call may use.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// From now to the reply.
    pub timeout: Duration,
    /// Linear memory of the instance.
    pub max_memory_bytes: u64,
    /// Bytes that the guest hands over in one go.
    pub max_hostcall_bytes: u64,
    /// Handles that it holds.
    pub max_handles: u64,
    /// Resources of the host that it holds.
    pub max_host_resources: u64,
    /// Bytes of one line that it logs.
    pub max_log_line_bytes: u64,
    /// Lines that it logs.
    pub max_log_lines: u64,
    /// Bytes that it prints, on stdout and on stderr.
    pub max_output_bytes: u64,
    /// Requests to hosts outside that its tenant has under way.
    pub max_http_requests_of_tenant: u64,
    /// How much is kept of what it says.
    pub journal_room: Room,
}

#[cfg(any(test, feature = "bench"))]
impl CallLimits {
    /// Those of a call that needs little but memory.
    pub(super) fn for_tests(max_memory_bytes: u64) -> Self {
        CallLimits {
            timeout: Duration::from_secs(60),
            max_memory_bytes,
            max_hostcall_bytes: 1 << 20,
            max_handles: 100,
            max_host_resources: 100,
            max_log_line_bytes: 1024,
            max_log_lines: 100,
            max_output_bytes: 1024,
            max_http_requests_of_tenant: 1,
            journal_room: Room {
                registration_bytes: 1 << 20,
                tenant_bytes: 1 << 20,
            },
        }
    }
}

/// Room for values that came as bytes.
#[derive(Debug)]
pub struct ArgumentRoom {
    _taken: Option<Taken>,
}

impl Sandbox {
    /// Room for arguments that are so many bytes as they came and grow so much; to be held until the call ends. Waits for
    /// it, as long as the call may, or if others wait for the call, who may have what it waits for, for a
    /// short time.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn argument_room(
        &self,
        tenant: &Arc<str>,
        (bytes, growth): (usize, Growth),
        timeout: Duration,
        is_inner: bool,
    ) -> Result<ArgumentRoom, SandboxError> {
        let patience = if is_inner {
            timeout.min(INNER_PATIENCE)
        } else {
            timeout
        };
        let taken = (bytes, growth);
        room(&self.argument_room, tenant, taken, patience).await
    }

    /// Room for what a client answers to a call; to be held while it is decoded. Whoever waits for it may
    /// have room for arguments, so it is not the same room.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn answer_room(
        &self,
        tenant: &Arc<str>,
        bytes: usize,
        timeout: Duration,
    ) -> Result<ArgumentRoom, SandboxError> {
        room(
            &self.answer_room,
            tenant,
            (bytes, Growth::of_values()),
            timeout,
        )
        .await
    }
}

async fn room(
    of: &Shares,
    tenant: &Arc<str>,
    (bytes, Growth(growth)): (usize, Growth),
    patience: Duration,
) -> Result<ArgumentRoom, SandboxError> {
    if bytes <= SHORT_ARGUMENT_BYTES {
        return Ok(ArgumentRoom { _taken: None });
    }
    let room_kib = bytes.saturating_mul(growth) / 1024;
    let room_kib = u32::try_from(room_kib).unwrap_or(u32::MAX);
    match tokio::time::timeout(patience, of.take(tenant, room_kib)).await {
        Ok(taken @ Some(_)) => Ok(ArgumentRoom { _taken: taken }),
        Ok(None) | Err(_) => Err(SandboxError::Busy),
    }
}
