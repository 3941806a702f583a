//! What modules are granted, what of it is in force, and what they find.

use std::collections::BTreeMap;
use std::time::Duration;

use rpc_host_client::{ErrorCode, NamedModule, Options, TenantOptions};
use rpc_host_protocol::Value;
use rpc_host_protocol::cbor::encode_arguments;
use rpc_host_protocol::message::{CallHeader, Message};
use rpc_host_tests::{HostOptions, TestHost, TestTenant, built};

use super::refused;

fn granted<const N: usize>(grants: [&str; N]) -> Options {
    Options {
        grants: grants.map(str::to_owned).to_vec(),
        ..Options::default()
    }
}

fn allowing<const N: usize>(patterns: [&str; N]) -> TenantOptions {
    TenantOptions {
        allow: Some(patterns.map(str::to_owned).to_vec()),
        ..TenantOptions::default()
    }
}

async fn ask(probe: &NamedModule, function: &str) -> String {
    probe.call(function, ()).await.unwrap()
}

type Said<T> = Result<T, String>;

async fn set(module: &NamedModule, bucket: &str, key: &str, value: &str) -> Said<()> {
    let said = module.call_result("set", (bucket, key, value)).await;
    said.unwrap()
}

async fn get(module: &NamedModule, bucket: &str, key: &str) -> Said<Option<String>> {
    module.call_result("get", (bucket, key)).await.unwrap()
}

/// A tenant with `wasi-probe` under these grants.
async fn probe<const N: usize>(grants: [&str; N]) -> (TestTenant, NamedModule) {
    let tenant = TestHost::shared().await.tenant().await;
    let wasm = built("wasi-probe");
    tenant.register_with("probe", wasm, granted(grants)).await;
    let module = tenant.client.module("probe");
    (tenant, module)
}

#[tokio::test]
async fn the_environment_is_exactly_what_was_granted() {
    let (tenant, with) = probe(["env:GREETING=good day", "env:EMPTY=", "env:A=b=c"]).await;
    assert_eq!(
        ask(&with, "environment").await,
        "A=b=c\nEMPTY=\nGREETING=good day"
    );
    tenant.register("without", built("wasi-probe")).await;
    assert_eq!(
        ask(&tenant.client.module("without"), "environment").await,
        ""
    );
}

#[tokio::test]
async fn a_registration_has_so_many_grants_of_so_many_bytes_and_no_more() {
    let host = TestHost::start_with(
        HostOptions::new()
            .limit("max-grants-per-registration", 2)
            .limit("max-grant-bytes-per-registration", 20),
    )
    .await;
    let tenant = host.tenant().await;
    let (client, wasm) = (&tenant.client, built("wasi-probe"));
    let module = client.upload_module(wasm).await.unwrap();
    let register = |options| client.register("probe", &module, options);
    register(granted(["log", "env:A=12345678901"]))
        .await
        .unwrap();
    refused(
        register(granted(["log", "env:A=1", "env:B=2"])).await,
        ErrorCode::ResourceExhausted,
        &["at most 2 grants"],
    );
    refused(
        register(granted(["log", "env:A=123456789012"])).await,
        ErrorCode::ResourceExhausted,
        &["at most 20 bytes"],
    );
    refused(
        register(granted(["env:A=1", "env:A=2"])).await,
        ErrorCode::InvalidArgument,
        &["`env:A` is granted twice"],
    );
}

#[tokio::test]
async fn what_the_environment_holds_is_told_to_those_who_may_deploy_and_to_nobody_else() {
    const SECRET: &str = "hunter2-canary";
    let host = TestHost::shared().await;
    let (tenant, probe) = probe([&*format!("env:TOKEN={SECRET}")]).await;
    assert_eq!(ask(&probe, "environment").await, format!("TOKEN={SECRET}"));
    let deployer = tenant.client_of("deployer").await;
    let shown = deployer.show("probe").await.unwrap();
    assert_eq!(shown.current.grants, [format!("env:TOKEN={SECRET}")]);
    for role in ["reader", "caller"] {
        let client = tenant.client_of(role).await;
        let shown = client.show("probe").await.unwrap();
        assert_eq!(shown.current.grants, ["env:TOKEN"], "{role}");
        let all = (
            client.list().await.unwrap(),
            client.history("probe").await.unwrap(),
            client.inspect("probe").await.unwrap(),
        );
        assert!(!format!("{all:?}").contains(SECRET), "{role}: {all:?}");
    }
    // Nor is it in a refusal, or in the log.
    let module = tenant.client.upload_module(built("wasi-probe")).await;
    let module = module.unwrap();
    let wrong = format!("env:1={SECRET}");
    let refusal = tenant.client.register("x", &module, granted([&*wrong]));
    let refusal = refused(
        refusal.await,
        ErrorCode::InvalidArgument,
        &["env:KEY=VALUE"],
    );
    assert!(!refusal.message.contains(SECRET), "{refusal:?}");
    assert!(!host.log().text().contains(SECRET));
}

