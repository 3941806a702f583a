//! How sessions begin and end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rpc_host_protocol::message::{Beat, Hello, Message};
use rpc_host_protocol::{ErrorCode, ExchangeId, Fault, Kind};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, advance};

use super::peer::{Peer, TOKEN, call, hello};
use crate::config::Limits;
use crate::session::SessionEnd;
use crate::transport::TransportError;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_hello_is_answered_with_what_holds() {
    let mut peer = Peer::connect(Limits::default());
    peer.send(0, hello(TOKEN)).await;
    let Some((0, Message::Welcome(welcome))) = peer.receive().await else {
        panic!("expected a welcome");
    };
    assert_eq!(
        (
            welcome.version,
            welcome.tenant.as_str(),
            welcome.role.as_str()
        ),
        (1, "team", "caller")
    );
    assert_eq!(welcome.session.len(), 16);
    assert_eq!(welcome.max_calls_in_flight, 256);
    assert!(matches!(peer.leave().await, SessionEnd::PeerLeft));
}

#[tokio::test]
async fn whoever_is_not_welcome_hears_why_and_is_let_go() {
    let no_token = Message::Hello(Hello {
        versions: vec![1],
        client: String::new(),
        token: None,
    });
    let other_version = Message::Hello(Hello {
        versions: vec![2, 3],
        client: String::new(),
        token: Some(TOKEN.to_owned()),
    });
    let long = Message::Hello(Hello {
        versions: vec![1],
        client: "x".repeat(5000),
        token: None,
    });
    let cases = [
        (
            0,
            hello("a wrong one"),
            ErrorCode::Unauthenticated,
            "no valid token",
        ),
        (0, no_token, ErrorCode::Unauthenticated, "no valid token"),
        (
            0,
            other_version,
            ErrorCode::Unimplemented,
            "this host speaks protocol version 1; use",
        ),
        (
            0,
            long,
            ErrorCode::InvalidArgument,
            "over the limit of 4096 bytes",
        ),
        (
            1,
            hello(TOKEN),
            ErrorCode::InvalidArgument,
            "belongs to exchange #0",
        ),
        (
            1,
            call("echo", b""),
            ErrorCode::InvalidArgument,
            "begins with a hello, not with a call",
        ),
        (
            0,
            Message::Ping(Beat { nonce: 1 }),
            ErrorCode::InvalidArgument,
            "begins with a hello",
        ),
    ];
    for (id, message, code, text) in cases {
        let mut peer = Peer::connect(Limits::default());
        peer.send(id, message).await;
        let failure = peer.failure(0).await;
        assert_eq!(
            (failure.code, failure.fault),
            (code, Fault::Peer),
            "{failure}"
        );
        assert!(failure.message.contains(text), "{failure}");
        assert_eq!(peer.receive().await, None);
    }
}

#[tokio::test]
async fn a_hello_in_pieces_counts_as_a_whole() {
    let mut peer = Peer::connect(Limits::default());
    let raw = hello(TOKEN).encode(ExchangeId(0));
    for _ in 0..5 {
        let mut bytes = vec![0, 0, 4, 0, Kind::Hello as u8, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&raw.payload.repeat(1024)[..1024]);
        peer.write.write_all(&bytes).await.unwrap();
    }
    assert_eq!(peer.failure(0).await.code, ErrorCode::ResourceExhausted);
}

#[tokio::test(start_paused = true)]
async fn a_hello_has_to_come_in_time() {
    let began = Instant::now();
    let mut peer = Peer::connect(Limits {
        handshake_timeout_ms: 3000,
        ..Limits::default()
    });
    assert_eq!(peer.failure(0).await.code, ErrorCode::DeadlineExceeded);
    assert_eq!(began.elapsed(), 3 * SECOND);
    assert!(matches!(peer.leave().await, SessionEnd::HelloTooSlow));
}

