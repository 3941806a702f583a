//! Clients that misuse objects on their way to and fro: numbers of other places, releases that are none, answers
//! with what is not theirs to give.

use std::collections::HashMap;

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::cbor::{encode_value, handles};
use rpc_host_protocol::message::{CallHeader, Fallback, Message, Provide, ProvideScope};
use rpc_host_protocol::operation::Instancing;
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, ExchangeId, Fault, Kind, Value};

use super::Scene;
use super::guests::registered;
use super::holder::{Holder, Outcome, Own, Step, handle, odd, own, refused, unless_full};
use super::program::{Attack, Cost, End, Expect, Guest, Program, Registered};

use Cost::Some as Middling;
use ErrorCode::{FailedPrecondition, InvalidArgument, NotFound, ProviderLost, Unknown};

const COUNT: &str = "count";
const MAKER: &str = "test:things/maker";
const BROKER: &str = "test:things/broker";
const USER: &str = "things-user";
const LENDER: &str = "lender";
const LOOKS: &str = "hostile:lent/it@0.1.0";
const SWAPS: &str = "swaps";
const SWAP: &str = "hostile:pair/swap@0.1.0";

/// What these programs find in their tenant.
fn needed() -> Vec<Registered> {
    let built = |name, program| registered(name, Guest::Built(program), &[], &[]);
    let written = |name, file| registered(name, Guest::Written(file), &[], &[]);
    vec![
        built(COUNT, "counter"),
        built(MAKER, "maker"),
        built(BROKER, "broker"),
        built(USER, "user"),
        written(LENDER, "r30-lender"),
        written("hostile:pair/both", "r30-both"),
        written(SWAPS, "r30-swaps"),
    ]
}

macro_rules! clients {
    ($($row:literal $name:literal $cost:ident, $what:literal, $run:expr;)+) => {
        vec![$(Program {
            row: $row,
            name: $name,
            what: $what,
            cost: $cost,
            attack: Attack::Client {
                registered: needed(),
                run: |scene| Box::pin(async move { $run(scene).await.unwrap_or_else(|end| end) }),
            },
            expect: Expect::AllWell,
        }),+]
    };
}

pub(super) fn programs() -> Vec<Program> {
    clients! {
        "P12" "releases-that-are-none" Middling, "releases nought of an object, more than numbers count, too many at once, and the same twice", odd_releases;
        "P12" "objects-of-two-instances" Middling, "puts objects of two instances into one call, and calls one on the other", of_two;
        "P12" "handles-of-a-session-that-is-over" Middling, "uses numbers that an earlier session of its own held", of_earlier;
        "R30" "object-of-one-that-left" Middling, "gives an object of its own to an instance that others use, and goes", left;
        "R30" "gives-away-what-it-was-lent" Middling, "gives away, answers with and names later what it was lent for a call", gives_away;
        "R30" "lets-go-of-what-it-was-lent" Middling, "releases what it was lent for a call, before it answers", lets_go;
        "R30" "one-number-for-all" Middling, "serves a resource, and gives all objects of it one number", one_number;
        "R30" "its-own-for-the-modules" Middling, "gives an object of its own for one that a module makes, which then is passed to that", its_own;
        "R30" "one-resource-for-another" Middling, "is given an object of one resource, and gives it back for one of another", another_resource;
    }
}

fn provided(name: &str) -> Provide {
    Provide {
        name: name.to_owned(),
        scope: ProvideScope::Session,
        lease_ms: 60_000,
        window: 8,
        fallback: Fallback::Previous,
        wit: None,
    }
}

/// A session that calls one module, and serves what that asks of others.
async fn serving(scene: &mut Scene, module: &str, name: &str) -> Step<Holder> {
    let mut it = Holder::of(scene, module).await;
    match it.peer.provide(provided(name)).await {
        Ok(_) => Ok(it),
        Err(failure) => Err(End::Failure(failure)),
    }
}

/// A counter that stands at 5.
async fn counter(it: &mut Holder, on: Option<u64>) -> Step<u64> {
    let start = Value::U64(5);
    it.object("[constructor]counter", on, &[start]).await
}

async fn stands(it: &mut Holder, counter: u64) -> Step<()> {
    let value = it
        .call("counter.value", Some(counter), &[handle(counter)])
        .await;
    match value {
        Ok(reply) if reply == encode_value(&Value::U64(5)) => Ok(()),
        other => odd(format!("{other:?} from a counter that stands at 5")),
    }
}

