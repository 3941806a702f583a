//! What clients serve: whom, for how long, and what comes after.

use std::time::{Duration, Instant};

use rpc_host_client::{Client, Error, ErrorCode, ImportStanding, Options};
use rpc_host_protocol::cbor::{decode_arguments, encode_arguments};
use rpc_host_protocol::message::{CallHeader, Fallback, Leased, Message, Provide, ProvideScope};
use rpc_host_protocol::operation::{ProviderEntry, Register, RevisionEntry, TokenRevoke};
use rpc_host_protocol::value::ValueLimits;
use rpc_host_protocol::{ExchangeId, Failure, Fault, Operation, Value};
use rpc_host_tests::{HostOptions, RawPeer, TestHost, TestTenant, built, in_time};
use tokio::task::JoinHandle;

use crate::refused;

const LOGGER: &str = "acme:log/logger";
const VERIFIER: &str = "acme:auth/verifier";
const VERIFIER_WIT: &str = "package acme:auth@0.1.0; interface verifier { verify: func(token: string) -> result<string, string>; }";

/// An offer to this session alone, of one call at once, for a minute.
fn offer(name: &str) -> Provide {
    Provide {
        name: name.to_owned(),
        scope: ProvideScope::Session,
        lease_ms: 60_000,
        window: 1,
        fallback: Fallback::Previous,
        wit: None,
    }
}

/// The same to the whole tenant.
fn to_tenant(name: &str) -> Provide {
    Provide {
        scope: ProvideScope::Tenant,
        ..offer(name)
    }
}

async fn tenant_with_calc() -> TestTenant {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("calc", built("calc")).await;
    tenant
}

async fn register_logger(tenant: &TestTenant) {
    let options = Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    };
    tenant.register_with(LOGGER, built("logger"), options).await;
}

/// `calc.add(2, 3)` of whoever answers, in a task of its own.
fn add(client: &Client) -> JoinHandle<Result<i64, Error>> {
    let add = client.module("calc").function("add").args((2, 3));
    tokio::spawn(add.call())
}

async fn sum(client: &Client) -> i64 {
    in_time("a sum", add(client)).await.unwrap().unwrap()
}

async fn providers(peer: &mut RawPeer) -> Vec<ProviderEntry> {
    peer.operate(Operation::Providers {}).await.unwrap()
}

fn signature_of<'a>(leased: &'a Leased, header: &CallHeader) -> &'a rpc_host_protocol::Signature {
    let function = leased.functions.iter().find(|function| {
        let interface = function.interface.as_deref();
        let path = interface.map(|interface| format!("{interface}.{}", function.name));
        path.as_deref().unwrap_or(&function.name) == header.function
    });
    &function.expect("a function of the lease").signature
}

