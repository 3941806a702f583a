//! A name that this program serves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::operation::FunctionDescription;
use rpc_host_protocol::{ExchangeId, Failure};

use crate::connection::{Connection, Granted, Term};
use crate::error::Error;

/// A name that this program serves, as long as this lives. Dropped, it is withdrawn; calls that the host
/// makes before it hears of that are still served.
///
/// A lease that is lost does not come back: nobody here can know whether the name may be taken again from
/// whatever answers it by then. [`lost`](Lease::lost) tells when that happens and why, and whoever means it
/// can [`provide`](crate::Client::provide) anew.
pub struct Lease {
    offer: Offer,
    granted: Arc<Granted>,
}

/// How a lease ended that was not withdrawn.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The host ended it: it has not heard of this client for too long, or somebody took the name.
    #[error("{0}")]
    Lapsed(Failure),
    /// The connection ended on which it was granted, and with it the lease.
    #[error("{0}")]
    Connection(Error),
}

impl Lease {
    /// The name.
    pub fn name(&self) -> &str {
        self.offer.term.name()
    }

    /// The number by which the host knows it, on this connection and in its log.
    pub fn number(&self) -> u64 {
        self.granted.lease
    }

    /// How long it stands without a sign of life. They are sent by themselves.
    pub fn duration(&self) -> Duration {
        self.granted.lease_time
    }

    /// How many calls the host makes at once, at most.
    pub fn window(&self) -> u32 {
        self.granted.window
    }

    /// The functions that are called.
    pub fn functions(&self) -> &[FunctionDescription] {
        self.granted.functions.all()
    }

    /// Waits until it is lost, and tells why.
    pub async fn lost(&self) -> Lost {
        let mut lost = self.offer.term.lost();
        let lost = lost.wait_for(Option::is_some).await;
        let lost = lost.ok().and_then(|lost| lost.clone());
        lost.unwrap_or_else(|| Lost::Connection(Error::lost("it is over")))
    }

    /// Whether it is lost, and why.
    pub fn loss(&self) -> Option<Lost> {
        self.offer.term.lost().borrow().clone()
    }

    /// Withdraws it. When this returns, the host calls no more. One that is lost needs no more.
    pub async fn withdraw(self) -> Result<(), Error> {
        let Offer {
            connection,
            exchange,
            ..
        } = &self.offer;
        connection.clone().withdraw(*exchange).await
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("name", &self.name())
            .field("granted", &self.granted)
            .finish_non_exhaustive()
    }
}

/// What this client has offered to serve. Dropped, it is withdrawn, whatever the host has said to it.
pub(crate) struct Offer {
    connection: Arc<Connection>,
    exchange: ExchangeId,
    term: Arc<Term>,
}

impl Offer {
    pub(crate) fn new(connection: Arc<Connection>, exchange: ExchangeId, term: Arc<Term>) -> Self {
        Offer {
            connection,
            exchange,
            term,
        }
    }

    /// The lease, when the host has granted it.
    pub(crate) fn lease(self) -> Result<Lease, Error> {
        match self.term.granted() {
            Some(granted) => Ok(Lease {
                offer: self,
                granted,
            }),
            None => Err(Error::lost("the offer is over")),
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.connection.clone().withdraw_soon(self.exchange);
    }
}