#[tokio::test]
async fn a_precise_clock_is_for_whom_node_and_registration_allow_it() {
    let host = TestHost::start_with(HostOptions::new().allow(["clock"])).await;
    let tenant = host.tenant().await;
    let precise = granted(["clock:precise"]);
    tenant
        .register_with("precise", built("wasi-probe"), precise)
        .await;
    tenant.register("coarse", built("wasi-probe")).await;
    let step = async |name: &str| -> u64 {
        let step = ask(&tenant.client.module(name), "clock_step").await;
        step.parse().unwrap()
    };
    assert!(step("precise").await < 1_000_000);
    assert_eq!(step("coarse").await % 1_000_000, 0);
    // Others do not allow it, as long as nobody says so.
    let tenant = TestHost::shared().await.tenant().await;
    let module = tenant
        .client
        .upload_module(built("wasi-probe"))
        .await
        .unwrap();
    refused(
        tenant
            .client
            .register("precise", &module, granted(["clock:precise"]))
            .await,
        ErrorCode::PermissionDenied,
        &["the node does not allow `clock:precise`"],
    );
}

#[tokio::test]
async fn a_frozen_clock_stands_where_the_call_began() {
    let (tenant, frozen) = probe(["clock:frozen"]).await;
    let before: u128 = ask(&frozen, "wall_clock").await.parse().unwrap();
    // It never sees a step, so it looks for one until its time is up.
    let limits = BTreeMap::from([("max-cpu-ms-per-call".to_owned(), 50)]);
    let options = Options {
        limits,
        ..granted(["clock:frozen"])
    };
    let stuck = tenant.register_with("stuck", built("wasi-probe"), options);
    stuck.await;
    refused(
        tenant
            .client
            .module("stuck")
            .call::<String>("clock_step", ())
            .await,
        ErrorCode::ResourceExhausted,
        &["50 ms of processor time"],
    );
    let after: u128 = ask(&frozen, "wall_clock").await.parse().unwrap();
    assert!(after > before, "each call has a time of its own");
}

#[tokio::test]
async fn seeded_random_numbers_are_the_same_each_time_and_others_never() {
    let (tenant, seven) = probe(["random:seeded=7"]).await;
    let first = ask(&seven, "random").await;
    assert_eq!(ask(&seven, "random").await, first);
    let eight = granted(["random:seeded=8"]);
    tenant
        .register_with("eight", built("wasi-probe"), eight)
        .await;
    assert_ne!(ask(&tenant.client.module("eight"), "random").await, first);
    tenant.register("unseeded", built("wasi-probe")).await;
    let unseeded = tenant.client.module("unseeded");
    assert_ne!(
        ask(&unseeded, "random").await,
        ask(&unseeded, "random").await
    );
    let narrowed = seven.function("random").allow(["log"]);
    let narrowed: String = narrowed.call().await.unwrap();
    assert_ne!(narrowed, first, "what is withheld leaves the secure source");
}

#[cfg(not(feature = "http"))]
#[tokio::test]
async fn a_kind_that_the_node_does_not_have_is_refused() {
    let host = TestHost::start_with(HostOptions::new().allow(["http"])).await;
    let tenant = host.tenant().await;
    let module = tenant.client.upload_module(built("calc")).await.unwrap();
    let register = tenant
        .client
        .register("calc", &module, granted(["http:example.com"]));
    refused(
        register.await,
        ErrorCode::FailedPrecondition,
        &["this node is built without `http`"],
    );
}

