//! Clients that use what they may do against others: names, leases, swaps, cancels.

use rpc_host_protocol::cbor::encode_value;
use rpc_host_protocol::message::{CallHeader, Message, Provide, ProvideScope};
use rpc_host_protocol::operation::{
    ByDigest, Named, RegistrationEntry, RevisionEntry, Swap, SwapTo,
};
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Operation, Value};

use super::Scene;
use super::guests::{bound, registered};
use super::program::{Attack, Cost, End, Expect, Guest, Program, Registered};
use crate::RawPeer;

use Cost::{Cheap, Slow, Some as Middling};
use ErrorCode::{
    DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied,
    ResourceExhausted, Unknown, WouldDeadlock,
};

const TOLD: &str = "hostile:told/it@0.1.0";
const TOLD_WIT: &str =
    "package hostile:told@0.1.0; interface it { tell: func(text: string) -> u32; }";

macro_rules! clients {
    ($($row:literal $name:literal $cost:ident, $what:literal, $run:expr => $expect:expr;)+) => {
        vec![$(Program {
            row: $row,
            name: $name,
            what: $what,
            cost: $cost,
            attack: Attack::Client {
                registered: needed(),
                run: |scene| Box::pin($run(scene)),
            },
            expect: $expect,
        }),+]
    };
}

/// What these programs find in their tenant.
fn needed() -> Vec<Registered> {
    vec![
        registered("asker", Guest::Written("r19-asker"), &[], &[]),
        registered("logs-without", Guest::Written("r11-log"), &[], &[]),
        registered("logs-with", Guest::Written("r11-log"), &[], &["log"]),
        registered("sleeper", Guest::Written("r13-pollables"), &[], &[]),
        registered("trapper", Guest::Made(trap_and_sum), &[], &[]),
        bound(
            registered("asks-held", Guest::Written("r19-asker"), &[], &[]),
            &[(TOLD, "held")],
        ),
        registered("held", Guest::Made(told), &[], &[]),
        registered("of-other-types", Guest::Made(told_otherwise), &[], &[]),
    ]
}

