//! A connection, from its first byte to its last.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::ExchangeId;
use rpc_host_protocol::error::printable;
use rpc_host_protocol::frame::MAX_FRAME_PAYLOAD_BYTES;
use rpc_host_protocol::message::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::field::{Empty, display};
use tracing::{Instrument, Span, debug, info, info_span};

use super::handshake::{self, MAX_HELLO_BYTES};
use super::session::{MAX_LOGGED_NAME_BYTES, Session};
use super::{Backend, Doorstep, Fellows, Origin, Peer, SessionEnd, SessionId, end};
use crate::config::Limits;
use crate::shutdown::Stopping;
use crate::tenant::Shown;
use crate::transport::frames::{self, FrameReader, Outbox};

/// How long the last words of a session may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer has to close its side after that, and how much it may still send: closing on
/// unread bytes would take our last words away from it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// The most time that the end of a session takes beyond the deadline of a drain.
pub const MAX_LEAVE_TIME: Duration = Duration::from_secs(7);
const LINGER_BYTES: usize = 1024 * 1024;

/// What sessions of a node have in common.
#[derive(Debug)]
pub struct SessionContext<B> {
    /// The node.
    pub backend: Arc<B>,
    /// Its limits.
    pub limits: Arc<Limits>,
    /// Tells when it stops.
    pub stopping: Stopping,
    /// Its sessions, for those that wait for the others then.
    pub fellows: Fellows,
}

impl<B> Clone for SessionContext<B> {
    fn clone(&self) -> Self {
        SessionContext {
            backend: Arc::clone(&self.backend),
            limits: Arc::clone(&self.limits),
            stopping: self.stopping.clone(),
            fellows: self.fellows.clone(),
        }
    }
}

/// A connection whose peer has not said who it is.
#[derive(Debug)]
pub struct Connection<S, D> {
    /// Its bytes.
    pub stream: S,
    /// Where it comes from.
    pub peer: Peer,
    /// What it has shown, verified.
    pub shown: Shown,
    /// Until when its hello has to be there.
    pub hello_deadline: Instant,
    /// Room among those that have not said who they are; dropped when this one has.
    pub doorstep: D,
}

/// Serves a connection until it ends. Dropping the future ends everything that it does.
pub async fn serve<S, D, B>(connection: Connection<S, D>, context: SessionContext<B>) -> SessionEnd
where
    S: AsyncRead + AsyncWrite + Send,
    D: Doorstep,
    B: Backend,
{
    let id = match SessionId::random() {
        Ok(id) => id,
        Err(_unspecified) => return SessionEnd::NoRandomness,
    };
    let span =
        info_span!("session", session = %id, peer = %connection.peer, tenant = Empty, role = Empty);
    converse(id, connection, context).instrument(span).await
}

/// Reads and writes, in one task.
async fn converse<S, D, B>(
    id: SessionId,
    connection: Connection<S, D>,
    context: SessionContext<B>,
) -> SessionEnd
where
    S: AsyncRead + AsyncWrite + Send,
    D: Doorstep,
    B: Backend,
{
    let Connection {
        stream,
        peer,
        shown,
        hello_deadline,
        doorstep,
    } = connection;
    let (read, write) = tokio::io::split(stream);
    let frame_timeout = Duration::from_millis(context.limits.frame_timeout_ms);
    let mut reader = FrameReader::new(read, frame_timeout, MAX_HELLO_BYTES);
    let (outbox, writer) = frames::outbox(write, &context.limits);
    let mut end = None;
    let mut is_known = false;
    let talk = async {
        let stopping = context.stopping.clone();
        let shown = (shown, Origin { session: id, peer });
        let entered = enter(shown, &mut reader, hello_deadline, context, &outbox).await;
        if let Err(refusal) = &entered
            && refusal.is_unauthenticated()
        {
            let delay = sleep(doorstep.failed());
            tokio::select! {
                () = delay => {}
                _deadline = stopping.begun() => {}
            }
        }
        let leave_deadline = match entered {
            Ok(mut session) => {
                drop(doorstep);
                is_known = true;
                let end = end.insert(session.run(&mut reader).await);
                let deadline = session.leave_deadline().max(Instant::now() + LEAVE_TIMEOUT);
                let _left = timeout_at(deadline, session.leave(end)).await;
                deadline
            }
            Err(refusal) => {
                if let Some(failure) = end.insert(refusal).parting() {
                    let failure = Message::Failure(failure).encode(ExchangeId::CONNECTION);
                    let _ended = outbox.send(failure).await;
                }
                Instant::now() + LEAVE_TIMEOUT
            }
        };
        // The writer ends once it has written all that is there.
        outbox.end();
        sleep_until(leave_deadline).await;
    };
    let written = tokio::select! {
        biased;
        () = talk => Ok(()),
        written = writer.run() => written,
    };
    let end = match (end, written) {
        (Some(end), _) => end,
        (None, Ok(())) => SessionEnd::PeerLeft,
        (None, Err(error)) => SessionEnd::Transport(error),
    };
    linger(reader.into_inner()).await;
    if is_known {
        info!(reason = %end, "session ends");
    } else {
        // Below the level that is logged unless asked for: any stranger can cause as many as it likes.
        debug!(reason = %end, "no session begins");
    }
    end
}

/// Hello and welcome.
async fn enter<R, B>(
    (shown, origin): (Shown, Origin),
    reader: &mut FrameReader<R>,
    hello_deadline: Instant,
    context: SessionContext<B>,
    outbox: &Outbox,
) -> Result<Session<B>, SessionEnd>
where
    R: AsyncRead + Unpin,
    B: Backend,
{
    let hello = tokio::select! {
        biased;
        hello = handshake::hello(reader, hello_deadline) => hello?,
        _deadline = context.stopping.clone().begun() => return Err(SessionEnd::Refused(end::stopping())),
    };
    let (version, principal) = handshake::admit(&*context.backend, &hello, &shown, origin)?;
    let span = Span::current();
    span.record("tenant", display(principal.tenant_name()));
    span.record("role", display(principal.role()));
    info!(
        version,
        credential = %principal.credential(),
        client = printable(&hello.client, MAX_LOGGED_NAME_BYTES),
        "session begins"
    );
    let welcome = handshake::welcome(version, origin.session, &principal, &context.limits);
    // A writer that has failed ends the session by itself.
    let _ended = outbox.send(welcome.encode(ExchangeId::CONNECTION)).await;
    reader.set_max_payload_bytes(MAX_FRAME_PAYLOAD_BYTES);
    Ok(Session::new(origin, context, principal, outbox.clone()))
}

/// Waits for the peer to close its side, for a while.
async fn linger<R: AsyncRead + Unpin>(mut stream: R) {
    let mut scratch = vec![0; 4 * 1024];
    let drain = async {
        let mut left = LINGER_BYTES;
        while let Ok(count @ 1..) = stream.read(&mut scratch).await {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
    };
    // Whether it closed or not, the connection ends here.
    let _closed = timeout(LINGER_TIMEOUT, drain).await;
}
