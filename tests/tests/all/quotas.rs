//! What a tenant may use with all that it has, and how fast. Each limit stands beside a tenant that stays
//! below it, and beside another tenant, which never notices.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_client::{Client, ErrorCode, Failure, Fault, LimitEntry, Options};
use rpc_host_protocol::message::{Fallback, Provide, ProvideScope};
use rpc_host_protocol::operation::LimitsOf;
use rpc_host_protocol::{ExchangeId, Message, Operation, Value};
use rpc_host_tests::{HostOptions, RawPeer, TestHost, TestTenant, built, in_time};

use crate::{failure, refused};

const MIB: u64 = 1 << 20;

/// What the tenant uses of a limit.
async fn used(tenant: &TestTenant, limit: &str) -> u64 {
    let entry = entry(tenant, limit).await;
    entry.used.unwrap_or_else(|| panic!("{entry:?}"))
}

async fn entry(tenant: &TestTenant, limit: &str) -> LimitEntry {
    let entries = tenant.client.limits(None).await.unwrap();
    let found = entries.into_iter().find(|entry| entry.name == limit);
    found.unwrap_or_else(|| panic!("no {limit}"))
}

async fn sleep(peer: &mut RawPeer) -> ExchangeId {
    peer.call("sleeper", "sleep", &[Value::U64(600_000)]).await
}

async fn add(peer: &mut RawPeer) -> ExchangeId {
    peer.call("calc", "add", &[Value::S64(2), Value::S64(3)])
        .await
}

async fn two_tenants(options: HostOptions) -> (Arc<TestHost>, TestTenant, TestTenant) {
    let host = TestHost::start_with(options).await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    for tenant in [&one, &other] {
        tenant.register("sleeper", built("sleeper")).await;
        tenant.register("calc", built("calc")).await;
    }
    (host, one, other)
}

const MEMORY: &str = "max-memory-bytes-per-tenant";

#[tokio::test]
async fn the_instances_of_a_tenant_have_so_much_memory_together_and_no_more() {
    let (_host, tenant, other) = two_tenants(HostOptions::new().limit(MEMORY, 4 * MIB)).await;
    let mut peer = tenant.raw_peer().await;
    // A sleeper has one MiB and a bit, and so has a calculator: four have more than the limit.
    for sleepers in 1..=3 {
        let _call = sleep(&mut peer).await;
        let there = async { while used(&tenant, MEMORY).await < sleepers * MIB {} };
        in_time("a sleeper to have its memory", there).await;
    }
    let quick = add(&mut peer).await;
    let refusal = peer.outcome(quick).await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.fault, refusal.retryable),
        (ErrorCode::ResourceExhausted, Fault::Tenant, true),
        "{refusal:?}"
    );
    let said = "the tenant's instances together have as much memory as `max-memory-bytes-per-tenant` \
                allows, 4194304 bytes";
    assert!(refusal.message.contains(said), "{refusal:?}");
    assert!(used(&tenant, MEMORY).await > 2 * MIB);
    let calc = other.client.module("calc");
    assert_eq!(calc.call::<i64>("add", (2, 3)).await.unwrap(), 5);

    // However they end, all is given back.
    peer.close().await;
    drop(peer);
    let all_back = async { while used(&tenant, MEMORY).await > 0 {} };
    in_time("all memory to be given back", all_back).await;
    let calc = tenant.client.module("calc");
    assert_eq!(calc.call::<i64>("add", (2, 3)).await.unwrap(), 5);
}

