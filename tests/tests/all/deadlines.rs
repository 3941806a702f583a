//! Calls that take too long, or that nobody waits for any more: the guest really stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_host_client::{ErrorCode, Fault, Options};
use rpc_host_protocol::Message;
use rpc_host_tests::{HostOptions, PATIENCE, TestHost, TestTenant, built};

use crate::refused;

/// A node of its own: what is measured is its processor time.
async fn spin() -> (Arc<TestHost>, TestTenant) {
    let host = TestHost::start().await;
    let tenant = host.tenant().await;
    tenant.register("spin", built("spin")).await;
    tenant.register("sleeper", built("sleeper")).await;
    (host, tenant)
}

/// How long the processor time is looked at.
const WINDOW: Duration = Duration::from_millis(100);

/// Whether a guest computes on the node now: one that does takes a processor for itself.
async fn is_busy(host: &TestHost) -> bool {
    let before = host.cpu_ticks();
    tokio::time::sleep(WINDOW).await;
    // A tick is 10 ms, so this is a fifth of one processor; other work shares the machine.
    host.cpu_ticks() - before > 2
}

async fn until(what: &str, host: &TestHost, busy: bool) {
    let started = Instant::now();
    while is_busy(host).await != busy {
        assert!(started.elapsed() < PATIENCE, "{what}");
    }
}

pub(crate) async fn runs(host: &TestHost) {
    until("the guest never began", host, true).await;
}

pub(crate) async fn stopped(host: &TestHost) {
    until("the guest runs on", host, false).await;
}

#[tokio::test]
async fn a_deadline_ends_a_guest_that_computes() {
    let (host, tenant) = spin().await;
    let spin = tenant.client.module("spin");
    let deadline = Duration::from_millis(200);
    let late = async {
        let started = Instant::now();
        let call = spin.function("forever").timeout(deadline);
        let failure = refused(
            call.call::<()>().await,
            ErrorCode::DeadlineExceeded,
            &["the call did not end within 200 ms"],
        );
        assert_eq!(failure.fault, Fault::Guest);
        assert!(!failure.retryable);
        started
            .elapsed()
            .checked_sub(deadline)
            .expect("not before its time")
    };
    late.await;
    stopped(&host).await;
    assert_eq!(spin.call::<String>("ping", ()).await.unwrap(), "pong");
}

/// Time is not all that a guest may use: it computes for a while of the time that it has, and what it
/// calls spends from the same budget.
#[tokio::test]
async fn a_budget_ends_a_guest_and_those_that_it_called_for() {
    let (host, tenant) = spin().await;
    let hop = tenant.client.upload_module(built("hop")).await.unwrap();
    let options = |other: &str| {
        let mut options = Options::default();
        let import = "test:graph/one@0.1.0".to_owned();
        options.bindings.insert(import, other.to_owned());
        options.limits.insert("max-cpu-ms-per-call".to_owned(), 100);
        options
    };
    for (name, other) in [("first", "second"), ("second", "none")] {
        let registered = tenant.client.register(name, &hop, options(other)).await;
        registered.unwrap();
    }
    for plan in ["s", "1(s)"] {
        let call = tenant.client.module("first").function("start");
        let call = call.arg(plan).timeout(PATIENCE);
        let failure = refused(
            call.call_result::<u32, String>().await,
            ErrorCode::ResourceExhausted,
            &["used more than 100 ms of processor time"],
        );
        assert_eq!(failure.fault, Fault::Guest);
    }
    stopped(&host).await;
    let module = tenant.client.module("first");
    let visited: Result<u32, String> = module.call_result("start", ("1",)).await.unwrap();
    assert_eq!(visited, Ok(2));
}

/// The promise is 10 ms; a machine that is busy with other tests adds its own, so the best of some
/// counts.
#[tokio::test]
async fn a_guest_ends_within_ticks_of_its_deadline() {
    let (_host, tenant) = spin().await;
    let spin = tenant.client.module("spin");
    let deadline = Duration::from_millis(50);
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let started = Instant::now();
        let call = spin.function("forever").timeout(deadline);
        refused(call.call::<()>().await, ErrorCode::DeadlineExceeded, &[]);
        best = best.min(started.elapsed() - deadline);
        if best < Duration::from_millis(20) {
            return;
        }
    }
    panic!("at its best, {best:?} after its deadline");
}

