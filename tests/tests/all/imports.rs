//! What a component asks for from outside.

use rpc_host_client::{ErrorCode, Fault, ImportStanding};
use rpc_host_tests::{TestHost, built, component};

use crate::refused;

/// A component that imports one function of an interface, and calls it in `run`.
fn importing(interface: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (import "{interface}" (instance $outside (export "call-me" (func))))
            (core func $call-me (canon lower (func $outside "call-me")))
            (core module $m
                (import "outside" "call-me" (func $call-me))
                (func (export "run") (call $call-me))
                (func (export "idle")))
            (core instance $i (instantiate $m
                (with "outside" (instance (export "call-me" (func $call-me))))))
            (func (export "run") (canon lift (core func $i "run")))
            (func (export "idle") (canon lift (core func $i "idle"))))"#
    ))
}

#[tokio::test]
async fn what_is_not_granted_is_there_and_says_which_grant_is_missing() {
    let tenant = TestHost::shared().await.tenant().await;
    for (interface, grant, remedy) in [
        (
            "wasi:http/outgoing-handler@0.2.10",
            "http",
            "this node has no such grant to give",
        ),
        (
            "wasi:http/types@0.2.0",
            "http",
            "this node has no such grant to give",
        ),
        (
            "wasi:sockets/tcp@0.2.9",
            "sockets",
            "this node has no such grant to give",
        ),
        (
            "wasi:sockets/ip-name-lookup@0.2.12",
            "sockets",
            "this node has no such grant to give",
        ),
        (
            "rpc-host:guest/log@0.1.0",
            "log",
            "register it with `--grant log`",
        ),
    ] {
        tenant.register("it", importing(interface)).await;
        let it = tenant.client.module("it");
        it.call::<()>("idle", ()).await.unwrap();
        let failure = refused(
            it.call::<()>("run", ()).await,
            ErrorCode::PermissionDenied,
            &[
                &format!("the module called `{interface}.call-me`"),
                &format!("needs the grant `{grant}`"),
                remedy,
            ],
        );
        assert_eq!(failure.fault, Fault::Tenant);
        let found = tenant.client.inspect("it").await.unwrap();
        assert_eq!(found.imports[0].standing, ImportStanding::Inert);
        assert!(
            found.imports[0].note.contains(grant),
            "{:?}",
            found.imports[0]
        );
    }
    let output = tenant.cli(["call", "it", "run()"]).run().await;
    output.error(
        "error: permission-denied: ",
        &["needs the grant `log`", "--grant log"],
    );
}

#[tokio::test]
async fn a_real_guest_that_asks_for_the_network_hears_which_grant_is_missing() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("sockets", built("sockets")).await;
    let sockets = tenant.client.module("sockets");
    refused(
        sockets.call::<String>("create_tcp_socket", ()).await,
        ErrorCode::PermissionDenied,
        &[
            "wasi:sockets/tcp-create-socket@0.2",
            ".create-tcp-socket",
            "needs the grant `sockets`",
        ],
    );
    refused(
        sockets.call::<String>("look_up", ("example.com",)).await,
        ErrorCode::PermissionDenied,
        &[
            "wasi:sockets/instance-network@0.2",
            ".instance-network",
            "needs the grant `sockets`",
        ],
    );
}

