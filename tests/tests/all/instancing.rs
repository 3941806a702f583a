//! Instances that are there because a registration says so: for each session, or for all.

use std::collections::HashSet;
use std::time::Duration;

use rpc_host_client::{
    ChangeOptions, Client, ErrorCode, Fault, Instancing, NamedModule, Options, SwapTo,
};
use rpc_host_protocol::Value;
use rpc_host_tests::{HostOptions, TestHost, TestTenant, built, component, in_time};
use tokio::task::JoinSet;

use crate::handles::{Holder, handle, until_nothing_lives};
use crate::stand_ins::another;
use crate::{bound, refused};

fn kept(instancing: Instancing) -> Options {
    Options {
        instancing,
        ..Options::default()
    }
}

fn forced(options: Options) -> Options {
    Options {
        force: true,
        ..options
    }
}

/// A tenant with a module `it` that counts its calls in its memory.
async fn counting(instancing: Instancing) -> TestTenant {
    let tenant = TestHost::shared().await.tenant().await;
    tenant
        .register_with("it", counter_of_calls("count", ""), kept(instancing))
        .await;
    tenant
}

/// A component whose function of this name counts its calls, and `trap` traps; `more` is put into it, and may use
/// the core instance `$i` and its memory.
fn counter_of_calls(name: &str, more: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (func (export "count") (result i32)
                    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                    (i32.load (i32.const 0)))
                (func (export "trap") unreachable)
                (func (export "spin") (loop (br 0)))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "give") (result i32)
                    (i32.store (i32.const 16) (i32.const 0))
                    (i32.store (i32.const 20) (i32.const 4))
                    (i32.const 16))
                (func (export "take") (param i32 i32)
                    (i32.store (i32.const 0) (i32.load (local.get 0)))))
            (core instance $i (instantiate $m))
            (func $count (result u32) (canon lift (core func $i "count")))
            (export "{name}" (func $count))
            (func (export "trap") (canon lift (core func $i "trap")))
            (func (export "spin") (canon lift (core func $i "spin")))
            {more})"#
    ))
}

/// Gives its state, and takes it.
const STATE: &str = r#"
    (func (export "export-state") (result (list u8))
        (canon lift (core func $i "give") (memory $i "memory")))
    (func (export "import-state") (param "state" (list u8))
        (canon lift (core func $i "take") (memory $i "memory") (realloc (func $i "realloc"))))"#;

async fn count(it: &NamedModule) -> u32 {
    it.call("count", ()).await.unwrap()
}