fn arguments_of(leased: &Leased, header: &CallHeader, arguments: &[u8]) -> Vec<Value> {
    let signature = signature_of(leased, header);
    decode_arguments(arguments, signature, ValueLimits::default()).unwrap()
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn ok(value: Value) -> Value {
    Value::Result(Ok(Some(Box::new(value))))
}

#[track_caller]
fn is(failure: &Failure, code: ErrorCode, parts: &[&str]) {
    assert_eq!(failure.code, code, "{failure:?}");
    for part in parts {
        assert!(failure.message.contains(part), "no {part:?} in {failure:?}");
    }
}

#[tokio::test]
async fn a_client_answers_for_its_own_session_and_for_no_other() {
    let tenant = tenant_with_calc().await;
    let mut peer = tenant.raw_peer().await;
    let leased = peer.provide(offer("calc")).await.unwrap();
    assert_eq!((leased.lease_ms, leased.window), (60_000, 1));
    let names: Vec<_> = leased.functions.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["add", "sub", "div", "distance"]);

    let call = peer
        .call("calc", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    let (id, header, arguments) = peer.called().await;
    assert_eq!(
        (&*header.module, header.lease),
        ("calc", Some(leased.lease))
    );
    assert!(header.timeout_ms.unwrap() > 20_000, "{header:?}");
    let arguments = arguments_of(&leased, &header, &arguments);
    assert_eq!(arguments, [Value::S64(2), Value::S64(3)]);
    peer.answer(id, &Value::S64(500)).await;
    assert_eq!(peer.outcome(call).await.unwrap(), [0x19, 0x01, 0xf4]);
    assert_eq!(
        sum(&tenant.client).await,
        5,
        "another session has the module"
    );

    let mut other = tenant.raw_peer().await;
    assert!(providers(&mut other).await.is_empty());
    let [own] = &providers(&mut peer).await[..] else {
        panic!("one lease");
    };
    assert_eq!(
        (&*own.name, own.lease, own.serving),
        ("calc", leased.lease, true)
    );
    assert!(own.until_ms > own.since_ms, "{own:?}");

    peer.withdraw("calc", false).await.unwrap();
    let call = peer
        .call("calc", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    assert_eq!(peer.outcome(call).await.unwrap(), [5]);
    let twice = peer.withdraw("calc", false).await.unwrap_err();
    is(&twice, ErrorCode::NotFound, &["does not serve `calc`"]);
}

/// The application imports both names; a log line arrives at the client, and the secret never leaves it.
#[tokio::test]
async fn a_running_module_finds_whoever_serves_what_it_imports() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("app", built("app")).await;
    let mut peer = tenant.raw_peer().await;
    // Nobody answers yet, so what is served is what the application imports.
    let logger = peer.provide(to_tenant(LOGGER)).await.unwrap();
    let verifier = peer.provide(to_tenant(VERIFIER)).await.unwrap();
    assert_eq!(
        verifier.functions[0].interface.as_deref(),
        Some("acme:auth/verifier@0.1.0")
    );

    let client = tenant.client.clone();
    let handle = |token: &'static str| {
        let call = client.module("app").function("handle");
        tokio::spawn(call.args((token, "whoami")).call_result::<String, String>())
    };
    let call = handle("secret");
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let (id, header, arguments) = peer.called().await;
        if header.module == VERIFIER {
            let arguments = arguments_of(&verifier, &header, &arguments);
            assert_eq!(arguments, [text("secret")]);
            peer.answer(id, &ok(text("ada"))).await;
        } else {
            lines.push(arguments_of(&logger, &header, &arguments)[1].clone());
            peer.send(
                id,
                Message::Reply {
                    value: vec![0xf6],
                    is_result: false,
                },
            )
            .await;
        }
    }
    assert_eq!(lines, [text("ada asks: whoami"), text("answered ada: ada")]);
    assert_eq!(call.await.unwrap().unwrap().unwrap(), "ada");

    // A client that fails is the guest's own typed error, where the function has one.
    let call = handle("other");
    let (id, ..) = peer.called().await;
    let failure = Failure::new(ErrorCode::Unknown, Fault::Application, "no\nsuch token");
    peer.send(id, Message::Failure(failure)).await;
    let (id, header, arguments) = peer.called().await;
    let line = &arguments_of(&logger, &header, &arguments)[1];
    assert_eq!(*line, text("refused: no\\nsuch token"));
    // And where it has none, the end of the call, which names who failed.
    let failure = Failure::new(ErrorCode::Internal, Fault::Host, "disk full");
    peer.send(id, Message::Failure(failure)).await;
    let failure = refused(
        call.await.unwrap(),
        ErrorCode::Unknown,
        &[LOGGER, "disk full"],
    );
    assert_eq!(failure.fault, Fault::Application);

    // What it answers is checked like any value from outside.
    let call = handle("third");
    let (id, ..) = peer.called().await;
    peer.answer(id, &text("no result")).await;
    let parts = [VERIFIER, "result: expected"];
    let failure = refused(call.await.unwrap(), ErrorCode::Unknown, &parts);
    assert_eq!(failure.fault, Fault::Application);

    // The uploaded modules answer as soon as the client is gone.
    drop(peer);
    let inspect = || async { tenant.client.inspect("app").await.unwrap() };
    let is_unbound = |standing| standing == ImportStanding::Unbound;
    in_time("the end of the session", async {
        while !inspect()
            .await
            .imports
            .iter()
            .any(|one| is_unbound(one.standing))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    register_logger(&tenant).await;
    tenant.register(VERIFIER, built("verifier")).await;
    let reply = handle("nonsense").await.unwrap().unwrap();
    assert!(reply.is_err(), "the module says so: {reply:?}");
}

#[tokio::test]
async fn a_stub_for_one_session_leaves_others_and_sealed_modules_alone() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("app", built("app")).await;
    register_logger(&tenant).await;
    tenant.register(VERIFIER, built("verifier")).await;
    let sealed = Options {
        sealed: true,
        ..Options::default()
    };
    tenant.register_with("sealed", built("app"), sealed).await;
    let mut peer = tenant.raw_peer().await;
    peer.provide(offer(VERIFIER)).await.unwrap();
    let arguments = [text("stub"), text("whoami")];
    let call = peer.call("app", "handle", &arguments).await;
    let (id, header, _) = peer.called().await;
    assert_eq!(header.module, VERIFIER);
    peer.answer(id, &ok(text("eve"))).await;
    let reply = peer.outcome(call).await.unwrap();
    assert_eq!(reply, *b"\xa1\x62ok\x63eve");
    let call = peer.call("sealed", "handle", &arguments).await;
    let reply = peer.outcome(call).await.unwrap();
    assert!(
        reply.starts_with(b"\xa1\x63err"),
        "the uploaded one refuses: {reply:?}"
    );
    let handle = tenant.client.module("app").function("handle");
    let other = handle
        .args(("stub", "whoami"))
        .call_result::<String, String>();
    assert!(other.await.unwrap().is_err());
}

