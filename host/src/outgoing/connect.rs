//! From a destination to a connection: the name is looked up once, every address that it has is checked,
//! and one that was checked is connected to.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{Destination, Host, Outgoing, OutgoingError, Place};

/// Addresses of one name that are tried. What is over is as good as not there.
const MAX_ADDRESSES: usize = 16;

/// What HTTP is spoken over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How names become addresses.
pub(super) type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// As the system does it. Takes as long as the servers of the name do.
pub(super) fn system_look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    let found = (name, 0).to_socket_addrs()?;
    Ok(found.map(|found| found.ip()).collect())
}

impl Outgoing {
    /// Connects, with TLS where the destination is spoken to with it. One deadline is for all of that.
    pub(super) async fn connect(
        &self,
        tenant: &Arc<str>,
        destination: &Destination,
        place: &Arc<Place>,
        deadline: Instant,
    ) -> Result<Box<dyn Stream>, OutgoingError> {
        let found = self.addresses(tenant, destination, place);
        let found = timeout_at(deadline, found).await;
        let addresses = found.map_err(|_late| OutgoingError::LookupTooSlow)??;
        let connecting = async {
            let tcp = first(&addresses).await?;
            // A request is small and waits for its answer.
            let _best_effort = tcp.set_nodelay(true);
            if !destination.is_tls {
                return Ok(Box::new(tcp) as Box<dyn Stream>);
            }
            let name = match &destination.host {
                Host::Name(name) => name.clone(),
                Host::Address(address) => address.to_string(),
            };
            Ok(Box::new(self.tls.connect(&name, tcp).await?) as _)
        };
        let connected = timeout_at(deadline, connecting).await;
        connected.map_err(|_late| OutgoingError::ConnectTooSlow)?
    }

    /// All addresses of the destination, each of them checked. If one of them is forbidden, all are: a
    /// name with such an address among others wants to find out which is taken.
    async fn addresses(
        &self,
        tenant: &Arc<str>,
        destination: &Destination,
        place: &Arc<Place>,
    ) -> Result<Vec<SocketAddr>, OutgoingError> {
        let found = match &destination.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.look_up(tenant, name, place).await?,
        };
        let port = destination.port;
        let mut addresses = Vec::with_capacity(found.len().min(MAX_ADDRESSES));
        for address in found {
            let checked = self.rules.check(address, port);
            let checked = checked.map_err(|_error| OutgoingError::Unreachable)??;
            let checked = SocketAddr::new(checked, port);
            if addresses.len() < MAX_ADDRESSES && !addresses.contains(&checked) {
                addresses.push(checked);
            }
        }
        Ok(addresses)
    }

    /// The system's look-up cannot be broken off. So it keeps its turn, and the request its place, until it
    /// is over, even if nobody waits for it any more.
    async fn look_up(
        &self,
        tenant: &Arc<str>,
        name: &str,
        place: &Arc<Place>,
    ) -> Result<Vec<IpAddr>, OutgoingError> {
        let turn = self.look_ups.take(tenant, 1).await;
        let (look_up, name, place) = (
            Arc::clone(&self.look_up),
            name.to_owned(),
            Arc::clone(place),
        );
        let looking = tokio::task::spawn_blocking(move || {
            let _held = (turn, place);
            look_up(&name)
        });
        match looking.await {
            Ok(Ok(found)) if !found.is_empty() => Ok(found),
            _ => Err(OutgoingError::UnknownHost),
        }
    }
}

/// A connection to the first address that takes one.
async fn first(addresses: &[SocketAddr]) -> Result<TcpStream, OutgoingError> {
    let mut failed = OutgoingError::UnknownHost;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = OutgoingError::connecting(&error),
        }
    }
    Err(failed)
}