async fn swapped(client: &Client, wasm: Vec<u8>) {
    let module = client.upload_module(wasm).await.unwrap();
    let to = SwapTo::Digest(module.digest().to_owned());
    client
        .swap("it", to, ChangeOptions::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_has_an_instance_of_its_own_until_it_ends() {
    let tenant = counting(Instancing::Session).await;
    let (one, other) = (another(&tenant).await, another(&tenant).await);
    let (it, others) = (one.module("it"), other.module("it"));
    for expected in 1..=3 {
        assert_eq!(count(&it).await, expected);
    }
    assert_eq!(count(&others).await, 1);
    assert_eq!(count(&it).await, 4);
    // After a failure, which says so, the next call finds a fresh one.
    refused(it.call::<()>("trap", ()).await, ErrorCode::Trapped, &[]);
    assert_eq!(count(&it).await, 1);
    assert_eq!(count(&others).await, 2);
    // It stays what it is when the name means something else.
    swapped(&tenant.client, counter_of_calls("count", STATE)).await;
    assert_eq!(count(&it).await, 2);
    let third = another(&tenant).await;
    assert_eq!(count(&third.module("it")).await, 1);
    let described = third.module("it").function("export-state");
    assert_eq!(described.call::<Vec<u8>>().await.unwrap(), [1, 0, 0, 0]);
    let old = it.call::<Vec<u8>>("export-state", ()).await;
    refused(old, ErrorCode::InvalidArgument, &["no function"]);
    drop((one, it, other, others, third));
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn sessions_share_one_instance_whose_calls_take_turns() {
    let tenant = counting(Instancing::Shared).await;
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let client = another(&tenant).await;
        calls.spawn(async move {
            let it = client.module("it");
            let mut seen = Vec::new();
            for _ in 0..50 {
                seen.push(count(&it).await);
            }
            assert!(seen.is_sorted(), "{seen:?}");
            seen
        });
    }
    let all: Vec<u32> = calls.join_all().await.into_iter().flatten().collect();
    let distinct: HashSet<u32> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (400, 400));
    assert_eq!(all.iter().max(), Some(&400), "each saw a number of its own");
    // It outlives all who called it.
    let it = tenant.client.module("it");
    assert_eq!(count(&it).await, 401);
    let entry = tenant.client.show("it").await.unwrap();
    assert_eq!(entry.current.instancing, Instancing::Shared);
    let shown = tenant.cli(["show", "it"]).run().await;
    assert!(shown.ok().contains("instancing:  shared"), "{shown:?}");
    // A fresh one for each call again, and then nothing is shared any more.
    let module = entry.current.digest.clone();
    let file = tenant.host.file("it.wasm", counter_of_calls("count", ""));
    let upload = ["upload", file.to_str().unwrap(), "--name", "it"];
    tenant.cli(upload).run().await.ok();
    assert_eq!(
        tenant.client.show("it").await.unwrap().current.digest,
        module
    );
    assert_eq!((count(&it).await, count(&it).await), (1, 1));
    until_nothing_lives(&tenant.client).await;
    let [a, b, c, d] = upload;
    let again = [a, b, c, d, "--instancing", "shared"];
    tenant.cli(again).run().await.ok();
    assert_eq!((count(&it).await, count(&it).await), (1, 2));
    tenant.client.remove("it").await.unwrap();
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn calls_of_one_session_reach_a_shared_instance_in_the_order_in_which_they_were_sent() {
    let tenant = TestHost::shared().await.tenant().await;
    let shared = kept(Instancing::Shared);
    tenant
        .register_with("counter", counter_of_calls("total", ""), shared)
        .await;
    let mut it = Holder::of(&tenant).await;
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids.push(it.0.call("counter", "total", &[]).await);
    }
    let mut replies = it.replies(&ids).await;
    for (id, expected) in ids.iter().zip(1_u64..) {
        assert_eq!(replies.remove(id), Some(expected));
    }
}

#[tokio::test]
async fn a_shared_instance_that_failed_is_made_anew_and_who_caused_it_hears_of_it() {
    let tenant = TestHost::shared().await.tenant().await;
    let shared = kept(Instancing::Shared);
    tenant
        .register_with("counter", built("counter"), shared)
        .await;
    let (mut one, mut other) = (Holder::of(&tenant).await, Holder::of(&tenant).await);
    let mine = one.new_counter(1).await;
    let theirs = other.new_counter(10).await;
    assert_eq!(one.number("live", None, &[]).await, 2, "in one instance");
    let value = one.number("counter.increment", mine, &[handle(mine)]).await;
    assert_eq!(value, 2);
    // A session's objects end with it, and nothing else does.
    let mut third = Holder::of(&tenant).await;
    third.new_counter(7).await;
    assert_eq!(one.number("live", None, &[]).await, 3);
    drop(third);
    let gone = async {
        while one.number("live", None, &[]).await > 2 {
            tokio::task::yield_now().await;
        }
    };
    in_time("destructors at the end of a session", gone).await;

    let failed = one.fails("counter.fail", mine, &[handle(mine)]).await;
    assert_eq!(failed.code, ErrorCode::Trapped);
    for (holder, number) in [(&mut one, mine), (&mut other, theirs)] {
        let gone = holder
            .fails("counter.value", number, &[handle(number)])
            .await;
        assert_eq!(
            (gone.code, gone.fault),
            (ErrorCode::FailedPrecondition, Fault::Guest)
        );
        assert!(
            gone.message.contains("earlier call of it failed"),
            "{gone:?}"
        );
    }
    assert_eq!(other.number("total", None, &[]).await, 0);
    let new = other.new_counter(3).await;
    assert_ne!(new, theirs);
    assert_eq!(one.number("live", None, &[]).await, 1);
}

#[tokio::test]
async fn calls_that_wait_for_a_shared_instance_that_fails_find_the_next_one() {
    let tenant = counting(Instancing::Shared).await;
    let it = tenant.client.module("it");
    assert_eq!(count(&it).await, 1);
    let spin = it.function("spin").timeout(Duration::from_millis(300));
    let spinning = tokio::spawn(spin.call::<()>());
    let mut waiting = JoinSet::new();
    for _ in 0..10 {
        let it = it.clone();
        waiting.spawn(async move { count(&it).await });
    }
    refused(spinning.await.unwrap(), ErrorCode::DeadlineExceeded, &[]);
    let counted: HashSet<u32> = waiting.join_all().await.into_iter().collect();
    // Those that came before the one that spins have the numbers of the old one.
    assert!(counted.len() >= 5, "{counted:?}");
    assert!(count(&it).await <= 11);
}

#[tokio::test]
async fn after_a_swap_the_state_is_handed_over_and_the_old_one_serves_its_objects() {
    let tenant = TestHost::shared().await.tenant().await;
    let shared = kept(Instancing::Shared);
    let module = tenant
        .register_with("counter", built("counter"), shared.clone())
        .await;
    let mut it = Holder::of(&tenant).await;
    let one = it.new_counter(1).await;
    for _ in 0..3 {
        it.number("counter.increment", one, &[handle(one)]).await;
    }
    // The same module under another limit is another revision.
    let narrowed = Options {
        limits: [("max-reply-bytes".to_owned(), 4096)].into(),
        ..shared
    };
    let client = &tenant.client;
    client.register("counter", &module, narrowed).await.unwrap();
    assert_eq!(
        it.number("total", None, &[]).await,
        3,
        "it knows of all moves"
    );
    assert_eq!(it.number("live", None, &[]).await, 0, "and is another one");
    let value = it.number("counter.increment", one, &[handle(one)]).await;
    assert_eq!(value, 5);
    assert_eq!(it.number("total", one, &[]).await, 4);
    assert_eq!(it.number("total", None, &[]).await, 3);
    let new = it.new_counter(1).await;
    // Both are of one module, and of different instances.
    let both = [handle(one), handle(new)];
    let refused = it.fails("counter.larger", one, &both).await;
    assert_eq!(refused.code, ErrorCode::FailedPrecondition);
    it.let_go(&[(one, 1), (new, 1)]).await;
    client.remove("counter").await.unwrap();
    until_nothing_lives(client).await;
}

#[tokio::test]
async fn without_state_to_hand_over_the_next_one_starts_clean_and_a_failure_is_told() {
    let tenant = counting(Instancing::Shared).await;
    let it = tenant.client.module("it");
    for _ in 0..3 {
        count(&it).await;
    }
    // Nobody gives it.
    swapped(&tenant.client, counter_of_calls("count", STATE)).await;
    assert_eq!(count(&it).await, 1);
    assert_eq!(count(&it).await, 2);
    let other = r#"(func (export "other") (canon lift (core func $i "trap")))"#;
    swapped(
        &tenant.client,
        counter_of_calls("count", &format!("{STATE}{other}")),
    )
    .await;
    assert_eq!(count(&it).await, 3, "it was handed over");
    // It is given, and whoever takes it traps.
    let refuses = component(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (func (export "count") (result i32)
                    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                    (i32.load (i32.const 0)))
                (func (export "nothing"))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "take") (param i32 i32) (i32.store (i32.const 0) (i32.const 70)) unreachable))
            (core instance $i (instantiate $m))
            (func (export "count") (result u32) (canon lift (core func $i "count")))
            (func (export "trap") (canon lift (core func $i "nothing")))
            (func (export "spin") (canon lift (core func $i "nothing")))
            (func (export "import-state") (param "state" (list u8))
                (canon lift (core func $i "take") (memory $i "memory") (realloc (func $i "realloc")))))"#,
    );
    let module = tenant.client.upload_module(refuses).await.unwrap();
    let clean = forced(kept(Instancing::Shared));
    tenant.client.register("it", &module, clean).await.unwrap();
    assert_eq!(count(&it).await, 1, "what was half done is nobody's");
    assert_eq!(count(&it).await, 2);
    let host = &tenant.host;
    host.log()
        .line("the failed hand-over", |line| {
            line.message().contains("was not handed over")
        })
        .await;
    let audited = async {
        let of_tenant = format!("\"tenant\":\"{}\"", tenant.name);
        loop {
            let text = std::fs::read_to_string(host.data().join("audit/audit.jsonl"));
            let text = text.unwrap_or_default();
            let mut lines = text.lines().filter(|line| line.contains(&of_tenant));
            if lines.any(|line| line.contains("\"lost-state\"") && line.contains("\"it\"")) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    in_time("a line of the audit log", audited).await;
}

/// A state is in no instance while it is handed over, and counts as memory of its tenant all the same.
#[tokio::test]
async fn a_state_that_is_handed_over_counts_as_memory_of_the_tenant() {
    let options = HostOptions::new().limit("max-memory-bytes-per-tenant", 19 << 20);
    let tenant = TestHost::start_with(options).await.tenant().await;
    let holder = |pages: u32, state_bytes: u32| {
        component(&format!(
            r#"(component
                (core module $m
                    (memory (export "memory") {pages})
                    (func (export "count") (result i32)
                        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                        (i32.load (i32.const 0)))
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
                    (func (export "give") (result i32)
                        (i32.store (i32.const 20) (i32.const {state_bytes}))
                        (i32.const 16))
                    (func (export "take") (param i32 i32)))
                (core instance $i (instantiate $m))
                (func (export "count") (result u32) (canon lift (core func $i "count")))
                {STATE})"#
        ))
    };
    let it = tenant.client.module("it");
    // What was counted is at the beginning of the state, which goes to the beginning of the next one's memory.
    for (state_bytes, is_handed_over) in [(2 << 20, true), (19 << 19, false)] {
        let module = tenant.client.upload_module(holder(160, state_bytes)).await;
        let (module, kept) = (module.unwrap(), forced(kept(Instancing::Shared)));
        let registered = tenant.client.register("it", &module, kept);
        registered.await.unwrap();
        let start = count(&it).await;
        assert_eq!(count(&it).await, start + 1);
        swapped(&tenant.client, holder(40, 4)).await;
        let next = count(&it).await;
        assert_eq!(next, if is_handed_over { start + 2 } else { 1 });
    }
    let log = tenant.host.log();
    log.line("why it was lost", |line| {
        line.field("why")
            .contains("no room for it in the tenant's memory")
    })
    .await;
}

