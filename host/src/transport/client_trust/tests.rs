use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, ClientConfig, HandshakeKind};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::clock::ManualClock;
use crate::storage::RedbStorage;
use crate::tenant::{Directory, SettingsChange, Shown, Token};
use crate::transport::tls::{ServerCertificate, server_config};
use rpc_host_protocol::ALPN;

const DAY: u64 = 24 * 60 * 60;
/// In 2026, in seconds.
const NOW: u64 = 1_795_000_000;
const GOOD: &str = "rpc-host://team/deployer/build-7";

/// A moment, of a type that nobody can name.
macro_rules! at {
    ($seconds:expr) => {
        date_time_ymd(1970, 1, 1) + Duration::from_secs($seconds)
    };
}

/// What a client shows, and what it signs with.
#[derive(Clone)]
struct Shows {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<KeyPair>,
}

/// An authority of an operator's.
struct Pki(CertifiedIssuer<'static, KeyPair>);

impl Pki {
    fn new(name: &str) -> Pki {
        let params = authority(name);
        Pki(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn below(&self, name: &str, serial: u64) -> Pki {
        let mut params = authority(name);
        params.serial_number = Some(serial.into());
        params.use_authority_key_identifier_extension = true;
        Pki(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    fn certify(&self, params: CertificateParams) -> Shows {
        let key = Arc::new(KeyPair::generate().unwrap());
        let certificate = params.signed_by(&*key, &self.0).unwrap();
        Shows {
            chain: vec![certificate.der().clone()],
            key,
        }
    }

    fn client(&self, serial: u64) -> Shows {
        self.certify(client(serial))
    }

    /// What this authority has revoked, good from `begin` to `end`.
    fn list(&self, serials: &[u64], (begin, end): (u64, u64)) -> String {
        let revoked = serials.iter().map(|&serial| RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: at!(begin),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: at!(begin),
            next_update: at!(end),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }

    fn fresh_list(&self, serials: &[u64]) -> String {
        self.list(serials, (NOW - DAY, NOW + DAY))
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A certificate that is as it should be.
fn client(serial: u64) -> CertificateParams {
    named(serial, &[GOOD])
}

fn named(serial: u64, uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial.into());
    let uris = uris.iter();
    params.subject_alt_names = uris
        .map(|uri| SanType::URI((*uri).try_into().unwrap()))
        .collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = at!(NOW - DAY);
    params.not_after = at!(NOW + DAY);
    params
}

/// A node as far as TLS goes, with a tenant `team` and another one.
struct Node {
    directory: TempDir,
    clock: Arc<ManualClock>,
    limits: Limits,
    trust: Arc<ClientTrust>,
    certificate: Arc<ServerCertificate>,
    tenants: Directory,
}

impl Node {
    async fn new(authority: &Pki, revoked: Option<String>) -> Node {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), authority.0.pem()).unwrap();
        let revoked = revoked.map(|list| {
            let path = directory.path().join("revoked.pem");
            fs::write(&path, list).unwrap();
            path
        });
        let files = AuthorityFiles {
            certificates: directory.path().join("ca.pem"),
            revoked,
            may_be_absent: false,
        };
        let clock = ManualClock::at(NOW * 1000);
        let limits = Limits::default();
        let trust = ClientTrust::open(vec![files], clock.clone(), &limits).unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let own = CertifiedKey::from_der(vec![own.cert.der().clone()], key, &provider()).unwrap();
        let storage = Arc::new(RedbStorage::in_memory().unwrap());
        let tenants = Directory::open(storage, clock.clone(), &limits).unwrap();
        let token = Token::generate().unwrap();
        tenants.found(&token).unwrap();
        let operator = tenants.authenticate(&token.expose()).unwrap();
        for name in ["team", "other"] {
            let permit = operator.permit_operate().unwrap();
            let made = tenants
                .create_tenant(&permit, name.parse().unwrap(), SettingsChange::default())
                .await;
            made.unwrap();
        }
        Node {
            directory,
            clock,
            limits,
            trust: Arc::new(trust),
            certificate: Arc::new(ServerCertificate::new(Arc::new(own))),
            tenants,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A handshake, and who it is then. The error is what the client is told.
    async fn meet(&self, shows: Option<&Shows>) -> Result<Option<(Certificate, Watched)>, Told> {
        let clients = Arc::clone(&self.trust);
        let config = server_config(self.certificate.clone(), clients, self.clock.clone()).unwrap();
        let (near, far) = tokio::io::duplex(256 * 1024);
        let server = async {
            let mut stream = TlsAcceptor::from(config).accept(far).await.ok()?;
            stream.write_all(b"x").await.unwrap();
            stream.shutdown().await.unwrap();
            let shown = stream.get_ref().1.peer_certificates();
            Some(shown.map(|chain| self.trust.admit(chain).unwrap()))
        };
        let client = async {
            let name = ServerName::try_from("localhost").unwrap();
            let connector = TlsConnector::from(Arc::new(client_config(shows)));
            let mut stream = connector.connect(name, near).await?;
            stream.read_to_end(&mut Vec::new()).await?;
            let (_, session) = stream.get_ref();
            assert_eq!(session.tls13_tickets_received(), 0);
            assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
            std::io::Result::Ok(())
        };
        let (server, client) = tokio::join!(server, client);
        match client {
            Ok(()) => Ok(server.unwrap()),
            Err(error) => {
                assert!(server.is_none());
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
                match inner {
                    Some(rustls::Error::AlertReceived(alert)) => Err(Told(*alert)),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    async fn refuses(&self, shows: &Shows) -> bool {
        match self.meet(Some(shows)).await {
            Ok(_) => false,
            Err(Told(alert)) => {
                assert_eq!(alert, AlertDescription::AccessDenied);
                true
            }
        }
    }

    /// As whom somebody comes in: `TENANT/ROLE`.
    async fn identity(&self, shows: &Shows) -> Option<String> {
        let (certificate, _watched) = self.meet(Some(shows)).await.ok()??;
        let principal = self
            .tenants
            .admit(None, &Shown::Certificate(certificate))
            .ok()?;
        Some(format!("{}/{}", principal.tenant_name(), principal.role()))
    }
}

#[derive(Debug)]
struct Told(AlertDescription);

/// Believes every server: that is not what is tried here.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn client_config(shows: Option<&Shows>) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting));
    let mut config = match shows {
        None => config.with_no_client_auth(),
        Some(Shows { chain, key }) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let key = provider().key_provider.load_private_key(key).unwrap();
            // Whether key and certificate belong together is for the server to find out.
            let shown = CertifiedKey::new(chain.clone(), key);
            config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
        }
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

#[tokio::test]
async fn a_certificate_is_asked_for_and_need_not_be_there() {
    let pki = Pki::new("one");
    let node = Node::new(&pki, None).await;
    assert!(node.meet(None).await.unwrap().is_none());
    assert_eq!(
        node.identity(&pki.client(7)).await.unwrap(),
        "team/deployer"
    );
    // Nobody who signs, nobody who is asked.
    let nobody = ClientTrust::open(Vec::new(), node.clock.clone(), &node.limits).unwrap();
    let node = Node {
        trust: Arc::new(nobody),
        ..node
    };
    assert!(node.meet(Some(&pki.client(7))).await.unwrap().is_none());
}

#[tokio::test]
async fn whatever_is_wrong_with_a_certificate_its_client_is_told_the_same() {
    let (pki, foreign) = (Pki::new("one"), Pki::new("two"));
    let node = Node::new(&pki, Some(pki.fresh_list(&[13]))).await;
    assert!(!node.refuses(&pki.client(7)).await);

    let with = |change: fn(&mut CertificateParams)| {
        let mut params = client(7);
        change(&mut params);
        pki.certify(params)
    };
    let same_name = Pki::new("one");
    let own_key = Arc::new(KeyPair::generate().unwrap());
    let self_signed = Shows {
        chain: vec![client(7).self_signed(&*own_key).unwrap().der().clone()],
        key: own_key,
    };
    let stolen = Shows {
        key: Arc::new(KeyPair::generate().unwrap()),
        ..pki.client(7)
    };
    let long = {
        let mut shows = pki.client(7);
        shows.chain.resize(64, pki.0.der().clone());
        shows
    };
    let broken = {
        let mut shows = pki.client(7);
        let mut bytes = shows.chain[0].to_vec();
        bytes.truncate(bytes.len() / 2);
        shows.chain = vec![bytes.into()];
        shows
    };
    let altered = {
        let mut shows = pki.client(7);
        let bytes = shows.chain[0].to_vec();
        let from = bytes
            .windows(8)
            .position(|part| part == b"deployer")
            .unwrap();
        let mut bytes = bytes;
        bytes[from..from + 8].copy_from_slice(b"deploier");
        shows.chain = vec![bytes.into()];
        shows
    };
    let refused = [
        ("a foreign authority", foreign.client(7)),
        ("another authority of the same name", same_name.client(7)),
        ("signed by itself", self_signed),
        ("somebody else's key", stolen),
        ("too long", long),
        ("cut off", broken),
        ("altered", altered),
        ("revoked", pki.client(13)),
        ("expired", with(|params| params.not_after = at!(NOW - 1))),
        ("not yet", with(|params| params.not_before = at!(NOW + 1))),
        (
            "a server's",
            with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
        (
            "for no purpose",
            with(|params| params.extended_key_usages.clear()),
        ),
        (
            "for any purpose",
            with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
        ),
        (
            "an authority's",
            with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ),
        (
            "with a critical extension of no known meaning",
            with(|params| {
                let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                unknown.set_criticality(true);
                params.custom_extensions.push(unknown);
            }),
        ),
    ];
    for (what, shows) in refused {
        assert!(node.refuses(&shows).await, "{what}");
    }
    assert!(lock(&node.trust.present).shown.is_empty());
}

#[tokio::test]
async fn certificates_are_good_from_their_first_second_to_their_last() {
    let pki = Pki::new("one");
    let node = Node::new(&pki, None).await;
    let mut params = client(7);
    (params.not_before, params.not_after) = (at!(NOW), at!(NOW + 100));
    let shows = pki.certify(params);
    for (seconds, is_good) in [
        (NOW - 1, false),
        (NOW, true),
        (NOW + 100, true),
        (NOW + 101, false),
    ] {
        node.clock.set(seconds * 1000);
        assert_eq!(!node.refuses(&shows).await, is_good, "{seconds}");
    }
    // And so is a session that began meanwhile.
    node.clock.set(NOW * 1000);
    let (certificate, _watched) = node.meet(Some(&shows)).await.unwrap().unwrap();
    let principal = node
        .tenants
        .admit(None, &Shown::Certificate(certificate))
        .unwrap();
    node.clock.set((NOW + 101) * 1000 - 1);
    assert!(node.tenants.still_valid(&principal));
    node.clock.set((NOW + 101) * 1000);
    assert!(!node.tenants.still_valid(&principal));
}

/// Odd shapes of all that a certificate says about its holder: each maps to one tenant or to nobody.
#[tokio::test]
async fn only_one_name_of_one_form_says_who_somebody_is() {
    let pki = Pki::new("one");
    let node = Node::new(&pki, None).await;
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let mail = |name: &str| SanType::Rfc822Name(name.try_into().unwrap());
    let other = "rpc-host://other/admin/x";
    let accepted = [
        (vec![uri(GOOD)], "team/deployer"),
        (vec![uri(other)], "other/admin"),
        // What else it is called, and in which order, plays no part.
        (
            vec![dns("other"), dns("*.example.com"), uri(GOOD)],
            "team/deployer",
        ),
        (vec![uri(GOOD), mail("admin@other")], "team/deployer"),
        (
            vec![uri(GOOD), dns("rpc-host://other/admin/x")],
            "team/deployer",
        ),
    ];
    for common_name in ["other", "rpc-host://other/admin/x", ""] {
        for (names, expected) in &accepted {
            let mut params = client(7);
            params.subject_alt_names.clone_from(names);
            params
                .distinguished_name
                .push(DnType::CommonName, common_name);
            let identity = node.identity(&pki.certify(params)).await;
            assert_eq!(identity.as_deref(), Some(*expected), "{names:?}");
        }
    }
    let refused = [
        vec![],
        vec![dns("team")],
        vec![uri(GOOD), uri(GOOD)],
        vec![uri(GOOD), uri(other)],
        vec![uri(other), uri(GOOD)],
        vec![uri(GOOD), uri("https://example.com")],
        vec![uri("spiffe://team/deployer/build-7")],
        vec![uri("rpc-host://absent/deployer/build-7")],
        vec![uri("rpc-host://*/deployer/build-7")],
        vec![uri("rpc-host://TEAM/deployer/build-7")],
        vec![uri("RPC-HOST://team/deployer/build-7")],
        vec![uri("rpc-host://team/Admin/build-7")],
        vec![uri("rpc-host://team/root/build-7")],
        vec![uri("rpc-host://team/deployer/build-7/")],
        vec![uri("rpc-host://team/deployer/../../other")],
        vec![uri("rpc-host://team/deployer/build-7\0.example")],
        vec![uri("rpc-host://team\0/deployer/build-7")],
        vec![uri("rpc-host://team/deployer/")],
        vec![uri("rpc-host://team")],
        vec![uri("")],
    ];
    for names in refused {
        let mut params = client(7);
        params.subject_alt_names.clone_from(&names);
        params.distinguished_name.push(DnType::CommonName, GOOD);
        assert_eq!(node.identity(&pki.certify(params)).await, None, "{names:?}");
    }
    // Two lists of names, or one that is no list.
    let subject_alternative_name = [2, 5, 29, 17];
    for content in [
        vec![0x30, 0x00],
        vec![0x04, 0x00],
        vec![0x30, 0x03, 0x86, 0x01, 0xff],
    ] {
        let mut params = client(7);
        let twice = CustomExtension::from_oid_content(&subject_alternative_name, content.clone());
        params.custom_extensions.push(twice.clone());
        assert_eq!(node.identity(&pki.certify(params.clone())).await, None);
        params.subject_alt_names.clear();
        assert_eq!(
            node.identity(&pki.certify(params)).await,
            None,
            "{content:?}"
        );
    }
    // A serial number that is none.
    let mut params = client(7);
    params.serial_number = Some(SerialNumber::from_slice(&[0x11; 40]));
    assert_eq!(node.identity(&pki.certify(params)).await, None);
}

#[tokio::test]
async fn revocation_fails_closed() {
    let pki = Pki::new("one");
    let node = Node::new(&pki, Some(pki.fresh_list(&[]))).await;
    let shows = pki.client(7);
    assert!(!node.refuses(&shows).await);
    // A second before the list is out of date, and from then on.
    node.clock.set((NOW + DAY) * 1000 - 1);
    assert!(!node.refuses(&shows).await);
    node.clock.set((NOW + DAY) * 1000);
    assert!(node.refuses(&shows).await);
    // A list that is out of date is believed all the same, in what it says.
    node.trust.reload().unwrap();
    assert!(node.refuses(&shows).await);
    node.clock.set(NOW * 1000);
    assert!(!node.refuses(&shows).await);

    // An authority below another has to have a list, too, and may itself be revoked.
    let below = pki.below("below", 21);
    let through = |authority: &Pki| {
        let mut shows = authority.client(7);
        shows.chain.push(authority.0.der().clone());
        shows
    };
    let shows = through(&below);
    assert!(node.refuses(&shows).await, "nothing is known of it");
    let both = pki.fresh_list(&[]) + &below.fresh_list(&[]);
    fs::write(node.path("revoked.pem"), &both).unwrap();
    node.trust.reload().unwrap();
    assert!(!node.refuses(&shows).await);
    let both = pki.fresh_list(&[21]) + &below.fresh_list(&[]);
    fs::write(node.path("revoked.pem"), &both).unwrap();
    node.trust.reload().unwrap();
    assert!(node.refuses(&shows).await);
    assert!(!node.refuses(&pki.client(7)).await);
}

/// Each bad file leaves all as it was, and is no reason to be without revocation.
#[tokio::test]
async fn a_bad_file_keeps_what_was_there() {
    let (pki, foreign) = (Pki::new("one"), Pki::new("two"));
    let namesake = Pki::new("one");
    let node = Node::new(&pki, Some(pki.fresh_list(&[13]))).await;
    let good = pki.fresh_list(&[13]);
    let der = CertificateRevocationListDer::from_pem_slice(good.as_bytes()).unwrap();
    let armoured = |bytes: &[u8]| pem("X509 CRL", bytes);
    let unsigned = without_signature(&der);
    let lists = [
        ("empty", String::new()),
        ("text", "nonsense".to_owned()),
        ("cut off", good[..good.len() / 2].to_owned()),
        ("no list", pki.0.pem()),
        ("somebody else's", foreign.fresh_list(&[])),
        ("a namesake's", namesake.fresh_list(&[])),
        (
            "one good and a namesake's",
            good.clone() + &namesake.fresh_list(&[]),
        ),
        ("no encoding", armoured(b"nonsense")),
        ("cut off within", armoured(&der[..der.len() - 10])),
        ("without a signature", armoured(&unsigned)),
    ];
    let certificates = [
        ("empty", String::new()),
        ("text", "nonsense".to_owned()),
        ("cut off", pki.0.pem()[..100].to_owned()),
        ("no certificate", pem("CERTIFICATE", b"nonsense")),
        ("a list", good.clone()),
    ];
    let same_as_before = async || {
        assert!(!node.refuses(&pki.client(7)).await);
        assert!(node.refuses(&pki.client(13)).await);
        assert!(node.refuses(&foreign.client(7)).await);
    };
    for (what, bad) in lists {
        fs::write(node.path("revoked.pem"), bad).unwrap();
        let error = node.trust.reload().expect_err(what).to_string();
        assert!(error.contains("revoked.pem is damaged"), "{error}");
        same_as_before().await;
        // Nor does a node begin with it.
        let files = node.trust.files.clone();
        assert!(ClientTrust::open(files, node.clock.clone(), &node.limits).is_err());
    }
    fs::remove_file(node.path("revoked.pem")).unwrap();
    node.trust.reload().unwrap_err();
    same_as_before().await;
    fs::write(node.path("revoked.pem"), &good).unwrap();
    for (what, bad) in certificates {
        fs::write(node.path("ca.pem"), bad).unwrap();
        let error = node.trust.reload().expect_err(what).to_string();
        assert!(error.contains("ca.pem is damaged"), "{error}");
        same_as_before().await;
    }
    fs::remove_file(node.path("ca.pem")).unwrap();
    node.trust.reload().unwrap_err();
    same_as_before().await;
    fs::write(node.path("ca.pem"), pki.0.pem()).unwrap();
    assert_eq!(node.trust.reload().unwrap(), 0);
    same_as_before().await;
}

fn pem(label: &str, bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place > three.len() {
                '='
            } else {
                digit.into()
            });
        }
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// The same list with a signature of no bits.
fn without_signature(list: &[u8]) -> Vec<u8> {
    // SEQUENCE { list, algorithm, BIT STRING }, each with a length; the first two stay.
    let (_, outer) = element(list);
    let (first, _) = element(outer);
    let (second, _) = element(&outer[first..]);
    let content = [&outer[..first + second], &[3, 1, 0]].concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82], &length[..], &content].concat()
}

/// How long an element of DER is, and what is in it.
fn element(der: &[u8]) -> (usize, &[u8]) {
    let (head, length) = match der[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
        other => panic!("{other:#x}"),
    };
    (head + length, &der[head..head + length])
}

#[tokio::test]
async fn a_reload_ends_those_who_could_not_come_in_now() {
    let (pki, next) = (Pki::new("one"), Pki::new("two"));
    let node = Node::new(&pki, Some(pki.fresh_list(&[]))).await;
    let enter = async |shows: &Shows| {
        let (certificate, watched) = node.meet(Some(shows)).await.unwrap().unwrap();
        let principal = node
            .tenants
            .admit(None, &Shown::Certificate(certificate))
            .unwrap();
        (principal, watched)
    };
    let (stays, _watched) = enter(&pki.client(7)).await;
    let (goes, _watched_too) = enter(&pki.client(13)).await;
    let (left, watched_no_more) = enter(&pki.client(13)).await;
    drop(watched_no_more);
    assert_eq!(lock(&node.trust.present).shown.len(), 2);
    fs::write(node.path("revoked.pem"), pki.fresh_list(&[13])).unwrap();
    assert!(node.tenants.still_valid(&goes));
    assert_eq!(node.trust.reload().unwrap(), 1);
    assert!(!node.tenants.still_valid(&goes));
    assert!(node.tenants.still_valid(&stays));
    assert!(node.tenants.still_valid(&left), "nobody is left to notice");
    assert!(node.refuses(&pki.client(13)).await);

    // An authority that is gone takes all of its own along; one that came lets its own in.
    fs::write(node.path("ca.pem"), next.0.pem()).unwrap();
    fs::write(node.path("revoked.pem"), next.fresh_list(&[])).unwrap();
    assert_eq!(node.trust.reload().unwrap(), 1);
    assert!(!node.tenants.still_valid(&stays));
    let (newcomer, _watched) = enter(&next.client(7)).await;
    // And so does time, without any file.
    node.clock.set((NOW + DAY + 1) * 1000);
    assert_eq!(node.trust.verify_again(), 1);
    node.clock.set(NOW * 1000);
    assert!(!node.tenants.still_valid(&newcomer), "for good");
}

/// Files change under load, every tenth time to something broken, and nobody whose certificate is good
/// is turned away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_good_comes_in_while_the_files_change() {
    let pki = Pki::new("one");
    let node = Node::new(&pki, Some(pki.fresh_list(&[13]))).await;
    let (good, bad) = (pki.client(7), pki.client(13));
    let is_over = AtomicBool::new(false);
    let load = async |shows: &Shows, is_good: bool| {
        let mut met = 0;
        while !is_over.load(Ordering::Relaxed) || met == 0 {
            assert_eq!(!node.refuses(shows).await, is_good);
            met += 1;
            tokio::task::yield_now().await;
        }
        met
    };
    let swaps = async {
        let trust = Arc::clone(&node.trust);
        let path = node.path("revoked.pem");
        let lists: Vec<String> = (0..10)
            .map(|number| pki.fresh_list(&[13, 100 + number]))
            .collect();
        let swap = tokio::task::spawn_blocking(move || {
            let mut refused = 0;
            for round in 0..300 {
                let list = &lists[round % lists.len()];
                let is_broken = round % 10 == 9;
                let text = if is_broken { &list[..200] } else { list };
                crate::storage::file::replace(
                    &path,
                    text.as_bytes(),
                    crate::storage::file::Access::Private,
                )
                .unwrap();
                let outcome = trust.reload();
                assert_eq!(outcome.is_err(), is_broken);
                refused += u32::from(is_broken);
            }
            refused
        });
        let refused = swap.await.unwrap();
        is_over.store(true, Ordering::Relaxed);
        refused
    };
    let (refused, came_in, stayed_out) = tokio::join!(swaps, load(&good, true), load(&bad, false));
    assert_eq!(refused, 30);
    assert!(came_in > 0 && stayed_out > 0);
}
