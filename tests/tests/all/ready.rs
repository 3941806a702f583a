//! Instances that are ready before their calls come: as good as fresh, nobody else's, and in nobody's way.

use std::time::Duration;

use rpc_host_client::{
    ChangeOptions, Client, ErrorCode, NamedModule, Options, SwapTo, TenantOptions,
};
use rpc_host_tests::{HostOptions, TestHost, TestTenant, built, component, in_time};
use tokio::task::JoinSet;

use super::refused;

const MIB: u64 = 1 << 20;

/// Counts its calls from `from` on, in memory of so many pages, and is started so.
fn counter(from: u32, pages: u32, start: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (import "wasi:random/insecure@0.2.0" (instance $host
                (export "get-insecure-random-u64" (func (result u64)))))
            (core func $random (canon lower (func $host "get-insecure-random-u64")))
            (core module $m
                (import "host" "random" (func $random (result i64)))
                (memory {pages})
                (func $start {start})
                (start $start)
                (func (export "count") (result i32)
                    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                    (i32.add (i32.const {from}) (i32.load (i32.const 0))))
                (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
                (func (export "trap") unreachable))
            (core instance $i (instantiate $m (with "host" (instance
                (export "random" (func $random))))))
            (func (export "count") (result u32) (canon lift (core func $i "count")))
            (func (export "grow") (param "pages" s32) (result s32) (canon lift (core func $i "grow")))
            (func (export "trap") (canon lift (core func $i "trap"))))"#
    ))
}

async fn count(it: &NamedModule) -> u32 {
    it.call("count", ()).await.unwrap()
}

/// Calls that found an instance, those that did not, and how many are ready.
async fn usage(client: &Client, name: &str) -> (u64, u64, u64) {
    let ready = client.show(name).await.unwrap().ready;
    ready.map_or((0, 0, 0), |ready| {
        (ready.hits, ready.misses, ready.instances)
    })
}

/// Calls `it` until calls find instances that are ready, and one is.
async fn warm(tenant: &TestTenant, name: &str, function: &str) {
    let it = tenant.client.module(name);
    let (before, _, _) = usage(&tenant.client, name).await;
    let calling = async {
        loop {
            // Whatever it answers.
            let _answer = it.call::<()>(function, ()).await;
            let (hits, _, ready) = usage(&tenant.client, name).await;
            if hits > before && ready > 0 {
                return;
            }
        }
    };
    in_time("calls to find an instance ready", calling).await;
}

async fn until_none_is_ready(client: &Client, name: &str) {
    let gone = async { while usage(client, name).await.2 > 0 {} };
    in_time("what is ready to go", gone).await;
}

async fn of_tenant(tenant: &TestTenant, limit: &str) -> u64 {
    let entries = tenant.client.limits(None).await.unwrap();
    let entry = entries.into_iter().find(|entry| entry.name == limit);
    entry.and_then(|entry| entry.used).unwrap()
}

#[tokio::test]
async fn calls_find_instances_ready_and_nothing_that_another_call_left() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("it", counter(0, 1, "")).await;
    assert_eq!(tenant.client.show("it").await.unwrap().ready, None);
    let it = tenant.client.module("it");
    assert_eq!(count(&it).await, 1);
    assert_eq!(usage(&tenant.client, "it").await, (0, 1, 0));
    warm(&tenant, "it", "count").await;
    for _ in 0..100 {
        assert_eq!(count(&it).await, 1);
    }
    // Those that failed leave nothing either.
    for _ in 0..5 {
        refused(it.call::<()>("trap", ()).await, ErrorCode::Trapped, &[]);
        assert_eq!(count(&it).await, 1);
    }
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let it = tenant.client.module("it");
        calls.spawn(async move { count(&it).await });
    }
    assert!(calls.join_all().await.iter().all(|counted| *counted == 1));
    let shown = tenant.cli(["show", "it"]).run().await;
    assert!(shown.ok().contains("calls found one"), "{}", shown.ok());
}

