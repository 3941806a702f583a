//! Who may speak to a node, and how.

use std::io;

use rpc_host_client::{Client, Error, ErrorCode};
use rpc_host_protocol::ALPN;
use rpc_host_tests::{RawPeer, TestHost, in_time, tls_connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

static TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

#[tokio::test]
async fn the_certificate_is_for_the_local_names() {
    let host = TestHost::shared().await;
    for name in ["localhost", "127.0.0.1", "::1"] {
        tls_connect(&host, &[ALPN], TLS13, name).await.unwrap();
    }
    let refused = tls_connect(&host, &[ALPN], TLS13, "example.com").await;
    assert!(refused.unwrap_err().to_string().contains("certificate"));
}

#[tokio::test]
async fn a_host_with_another_authority_is_not_believed() {
    let (host, other) = (TestHost::shared().await, TestHost::start().await);
    let profile = host.profile(&host.admin_token()).ca_pem(other.ca_pem());
    let refused = Client::connect(profile).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused:?}");
    let wrong_name = host.profile(&host.admin_token()).server_name("example.com");
    let refused = Client::connect(wrong_name).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused:?}");
    assert_eq!(refused.code(), ErrorCode::Unavailable);
}

#[tokio::test]
async fn only_tls_1_3_with_our_protocol_is_spoken() {
    let host = TestHost::shared().await;
    // Each is a connection on which the node never says anything.
    let silent = async |alpn: &[&[u8]], versions: &[&'static rustls::SupportedProtocolVersion]| {
        let stream = tls_connect(&host, alpn, versions, "localhost").await;
        let mut stream = match stream {
            Err(error) => return error.kind() != io::ErrorKind::TimedOut,
            Ok(stream) => stream,
        };
        let mut byte = [0];
        !matches!(in_time("the end", stream.read(&mut byte)).await, Ok(1))
    };
    assert!(silent(&[b"h2"], TLS13).await);
    assert!(silent(&[b"rpc-host/2", b"http/1.1"], TLS13).await);
    assert!(silent(&[], TLS13).await, "a peer that names no protocol");
    RawPeer::welcomed(&host, &host.admin_token()).await;
}

#[tokio::test]
async fn plaintext_gets_no_answer_that_is_not_tls() {
    let host = TestHost::shared().await;
    let mut stream = TcpStream::connect(host.address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _reset = in_time("the end", stream.read_to_end(&mut answer)).await;
    // At most an alert of TLS.
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    host.client().await.list().await.unwrap();
}

#[tokio::test]
async fn every_bad_token_gets_one_answer() {
    let host = TestHost::shared().await;
    let good = host.admin_token();
    let mut parts = good.splitn(3, '_');
    let (mark, id, secret) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let last = if secret.ends_with('0') { '1' } else { '0' };
    let bad = [
        None,
        Some(String::new()),
        Some("x".to_owned()),
        Some("x".repeat(2000)),
        Some(format!("{mark}_{id}")),
        Some(format!("{mark}_{id}_")),
        Some(format!("{mark}_{id}_{}{last}", &secret[..secret.len() - 1])),
        Some(format!("{mark}_0000000000000000_{secret}")),
        Some(format!("{good}_")),
        Some(format!(" {good}")),
    ];
    let mut answers = Vec::new();
    for token in bad {
        let mut peer = RawPeer::connect(&host).await;
        answers.push(peer.enter(token.as_deref()).await.unwrap_err());
        assert!(peer.next().await.is_none(), "the connection ends");
    }
    assert_eq!(answers[0].code, ErrorCode::Unauthenticated);
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");

    let refused = Client::connect(host.profile("x")).await.unwrap_err();
    assert!(matches!(refused, Error::Unauthenticated(_)), "{refused:?}");
    let cli = host
        .cli(["list"])
        .env("RPC_HOST_PROFILE", host.profile_file("bad", "x"));
    cli.run()
        .await
        .error("unauthenticated", &["the token is not valid"]);
}