#[tokio::test(start_paused = true)]
async fn silence_is_asked_about_and_then_ends_the_session() {
    let limits = Limits {
        idle_timeout_ms: 50_000,
        keepalive_interval_ms: 20_000,
        ..Limits::default()
    };
    let began = Instant::now();
    let mut peer = Peer::welcome(limits.clone()).await;
    for at in [20, 40] {
        assert!(matches!(peer.receive().await, Some((0, Message::Ping(_)))));
        assert_eq!(began.elapsed(), at * SECOND);
    }
    assert!(peer.goaway().await.message.contains("answer pings"));
    assert_eq!(began.elapsed(), 50 * SECOND);
    assert!(matches!(peer.session.await.unwrap(), SessionEnd::Idle(_)));

    let mut peer = Peer::welcome(limits).await;
    for nonce in 0..10 {
        assert!(matches!(peer.receive().await, Some((0, Message::Ping(_)))));
        peer.send(0, Message::Pong(Beat { nonce })).await;
    }
    peer.call(1, "wait").await;
    peer.running(1).await;
    advance(300 * SECOND).await;
    peer.node.gate.notify_one();
    loop {
        match peer.receive().await.unwrap() {
            (0, Message::Ping(_)) => {}
            (1, Message::Reply { .. }) => break,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_ping_comes_back() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.send(0, Message::Ping(Beat { nonce: 42 })).await;
    assert_eq!(
        peer.receive().await,
        Some((0, Message::Pong(Beat { nonce: 42 })))
    );
}

#[tokio::test]
async fn what_is_no_frame_ends_the_session_with_a_word() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.call(1, "hang").await;
    peer.running(1).await;
    peer.write.write_all(&[0xff; 12]).await.unwrap();
    assert_eq!(peer.goaway().await.code, ErrorCode::InvalidArgument);
    peer.running(0).await;
    let end = peer.session.await.unwrap();
    assert!(
        matches!(end, SessionEnd::Transport(TransportError::Header(_))),
        "{end}"
    );
}

#[tokio::test]
async fn when_the_peer_leaves_its_calls_end() {
    let mut peer = Peer::welcome(Limits::default()).await;
    for id in [1, 3, 5] {
        peer.call(id, "hang").await;
    }
    peer.running(3).await;
    let node = peer.node.clone();
    assert!(matches!(peer.leave().await, SessionEnd::PeerLeft));
    while node.running.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_revoked_token_is_noticed_at_the_next_exchange() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.call(1, "hang").await;
    peer.running(1).await;
    peer.node.is_revoked.store(true, Ordering::SeqCst);
    peer.call(3, "echo").await;
    assert_eq!(peer.failure(3).await.code, ErrorCode::Unauthenticated);
    assert_eq!(peer.failure(1).await.code, ErrorCode::Unauthenticated);
    assert_eq!(peer.goaway().await.code, ErrorCode::Unauthenticated);
    assert!(matches!(peer.session.await.unwrap(), SessionEnd::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_ends_even_a_session_that_begins_nothing() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.call(1, "hang").await;
    peer.running(1).await;
    peer.node.is_revoked.store(true, Ordering::SeqCst);
    let began = Instant::now();
    assert_eq!(peer.failure(1).await.code, ErrorCode::Unauthenticated);
    assert!(began.elapsed() <= 20 * SECOND, "{:?}", began.elapsed());
    assert_eq!(peer.goaway().await.code, ErrorCode::Unauthenticated);
    peer.running(0).await;
    assert!(matches!(peer.session.await.unwrap(), SessionEnd::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_calls_finish_and_takes_no_new_ones() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.call(1, "wait").await;
    peer.running(1).await;
    peer.stop.begin(Instant::now() + 10 * SECOND);
    let Some((0, Message::Goaway(goaway))) = peer.receive().await else {
        panic!("expected a goaway");
    };
    assert_eq!(
        (goaway.failure.code, goaway.failure.retryable),
        (ErrorCode::Unavailable, true)
    );
    peer.call(3, "echo").await;
    assert_eq!(peer.failure(3).await.code, ErrorCode::Unavailable);
    advance(5 * SECOND).await;
    peer.node.gate.notify_one();
    assert_eq!(peer.reply(1).await, b"arguments");
    assert_eq!(peer.receive().await, None);
    assert!(matches!(peer.leave().await, SessionEnd::Drained));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_what_does_not_finish() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.call(1, "hang").await;
    peer.running(1).await;
    let began = Instant::now();
    peer.stop.begin(began + 10 * SECOND);
    assert!(matches!(
        peer.receive().await,
        Some((0, Message::Goaway(_)))
    ));
    assert_eq!(peer.failure(1).await.code, ErrorCode::Unavailable);
    assert_eq!(began.elapsed(), 10 * SECOND);
    assert_eq!(peer.receive().await, None);
    peer.running(0).await;
    assert!(matches!(peer.leave().await, SessionEnd::DrainTimeout));
}

#[tokio::test]
async fn a_drain_waits_for_no_stranger() {
    let mut peer = Peer::connect(Limits::default());
    peer.stop.begin(Instant::now() + 10 * SECOND);
    assert_eq!(peer.failure(0).await.code, ErrorCode::Unavailable);
    assert_eq!(peer.receive().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_given_up_and_its_calls_end() {
    let limits = Limits {
        write_timeout_ms: 30_000,
        ..Limits::default()
    };
    let mut peer = Peer::welcome(limits).await;
    peer.call(1, "hang").await;
    peer.call(3, "large").await;
    let began = Instant::now();
    let node = peer.node.clone();
    let end = peer.session.await.unwrap();
    assert!(
        matches!(end, SessionEnd::Transport(TransportError::WriteTooSlow)),
        "{end}"
    );
    assert!(began.elapsed() < 35 * SECOND);
    while node.running.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}
