//! Bytes and identity: TLS and the certificates behind it, connections, frames.

mod admission;
mod authority;
mod error;
pub mod frames;
mod identity;
mod listener;
#[cfg(feature = "http")]
mod outgoing_tls;
mod tls;

pub use admission::{ConnectionRoom, Doorstep};
pub use authority::{Authority, IdentityError};
pub use error::TransportError;
pub use identity::{IdentityFiles, NodeIdentity};
pub use listener::{Arrival, Listener, Secured};
#[cfg(feature = "http")]
pub use outgoing_tls::{OutgoingTls, OutgoingTlsError};
pub use tls::{ServerCertificate, server_config};
