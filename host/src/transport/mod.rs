//! Bytes and identity: TLS and the certificates behind it, connections, frames; and the streams of this process as a
//! connection.

mod admission;
mod authority;
mod client_authorities;
mod client_authority;
mod client_certificate;
mod client_trust;
mod error;
pub mod frames;
mod identity;
mod listener;
mod origin;
#[cfg(feature = "http")]
mod outgoing_tls;
mod pace;
mod server_files;
mod stdio;
mod tls;
mod x509;

pub use admission::{ConnectionRoom, Doorstep};
pub use authority::{Authority, IdentityError};
pub use client_authorities::AuthorityFiles;
pub use client_authority::{ClientAuthority, IssuedCertificate, NewCertificate};
pub use client_trust::{ClientTrust, Watched};
pub use error::TransportError;
pub use identity::{IdentityFiles, NodeIdentity};
pub use listener::{Arrival, Listener, Secured};
#[cfg(feature = "http")]
pub use outgoing_tls::{OutgoingTls, OutgoingTlsError};
pub use server_files::ServerFiles;
pub use stdio::duplex as duplex_stdio;
pub use tls::{ServerCertificate, server_config};
