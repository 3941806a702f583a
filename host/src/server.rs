//! A node that takes connections: it puts connections, sessions and the end of both together.
//!
//! It takes the ways in and a future that says when to stop, so that whoever runs it, a test on any
//! free port included, decides both.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, info, warn};

use crate::config::Limits;
use crate::session::{self, Backend, Connection, Fellows, Peer, SessionContext};
use crate::shutdown;
use crate::tenant::{Shown, Starter};
use crate::transport::{self, Arrival, Listener};

/// How connections come to a node.
#[derive(Debug)]
pub struct Entrances<S> {
    /// Over TLS, from anywhere.
    pub listener: Option<Listener>,
    /// One that is there from the start, and who is at its other end. When it ends, the node stops.
    pub stdio: Option<(S, Starter)>,
}

/// Serves until `shutdown` is done, or the connection ends that was there from the start; then takes no more connections, lets calls under way finish until
/// the drain timeout, ends the rest with `unavailable`, and returns when all connections are closed.
///
/// Dropping the future ends everything at once.
pub async fn run<B, S>(
    entrances: Entrances<S>,
    backend: Arc<B>,
    limits: Arc<Limits>,
    shutdown: impl Future<Output = ()>,
) where
    B: Backend,
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let Entrances { listener, stdio } = entrances;
    let drain_timeout = Duration::from_millis(limits.drain_timeout_ms);
    let (stop, stopping) = shutdown::stop();
    let context = SessionContext {
        backend,
        limits,
        stopping,
        fellows: Fellows::default(),
    };
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let (over, mut is_over) = oneshot::channel();
    // Kept where there is no such connection, as it would else be over.
    let over = match stdio {
        None => Some(over),
        Some((stream, starter)) => {
            connections.spawn(serve_stdio(stream, starter, context.clone(), over));
            None
        }
    };
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            _over = &mut is_over => break,
            Some(ended) = connections.join_next() => note_panic(ended),
            arrival = accept(listener.as_ref()) => {
                connections.spawn(serve(arrival, context.clone()));
            }
        }
    }
    drop((listener, over));
    let deadline = Instant::now() + drain_timeout;
    info!(connections = connections.len(), "stopping");
    stop.begin(deadline);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            note_panic(ended);
        }
    };
    if timeout_at(deadline + session::MAX_LEAVE_TIME, all_ended)
        .await
        .is_err()
    {
        warn!(
            connections = connections.len(),
            "some connections did not end in time"
        );
        connections.shutdown().await;
    }
}

async fn accept(listener: Option<&Listener>) -> Arrival {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Serves a connection that was there from the start. `over` goes when it has ended, however that was.
async fn serve_stdio<B: Backend>(
    stream: impl AsyncRead + AsyncWrite + Send,
    starter: Starter,
    context: SessionContext<B>,
    over: oneshot::Sender<()>,
) {
    let handshake_timeout = Duration::from_millis(context.limits.handshake_timeout_ms);
    let connection = Connection {
        stream,
        peer: Peer::Stdio,
        shown: Shown::Starter(starter),
        hello_deadline: Instant::now() + handshake_timeout,
        doorstep: NoDoorstep,
    };
    // Says itself why it ended.
    let _end = session::serve(connection, context).await;
    drop(over);
}

async fn serve<B: Backend>(arrival: Arrival, context: SessionContext<B>) {
    let peer = arrival.peer();
    let secured = tokio::select! {
        biased;
        secured = arrival.secure() => secured,
        _deadline = context.stopping.clone().begun() => return,
    };
    match secured {
        Ok(secured) => {
            let connection = Connection {
                stream: secured.stream,
                peer: Peer::Address(secured.peer),
                shown: secured
                    .certificate
                    .map_or(Shown::Nothing, Shown::Certificate),
                hello_deadline: secured.handshake_deadline,
                doorstep: secured.doorstep,
            };
            // Says itself why it ended.
            let _end = session::serve(connection, context).await;
            drop((secured.room, secured.watched));
        }
        // Below the level that is logged unless asked for: any stranger can cause as many as it likes.
        Err(reason) => debug!(%peer, %reason, "refused"),
    }
}

/// There is one such connection, which shares its room with nobody.
struct NoDoorstep;

impl session::Doorstep for NoDoorstep {
    fn failed(&self) -> Duration {
        Duration::ZERO
    }
}

impl session::Doorstep for transport::Doorstep {
    fn failed(&self) -> Duration {
        transport::Doorstep::failed(self)
    }
}

fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a connection ended in a panic of the host");
    }
}

#[cfg(test)]
mod tests;