#[tokio::test]
async fn node_tenant_and_caller_narrow_what_a_registration_was_granted() {
    let options = HostOptions::new().allow(["log", "kv", "env:A"]);
    let host = TestHost::start_with(options).await;
    let (admin, tenant) = (host.client().await, host.tenant().await);
    let (client, name) = (&tenant.client, &*tenant.name);
    let module = client.upload_module(built("buckets")).await.unwrap();
    refused(
        client.register("b", &module, granted(["env:B=1"])).await,
        ErrorCode::PermissionDenied,
        &["the node does not allow `env:B`"],
    );
    let set_tenant = async |options| admin.tenant_set(name, options).await.unwrap();
    set_tenant(allowing(["log", "kv:own"])).await;
    refused(
        client
            .register("b", &module, granted(["kv:other=ro"]))
            .await,
        ErrorCode::PermissionDenied,
        &["the tenant does not allow `kv:other=ro`"],
    );
    client
        .register("b", &module, granted(["kv:own=rw"]))
        .await
        .unwrap();
    let buckets = client.module("b");
    set(&buckets, "own", "k", "1").await.unwrap();
    assert!(client.show("b").await.unwrap().withheld.is_empty());

    // A policy that became stricter is obeyed by the next call, and said.
    set_tenant(allowing(["kv:own=ro"])).await;
    let denied = set(&buckets, "own", "k", "2").await.unwrap_err();
    assert!(denied.contains("no grant"), "{denied}");
    assert_eq!(get(&buckets, "own", "k").await, Ok(Some("1".to_owned())));
    let withheld = client.show("b").await.unwrap().withheld;
    assert_eq!((withheld.len(), &*withheld[0].by), (1, "tenant"));
    assert_eq!(withheld[0].left.as_deref(), Some("kv:own=ro"));
    let shown = tenant.cli(["show", "b"]).run().await;
    assert!(
        shown
            .ok()
            .contains("kv:own=rw by the tenant, leaving kv:own=ro"),
        "{}",
        shown.ok()
    );
    set_tenant(allowing(["none"])).await;
    get(&buckets, "own", "k").await.unwrap_err();
    refused(
        client.register("b2", &module, granted(["kv:own=ro"])).await,
        ErrorCode::PermissionDenied,
        &["the tenant does not allow `kv:own=ro`"],
    );
    set_tenant(allowing(["any"])).await;
    set(&buckets, "own", "k", "3").await.unwrap();

    // A call can have less than its modules are registered with, and never more.
    let narrowed = async |patterns: &[&str]| -> Said<()> {
        let call = buckets.function("set").allow(patterns.iter().copied());
        call.args(("own", "k", "4")).call_result().await.unwrap()
    };
    for fewer in [&["none"][..], &[], &["log"], &["kv:other"], &["kv=ro"]] {
        narrowed(fewer).await.unwrap_err();
    }
    for enough in [&["any"][..], &["kv"], &["log", "kv:own"]] {
        narrowed(enough).await.unwrap();
    }
    let more = buckets.function("get").allow(["kv:foreign"]);
    let more: Said<Option<String>> = more.args(("foreign", "k")).call_result().await.unwrap();
    more.unwrap_err();
    refused(
        buckets
            .function("get")
            .allow(["*"])
            .args(("own", "k"))
            .call::<Option<String>>()
            .await,
        ErrorCode::InvalidArgument,
        &["`*` matches no grant"],
    );
    // The node's configuration too.
    host.signal("TERM").await;
    host.end().await;
    host.start_again_with(HostOptions::new().allow(["kv=ro"]))
        .await;
    let client = tenant.client_again().await;
    let buckets = client.module("b");
    set(&buckets, "own", "k", "5").await.unwrap_err();
    assert_eq!(get(&buckets, "own", "k").await, Ok(Some("4".to_owned())));
    assert_eq!(client.show("b").await.unwrap().withheld[0].by, "node");
}