/// The object that a call of the node's into this client has with it.
fn with_it(arguments: &[u8]) -> Step<u64> {
    match handles(arguments).next() {
        Some(Handle::Host(number)) => Ok(number),
        other => odd(format!("{other:?} among the arguments of a call")),
    }
}

async fn odd_releases(mut scene: Scene) -> Step<End> {
    let mut it = Holder::of(&mut scene, COUNT).await;
    let counter = counter(&mut it, None).await?;
    let number = encode_value(&Value::U64(counter));
    let pair = |count: Value| [&[0x82][..], &number, &encode_value(&count)].concat();
    let many = |count: u16, pair: &[u8]| {
        let head = [&[0x99][..], &count.to_be_bytes()].concat();
        [head, pair.repeat(usize::from(count))].concat()
    };
    let short = |pair: Vec<u8>| [vec![0x81], pair].concat();
    let none: [Vec<u8>; 8] = [
        short(pair(Value::U64(0))),
        short(pair(Value::U64(u64::MAX))),
        short(pair(Value::U64(1 << 32))),
        short(pair(Value::S64(-1))),
        short([&[0x81][..], &number].concat()),
        short([&[0x83][..], &number, &[1, 1]].concat()),
        short(number.clone()),
        many(4097, &pair(Value::U64(1))),
    ];
    for handles in none {
        let payload = [&[0xa1, 0x67][..], b"handles", &handles].concat();
        let release = |id| RawMessage {
            kind: Kind::Release,
            flags: 0,
            id,
            payload: payload.clone().into(),
        };
        let id = it.peer.fresh_id();
        it.peer.send_raw(&release(id)).await;
        let outcome = it.peer.outcome(id).await;
        if outcome.is_ok() {
            return odd(format!("{payload:02x?} is a release"));
        }
        refused(outcome, Fault::Peer, InvalidArgument)?;
        // Where nobody waits, it is said of the connection, which goes on.
        it.peer.send_raw(&release(ExchangeId::CONNECTION)).await;
        match it.peer.message().await {
            (ExchangeId::CONNECTION, Message::Failure(failure))
                if failure.code == InvalidArgument => {}
            other => return odd(format!("{other:?} after a release that is none")),
        }
    }
    // What is released in one piece is released whole or not at all.
    let twice = [(counter, 1), (counter, 1)];
    refused(it.release(&twice).await, Fault::Peer, InvalidArgument)?;
    refused(
        it.release(&[(counter, 1); 4096]).await,
        Fault::Peer,
        InvalidArgument,
    )?;
    it.drops(&[(counter, u32::MAX)]).await;
    stands(&mut it, counter).await?;
    unless_full(it.release(&[(counter, 1)]).await)?;
    refused(it.release(&[(counter, 1)]).await, Fault::Peer, NotFound)?;
    Ok(End::AllWell)
}

async fn of_two(mut scene: Scene) -> Step<End> {
    let mut it = Holder::of(&mut scene, COUNT).await;
    let (one, other) = (counter(&mut it, None).await?, counter(&mut it, None).await?);
    let twin = counter(&mut it, Some(one)).await?;
    for function in ["counter.merge", "counter.absorb", "counter.larger"] {
        let both = [handle(one), handle(other)];
        for on in [Some(one), Some(other), Some(twin), None] {
            let met = it.call(function, on, &both).await;
            refused(met, Fault::Peer, FailedPrecondition)?;
        }
        let nowhere = it.call(function, Some(other + 9), &both).await;
        refused(nowhere, Fault::Peer, NotFound)?;
    }
    let alone = it.call("counter.value", Some(other), &[handle(one)]).await;
    refused(alone, Fault::Peer, FailedPrecondition)?;
    // A function that takes no object is done wherever it is said to be.
    for (on, live) in [(one, 2), (other, 1)] {
        match it.call("live", Some(on), &[]).await {
            Ok(reply) if reply == [live] => {}
            outcome => return odd(format!("{outcome:?} instead of {live} counters")),
        }
    }
    for counter in [one, other, twin] {
        stands(&mut it, counter).await?;
    }
    unless_full(it.release(&[(one, 1), (other, 1), (twin, 1)]).await)?;
    Ok(End::AllWell)
}

