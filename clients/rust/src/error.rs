//! What can go wrong between this program and the host.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::serde::describe;
use rpc_host_protocol::value::ValueError;
use rpc_host_protocol::{ErrorCode, Failure};
use serde::de::DeserializeOwned;

use crate::object::scope::{Read, reading};
use crate::profile::ProfileError;

/// Why something did not work.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No profile, or one that cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// No connection to the host.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        cause: Arc<io::Error>,
    },
    /// The other side is not the host that the profile describes.
    #[error("no secure connection to {address}: {problem}")]
    Tls {
        /// Where to.
        address: String,
        /// What is wrong.
        problem: String,
    },
    /// The host does not accept the token or certificate.
    #[error("{0}")]
    Unauthenticated(Failure),
    /// The function ended with its own `err` value.
    #[error(transparent)]
    Guest(GuestError),
    /// The host answered with a failure.
    #[error("{0}")]
    Remote(Failure),
    /// The connection ended before the answer came: the call may or may not have run.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// As far as it is known.
        reason: Arc<str>,
    },
    /// The host did not answer, not even to say that the time is up.
    #[error("no answer within {after:?}")]
    Timeout {
        /// How long it was waited for.
        after: Duration,
    },
    /// An argument has no form in WIT.
    #[error("{0}")]
    Encode(ValueError),
    /// The answer is not of the type that was asked for.
    #[error("{0}")]
    Decode(ValueError),
    /// An object cannot be used, or not so: it was closed, its connection has ended, or it has no such method.
    #[error("object {number} {problem}")]
    Object {
        /// The number by which it was held.
        number: u64,
        /// What is wrong.
        problem: Arc<str>,
    },
}

impl Error {
    pub(crate) fn lost(reason: impl Into<Arc<str>>) -> Self {
        Error::Lost {
            reason: reason.into(),
        }
    }

    pub(crate) fn object(number: u64, problem: impl Into<Arc<str>>) -> Self {
        Error::Object {
            number,
            problem: problem.into(),
        }
    }

    /// The code of the failure; of what failed on this side, the nearest one.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Profile(_) | Error::Object { .. } => ErrorCode::FailedPrecondition,
            Error::Connect { .. } | Error::Tls { .. } | Error::Lost { .. } => {
                ErrorCode::Unavailable
            }
            Error::Unauthenticated(failure) | Error::Remote(failure) => failure.code,
            Error::Guest(_) => ErrorCode::Unknown,
            Error::Timeout { .. } => ErrorCode::DeadlineExceeded,
            Error::Encode(_) | Error::Decode(_) => ErrorCode::InvalidArgument,
        }
    }

    /// What the host said, if it said something.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Error::Unauthenticated(failure) | Error::Remote(failure) => Some(failure),
            _ => None,
        }
    }
}

/// The `err` value that a function ended with.
#[derive(Clone)]
pub struct GuestError {
    payload: Vec<u8>,
    /// Objects that are in it stay as long as it does.
    read: Option<Read>,
}

impl GuestError {
    pub(crate) fn new(payload: &[u8], read: Option<Read>) -> Self {
        GuestError {
            payload: payload.to_owned(),
            read,
        }
    }

    /// The value, as a type of yours.
    pub fn value<E: DeserializeOwned>(&self) -> Result<E, Error> {
        reading(&self.payload, "result.err", self.read.as_ref()).map_err(Error::Decode)
    }

    /// The value as one CBOR item.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// The most of a value that a message shows.
const MAX_SHOWN_BYTES: usize = 512;

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "guest error: {}",
            describe(&self.payload, MAX_SHOWN_BYTES)
        )
    }
}

impl fmt::Debug for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "GuestError({})",
            describe(&self.payload, MAX_SHOWN_BYTES)
        )
    }
}

impl PartialEq for GuestError {
    fn eq(&self, other: &Self) -> bool {
        self.payload == other.payload
    }
}

impl Eq for GuestError {}

impl std::error::Error for GuestError {}
