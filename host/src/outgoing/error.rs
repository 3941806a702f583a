//! Why a request was not made, or not answered.

use std::error::Error;
use std::io;

use super::ForbiddenAddress;
use crate::transport::OutgoingTlsError;

/// Why a request was not made, or not answered. What the far side did is told in words that name nothing
/// of the node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutgoingError {
    /// No way out.
    #[error("no request leaves this node")]
    Closed,
    /// Another scheme than the two.
    #[error("the scheme of a request is https or http")]
    NoScheme,
    /// An authority that names nothing, or not in one way only.
    #[error(
        "the authority of a request is HOST or HOST:PORT, with a host name, an IPv4 address of four \
         numbers, or an IPv6 address in brackets"
    )]
    NoDestination,
    /// A tunnel, through which anything could go.
    #[error("a request may not ask for a tunnel")]
    Tunnel,
    /// No grant for it.
    #[error(
        "no grant lets this module speak {protocol} to `{destination}`; a grant is `http:HOST` or `http:HOST:PORT`"
    )]
    Ungranted {
        /// Host and port.
        destination: String,
        /// Https or http.
        protocol: &'static str,
    },
    /// A port that the operator did not open.
    #[error(
        "this node connects to no port {port}; its operator lists those it does under `ports` in `[http]`"
    )]
    ClosedPort {
        /// The port.
        port: u16,
    },
    /// An address that is not for guests.
    #[error(transparent)]
    Forbidden(#[from] ForbiddenAddress),
    /// Too much of something.
    #[error("over the limit `{limit}` of {value}")]
    OverLimit {
        /// The limit.
        limit: &'static str,
        /// How much there may be.
        value: u64,
        /// Of what.
        of: Excess,
    },
    /// The host has no address that anybody knows.
    #[error("the name of the host has no address")]
    UnknownHost,
    /// The address of the host was not found out in time.
    #[error("the name of the host was not looked up in time")]
    LookupTooSlow,
    /// No connection in time.
    #[error("there was no connection in time")]
    ConnectTooSlow,
    /// Nobody listens there.
    #[error("the host refused the connection")]
    Refused,
    /// There is no way there.
    #[error("the host cannot be reached")]
    Unreachable,
    /// A certificate that is not believed.
    #[error("the host's certificate is not believed: {0}")]
    Certificate(String),
    /// TLS failed.
    #[error("no TLS with the host: {0}")]
    Tls(String),
    /// No byte went either way for too long.
    #[error("the connection stood still for too long")]
    Stalled,
    /// The answer did not begin in the time that the guest gave it.
    #[error("the answer did not begin in the time that the module gave it")]
    AnswerTooSlow,
    /// The far side went away.
    #[error("the connection ended before the answer did")]
    Ended,
    /// What came is no HTTP/1.1, or what was to be sent was broken off.
    #[error("the exchange was not one of HTTP/1.1")]
    Protocol,
}

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    Requests,
    RequestHeader,
    RequestBody,
    ResponseHeader,
    ResponseBody,
}

impl OutgoingError {
    /// Whether this is a rule of the node, as opposed to a network that failed.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Closed
            | Self::NoScheme
            | Self::NoDestination
            | Self::Tunnel
            | Self::Ungranted { .. }
            | Self::ClosedPort { .. }
            | Self::Forbidden(_)
            | Self::OverLimit { .. } => true,
            Self::UnknownHost
            | Self::LookupTooSlow
            | Self::ConnectTooSlow
            | Self::Refused
            | Self::Unreachable
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::Stalled
            | Self::AnswerTooSlow
            | Self::Ended
            | Self::Protocol => false,
        }
    }

    /// Why there is no connection.
    pub(super) fn connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::ConnectTooSlow,
            _ => Self::Unreachable,
        }
    }

    /// Why an exchange failed; `max_header_bytes` as it was set.
    pub(super) fn exchanging(error: &hyper::Error, max_header_bytes: u64) -> Self {
        // What this layer said itself, through the library and back.
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(own) = inner.downcast_ref::<Self>() {
                return own.clone();
            }
            if let Some(io) = inner.downcast_ref::<io::Error>()
                && io.kind() == io::ErrorKind::TimedOut
            {
                return Self::Stalled;
            }
            cause = inner.source();
        }
        if error.is_parse_too_large() {
            return Self::OverLimit {
                limit: "max-http-header-bytes",
                value: max_header_bytes,
                of: Excess::ResponseHeader,
            };
        }
        if error.is_parse() || error.is_user() {
            return Self::Protocol;
        }
        Self::Ended
    }
}

impl From<OutgoingTlsError> for OutgoingError {
    fn from(error: OutgoingTlsError) -> Self {
        match error {
            OutgoingTlsError::Certificate(reason) => Self::Certificate(reason),
            OutgoingTlsError::Protocol(reason) => Self::Tls(reason),
            OutgoingTlsError::Io(_) => Self::Ended,
        }
    }
}
