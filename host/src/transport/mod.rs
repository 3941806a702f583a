//! Bytes and identity: TLS, and the certificates behind it.

mod authority;
mod identity;
mod tls;

pub use authority::{Authority, IdentityError};
pub use identity::{IdentityFiles, NodeIdentity};
pub use tls::{ALPN, ServerCertificate, server_config};
