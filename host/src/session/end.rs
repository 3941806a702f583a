//! Why a session ended, and what its peer is told about it.

use std::time::Duration;

use rpc_host_protocol::assembler::AssemblyError;
use rpc_host_protocol::{ErrorCode, Failure, Fault};

use super::OrderError;
use crate::transport::TransportError;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionEnd {
    /// The peer closed the connection between two frames.
    #[error("the peer left")]
    PeerLeft,
    /// The node stops, and nothing is under way any more.
    #[error("the node stops")]
    Drained,
    /// The node stops, and its time for work under way is over.
    #[error("the node stops; calls under way were ended")]
    DrainTimeout,
    /// Nothing was heard for too long, and nothing was under way.
    #[error("nothing was heard for {} ms; answer pings", .0.as_millis())]
    Idle(Duration),
    /// The hello did not come in time.
    #[error("no hello came in time")]
    HelloTooSlow,
    /// The peer was turned away at its hello.
    #[error("refused: {0}")]
    Refused(Failure),
    /// The token or certificate was revoked or expired, or its tenant is gone.
    #[error("the token or certificate is no longer good")]
    Revoked,
    /// A frame that may not come now.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A frame that does not fit what came before it.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// The system has no randomness to give, without which a session cannot be named.
    #[error("the system gave no random bytes")]
    NoRandomness,
    /// The connection itself failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl SessionEnd {
    /// Whether the peer showed nothing that is good.
    pub(super) fn is_unauthenticated(&self) -> bool {
        matches!(self, SessionEnd::Refused(failure) if failure.code == ErrorCode::Unauthenticated)
    }

    /// What the peer is told, if it is still there to hear it.
    pub(super) fn parting(&self) -> Option<Failure> {
        let (code, fault) = match self {
            // Of a drain, the peer was told when it began.
            SessionEnd::PeerLeft | SessionEnd::Drained | SessionEnd::DrainTimeout => return None,
            SessionEnd::Refused(failure) => return Some(failure.clone()),
            SessionEnd::Revoked => return Some(revoked()),
            SessionEnd::Transport(error) if !error.is_violation() => return None,
            SessionEnd::Idle(_) => (ErrorCode::Unavailable, Fault::Peer),
            SessionEnd::NoRandomness => (ErrorCode::Internal, Fault::Host),
            SessionEnd::HelloTooSlow => (ErrorCode::DeadlineExceeded, Fault::Peer),
            SessionEnd::Order(_) | SessionEnd::Transport(_) => {
                (ErrorCode::InvalidArgument, Fault::Peer)
            }
            SessionEnd::Assembly(error) => match error {
                AssemblyError::KindChanged { .. } => (ErrorCode::InvalidArgument, Fault::Peer),
                AssemblyError::MessageTooLong { .. }
                | AssemblyError::TooMuchBuffered { .. }
                | AssemblyError::TooManyIncomplete { .. } => {
                    (ErrorCode::ResourceExhausted, Fault::Peer)
                }
            },
        };
        Some(Failure::new(code, fault, self.to_string()))
    }

    /// What the exchanges that are still under way end with. `None` where the end of the connection
    /// has to be answer enough.
    pub(super) fn verdict(&self) -> Option<Failure> {
        match self {
            SessionEnd::DrainTimeout => Some(stopping()),
            SessionEnd::Revoked => Some(revoked()),
            SessionEnd::PeerLeft
            | SessionEnd::Drained
            | SessionEnd::Idle(_)
            | SessionEnd::NoRandomness
            | SessionEnd::HelloTooSlow
            | SessionEnd::Refused(_)
            | SessionEnd::Order(_)
            | SessionEnd::Assembly(_)
            | SessionEnd::Transport(_) => None,
        }
    }
}

/// How exchanges end for which a stopping node has no time.
pub(super) fn stopping() -> Failure {
    Failure::new(
        ErrorCode::Unavailable,
        Fault::Host,
        "the host is stopping; connect again and repeat the call",
    )
}

/// How exchanges end whose token or certificate is no longer good.
pub(super) fn revoked() -> Failure {
    Failure::new(
        ErrorCode::Unauthenticated,
        Fault::Tenant,
        "the token or certificate is no longer good; connect again with another one",
    )
}
