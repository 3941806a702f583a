//! The node's certificate authority: what its clients trust, and what signs its certificate.
//!
//! It lives as long as the data directory. It signs server certificates of this node only, and
//! cannot sign another authority.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::config::ServerName;
use crate::hex;
use crate::storage::StorageError;
use crate::storage::file::{self, Access};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Replacing an authority means visiting every client, so it outlives the machine.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(20 * 365);
/// As long as public authorities may issue for, with room to renew in.
const CERTIFICATE_LIFE: Duration = DAY.saturating_mul(397);
/// A client's clock may be behind ours.
const CLOCK_SKEW: Duration = DAY;

/// Why the node has no identity to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A certificate without the key it belongs to. A new authority would lock out every client
    /// that trusts this one, so that is for a person to decide.
    #[error(
        "{} is missing but {} is there; restore the key, or delete both for a new authority that \
         every client has to be given", .key.display(), .certificate.display()
    )]
    KeyLost {
        /// Where the key should be.
        key: PathBuf,
        /// The certificate that is there.
        certificate: PathBuf,
    },
    /// A key or certificate that cannot be used.
    #[error("{} is damaged ({reason}); restore it from a backup", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The system gives no random numbers.
    #[error("the system has no randomness to make a serial number of")]
    NoRandomness,
    /// TLS cannot be set up as it has to be.
    #[error("cannot set up tls: {0}")]
    Tls(#[from] rustls::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// Reads the authority, or makes what is missing of it: first the key, then the certificate,
    /// each durable before the next, so that a crash in between leaves something to go on with.
    ///
    /// # Errors
    /// When a certificate is there without its key, either is damaged, or a file cannot be
    /// written.
    pub fn load_or_create(
        key_path: &Path,
        certificate_path: &Path,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let stored_key = file::read_text(key_path)?.map(Zeroizing::new);
        let stored_certificate = file::read_text(certificate_path)?;
        let key = match (&stored_key, &stored_certificate) {
            (Some(text), _) => KeyPair::from_pem(text).map_err(|e| damaged(key_path, e))?,
            (None, Some(_)) => {
                return Err(IdentityError::KeyLost {
                    key: key_path.to_owned(),
                    certificate: certificate_path.to_owned(),
                });
            }
            (None, None) => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                let text = Zeroizing::new(key.serialize_pem());
                file::replace(key_path, text.as_bytes(), Access::Private)?;
                key
            }
        };
        let parameters = parameters(&key, now);
        let pem = match stored_certificate {
            Some(pem) => pem,
            None => {
                let pem = parameters.self_signed(&key)?.pem();
                file::replace(certificate_path, pem.as_bytes(), Access::Public)?;
                pem
            }
        };
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| damaged(certificate_path, error))?;
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            pem,
            certificate,
        })
    }

    /// The certificate as text, for client profiles.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A new server key with a certificate for these names, both as PEM.
    pub(super) fn issue(
        &self,
        names: &[ServerName],
        now: Timestamp,
    ) -> Result<Zeroizing<String>, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = CertificateParams::default();
        for name in names {
            parameters.subject_alt_names.push(match name.ip() {
                Some(ip) => SanType::IpAddress(ip),
                None => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        parameters.distinguished_name = common_name("rpc-host");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        set_life(&mut parameters, now, CERTIFICATE_LIFE);
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let key = Zeroizing::new(key.serialize_pem());
        Ok(Zeroizing::new(format!("{}{}", certificate.pem(), *key)))
    }
}

impl Authority {
    /// A new key of a client's with a certificate that says for whom it is, both as PEM.
    pub(super) fn certify(
        &self,
        subject: &str,
        serial: &[u8],
        life: Duration,
        now: Timestamp,
    ) -> Result<(String, Zeroizing<String>), IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = CertificateParams::default();
        parameters.serial_number = Some(SerialNumber::from_slice(serial));
        parameters.subject_alt_names = vec![SanType::URI(subject.try_into()?)];
        parameters.distinguished_name = common_name("rpc-host client");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        parameters.use_authority_key_identifier_extension = true;
        set_life(&mut parameters, now, life);
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
    }

    /// The list of what it has revoked, and when, as PEM. It is good as long as the authority, because
    /// whoever keeps the one keeps the other.
    pub(super) fn revoked(
        &self,
        revoked: Vec<(Vec<u8>, Timestamp)>,
        now: Timestamp,
    ) -> Result<String, IdentityError> {
        let epoch = date_time_ymd(1970, 1, 1);
        let begin = now.since_epoch().saturating_sub(CLOCK_SKEW);
        let revoked = revoked.into_iter().map(|(serial, at)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: epoch + Duration::from_secs(at.since_epoch().as_secs()),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: epoch + begin,
            next_update: epoch + begin + AUTHORITY_LIFE,
            crl_number: SerialNumber::from(now.unix_ms()),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }
}

/// What an authority with this key says of itself: always the same but for its dates, so that the
/// issuer can be made anew from the key at each start.
fn parameters(key: &KeyPair, now: Timestamp) -> CertificateParams {
    let fingerprint = digest::digest(&digest::SHA256, key.der_bytes());
    let short: String = hex::encode(fingerprint.as_ref()).chars().take(16).collect();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = common_name(&format!("rpc-host authority {short}"));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut parameters, now, AUTHORITY_LIFE);
    parameters
}

fn common_name(name: &str) -> rcgen::DistinguishedName {
    let mut distinguished = rcgen::DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_life(parameters: &mut CertificateParams, now: Timestamp, life: Duration) {
    let begin = now.since_epoch().saturating_sub(CLOCK_SKEW);
    parameters.not_before = date_time_ymd(1970, 1, 1) + begin;
    parameters.not_after = date_time_ymd(1970, 1, 1) + begin + CLOCK_SKEW + life;
}

pub(super) fn damaged(path: &Path, error: impl ToString) -> IdentityError {
    IdentityError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Authority(…)")
    }
}
