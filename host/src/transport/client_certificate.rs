//! What a client certificate says. Only of one that was verified: this reads, and believes what it
//! reads.
//!
//! For whom it is, only its names of the kind URI tell. Its subject and its other names, of hosts or
//! people, are never looked at: they were given for other purposes.

use rustls::pki_types::CertificateDer;

use super::x509;
use crate::clock::Timestamp;
use crate::tenant::Certificate;

/// Why a certificate is of no use to a client, whoever signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// Not the encoding of a certificate, as far as it is read here.
    #[error("it is not encoded as it should be")]
    Malformed,
    /// Made for something else. One that says nothing of its purposes may be used for all, says the
    /// standard; here it may be used for none.
    #[error("it is not for clients: it lacks the extended key usage clientAuth")]
    NotForClients,
}

/// Reads a certificate that was verified.
pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Certificate, Unusable> {
    let certificate = x509::Certificate::read(certificate).ok_or(Unusable::Malformed)?;
    if !certificate.is_for_clients {
        return Err(Unusable::NotForClients);
    }
    let uris: Vec<&str> = certificate.uris.iter().map(String::as_str).collect();
    // The last second is part of the time that it is good for.
    let expires_at_ms = u64::try_from(certificate.last_second)
        .unwrap_or(0)
        .saturating_add(1)
        .saturating_mul(1000);
    Ok(Certificate::new(
        &uris,
        &certificate.serial,
        Timestamp::from_unix_ms(expires_at_ms),
    ))
}
