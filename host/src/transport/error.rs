//! What can go wrong between two peers below the level of messages. Each of these ends the
//! connection.

use std::io;

use rpc_host_protocol::frame::HeaderError;

/// Why a connection ended that did not end by agreement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The stream itself failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// Bytes that are no frame header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A frame larger than the peer may send at this point.
    #[error(
        "a frame of {length_bytes} bytes is over the limit of {max_bytes} bytes; say hello first"
    )]
    FrameTooEarly {
        /// What its header says.
        length_bytes: u32,
        /// What is taken now.
        max_bytes: usize,
    },
    /// The peer went away within a frame.
    #[error("the connection ended within a frame")]
    Truncated,
    /// A frame began and did not end in time.
    #[error("a frame began and did not arrive in time; send frames without pausing within them")]
    FrameTooSlow,
    /// The peer does not take what is written to it.
    #[error("nothing could be written in time; read replies as they come")]
    WriteTooSlow,
    /// TLS and its check of the protocol were not done in time.
    #[error("the TLS handshake took too long")]
    HandshakeTooSlow,
    /// The peer's certificate was good in its handshake, and no longer is.
    #[error("the certificate is no longer good")]
    CertificateEnded,
    /// The peer named no protocol, or another one, in the TLS handshake.
    #[error("the peer did not ask for the protocol rpc-host/1 in its TLS handshake")]
    WrongProtocol,
}

impl TransportError {
    /// Whether the peer broke a rule, as opposed to a network that failed.
    pub fn is_violation(&self) -> bool {
        match self {
            TransportError::Io(_) | TransportError::Truncated => false,
            TransportError::Header(_)
            | TransportError::FrameTooEarly { .. }
            | TransportError::FrameTooSlow
            | TransportError::WriteTooSlow
            | TransportError::HandshakeTooSlow
            | TransportError::CertificateEnded
            | TransportError::WrongProtocol => true,
        }
    }
}
