//! Calls that lead to calls: what they share, what each has for itself, and where they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_host_client::{
    Error, ErrorCode, Failure, Fault, Incoming, NamedModule, Options, ProviderError, Scope,
};
use rpc_host_protocol::{Message, Value};
use rpc_host_tests::{HostOptions, PATIENCE, TestHost, TestTenant, built, component};
use tokio::task::JoinSet;

use crate::deadlines::{runs, stopped};
use crate::{bound, refused};

/// Registers `hop` so many times, as `h0`, `h1` and so on: each is the next one's first import, and the
/// last one's leads nowhere.
async fn hops(host: Arc<TestHost>, count: usize) -> TestTenant {
    let tenant = host.tenant().await;
    let hop = tenant.client.upload_module(built("hop")).await.unwrap();
    for number in 0..count {
        let next = format!("h{}", number + 1);
        let options = bound([("test:graph/one@0.1.0", &*next)]);
        let registered = tenant
            .client
            .register(&format!("h{number}"), &hop, options)
            .await;
        registered.unwrap();
    }
    tenant
}

async fn follow(hop: &NamedModule, plan: &str) -> Result<Result<u32, String>, Error> {
    let call = hop.function("start").arg(plan).timeout(PATIENCE);
    call.call_result().await
}

/// A plan that goes so many steps on from where it begins, and does `last` there.
fn far(steps: usize, last: &str) -> String {
    format!("{}{last}{}", "1(".repeat(steps), ")".repeat(steps))
}

#[tokio::test]
async fn a_typed_error_goes_up_as_the_modules_pass_it_on() {
    let tenant = hops(TestHost::shared().await, 3).await;
    let h0 = tenant.client.module("h0");
    assert_eq!(follow(&h0, &far(2, "")).await.unwrap(), Ok(3));
    let error = follow(&h0, &far(2, "?")).await.unwrap();
    assert_eq!(error, Err("no such step: '?'".to_owned()));
}

#[tokio::test]
async fn all_that_a_call_leads_to_ends_with_its_time() {
    let host = TestHost::start().await;
    let tenant = hops(Arc::clone(&host), 3).await;
    let h0 = tenant.client.module("h0");
    for steps in 0..3 {
        let started = Instant::now();
        let call = h0.function("start").arg(far(steps, "s"));
        let call = call.timeout(Duration::from_millis(300));
        let failure = refused(
            call.call_result::<u32, String>().await,
            ErrorCode::DeadlineExceeded,
            &[],
        );
        let said = failure.message.split(": ").next();
        assert_eq!(said, Some("the call did not end within 300 ms"));
        assert!(started.elapsed() >= Duration::from_millis(300));
        stopped(&host).await;
    }
    assert_eq!(follow(&h0, &far(2, "")).await.unwrap(), Ok(3));
}

#[tokio::test]
async fn a_module_may_have_less_time_than_those_that_call_it() {
    let host = TestHost::start().await;
    let tenant = hops(Arc::clone(&host), 3).await;
    let hop = tenant.client.upload_module(built("hop")).await.unwrap();
    let options = Options {
        limits: [("max-call-timeout-ms".to_owned(), 200)].into(),
        ..bound([("test:graph/one@0.1.0", "h2")])
    };
    tenant.client.register("h1", &hop, options).await.unwrap();
    let h0 = tenant.client.module("h0");
    let started = Instant::now();
    let failure = refused(
        follow(&h0, &far(1, "s")).await,
        ErrorCode::DeadlineExceeded,
        &[],
    );
    assert_eq!(failure.message, "`h1` did not end within 200 ms");
    // Whoever it calls has what is left of that.
    let failure = refused(
        follow(&h0, &far(2, "s")).await,
        ErrorCode::DeadlineExceeded,
        &[],
    );
    let said = failure.message.split(": ").next();
    assert_eq!(said, Some("`h1` did not end within 200 ms"));
    assert_eq!(failure.fault, Fault::Guest);
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
    stopped(&host).await;
    // Each call of it has that time, not all of them together.
    let many = "1(z)".repeat(25);
    assert_eq!(follow(&h0, &many).await.unwrap(), Ok(1 + 25 * 26 / 2));
}

