//! The processes of a node that touch what strangers sent.

use rpc_host_client::ErrorCode;
use rpc_host_tests::{HostOptions, TestHost, built, component};

use crate::refused;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn compiling_takes_so_much_memory_and_no_more() {
    let limit = 96 * MIB;
    let options = HostOptions::new().limit("max-compile-memory-bytes", limit);
    let tenant = TestHost::start_with(options).await.tenant().await;
    let client = &tenant.client;
    // 400 KB, of which the compiler makes several hundred MB.
    let calls = "call $f ".repeat(200_000);
    let dense = component(&format!(
        r#"(component
            (core module $m (func $f (export "f") {calls}))
            (core instance $i (instantiate $m))
            (func (export "f") (canon lift (core func $i "f"))))"#
    ));
    refused(
        client.upload_module(dense.clone()).await,
        ErrorCode::ResourceExhausted,
        &["`max-compile-memory-bytes`", &limit.to_string()],
    );
    tenant.register("calc", built("calc")).await;
    assert_eq!(
        client
            .module("calc")
            .call::<i64>("add", (2, 3))
            .await
            .unwrap(),
        5
    );
    // It was the limit that hindered it.
    let shared = TestHost::shared().await.tenant().await;
    shared.client.upload_module(dense).await.unwrap();
}

#[tokio::test]
async fn a_node_is_confined_itself() {
    let host = TestHost::shared().await;
    let line = host
        .log()
        .line("about the node", |line| {
            line.message().starts_with("the node is confined")
        })
        .await;
    assert!(line.field("enforced").contains("seccomp"), "{line:?}");
    // Every thread of it, and not only in its own words.
    for task in std::fs::read_dir(format!("/proc/{}/task", host.pid())).unwrap() {
        let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else {
            continue; // It has ended since.
        };
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
}

#[tokio::test]
async fn a_node_says_how_its_compilers_are_confined() {
    let host = TestHost::shared().await;
    let line = host
        .log()
        .line("about compile workers", |line| {
            line.message().starts_with("compile workers are confined")
        })
        .await;
    let enforced: Vec<_> = line.field("enforced").split(", ").collect();
    for measure in ["memory-limit", "cpu-limit", "no-new-privileges", "seccomp"] {
        assert!(enforced.contains(&measure), "{line:?}");
    }
}