async fn of_earlier(mut scene: Scene) -> Step<End> {
    let mut earlier = Holder::of(&mut scene, COUNT).await;
    let mut numbers = Vec::new();
    for _ in 0..4 {
        numbers.push(counter(&mut earlier, None).await?);
    }
    match scene.seed.below(2) {
        0 => earlier.peer.reset(),
        _ => {
            earlier.peer.close().await;
            earlier.peer.parting().await;
        }
    }
    let mut it = Holder::of(&mut scene, COUNT).await;
    for number in numbers {
        refused(it.release(&[(number, 1)]).await, Fault::Peer, NotFound)?;
        let value = it
            .call("counter.value", Some(number), &[handle(number)])
            .await;
        refused(value, Fault::Peer, NotFound)?;
        it.drops(&[(number, 1)]).await;
    }
    let own = counter(&mut it, None).await?;
    stands(&mut it, own).await?;
    unless_full(it.release(&[(own, 1)]).await)?;
    Ok(End::AllWell)
}

async fn left(mut scene: Scene) -> Step<End> {
    let shared = Own::new(&mut scene, COUNT, Instancing::Shared).await?;
    let outcome = async {
        for is_called in [true, false] {
            let mut it = Holder::of(&mut scene, &shared.name).await;
            let mut other = Holder::of(&mut scene, &shared.name).await;
            for number in 1..=4 {
                unless_full(it.call("subscribe", None, &[own(number)]).await)?;
            }
            let event = [Value::String("x".to_owned())];
            let header = other.header("publish", None);
            let publish = if is_called {
                let publish = other.begin(header, &event).await;
                it.peer.called().await;
                it.peer.reset();
                publish
            } else {
                it.peer.reset();
                other.begin(header, &event).await
            };
            let published = other.peer.outcome(publish).await;
            refused(published, Fault::Application, ProviderLost)?;
            // The next instance has none of them.
            let published = unless_full(other.call("publish", None, &event).await)?;
            if published != [0x80] {
                return odd(format!("{published:?} said those who are gone"));
            }
        }
        Ok(End::AllWell)
    };
    let outcome = outcome.await;
    shared.over(outcome).await
}

/// Calls a function, and waits until that has called this client: what it was called with, and both exchanges.
async fn called(it: &mut Holder, function: &str) -> Step<(ExchangeId, ExchangeId, u64)> {
    let header = it.header(function, None);
    let id = it.begin(header, &[]).await;
    loop {
        match it.peer.message().await {
            (call, Message::Call { arguments, .. }) => return Ok((id, call, with_it(&arguments)?)),
            (of, Message::Failure(failure)) if of == id => {
                unless_full(Err(failure))?;
            }
            _ => {}
        }
    }
}

async fn gives_away(mut scene: Scene) -> Step<End> {
    let mut it = serving(&mut scene, USER, BROKER).await?;
    let (id, call, lent) = called(&mut it, "mislend").await?;
    // To a function that takes it over, and as the answer of another call.
    let within = |function: &str, call: ExchangeId| CallHeader {
        module: MAKER.to_owned(),
        function: function.to_owned(),
        on: Some(lent),
        within: Some(call.0),
        ..CallHeader::default()
    };
    let consume = it.begin(within("consume", call), &[handle(lent)]).await;
    let consumed = it.peer.outcome(consume).await;
    refused(consumed, Fault::Peer, FailedPrecondition)?;
    for answer in [handle(lent), handle(lent + 1000), handle(0)] {
        let (other, answered, _) = called(&mut it, "misplace").await?;
        it.peer.answer(answered, &answer).await;
        let misplaced = it.peer.outcome(other).await;
        refused(misplaced, Fault::Application, Unknown)?;
    }
    let value = it.begin(within("thing.value", call), &[handle(lent)]).await;
    unless_full(it.peer.outcome(value).await)?;
    it.peer.answer(call, &Value::S64(77)).await;
    unless_full(it.peer.outcome(id).await)?;
    let header = CallHeader {
        within: None,
        ..within("thing.value", call)
    };
    let late = it.begin(header, &[handle(lent)]).await;
    refused(it.peer.outcome(late).await, Fault::Peer, NotFound)?;
    Ok(End::AllWell)
}