#[tokio::test]
async fn whoever_has_no_time_for_it_does_not_lose_the_state_of_others() {
    let tenant = TestHost::shared().await.tenant().await;
    let shared = kept(Instancing::Shared);
    let wasm = counter_of_calls("count", STATE);
    tenant.register_with("it", wasm, shared).await;
    let it = tenant.client.module("it");
    for _ in 0..5 {
        count(&it).await;
    }
    let more = r#"(func (export "other") (canon lift (core func $i "trap")))"#;
    let next = counter_of_calls("count", &format!("{STATE}{more}"));
    swapped(&tenant.client, next).await;
    let hasty = it.function("count").timeout(Duration::from_millis(1));
    let hasty = hasty.call::<u32>().await;
    let expected = 6 + u32::from(hasty.is_ok());
    let seen = count(&it).await;
    assert!((6..=expected).contains(&seen), "{seen} after {hasty:?}");
}

#[tokio::test]
async fn an_import_is_answered_by_the_instance_that_all_share() {
    const IT: &str = "acme:count/it@0.1.0";
    let answering = |name: &str| {
        component(&format!(
            r#"(component
                (core module $m
                    (memory 1)
                    (func (export "f") (result i32)
                        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                        (i32.load (i32.const 0))))
                (core instance $i (instantiate $m))
                (func $f (result u32) (canon lift (core func $i "f")))
                (instance $out (export "call-me" (func $f)))
                (export "{name}" (instance $out)))"#
        ))
    };
    let asking = |export: &str| {
        component(&format!(
            r#"(component
                (import "{IT}" (instance $other (export "call-me" (func (result u32)))))
                (core func $call-me (canon lower (func $other "call-me")))
                (core module $m
                    (import "other" "call-me" (func $call-me (result i32)))
                    (func (export "run") (result i32) (call $call-me)))
                (core instance $i (instantiate $m
                    (with "other" (instance (export "call-me" (func $call-me))))))
                (func $run (result u32) (canon lift (core func $i "run")))
                {export})"#
        ))
    };
    let at_world = r#"(export "run" (func $run))"#;
    let tenant = TestHost::shared().await.tenant().await;
    tenant
        .register_with(IT, answering(IT), kept(Instancing::Shared))
        .await;
    tenant.register("asks", asking(at_world)).await;
    let asks = tenant.client.module("asks");
    for expected in 1..=3 {
        assert_eq!(asks.call::<u32>("run", ()).await.unwrap(), expected);
    }
    let it = tenant.client.module(IT);
    assert_eq!(it.call::<u32>("call-me", ()).await.unwrap(), 4);

    // One of each session.
    let of_session = kept(Instancing::Session);
    tenant
        .register_with("mine", answering(IT), of_session)
        .await;
    let options = bound([(IT, "mine")]);
    tenant
        .register_with("asks", asking(at_world), options)
        .await;
    assert_eq!(asks.call::<u32>("run", ()).await.unwrap(), 1);
    assert_eq!(asks.call::<u32>("run", ()).await.unwrap(), 2);
    let client = another(&tenant).await;
    let run = client.module("asks").call::<u32>("run", ()).await;
    assert_eq!(run.unwrap(), 1);

    // One that would wait for itself is told so at once.
    let as_it = format!(
        r#"(instance $out (export "call-me" (func $run))) (export "{IT}" (instance $out)) {at_world}"#
    );
    let itself = Options {
        instancing: Instancing::Shared,
        ..bound([(IT, "itself")])
    };
    tenant.register_with("itself", asking(&as_it), itself).await;
    let itself = tenant.client.module("itself");
    let run = itself.call::<u32>("run", ()).await;
    let failure = refused(run, ErrorCode::WouldDeadlock, &["itself → itself"]);
    assert_eq!(failure.fault, Fault::Tenant);
}