#[tokio::test]
async fn what_an_instance_took_of_its_tenants_memory_is_given_back_however_it_ends() {
    let host = TestHost::start_with(HostOptions::new().limit(MEMORY, 32 * MIB)).await;
    let tenant = host.tenant().await;
    tenant.register("trap", built("trap")).await;
    tenant.register("sleeper", built("sleeper")).await;
    let trap = tenant.client.module("trap");
    let got: u32 = trap.call("grow_memory", (100,)).await.unwrap();
    assert!((8..32).contains(&got), "{got} MiB of 32");
    assert_eq!(used(&tenant, MEMORY).await, 0);
    // One that cannot do without.
    let refusal = refused(
        trap.call::<u32>("allocate", (64 << 20,)).await,
        ErrorCode::ResourceExhausted,
        &[
            "`max-memory-bytes-per-tenant`",
            "the module panicked or aborted",
        ],
    );
    assert_eq!(refusal.fault, Fault::Tenant);
    assert_eq!(used(&tenant, MEMORY).await, 0);
    refused(
        trap.call::<u32>("panic_with", ("so be it",)).await,
        ErrorCode::Trapped,
        &[],
    );
    assert_eq!(used(&tenant, MEMORY).await, 0);
    let sleeper = tenant.client.module("sleeper");
    let call = sleeper.function("sleep").arg(600_000_u64);
    let late = call.timeout(Duration::from_millis(100)).call::<u64>().await;
    refused(late, ErrorCode::DeadlineExceeded, &[]);
    assert_eq!(used(&tenant, MEMORY).await, 0);
    let mut peer = tenant.raw_peer().await;
    let cancelled = sleep(&mut peer).await;
    let is_asleep = async { while used(&tenant, MEMORY).await == 0 {} };
    in_time("an instance", is_asleep).await;
    peer.send(cancelled, Message::Cancel).await;
    peer.outcome(cancelled).await.unwrap_err();
    assert_eq!(used(&tenant, MEMORY).await, 0);
    // The instance's own limit is another one, and says so.
    let options = Options {
        limits: [("max-memory-bytes".to_owned(), 8 * MIB)].into(),
        ..Options::default()
    };
    tenant.register_with("trap", built("trap"), options).await;
    refused(
        trap.call::<u32>("allocate", (64 << 20,)).await,
        ErrorCode::Trapped,
        &["asked for more memory than its limit of 8388608 bytes"],
    );
}

#[tokio::test]
async fn the_sessions_of_a_tenant_have_so_many_calls_in_flight_and_no_more() {
    let options = HostOptions::new().limit("max-calls-in-flight-per-tenant", 3);
    let (_host, tenant, other) = two_tenants(options).await;
    let (mut one, mut two) = (tenant.raw_peer().await, tenant.raw_peer().await);
    let sleeping = sleep(&mut one).await;
    sleep(&mut one).await;
    // One that is quick has room beside the two, in any session.
    let quick = add(&mut one).await;
    assert_eq!(one.outcome(quick).await.unwrap(), [5]);
    sleep(&mut one).await;
    let refusal = in_time("a refusal", async {
        loop {
            let over = add(&mut two).await;
            // The third may have been on its way still.
            if let Err(failure) = two.outcome(over).await {
                return failure;
            }
        }
    })
    .await;
    assert_eq!(
        (refusal.code, refusal.fault),
        (ErrorCode::ResourceExhausted, Fault::Tenant)
    );
    let said = "the tenant's sessions together have 3 exchanges in flight already, the limit \
                `max-calls-in-flight-per-tenant`";
    assert!(refusal.message.contains(said), "{refusal:?}");
    let calc = other.client.module("calc");
    assert_eq!(calc.call::<i64>("add", (2, 3)).await.unwrap(), 5);
    one.send(sleeping, Message::Cancel).await;
    one.outcome(sleeping).await.unwrap_err();
    let next = add(&mut two).await;
    assert_eq!(two.outcome(next).await.unwrap(), [5]);
}