/// As a stopped process does: its connection stands, and it says nothing.
#[tokio::test]
async fn a_client_that_hangs_is_given_up_within_its_lease_and_is_not_believed_later() {
    let tenant = tenant_with_calc().await;
    let mut peer = tenant.raw_peer().await;
    let leased = peer
        .provide(Provide {
            lease_ms: 1000,
            ..to_tenant("calc")
        })
        .await
        .unwrap();
    // It answers pings, so it stays for longer than its lease.
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(1500) {
        let (id, message) = peer.next_with_pings().await.unwrap();
        let Message::Ping(beat) = message else {
            panic!("{message:?}");
        };
        peer.send(id, Message::Pong(beat)).await;
    }
    let waiting = add(&tenant.client);
    let (call, ..) = peer.called().await;
    let stopped = Instant::now();
    let failure = refused(
        waiting.await.unwrap(),
        ErrorCode::ProviderLost,
        &[
            "`calc` was served by the client of session",
            "nothing was heard of the client for 1000 ms",
        ],
    );
    assert!(
        failure.retryable && failure.fault == Fault::Application,
        "{failure:?}"
    );
    let took = stopped.elapsed();
    assert!(
        took > Duration::from_millis(500) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert_eq!(sum(&tenant.client).await, 5, "the module answers again");

    // It wakes up.
    peer.answer(call, &Value::S64(-1)).await;
    let lapse = peer.lapse().await;
    assert_eq!((&*lapse.name, lapse.lease), ("calc", leased.lease));
    is(&lapse.failure, ErrorCode::DeadlineExceeded, &["expired"]);
    let again = peer.provide(to_tenant("calc")).await.unwrap();
    assert!(again.lease > leased.lease);
    let listed = tenant.client.providers().await.unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|one| (one.lease, one.serving, one.late_answers))
        .collect();
    assert_eq!(listed, [(again.lease, true, 1)]);
    peer.close().await;
    let log = tenant.host.log();
    let late = |line: &rpc_host_tests::LogLine| {
        line.message() == "answers of the client came too late"
            && line.0["fields"]["late_answers"] == 1
    };
    log.line("a late answer", late).await;
}

#[tokio::test]
async fn whoever_chose_so_leaves_an_error_behind() {
    let tenant = tenant_with_calc().await;
    let mut peer = tenant.raw_peer().await;
    let provide = Provide {
        fallback: Fallback::Error,
        ..to_tenant("calc")
    };
    peer.provide(provide).await.unwrap();
    peer.close().await;
    let mut watching = tenant.raw_peer().await;
    let lost = in_time("the end of the session", async {
        loop {
            let listed = providers(&mut watching).await;
            if !listed[0].serving {
                return listed[0].clone();
            }
        }
    })
    .await;
    assert_eq!((&*lost.name, lost.fallback), ("calc", Fallback::Error));
    let parts = [&*lost.session, "ended with its connection"];
    refused(
        add(&tenant.client).await.unwrap(),
        ErrorCode::ProviderLost,
        &parts,
    );
    watching.withdraw("calc", true).await.unwrap();
    assert_eq!(sum(&tenant.client).await, 5);
    assert!(providers(&mut watching).await.is_empty());
}

#[tokio::test]
async fn a_connection_that_is_gone_ends_the_calls_that_wait_for_it_at_once() {
    let tenant = tenant_with_calc().await;
    let mut peer = tenant.raw_peer().await;
    peer.provide(to_tenant("calc")).await.unwrap();
    // One is there, and one waits for a place.
    let waiting = [add(&tenant.client), add(&tenant.client)];
    peer.called().await;
    let began = Instant::now();
    drop(peer);
    for waiting in waiting {
        let outcome = in_time("the end of the call", waiting).await.unwrap();
        match outcome {
            // The second may have come when nobody served the name any more.
            Ok(sum) => assert_eq!(sum, 5),
            outcome => {
                refused(
                    outcome,
                    ErrorCode::ProviderLost,
                    &["ended with its connection"],
                );
            }
        }
    }
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(sum(&tenant.client).await, 5);
}

