//! Who may speak to a node, and how.

use std::io;
use std::sync::Arc;

use rpc_host_client::{Client, Error, ErrorCode};
use rpc_host_protocol::ALPN;
use rpc_host_tests::{HostOptions, RawPeer, TestHost, in_time, tls_config, tls_connect};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn the_certificate_is_for_the_local_names() {
    let host = TestHost::shared().await;
    let config = Arc::new(tls_config(&host, &[ALPN]));
    for name in ["localhost", "127.0.0.1", "::1"] {
        tls_connect(&host, &config, name).await.unwrap();
    }
    let refused = tls_connect(&host, &config, "example.com").await;
    assert!(refused.unwrap_err().to_string().contains("certificate"));
}

#[tokio::test]
async fn other_names_come_from_the_configuration_under_the_same_authority() {
    let host = TestHost::start().await;
    let config = Arc::new(tls_config(&host, &[ALPN]));
    host.kill().await;
    let options = HostOptions::new()
        .server_name("node.example.com")
        .server_name("10.0.0.7");
    host.start_again_with(options).await;
    for name in ["node.example.com", "10.0.0.7", "localhost"] {
        tls_connect(&host, &config, name).await.unwrap();
    }
}

/// A resumed session would skip the question whether its token is still good.
#[tokio::test]
async fn no_session_is_resumed() {
    let host = TestHost::shared().await;
    let config = Arc::new(tls_config(&host, &[ALPN]));
    for _ in 0..3 {
        let mut stream = tls_connect(&host, &config, "localhost").await.unwrap();
        // What a node gives for a later time comes with its first bytes.
        stream.write_all(&[0xff; 12]).await.unwrap();
        let _first = in_time("an answer", stream.read(&mut [0; 64])).await;
        let kind = stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(HandshakeKind::Full));
    }
}

/// A hello of TLS 1.2, which says nothing of any later version.
fn hello_of_tls_1_2() -> Vec<u8> {
    let extensions: &[&[u8]] = &[
        // Groups: x25519, secp256r1.
        &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23],
        // Signatures: ecdsa with sha256, rsa with sha256.
        &[0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1],
    ];
    let extensions = extensions.concat();
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let hello = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        // ECDHE with AES-GCM, with ECDSA and RSA.
        &[0, 4, 0xc0, 0x2b, 0xc0, 0x2f],
        &[1, 0],
        &length(extensions.len()),
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0][..], &length(hello.len()), &hello].concat();
    [&[22, 3, 1][..], &length(handshake.len()), &handshake].concat()
}

#[tokio::test]
async fn an_older_tls_is_turned_away() {
    let host = TestHost::shared().await;
    let mut stream = TcpStream::connect(host.address()).await.unwrap();
    stream.write_all(&hello_of_tls_1_2()).await.unwrap();
    let mut answer = Vec::new();
    let _reset = in_time("the end", stream.read_to_end(&mut answer)).await;
    // A fatal alert: the version of the protocol.
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]);
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
async fn only_our_protocol_is_spoken() {
    let host = TestHost::shared().await;
    // Each is a connection on which the node never says anything.
    let silent = async |alpn: &[&[u8]]| {
        let config = Arc::new(tls_config(&host, alpn));
        let mut stream = match tls_connect(&host, &config, "localhost").await {
            Err(error) => return error.kind() != io::ErrorKind::TimedOut,
            Ok(stream) => stream,
        };
        !matches!(in_time("the end", stream.read(&mut [0])).await, Ok(1))
    };
    assert!(silent(&[b"h2"]).await);
    assert!(silent(&[b"rpc-host/2", b"http/1.1"]).await);
    assert!(silent(&[]).await, "a peer that names no protocol");
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
    cli.run().await.error(
        "unauthenticated",
        &["the token or certificate is not valid"],
    );
}
