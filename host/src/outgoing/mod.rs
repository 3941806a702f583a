//! Requests that guests make of hosts outside.
//!
//! Only in nodes that are built with the feature `http`. This layer knows nothing of guests or grants: it is
//! given a destination that a grant allows, and holds the request to the rules and limits of the node.
//!
//! | file | holds |
//! |---|---|
//! | `destination` | host and port, strictly read |
//! | `address` | which addresses may be connected to |
//! | `connect` | from a name to a connection |
//! | `exchange` | one request and its answer |
//! | `allowance`, `body` | what one instance may still send and receive |
//! | `paced` | connections that stand still |
//! | `error` | why a request was not made, or not answered |

mod address;
mod allowance;
mod body;
mod connect;
mod destination;
mod error;
mod exchange;
mod paced;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

pub(crate) use address::ForbiddenAddress;
pub(crate) use allowance::Allowance;
pub(crate) use destination::{Destination, Host};
pub(crate) use error::{Excess, OutgoingError};
pub(crate) use exchange::{Patience, ResponseBody};

use crate::config::{HttpConfig, Limits};
use crate::share::{Shares, Taken};
use crate::transport::{OutgoingTls, OutgoingTlsError};
use address::AddressRules;
use connect::LookUp;

/// What requests of guests are held to. Each number has its unit in its name or type.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingLimits {
    pub(crate) max_requests_per_instance: u64,
    pub(crate) max_at_once_per_instance: u64,
    pub(crate) max_at_once_per_tenant: u32,
    pub(crate) max_at_once: u32,
    pub(crate) max_look_ups: u32,
    pub(crate) max_header_bytes: u64,
    pub(crate) max_body_bytes_per_instance: u64,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
}

impl From<&Limits> for OutgoingLimits {
    fn from(limits: &Limits) -> Self {
        let count = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
        OutgoingLimits {
            max_requests_per_instance: limits.max_http_requests_per_instance,
            max_at_once_per_instance: limits.max_http_requests_at_once_per_instance,
            max_at_once_per_tenant: count(limits.max_http_requests_at_once_per_tenant),
            max_at_once: count(limits.max_http_requests_at_once),
            max_look_ups: count(limits.max_name_look_ups_at_once),
            max_header_bytes: limits.max_http_header_bytes,
            max_body_bytes_per_instance: limits.max_http_body_bytes_per_instance,
            connect_timeout: Duration::from_millis(limits.http_connect_timeout_ms),
            idle_timeout: Duration::from_millis(limits.http_idle_timeout_ms),
        }
    }
}

#[cfg(test)]
impl Default for OutgoingLimits {
    fn default() -> Self {
        OutgoingLimits::from(&Limits::default())
    }
}

/// One of so many look-ups may be of one tenant: servers of names may be slow on purpose.
const LOOK_UP_SHARE: u32 = 4;

/// The way out of one node.
pub struct Outgoing {
    limits: OutgoingLimits,
    rules: AddressRules,
    ports: Vec<u16>,
    tls: OutgoingTls,
    places: Shares,
    look_ups: Shares,
    look_up: Arc<LookUp>,
}

/// What a request holds as long as it is under way.
#[derive(Debug)]
pub(crate) struct Place {
    _of_instance: OwnedSemaphorePermit,
    _of_node: Taken,
}

impl Outgoing {
    /// As the operator configured it.
    ///
    /// # Errors
    /// When the operator's authorities cannot be used.
    pub fn new(config: &HttpConfig, limits: &Limits) -> Result<Self, OutgoingTlsError> {
        let limits = OutgoingLimits::from(limits);
        Ok(Outgoing {
            rules: AddressRules::new(config.allow_networks.clone()),
            ports: config.ports.clone(),
            tls: OutgoingTls::new(config.ca_pem.as_deref())?,
            places: Shares::with_share(limits.max_at_once, limits.max_at_once_per_tenant),
            look_ups: Shares::with_share(
                limits.max_look_ups,
                limits.max_look_ups.div_ceil(LOOK_UP_SHARE),
            ),
            look_up: Arc::new(connect::system_look_up),
            limits,
        })
    }

    /// Where the node itself listens: guests have no business there.
    pub fn listens_on(&self, address: SocketAddr) {
        self.rules.listens_on(address);
    }

    pub(crate) fn limits(&self) -> &OutgoingLimits {
        &self.limits
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Outgoing({:?}, {:?})", self.rules, self.ports)
    }
}