#[tokio::test]
async fn a_name_has_one_client_until_another_deployer_steals_it() {
    let tenant = tenant_with_calc().await;
    let mut peer = tenant.raw_peer().await;
    let leased = peer.provide(to_tenant("calc")).await.unwrap();
    let token = tenant.token("deployer").await;
    let mut thief = RawPeer::welcomed(&tenant.host, &token).await;
    let taken = thief.provide(to_tenant("calc")).await.unwrap_err();
    is(
        &taken,
        ErrorCode::AlreadyExists,
        &["`rpc-host withdraw calc --steal`"],
    );
    let module = tenant.client.upload_module(built("calc")).await.unwrap();
    let register = tenant.client.register("calc", &module, Options::default());
    let parts = [
        "served by the client of session",
        "`rpc-host promote calc --to FILE`",
    ];
    refused(register.await, ErrorCode::FailedPrecondition, &parts);
    let refused_here = thief.withdraw("calc", false).await.unwrap_err();
    is(&refused_here, ErrorCode::NotFound, &[]);
    let waiting = add(&tenant.client);
    peer.called().await;
    thief.withdraw("calc", true).await.unwrap();
    refused(
        waiting.await.unwrap(),
        ErrorCode::ProviderLost,
        &["by the holder of token"],
    );
    let lapse = peer.lapse().await;
    assert_eq!(lapse.lease, leased.lease);
    is(
        &lapse.failure,
        ErrorCode::Aborted,
        &["withdrawn by the holder of token"],
    );
    let again = thief.provide(to_tenant("calc")).await.unwrap();
    let by = &providers(&mut peer).await[0];
    assert_eq!((by.lease, &token[5..21]), (again.lease, &*by.served_by));
}

#[tokio::test]
async fn each_role_may_serve_what_it_may_and_no_more() {
    let tenant = tenant_with_calc().await;
    let peer_of = async |role: &str| {
        let token = tenant.token(role).await;
        RawPeer::welcomed(&tenant.host, &token).await
    };
    let denied = ErrorCode::PermissionDenied;
    let mut reader = peer_of("reader").await;
    assert_eq!(
        reader.provide(offer("calc")).await.unwrap_err().code,
        denied
    );
    let mut caller = peer_of("caller").await;
    assert_eq!(
        caller.provide(to_tenant("calc")).await.unwrap_err().code,
        denied
    );
    caller.provide(offer("calc")).await.unwrap();
    let mut deployer = peer_of("deployer").await;
    deployer.provide(to_tenant("calc")).await.unwrap();
    assert_eq!(
        caller.withdraw("calc", true).await.unwrap_err().code,
        denied
    );
    assert_eq!(
        providers(&mut reader).await.len(),
        1,
        "overlays are nobody else's affair"
    );
    assert_eq!(providers(&mut caller).await.len(), 2);

    // Another tenant sees nothing of it.
    let other = tenant.host.tenant().await;
    other.register("calc", built("calc")).await;
    let mut stranger = other.raw_peer().await;
    assert!(providers(&mut stranger).await.is_empty());
    let steal = stranger.withdraw("calc", true).await.unwrap_err();
    is(&steal, ErrorCode::NotFound, &["no client serves `calc`"]);
    assert_eq!(sum(&other.client).await, 5);
}

#[tokio::test]
async fn a_revoked_token_serves_nothing_more() {
    let tenant = tenant_with_calc().await;
    let token = tenant.token("deployer").await;
    let mut peer = RawPeer::welcomed(&tenant.host, &token).await;
    peer.provide(to_tenant("calc")).await.unwrap();
    let waiting = add(&tenant.client);
    let (id, ..) = peer.called().await;
    let mut admin = tenant.raw_peer().await;
    let revoke = TokenRevoke {
        id: token[5..21].to_owned(),
    };
    admin
        .operate::<()>(Operation::TokenRevoke(revoke))
        .await
        .unwrap();
    peer.answer(id, &Value::S64(-1)).await;
    refused(waiting.await.unwrap(), ErrorCode::ProviderLost, &[]);
    assert_eq!(peer.dismissal().await.code, ErrorCode::Unauthenticated);
    assert_eq!(sum(&tenant.client).await, 5);
}

