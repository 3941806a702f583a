use std::fs;

use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::clock::{SystemClock, WallClock as _};
use crate::transport::{ClientTrust, ServerFiles, server_config};
use rpc_host_protocol::ALPN;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Node {
    directory: TempDir,
    files: IdentityFiles,
}

fn node() -> Node {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let files = IdentityFiles {
        authority_key: path.join("ca.key"),
        authority_certificate: path.join("ca.pem"),
        server: path.join("server.pem"),
    };
    Node { directory, files }
}

/// In 2026.
fn now() -> Timestamp {
    Timestamp::from_unix_ms(1_795_000_000_000)
}

impl Node {
    fn open(&self, names: &[&str], now: Timestamp) -> Result<NodeIdentity, IdentityError> {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        NodeIdentity::open(&self.files, names, now)
    }

    fn server_pem(&self) -> String {
        fs::read_to_string(&self.files.server).unwrap()
    }
}

fn server_der(identity: &NodeIdentity) -> CertificateDer<'static> {
    identity
        .certificate()
        .get()
        .end_entity_cert()
        .unwrap()
        .clone()
        .into_owned()
}

/// Without any authority that signs for clients.
fn nobody() -> Arc<ClientTrust> {
    let limits = crate::config::Limits::default();
    Arc::new(ClientTrust::open(Vec::new(), Arc::new(SystemClock), &limits).unwrap())
}

struct Met {
    version: Option<rustls::ProtocolVersion>,
    alpn: Option<Vec<u8>>,
    shown: CertificateDer<'static>,
    tickets: u32,
}

/// A handshake of a client that trusts the authority, with one byte back so that tickets, if any,
/// have arrived.
async fn meet(identity: &NodeIdentity, name: &str, alpn: &[u8]) -> std::io::Result<Met> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(identity.authority_pem().as_bytes()).unwrap())
        .unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![alpn.to_vec()];
    let acceptor = TlsAcceptor::from(
        server_config(identity.certificate(), nobody(), Arc::new(SystemClock)).unwrap(),
    );
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = async {
        let mut stream = acceptor.accept(far).await?;
        stream.write_all(b"x").await?;
        stream.shutdown().await
    };
    let name = pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let client = async {
        let mut stream = connector.connect(name, near).await?;
        stream.read_to_end(&mut Vec::new()).await?;
        let (_, session) = stream.get_ref();
        Ok(Met {
            version: session.protocol_version(),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            shown: session.peer_certificates().unwrap()[0].clone().into_owned(),
            tickets: session.tls13_tickets_received(),
        })
    };
    let (server, client) = tokio::join!(server, client);
    server.and(client)
}

