//! The TLS configuration: version 1.3 only, one protocol, and nothing that a later connection
//! could resume.
//!
//! A resumed session would skip the check of whether its peer is still welcome, and early data
//! can be replayed; both are off. The cryptography is passed in explicitly, so that no other
//! library of the process can change it.

use std::sync::{Arc, PoisonError, RwLock};

use rpc_host_protocol::ALPN;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;

use super::client_trust::unix_time;
use super::{ClientTrust, IdentityError};
use crate::clock::WallClock;

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

/// The wall clock, as TLS asks for it.
#[derive(Debug)]
struct TlsClock(Arc<dyn WallClock>);

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

/// The configuration for all connections of the node.
///
/// # Errors
/// When the cryptography does not offer TLS 1.3.
pub fn server_config(
    certificate: Arc<ServerCertificate>,
    clients: Arc<ClientTrust>,
    clock: Arc<dyn WallClock>,
) -> Result<Arc<ServerConfig>, IdentityError> {
    let mut config =
        ServerConfig::builder_with_details(Arc::new(provider()), Arc::new(TlsClock(clock)))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(certificate);
    // A peer that names no protocol at all gets through TLS; the listener looks.
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