#[tokio::test]
async fn offers_have_bounds() {
    let options = HostOptions::new()
        .limit("max-leases-per-session", 2)
        .limit("max-leases-per-tenant", 3)
        .limit("max-calls-into-client-per-session", 8)
        .limit("min-lease-ms", 2000)
        .limit("max-lease-ms", 5000)
        .limit("max-wit-bytes", 1000);
    let host = TestHost::start_with(options).await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    for name in ["a", "b", "c"] {
        tenant.register(name, built("calc")).await;
    }
    let mut peer = tenant.raw_peer().await;
    let within = |name: &str| Provide {
        lease_ms: 5000,
        window: 8,
        ..offer(name)
    };
    let mut refuse = async |provide: Provide, code: ErrorCode, part: &str| {
        let failure = peer.provide(provide).await.unwrap_err();
        is(&failure, code, &[part]);
    };
    let invalid = ErrorCode::InvalidArgument;
    for lease_ms in [1999, 5001] {
        let provide = Provide {
            lease_ms,
            ..within("calc")
        };
        refuse(provide, invalid, "between 2000 and 5000").await;
    }
    for window in [0, 9] {
        let provide = Provide {
            window,
            ..within("calc")
        };
        refuse(provide, invalid, "between 1 and 8").await;
    }
    let provide = Provide {
        wit: Some("x".repeat(1001)),
        ..within("calc")
    };
    refuse(
        provide,
        ErrorCode::ResourceExhausted,
        "1001 bytes of WIT text",
    )
    .await;
    for name in ["wasi:cli/stdout@0.2.0", "rpc-host:guest/log@0.1.0"] {
        refuse(
            within(name),
            ErrorCode::PermissionDenied,
            "is the host's own",
        )
        .await;
    }
    for name in ["Wasi:cli/stdout", "wаsi:cli/stdout", "", "a b"] {
        refuse(within(name), invalid, "").await;
    }
    refuse(
        within("unheard-of"),
        ErrorCode::FailedPrecondition,
        "send its interface as WIT",
    )
    .await;
    for name in ["a", "b"] {
        peer.provide(within(name)).await.unwrap();
    }
    let failure = peer.provide(within("c")).await.unwrap_err();
    is(
        &failure,
        ErrorCode::ResourceExhausted,
        &["this session serve 2 names"],
    );
    let mut other = tenant.raw_peer().await;
    other.provide(within("a")).await.unwrap();
    let failure = other.provide(within("b")).await.unwrap_err();
    is(
        &failure,
        ErrorCode::ResourceExhausted,
        &["this tenant serve 3 names"],
    );
}

#[tokio::test]
async fn what_is_served_under_a_new_name_is_said_in_wit() {
    let tenant = TestHost::shared().await.tenant().await;
    let mut peer = tenant.raw_peer().await;
    let with = |name: &str, wit: &str| Provide {
        wit: Some(wit.to_owned()),
        ..to_tenant(name)
    };
    for (wit, part) in [
        ("interface {", "the WIT text cannot be used: expected"),
        ("", "cannot be used"),
        (
            "package a:b; interface c { f: func(x: list<u8>); }",
            "does not hold the interface",
        ),
    ] {
        let failure = peer.provide(with(VERIFIER, wit)).await.unwrap_err();
        assert!(failure.message.contains(part), "{failure:?}");
        assert!(!failure.message.contains('\n'));
    }
    let leased = peer.provide(with(VERIFIER, VERIFIER_WIT)).await.unwrap();
    let signature = leased.functions[0].signature.to_string();
    assert_eq!(signature, "func(token: string) -> result<string, string>");
    let verify = tenant
        .client
        .module(VERIFIER)
        .function("verify")
        .args(("secret",));
    let call = tokio::spawn(verify.call_result::<String, String>());
    let (id, ..) = peer.called().await;
    peer.answer(id, &ok(text("ada"))).await;
    assert_eq!(call.await.unwrap().unwrap().unwrap(), "ada");

    // Where the name stands for something already, the text has to agree with that.
    tenant.register("calc", built("calc")).await;
    let other = "package rpc:module; interface other { add: func(a: s64) -> s64; }";
    let failure = peer.provide(with("calc", other)).await.unwrap_err();
    let part = "what is offered is not what `calc` stands for: `";
    is(
        &failure,
        ErrorCode::FailedPrecondition,
        &[part, "add` is missing"],
    );
}

