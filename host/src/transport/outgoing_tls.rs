//! TLS towards hosts outside, for requests of guests.
//!
//! Version 1.3 only, as everywhere here. What is believed are the authorities that browsers believe, as
//! built in, and those that the operator adds; never what the machine happens to have, and never the
//! node's own authority.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::provider;

/// All that is spoken there.
const ALPN_HTTP: &[u8] = b"http/1.1";

/// Why there is no TLS with a host.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingTlsError {
    /// Its certificate is not believed, or is for others.
    #[error("{0}")]
    Certificate(String),
    /// It speaks something else.
    #[error("{0}")]
    Protocol(String),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// Who is believed to be who.
#[derive(Clone)]
pub struct OutgoingTls {
    connector: TlsConnector,
}

impl OutgoingTls {
    /// Believes the authorities that are built in, and those in `extra_pem`.
    ///
    /// # Errors
    /// When `extra_pem` holds no certificate, or one that cannot be used.
    pub fn new(extra_pem: Option<&str>) -> Result<Self, OutgoingTlsError> {
        let unusable = |problem: String| OutgoingTlsError::Certificate(problem);
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let Some(pem) = extra_pem {
            let built_in = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate =
                    certificate.map_err(|error| unusable(format!("not PEM: {error}")))?;
                roots
                    .add(certificate)
                    .map_err(|error| unusable(format!("not a certificate: {error}")))?;
            }
            if roots.len() == built_in {
                return Err(unusable("no certificate in it".to_owned()));
            }
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| OutgoingTlsError::Protocol(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
        // What one tenant's connection left behind would be another's to go on with.
        config.resumption = Resumption::disabled();
        Ok(OutgoingTls {
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// TLS over a connection, with whoever proves to be `host`: a name, or an address without brackets.
    ///
    /// # Errors
    /// When it proves to be nobody, or another.
    pub async fn connect(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, OutgoingTlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_error| {
            OutgoingTlsError::Certificate("no certificate is for a host of this name".to_owned())
        })?;
        let stream = self.connector.connect(name, tcp).await.map_err(failed)?;
        // A server that chose nothing speaks what has always been spoken.
        let is_http = |chosen: &[u8]| chosen == ALPN_HTTP;
        if !stream.get_ref().1.alpn_protocol().is_none_or(is_http) {
            let other = "the host chose another protocol than http/1.1".to_owned();
            return Err(OutgoingTlsError::Protocol(other));
        }
        Ok(stream)
    }
}

impl std::fmt::Debug for OutgoingTls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OutgoingTls")
            .finish_non_exhaustive()
    }
}

fn failed(error: io::Error) -> OutgoingTlsError {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(certificate @ rustls::Error::InvalidCertificate(_)) => {
            OutgoingTlsError::Certificate(certificate.to_string())
        }
        Some(protocol) => OutgoingTlsError::Protocol(protocol.to_string()),
        None => OutgoingTlsError::Io(error),
    }
}
