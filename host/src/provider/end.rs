//! How a lease ends.

use std::fmt;
use std::time::Duration;

use rpc_host_protocol::{ErrorCode, Failure, Fault};

use crate::tenant::Credential;

/// How a lease ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// The connection is gone.
    Disconnected,
    /// The client gave no sign of life for as long as the lease is.
    Expired(Duration),
    /// The client withdrew it.
    Withdrawn,
    /// The holder of this withdrew it.
    Stolen(Credential),
    /// The same session provides the name anew.
    Replaced,
    /// An uploaded module was put in its place.
    Promoted,
    /// The tenant was removed.
    TenantRemoved,
}

impl LeaseEnd {
    /// Whether nobody decided that it should end, so that the fallback decides who answers.
    pub(super) fn is_a_loss(&self) -> bool {
        matches!(self, LeaseEnd::Disconnected | LeaseEnd::Expired(_))
    }

    /// What the client is told, unless it knows or cannot be told.
    pub(super) fn notice(&self) -> Option<Failure> {
        let (code, fault) = match self {
            LeaseEnd::Disconnected | LeaseEnd::Withdrawn => return None,
            LeaseEnd::Expired(_) => (ErrorCode::DeadlineExceeded, Fault::Peer),
            LeaseEnd::Stolen(_) | LeaseEnd::Replaced | LeaseEnd::Promoted => {
                (ErrorCode::Aborted, Fault::Tenant)
            }
            LeaseEnd::TenantRemoved => (ErrorCode::NotFound, Fault::Tenant),
        };
        Some(Failure::new(code, fault, format!("the lease {self}")))
    }
}

impl fmt::Display for LeaseEnd {
    /// Goes on after "the client that served it" and after "the lease".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseEnd::Disconnected => formatter.write_str("ended with its connection"),
            LeaseEnd::Expired(time) => {
                let ms = time.as_millis();
                write!(
                    formatter,
                    "expired: nothing was heard of the client for {ms} ms"
                )
            }
            LeaseEnd::Withdrawn => formatter.write_str("was withdrawn by its client"),
            LeaseEnd::Stolen(by) => write!(
                formatter,
                "was withdrawn by the holder of {}",
                by.described()
            ),
            LeaseEnd::Replaced => {
                formatter.write_str("was replaced: its client provides the name anew")
            }
            LeaseEnd::Promoted => {
                formatter.write_str("was promoted: an uploaded module answers for the name now")
            }
            LeaseEnd::TenantRemoved => formatter.write_str("ended with its tenant"),
        }
    }
}
