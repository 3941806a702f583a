//! Guests that end badly, and the node that does not mind.

use std::collections::BTreeMap;

use rpc_host_client::{ErrorCode, Failure, Fault, NamedModule, Options};
use rpc_host_protocol::Operation;
use rpc_host_protocol::message::{Fallback, Message, Provide, ProvideScope};
use rpc_host_protocol::operation::Register;
use rpc_host_tests::{TestHost, TestTenant, built, component};
use serde::de::IgnoredAny;

use crate::{failure, refused};

async fn trap() -> (TestTenant, NamedModule) {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("trap", built("trap")).await;
    let module = tenant.client.module("trap");
    (tenant, module)
}

/// That the call ended with a trap of the guest's own doing.
async fn trapped(module: &NamedModule, function: &str, argument: Option<i64>) -> Failure {
    let call = module.function(function);
    let call = match argument {
        None => call,
        Some(argument) => call.arg(argument),
    };
    let failure = refused(call.call::<u64>().await, ErrorCode::Trapped, &[]);
    assert_eq!(failure.fault, Fault::Guest);
    assert!(!failure.retryable);
    failure
}

#[tokio::test]
async fn a_panic_shows_its_words_and_where_it_came_from() {
    let (tenant, trap) = trap().await;
    let failure = failure(
        trap.call::<u32>("panic_with", ("the reactor is on fire",))
            .await,
    );
    assert_eq!(
        (failure.code, failure.fault),
        (ErrorCode::Trapped, Fault::Guest)
    );
    for part in ["the module panicked or aborted", "the reactor is on fire"] {
        assert!(failure.message.contains(part), "{failure:?}");
    }
    // Innermost first, with the names of the source.
    let place = |name: &str| {
        let found = failure
            .backtrace
            .iter()
            .position(|frame| frame.ends_with(name));
        found.unwrap_or_else(|| panic!("no {name} in {:#?}", failure.backtrace))
    };
    let (inner, middle, outer) = (
        place("::inner_step"),
        place("::middle_step"),
        place("::outer_step"),
    );
    assert!(inner < middle && middle < outer, "{:#?}", failure.backtrace);
    let mangled = |frame: &String| frame.starts_with("_ZN") || frame.starts_with("_R");
    assert!(
        !failure.backtrace.iter().any(mangled),
        "{:#?}",
        failure.backtrace
    );

    let output = tenant
        .cli(["call", "trap", "panic-with(\"on fire\")"])
        .run()
        .await;
    output.error(
        "error: trapped: ",
        &["on fire", "::inner_step", "::outer_step"],
    );
}

#[tokio::test]
async fn what_a_guest_says_at_its_end_is_cut_and_printable() {
    let (_tenant, trap) = trap().await;
    let long = "\u{1b}[31mred\n".repeat(10_000);
    let failure = failure(trap.call::<u32>("panic_with", (long,)).await);
    let bytes = failure.message.len() + failure.backtrace.iter().map(String::len).sum::<usize>();
    assert!(bytes <= 4096, "{bytes}");
    assert!(!failure.message.contains(['\u{1b}', '\n']), "{failure:?}");
}

/// That what a client is told is no longer than it may be, and is safe to print.
#[track_caller]
fn short_and_printable(what: &str, failure: &Failure) {
    let texts = || std::iter::once(&failure.message).chain(&failure.backtrace);
    let bytes: usize = texts().map(String::len).sum();
    assert!(bytes <= 4096, "{what}: {bytes}");
    let is_odd = |one: char| one.is_control() || one == '\u{202e}';
    assert!(
        !texts().any(|text| text.contains(is_odd)),
        "{what}: {failure:?}"
    );
}