async fn lets_go(mut scene: Scene) -> Step<End> {
    let kept = Own::new(&mut scene, LENDER, Instancing::Session).await?;
    let outcome = async {
        let mut it = serving(&mut scene, &kept.name, LOOKS).await?;
        for waits in [true, false] {
            let (id, call, lent) = called(&mut it, "lend").await?;
            if waits {
                let release = it.release(&[(lent, 1)]).await;
                unless_full(release)?;
            } else {
                it.drops(&[(lent, 1)]).await;
            }
            refused(it.release(&[(lent, 1)]).await, Fault::Peer, NotFound)?;
            it.peer.answer(call, &Value::S64(1)).await;
            unless_full(it.peer.outcome(id).await)?;
            // It is its owner's as before.
            it.gives("value", &[], &Value::S64(5)).await?;
        }
        Ok(End::AllWell)
    };
    let outcome = outcome.await;
    kept.over(outcome).await
}

async fn one_number(mut scene: Scene) -> Step<End> {
    let mut it = serving(&mut scene, USER, MAKER).await?;
    let (mut sent, mut released) = (0_u32, 0_u32);
    for function in ["lifetimes", "giving", "hoard"] {
        let header = it.header(function, None);
        let arguments: &[Value] = match function {
            "hoard" => &[Value::U32(9)],
            _ => &[],
        };
        let id = it.begin(header, arguments).await;
        loop {
            let answer = match it.peer.message().await {
                (of, Message::Reply { .. }) if of == id => break,
                (of, Message::Failure(failure)) if of == id => {
                    return unless_full(Err(failure)).map(|_| End::AllWell);
                }
                (_, Message::Release(release)) => {
                    released += count_of(&release.handles)?;
                    continue;
                }
                (call, Message::Call { header, .. }) => (call, header.function),
                other => return odd(format!("{other:?}")),
            };
            let (call, function) = answer;
            let (_, name) = function.rsplit_once('.').unwrap_or_default();
            let (given, value) = match name {
                "[constructor]thing" => (1, own(1)),
                "make" => (2, Value::List(vec![own(1), own(1)])),
                "merge" if function.contains("[static]") => (1, own(1)),
                "live" => (0, Value::U32(0)),
                _ => (0, Value::S64(0)),
            };
            sent += given;
            it.peer.answer(call, &value).await;
        }
    }
    // It gets as many back as it gave, some of them maybe after the answers.
    while released < sent {
        match it.peer.message().await {
            (ExchangeId::CONNECTION, Message::Release(release)) => {
                released += count_of(&release.handles)?;
            }
            other => return odd(format!("{other:?} in the place of a release")),
        }
    }
    match released == sent {
        true => Ok(End::AllWell),
        false => odd(format!("{released} came back of {sent}")),
    }
}

/// How often its only object is let go of.
fn count_of(handles: &[(u64, u32)]) -> Step<u32> {
    match handles.iter().find(|(number, _)| *number != 1) {
        None => Ok(handles.iter().map(|(_, count)| count).sum()),
        Some(other) => odd(format!("{other:?} was never given")),
    }
}

async fn its_own(mut scene: Scene) -> Step<End> {
    let mut it = serving(&mut scene, USER, BROKER).await?;
    let header = it.header("brokered", None);
    let id = it.begin(header, &[]).await;
    let mut seen: HashMap<String, u32> = HashMap::new();
    let outcome: Outcome = loop {
        match it.peer.message().await {
            (of, Message::Reply { value, .. }) if of == id => break Ok(value),
            (of, Message::Failure(failure)) if of == id => break Err(failure),
            (call, Message::Call { header, .. }) => {
                let (_, name) = header.function.rsplit_once('.').unwrap_or_default();
                *seen.entry(name.to_owned()).or_default() += 1;
                let answer = match name {
                    "pass" | "order" => own(1),
                    _ => Value::S64(1),
                };
                it.peer.answer(call, &answer).await;
            }
            _ => {}
        }
    };
    // Its methods are called; but the maker, which makes these itself, takes none.
    refused(outcome, Fault::Tenant, FailedPrecondition)?;
    if !seen.contains_key("pass") || !seen.contains_key("add") {
        return odd(format!("only {seen:?} were called"));
    }
    Ok(End::AllWell)
}

async fn another_resource(mut scene: Scene) -> Step<End> {
    let mut it = serving(&mut scene, SWAPS, SWAP).await?;
    let (id, call, given) = called(&mut it, "run").await?;
    it.peer.answer(call, &handle(given)).await;
    let swapped = it.peer.outcome(id).await;
    refused(swapped, Fault::Application, Unknown)?;
    Ok(End::AllWell)
}