#[tokio::test]
async fn all_that_a_call_leads_to_is_narrowed_with_it() {
    let tenant = TestHost::shared().await.tenant().await;
    let logger = built("logger");
    tenant
        .register_with("acme:log/logger", logger, granted(["log"]))
        .await;
    let verifier = built("verifier");
    tenant.register("acme:auth/verifier", verifier).await;
    tenant.register("app", built("app")).await;
    let app = tenant.client.module("app");
    // It does not know the token, and has that logged by another module.
    let handle = || app.function("handle").args(("nobody's", "whoami"));
    let answer: Said<String> = handle().call_result().await.unwrap();
    answer.unwrap_err();
    refused(
        handle().allow(["none"]).call::<String>().await,
        ErrorCode::PermissionDenied,
        &[
            "needs the grant `log`",
            "the node, the tenant or the caller does not allow it now",
        ],
    );
}

#[tokio::test]
async fn only_operators_set_what_a_tenant_may() {
    let host = TestHost::shared().await;
    let (admin, tenant) = (host.client().await, host.tenant().await);
    let set = admin
        .tenant_set(&tenant.name, allowing(["log"]))
        .await
        .unwrap();
    assert_eq!((&set.allow[..], set.weight), (&["log".to_owned()][..], 100));
    for role in ["reader", "caller", "deployer", "admin"] {
        let client = tenant.client_of(role).await;
        for name in [&*tenant.name, "absent"] {
            refused(
                client.tenant_set(name, allowing(["any"])).await,
                ErrorCode::PermissionDenied,
                &["admin token of tenant `default`"],
            );
        }
    }
    let wrong = |options| admin.tenant_set(&tenant.name, options);
    refused(
        wrong(allowing(["http"])).await,
        ErrorCode::InvalidArgument,
        &["the node does not allow `http`"],
    );
    let limit = |name: &str, value| TenantOptions {
        limits: Some(BTreeMap::from([(name.to_owned(), value)])),
        ..TenantOptions::default()
    };
    for (name, value) in [
        ("max-connections", 1),
        ("max-memory-bytes", 0),
        ("max-memory-bytes", u64::MAX),
    ] {
        refused(
            wrong(limit(name, value)).await,
            ErrorCode::InvalidArgument,
            &[name],
        );
    }
    for weight in [0, 1001] {
        let options = TenantOptions {
            weight: Some(weight),
            ..TenantOptions::default()
        };
        refused(
            wrong(options).await,
            ErrorCode::InvalidArgument,
            &["from 1 to 1000"],
        );
    }
    // What holds is told to the tenant too, and obeyed.
    admin
        .tenant_set(&tenant.name, limit("max-registrations-per-tenant", 1))
        .await
        .unwrap();
    let own = tenant.client.tenant_show(&tenant.name).await.unwrap();
    assert_eq!((own.allow, own.limits.len()), (vec!["log".to_owned()], 1));
    tenant.register("one", built("calc")).await;
    let module = tenant.client.upload_module(built("calc")).await.unwrap();
    refused(
        tenant
            .client
            .register("two", &module, Options::default())
            .await,
        ErrorCode::ResourceExhausted,
        &["1 registrations"],
    );
}

#[tokio::test]
async fn a_tenant_is_set_by_the_command_line() {
    let host = TestHost::shared().await;
    let name = host.fresh_name("set");
    let made = host
        .cli(["tenant", "create", &name, "--allow", "log", "--weight", "7"])
        .run()
        .await;
    assert!(made.ok().contains("allowed:        log\n"), "{}", made.ok());
    let set = host.cli([
        "tenant",
        "set",
        &name,
        "--limit",
        "max-memory-bytes=64KiB",
        "--output",
        "json",
    ]);
    let set = set.run().await.json();
    assert_eq!(set["limits"]["max-memory-bytes"], 65_536);
    assert_eq!(
        (&set["weight"], &set["allow"][0]),
        (&7.into(), &"log".into())
    );
    let cleared = host.cli([
        "tenant",
        "set",
        &name,
        "--no-limits",
        "--allow",
        "none",
        "--output",
        "json",
    ]);
    let cleared = cleared.run().await.json();
    assert_eq!(cleared["limits"], serde_json::json!({}));
    assert_eq!(cleared["allow"], serde_json::json!([]));
    let absent = host
        .cli(["tenant", "set", "absent", "--weight", "1"])
        .run()
        .await;
    absent.error("not-found", &["there is no tenant `absent`"]);
}