/// However an outsider's text comes into an error: it is cut and escaped.
#[tokio::test]
async fn every_failure_is_short_and_printable_whoever_wrote_it() {
    let tenant = TestHost::start().await.tenant().await;
    let client = &tenant.client;
    let nasty = "\u{1b}[31m\n\u{202e}".repeat(9_000);
    // Names of functions of 100 KB each, thirty frames deep, in a trap.
    let long = "n".repeat(99_000);
    let functions: String = (0..30)
        .map(|number| {
            let next = match number {
                29 => "unreachable".to_owned(),
                number => format!("call {}", number + 1),
            };
            format!("(func $\"\\1b[2J\\0a{number}{long}\" (export \"f{number}\") {next})")
        })
        .collect();
    let deep = component(&format!(
        r#"(component
            (core module $m {functions})
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "f0"))))"#
    ));
    tenant.register("deep", deep).await;
    let trapped = failure(client.module("deep").call::<()>("run", ()).await);
    assert_eq!(trapped.code, ErrorCode::Trapped);
    assert!(trapped.backtrace.len() > 1, "{trapped:?}");
    short_and_printable("a trap", &trapped);

    tenant.register("trap", built("trap")).await;
    let panicked = failure(
        client
            .module("trap")
            .call::<u32>("panic_with", (&nasty,))
            .await,
    );
    short_and_printable("a panic", &panicked);
    short_and_printable(
        "a name",
        &failure(client.module(&*nasty).call::<u32>("f", ()).await),
    );
    short_and_printable(
        "a function",
        &failure(client.module("trap").call::<u32>(&nasty, ()).await),
    );
    let upload = client.upload_module(nasty.clone().into_bytes()).await;
    short_and_printable("bytes", &failure(upload));
    let import = component(&format!(
        r#"(component (import "{}" (func)) )"#,
        "a-".repeat(20_000) + "a"
    ));
    short_and_printable("an import", &failure(client.upload_module(import).await));

    let mut peer = tenant.raw_peer().await;
    let mut offer = Provide {
        name: "acme:auth/verifier".to_owned(),
        scope: ProvideScope::Tenant,
        lease_ms: 60_000,
        window: 1,
        fallback: Fallback::Previous,
        wit: Some(nasty.clone()),
    };
    short_and_printable("wit", &peer.provide(offer.clone()).await.unwrap_err());
    offer.name = nasty.clone();
    short_and_printable(
        "a name to serve",
        &peer.provide(offer.clone()).await.unwrap_err(),
    );
    tenant.register("calc", built("calc")).await;
    offer.name = "calc".to_owned();
    offer.wit = None;
    peer.provide(offer).await.unwrap();
    // What a client says that serves the name, to those who call it.
    let call = client.module("calc").function("add").args((2, 3));
    let call = tokio::spawn(call.call::<i64>());
    let (id, _, _) = peer.called().await;
    let mut said = Failure::new(ErrorCode::Internal, Fault::Application, "");
    said.message = nasty.clone();
    said.backtrace = vec![nasty.clone(); 30];
    peer.send(id, Message::Failure(said)).await;
    let told = failure(call.await.unwrap());
    assert_eq!(
        (told.code, told.fault),
        (ErrorCode::Unknown, Fault::Application)
    );
    short_and_printable("a client's failure", &told);
    let register = |name: &str, grant: &str| {
        Operation::Register(Register {
            name: name.to_owned(),
            digest: format!("sha256:{}", "0".repeat(64)),
            grants: vec![grant.to_owned()],
            ..Register::default()
        })
    };
    for (name, grant) in [(&*nasty, "log"), ("calc", &*nasty)] {
        let refused = peer.operate::<IgnoredAny>(register(name, grant)).await;
        short_and_printable("a registration", &refused.unwrap_err());
    }
    // Nor do lines of the node's log grow by it.
    for line in tenant.host.log().text().lines() {
        assert!(line.len() < 8 * 1024, "{} bytes", line.len());
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line}");
    }
}

#[tokio::test]
async fn division_by_zero_and_endless_recursion_are_traps() {
    let (_tenant, trap) = trap().await;
    let quotient: i32 = trap.call("divide", (7, 2)).await.unwrap();
    assert_eq!(quotient, 3);
    let failure = failure(trap.call::<i32>("divide", (7, 0)).await);
    assert_eq!(failure.code, ErrorCode::Trapped);
    assert!(
        failure.message.contains("attempt to divide by zero"),
        "{failure:?}"
    );
    let failure = trapped(&trap, "overflow_stack", None).await;
    // The compiler puts the stack where the first access beyond it is out of bounds.
    assert!(failure.message.contains("out of bounds"), "{failure:?}");
    assert!(
        failure
            .backtrace
            .iter()
            .any(|frame| frame.ends_with("::dig")),
        "{failure:?}"
    );
    assert!(failure.backtrace.len() <= 20, "{}", failure.backtrace.len());
    let quotient: i32 = trap.call("divide", (9, 3)).await.unwrap();
    assert_eq!(quotient, 3);
}

