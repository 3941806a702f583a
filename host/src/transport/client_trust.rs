//! Which clients' certificates are believed, from one moment to the next.
//!
//! Files may change while connections are open. So a certificate is verified when its connection
//! begins, and again whenever the files were read anew, and from time to time: *whoever could not come
//! in now is not in*. What is read anew is believed as a whole or not at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tracing::{debug, warn};

use super::client_authorities::{AuthorityFiles, ClientAuthorities};
use super::tls::provider;
use super::{IdentityError, client_certificate};
use crate::clock::{Timestamp, WallClock};
use crate::config::{Limits, count};
use crate::tenant::Certificate;

/// The authorities that are believed now, and the certificates of all connections that are open.
#[derive(Debug)]
pub struct ClientTrust {
    files: Vec<AuthorityFiles>,
    clock: Arc<dyn WallClock>,
    max_certificate_bytes: usize,
    algorithms: WebPkiSupportedAlgorithms,
    current: RwLock<Arc<ClientAuthorities>>,
    present: Arc<Mutex<Present>>,
}

/// Certificates by the number of their connection. As many as there are connections at most.
#[derive(Debug, Default)]
struct Present {
    last_number: u64,
    shown: HashMap<u64, Shown>,
}

#[derive(Clone, Debug)]
struct Shown {
    chain: Arc<[CertificateDer<'static>]>,
    certificate: Certificate,
}

/// A connection with a certificate that is watched as long as this lives.
#[derive(Debug)]
pub struct Watched {
    number: u64,
    present: Arc<Mutex<Present>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.present).shown.remove(&self.number);
    }
}

/// Nothing panics while it is locked, so poison means nothing here.
fn lock(present: &Mutex<Present>) -> MutexGuard<'_, Present> {
    present.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientTrust {
    /// Reads the authorities. Without any, no client is asked for a certificate. Blocks on the disk.
    ///
    /// # Errors
    /// When a file is missing or cannot be used.
    pub fn open(
        files: Vec<AuthorityFiles>,
        clock: Arc<dyn WallClock>,
        limits: &Limits,
    ) -> Result<Self, IdentityError> {
        let authorities = read(&files, clock.now())?;
        Ok(Self {
            files,
            clock,
            max_certificate_bytes: count(limits.max_client_certificate_bytes),
            algorithms: provider().signature_verification_algorithms,
            current: RwLock::new(Arc::new(authorities)),
            present: Arc::default(),
        })
    }

    /// Reads the files anew; gives the number of open connections whose certificate is no longer good.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// When a file is missing or cannot be used. Everything then stays as it was.
    pub fn reload(&self) -> Result<usize, IdentityError> {
        let authorities = Arc::new(read(&self.files, self.clock.now())?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = authorities;
        Ok(self.verify_again())
    }

    /// Verifies the certificates of all open connections as if they came now; gives the number of those
    /// that are no longer good, which are good no more from here on.
    pub fn verify_again(&self) -> usize {
        let shown: Vec<(u64, Shown)> = {
            let present = lock(&self.present);
            let shown = present.shown.iter();
            shown
                .map(|(number, shown)| (*number, shown.clone()))
                .collect()
        };
        let (authorities, now) = (self.current(), unix_time(self.clock.now()));
        let mut ended = 0;
        for (number, shown) in shown {
            if let Err(reason) = verify(&authorities, &shown.chain, now) {
                debug!(%reason, "a client certificate is no longer good");
                shown.certificate.end();
                lock(&self.present).shown.remove(&number);
                ended += 1;
            }
        }
        ended
    }

    /// What the certificates say that a peer has shown in its handshake.
    ///
    /// # Errors
    /// When they are not good any more: they were, a moment ago.
    pub(super) fn admit(
        &self,
        chain: &[CertificateDer<'_>],
    ) -> Result<(Certificate, Watched), rustls::Error> {
        let chain: Arc<[_]> = chain
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let first = chain
            .first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        let certificate = client_certificate::read(first).map_err(|_| refused())?;
        let shown = Shown {
            chain: Arc::clone(&chain),
            certificate: certificate.clone(),
        };
        let number = {
            let mut present = lock(&self.present);
            present.last_number = present.last_number.wrapping_add(1);
            let number = present.last_number;
            present.shown.insert(number, shown);
            number
        };
        let watched = Watched {
            number,
            present: Arc::clone(&self.present),
        };
        // The files may have been read anew between the handshake and here, where nobody saw it yet.
        verify(&self.current(), &chain, unix_time(self.clock.now()))?;
        Ok((certificate, watched))
    }

    fn current(&self) -> Arc<ClientAuthorities> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(files: &[AuthorityFiles], now: Timestamp) -> Result<ClientAuthorities, IdentityError> {
    let authorities = ClientAuthorities::read(files, now)?;
    for path in authorities.stale() {
        let path = path.display();
        warn!(%path, "a revocation list is out of date; nobody whom it is about gets in");
    }
    Ok(authorities)
}

fn verify(
    authorities: &ClientAuthorities,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let (first, rest) = chain
        .split_first()
        .ok_or(rustls::Error::NoCertificatesPresented)?;
    authorities.verify(first, rest, now)
}

pub(super) fn unix_time(now: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(now.since_epoch())
}

/// The one thing that a peer is told of a certificate that is refused.
fn refused() -> rustls::Error {
    CertificateError::ApplicationVerificationFailure.into()
}

impl ClientCertVerifier for ClientTrust {
    fn offer_client_auth(&self) -> bool {
        !self.current().is_empty()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a stranger need not know who is believed.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let bytes: usize = intermediates.iter().map(|one| one.len()).sum();
        let bytes = bytes.saturating_add(certificate.len());
        if bytes > self.max_certificate_bytes {
            debug!(bytes, "a client's certificates are too long");
            return Err(refused());
        }
        let authorities = self.current();
        if let Err(reason) = authorities.verify(certificate, intermediates, now) {
            debug!(%reason, "a client certificate was refused");
            return Err(refused());
        }
        if let Err(reason) = client_certificate::read(certificate) {
            debug!(%reason, "a client certificate was refused");
            return Err(refused());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // This version is not spoken.
        Err(refused())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
            .map_err(|_| refused())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