#[tokio::test]
async fn a_deadline_ends_a_guest_that_waits() {
    let (_host, tenant) = spin().await;
    let sleeper = tenant.client.module("sleeper");
    let slept: u64 = sleeper.call("sleep", (20_u64,)).await.unwrap();
    assert!(slept >= 20);
    let started = Instant::now();
    let call = sleeper
        .function("sleep")
        .arg(600_000_u64)
        .timeout(Duration::from_millis(200));
    refused(
        call.call::<u64>().await,
        ErrorCode::DeadlineExceeded,
        &["within 200 ms"],
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_command_line_has_a_timeout() {
    let (host, tenant) = spin().await;
    let output = tenant
        .cli(["call", "spin", "forever()", "--timeout", "200ms"])
        .run()
        .await;
    output.error(
        "error: deadline-exceeded: ",
        &["the call did not end within 200 ms", "--timeout"],
    );
    stopped(&host).await;
    let bad = tenant
        .cli(["call", "spin", "forever()", "--timeout", "soon"])
        .run()
        .await;
    assert!(bad.failed(2).contains("--timeout"), "{bad:?}");
}

#[tokio::test]
async fn a_call_without_a_wish_has_the_nodes_default_and_no_wish_exceeds_its_maximum() {
    let options = HostOptions::new()
        .limit("default-call-timeout-ms", 150)
        .limit("max-call-timeout-ms", 300);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let module = tenant.register("spin", built("spin")).await;
    let spin = tenant.client.module("spin");
    refused(
        spin.call::<()>("forever", ()).await,
        ErrorCode::DeadlineExceeded,
        &["within 150 ms"],
    );
    let patient = spin.function("forever").timeout(Duration::from_secs(3600));
    refused(
        patient.call::<()>().await,
        ErrorCode::DeadlineExceeded,
        &["within 300 ms"],
    );
    // A registration can be stricter, for itself.
    let limits = [("max-call-timeout-ms".to_owned(), 50)].into();
    let options = Options {
        limits,
        ..Options::default()
    };
    tenant
        .client
        .register("spin", &module, options)
        .await
        .unwrap();
    refused(
        spin.call::<()>("forever", ()).await,
        ErrorCode::DeadlineExceeded,
        &["within 50 ms"],
    );
}

#[tokio::test]
async fn dropping_the_future_of_a_call_stops_the_guest() {
    let (host, tenant) = spin().await;
    let spin = tenant.client.module("spin");
    let call = tokio::spawn(async move { spin.call::<()>("forever", ()).await });
    runs(&host).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    stopped(&host).await;
    // The connection is as good as before.
    let pong: String = tenant.client.module("spin").call("ping", ()).await.unwrap();
    assert_eq!(pong, "pong");
}

#[tokio::test]
async fn ctrl_c_on_the_command_line_stops_the_guest() {
    let (host, tenant) = spin().await;
    let process = tenant.cli(["call", "spin", "forever()"]).start();
    runs(&host).await;
    process.signal("INT").await;
    let output = process.end().await;
    assert!(
        output.failed(130).contains("error: interrupted"),
        "{output:?}"
    );
    stopped(&host).await;
}

#[tokio::test]
async fn a_client_that_dies_stops_its_guests() {
    let (host, tenant) = spin().await;
    let process = tenant.cli(["call", "spin", "forever()"]).start();
    runs(&host).await;
    process.signal("KILL").await;
    process.end().await;
    stopped(&host).await;
}

#[tokio::test]
async fn a_cancel_on_the_wire_is_answered_once() {
    let (host, tenant) = spin().await;
    let mut peer = tenant.raw_peer().await;
    let spinning = peer.call("spin", "forever", &[]).await;
    runs(&host).await;
    let other = peer.call("spin", "ping", &[]).await;
    peer.outcome(other).await.unwrap();
    peer.send(spinning, Message::Cancel).await;
    let failure = peer.outcome(spinning).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Cancelled);
    // Too late, twice, for what has ended: all of no effect.
    peer.send(spinning, Message::Cancel).await;
    peer.send(other, Message::Cancel).await;
    let last = peer.call("spin", "ping", &[]).await;
    assert_eq!(peer.message().await.0, last);
    stopped(&host).await;
}

#[tokio::test]
async fn guests_that_compute_do_not_keep_others_from_answers() {
    let (host, tenant) = spin().await;
    // More of them than the machine has processors.
    let spinning: Vec<_> = (0..8)
        .map(|_| {
            let spin = tenant.client.module("spin");
            tokio::spawn(async move { spin.call::<()>("forever", ()).await })
        })
        .collect();
    runs(&host).await;
    for _ in 0..5 {
        let started = Instant::now();
        let pong: String = tenant.client.module("spin").call("ping", ()).await.unwrap();
        assert_eq!(pong, "pong");
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
    }
    tenant.client_of("reader").await.list().await.unwrap();
    for call in &spinning {
        call.abort();
    }
    stopped(&host).await;
}
