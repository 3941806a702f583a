//! A node that listens: it puts connections, sessions and the end of both together.
//!
//! It takes a listener and a future that says when to stop, so that whoever runs it, a test on any
//! free port included, decides both.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, info, warn};

use crate::config::Limits;
use crate::session::{self, Backend, Connection, Fellows, SessionContext};
use crate::shutdown;
use crate::transport::{self, Arrival, Listener};

/// Serves until `shutdown` is done; then takes no more connections, lets calls under way finish until
/// the drain timeout, ends the rest with `unavailable`, and returns when all connections are closed.
///
/// Dropping the future ends everything at once.
pub async fn run<B: Backend>(
    listener: Listener,
    backend: Arc<B>,
    limits: Arc<Limits>,
    shutdown: impl Future<Output = ()>,
) {
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
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => note_panic(ended),
            arrival = listener.accept() => {
                connections.spawn(serve(arrival, context.clone()));
            }
        }
    }
    drop(listener);
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
                peer: secured.peer,
                certificate: secured.certificate,
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