#[tokio::test]
async fn chains_are_so_deep_and_no_deeper() {
    let tenant = hops(TestHost::shared().await, 20).await;
    let h0 = tenant.client.module("h0");
    assert_eq!(follow(&h0, &far(15, "")).await.unwrap(), Ok(16));
    let failure = refused(
        follow(&h0, &far(16, "")).await,
        ErrorCode::ResourceExhausted,
        &[
            "calls lead to calls more than 16 deep: h0 → h1 → ",
            " → h15",
        ],
    );
    assert_eq!(failure.fault, Fault::Tenant);
    // It is the depth that counts, not the number of calls.
    let wide = far(14, &"1".repeat(10));
    assert_eq!(follow(&h0, &wide).await.unwrap(), Ok(15 + 55));

    let options = HostOptions::new().limit("max-chain-depth", 2);
    let tenant = hops(TestHost::start_with(options).await, 4).await;
    let h0 = tenant.client.module("h0");
    assert_eq!(follow(&h0, "1").await.unwrap(), Ok(2));
    let failure = refused(follow(&h0, "1(1)").await, ErrorCode::ResourceExhausted, &[]);
    assert_eq!(
        failure.message,
        "calls lead to calls more than 2 deep: h0 → h1"
    );
}

#[tokio::test]
async fn a_call_leads_to_so_many_modules_and_no_more() {
    let options = HostOptions::new().limit("max-instances-per-call", 3);
    let tenant = hops(TestHost::start_with(options).await, 4).await;
    let h0 = tenant.client.module("h0");
    for _ in 0..2 {
        // One that is called again is no further one.
        assert_eq!(follow(&h0, "1(1)1(1)").await.unwrap(), Ok(1 + 2 * (1 + 2)));
        let failure = refused(
            follow(&h0, &far(3, "")).await,
            ErrorCode::ResourceExhausted,
            &["one call led to more than 3 modules"],
        );
        assert_eq!(failure.fault, Fault::Tenant);
    }
}

#[tokio::test]
async fn calls_that_wait_for_one_another_do_not_take_all_places() {
    // Of these places a tenant may have four.
    let options = HostOptions::new().limit("max-live-instances", 8);
    let tenant = hops(TestHost::start_with(options).await, 5).await;
    let h0 = tenant.client.module("h0");
    let started = Instant::now();
    let failure = refused(
        follow(&h0, &far(4, "")).await,
        ErrorCode::Unavailable,
        &["`h4`: the node is at its limit of live instances"],
    );
    assert_eq!(failure.fault, Fault::Host);
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
    // Many at once: each gets all that it needs, one after the other.
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let h0 = h0.clone();
        calls.spawn(async move { assert_eq!(follow(&h0, &far(3, "")).await.unwrap(), Ok(4)) });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn whoever_would_wait_for_itself_is_told_so_at_once() {
    let tenant = TestHost::shared().await.tenant().await;
    let hop = tenant.client.upload_module(built("hop")).await.unwrap();
    for (name, one, two) in [("h0", "h1", "h0"), ("h1", "h2", "h1"), ("h2", "h0", "h1")] {
        let options = bound([("test:graph/one@0.1.0", one), ("test:graph/two@0.1.0", two)]);
        tenant.client.register(name, &hop, options).await.unwrap();
    }
    let h0 = tenant.client.module("h0");
    for (plan, chain) in [
        ("2", "h0 → h0"),
        ("1(1(1))", "h0 → h1 → h2 → h0"),
        ("1(1(2))", "h0 → h1 → h2 → h1"),
        ("1(2)", "h0 → h1 → h1"),
    ] {
        let started = Instant::now();
        let failure = refused(follow(&h0, plan).await, ErrorCode::WouldDeadlock, &[]);
        assert_eq!(
            failure.message,
            format!("this would wait for itself: {chain}")
        );
        assert_eq!((failure.fault, failure.retryable), (Fault::Tenant, false));
        assert!(started.elapsed() < PATIENCE / 2);
    }
    assert_eq!(follow(&h0, "1(1)1").await.unwrap(), Ok(1 + (1 + 1) + 2));
    let shown = tenant.cli(["call", "h0", "start(\"2\")"]).run().await;
    shown.error("would-deadlock", &["h0 → h0"]);
}

fn frames_of(failure: &Failure, name: &str) -> usize {
    let frames = failure.backtrace.iter();
    frames.filter(|frame| frame.contains(name)).count()
}

#[tokio::test]
async fn a_trap_is_told_with_the_module_that_it_happened_in() {
    let tenant = hops(TestHost::shared().await, 3).await;
    let h0 = tenant.client.module("h0");
    for steps in 0..3 {
        let failure = refused(follow(&h0, &far(steps, "t")).await, ErrorCode::Trapped, &[]);
        assert_eq!(failure.fault, Fault::Guest);
        let place = match steps {
            0 => String::new(),
            inner => format!("`h{inner}`: "),
        };
        let said = format!("{place}the module panicked or aborted: ");
        assert!(failure.message.starts_with(&said), "{failure:?}");
        assert!(failure.message.contains("as planned"), "{failure:?}");
        // The frames of that module alone.
        assert_eq!(
            frames_of(&failure, "hop::visit"),
            1,
            "{:#?}",
            failure.backtrace
        );
        // Whatever became of them, the next call has instances of its own.
        assert_eq!(follow(&h0, &far(2, "")).await.unwrap(), Ok(3));
    }
}

/// A component that passes a number on to a function of `module:trap/trap`.
fn calling_trap(function: &str, parameter: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (import "module:trap/trap" (instance $trap
                (export "{function}" (func (param "{parameter}" u32) (result u32)))))
            (core func $call (canon lower (func $trap "{function}")))
            (core module $m
                (import "trap" "call" (func $call (param i32) (result i32)))
                (func (export "run") (param i32) (result i32) (call $call (local.get 0))))
            (core instance $i (instantiate $m
                (with "trap" (instance (export "call" (func $call))))))
            (func (export "run") (param "number" u32) (result u32)
                (canon lift (core func $i "run"))))"#
    ))
}

