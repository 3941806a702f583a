//! Accepts connections, and makes sure that they are what this node speaks.
//!
//! Room comes first: a connection is taken from the operating system only when there is a place for
//! it. Nothing that one connection does ends the listener.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::ALPN;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::TransportError;
use super::admission::{Admission, ConnectionRoom, Doorstep};
use super::{ClientTrust, Watched};
use crate::config::Limits;
use crate::tenant::Certificate;

/// How long to wait after a failed accept. Most failures are a lack of file descriptors, which only
/// time mends.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What may wait in the kernel to be sent: as much as is written at a time.
const UNSENT_BYTES: u32 = 64 * 1024;

/// What a peer may still send after an alert, and for how long.
const LINGER_BYTES: usize = 16 * 1024;
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Where connections come in.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Arc<ServerConfig>,
    clients: Arc<ClientTrust>,
    admission: Admission,
    handshake_timeout: Duration,
}

/// A connection that has come in, and has room.
#[derive(Debug)]
pub struct Arrival {
    stream: TcpStream,
    peer: SocketAddr,
    tls: Arc<ServerConfig>,
    clients: Arc<ClientTrust>,
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
    /// What it has shown, verified.
    pub certificate: Option<Certificate>,
    /// As long as this is there, the certificate ends when it is no longer good.
    pub watched: Option<Watched>,
    /// Until when its peer has to have said who it is.
    pub handshake_deadline: Instant,
    /// Room among those that have not said who they are.
    pub doorstep: Doorstep,
    /// Room among all.
    pub room: ConnectionRoom,
}

impl Listener {
    /// Listens on `socket`, with certificate and protocol as `tls` says, which has to ask `clients`
    /// about certificates.
    pub fn new(
        socket: TcpListener,
        tls: Arc<ServerConfig>,
        clients: Arc<ClientTrust>,
        limits: &Limits,
    ) -> Self {
        Listener {
            socket,
            tls,
            clients,
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
            let (room, doorstep) = match self.admission.admit(room, peer.ip()) {
                Ok(admitted) => admitted,
                Err(reason) => {
                    debug!(%peer, %reason, "refused");
                    continue;
                }
            };
            return Arrival {
                stream,
                peer,
                tls: Arc::clone(&self.tls),
                clients: Arc::clone(&self.clients),
                handshake_deadline: Instant::now() + self.handshake_timeout,
                doorstep,
                room,
            };
        }
    }
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    // Replies are written whole; waiting for more to write only delays them.
    stream.set_nodelay(true)?;
    // What the kernel has, nothing can overtake: a short reply would wait behind megabytes of a long one.
    if let Err(error) = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES) {
        debug!(%error, "the kernel keeps more of a connection than it needs");
    }
    Ok(())
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
        set_up(&self.stream)?;
        let handshake = TlsAcceptor::from(self.tls).accept(self.stream);
        let handshake = timeout_at(self.handshake_deadline, handshake.into_fallible()).await;
        let handshake = handshake.map_err(|_elapsed| TransportError::HandshakeTooSlow)?;
        let stream = match handshake {
            Ok(stream) => stream,
            Err((error, stream)) => {
                if is_about_a_certificate(&error) {
                    part(stream, self.doorstep.failed()).await;
                }
                return Err(error.into());
            }
        };
        // TLS lets a peer through that names no protocol at all.
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(TransportError::WrongProtocol);
        }
        let shown = stream.get_ref().1.peer_certificates();
        let admitted = shown.map(|chain| self.clients.admit(chain)).transpose();
        let admitted = admitted.map_err(|_reason| TransportError::CertificateEnded)?;
        let (certificate, watched) = admitted.unzip();
        Ok(Secured {
            // A kilobyte, which would else be moved from future to future and lie in each of them.
            stream: Box::new(stream),
            peer: self.peer.ip().to_canonical(),
            certificate,
            watched,
            handshake_deadline: self.handshake_deadline,
            doorstep: self.doorstep,
            room: self.room,
        })
    }
}

fn is_about_a_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// Lets the peer read the alert: closing on bytes that it has sent meanwhile would take it away. And so
/// long after that it gets to wait for the end.
async fn part(mut stream: TcpStream, delay: Duration) {
    let _closed = stream.shutdown().await;
    let mut scratch = [0; 1024];
    let drain = async {
        let mut left = LINGER_BYTES;
        while let Ok(count @ 1..) = stream.read(&mut scratch).await {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
    };
    let _read = timeout_at(Instant::now() + LINGER_TIMEOUT, drain).await;
    sleep(delay).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn little_waits_in_the_kernel() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_here, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, _) = accepted.unwrap();
        set_up(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        let unsent = SockRef::from(&stream).tcp_notsent_lowat().unwrap();
        assert_eq!(unsent, UNSENT_BYTES);
    }
}
