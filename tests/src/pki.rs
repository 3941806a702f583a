//! An authority of an operator's, beside the node's own.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};

/// An authority with its key.
pub struct Pki(CertifiedIssuer<'static, KeyPair>);

/// A certificate and the key that belongs to it, in PEM.
#[derive(Clone)]
pub struct Certified {
    /// The certificate.
    pub certificate_pem: String,
    /// The key.
    pub key_pem: String,
}

impl Pki {
    /// An authority of this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Pki(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its certificate.
    pub fn ca_pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a client: `TENANT/ROLE/NAME`.
    pub fn client(&self, subject: &str, serial: u64) -> Certified {
        let uri = format!("rpc-host://{subject}");
        let name = SanType::URI(uri.as_str().try_into().expect("ASCII"));
        self.certify(name, ExtendedKeyUsagePurpose::ClientAuth, serial)
    }

    /// A certificate for a server.
    pub fn server(&self, name: &str, serial: u64) -> Certified {
        let name = SanType::DnsName(name.try_into().expect("ASCII"));
        self.certify(name, ExtendedKeyUsagePurpose::ServerAuth, serial)
    }

    fn certify(&self, name: SanType, usage: ExtendedKeyUsagePurpose, serial: u64) -> Certified {
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial.into());
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Certified {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// What it has revoked.
    pub fn revoked(&self, serials: &[u64]) -> String {
        let begin = date_time_ymd(2020, 1, 1);
        let revoked = serials.iter().map(|&serial| RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: begin,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: begin,
            next_update: begin + Duration::from_secs(100 * 365 * 24 * 60 * 60),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).expect("a revocation list");
        list.pem().expect("PEM")
    }
}