#[tokio::test]
async fn each_module_has_its_own_limit_of_memory_whoever_calls_it() {
    let tenant = TestHost::shared().await.tenant().await;
    let limited = |bytes: u64| Options {
        limits: [("max-memory-bytes".to_owned(), bytes)].into(),
        ..Options::default()
    };
    let trap = tenant
        .register_with("module:trap/trap", built("trap"), limited(16 << 20))
        .await;
    tenant
        .register("grows", calling_trap("grow-memory", "mebibytes"))
        .await;
    tenant
        .register("allocates", calling_trap("allocate", "bytes"))
        .await;
    let (grows, allocates) = (
        tenant.client.module("grows"),
        tenant.client.module("allocates"),
    );
    let got: u32 = grows.call("run", (100,)).await.unwrap();
    assert!((8..16).contains(&got), "{got} MiB of 16");
    let failure = refused(
        allocates.call::<u32>("run", (64 << 20,)).await,
        ErrorCode::Trapped,
        &[
            "`module:trap/trap`: the module panicked or aborted",
            "asked for more memory than its limit of 16777216 bytes",
        ],
    );
    assert_eq!(failure.fault, Fault::Guest);
    // And a caller that may have little does not keep the called one from more.
    let client = &tenant.client;
    client
        .register("module:trap/trap", &trap, Options::default())
        .await
        .unwrap();
    let small = limited(1 << 20);
    tenant
        .register_with("grows", calling_trap("grow-memory", "mebibytes"), small)
        .await;
    assert_eq!(grows.call::<u32>("run", (100,)).await.unwrap(), 100);
}

#[tokio::test]
async fn a_cancel_ends_all_that_a_call_led_to() {
    // Room for so few that one which stayed would be missed.
    let options = HostOptions::new().limit("max-live-instances", 8);
    let host = TestHost::start_with(options).await;
    let tenant = hops(Arc::clone(&host), 3).await;
    let mut peer = tenant.raw_peer().await;
    for _ in 0..3 {
        let plan = [Value::String(far(2, "s"))];
        let spinning = peer.call("h0", "start", &plan).await;
        runs(&host).await;
        peer.send(spinning, Message::Cancel).await;
        let failure = peer.outcome(spinning).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Cancelled);
        stopped(&host).await;
    }
    // As when a client gives up, or goes.
    for _ in 0..3 {
        let h0 = tenant.client.module("h0");
        let spinning = tokio::spawn(async move { follow(&h0, &far(2, "s")).await });
        runs(&host).await;
        spinning.abort();
        stopped(&host).await;
    }
    let h0 = tenant.client.module("h0");
    for _ in 0..10 {
        assert_eq!(follow(&h0, &far(2, "")).await.unwrap(), Ok(3));
    }
}