#[tokio::test]
async fn a_call_is_narrowed_by_the_command_line() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant
        .register_with("b", built("buckets"), granted(["kv:own=rw"]))
        .await;
    let set = |allow: &'static str| {
        tenant.cli(["call", "b", r#"set("own", "k", "1")"#, "--allow", allow])
    };
    set("kv:own").run().await.ok();
    let denied = set("none").run().await;
    assert_eq!(denied.status.code(), Some(1));
    assert!(denied.stdout.contains("no grant"), "{}", denied.stdout);
}

#[tokio::test]
async fn what_is_in_a_bucket_is_durable_and_the_tenant_s_alone() {
    let host = TestHost::start().await;
    let (tenant, other) = (host.tenant().await, host.tenant().await);
    for tenant in [&tenant, &other] {
        tenant
            .register_with("b", built("buckets"), granted(["kv:own=rw", "kv:seen=ro"]))
            .await;
    }
    let buckets = tenant.client.module("b");
    set(&buckets, "own", "k", "kept").await.unwrap();
    assert_eq!(get(&other.client.module("b"), "own", "k").await, Ok(None));
    for (bucket, key) in [("seen", "k"), ("absent", "k"), ("../own", "k"), ("", "k")] {
        let denied = set(&buckets, bucket, key, "x").await.unwrap_err();
        assert!(denied.contains("no grant"), "{bucket}: {denied}");
    }
    assert_eq!(get(&buckets, "seen", "k").await, Ok(None));
    get(&buckets, "absent", "k").await.unwrap_err();
    let sum: Said<u64> = buckets
        .call_result("increment", ("own", "n", 40_u64))
        .await
        .unwrap();
    assert_eq!(sum, Ok(40));

    host.kill().await;
    host.start_again().await;
    let client = tenant.client_again().await;
    let buckets = client.module("b");
    assert_eq!(get(&buckets, "own", "k").await, Ok(Some("kept".to_owned())));
    let sum: Said<u64> = buckets
        .call_result("increment", ("own", "n", 2_u64))
        .await
        .unwrap();
    assert_eq!(sum, Ok(42));
    let many: Said<()> = buckets
        .call_result("set_many", ("own", 3_u32))
        .await
        .unwrap();
    many.unwrap();
    let deleted: Said<()> = buckets
        .call_result("delete", ("own", "000001"))
        .await
        .unwrap();
    deleted.unwrap();
    let keys: Said<Vec<String>> = buckets.call_result("keys", ("own",)).await.unwrap();
    assert_eq!(keys.unwrap(), ["000000", "000002", "k", "n"]);
}

#[tokio::test]
async fn a_component_without_the_grant_of_buckets_can_be_called_and_its_buckets_cannot() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("b", built("buckets")).await;
    refused(
        tenant
            .client
            .module("b")
            .call::<Option<String>>("get", ("own", "k"))
            .await,
        ErrorCode::PermissionDenied,
        &[
            "`wasi:keyvalue/store@0.2.0-draft.open`",
            "needs the grant `kv`",
            "--grant kv:BUCKET=ro",
        ],
    );
    let inspection = tenant.client.inspect("b").await.unwrap();
    let store = inspection
        .imports
        .iter()
        .find(|import| import.name.starts_with("wasi:keyvalue/store"));
    assert!(store.unwrap().note.contains("needs the grant `kv`"));
}