#[tokio::test]
async fn traps_of_the_engine_have_names() {
    let tenant = TestHost::shared().await.tenant().await;
    let traps = component(
        r#"(component
            (core module $m
                (memory 1)
                (table 1 funcref)
                (type $none (func))
                (func $named (export "unreachable") unreachable)
                (func $deeper (export "recurse") (call $deeper) (call $deeper))
                (func (export "load") (drop (i32.load (i32.const 0x7fff_ffff))))
                (func (export "divide") (drop (i32.div_s (i32.const 1) (i32.const 0))))
                (func (export "overflow") (drop (i32.div_s (i32.const 0x8000_0000) (i32.const -1))))
                (func (export "truncate") (drop (i32.trunc_f64_s (f64.const nan))))
                (func (export "call") (call_indirect (type $none) (i32.const 0)))
                (func (export "table") (call_indirect (type $none) (i32.const 7))))
            (core instance $i (instantiate $m))
            (func (export "unreachable") (canon lift (core func $i "unreachable")))
            (func (export "recurse") (canon lift (core func $i "recurse")))
            (func (export "load") (canon lift (core func $i "load")))
            (func (export "divide") (canon lift (core func $i "divide")))
            (func (export "overflow") (canon lift (core func $i "overflow")))
            (func (export "truncate") (canon lift (core func $i "truncate")))
            (func (export "call") (canon lift (core func $i "call")))
            (func (export "table") (canon lift (core func $i "table"))))"#,
    );
    tenant.register("traps", traps).await;
    for (function, said) in [
        ("unreachable", "panicked or aborted"),
        ("recurse", "overflowed its stack"),
        ("load", "out of bounds memory access"),
        ("divide", "integer divide by zero"),
        ("overflow", "integer overflow"),
        ("truncate", "invalid conversion to integer"),
        ("call", "uninitialized element"),
        ("table", "undefined element"),
    ] {
        let failure = trapped(&tenant.client.module("traps"), function, None).await;
        assert!(failure.message.contains(said), "{function}: {failure:?}");
        assert!(!failure.backtrace.is_empty(), "{function}: {failure:?}");
    }
    let failure = trapped(&tenant.client.module("traps"), "unreachable", None).await;
    assert_eq!(failure.backtrace, ["named"]);
}

#[tokio::test]
async fn a_start_function_that_traps_fails_the_call_and_not_the_upload() {
    let tenant = TestHost::shared().await.tenant().await;
    let bad_start = component(
        r#"(component
            (core module $m
                (func $start unreachable)
                (start $start)
                (func (export "run")))
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    tenant.register("bad-start", bad_start).await;
    trapped(&tenant.client.module("bad-start"), "run", None).await;
}

#[tokio::test]
async fn memory_ends_at_its_limit() {
    let (tenant, trap) = trap().await;
    let module = tenant.client.upload_module(built("trap")).await.unwrap();
    let limits = BTreeMap::from([("max-memory-bytes".to_owned(), 16 << 20)]);
    let options = Options {
        limits,
        ..Options::default()
    };
    tenant
        .client
        .register("small", &module, options)
        .await
        .unwrap();
    let small = tenant.client.module("small");
    let got: u32 = small.call("grow_memory", (100,)).await.unwrap();
    assert!((8..16).contains(&got), "{got} MiB of 16");
    let got: u32 = trap.call("grow_memory", (100,)).await.unwrap();
    assert_eq!(got, 100, "the same module, not so limited");
    let got: u32 = trap.call("grow_memory", (4000,)).await.unwrap();
    assert!((200..256).contains(&got), "{got} MiB of 256");
    // Code that does not ask whether it got any ends, and the reason is told.
    let failure = trapped(&small, "allocate", Some(64 << 20)).await;
    assert!(
        failure
            .message
            .contains("asked for more memory than its limit of 16777216 bytes"),
        "{failure:?}"
    );
    let got: u32 = small.call("allocate", (1 << 20,)).await.unwrap();
    assert_eq!(got, 1 << 20);
}

#[tokio::test]
async fn a_module_that_needs_more_memory_than_it_may_have_says_so() {
    let tenant = TestHost::shared().await.tenant().await;
    let large = component(
        r#"(component
            (core module $m (memory 160) (func (export "run")))
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    let module = tenant.register("large", large).await;
    tenant
        .client
        .module("large")
        .call::<()>("run", ())
        .await
        .unwrap();
    let limits = BTreeMap::from([("max-memory-bytes".to_owned(), 1 << 20)]);
    let options = Options {
        limits,
        ..Options::default()
    };
    tenant
        .client
        .register("large", &module, options)
        .await
        .unwrap();
    refused(
        tenant.client.module("large").call::<()>("run", ()).await,
        ErrorCode::ResourceExhausted,
        &["the module needs more memory than its limit of 1048576 bytes"],
    );
}

#[tokio::test]
async fn an_exit_ends_the_call_and_nothing_else() {
    let (_tenant, trap) = trap().await;
    for code in [0, 1, 7] {
        let failure = trapped(&trap, "exit", Some(code)).await;
        // WASI knows only whether it was a success.
        let status = i64::from(code != 0);
        assert!(
            failure
                .message
                .contains(&format!("exited with status {status}")),
            "{failure:?}"
        );
    }
    let quotient: i32 = trap.call("divide", (9, 3)).await.unwrap();
    assert_eq!(quotient, 3);
}

#[tokio::test]
async fn traps_of_some_calls_do_not_touch_others_on_the_same_connection() {
    let (_tenant, trap) = trap().await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..60_i32 {
        let trap = trap.clone();
        calls.spawn(async move {
            let outcome = trap.call::<i32>("divide", (number, number % 3)).await;
            match number % 3 {
                0 => assert_eq!(failure(outcome).code, ErrorCode::Trapped),
                divisor => assert_eq!(outcome.unwrap(), number / divisor),
            }
        });
    }
    calls.join_all().await;
}