/// A component that exports a resource whose destructor does not end well.
fn failing_maker() -> Vec<u8> {
    component(
        r#"(component
            (core module $m
                (func $dtor (export "dtor") (param i32) unreachable)
                (func (export "rep") (result i32) (i32.const 1)))
            (core instance $i (instantiate $m))
            (type $thing' (resource (rep i32) (dtor (func $i "dtor"))))
            (core func $new (canon resource.new $thing'))
            (core module $makes
                (import "m" "new" (func $new (param i32) (result i32)))
                (func (export "make") (result i32) (call $new (i32.const 1))))
            (core instance $made (instantiate $makes
                (with "m" (instance (export "new" (func $new))))))
            (func $make (result (own $thing')) (canon lift (core func $made "make")))
            (component $exported
                (import "thing" (type $thing (sub resource)))
                (import "make" (func $make (result (own $thing))))
                (export $out "thing" (type $thing))
                (export "make" (func $make) (func (result (own $out)))))
            (instance $out (instantiate $exported
                (with "thing" (type $thing')) (with "make" (func $make))))
            (export "acme:thing/maker" (instance $out)))"#,
    )
}

#[tokio::test]
async fn a_destructor_that_fails_is_told_with_its_module() {
    let tenant = TestHost::shared().await.tenant().await;
    let user = component(
        r#"(component
            (import "acme:thing/maker" (instance $maker
                (export "thing" (type $thing (sub resource)))
                (export "make" (func (result (own $thing))))))
            (alias export $maker "thing" (type $thing))
            (core func $make (canon lower (func $maker "make")))
            (core func $drop (canon resource.drop $thing))
            (core module $m
                (import "maker" "make" (func $make (result i32)))
                (import "maker" "drop" (func $drop (param i32)))
                (func (export "make") (drop (call $make)))
                (func (export "make-and-drop") (call $drop (call $make))))
            (core instance $i (instantiate $m (with "maker" (instance
                (export "make" (func $make)) (export "drop" (func $drop))))))
            (func (export "make") (canon lift (core func $i "make")))
            (func (export "make-and-drop") (canon lift (core func $i "make-and-drop"))))"#,
    );
    tenant.register("acme:thing/maker", failing_maker()).await;
    tenant.register("user", user).await;
    let user = tenant.client.module("user");
    // What is left goes with its instance, without a word.
    user.call::<()>("make", ()).await.unwrap();
    let failure = refused(
        user.call::<()>("make_and_drop", ()).await,
        ErrorCode::Trapped,
        &["`acme:thing/maker`: the module panicked or aborted"],
    );
    assert_eq!(failure.backtrace, ["dtor"]);
    user.call::<()>("make", ()).await.unwrap();
}

/// Passes its memory's first bytes on, so many of them and so often.
const PASSES: &str = r#"(component
    (type $sink (instance
        (export "text" (func (param "value" string)))
        (export "bytes" (func (param "value" (list u8))))))
    (import "test:sink/sink@0.1.0" (instance $sink (type $sink)))
    (core module $memory (memory (export "memory") 1024))
    (core instance $memory (instantiate $memory))
    (alias core export $memory "memory" (core memory $bytes))
    (core func $text (canon lower (func $sink "text") (memory $bytes)))
    (core func $bytes (canon lower (func $sink "bytes") (memory $bytes)))
    (core module $m
        (import "sink" "text" (func $text (param i32 i32)))
        (import "sink" "bytes" (func $bytes (param i32 i32)))
        (func (export "text") (param $length i32)
            (call $text (i32.const 0) (local.get $length)))
        (func (export "bytes") (param $length i32) (param $times i32)
            (loop $again
                (call $bytes (i32.const 0) (local.get $length))
                (local.set $times (i32.sub (local.get $times) (i32.const 1)))
                (br_if $again (local.get $times)))))
    (core instance $i (instantiate $m
        (with "sink" (instance (export "text" (func $text)) (export "bytes" (func $bytes))))))
    (func (export "text") (param "length" u32) (canon lift (core func $i "text")))
    (func (export "bytes") (param "length" u32) (param "times" u32) (canon lift (core func $i "bytes"))))"#;

/// Takes all of that, and does nothing with it.
const SINK: &str = r#"(component
    (core module $m
        (memory (export "memory") 1024)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
        (func (export "take") (param i32 i32)))
    (core instance $i (instantiate $m))
    (alias core export $i "memory" (core memory $memory))
    (alias core export $i "realloc" (core func $realloc))
    (func $text (param "value" string)
        (canon lift (core func $i "take") (memory $memory) (realloc $realloc)))
    (func $bytes (param "value" (list u8))
        (canon lift (core func $i "take") (memory $memory) (realloc $realloc)))
    (instance $sink (export "text" (func $text)) (export "bytes" (func $bytes)))
    (export "test:sink/sink@0.1.0" (instance $sink)))"#;

/// No guest is at work while a value is on its way, so no tick is found to be spent.
#[tokio::test]
async fn what_values_take_on_their_way_is_spent_too() {
    let options = HostOptions::new().limit("max-cpu-ms-per-call", 300);
    let tenant = TestHost::start_with(options).await.tenant().await;
    tenant.register("passes", component(PASSES)).await;
    tenant.register("test:sink/sink", component(SINK)).await;
    let passes = tenant.client.module("passes");
    let pass = |length: u32, times: u32| {
        let call = passes.function("bytes").args((length, times));
        call.timeout(2 * PATIENCE).call::<()>()
    };
    pass(1000, 100).await.unwrap();
    let started = Instant::now();
    let failure = refused(
        pass(3_000_000, 1000).await,
        ErrorCode::ResourceExhausted,
        &["used more than 300 ms of processor time"],
    );
    assert_eq!(failure.fault, Fault::Guest);
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
}

#[tokio::test]
async fn no_value_of_a_guest_costs_a_client_its_connection() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("passes", component(PASSES)).await;
    let taken = |call: Incoming| async move {
        let (text,): (String,) = call.args()?;
        assert_eq!(text.len(), 1 << 20);
        Ok::<_, ProviderError>(())
    };
    let provider = tenant.client_of("deployer").await;
    let lease = provider.provide("test:sink/sink", taken, Scope::Tenant);
    let lease = lease.await.unwrap();
    let passes = tenant.client.module("passes");
    let failure = refused(
        passes.call::<()>("text", (16_u32 << 20,)).await,
        ErrorCode::ResourceExhausted,
        &["`test:sink/sink` is served by a client", "16777216 at most"],
    );
    assert_eq!(failure.fault, Fault::Guest);
    passes.call::<()>("text", (1_u32 << 20,)).await.unwrap();
    assert!(lease.loss().is_none());
}

#[tokio::test]
async fn arguments_on_their_way_in_a_call_have_so_many_bytes_and_no_more() {
    let options = HostOptions::new().limit("max-value-bytes-per-call", 1 << 20);
    let tenant = TestHost::start_with(options).await.tenant().await;
    tenant.register("passes", component(PASSES)).await;
    tenant.register("test:sink/sink", component(SINK)).await;
    let passes = tenant.client.module("passes");
    // What was answered is not on its way any more.
    passes.call::<()>("bytes", (1_000_000, 10)).await.unwrap();
    let failure = refused(
        passes.call::<()>("bytes", (1_100_000, 1)).await,
        ErrorCode::ResourceExhausted,
        &["more than 1048576 bytes together, the limit `max-value-bytes-per-call`"],
    );
    assert_eq!(failure.fault, Fault::Guest);
    passes.call::<()>("text", (1_u32 << 19,)).await.unwrap();
    refused(
        passes.call::<()>("text", (1_u32 << 20,)).await,
        ErrorCode::ResourceExhausted,
        &["`max-value-bytes-per-call`"],
    );
}

#[tokio::test]
async fn arguments_on_their_way_count_as_memory_of_the_tenant() {
    let options = HostOptions::new().limit("max-memory-bytes-per-tenant", 150 << 20);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("passes", component(PASSES)).await;
    tenant.register("test:sink/sink", component(SINK)).await;
    let passes = tenant.client.module("passes");
    // Each of the two modules has 64 MiB.
    passes.call::<()>("bytes", (10_000_000, 3)).await.unwrap();
    let failure = refused(
        passes.call::<()>("bytes", (24_000_000, 1)).await,
        ErrorCode::ResourceExhausted,
        &["`max-memory-bytes-per-tenant` allows, 157286400 bytes"],
    );
    assert_eq!(failure.fault, Fault::Tenant);
    passes.call::<()>("bytes", (10_000_000, 3)).await.unwrap();
}
