//! Hello and welcome.
//!
//! Until a peer has said who it is, it gets little: one message of [`MAX_HELLO_BYTES`], within a time
//! that began when it connected.

use rpc_host_protocol::assembler::{Assembler, AssemblerLimits};
use rpc_host_protocol::message::{Hello, Message, Welcome};
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Kind, VERSIONS};
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout_at};

use super::{Backend, OrderError, Origin, SessionEnd, SessionId};
use crate::config::Limits;
use crate::tenant::{Principal, Shown};
use crate::transport::frames::FrameReader;

/// The most that a hello may be. A token is a hundred bytes, and the client's name is cut in the log.
pub(super) const MAX_HELLO_BYTES: usize = 4 * 1024;

const HELLO_LIMITS: AssemblerLimits = AssemblerLimits {
    max_message_bytes: MAX_HELLO_BYTES,
    max_buffered_bytes: MAX_HELLO_BYTES,
    max_incomplete_messages: 1,
};

/// The first message of the connection.
pub(super) async fn hello<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    deadline: Instant,
) -> Result<Hello, SessionEnd> {
    let received = timeout_at(deadline, receive(reader)).await;
    received.map_err(|_elapsed| SessionEnd::HelloTooSlow)?
}

async fn receive<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) -> Result<Hello, SessionEnd> {
    let mut assembler = Assembler::new(HELLO_LIMITS);
    loop {
        let (header, payload) = reader.next().await?.ok_or(SessionEnd::PeerLeft)?;
        if header.kind != Kind::Hello {
            return Err(refused(format!(
                "a connection begins with a hello, not with a {}",
                header.kind.name()
            )));
        }
        if header.id != ExchangeId::CONNECTION {
            return Err(OrderError::NotTheConnection {
                kind: header.kind,
                id: header.id,
            }
            .into());
        }
        let Some(raw) = assembler.accept(header, &payload)? else {
            continue;
        };
        return match Message::decode(raw) {
            Ok(Message::Hello(hello)) => Ok(hello),
            Ok(other) => Err(OrderError::Unexpected(other.kind()).into()),
            Err(error) => Err(refused(error.to_string())),
        };
    }
}

/// Which version to speak, and with whom.
pub(super) fn admit<B: Backend>(
    backend: &B,
    hello: &Hello,
    shown: &Shown,
    origin: Origin,
) -> Result<(u32, Principal), SessionEnd> {
    let version = VERSIONS
        .iter()
        .copied()
        .find(|version| hello.versions.contains(version));
    let Some(version) = version else {
        let spoken: Vec<String> = VERSIONS.iter().map(u32::to_string).collect();
        let spoken = spoken.join(", ");
        return Err(SessionEnd::Refused(Failure::new(
            ErrorCode::Unimplemented,
            Fault::Peer,
            format!("this host speaks protocol version {spoken}; use a client that speaks it too"),
        )));
    };
    let principal = backend
        .authenticate(hello.token.as_deref(), shown, origin)
        .map_err(SessionEnd::Refused)?;
    Ok((version, principal))
}

/// What answers a hello that is accepted.
pub(super) fn welcome(
    version: u32,
    id: SessionId,
    principal: &Principal,
    limits: &Limits,
) -> Message {
    Message::Welcome(Welcome {
        version,
        host: concat!("rpc-host/", env!("CARGO_PKG_VERSION")).to_owned(),
        session: id.to_string(),
        tenant: principal.tenant_name().to_string(),
        role: principal.role().to_string(),
        max_message_bytes: limits.max_message_bytes,
        max_calls_in_flight: u32::try_from(limits.max_calls_in_flight_per_session)
            .unwrap_or(u32::MAX),
        idle_timeout_ms: limits.idle_timeout_ms,
    })
}

fn refused(message: String) -> SessionEnd {
    SessionEnd::Refused(Failure::new(
        ErrorCode::InvalidArgument,
        Fault::Peer,
        message,
    ))
}
