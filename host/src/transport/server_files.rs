//! A server certificate that the operator brings along, from files that may be replaced.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::authority::damaged;
use super::tls::provider;
use super::{IdentityError, x509};
use crate::clock::Timestamp;
use crate::storage::file;

/// Where an operator keeps the certificate of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// The key that belongs to it.
    pub key: PathBuf,
}

impl ServerFiles {
    /// Reads both. A certificate that no client would believe any more is none.
    pub(super) fn read(&self, now: Timestamp) -> Result<Arc<CertifiedKey>, IdentityError> {
        let missing = |path| damaged(path, "there is no such file");
        let path = &self.certificate;
        let text = file::read_text(path)?.ok_or_else(|| missing(path))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let chain = chain.map_err(|error| damaged(path, error))?;
        let first = chain
            .first()
            .ok_or_else(|| damaged(path, "it holds no certificate"))?;
        let first = x509::Certificate::read(first)
            .ok_or_else(|| damaged(path, "it holds something that is no certificate"))?;
        let now = i64::try_from(now.since_epoch().as_secs()).unwrap_or(i64::MAX);
        if first.last_second < now {
            return Err(damaged(path, "it has expired"));
        }
        let key_path = &self.key;
        let key = file::read_text(key_path)?.map(Zeroizing::new);
        let key = key.ok_or_else(|| missing(key_path))?;
        // What a parser says may hold bytes of the key.
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| damaged(key_path, "it holds no private key in PEM"))?;
        CertifiedKey::from_der(chain, key, &provider())
            .map(Arc::new)
            .map_err(|error| damaged(path, format!("with its key: {error}")))
    }
}
