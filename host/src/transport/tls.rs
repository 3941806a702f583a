//! The TLS configuration: version 1.3 only, one protocol, and nothing that a later connection
//! could resume.
//!
//! A resumed session would skip the check of whether its peer is still welcome, and early data
//! can be replayed; both are off. The cryptography is passed in explicitly, so that no other
//! library of the process can change it.

use std::sync::{Arc, PoisonError, RwLock};

use rpc_host_protocol::ALPN;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{self, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;

use super::client_trust::unix_time;
use super::{ClientTrust, IdentityError, ServerFiles};
use crate::clock::{Timestamp, WallClock};
use crate::config::ServerName;

pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// The certificate that new connections are shown: the node's own, or the operator's to those who ask
/// for a name that it is for. The names of this machine are always the node's own, so that its profile
/// works whatever the operator brings along.
#[derive(Debug)]
pub struct ServerCertificate {
    own: RwLock<Arc<CertifiedKey>>,
    operators: RwLock<Option<Arc<CertifiedKey>>>,
    local: Vec<ServerName>,
}

impl ServerCertificate {
    pub(super) fn new(own: Arc<CertifiedKey>) -> Self {
        Self {
            own: RwLock::new(own),
            operators: RwLock::default(),
            local: ServerName::local().into(),
        }
    }

    pub(super) fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.own.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, own: Arc<CertifiedKey>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
    }

    /// Takes the operator's from its files. Blocks on the disk.
    ///
    /// # Errors
    /// When they cannot be used; what was there stays.
    pub fn load(&self, files: &ServerFiles, now: Timestamp) -> Result<(), IdentityError> {
        let read = files.read(now)?;
        *self
            .operators
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(read);
        Ok(())
    }

    /// The operator's, if it is for this name.
    pub(super) fn operators(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let operators = self
            .operators
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        if self.local.iter().any(|local| local.as_str() == name) {
            return None;
        }
        let certificate = ParsedCertificate::try_from(operators.end_entity_cert().ok()?).ok()?;
        let name = pki_types::ServerName::try_from(name).ok()?;
        verify_server_name(&certificate, &name).ok()?;
        Some(operators)
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let operators = hello.server_name().and_then(|name| self.operators(name));
        Some(operators.unwrap_or_else(|| self.get()))
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