/// Each world takes all that another has: a quarter of a megabyte of text comes to gigabytes.
#[tokio::test]
async fn wit_that_grows_without_end_ends_with_its_process() {
    let tenant = TestHost::shared().await.tenant().await;
    let mut peer = tenant.raw_peer().await;
    let imports: String = (0..5000)
        .map(|number| format!("import x{number}: func();"))
        .collect();
    let mut wit = format!("package a:b; interface i {{ f: func(); }} world w {{ {imports} }}");
    for number in 0..6000 {
        wit.push_str(&format!("world a{number} {{ include w; }}"));
    }
    let grows = Provide {
        wit: Some(wit),
        ..offer("grows")
    };
    let failure = peer.provide(grows).await.unwrap_err();
    is(
        &failure,
        ErrorCode::InvalidArgument,
        &["reading it is too expensive"],
    );
    let known = Provide {
        wit: Some(VERIFIER_WIT.to_owned()),
        ..offer(VERIFIER)
    };
    peer.provide(known).await.unwrap();
}

#[tokio::test]
async fn functions_with_resources_are_served_like_others() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("objects", built("objects")).await;
    let mut peer = tenant.raw_peer().await;
    let leased = peer.provide(offer("objects")).await.unwrap();
    let names: Vec<_> = leased.functions.iter().map(|one| &*one.name).collect();
    for name in ["[constructor]counter", "[method]counter.value", "peek"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[tokio::test]
async fn a_call_whose_time_is_up_is_cancelled_at_the_client() {
    let tenant = tenant_with_calc().await;
    let mut peer = tenant.raw_peer().await;
    peer.provide(to_tenant("calc")).await.unwrap();
    let add = tenant.client.module("calc").function("add").args((2, 3));
    let call = tokio::spawn(add.timeout(Duration::from_millis(300)).call::<i64>());
    let (id, header, _) = peer.called().await;
    assert!(header.timeout_ms.unwrap() <= 300, "{header:?}");
    refused(call.await.unwrap(), ErrorCode::DeadlineExceeded, &[]);
    let (cancelled, message) = peer.message().await;
    assert_eq!((cancelled, message), (id, Message::Cancel));
}

#[tokio::test]
async fn a_client_calls_back_while_it_serves_and_a_cycle_is_told_at_once() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("app", built("app")).await;
    tenant.register("calc", built("calc")).await;
    register_logger(&tenant).await;
    let mut peer = tenant.raw_peer().await;
    peer.provide(to_tenant(VERIFIER)).await.unwrap();
    let handle = tenant.client.module("app").function("handle");
    let call = tokio::spawn(
        handle
            .args(("secret", "whoami"))
            .call_result::<String, String>(),
    );
    let (serving, ..) = peer.called().await;
    let within = async |peer: &mut RawPeer,
                        module: &str,
                        function: &str,
                        arguments: &[Value],
                        id: ExchangeId| {
        let header = CallHeader {
            module: module.to_owned(),
            function: function.to_owned(),
            within: Some(id.0),
            ..CallHeader::default()
        };
        let arguments = encode_arguments(arguments, &[]);
        let exchange = peer.fresh_id();
        peer.send(exchange, Message::call(header, arguments)).await;
        peer.outcome(exchange).await
    };
    let numbers = [Value::S64(2), Value::S64(3)];
    assert_eq!(
        within(&mut peer, "calc", "add", &numbers, serving)
            .await
            .unwrap(),
        [5]
    );
    let texts = [text("secret"), text("whoami")];
    let began = Instant::now();
    let deadlock = within(&mut peer, "app", "handle", &texts, serving)
        .await
        .unwrap_err();
    let way = "app → acme:auth/verifier → app → acme:auth/verifier";
    is(&deadlock, ErrorCode::WouldDeadlock, &[way]);
    assert!(began.elapsed() < Duration::from_secs(10));
    let other = ExchangeId(serving.0 + 2);
    let unknown = within(&mut peer, "calc", "add", &numbers, other)
        .await
        .unwrap_err();
    is(&unknown, ErrorCode::FailedPrecondition, &["no call #"]);
    peer.answer(serving, &ok(text("ada"))).await;
    assert_eq!(call.await.unwrap().unwrap().unwrap(), "ada");
}

