//! The processes of a node that touch what strangers sent.

use std::sync::{Arc, Mutex};

use rpc_host_client::ErrorCode;
use rpc_host_tests::{HostOptions, TestHost, built, component};
use tokio::task::JoinSet;

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

/// A component that takes the compiler some seconds, by its number another one than the others.
fn slow_to_compile(number: usize) -> Vec<u8> {
    let calls = "call $f ".repeat(60_000);
    component(&format!(
        r#"(component
            (core module $m (func $f (export "f") {calls}) (func (drop (i32.const {number}))))
            (core instance $i (instantiate $m))
            (func (export "f") (canon lift (core func $i "f"))))"#
    ))
}

#[tokio::test]
async fn a_flood_of_uploads_of_one_tenant_leaves_another_its_turn() {
    let options = HostOptions::new().limit("max-parallel-compiles", 1);
    let host = TestHost::start_with(options).await;
    let (flood, other) = (host.tenant().await, host.tenant().await);
    let ended = Arc::new(Mutex::new(Vec::new()));
    let mut uploads = JoinSet::new();
    for number in 0..6 {
        // A session has four uploads at most, a tenant more.
        let client = flood.client_of("deployer").await;
        let ended = Arc::clone(&ended);
        uploads.spawn(async move {
            client.upload_module(slow_to_compile(number)).await.unwrap();
            ended.lock().unwrap().push("flood");
        });
    }
    // Once one of them is compiled, the others wait.
    while ended.lock().unwrap().is_empty() {
        uploads.join_next().await.unwrap().unwrap();
    }
    other.client.upload_module(built("calc")).await.unwrap();
    ended.lock().unwrap().push("other");
    uploads.join_all().await;
    let ended = ended.lock().unwrap();
    assert_eq!(ended.len(), 7);
    let place = ended.iter().position(|who| *who == "other").unwrap();
    // One was done before it came, one was under way; one more may have been told first.
    assert!(place <= 3, "{ended:?}");
}

#[tokio::test]
async fn so_many_modules_wait_for_the_compiler_and_no_more() {
    let options = HostOptions::new()
        .limit("max-parallel-compiles", 1)
        .limit("max-queued-compiles", 2)
        .limit("max-queued-compiles-per-tenant", 1);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let mut uploads = JoinSet::new();
    for number in 0..4 {
        let client = tenant.client_of("deployer").await;
        let wasm = slow_to_compile(number);
        uploads.spawn(async move { client.upload_module(wasm).await });
    }
    // One is compiled and one waits; whoever comes meanwhile is refused, with the limit's name.
    let mut refusals = 0;
    while let Some(ended) = uploads.join_next().await {
        let Err(error) = ended.unwrap() else {
            continue;
        };
        refused(
            Err::<(), _>(error),
            ErrorCode::ResourceExhausted,
            &[
                "1 modules of the tenant wait to be compiled",
                "`max-queued-compiles-per-tenant`",
            ],
        );
        refusals += 1;
    }
    assert!((1..=2).contains(&refusals), "{refusals}");
    // It is the queue that is full, not the tenant's right to upload.
    tenant.client.upload_module(built("calc")).await.unwrap();
}

fn seccomp_of(process: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("Seccomp:"));
    line.unwrap().to_owned()
}

#[tokio::test]
async fn a_node_that_is_told_not_to_confines_nothing_but_its_compilers_and_says_so() {
    let host = TestHost::start_with(HostOptions::new().sandbox("off")).await;
    let said = |start: &'static str| {
        let log = host.log();
        async move {
            log.line(start, |line| line.message().starts_with(start))
                .await
        }
    };
    let line = said("the node is not confined: --sandbox is off").await;
    assert_eq!(line.level(), "WARN");
    said("compile workers are confined").await;
    assert_eq!(seccomp_of(&host.pid().to_string()), seccomp_of("self"));
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    let calc = tenant.client.module("calc");
    assert_eq!(calc.call::<i64>("add", (2, 3)).await.unwrap(), 5);
}

#[tokio::test]
async fn a_node_that_requires_what_the_kernel_lacks_does_not_start_and_says_what() {
    let lacking = || HostOptions::new().lacking_landlock();
    let (status, said) = TestHost::refused_start(lacking().sandbox("require")).await;
    assert_eq!(status.code(), Some(1));
    let line = said.lines().last().unwrap();
    for part in [
        "error: the node is not confined by landlock-files",
        "landlock-tcp",
        "landlock-scopes",
        "--sandbox best-effort",
    ] {
        assert!(line.contains(part), "no {part:?} in {said}");
    }
    // The same kernel will do for one that does not require it, and that says what is missing.
    let host = TestHost::start_with(lacking().sandbox("best-effort")).await;
    for whose in ["the node is", "compile workers are"] {
        let said = format!("{whose} confined in part only");
        let line = host.log().line(&said, |line| line.message() == said).await;
        assert_eq!(line.level(), "WARN");
        assert!(line.field("missing").contains("landlock-files"), "{line:?}");
        assert!(line.field("enforced").contains("seccomp"), "{line:?}");
    }
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    let calc = tenant.client.module("calc");
    assert_eq!(calc.call::<i64>("add", (2, 3)).await.unwrap(), 5);
    // And this kernel, as it is, for one that requires all, if it has all.
    let has_all = TestHost::shared().await.log();
    let has_all = has_all
        .lines()
        .iter()
        .all(|line| !line.message().contains("in part only"));
    if has_all {
        TestHost::start_with(HostOptions::new().sandbox("require")).await;
    } else {
        TestHost::refused_start(HostOptions::new().sandbox("require")).await;
    }
}