#[tokio::test]
async fn a_tenant_may_be_allowed_less_than_the_node_and_a_registration_less_than_that() {
    let (host, tenant, other) = two_tenants(HostOptions::new()).await;
    // Its sessions have its account already.
    let mut peer = tenant.raw_peer().await;
    let set = |limit: &'static str| {
        let arguments = ["tenant", "set", &tenant.name, "--limit", limit];
        host.cli(arguments).run()
    };
    set("max-calls-in-flight-per-tenant=1").await.ok();
    sleep(&mut peer).await;
    let over = add(&mut peer).await;
    let refusal = peer.outcome(over).await.unwrap_err();
    assert!(
        refusal.message.contains("have 1 exchanges in flight"),
        "{refusal:?}"
    );
    peer.close().await;
    drop(peer);
    let calc = other.client.module("calc");
    assert_eq!(calc.call::<i64>("add", (2, 3)).await.unwrap(), 5);
    set("max-memory-bytes=33554432").await.ok();
    let in_force = async {
        loop {
            if let Ok(entries) = tenant.client.limits(None).await {
                return entries;
            }
        }
    };
    let entries = in_time("the limits", in_force).await;
    let memory = entries.iter().find(|it| it.name == "max-memory-bytes");
    let memory = memory.unwrap();
    assert_eq!((memory.value, memory.node), (32 * MIB, 256 * MIB));
    let options = |bytes: u64| Options {
        limits: [("max-memory-bytes".to_owned(), bytes)].into(),
        ..Options::default()
    };
    let module = tenant.client.upload_module(built("trap")).await.unwrap();
    refused(
        tenant
            .client
            .register("trap", &module, options(64 * MIB))
            .await,
        ErrorCode::InvalidArgument,
        &["`max-memory-bytes` cannot be 67108864"],
    );
    let trap = tenant.client.module("trap");
    for (limit, most) in [(32 * MIB, 32), (16 * MIB, 16)] {
        let registered = tenant.client.register("trap", &module, options(limit));
        registered.await.unwrap();
        let got: u32 = trap.call("grow_memory", (100,)).await.unwrap();
        assert!((most / 2..most).contains(&got), "{got} MiB of {most}");
    }
}

/// How many of these went well, and how one of the others ended.
async fn outcomes(peer: &mut RawPeer, begun: Vec<ExchangeId>) -> (usize, Option<Failure>) {
    let (mut went_well, mut refusal, mut left) = (0, None, begun.len());
    while left > 0 {
        let (id, message) = peer.message().await;
        if !begun.contains(&id) {
            continue;
        }
        match message {
            Message::Reply { .. } => went_well += 1,
            Message::Failure(failure) => refusal = Some(failure),
            _ => continue,
        }
        left -= 1;
    }
    (went_well, refusal)
}

/// That it was too fast, with a time after which it is not any more.
fn too_fast(refusal: Option<Failure>, limit: &str) -> Duration {
    let refusal = refusal.expect("more than the limit came at once");
    assert_eq!(refusal.code, ErrorCode::ResourceExhausted, "{refusal:?}");
    assert!(refusal.message.contains(limit), "{refusal:?}");
    assert!(refusal.message.contains("try again in"), "{refusal:?}");
    assert!(refusal.retryable);
    Duration::from_millis(refusal.retry_after_ms.expect("when"))
}

#[tokio::test]
async fn calls_begin_so_fast_in_a_session_and_in_a_tenant_and_no_faster() {
    // Slow enough that nothing is earned while the test sends.
    for (limit, sessions) in [
        ("max-calls-per-second-per-session", 1),
        ("max-calls-per-second-per-tenant", 2),
    ] {
        let options = HostOptions::new()
            .limit(limit, 2)
            .limit("rate-burst-ms", 5000);
        let (_host, tenant, other) = two_tenants(options).await;
        let (mut went_well, mut refusal) = (0, None);
        for _ in 0..sessions {
            let mut peer = tenant.raw_peer().await;
            let mut begun = Vec::new();
            for _ in 0..40 {
                begun.push(add(&mut peer).await);
            }
            let (well, refused) = outcomes(&mut peer, begun).await;
            went_well += well;
            refusal = refused.or(refusal);
        }
        // Two a second, saved up for five; a slow machine may earn some more meanwhile.
        assert!((10..40).contains(&went_well), "{limit}: {went_well}");
        let wait = too_fast(refusal, limit);
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        // A session that was not too fast is not held up, unless its tenant was.
        let calc = other.client.module("calc");
        assert_eq!(calc.call::<i64>("add", (2, 3)).await.unwrap(), 5);
        // Whoever waits as long as it is told comes through.
        let again = async {
            let calc = tenant.client.module("calc");
            while let Err(error) = calc.call::<i64>("add", (2, 3)).await {
                let refusal = failure::<i64>(Err(error));
                tokio::time::sleep(too_fast(Some(refusal), limit)).await;
            }
        };
        in_time("one more call", again).await;
    }
}

