//! Clients and servers with certificates of the operator's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rpc_host_client::{Client, Error, ErrorCode, Options, Profile};
use rpc_host_tests::{Certified, HostOptions, Pki, RawPeer, TestHost, TestTenant, built, in_time};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::failure;

/// The files lie in a directory of their own, as a node has no right to read any other.
fn options(pki: &Pki) -> HostOptions {
    HostOptions::new()
        .file("pki/ca.pem", pki.ca_pem())
        .file("pki/revoked.pem", pki.revoked(&[13]))
        .table("[client-certificates]\nauthority = \"pki/ca.pem\"\nrevoked = \"pki/revoked.pem\"\n")
}

/// A profile with a certificate and, if one is given, a token.
fn profile(host: &TestHost, certified: &Certified, token: Option<&str>) -> Profile {
    let Certified {
        certificate_pem,
        key_pem,
    } = certified;
    let profile = Profile::new(host.address())
        .server_name("localhost")
        .ca_pem(host.ca_pem())
        .certificate_pem(certificate_pem, key_pem);
    match token {
        Some(token) => profile.token(token),
        None => profile,
    }
}

/// Puts a file in the place of another, as those do that renew certificates.
fn replace(host: &TestHost, name: &str, content: &str) {
    let unfinished = host.file(&format!("{name}.new"), content);
    std::fs::rename(unfinished, host.directory().join(name)).unwrap();
}

/// Asks the node to read its files anew, and waits for what it says of them.
async fn reload(host: &TestHost, says: &str) {
    let before = times(host, says);
    host.signal("HUP").await;
    let log = host.log();
    log.line(says, |_| times(host, says) > before).await;
}

fn times(host: &TestHost, says: &str) -> usize {
    let lines = host.log().lines();
    lines
        .iter()
        .filter(|line| line.message().contains(says))
        .count()
}

const READ: &str = "the authorities of clients: read anew";
const KEPT: &str = "the authorities of clients: as before";

#[tokio::test]
async fn a_certificate_does_what_a_token_does_and_is_named_where_a_token_is() {
    let pki = Pki::new("one");
    let host = TestHost::start_with(options(&pki)).await;
    let tenant = host.tenant().await;
    let held = pki.client(&format!("{}/deployer/build-7", tenant.name), 7);
    let client = Client::connect(profile(&host, &held, None)).await.unwrap();
    let module = client.upload_module(built("calc")).await.unwrap();
    client
        .register("calc", &module, Options::default())
        .await
        .unwrap();
    let sum: i64 = client.module("calc").call("add", (2, 3)).await.unwrap();
    assert_eq!(sum, 5);
    let made = client.show("calc").await.unwrap().current.created_by;
    assert_eq!(made, "certificate:build-7:07");
    // Its role is what it says, no more.
    let refused = failure(client.token_list(None).await);
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    let log = host.log();
    let line = log.line("a session begins", |line| {
        line.field("credential") == "certificate:build-7:07"
    });
    assert_eq!(line.await.message(), "session begins");

    // From the command line, with files beside the profile.
    host.file("me.pem", &held.certificate_pem);
    host.file("me.key", &held.key_pem);
    let mut table = host.client_profile();
    table.remove("token");
    table.insert("certificate".to_owned(), "me.pem".into());
    table.insert("key".to_owned(), "me.key".into());
    let file = host.file("me.toml", table.to_string());
    let show = host.cli(["call", "calc", "add(2, 3)"]);
    let show = show.env("RPC_HOST_PROFILE", &file).run().await;
    assert_eq!(show.ok(), "5");

    // What it made is there after a restart, and says so.
    drop(client);
    host.kill().await;
    host.start_again().await;
    let client = Client::connect(profile(&host, &held, None)).await.unwrap();
    let made = client.show("calc").await.unwrap().current.created_by;
    assert_eq!(made, "certificate:build-7:07");
}

