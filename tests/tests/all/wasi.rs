//! What the standard library of a guest finds in the sandbox: nothing that gives power.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use rpc_host_client::{NamedModule, Options};
use rpc_host_tests::{TestHost, TestTenant, built, component};

async fn probe() -> (TestTenant, NamedModule) {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("probe", built("wasi-probe")).await;
    let module = tenant.client.module("probe");
    (tenant, module)
}

async fn ask(probe: &NamedModule, function: &str) -> String {
    probe
        .call(function, ())
        .await
        .unwrap_or_else(|error| panic!("{function}: {error}"))
}

#[tokio::test]
async fn environment_arguments_and_input_are_empty() {
    let (_tenant, probe) = probe().await;
    assert_eq!(ask(&probe, "environment").await, "");
    assert_eq!(ask(&probe, "arguments").await, "");
    let input = ask(&probe, "read_input").await;
    assert!(input == "read: " || input.starts_with("error"), "{input}");
}

#[tokio::test]
async fn there_are_no_files() {
    let (_tenant, probe) = probe().await;
    for path in ["/", ".", "..", "/etc", "/proc/self", "/tmp"] {
        let listed: String = probe.call("list_folder", (path,)).await.unwrap();
        assert!(listed.starts_with("error: "), "{path}: {listed}");
    }
    for path in [
        "/etc/passwd",
        "etc/passwd",
        "../../etc/passwd",
        "/proc/self/environ",
        "/dev/urandom",
        "client.toml",
    ] {
        let read: String = probe.call("read_file", (path,)).await.unwrap();
        assert!(read.starts_with("error: "), "{path}: {read}");
        let written: String = probe.call("write_file", (path, "x")).await.unwrap();
        assert!(written.starts_with("error: "), "{path}: {written}");
    }
}

#[tokio::test]
async fn clocks_tell_the_time_and_no_finer_than_a_millisecond() {
    let (_tenant, probe) = probe().await;
    let now = || {
        u64::try_from(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis(),
        )
        .unwrap()
    };
    let before = now();
    let told: u64 = ask(&probe, "wall_clock").await.parse().unwrap();
    assert!((before..=now()).contains(&told), "{told}");
    for _ in 0..3 {
        let step_ns: u64 = ask(&probe, "clock_step").await.parse().unwrap();
        assert!(
            step_ns >= 1_000_000 && step_ns.is_multiple_of(1_000_000),
            "{step_ns} ns"
        );
    }
}

#[tokio::test]
async fn random_numbers_are_random() {
    let (_tenant, probe) = probe().await;
    let mut seen = HashSet::new();
    for _ in 0..10 {
        seen.insert(ask(&probe, "random").await);
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
}

#[tokio::test]
async fn output_goes_to_the_log_line_by_line() {
    let (tenant, probe) = probe().await;
    let line = "first line of\u{1b}[31m output\n{\"level\":\"ERROR\",\"target\":\"rpc_host\"}";
    let printed: String = probe.call("print", (line,)).await.unwrap();
    assert_eq!(printed, "ok: ()");
    let log = tenant.host.log();
    let found = log
        .line("of the guest", |it| {
            it.target() == "guest" && it.field("tenant") == tenant.name
        })
        .await;
    assert_eq!(found.message(), "first line of\\u{1b}[31m output");
    assert_eq!(
        (found.field("module"), found.field("stream")),
        ("probe", "stdout")
    );
    assert!(!found.field("call").is_empty());
    // The guest cannot pass for the node: the line it made up is text within a line of its own.
    let forged = log
        .line("made up", |it| {
            it.message().starts_with("{\"level\"") && it.field("tenant") == tenant.name
        })
        .await;
    assert_eq!((forged.target(), forged.level()), ("guest", "INFO"));
    let printed: String = probe.call("print_error", ("to stderr",)).await.unwrap();
    assert_eq!(printed, "ok: ()");
    let found = log
        .line("on stderr", |it| it.message() == "to stderr")
        .await;
    assert_eq!(found.field("stream"), "stderr");
}

#[tokio::test]
async fn output_is_cut_and_the_rest_counted() {
    let (tenant, probe) = probe().await;
    let flooded: String = probe.call("flood", (1_u32 << 20,)).await.unwrap();
    assert_eq!(flooded, "done", "a guest is not ended for what it prints");
    let dropped = tenant
        .host
        .log()
        .line("about dropped output", |it| {
            it.field("tenant") == tenant.name && it.message().contains("dropped")
        })
        .await;
    let bytes = dropped.0["fields"]["dropped_bytes"].as_u64().unwrap();
    assert_eq!(bytes, (1 << 20) - (64 << 10));
}

/// Subscribes to so many ends of an hour, and drops none of the subscriptions.
const SUBSCRIBES: &str = r#"(component
    (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (export "pollable" (type $p (eq $pollable)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
    (core func $subscribe (canon lower (func $clock "subscribe-duration")))
    (core module $m
        (import "clock" "subscribe" (func $subscribe (param i64) (result i32)))
        (func (export "subscribe") (param $left i32)
            (loop $next
                (drop (call $subscribe (i64.const 3600000000000)))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br_if $next (local.get $left)))))
    (core instance $i (instantiate $m (with "clock" (instance (export "subscribe" (func $subscribe))))))
    (func (export "subscribe") (param "times" u32) (canon lift (core func $i "subscribe"))))"#;

#[tokio::test]
async fn a_guest_holds_so_many_resources_of_the_host_and_no_more() {
    let tenant = TestHost::shared().await.tenant().await;
    let module = tenant.register("subscribes", component(SUBSCRIBES)).await;
    let subscribes = tenant.client.module("subscribes");
    subscribes.call::<()>("subscribe", (400,)).await.unwrap();
    subscribes
        .call::<()>("subscribe", (1100,))
        .await
        .unwrap_err();
    let options = Options {
        limits: [("max-host-resources-per-instance".to_owned(), 10)].into(),
        ..Options::default()
    };
    let registered = tenant.client.register("subscribes", &module, options);
    registered.await.unwrap();
    subscribes.call::<()>("subscribe", (4,)).await.unwrap();
    subscribes.call::<()>("subscribe", (20,)).await.unwrap_err();
}