#[tokio::test]
async fn what_a_shared_instance_may_have_is_not_for_one_caller_to_say() {
    let tenant = TestHost::shared().await.tenant().await;
    let shared = Options {
        grants: vec!["log".to_owned()],
        ..kept(Instancing::Shared)
    };
    let wasm = counter_of_calls("count", "");
    tenant.register_with("it", wasm, shared).await;
    let it = tenant.client.module("it");
    let narrow = || {
        it.function("count")
            .allow(Vec::<String>::new())
            .call::<u32>()
    };
    let parts = ["`log`, which the caller does not allow"];
    // Neither before it is there nor after.
    refused(narrow().await, ErrorCode::FailedPrecondition, &parts);
    assert_eq!(count(&it).await, 1);
    refused(narrow().await, ErrorCode::FailedPrecondition, &parts);
    assert_eq!(count(&it).await, 2);
}

#[tokio::test]
async fn instances_that_are_kept_count_among_those_that_may_be() {
    let options = HostOptions::new()
        .limit("max-pinned-instances-per-session", 1)
        .limit("max-pinned-instances-per-tenant", 2);
    let tenant = TestHost::start_with(options).await.tenant().await;
    for (name, instancing) in [
        ("one", Instancing::Session),
        ("two", Instancing::Session),
        ("three", Instancing::Shared),
        ("four", Instancing::Shared),
    ] {
        let wasm = counter_of_calls("count", "");
        tenant.register_with(name, wasm, kept(instancing)).await;
    }
    let client = &tenant.client;
    let module = |name: &str| client.module(name);
    assert_eq!(count(&module("one")).await, 1);
    let of_session = module("two").call::<u32>("count", ()).await;
    let limit = ["max-pinned-instances-per-session"];
    refused(of_session, ErrorCode::ResourceExhausted, &limit);
    assert_eq!(count(&module("three")).await, 1);
    let of_tenant = module("four").call::<u32>("count", ()).await;
    let limit = ["max-pinned-instances-per-tenant"];
    refused(of_tenant, ErrorCode::ResourceExhausted, &limit);
    assert_eq!(count(&module("one")).await, 2);
    assert_eq!(count(&module("three")).await, 2);
    // One that failed leaves room.
    refused(
        module("three").call::<()>("trap", ()).await,
        ErrorCode::Trapped,
        &[],
    );
    assert_eq!(count(&module("four")).await, 1);
}

