//! Accepts connections, and makes sure that they are what this node speaks.
//!
//! Room comes first: a connection is taken from the operating system only when there is a place for
//! it. Nothing that one connection does ends the listener.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::ALPN;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::TransportError;
use super::admission::{Admission, ConnectionRoom, Doorstep};
use crate::config::Limits;

/// How long to wait after a failed accept. Most failures are a lack of file descriptors, which only
/// time mends.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where connections come in.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Arc<ServerConfig>,
    admission: Admission,
    handshake_timeout: Duration,
}

/// A connection that has come in, and has room.
#[derive(Debug)]
pub struct Arrival {
    stream: TcpStream,
    peer: SocketAddr,
    tls: Arc<ServerConfig>,
    handshake_deadline: Instant,
    doorstep: Doorstep,
    room: ConnectionRoom,
}

/// A connection over which both sides speak the protocol.
#[derive(Debug)]
pub struct Secured<S> {
    /// Its bytes, in the clear.
    pub stream: S,
    /// Where it comes from.
    pub peer: IpAddr,
    /// Until when its peer has to have said who it is.
    pub handshake_deadline: Instant,
    /// Room among those that have not said who they are.
    pub doorstep: Doorstep,
    /// Room among all.
    pub room: ConnectionRoom,
}

impl Listener {
    /// Listens on `socket`, with certificate and protocol as `tls` says.
    pub fn new(socket: TcpListener, tls: Arc<ServerConfig>, limits: &Limits) -> Self {
        Listener {
            socket,
            tls,
            admission: Admission::new(limits),
            handshake_timeout: Duration::from_millis(limits.handshake_timeout_ms),
        }
    }

    /// The next connection. Dropping the future loses none.
    pub async fn accept(&self) -> Arrival {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let Some(room) = self.admission.room().await else {
                // Nobody closes the counters; were it so, there would be no room ever again.
                return std::future::pending().await;
            };
            let (stream, peer) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "no connection could be accepted");
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                    continue;
                }
            };
            pause = SHORTEST_PAUSE;
            let Some((room, doorstep)) = self.admission.admit(room, peer.ip()) else {
                debug!(%peer, "refused: too many connections from one address");
                continue;
            };
            return Arrival {
                stream,
                peer,
                tls: Arc::clone(&self.tls),
                handshake_deadline: Instant::now() + self.handshake_timeout,
                doorstep,
                room,
            };
        }
    }
}

impl Arrival {
    /// Where it comes from.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Does the TLS handshake.
    ///
    /// # Errors
    /// When the peer does not speak TLS, or another protocol over it, or is too slow.
    pub async fn secure(
        self,
    ) -> Result<Secured<impl AsyncRead + AsyncWrite + Send + Unpin + 'static>, TransportError> {
        // Replies are written whole; waiting for more to write only delays them.
        self.stream.set_nodelay(true)?;
        let handshake = TlsAcceptor::from(self.tls).accept(self.stream);
        let stream = timeout_at(self.handshake_deadline, handshake)
            .await
            .map_err(|_elapsed| TransportError::HandshakeTooSlow)??;
        // TLS lets a peer through that names no protocol at all.
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(TransportError::WrongProtocol);
        }
        Ok(Secured {
            stream,
            peer: self.peer.ip().to_canonical(),
            handshake_deadline: self.handshake_deadline,
            doorstep: self.doorstep,
            room: self.room,
        })
    }
}
