//! The TLS configuration: version 1.3 only, one protocol, and nothing that a later connection
//! could resume.
//!
//! A resumed session would skip the check of whether its peer is still welcome, and early data
//! can be replayed; both are off. The cryptography is passed in explicitly, so that no other
//! library of the process can change it.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;

use super::IdentityError;

/// The protocol that both sides have to name in the handshake. A peer that names none at all gets
/// through TLS; whoever accepts connections has to look.
pub const ALPN: &[u8] = b"rpc-host/1";

pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// The certificate that new connections are shown.
#[derive(Debug)]
pub struct ServerCertificate(RwLock<Arc<CertifiedKey>>);

impl ServerCertificate {
    pub(super) fn new(certificate: Arc<CertifiedKey>) -> Self {
        Self(RwLock::new(certificate))
    }

    pub(super) fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, certificate: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

/// The configuration for all connections of the node.
///
/// # Errors
/// When the cryptography does not offer TLS 1.3.
pub fn server_config(
    certificate: Arc<ServerCertificate>,
) -> Result<Arc<ServerConfig>, IdentityError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