#[tokio::test]
async fn what_is_ready_is_for_one_tenant_and_one_revision_alone() {
    let host = TestHost::shared().await;
    let (tenant, other) = (host.tenant().await, host.tenant().await);
    for tenant in [&tenant, &other] {
        tenant.register("it", counter(0, 1, "")).await;
    }
    warm(&tenant, "it", "count").await;
    assert_eq!(usage(&other.client, "it").await, (0, 0, 0));
    assert_eq!(count(&other.client.module("it")).await, 1);
    assert_eq!(usage(&other.client, "it").await, (0, 1, 0));
    for from in [100, 200, 300] {
        warm(&tenant, "it", "count").await;
        let wasm = counter(from, 1, "");
        let module = tenant.client.upload_module(wasm).await.unwrap();
        let to = SwapTo::Digest(module.digest().to_owned());
        let options = ChangeOptions::default();
        tenant.client.swap("it", to, options).await.unwrap();
        assert_eq!(
            usage(&tenant.client, "it").await.2,
            0,
            "it went with the swap"
        );
        assert_eq!(count(&tenant.client.module("it")).await, from + 1);
    }
    warm(&tenant, "it", "count").await;
    tenant.client.remove("it").await.unwrap();
    assert_eq!(
        of_tenant(&tenant, "max-ready-instances-per-tenant").await,
        0
    );
}

#[tokio::test]
async fn a_call_has_the_grants_that_are_in_force_for_it_whatever_is_ready() {
    let host = TestHost::start().await;
    let (admin, tenant) = (host.client().await, host.tenant().await);
    let options = Options {
        grants: vec!["random:seeded=7".to_owned()],
        ..Options::default()
    };
    tenant
        .register_with("seven", built("wasi-probe"), options)
        .await;
    let seven = tenant.client.module("seven");
    let first: String = seven.call("random", ()).await.unwrap();
    for _ in 0..5 {
        warm(&tenant, "seven", "random").await;
        let same: String = seven.call("random", ()).await.unwrap();
        assert_eq!(same, first, "it begins anew in each call");
        let narrowed = seven.function("random").allow(["log"]);
        let narrowed: String = narrowed.call().await.unwrap();
        assert_ne!(narrowed, first);
    }
    warm(&tenant, "seven", "random").await;
    let nothing = TenantOptions {
        allow: Some(vec!["log".to_owned()]),
        ..TenantOptions::default()
    };
    admin.tenant_set(&tenant.name, nothing).await.unwrap();
    assert_eq!(usage(&tenant.client, "seven").await.2, 0);
    let narrowed: String = seven.call("random", ()).await.unwrap();
    assert_ne!(
        narrowed, first,
        "what is withheld holds from the next call on"
    );
}

#[tokio::test]
async fn a_guest_that_is_started_in_bad_faith_has_nothing_ready_and_keeps_nobody_waiting() {
    let host = TestHost::shared().await;
    let (hostile, tenant) = (host.tenant().await, host.tenant().await);
    tenant.register("it", counter(0, 1, "")).await;
    warm(&tenant, "it", "count").await;
    for (name, start) in [
        ("trapping", "unreachable"),
        ("endless", "(loop (br 0))"),
        ("calling-out", "(drop (call $random))"),
        (
            "growing",
            "(loop (br_if 0 (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))",
        ),
    ] {
        hostile.register(name, counter(0, 1, start)).await;
        for _ in 0..4 {
            let call = hostile.client.module(name);
            let call = call.function("count").timeout(Duration::from_millis(200));
            let ended = call.call::<u32>().await;
            if ["calling-out", "growing"].contains(&name) {
                assert_eq!(ended.unwrap(), 1, "{name}");
            } else {
                assert!(ended.is_err(), "{name}");
            }
            assert_eq!(count(&tenant.client.module("it")).await, 1);
        }
        let (hits, _, ready) = usage(&hostile.client, name).await;
        assert_eq!((hits, ready), (0, 0), "{name}");
    }
}

