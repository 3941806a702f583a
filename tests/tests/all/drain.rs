//! The end of a node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_host_client::{Client, Error, ErrorCode};
use rpc_host_protocol::{ExchangeId, Message, Value};
use rpc_host_tests::{HostOptions, RawPeer, TestHost, TestTenant, built};

async fn sleeper(drain_timeout_ms: u64) -> (Arc<TestHost>, TestTenant) {
    let options = HostOptions::new().limit("drain-timeout-ms", drain_timeout_ms);
    let host = TestHost::start_with(options.log_level("debug")).await;
    let tenant = host.tenant().await;
    tenant.register("sleeper", built("sleeper")).await;
    tenant.register("spin", built("spin")).await;
    (host, tenant)
}

/// Begins a call and waits until it is under way: what was sent before a later answer has begun.
async fn begin(peer: &mut RawPeer, function: &str, arguments: &[Value]) -> ExchangeId {
    let module = if function == "sleep" {
        "sleeper"
    } else {
        "spin"
    };
    let id = peer.call(module, function, arguments).await;
    let marker = peer.call("spin", "ping", &[]).await;
    assert_eq!(peer.message().await.0, marker);
    id
}

#[tokio::test]
async fn a_node_without_work_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let (host, tenant) = sleeper(60_000).await;
        tenant.client.list().await.unwrap();
        let started = Instant::now();
        host.signal(signal).await;
        let status = host.end().await;
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "{:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn a_call_under_way_finishes_and_a_new_one_is_refused() {
    let (host, tenant) = sleeper(60_000).await;
    let mut peer = tenant.raw_peer().await;
    let running = begin(&mut peer, "sleep", &[Value::U64(3000)]).await;
    host.signal("TERM").await;
    let (id, message) = peer.message().await;
    let Message::Goaway(goaway) = message else {
        panic!("{message:?}")
    };
    assert_eq!(
        (id, goaway.failure.code),
        (ExchangeId::CONNECTION, ErrorCode::Unavailable)
    );
    let late = peer.call("spin", "ping", &[]).await;
    let failure = peer.outcome(late).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable);
    assert!(
        failure.retryable && failure.message.contains("the host is stopping"),
        "{failure}"
    );
    // Nor does anybody get in any more.
    let newcomer = Client::connect(tenant.profile()).await.unwrap_err();
    assert_eq!(newcomer.code(), ErrorCode::Unavailable, "{newcomer:?}");
    peer.outcome(running).await.unwrap();
    assert!(peer.next().await.is_none(), "then it closes");
    assert_eq!(host.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_call_that_takes_too_long_gets_unavailable() {
    let (host, tenant) = sleeper(300).await;
    let mut peer = tenant.raw_peer().await;
    let sleeping = begin(&mut peer, "sleep", &[Value::U64(600_000)]).await;
    let spinning = begin(&mut peer, "forever", &[]).await;
    let started = Instant::now();
    host.signal("TERM").await;
    let mut failures = Vec::new();
    while let Some((id, message)) = peer.next().await {
        if let Message::Failure(failure) = message {
            failures.push((id, failure));
        }
    }
    failures.sort_by_key(|(id, _)| *id);
    let [(first, one), (second, other)] = &failures[..] else {
        panic!("{failures:?}")
    };
    assert_eq!([*first, *second], [sleeping, spinning]);
    for failure in [one, other] {
        assert_eq!(failure.code, ErrorCode::Unavailable);
        assert!(
            failure.retryable && failure.message.contains("the host is stopping"),
            "{failure}"
        );
    }
    assert_eq!(host.end().await.code(), Some(0));
    let elapsed = started.elapsed();
    assert!(
        elapsed >= Duration::from_millis(300) && elapsed < Duration::from_secs(10),
        "{elapsed:?}"
    );
}

#[tokio::test]
async fn a_client_hears_of_the_end_and_comes_back_after_it() {
    let (host, tenant) = sleeper(200).await;
    let call = tokio::spawn({
        let spin = tenant.client.module("spin");
        async move { spin.call::<()>("forever", ()).await }
    });
    // The call is on its way before the signal: another one over the same connection has been there.
    let pong: String = tenant.client.module("spin").call("ping", ()).await.unwrap();
    assert_eq!(pong, "pong");
    host.signal("TERM").await;
    let ended = call.await.unwrap().unwrap_err();
    assert_eq!(ended.code(), ErrorCode::Unavailable, "{ended:?}");
    assert_eq!(host.end().await.code(), Some(0));
    let down = tenant.client.list().await.unwrap_err();
    assert_eq!(down.code(), ErrorCode::Unavailable, "{down:?}");
    assert!(
        matches!(
            down,
            Error::Connect { .. } | Error::Lost { .. } | Error::Remote(_)
        ),
        "{down:?}"
    );
}

#[tokio::test]
async fn the_command_line_says_unavailable() {
    let (host, tenant) = sleeper(200).await;
    let mut peer = tenant.raw_peer().await;
    let process = tenant.cli(["call", "spin", "forever()"]).start();
    // The node's own word that the call has begun.
    host.log()
        .line("of a second session", |line| {
            line.message() == "session begins"
                && line.0["fields"]["client"]
                    .as_str()
                    .is_some_and(|client| client.starts_with("rpc-host-client"))
                && line.0.to_string().contains(&tenant.name)
        })
        .await;
    let marker = peer.call("spin", "ping", &[]).await;
    peer.outcome(marker).await.unwrap();
    host.signal("TERM").await;
    let output = process.end().await;
    output.error("error: unavailable", &[]);
    assert_eq!(host.end().await.code(), Some(0));
    let after = tenant.cli(["list"]).run().await;
    after.error(
        "error: unavailable",
        &["cannot connect to", "is the node running?"],
    );
}