#[tokio::test]
async fn buckets_have_room_for_so_much_and_no_more() {
    let host = TestHost::start_with(
        HostOptions::new()
            .limit("max-kv-key-bytes", 8)
            .limit("max-kv-value-bytes", 1000)
            .limit("max-kv-keys-per-batch", 20)
            .limit("max-kv-keys-per-page", 3)
            .limit("max-kv-keys-per-bucket", 10)
            .limit("max-kv-bytes-per-bucket", 1500)
            .limit("max-kv-keys-per-tenant", 12)
            .limit("max-kv-bytes-per-tenant", 2000)
            .limit("max-kv-buckets-per-tenant", 2),
    )
    .await;
    let tenant = host.tenant().await;
    let grants = granted(["kv:a=rw", "kv:b=rw", "kv:c=rw"]);
    tenant.register_with("m", built("buckets"), grants).await;
    let buckets = tenant.client.module("m");
    let fill = async |bucket: &str, key: &str, bytes: u32| -> Said<()> {
        buckets
            .call_result("fill", (bucket, key, bytes))
            .await
            .unwrap()
    };
    let many = async |bucket: &str, keys: u32| -> Said<()> {
        buckets
            .call_result("set_many", (bucket, keys))
            .await
            .unwrap()
    };
    let says = |said: Said<()>, text: &str| {
        let said = said.unwrap_err();
        assert!(said.contains(text), "{said:?} where {text:?} was expected");
    };
    fill("a", "12345678", 1000).await.unwrap();
    says(fill("a", "123456789", 1).await, "1 to 8 bytes");
    says(fill("a", "", 1).await, "1 to 8 bytes");
    says(fill("a", "k", 1001).await, "at most 1000 bytes");
    says(
        fill("a", "k", 600).await,
        "the bucket has room for 1500 bytes",
    );
    says(many("a", 21).await, "at most 20 keys can be named at once");
    says(many("a", 10).await, "the bucket has room for 10 keys");
    many("a", 9).await.unwrap();
    let keys: Said<Vec<String>> = buckets.call_result("keys", ("a",)).await.unwrap();
    assert_eq!(keys.unwrap().len(), 10, "page by page");
    fill("b", "k", 900).await.unwrap();
    says(
        fill("b", "l", 100).await,
        "the tenant has room for 2000 bytes",
    );
    many("b", 1).await.unwrap();
    says(fill("b", "l", 1).await, "the tenant has room for 12 keys");
    let deleted: Said<()> = buckets
        .call_result("delete", ("b", "000000"))
        .await
        .unwrap();
    deleted.unwrap();
    says(fill("c", "k", 1).await, "the tenant has room for 2 buckets");
}

#[tokio::test]
async fn whoever_changes_a_bucket_without_end_is_slowed_and_ends_in_time() {
    let options = HostOptions::new().limit("max-kv-writes-per-second-per-tenant", 50);
    let host = TestHost::start_with(options).await;
    let (tenant, other) = (host.tenant().await, host.tenant().await);
    for tenant in [&tenant, &other] {
        tenant
            .register_with("b", built("buckets"), granted(["kv:own=rw"]))
            .await;
    }
    let buckets = tenant.client.module("b");
    let hammer = buckets
        .function("hammer")
        .arg("own")
        .timeout(Duration::from_secs(2));
    let hammering = tokio::spawn(hammer.call_result::<(), String>());
    set(&other.client.module("b"), "own", "k", "1")
        .await
        .unwrap();
    refused(hammering.await.unwrap(), ErrorCode::DeadlineExceeded, &[]);
    // A second's worth at once, and two seconds' worth in their time.
    let reached = get(&buckets, "own", "k").await.unwrap().unwrap();
    let reached: u64 = reached.parse().unwrap();
    assert!((20..=150).contains(&reached), "{reached}");
}

#[tokio::test]
async fn a_call_that_is_late_before_it_began_does_nothing() {
    let tenant = TestHost::shared().await.tenant().await;
    let module = tenant.client.upload_module(built("buckets")).await.unwrap();
    let register = tenant.client.register("b", &module, granted(["kv:own=rw"]));
    register.await.unwrap();
    let mut peer = tenant.raw_peer().await;
    for (timeout_ms, outcome) in [(0, Err(ErrorCode::DeadlineExceeded)), (60_000, Ok(()))] {
        let id = peer.fresh_id();
        let header = CallHeader {
            module: "b".to_owned(),
            function: "increment".to_owned(),
            timeout_ms: Some(timeout_ms),
            ..CallHeader::default()
        };
        let text = |text: &str| Value::String(text.to_owned());
        let arguments = encode_arguments(&[text("own"), text("n"), Value::U64(1)], &[]);
        peer.send(id, Message::call(header, arguments)).await;
        let ended = peer
            .outcome(id)
            .await
            .map(|_| ())
            .map_err(|failure| failure.code);
        assert_eq!(ended, outcome, "{timeout_ms}");
    }
    let buckets = tenant.client.module("b");
    assert_eq!(get(&buckets, "own", "n").await, Ok(Some("1".to_owned())));
}