#[tokio::test]
async fn objects_of_a_shared_instance_are_as_good_as_others() {
    const MAKER: &str = "test:things/maker";
    const BROKER: &str = "test:things/broker";
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("user", built("user")).await;
    tenant.register(BROKER, built("broker")).await;
    tenant.register(MAKER, built("maker")).await;
    let user = tenant.client.module("user");
    let story = async || {
        let lifetimes: Vec<u32> = user.call("lifetimes", ()).await.unwrap();
        let lending: Vec<i64> = user.call("lending", ()).await.unwrap();
        let giving: (i64, u32, u32) = user.call("giving", ()).await.unwrap();
        let brokered: Vec<i64> = user.call("brokered", ()).await.unwrap();
        let misplaced: i64 = user.call("misplace", ()).await.unwrap();
        let lent: i64 = user.call("mislend", ()).await.unwrap();
        (lifetimes, lending, giving, brokered, misplaced, lent)
    };
    let fresh = story().await;
    tenant
        .register_with(MAKER, built("maker"), kept(Instancing::Shared))
        .await;
    assert_eq!(story().await, fresh);
    assert_eq!(story().await, fresh, "nothing was left behind");

    // Whoever is given one by a module holds it where it lives.
    let mut it = Holder::of(&tenant).await;
    let of = |module: &str, function: &str, on| rpc_host_protocol::message::CallHeader {
        module: module.to_owned(),
        ..crate::handles::header(function, on)
    };
    let order = it.begin(of(BROKER, "order", None), &[Value::S64(5)]).await;
    let order = it.0.outcome(order).await.unwrap();
    let thing = rpc_host_protocol::Type::Own("thing".into());
    let thing = crate::handles::number_of(&crate::handles::decoded(&order, &thing));
    let value = of(MAKER, "thing.value", Some(thing));
    let value = it.begin(value, &[handle(thing)]).await;
    assert_eq!(it.0.outcome(value).await.unwrap(), [5]);
    // Others do not get a part in what all sessions share.
    let look = of(BROKER, "look", Some(thing));
    let look = it.begin(look, &[handle(thing)]).await;
    let failure = it.0.outcome(look).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::FailedPrecondition);
    assert!(failure.message.contains("has no part"), "{failure:?}");
    let maker = tenant.client.module(MAKER);
    assert_eq!(maker.call::<u32>("live", ()).await.unwrap(), 1);
    drop(it);
    in_time("a destructor at the end of a session", async {
        while maker.call::<u32>("live", ()).await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    // What ends with the call can be lent to what is shared, and not given.
    tenant.register(MAKER, built("maker")).await;
    tenant
        .register_with(BROKER, built("broker"), kept(Instancing::Shared))
        .await;
    assert_eq!(user.call::<i64>("mislend", ()).await.unwrap(), 1);
    let given = user.call::<i64>("misplace", ()).await;
    let failure = refused(given, ErrorCode::FailedPrecondition, &["which it outlives"]);
    assert_eq!(failure.fault, Fault::Tenant);
}