#[tokio::test]
async fn requests_begin_so_fast_in_a_session_and_in_a_tenant_and_no_faster() {
    for limit in [
        "max-requests-per-second-per-session",
        "max-requests-per-second-per-tenant",
    ] {
        let options = HostOptions::new()
            .limit(limit, 4)
            .limit("rate-burst-ms", 5000);
        let (_host, tenant, other) = two_tenants(options).await;
        let mut peer = tenant.raw_peer().await;
        let mut begun = Vec::new();
        for _ in 0..60 {
            let id = peer.fresh_id();
            peer.send(id, Message::Request(Operation::Limits(LimitsOf::default())))
                .await;
            begun.push(id);
        }
        let (went_well, refusal) = outcomes(&mut peer, begun).await;
        assert!((1..60).contains(&went_well), "{limit}: {went_well}");
        too_fast(refusal, limit);
        // Offers, withdrawals and uploads come out of the same purse; calls do not.
        let offer = Provide {
            name: "acme:log/logger".to_owned(),
            scope: ProvideScope::Session,
            lease_ms: 10_000,
            window: 1,
            fallback: Fallback::default(),
            wit: None,
        };
        let flood = async {
            loop {
                if let Err(refusal) = peer.provide(offer.clone()).await
                    && refusal.message.contains(limit)
                {
                    return refusal;
                }
            }
        };
        too_fast(Some(in_time("an offer too many", flood).await), limit);
        let flood = async {
            loop {
                if let Err(refusal) = peer.withdraw("acme:log/logger", false).await
                    && refusal.message.contains(limit)
                {
                    return refusal;
                }
            }
        };
        too_fast(Some(in_time("a withdrawal too many", flood).await), limit);
        let call = add(&mut peer).await;
        assert_eq!(peer.outcome(call).await.unwrap(), [5]);
        other.client.list().await.unwrap();
    }
}

#[tokio::test]
async fn replies_that_nobody_reads_have_so_many_bytes_and_no_more() {
    let options = HostOptions::new()
        .limit("max-unread-reply-bytes-per-session", 4 * MIB)
        .limit("max-queued-bytes-per-session", MIB)
        .limit("max-reply-bytes", 2 * MIB)
        .log_level("debug");
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("big", built("big")).await;
    let mut peer = tenant.raw_peer().await;
    let mut begun = Vec::new();
    // More than the unread ones, those that are queued, and what the system holds for both sides.
    for _ in 0..64 {
        begun.push(peer.call("big", "text", &[Value::U32(1_500_000)]).await);
    }
    // Nobody reads before one has found no room.
    let is_refused = |line: &rpc_host_tests::LogLine| {
        line.message() == "exchange ended" && line.field("code") == "resource-exhausted"
    };
    host.log().line("of a reply too many", is_refused).await;
    let (went_well, refusal) = outcomes(&mut peer, begun).await;
    let refusal = refusal.expect("a reply that found no room");
    assert!(went_well >= 2, "{went_well}");
    assert_eq!(
        (refusal.code, refusal.fault),
        (ErrorCode::ResourceExhausted, Fault::Peer)
    );
    assert!(
        refusal
            .message
            .contains("`max-unread-reply-bytes-per-session`")
            && refusal.message.contains("the call was made"),
        "{refusal:?}"
    );
    // One that is read has room.
    let text: String = tenant
        .client
        .module("big")
        .call("text", (1_500_000_u32,))
        .await
        .unwrap();
    assert_eq!(text.len(), 1_500_000);
    assert_eq!(used(&tenant, MEMORY).await, 0, "nothing is left of them");
}