#[tokio::test]
async fn only_tls_1_3_our_protocol_and_nothing_to_resume() {
    use crate::clock::WallClock;
    let node = node();
    let names = ["localhost", "127.0.0.1", "::1", "node.example.com"];
    let identity = node.open(&names, SystemClock.now()).unwrap();
    for name in names {
        let met = meet(&identity, name, ALPN).await.unwrap();
        assert_eq!(met.version, Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(met.alpn.as_deref(), Some(ALPN));
        assert_eq!(met.tickets, 0);
        assert_eq!(met.shown, server_der(&identity));
    }
    assert!(meet(&identity, "localhost", b"h2").await.is_err());
    assert!(meet(&identity, "example.com", ALPN).await.is_err());
}

#[test]
fn an_identity_that_is_good_stays() {
    let node = node();
    let first = node.open(&["localhost"], now()).unwrap();
    let (authority, server) = (first.authority_pem().to_owned(), node.server_pem());
    let later = node.open(&["localhost"], now().plus(DAY * 300)).unwrap();
    assert_eq!(
        (later.authority_pem(), node.server_pem()),
        (authority.as_str(), server)
    );
    assert!(!later.renew_if_due(now().plus(DAY * 300)).unwrap());
}

#[test]
fn a_certificate_is_renewed_before_it_ends_at_start_and_while_serving() {
    let node = node();
    let serving = node.open(&["localhost"], now()).unwrap();
    let (first, authority) = (server_der(&serving), serving.authority_pem().to_owned());
    let near_the_end = now().plus(DAY * 370);
    assert!(serving.renew_if_due(near_the_end).unwrap());
    let second = server_der(&serving);
    assert_ne!(first, second);
    assert!(!serving.renew_if_due(near_the_end).unwrap());
    let restarted = node
        .open(&["localhost"], near_the_end.plus(DAY * 370))
        .unwrap();
    assert_ne!(server_der(&restarted), second);
    assert_eq!(restarted.authority_pem(), authority);
}

#[test]
fn another_name_needs_another_certificate_of_the_same_authority() {
    let node = node();
    let first = node.open(&["localhost"], now()).unwrap();
    let second = node
        .open(&["localhost", "node.example.com"], now())
        .unwrap();
    assert_ne!(server_der(&first), server_der(&second));
    assert_eq!(first.authority_pem(), second.authority_pem());
    // Fewer names are covered by what is there.
    let third = node.open(&["localhost"], now()).unwrap();
    assert_eq!(server_der(&second), server_der(&third));
}

#[test]
fn what_a_crash_left_out_is_made_and_what_is_damaged_is_told() {
    let node = node();
    node.open(&["localhost"], now()).unwrap();
    // Between the two files of the authority.
    fs::remove_file(&node.files.authority_certificate).unwrap();
    fs::remove_file(&node.files.server).unwrap();
    node.open(&["localhost"], now()).unwrap();
    // A server certificate is nothing that anybody has to restore.
    fs::write(&node.files.server, "nonsense").unwrap();
    let made = node.open(&["localhost"], now()).unwrap();
    assert!(is_good(&made.verifier, &made.current.get(), &made.names, now()).is_ok());
    // An authority is.
    let key = fs::read(&node.files.authority_key).unwrap();
    fs::remove_file(&node.files.authority_key).unwrap();
    let lost = node.open(&["localhost"], now()).unwrap_err();
    assert!(matches!(lost, IdentityError::KeyLost { .. }), "{lost}");
    fs::write(&node.files.authority_key, "nonsense").unwrap();
    let damaged = node.open(&["localhost"], now()).unwrap_err();
    assert!(
        matches!(damaged, IdentityError::Damaged { .. }),
        "{damaged}"
    );
    fs::write(&node.files.authority_key, key).unwrap();
    node.open(&["localhost"], now()).unwrap();
    assert!(node.directory.path().exists());
}

#[test]
fn an_authority_of_two_halves_is_found_out_before_any_client() {
    let [node, other] = [(); 2].map(|()| node());
    node.open(&["localhost"], now()).unwrap();
    other.open(&["localhost"], now()).unwrap();
    fs::copy(
        &other.files.authority_certificate,
        &node.files.authority_certificate,
    )
    .unwrap();
    assert!(node.open(&["localhost"], now()).is_err());
}

#[test]
fn keys_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let node = node();
    node.open(&["localhost"], now()).unwrap();
    for path in [&node.files.authority_key, &node.files.server] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

/// An operator's certificate for these names, in two files.
fn operators(directory: &Path, names: &[&str]) -> (ServerFiles, String) {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let files = ServerFiles {
        certificate: directory.join("operators.pem"),
        key: directory.join("operators.key"),
    };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.pem())
}

#[tokio::test]
async fn an_operators_certificate_is_shown_to_those_who_ask_for_its_names() {
    let node = node();
    let now = SystemClock.now();
    let identity = node.open(&["localhost", "node.example.com"], now).unwrap();
    let names = ["node.example.com", "*.apps.example.com", "localhost"];
    let (files, pem) = operators(node.directory.path(), &names);
    identity.certificate().load(&files, now).unwrap();
    // To the local names the node itself answers, as its profile says.
    let own = meet(&identity, "localhost", ALPN).await.unwrap();
    assert_eq!(own.shown, server_der(&identity));
    let shown = |name: &str| identity.certificate().operators(name).is_some();
    assert!(shown("node.example.com") && shown("one.apps.example.com"));
    for other in [
        "localhost",
        "127.0.0.1",
        "example.com",
        "apps.example.com",
        "",
    ] {
        assert!(!shown(other), "{other}");
    }
    // Whoever believes the node's own authority alone is told so by its own TLS.
    assert!(meet(&identity, "node.example.com", ALPN).await.is_err());

    // What is bad leaves what was there.
    let present = identity
        .certificate()
        .operators("node.example.com")
        .unwrap();
    let (_, other) = operators(node.directory.path(), &["node.example.com"]);
    let key = fs::read_to_string(&files.key).unwrap();
    let bad = [
        (pem.clone(), key.clone()),
        (other[..200].to_owned(), key.clone()),
        (String::new(), key.clone()),
        (key.clone(), key.clone()),
        (other.clone(), String::new()),
        (other.clone(), "nonsense".to_owned()),
    ];
    for (certificate, key) in bad {
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, &key).unwrap();
        let refused = identity.certificate().load(&files, now).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("operators."), "{text}");
        let still = identity.certificate().operators("node.example.com");
        assert!(Arc::ptr_eq(&still.unwrap(), &present));
    }
    fs::write(&files.certificate, other).unwrap();
    fs::write(&files.key, key).unwrap();
    let after_its_end = Timestamp::from_unix_ms(u64::MAX / 2);
    assert!(identity.certificate().load(&files, after_its_end).is_err());
    identity.certificate().load(&files, now).unwrap();
    let renewed = identity.certificate().operators("node.example.com");
    assert!(!Arc::ptr_eq(&renewed.unwrap(), &present));
}