#[tokio::test]
async fn what_is_ready_gives_way_to_a_call_that_needs_its_memory() {
    let options = HostOptions::new()
        .limit("max-memory-bytes-per-tenant", 8 * MIB)
        .limit("ready-instance-idle-ms", 3_600_000);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("hot", counter(0, 32, "")).await;
    tenant.register("large", counter(0, 16, "")).await;
    warm(&tenant, "hot", "count").await;
    let large = tenant.client.module("large");
    // Seven and a bit of eight, beside two that are ready; one that was just being made is the next one's matter.
    let giving_way = async {
        while usage(&tenant.client, "hot").await.2 > 0 {
            let grown: i32 = large.call("grow", (100,)).await.unwrap();
            assert_eq!(grown, 16, "the call had all that it could have");
        }
    };
    in_time("what is ready to give way", giving_way).await;
    let too_much: i32 = large.call("grow", (200,)).await.unwrap();
    assert_eq!(too_much, -1, "and no more than that");
}

#[tokio::test]
async fn nothing_is_ready_for_a_registration_that_nobody_calls() {
    let options = HostOptions::new().limit("ready-instance-idle-ms", 200);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("it", counter(0, 1, "")).await;
    let it = tenant.client.module("it");
    let calling = async {
        while usage(&tenant.client, "it").await.0 == 0 {
            assert_eq!(count(&it).await, 1);
        }
    };
    in_time("calls to find an instance ready", calling).await;
    until_none_is_ready(&tenant.client, "it").await;
    assert_eq!(count(&it).await, 1);
}

#[tokio::test]
async fn a_tenant_may_have_fewer_ready_than_others_and_a_node_none_at_all() {
    let host = TestHost::start().await;
    let (admin, tenant) = (host.client().await, host.tenant().await);
    let options = TenantOptions {
        limits: Some([("max-ready-instances-per-tenant".to_owned(), 1)].into()),
        ..TenantOptions::default()
    };
    admin.tenant_set(&tenant.name, options).await.unwrap();
    for name in ["one", "two"] {
        tenant.register(name, counter(0, 1, "")).await;
    }
    for _ in 0..50 {
        let mut calls = JoinSet::new();
        for name in ["one", "two"].into_iter().cycle().take(20) {
            let it = tenant.client.module(name);
            calls.spawn(async move { count(&it).await });
        }
        assert!(calls.join_all().await.iter().all(|counted| *counted == 1));
        let ready = of_tenant(&tenant, "max-ready-instances-per-tenant").await;
        assert!(ready <= 1, "{ready}");
    }

    let options = HostOptions::new().limit("max-ready-memory-bytes", 1);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("it", counter(0, 1, "")).await;
    for _ in 0..50 {
        assert_eq!(count(&tenant.client.module("it")).await, 1);
    }
    assert_eq!(usage(&tenant.client, "it").await, (0, 50, 0));
}

#[tokio::test]
async fn what_a_call_leads_to_is_ready_as_well() {
    let tenant = TestHost::shared().await.tenant().await;
    let (caller, ticker) = ("caller", "module:ticker/ticker");
    tenant.register(ticker, built("ticker")).await;
    tenant.register(caller, built("caller")).await;
    let calling = async {
        loop {
            let it = tenant.client.module(caller);
            let ticks: Vec<u32> = it.call("ticks", (3,)).await.unwrap();
            assert_eq!(ticks, [1, 2, 3], "it is another instance in each call");
            let (outer, inner) = (
                usage(&tenant.client, caller).await,
                usage(&tenant.client, ticker).await,
            );
            if outer.0 > 2 && inner.0 > 2 {
                return;
            }
        }
    };
    in_time("both to be found ready", calling).await;
}