fn trap_and_sum() -> Vec<u8> {
    super::program::plain(
        "(global $calls (mut i32) (i32.const 0))
         (func (export \"trap\") unreachable)
         (func (export \"once\")
            (if (global.get $calls) (then unreachable))
            (global.set $calls (i32.const 1)))",
        &["trap", "once"],
    )
}

/// Answers the asker.
fn told() -> Vec<u8> {
    told_as("u32")
}

/// Has the same function with another type.
fn told_otherwise() -> Vec<u8> {
    told_as("s32")
}

fn told_as(ty: &str) -> Vec<u8> {
    crate::component(&format!(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
                (func (export "tell") (param i32 i32) (result i32) (local.get 1)))
            (core instance $i (instantiate $m))
            (func $tell (param "text" string) (result {ty})
                (canon lift (core func $i "tell")
                    (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
            (instance $it (export "tell" (func $tell)))
            (export "{TOLD}" (instance $it)))"#
    ))
}

pub(super) fn programs() -> Vec<Program> {
    clients! {
        "R9" "text-too-long-for-a-client" Middling, "passes more text to a client than a message may have",
            too_long_for_a_client => Expect::Failure(ResourceExhausted, Fault::Guest, &[]);
        "R18" "goes-round-through-a-client" Middling, "serves a name by calling whoever asks for it",
            goes_round => Expect::Failure(WouldDeadlock, Fault::Tenant, &[]);
        "R19" "never-answers" Slow, "serves a name and never answers",
            never_answers => Expect::Failure(DeadlineExceeded, Fault::Application, &["did not answer in time"]);
        "R19" "answers-twice" Middling, "serves a name and answers each call three times, and calls that it never had",
            answers_twice => Expect::AllWell;
        "R19" "withdraws-in-mid-call" Middling, "serves a name, and serves it no more while a call waits for it",
            withdraws => Expect::Failure(ErrorCode::ProviderLost, Fault::Application, &[]);
        "E15" "answers-of-other-types" Middling, "serves a name and answers with everything but what its type says",
            other_types => Expect::AllWell;
        "E15" "failure-of-its-own-making" Middling, "serves a name and fails in words that clear a terminal, as if it were the node",
            own_failure => Expect::Failure(Unknown, Fault::Application, &[]);
        "R20" "cancels-at-any-moment" Middling, "cancels its calls at moments that it chooses at random",
            cancels_anywhere => Expect::AllWell;
        "R21" "calls-after-a-trap" Cheap, "calls what has just trapped, and what has just changed, again",
            after_a_trap => Expect::AllWell;
        "E9" "guesses-names" Cheap, "calls what another tenant has, and what nobody has",
            guesses_names => Expect::AllWell;
        "E9" "guesses-modules" Cheap, "registers what another tenant has uploaded, and what nobody has",
            guesses_modules => Expect::AllWell;
        "E9" "guesses-tenants" Middling, "asks for another tenant, and for one that is not there",
            guesses_tenants => Expect::AllWell;
        "E10" "looks-around" Cheap, "reads all lists that it may read",
            looks_around => Expect::AllWell;
        "E12" "swap-for-other-types" Middling, "points a name at a module with other types than others count on",
            other_target => Expect::Failure(FailedPrecondition, Fault::Peer, &[]);
        "E11" "widens-its-calls" Middling, "calls with patterns that allow what its module has no grant for",
            widens => Expect::Failure(PermissionDenied, Fault::Tenant, &["needs the grant `log`"]);
        "E11" "is-narrowed" Middling, "a module with a grant, in a call that allows none",
            is_narrowed => Expect::Failure(PermissionDenied, Fault::Tenant, &["log"]);
        "E4" "grants-itself" Middling, "registers with grants that there are not, that nobody allowed, and too many",
            grants_itself => Expect::AllWell;
        "E14" "serves-the-nodes-names" Middling, "offers to serve names of the node, in several spellings",
            serves_reserved => Expect::AllWell;
        "U11" "odd-names" Cheap, "registers and asks for names that are paths, or clear a terminal, or are no names",
            odd_names => Expect::AllWell;
        "P10" "lease-without-end" Middling, "offers with times and windows that are no times and windows",
            odd_offers => Expect::AllWell;
        "U7" "wit-without-end" Slow, "offers an interface whose text describes more than there is memory",
            wit_without_end => Expect::AllWell;
    }
}

fn offer(name: &str) -> Provide {
    Provide {
        name: name.to_owned(),
        scope: ProvideScope::Session,
        lease_ms: 60_000,
        window: 1,
        fallback: Default::default(),
        wit: Some(TOLD_WIT.to_owned()),
    }
}

/// A peer that serves what `asker` imports to itself.
async fn serving(scene: &mut Scene) -> RawPeer {
    let mut peer = scene.peer().await;
    let leased = peer.provide(offer(TOLD)).await;
    leased.unwrap_or_else(|failure| panic!("an offer: {failure}"));
    peer
}

fn ended(outcome: Result<Vec<u8>, Failure>) -> End {
    match outcome {
        Ok(value) => End::Value(value),
        Err(failure) => End::Failure(failure),
    }
}

async fn ask(peer: &mut RawPeer, length: u32) -> ExchangeId {
    peer.call("asker", "ask", &[Value::U32(length)]).await
}

async fn too_long_for_a_client(mut scene: Scene) -> End {
    let mut peer = serving(&mut scene).await;
    let length = super::arena::MAX_MESSAGE_BYTES + 1;
    let id = ask(&mut peer, u32::try_from(length).unwrap_or(u32::MAX)).await;
    ended(peer.outcome(id).await)
}

async fn goes_round(mut scene: Scene) -> End {
    let mut peer = serving(&mut scene).await;
    let outer = ask(&mut peer, 1).await;
    let (called, ..) = peer.called().await;
    let inner = peer.fresh_id();
    let header = CallHeader {
        module: "asker".to_owned(),
        function: "ask".to_owned(),
        within: Some(called.0),
        ..CallHeader::default()
    };
    let arguments = rpc_host_protocol::cbor::encode_arguments(&[Value::U32(1)], &[]);
    peer.send(inner, Message::call(header, arguments)).await;
    let end = ended(peer.outcome(inner).await);
    peer.answer(called, &Value::U32(1)).await;
    match peer.outcome(outer).await {
        Ok(_) => end,
        Err(failure) => End::Odd(format!("the outer call ended with {failure}")),
    }
}

async fn never_answers(mut scene: Scene) -> End {
    let mut peer = serving(&mut scene).await;
    let id = peer.fresh_id();
    let header = CallHeader {
        module: "asker".to_owned(),
        function: "ask".to_owned(),
        timeout_ms: Some(200),
        ..CallHeader::default()
    };
    let arguments = rpc_host_protocol::cbor::encode_arguments(&[Value::U32(1)], &[]);
    peer.send(id, Message::call(header, arguments)).await;
    ended(peer.outcome(id).await)
}

async fn answers_twice(mut scene: Scene) -> End {
    let mut peer = serving(&mut scene).await;
    for round in 0..3 {
        let id = ask(&mut peer, 1).await;
        let (called, ..) = peer.called().await;
        for answer in [round, 90, 91] {
            peer.answer(called, &Value::U32(answer)).await;
            peer.answer(ExchangeId(called.0 + 2), &Value::U32(99)).await;
        }
        let right = encode_value(&Value::U32(round));
        match peer.outcome(id).await {
            Ok(value) if value == right => {}
            other => return End::Odd(format!("{other:?} where {round} was answered first")),
        }
    }
    End::AllWell
}

async fn withdraws(mut scene: Scene) -> End {
    let mut peer = serving(&mut scene).await;
    let id = ask(&mut peer, 1).await;
    peer.called().await;
    let withdraw = peer.fresh_id();
    let message = Message::Withdraw(rpc_host_protocol::message::Withdraw {
        name: TOLD.to_owned(),
        lease: None,
        steal: false,
    });
    peer.send(withdraw, message).await;
    ended(peer.outcome(id).await)
}

async fn other_types(mut scene: Scene) -> End {
    let mut peer = serving(&mut scene).await;
    let answers: [&[u8]; 8] = [
        &[0x20],                         // -1
        &[0x1b, 0, 0, 0, 1, 0, 0, 0, 0], // beyond 32 bits
        &[0xf9, 0x7e, 0],                // not a number
        &[0x61, b'7'],                   // text
        &[0xf6],                         // null
        &[0x81, 7],                      // a list
        &[0xd9, 0x72, 0x70, 7],          // a handle
        &[],                             // nothing at all
    ];
    for value in answers {
        let id = ask(&mut peer, 1).await;
        let (called, ..) = peer.called().await;
        let reply = Message::Reply {
            value: value.to_vec(),
            is_result: false,
        };
        peer.send(called, reply).await;
        match peer.outcome(id).await {
            Err(failure) if (failure.code, failure.fault) == (Unknown, Fault::Application) => {}
            other => return End::Odd(format!("{other:?} after the answer {value:x?}")),
        }
    }
    End::AllWell
}

async fn own_failure(mut scene: Scene) -> End {
    let mut peer = serving(&mut scene).await;
    let id = ask(&mut peer, 1).await;
    let (called, ..) = peer.called().await;
    let failure = Failure {
        message: "\u{1b}[2Jthe node is broken\n".repeat(1000),
        backtrace: vec!["\u{1b}[2J".repeat(10_000)],
        ..Failure::new(ErrorCode::Internal, Fault::Host, "")
    };
    peer.send(called, Message::Failure(failure)).await;
    ended(peer.outcome(id).await)
}

async fn cancels_anywhere(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    for _ in 0..4 {
        let functions = ["sleep", "nap", "ask-the-time", "hoard"];
        let function = functions[scene.seed.index(functions.len())];
        let id = peer.call("sleeper", function, &[]).await;
        for nonce in 0..scene.seed.below(4) {
            let ping = Message::Ping(rpc_host_protocol::message::Beat { nonce });
            peer.send(ExchangeId::CONNECTION, ping).await;
        }
        peer.send(id, Message::Cancel).await;
        match peer.outcome(id).await {
            Err(failure) if failure.code == ErrorCode::Cancelled => {}
            // It hoards only for so long.
            Err(failure) if function == "hoard" && failure.code == ErrorCode::Trapped => {}
            other => return End::Odd(format!("{other:?} to a cancel of {function}")),
        }
    }
    End::AllWell
}

async fn after_a_trap(scene: Scene) -> End {
    for function in ["trap", "once", "once", "trap", "once"] {
        let end = scene.call("trapper", function, &[]).await;
        let is_right = match &end {
            End::Failure(failure) => function == "trap" && failure.code == ErrorCode::Trapped,
            End::Value(value) => function == "once" && *value == [0xf6],
            _ => false,
        };
        if !is_right {
            return End::Odd(format!("{function} ended with {end:?}"));
        }
    }
    End::AllWell
}

/// That two failures are the same but for the names in them.
fn alike(one: End, name: &str, other: End, other_name: &str, code: ErrorCode) -> End {
    match (one, other) {
        (End::Failure(one), End::Failure(other)) => {
            let renamed = Failure {
                message: one.message.replace(name, other_name),
                ..one
            };
            if renamed == other && other.code == code {
                End::AllWell
            } else {
                End::Odd(format!("{renamed:?} is not {other:?}"))
            }
        }
        other => End::Odd(format!("{other:?}")),
    }
}

async fn guesses_names(scene: Scene) -> End {
    let (foreign, absent) = (super::arena::SECRET, "secret-or-not");
    let one = scene.call(foreign, "add", &[]).await;
    let other = scene.call(absent, "add", &[]).await;
    alike(one, foreign, other, absent, NotFound)
}

async fn guesses_modules(mut scene: Scene) -> End {
    let foreign = scene.secret_digest.to_string();
    let absent = format!("sha256:{}", "5".repeat(64));
    let mut peer = scene.peer().await;
    let mut ask = async |digest: &str| {
        let removing = Operation::RemoveModule(ByDigest {
            digest: digest.to_owned(),
        });
        match peer.operate::<()>(removing).await {
            Err(failure) => End::Failure(failure),
            Ok(()) => End::Odd("it was removed".to_owned()),
        }
    };
    let (one, other) = (ask(&foreign).await, ask(&absent).await);
    alike(one, &foreign, other, &absent, NotFound)
}

async fn guesses_tenants(scene: Scene) -> End {
    let (foreign, absent) = (scene.victim.to_string(), "tenant-of-nobody");
    let one = End::of(scene.tenant.client.tenant_show(&foreign).await);
    let other = End::of(scene.tenant.client.tenant_show(absent).await);
    let code = match &other {
        End::Failure(failure) => failure.code,
        _ => NotFound,
    };
    alike(one, &foreign, other, absent, code)
}

async fn looks_around(scene: Scene) -> End {
    let client = &scene.tenant.client;
    let told = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        client.list().await,
        client.modules().await,
        client.providers().await,
        client.token_list(None).await,
        client.tenant_show(&scene.tenant.name).await,
    );
    let secrets = [super::arena::SECRET, &scene.victim, &scene.secret_digest];
    match secrets.into_iter().find(|secret| told.contains(secret)) {
        Some(secret) => End::Odd(format!("it was told of {secret}")),
        None => End::AllWell,
    }
}

async fn other_target(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let show = |name: &str| {
        Operation::Show(Named {
            name: name.to_owned(),
        })
    };
    let other = peer
        .operate::<RegistrationEntry>(show("of-other-types"))
        .await;
    let before = peer.operate::<RegistrationEntry>(show("held")).await;
    let (Ok(other), Ok(before)) = (other, before) else {
        return End::Odd("the names are not there".to_owned());
    };
    let swap = Operation::Swap(Swap {
        name: "held".to_owned(),
        to: SwapTo::Digest(other.current.digest),
        if_revision: None,
        force: false,
    });
    let outcome = peer.operate::<RevisionEntry>(swap).await;
    let after = peer.operate::<RegistrationEntry>(show("held")).await;
    match outcome {
        Err(failure) if after.as_ref() == Ok(&before) => End::Failure(failure),
        other => End::Odd(format!("{other:?}, and {after:?} instead of {before:?}")),
    }
}

async fn call_allowing(mut scene: Scene, name: &str, allow: &[&str]) -> End {
    let mut peer = scene.peer().await;
    let id = peer.fresh_id();
    let header = CallHeader {
        module: name.to_owned(),
        function: "long".to_owned(),
        allow: Some(allow.iter().map(|pattern| (*pattern).to_owned()).collect()),
        ..CallHeader::default()
    };
    let arguments = rpc_host_protocol::cbor::encode_arguments(&[], &[]);
    peer.send(id, Message::call(header, arguments)).await;
    ended(peer.outcome(id).await)
}

async fn widens(scene: Scene) -> End {
    call_allowing(scene, "logs-without", &["log", "env"]).await
}

async fn is_narrowed(scene: Scene) -> End {
    call_allowing(scene, "logs-with", &[]).await
}

async fn grants_itself(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let held = Operation::Show(Named {
        name: "held".to_owned(),
    });
    let Ok(held) = peer.operate::<RegistrationEntry>(held).await else {
        return End::Odd("the name is not there".to_owned());
    };
    let many: Vec<String> = (0..300).map(|number| format!("env:K{number}=x")).collect();
    let long = format!("env:K={}", "x".repeat(100_000));
    let one = |grant: &str| vec![grant.to_owned()];
    for grants in [
        one("clock:precise"),
        one("http:metadata.internal:80"),
        one("root"),
        one("fs:../../etc=rw"),
        one("kv:a/b=rw"),
        one("log "),
        one("env:A\0B=x"),
        one("*"),
        one(&long),
        many,
    ] {
        let shown = format!("{:.60?}", grants);
        let register = rpc_host_protocol::operation::Register {
            name: "granted".to_owned(),
            digest: held.current.digest.clone(),
            grants,
            force: true,
            ..rpc_host_protocol::operation::Register::default()
        };
        let outcome = peer
            .operate::<RevisionEntry>(Operation::Register(register))
            .await;
        match outcome {
            Err(failure)
                if [
                    InvalidArgument,
                    PermissionDenied,
                    ResourceExhausted,
                    FailedPrecondition,
                ]
                .contains(&failure.code) => {}
            other => return End::Odd(format!("{other:?} to the grants {shown}")),
        }
    }
    End::AllWell
}

async fn serves_reserved(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    for (name, codes) in [
        ("wasi:cli/environment@0.2.0", &[PermissionDenied][..]),
        ("wasi:clocks/monotonic-clock", &[PermissionDenied]),
        ("wasi:keyvalue/store@0.2.0", &[PermissionDenied]),
        ("rpc-host:guest/log@0.1.0", &[PermissionDenied]),
        ("rpc-host:anything", &[PermissionDenied]),
        (
            "WASI:cli/environment@0.2.0",
            &[PermissionDenied, InvalidArgument],
        ),
        (
            "Rpc-Host:guest/log@0.1.0",
            &[PermissionDenied, InvalidArgument],
        ),
        ("w\u{430}si:cli/environment", &[InvalidArgument]),
        (
            "wasi:cli\0/environment",
            &[PermissionDenied, InvalidArgument],
        ),
    ] {
        for scope in [ProvideScope::Session, ProvideScope::Tenant] {
            let offer = Provide {
                scope,
                ..offer(name)
            };
            match peer.provide(offer).await {
                Err(failure) if codes.contains(&failure.code) => {}
                other => return End::Odd(format!("{other:?} to an offer of {name:?}")),
            }
        }
    }
    End::AllWell
}

async fn odd_names(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let held = Operation::Show(Named {
        name: "held".to_owned(),
    });
    let held = peer.operate::<RegistrationEntry>(held).await;
    let Ok(held) = held else {
        return End::Odd("the name is not there".to_owned());
    };
    let long = "x".repeat(100_000);
    for name in [
        "",
        "..",
        "/",
        "../../etc/passwd",
        "a\0b",
        "\u{1b}[2J",
        "a\nb",
        "\u{202e}cba",
        "A",
        &long,
        "sha256:00",
        "revision:1",
        "c\u{430}lc",
    ] {
        let register = rpc_host_protocol::operation::Register {
            name: name.to_owned(),
            digest: held.current.digest.clone(),
            force: true,
            ..rpc_host_protocol::operation::Register::default()
        };
        let outcome = peer
            .operate::<RevisionEntry>(Operation::Register(register))
            .await;
        let shown = Operation::Show(Named {
            name: name.to_owned(),
        });
        let shown = peer.operate::<RegistrationEntry>(shown).await;
        let failures = (outcome.map(|_| ()), shown.map(|_| ()));
        let (Err(registering), Err(showing)) = failures else {
            return End::Odd(format!("{failures:?} to the name {name:?}"));
        };
        for failure in [&registering, &showing] {
            if let Err(problem) = Expect::AllWell.check(&End::Failure(failure.clone()))
                && problem.starts_with("a failure")
            {
                return End::Odd(problem);
            }
        }
        if (registering.code, showing.code) != (InvalidArgument, NotFound) {
            return End::Odd(format!("{registering:?} and {showing:?} to {name:?}"));
        }
    }
    End::AllWell
}

async fn odd_offers(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    for (lease_ms, window) in [
        (0, 1),
        (u64::MAX, 1),
        (60_000, 0),
        (60_000, u32::MAX),
        (1, 1),
    ] {
        let offer = Provide {
            lease_ms,
            window,
            ..offer(TOLD)
        };
        match peer.provide(offer).await {
            Err(failure) if failure.code == InvalidArgument => {}
            other => return End::Odd(format!("{other:?} to {lease_ms} ms and {window} calls")),
        }
    }
    End::AllWell
}

/// Each type is the one before it, twice.
async fn wit_without_end(mut scene: Scene) -> End {
    let mut wit = "package hostile:wide@0.1.0; interface it { type t0 = tuple<u8, u8>;".to_owned();
    for depth in 1..=60 {
        let inner = depth - 1;
        wit.push_str(&format!(" type t{depth} = tuple<t{inner}, t{inner}>;"));
    }
    wit.push_str(" f: func(wide: t60); }");
    let mut peer = scene.peer().await;
    let offer = Provide {
        wit: Some(wit),
        ..offer("hostile:wide/it@0.1.0")
    };
    match peer.provide(offer).await {
        Err(failure) if [InvalidArgument, ResourceExhausted].contains(&failure.code) => {
            End::AllWell
        }
        other => End::Odd(format!("{other:?} to a type without end")),
    }
}
