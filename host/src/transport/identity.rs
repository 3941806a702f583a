//! The certificate the node shows: read, checked, and renewed before it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{self, CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;

use super::authority::damaged;
use super::tls::provider;
use super::{Authority, IdentityError, ServerCertificate};
use crate::clock::Timestamp;
use crate::config::{DataDir, ServerName};
use crate::storage::file::{self, Access};

/// A certificate with less than this ahead of it is replaced.
const RENEW_AHEAD: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Where the identity is kept.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// The authority's key.
    pub authority_key: PathBuf,
    /// The authority's certificate.
    pub authority_certificate: PathBuf,
    /// The server's certificate and key, in one file so that one rename replaces both.
    pub server: PathBuf,
}

impl From<&DataDir> for IdentityFiles {
    fn from(data: &DataDir) -> Self {
        Self {
            authority_key: data.authority_key(),
            authority_certificate: data.authority_certificate(),
            server: data.server_identity(),
        }
    }
}

/// The authority and the certificate it currently gives the node.
#[derive(Debug)]
pub struct NodeIdentity {
    authority: Authority,
    verifier: Arc<WebPkiServerVerifier>,
    server_path: PathBuf,
    names: Vec<ServerName>,
    current: Arc<ServerCertificate>,
}

impl NodeIdentity {
    /// Reads the identity, making what is missing, ends soon, or does not cover all `names`.
    ///
    /// # Errors
    /// When the authority is damaged, or a file cannot be written.
    pub fn open(
        files: &IdentityFiles,
        names: Vec<ServerName>,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let authority =
            Authority::load_or_create(&files.authority_key, &files.authority_certificate, now)?;
        let verifier = verifier(&authority, &files.authority_certificate)?;
        let stored = load(&files.server)?;
        let good = stored.filter(|stored| is_good(&verifier, stored, &names, now).is_ok());
        let certificate = match good {
            Some(stored) => stored,
            None => issue(&authority, &verifier, &files.server, &names, now)?,
        };
        let current = Arc::new(ServerCertificate::new(Arc::new(certificate)));
        let server_path = files.server.clone();
        Ok(Self {
            authority,
            verifier,
            server_path,
            names,
            current,
        })
    }

    /// What the TLS configuration takes its certificate from; a renewal reaches it by itself.
    pub fn certificate(&self) -> Arc<ServerCertificate> {
        Arc::clone(&self.current)
    }

    /// The certificate that clients have to trust, as PEM.
    pub fn authority_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Replaces the certificate if it ends soon; true if it did. Connections that are open stay
    /// open. To be asked about once a day. Blocks on the disk.
    ///
    /// # Errors
    /// When no new certificate can be made or kept; the old one then stays.
    pub fn renew_if_due(&self, now: Timestamp) -> Result<bool, IdentityError> {
        if is_good(&self.verifier, &self.current.get(), &self.names, now).is_ok() {
            return Ok(false);
        }
        let renewed = issue(
            &self.authority,
            &self.verifier,
            &self.server_path,
            &self.names,
            now,
        )?;
        self.current.replace(Arc::new(renewed));
        Ok(true)
    }
}

/// Makes a certificate, keeps it, and checks it as a client would: an authority whose two files
/// do not belong together is found out here and not by the first client.
fn issue(
    authority: &Authority,
    verifier: &WebPkiServerVerifier,
    path: &Path,
    names: &[ServerName],
    now: Timestamp,
) -> Result<CertifiedKey, IdentityError> {
    let pem = authority.issue(names, now)?;
    let certificate = parse(&pem, path)?;
    is_good(verifier, &certificate, names, now)?;
    file::replace(path, pem.as_bytes(), Access::Private)?;
    Ok(certificate)
}

/// A file that cannot be read as a certificate is no reason to stay down: another is made.
fn load(path: &Path) -> Result<Option<CertifiedKey>, IdentityError> {
    Ok(file::read_text(path)?
        .map(zeroize::Zeroizing::new)
        .and_then(|pem| parse(&pem, path).ok()))
}

fn parse(pem: &str, path: &Path) -> Result<CertifiedKey, IdentityError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|error| damaged(path, error))?;
    let key =
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| damaged(path, error))?;
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

fn verifier(
    authority: &Authority,
    path: &Path,
) -> Result<Arc<WebPkiServerVerifier>, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
        .build()
        .map_err(|error| damaged(path, error))
}

/// Whether clients will accept a certificate under all names, now and for a while.
fn is_good(
    verifier: &WebPkiServerVerifier,
    certificate: &CertifiedKey,
    names: &[ServerName],
    now: Timestamp,
) -> Result<(), IdentityError> {
    let server = certificate.end_entity_cert()?;
    for at in [now, now.plus(RENEW_AHEAD)] {
        let at = UnixTime::since_unix_epoch(at.since_epoch());
        for name in names {
            let name = pki_types::ServerName::try_from(name.as_str())
                .map_err(|_| rustls::Error::General(format!("`{name}` is no server name")))?;
            verifier.verify_server_cert(server, &[], &name, &[], at)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