#[tokio::test]
async fn what_the_guests_of_a_tenant_write_to_the_log_is_so_much_over_time_and_no_more() {
    let limit = "max-log-bytes-per-second-per-tenant";
    let options = HostOptions::new()
        .limit(limit, 1000)
        .limit("rate-burst-ms", 2000);
    let host = TestHost::start_with(options).await;
    let (tenant, other) = (host.tenant().await, host.tenant().await);
    tenant.register("probe", built("wasi-probe")).await;
    other.register("probe", built("wasi-probe")).await;
    let line = "x".repeat(100);
    let print = async |tenant: &TestTenant| {
        let probe = tenant.client.module("probe");
        let _said: String = probe.call("print", (&*line,)).await.unwrap();
    };
    // Two thousand bytes at once, and then a hundred in a tenth of a second.
    let log = host.log();
    let told = async {
        loop {
            print(&tenant).await;
            let lines = log.lines();
            let told = lines.into_iter().find(|line| {
                line.message() == "lines over `max-log-bytes-per-second-per-tenant` are dropped"
            });
            if let Some(told) = told {
                return told;
            }
        }
    };
    let told = in_time("a word about it", told).await;
    assert_eq!(told.field("tenant"), tenant.name);
    assert_eq!(told.level(), "WARN");
    let of = |tenant: &TestTenant| {
        let lines = log.lines();
        let theirs = lines.iter().filter(|it| {
            it.field("tenant") == tenant.name && it.message().trim_end().ends_with(&*line)
        });
        theirs.count()
    };
    assert!(of(&tenant) >= 19, "{}", of(&tenant));
    print(&other).await;
    log.line("of the other tenant", |line| {
        line.field("tenant") == other.name
    })
    .await;
    assert_eq!(of(&other), 1);
}

#[tokio::test]
async fn compiled_code_counts_in_a_quota_that_survives_a_restart() {
    let quota = "max-artifact-bytes-per-tenant";
    let host = TestHost::start().await;
    let mut tenant = host.tenant().await;
    let calc = tenant.client.upload_module(built("calc")).await.unwrap();
    let of_calc = used(&tenant, quota).await;
    assert!(of_calc > built("calc").len() as u64 / 2, "{of_calc}");
    host.signal("TERM").await;
    host.end().await;
    // Room for one of these, and for half of another.
    let options = HostOptions::new().limit(quota, of_calc + of_calc / 2);
    host.start_again_with(options).await;
    tenant.client = Client::connect(tenant.profile()).await.unwrap();
    assert_eq!(used(&tenant, quota).await, of_calc);
    refused(
        tenant.client.upload_module(built("big")).await,
        ErrorCode::ResourceExhausted,
        &[
            "the compiled code of the module has",
            "`max-artifact-bytes-per-tenant`",
            "remove a module",
        ],
    );
    assert_eq!(tenant.client.modules().await.unwrap().len(), 1);
    // What is there stays good, and another tenant has room of its own.
    tenant
        .client
        .register("calc", &calc, Options::default())
        .await
        .unwrap();
    let module = tenant.client.module("calc");
    assert_eq!(module.call::<i64>("add", (2, 3)).await.unwrap(), 5);
    let other = host.tenant().await;
    other.client.upload_module(built("calc")).await.unwrap();
    tenant.client.remove("calc").await.unwrap();
    tenant.client.remove_module(calc.digest()).await.unwrap();
    assert_eq!(used(&tenant, quota).await, 0);
    tenant.client.upload_module(built("calc")).await.unwrap();
    assert_eq!(used(&tenant, quota).await, of_calc);
}