#[tokio::test]
async fn a_call_within_another_has_its_own_time_too() {
    let tenant = tenant_with_calc().await;
    let mut peer = tenant.raw_peer().await;
    let window = |name| Provide {
        window: 2,
        ..offer(name)
    };
    peer.provide(window("calc")).await.unwrap();
    let numbers = [Value::S64(2), Value::S64(3)];
    let outer = peer.call("calc", "add", &numbers).await;
    let (serving, header, arguments) = peer.called().await;
    let header = CallHeader {
        timeout_ms: Some(200),
        within: Some(serving.0),
        lease: None,
        ..header
    };
    let inner = peer.fresh_id();
    peer.send(inner, Message::call(header, arguments)).await;
    // It comes back to this client, which does not answer.
    let (_, header, _) = peer.called().await;
    assert!(header.timeout_ms.unwrap() <= 200, "{header:?}");
    let late = peer.outcome(inner).await.unwrap_err();
    is(&late, ErrorCode::DeadlineExceeded, &[]);
    peer.answer(serving, &Value::S64(5)).await;
    assert_eq!(peer.outcome(outer).await.unwrap(), [5]);
}

/// What they brought leaves too little of the tenant's room for what the client answers.
#[tokio::test]
async fn calls_with_long_arguments_do_not_wait_for_one_anothers_room() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("app", built("app")).await;
    register_logger(&tenant).await;
    let mut peer = tenant.raw_peer().await;
    let many = Provide {
        window: 8,
        ..to_tenant(VERIFIER)
    };
    peer.provide(many).await.unwrap();
    let token = "t".repeat(4 << 20);
    let calls = [(); 3].map(|()| {
        let handle = tenant.client.module("app").function("handle");
        tokio::spawn(
            handle
                .args((&token, "whoami"))
                .call_result::<String, String>(),
        )
    });
    let mut came = Vec::new();
    while came.len() < calls.len() {
        came.push(peer.called().await.0);
    }
    let user = "u".repeat(2 << 20);
    for id in came {
        peer.answer(id, &ok(text(&user))).await;
    }
    for call in calls {
        let answered = in_time("a call", call).await.unwrap();
        assert_eq!(answered.unwrap().unwrap(), user);
    }
}

/// Eight callers call all the time while a module takes the place of a client.
#[tokio::test]
async fn a_module_takes_the_place_of_a_client_and_no_call_fails() {
    let tenant = tenant_with_calc().await;
    let mut peer = tenant.raw_peer().await;
    let leased = peer
        .provide(Provide {
            window: 4,
            ..to_tenant("calc")
        })
        .await
        .unwrap();
    let module = tenant.client.upload_module(built("calc")).await.unwrap();
    let lacking = tenant.client.upload_module(built("greeter")).await.unwrap();
    let promote = |digest: &str| {
        Operation::Promote(Register {
            name: "calc".to_owned(),
            digest: digest.to_owned(),
            limits: [("max-memory-bytes".to_owned(), 1 << 26)].into(),
            ..Register::default()
        })
    };
    let mut deployer = tenant.raw_peer().await;
    let failure = deployer
        .operate::<RevisionEntry>(promote(lacking.digest()))
        .await
        .unwrap_err();
    is(
        &failure,
        ErrorCode::FailedPrecondition,
        &["which its client serves", "`--force`"],
    );
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let client = tenant.client.clone();
            tokio::spawn(async move {
                let mut sums = Vec::new();
                while sums.last() != Some(&5) {
                    sums.push(sum(&client).await);
                }
                sums
            })
        })
        .collect();
    let serving = tokio::spawn(async move {
        let mut served = 0;
        loop {
            match peer.message().await {
                (id, Message::Call { header, .. }) => {
                    assert_eq!(header.lease, Some(leased.lease));
                    served += 1;
                    peer.answer(id, &Value::S64(500)).await;
                }
                (_, Message::Lapse(lapse)) => return (peer, served, lapse),
                other => panic!("{other:?}"),
            }
        }
    });
    let entry: RevisionEntry = deployer.operate(promote(module.digest())).await.unwrap();
    assert_eq!((entry.revision, &*entry.digest), (2, module.digest()));
    let mut by_client = 0;
    for caller in callers {
        let sums = in_time("the module", caller).await.unwrap();
        let (last, before) = sums.split_last().unwrap();
        assert_eq!(*last, 5);
        assert!(
            before.iter().all(|sum| *sum == 500),
            "never back again: {sums:?}"
        );
        by_client += before.len();
    }
    let (_peer, served, lapse) = in_time("a lapse", serving).await.unwrap();
    is(&lapse.failure, ErrorCode::Aborted, &["promoted"]);
    assert_eq!(by_client, served);
    assert!(providers(&mut deployer).await.is_empty());
    let failure = deployer
        .operate::<RevisionEntry>(promote(module.digest()))
        .await
        .unwrap_err();
    is(&failure, ErrorCode::NotFound, &["no client serves `calc`"]);
}