#[tokio::test]
async fn names_of_the_nodes_own_that_it_does_not_have_are_refused_at_the_upload() {
    let tenant = TestHost::shared().await.tenant().await;
    for (interface, reason) in [
        ("wasi:keyvalue/store@0.2.0", "is not version 0.2.0-draft"),
        ("wasi:keyvalue/store", "is not version 0.2.0-draft"),
        (
            "wasi:keyvalue/watcher@0.2.0-draft",
            "this node does not have",
        ),
        ("wasi:http/types@0.3.0", "this node does not have"),
        ("wasi:cli/environment@0.3.0", "is not WASI 0.2"),
        ("wasi:cli/environment@0.1.0", "is not WASI 0.2"),
        ("rpc-host:guest/power@0.1.0", "this node does not have"),
        ("rpc-host:other/thing", "this node does not have"),
        (
            "rpc-host:guest/log@7.0.0",
            "is of a version that this node does not have",
        ),
    ] {
        let outcome = tenant.client.upload_module(importing(interface)).await;
        let named = format!("the component imports `{interface}`, which");
        let failure = refused(outcome, ErrorCode::FailedPrecondition, &[&named, reason]);
        assert_eq!(failure.fault, Fault::Peer);
    }
    assert!(tenant.client.modules().await.unwrap().is_empty());

    let file = tenant
        .host
        .file("refused.wasm", importing("wasi:keyvalue/store@0.2.0"));
    let file = file.to_str().unwrap();
    let output = tenant.cli(["upload", file, "--name", "it"]).run().await;
    output.error("failed-precondition", &["wasi:keyvalue/store@0.2.0"]);
    let inspected = tenant.cli(["inspect", file, "--output", "json"]).run();
    let inspected = inspected.await.json();
    assert_eq!(inspected["imports"][0]["standing"], "refused");
}

#[tokio::test]
async fn an_import_that_does_not_fit_what_is_served_is_refused_at_the_upload() {
    let tenant = TestHost::shared().await.tenant().await;
    // The interface is there, the function is not.
    let outcome = tenant
        .client
        .upload_module(importing("wasi:random/random@0.2.0"))
        .await;
    let failure = crate::failure(outcome);
    assert_ne!(failure.code, ErrorCode::Internal, "{failure:?}");
    assert!(
        failure.message.contains("wasi:random/random@0.2.0"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn versions_of_wasi_can_be_mixed() {
    let tenant = TestHost::shared().await.tenant().await;
    let mixed = component(
        r#"(component
            (import "wasi:random/random@0.2.9" (instance $nine (export "get-random-u64" (func (result u64)))))
            (import "wasi:random/random@0.2.12" (instance $twelve (export "get-random-u64" (func (result u64)))))
            (import "wasi:random/insecure@0.2.0" (instance $zero (export "get-insecure-random-u64" (func (result u64)))))
            (core func $a (canon lower (func $nine "get-random-u64")))
            (core func $b (canon lower (func $twelve "get-random-u64")))
            (core func $c (canon lower (func $zero "get-insecure-random-u64")))
            (core module $m
                (import "w" "a" (func $a (result i64)))
                (import "w" "b" (func $b (result i64)))
                (import "w" "c" (func $c (result i64)))
                (func (export "run") (result i64)
                    (i64.or (call $a) (i64.or (call $b) (call $c)))))
            (core instance $i (instantiate $m (with "w" (instance
                (export "a" (func $a)) (export "b" (func $b)) (export "c" (func $c))))))
            (func (export "run") (result u64) (canon lift (core func $i "run"))))"#,
    );
    tenant.register("mixed", mixed).await;
    let random: u64 = tenant.client.module("mixed").call("run", ()).await.unwrap();
    assert_ne!(random, 0);
}

#[tokio::test]
async fn an_interface_of_types_alone_needs_nobody_behind_it() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("sink", built("kitchen-sink")).await;
    let typed = component(
        r#"(component
            (import "demo:kitchen/types@0.1.0" (instance $types
                (type $color' (enum "red" "green"))
                (export "color" (type (eq $color')))))
            (core module $m (func (export "run") (result i32) (i32.const 7)))
            (core instance $i (instantiate $m))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#,
    );
    tenant.register("typed", typed).await;
    let seven: u32 = tenant.client.module("typed").call("run", ()).await.unwrap();
    assert_eq!(seven, 7);
    let found = tenant.client.inspect("typed").await.unwrap();
    assert_eq!(found.imports[0].standing, ImportStanding::TypesOnly);
}
