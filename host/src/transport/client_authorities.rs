//! The authorities that sign client certificates, and what they have revoked, as files say it.
//!
//! All of this fails closed. Where revocation lists are given, a certificate that none of them speaks
//! for is refused, and so is every certificate of an authority whose list is out of date.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};

use super::authority::damaged;
use super::tls::provider;
use super::{IdentityError, x509};
use crate::clock::Timestamp;
use crate::storage::file;

/// Where authorities and their revocation lists are kept, each in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityFiles {
    /// The certificates of one authority or more.
    pub certificates: PathBuf,
    /// Their revocation lists. None means that nothing is ever revoked.
    pub revoked: Option<PathBuf>,
    /// Whether there may be no such files, which means no such authority.
    pub may_be_absent: bool,
}

/// Those that are believed, each as its files say. The default believes nobody.
#[derive(Debug, Default)]
pub(super) struct ClientAuthorities {
    verifiers: Vec<Arc<dyn ClientCertVerifier>>,
    stale: Vec<PathBuf>,
}

impl ClientAuthorities {
    /// Reads them.
    ///
    /// # Errors
    /// When a file is missing, or cannot be used.
    pub(super) fn read(all: &[AuthorityFiles], now: Timestamp) -> Result<Self, IdentityError> {
        let mut authorities = Self::default();
        for files in all {
            let Some(certificates) = file::read_text(&files.certificates)? else {
                if files.may_be_absent {
                    continue;
                }
                return Err(damaged(&files.certificates, "there is no such file"));
            };
            authorities.add(files, &certificates, now)?;
        }
        Ok(authorities)
    }

    fn add(
        &mut self,
        files: &AuthorityFiles,
        certificates: &str,
        now: Timestamp,
    ) -> Result<(), IdentityError> {
        let path = &files.certificates;
        let mut roots = RootCertStore::empty();
        let mut ders = Vec::new();
        for der in CertificateDer::pem_slice_iter(certificates.as_bytes()) {
            let der = der.map_err(|error| damaged(path, error))?;
            roots
                .add(der.clone())
                .map_err(|error| damaged(path, error))?;
            ders.push(der);
        }
        if roots.is_empty() {
            return Err(damaged(path, "it holds no certificate"));
        }
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
                .allow_unauthenticated();
        if let Some(path) = &files.revoked {
            let text =
                file::read_text(path)?.ok_or_else(|| damaged(path, "there is no such file"))?;
            let (lists, are_fresh) = lists(path, &text, &ders, now)?;
            if !are_fresh {
                self.stale.push(path.clone());
            }
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        let verifier = builder.build().map_err(|error| damaged(path, error))?;
        self.verifiers.push(verifier);
        Ok(())
    }

    /// Files with a list that is out of date, so that nobody whom it is about gets in.
    pub(super) fn stale(&self) -> &[PathBuf] {
        &self.stale
    }

    pub(super) fn is_empty(&self) -> bool {
        self.verifiers.is_empty()
    }

    /// Whether one of them has signed this, for clients, and has not revoked it.
    ///
    /// # Errors
    /// What the last of them has against it.
    pub(super) fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let mut refusal = CertificateError::UnknownIssuer.into();
        for verifier in &self.verifiers {
            match verifier.verify_client_cert(certificate, intermediates, now) {
                Ok(_verified) => return Ok(()),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

/// Reads revocation lists; tells whether all of them are up to date. Each of these authorities has to
/// have one, genuine, or else nobody of it would get in.
fn lists(
    path: &Path,
    text: &str,
    authorities: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<(Vec<CertificateRevocationListDer<'static>>, bool), IdentityError> {
    let lists: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(text.as_bytes()).collect();
    let lists = lists.map_err(|error| damaged(path, error))?;
    let mut parsed = Vec::new();
    for list in &lists {
        let list = x509::RevocationList::read(list)
            .ok_or_else(|| damaged(path, "it holds something that is no revocation list"))?;
        parsed.push(list);
    }
    let algorithms = provider().signature_verification_algorithms;
    for authority in authorities {
        let authority = x509::Certificate::read(authority)
            .ok_or_else(|| damaged(path, "its authority is no certificate"))?;
        let mut own = parsed
            .iter()
            .filter(|list| list.issuer == authority.subject)
            .peekable();
        if own.peek().is_none() {
            return Err(damaged(path, "it lacks the list of an authority"));
        }
        if own.any(|list| !list.is_signed_by(&authority, &algorithms)) {
            let reason = "an authority did not sign the list that it holds of it";
            return Err(damaged(path, reason));
        }
    }
    let now = i64::try_from(now.since_epoch().as_secs()).unwrap_or(i64::MAX);
    let are_fresh = parsed
        .iter()
        .all(|list| list.next_update.is_some_and(|next| now < next));
    Ok((lists, are_fresh))
}