#[tokio::test]
async fn a_thousand_clients_that_come_and_go_leave_nothing_behind() {
    let host = TestHost::start_with(HostOptions::new().open()).await;
    let tenant = host.tenant().await;
    tenant.register("calc", built("calc")).await;
    let open_files = || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", host.pid()));
        files.unwrap().count()
    };
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", host.pid()));
        tasks.unwrap().count()
    };
    let mut watching = tenant.raw_peer().await;
    let come_and_go = async |number: usize| {
        let mut peer = tenant.raw_peer().await;
        let provide = [offer("calc"), to_tenant("calc")][number % 2].clone();
        // The one before may be about to go.
        while let Err(failure) = peer.provide(provide.clone()).await {
            assert_eq!(failure.code, ErrorCode::AlreadyExists, "{failure:?}");
        }
        if number.is_multiple_of(3) {
            let waiting = add(&tenant.client);
            if provide.scope == ProvideScope::Tenant {
                peer.called().await;
            }
            drop(peer);
            match in_time("the end of the call", waiting).await.unwrap() {
                Ok(sum) => assert_eq!(sum, 5),
                outcome => {
                    refused(outcome, ErrorCode::ProviderLost, &[]);
                }
            }
        }
    };
    come_and_go(0).await;
    let (files, threads_before) = (open_files(), threads());
    for number in 0..1000 {
        come_and_go(number).await;
    }
    in_time("nothing served", async {
        while !providers(&mut watching).await.is_empty() || open_files() > files {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(
        threads() <= threads_before + 8,
        "{threads_before} → {}",
        threads()
    );
    assert_eq!(sum(&tenant.client).await, 5);
}

/// What a client answers is taken for as little as what a client asks.
#[tokio::test]
async fn an_answer_of_another_type_is_never_believed() {
    let tenant = tenant_with_calc().await;
    register_logger(&tenant).await;
    let mut peer = tenant.raw_peer().await;
    peer.provide(to_tenant("calc")).await.unwrap();
    peer.provide(to_tenant(LOGGER)).await.unwrap();
    let some = |value| Value::Option(Some(Box::new(value)));
    let record = Value::Record(vec![("x".into(), Value::S64(1))]);
    let items = vec![Value::Bool(true); 100];
    for (answer, problem) in [
        (text("5"), "result: expected s64, got text"),
        (Value::F64(5.0), "result: expected s64, got float"),
        (
            Value::U64(u64::MAX),
            "result: 18446744073709551615 is out of range of s64",
        ),
        (Value::Option(None), "result: expected s64, got null"),
        (some(Value::Bool(true)), "result: expected s64, got bool"),
        (record, "result: expected s64, got map"),
        (Value::List(items), "result: expected s64, got array"),
    ] {
        let waiting = add(&tenant.client);
        let (id, ..) = peer.called().await;
        peer.answer(id, &answer).await;
        let parts = ["`calc` is served by the client of session", problem];
        let failure = refused(waiting.await.unwrap(), ErrorCode::Unknown, &parts);
        assert_eq!(failure.fault, Fault::Application);
    }
    for value in [vec![], vec![0x05, 0x05], vec![0x18, 0x05], vec![0xff]] {
        let waiting = add(&tenant.client);
        let (id, ..) = peer.called().await;
        let is_result = false;
        peer.send(id, Message::Reply { value, is_result }).await;
        let parts = ["`calc` is served by the client of session"];
        refused(waiting.await.unwrap(), ErrorCode::Unknown, &parts);
    }
    // A function that gives nothing has nothing to be answered with.
    let log = tenant.client.module(LOGGER).function("log");
    let waiting = tokio::spawn(log.args(("info", "hello")).call::<()>());
    let (id, ..) = peer.called().await;
    peer.answer(id, &Value::S64(1)).await;
    let parts = ["gives nothing, and it answered with something"];
    refused(waiting.await.unwrap(), ErrorCode::Unknown, &parts);

    // The lease stands, and a right answer is taken.
    let waiting = add(&tenant.client);
    let (id, ..) = peer.called().await;
    peer.answer(id, &Value::S64(-5)).await;
    assert_eq!(waiting.await.unwrap().unwrap(), -5);
}
