//! The secure channel: TLS 1.3 to the one host that the profile describes.
//!
//! Deliberately without the system's authorities, session resumption (a resumed session would skip the
//! question whether it may go on) and early data (which can be replayed).

use std::io;
use std::sync::Arc;

use rpc_host_protocol::ALPN;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::Error;
use crate::profile::{Profile, ProfileError};

/// The channel, over TCP.
pub(crate) type Stream = tokio_rustls::client::TlsStream<TcpStream>;

/// All that a profile says about how to find and believe its host.
pub(crate) struct Dialer {
    address: String,
    server_name: ServerName<'static>,
    connector: TlsConnector,
}

impl Dialer {
    /// Reads the profile; connects to nothing.
    pub(crate) fn new(profile: &Profile) -> Result<Self, ProfileError> {
        let unusable = |problem: String| ProfileError::Unusable(problem);
        let name = profile.expected_name()?;
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| unusable(format!("{name:?} is not the name of a server")))?;
        let pem = profile
            .authority_pem()
            .ok_or_else(|| unusable("it has no `ca`, so no host can be believed".to_owned()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate =
                certificate.map_err(|error| unusable(format!("`ca` is not PEM: {error}")))?;
            roots
                .add(certificate)
                .map_err(|error| unusable(format!("`ca` is not a certificate: {error}")))?;
        }
        if roots.is_empty() {
            return Err(unusable("`ca` holds no certificate".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(format!("no TLS 1.3: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Dialer {
            address: profile.address().to_owned(),
            server_name,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    pub(crate) async fn dial(&self) -> Result<Stream, Error> {
        let address = &self.address;
        let failed = |cause| Error::Connect {
            address: address.clone(),
            cause: Arc::new(cause),
        };
        let tcp = TcpStream::connect(address).await.map_err(failed)?;
        // A call is small and waits for its answer: never hold it back to fill a packet.
        tcp.set_nodelay(true).map_err(failed)?;
        let stream = self
            .connector
            .connect(self.server_name.clone(), tcp)
            .await
            .map_err(|cause| self.tls_error(cause))?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(Error::Tls {
                address: address.clone(),
                problem: "the server is no rpc-host, or of another version".to_owned(),
            });
        }
        Ok(stream)
    }

    fn tls_error(&self, cause: io::Error) -> Error {
        let address = self.address.clone();
        let inner = cause.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => Error::Tls {
                address,
                problem: error.to_string(),
            },
            None => Error::Connect {
                address,
                cause: Arc::new(cause),
            },
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}