#[tokio::test]
async fn what_a_client_shows_belongs_together_or_it_stays_out() {
    let (pki, foreign) = (Pki::new("one"), Pki::new("two"));
    let host = TestHost::start_with(options(&pki)).await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    let held = |role: &str, serial| pki.client(&format!("{}/{role}/x", one.name), serial);
    let enter = async |held: &Certified, token: Option<&str>| {
        Client::connect(profile(&host, held, token)).await
    };
    let role = async |held: &Certified, token: &str| {
        let client = enter(held, Some(token)).await.unwrap();
        // A caller may not list tokens, an admin may.
        client.token_list(None).await.is_ok()
    };
    assert!(role(&held("admin", 7), &one.token).await);
    assert!(!role(&held("caller", 7), &one.token).await);
    let caller = one.token("caller").await;
    assert!(!role(&held("admin", 7), &caller).await);

    let one_answer = async |held: Certified, token: Option<&str>| {
        let refused = enter(&held, token).await.unwrap_err();
        assert!(matches!(refused, Error::Unauthenticated(_)), "{refused:?}");
        failure::<Client>(Err(refused))
    };
    // In the handshake: the certificate alone is at fault, and no token makes up for it.
    let in_tls = [
        one_answer(held("admin", 13), None).await,
        one_answer(held("admin", 13), Some(&one.token)).await,
        one_answer(foreign.client(&format!("{}/admin/x", one.name), 7), None).await,
        one_answer(pki.server("localhost", 7), Some(&one.token)).await,
    ];
    assert!(in_tls.iter().all(|failure| *failure == in_tls[0]));
    assert!(in_tls[0].message.contains("did not accept the certificate"));
    // In the hello: the same as for a bad token.
    let in_hello = [
        one_answer(held("admin", 7), Some(&other.token)).await,
        one_answer(held("admin", 7), Some("x")).await,
        one_answer(held("root", 7), None).await,
        one_answer(held("root", 7), Some(&one.token)).await,
        one_answer(pki.client("nobody/admin/x", 7), None).await,
        one_answer(pki.client("nobody/admin/x", 7), Some(&one.token)).await,
        failure(Client::connect(host.profile("x")).await),
    ];
    for failure in &in_hello {
        assert_eq!(failure, &in_hello[6]);
    }
    // A tenant that goes takes those along who came in by certificate.
    let client = enter(&held("admin", 7), None).await.unwrap();
    client.list().await.unwrap();
    host.client().await.tenant_remove(&one.name).await.unwrap();
    let gone = failure(client.list().await);
    assert_eq!(gone.code, ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn without_an_authority_no_certificate_is_asked_for() {
    let pki = Pki::new("one");
    let host = TestHost::shared().await;
    let held = pki.client("default/admin/x", 7);
    let refused = Client::connect(profile(&host, &held, None)).await;
    assert_eq!(failure(refused).code, ErrorCode::Unauthenticated);
    let token = host.admin_token();
    let client = Client::connect(profile(&host, &held, Some(&token))).await;
    client.unwrap().list().await.unwrap();
}

#[tokio::test]
async fn what_is_revoked_ends_when_the_files_are_read_anew_and_nothing_else_does() {
    let (pki, next) = (Pki::new("one"), Pki::new("two"));
    let host = TestHost::start_with(options(&pki)).await;
    let tenant = host.tenant().await;
    let held = |serial| pki.client(&format!("{}/caller/x", tenant.name), serial);
    let connect = async |held: &Certified| Client::connect(profile(&host, held, None)).await;
    let (stays, goes) = (held(7), held(8));
    let (staying, going) = (
        connect(&stays).await.unwrap(),
        connect(&goes).await.unwrap(),
    );
    going.list().await.unwrap();
    replace(&host, "pki/revoked.pem", &pki.revoked(&[13, 8]));
    // Until it is told, the node knows nothing of it.
    going.list().await.unwrap();
    reload(&host, READ).await;
    assert_eq!(failure(going.list().await).code, ErrorCode::Unauthenticated);
    assert_eq!(
        failure(connect(&goes).await).code,
        ErrorCode::Unauthenticated
    );
    staying.list().await.unwrap();
    tenant.client.list().await.unwrap();

    // Bad files change nothing, and are told.
    for (name, bad) in [
        ("pki/revoked.pem", next.revoked(&[])),
        ("pki/revoked.pem", "nonsense".to_owned()),
        ("pki/ca.pem", String::new()),
    ] {
        let good = std::fs::read_to_string(host.directory().join(name)).unwrap();
        replace(&host, name, &bad);
        reload(&host, KEPT).await;
        staying.list().await.unwrap();
        connect(&stays).await.unwrap().list().await.unwrap();
        assert_eq!(
            failure(connect(&goes).await).code,
            ErrorCode::Unauthenticated
        );
        replace(&host, name, &good);
    }
    let log = host.log();
    let line = log.line("an alarm", |line| line.message().contains(KEPT));
    let line = line.await;
    assert_eq!(line.level(), "ERROR");
    assert!(line.field("error").contains("revoked.pem"), "{line:?}");

    // Another authority in the place of the first.
    replace(&host, "pki/ca.pem", &next.ca_pem());
    replace(&host, "pki/revoked.pem", &next.revoked(&[]));
    reload(&host, READ).await;
    assert_eq!(
        failure(staying.list().await).code,
        ErrorCode::Unauthenticated
    );
    let newcomer = next.client(&format!("{}/caller/x", tenant.name), 7);
    connect(&newcomer).await.unwrap().list().await.unwrap();
    tenant.client.list().await.unwrap();
}

/// A hundred times, every tenth broken, while clients come and go.
#[tokio::test]
async fn nobody_who_is_good_is_turned_away_while_files_are_replaced() {
    let pki = Pki::new("one");
    let host = TestHost::start_with(options(&pki)).await;
    let tenant = host.tenant().await;
    let good = pki.client(&format!("{}/caller/x", tenant.name), 7);
    let revoked = pki.client(&format!("{}/caller/x", tenant.name), 13);
    let is_over = Arc::new(AtomicBool::new(false));
    let load = |held: Certified, is_good: bool| {
        let (profile, is_over) = (profile(&host, &held, None), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut met: u32 = 0;
            while !is_over.load(Ordering::Relaxed) {
                match Client::connect(profile.clone()).await {
                    Ok(client) if is_good => client.list().await.map(drop).unwrap(),
                    Err(Error::Unauthenticated(_)) if !is_good => {}
                    other => panic!("{other:?}"),
                }
                met += 1;
            }
            met
        })
    };
    // Few enough of the revoked that their address is not slowed down.
    let (first, second) = (load(good.clone(), true), load(good, true));
    for round in 0..100 {
        let list = pki.revoked(&[13, 100 + round]);
        if round % 10 == 9 {
            replace(&host, "pki/revoked.pem", &list[..100]);
            reload(&host, KEPT).await;
            let outcome = Client::connect(profile(&host, &revoked, None)).await;
            assert_eq!(failure(outcome).code, ErrorCode::Unauthenticated);
        } else {
            replace(&host, "pki/revoked.pem", &list);
            reload(&host, READ).await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let met = first.await.unwrap() + second.await.unwrap();
    assert!(met > 10, "{met}");
    assert_eq!((times(&host, READ), times(&host, KEPT)), (90, 10));
}

#[tokio::test]
async fn an_operators_server_certificate_is_shown_under_its_names_and_replaced_in_flight() {
    let pki = Pki::new("one");
    let shown = pki.server("node.example.com", 1);
    let options = HostOptions::new()
        .file("tls/chain.pem", &shown.certificate_pem)
        .file("tls/key.pem", &shown.key_pem)
        .table("[server-certificate]\ncertificate = \"tls/chain.pem\"\nkey = \"tls/key.pem\"\n");
    let host = TestHost::start_with(options).await;
    let token = host.admin_token();
    let connect = async |ca: &str, name: &str| {
        let profile = Profile::new(host.address()).ca_pem(ca).token(&token);
        Client::connect(profile.server_name(name)).await
    };
    let client = connect(&pki.ca_pem(), "node.example.com").await.unwrap();
    let own = host.client().await;
    assert!(matches!(
        connect(&host.ca_pem(), "node.example.com").await,
        Err(Error::Tls { .. })
    ));
    let next = Pki::new("two");
    let renewed = next.server("node.example.com", 2);
    // The key alone is half of it.
    replace(&host, "tls/key.pem", &renewed.key_pem);
    reload(&host, "the operator's server certificate: as before").await;
    connect(&pki.ca_pem(), "node.example.com").await.unwrap();
    replace(&host, "tls/chain.pem", &renewed.certificate_pem);
    reload(&host, "the operator's server certificate: read anew").await;
    connect(&next.ca_pem(), "node.example.com").await.unwrap();
    assert!(connect(&pki.ca_pem(), "node.example.com").await.is_err());
    // Who is connected stays so.
    client.list().await.unwrap();
    own.list().await.unwrap();
    host.client().await.list().await.unwrap();
}

/// Of the files beside the data directory, a confined node reads those that it was told of.
#[tokio::test]
async fn a_node_does_not_start_with_files_that_are_no_good() {
    let pki = Pki::new("one");
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("ca.pem", &pki.ca_pem());
    write("other.pem", &Pki::new("two").revoked(&[]));
    for (table, says) in [
        ("authority = 'absent.pem'", "absent.pem is damaged"),
        ("authority = 'other.pem'", "other.pem is damaged"),
        (
            "authority = 'ca.pem'\nrevoked = 'absent.pem'",
            "absent.pem is damaged",
        ),
        (
            "authority = 'ca.pem'\nrevoked = 'other.pem'",
            "it lacks the list of an authority",
        ),
    ] {
        write("node.toml", &format!("[client-certificates]\n{table}\n"));
        let said = serve(directory.path()).await;
        assert!(said.contains(says), "{said}");
    }
}

async fn serve(directory: &Path) -> String {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--config", "node.toml"];
    let output = rpc_host_tests::Cli::new(directory, arguments).run().await;
    output.failed(1).to_owned()
}

#[tokio::test]
async fn whoever_fails_often_is_answered_late_and_then_not_at_all() {
    let options = HostOptions::new().limit("max-failed-authentications-per-minute-per-address", 4);
    let host = TestHost::start_with(options).await;
    let tenant: TestTenant = host.tenant().await;
    let fail = async || {
        let began = Instant::now();
        let mut peer = RawPeer::connect(&host).await;
        let refused = peer.enter(Some("x")).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unauthenticated);
        assert!(peer.next().await.is_none(), "the connection ends");
        began.elapsed()
    };
    // At once, however slow the machine: nobody waits for these.
    for _ in 0..4 {
        fail().await;
    }
    // Those who know who they are are not slowed down.
    Client::connect(tenant.profile()).await.unwrap();
    let (first, second, third) = tokio::join!(fail(), fail(), fail());
    for late in [first, second, third] {
        assert!(late >= Duration::from_secs(3), "{late:?}");
    }
    fail().await;
    // Before TLS, and without a byte.
    let mut stream = TcpStream::connect(host.address()).await.unwrap();
    let read = in_time("the end", stream.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    // Sessions that are open know nothing of it.
    tenant.client.list().await.unwrap();
}

#[tokio::test]
async fn so_many_connections_a_minute_come_from_one_address() {
    let options = HostOptions::new().limit("max-connections-per-minute-per-address", 5);
    let host = TestHost::start_with(options).await;
    let client = host.client().await;
    for _ in 0..4 {
        RawPeer::connect(&host).await;
    }
    let mut stream = TcpStream::connect(host.address()).await.unwrap();
    let read = in_time("the end", stream.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    client.list().await.unwrap();
}
