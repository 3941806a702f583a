//! The secure channel: TLS 1.3 to the one host that the profile describes.
//!
//! Deliberately without the system's authorities, session resumption (a resumed session would skip the
//! question whether it may go on) and early data (which can be replayed).

use std::io;
use std::sync::Arc;

use rpc_host_protocol::ALPN;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::error::Error;
use crate::profile::{ClientCertificate, Profile, ProfileError};
use crate::socket::set_up;

/// Whether the host has closed the channel because of the certificate that this client showed. It says so
/// after the handshake, which is over for the client by then.
pub(crate) fn is_refused_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(
        inner,
        Some(rustls::Error::AlertReceived(AlertDescription::AccessDenied))
    )
}

fn own_certificate(
    own: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ProfileError> {
    // What is wrong with a key is told without any of it.
    let unusable = |what: &str| ProfileError::Unusable(what.to_owned());
    let chain = CertificateDer::pem_slice_iter(own.certificate_pem.as_bytes());
    let chain: Result<Vec<_>, _> = chain.collect();
    let chain = chain.map_err(|_| unusable("`certificate` is not PEM"))?;
    if chain.is_empty() {
        return Err(unusable("`certificate` holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes())
        .map_err(|_| unusable("`key` holds no private key in PEM"))?;
    Ok((chain, key))
}

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
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(format!("no TLS 1.3: {error}")))?
            .with_root_certificates(roots);
        let mut config = match profile.own_certificate() {
            None => config.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = own_certificate(own)?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| unusable(format!("`certificate` and `key`: {error}")))?
            }
        };
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
        let began = Instant::now();
        let tcp = TcpStream::connect(address).await.map_err(failed)?;
        set_up(&tcp, began.elapsed()).map_err(failed)?;
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