#[tokio::test]
async fn limits_are_told_to_every_role_for_its_own_tenant_and_registrations() {
    let options = HostOptions::new().limit("max-memory-bytes", 100 * MIB);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    let options = Options {
        limits: [("max-memory-bytes".to_owned(), 50 * MIB)].into(),
        ..Options::default()
    };
    tenant.register_with("calc", built("calc"), options).await;
    for role in ["reader", "caller", "deployer", "admin"] {
        let client = tenant.client_of(role).await;
        let memory = async |name: Option<&str>| {
            let entries = client.limits(name).await.unwrap();
            let found = entries
                .iter()
                .find(|entry| entry.name == "max-memory-bytes");
            let found = found.unwrap();
            (found.value, found.node, found.default, found.ceiling)
        };
        let (default, ceiling) = (256 * MIB, 4096 * MIB);
        assert_eq!(memory(None).await, (100 * MIB, 100 * MIB, default, ceiling));
        assert_eq!(
            memory(Some("calc")).await,
            (50 * MIB, 100 * MIB, default, ceiling)
        );
    }
    let entries = tenant.client.limits(None).await.unwrap();
    let used = |name: &str| {
        let found = entries.iter().find(|entry| entry.name == name);
        found.unwrap().used
    };
    assert_eq!(used("max-registrations-per-tenant"), Some(1));
    assert_eq!(used("max-modules-per-tenant"), Some(1));
    let stored = built("calc").len() as u64;
    assert_eq!(used("max-stored-bytes-per-tenant"), Some(stored));
    assert_eq!(used("max-tokens-per-tenant"), Some(5));
    // A name of another tenant is as good as none.
    let other = host.tenant().await;
    refused(
        other.client.limits(Some("calc")).await,
        ErrorCode::NotFound,
        &["calc"],
    );
    let reader = tenant.client_of("reader").await;
    let entries = reader.limits(None).await.unwrap();
    let tokens = entries
        .iter()
        .find(|entry| entry.name == "max-tokens-per-tenant");
    assert_eq!(tokens.unwrap().used, None, "a reader manages no tokens");
}

#[tokio::test]
async fn limits_are_a_table_on_the_command_line_with_a_node_and_without() {
    let host = TestHost::start_with(HostOptions::new().limit("max-upload-bytes", MIB)).await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    let shown = tenant.cli(["limits"]).run().await.ok().to_owned();
    let line = |text: &str, name: &str| {
        let found = text.lines().find(|line| line.starts_with(name));
        let found = found.unwrap_or_else(|| panic!("no {name} in {text}"));
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(
        line(&shown, "max-upload-bytes ").starts_with("max-upload-bytes 1.0 MiB 64.0 MiB 1.0 GiB "),
        "{shown}"
    );
    assert!(
        line(&shown, "max-modules-per-tenant").contains(" 1024 1 (0 %) "),
        "{shown}"
    );
    assert!(
        line(&shown, "memories-per-instance").contains(" 16 16 fixed "),
        "{shown}"
    );
    let offline = tenant
        .cli(["limits", "--config", "node.toml"])
        .env("RPC_HOST_PROFILE", "/nowhere")
        .run()
        .await
        .ok()
        .to_owned();
    assert_eq!(
        line(&offline, "max-upload-bytes "),
        line(&shown, "max-upload-bytes ")
    );
    let json = tenant
        .cli(["limits", "calc", "--output", "json"])
        .run()
        .await
        .json();
    let entries: Vec<LimitEntry> = serde_json::from_value(json).unwrap();
    assert_eq!(entries.len(), shown.lines().count() - 1);
    let output = tenant.cli(["limits", "nothing"]).run().await;
    output.error("error: not-found: ", &["nothing"]);
}
