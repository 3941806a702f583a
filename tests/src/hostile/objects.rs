//! Clients that misuse objects: the node's, and their own.

use std::collections::HashMap;

use rpc_host_protocol::cbor::{encode_arguments, encode_value, handles};
use rpc_host_protocol::message::{CallHeader, Message, Release};
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Value};

use super::Scene;
use super::guests::registered;
use super::program::{Attack, Cost, End, Expect, Guest, Program};
use crate::RawPeer;

use Cost::{Slow, Some as Middling};
use ErrorCode::{
    Cancelled, DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted,
    Unavailable, Unknown,
};

const CONNECTION: ExchangeId = ExchangeId::CONNECTION;

macro_rules! clients {
    ($($row:literal $name:literal $cost:ident, $what:literal, $run:expr;)+) => {
        vec![$(Program {
            row: $row,
            name: $name,
            what: $what,
            cost: $cost,
            attack: Attack::Client {
                registered: vec![registered("count", Guest::Built("counter"), &[], &[])],
                run: |scene| Box::pin(async move { $run(scene).await.unwrap_or_else(|end| end) }),
            },
            expect: Expect::AllWell,
        }),+]
    };
}

pub(super) fn programs() -> Vec<Program> {
    clients! {
        "P12" "handles-that-it-made-up" Middling, "uses and releases numbers that it does not hold", made_up;
        "P12" "handles-of-another-session" Middling, "uses numbers that another session holds", of_another;
        "P12" "handles-in-odd-places" Middling, "puts handles where other things belong, and other things where handles do", odd_places;
        "P12" "own-twice" Middling, "gives one object away twice in a call, and in two calls at once", own_twice;
        "P12" "releases-while-it-calls" Middling, "releases objects while its calls use them", releases_in_use;
        "P10" "releases-without-end" Middling, "more releases at once than it may have", releases_without_end;
        "R12" "objects-to-the-last" Middling, "makes objects until it may have no more, and vanishes with them", hoards;
        "R21" "objects-of-what-trapped" Middling, "uses objects of an instance that it made trap", after_a_trap;
        "R19" "object-that-does-not-answer" Slow, "gives an object of its own that never answers", silent;
        "R19" "object-that-answers-nonsense" Middling, "gives an object of its own that answers with anything", nonsense;
        "R19" "object-that-is-gone" Middling, "gives an object of its own and vanishes while it is called", vanishes;
    }
}

/// What a step gave, or how the program ended early.
type Step<T> = Result<T, End>;

fn handle(number: u64) -> Value {
    Value::Handle(Handle::Host(number))
}

fn own(number: u64) -> Value {
    Value::Handle(Handle::Client(number))
}

/// A call on an object, or on none.
async fn begin(
    peer: &mut RawPeer,
    function: &str,
    on: Option<u64>,
    timeout_ms: Option<u64>,
    arguments: Vec<u8>,
) -> ExchangeId {
    let id = peer.fresh_id();
    let header = CallHeader {
        module: "count".to_owned(),
        function: function.to_owned(),
        timeout_ms,
        on,
        ..CallHeader::default()
    };
    peer.send(id, Message::call(header, arguments)).await;
    id
}

async fn call(
    peer: &mut RawPeer,
    function: &str,
    on: Option<u64>,
    arguments: &[Value],
) -> Result<Vec<u8>, Failure> {
    let arguments = encode_arguments(arguments, &[]);
    let id = begin(peer, function, on, None, arguments).await;
    peer.outcome(id).await
}

/// How these calls ended, in their order, whatever the order in which they were answered.
async fn outcomes(peer: &mut RawPeer, ids: &[ExchangeId]) -> Step<Vec<Result<Vec<u8>, Failure>>> {
    let mut ended = HashMap::new();
    while ended.len() < ids.len() {
        let (id, outcome) = match peer.message().await {
            (id, Message::Reply { value, .. }) => (id, Ok(value)),
            (id, Message::Failure(failure)) => (id, Err(failure)),
            other => return Err(End::Odd(format!("{other:?} in the place of an answer"))),
        };
        if !ids.contains(&id) || ended.insert(id, outcome).is_some() {
            return Err(End::Odd(format!(
                "a second answer, or one to nothing, on {id}"
            )));
        }
    }
    Ok(ids.iter().filter_map(|id| ended.remove(id)).collect())
}

/// A new counter. Where others of the tenant have all that there is, the program is through.
async fn counter(peer: &mut RawPeer) -> Step<u64> {
    let start = [Value::U64(5)];
    match call(peer, "[constructor]counter", None, &start).await {
        Ok(reply) => match handles(&reply).next() {
            Some(Handle::Host(number)) => Ok(number),
            other => Err(End::Odd(format!("{other:?} from a constructor"))),
        },
        Err(failure) if [ResourceExhausted, Unavailable].contains(&failure.code) => {
            Err(End::AllWell)
        }
        Err(failure) => Err(End::Failure(failure)),
    }
}

fn refused(outcome: Result<Vec<u8>, Failure>, codes: &[ErrorCode]) -> Step<()> {
    match outcome {
        Err(failure) if codes.contains(&failure.code) && failure.fault == Fault::Peer => Ok(()),
        other => Err(End::Odd(format!("{other:?}, not one of {codes:?}"))),
    }
}

async fn value_is(peer: &mut RawPeer, counter: u64, expected: u64) -> Step<()> {
    let value = call(peer, "counter.value", Some(counter), &[handle(counter)]).await;
    match value {
        Ok(reply) if reply == encode_value(&Value::U64(expected)) => Ok(()),
        other => Err(End::Odd(format!("{other:?}, not {expected}"))),
    }
}

async fn release(peer: &mut RawPeer, handles: Vec<(u64, u32)>) -> Result<Vec<u8>, Failure> {
    let id = peer.fresh_id();
    peer.send(id, Message::Release(Release { handles })).await;
    peer.outcome(id).await
}

/// Lets go of what it has, and sees that the connection is as good as before.
async fn done(mut peer: RawPeer, held: &[u64]) -> Step<End> {
    let handles = held.iter().map(|number| (*number, 1)).collect();
    match release(&mut peer, handles).await {
        Ok(_) => {}
        other => return Err(End::Odd(format!("{other:?} to a release"))),
    }
    match call(&mut peer, "live", None, &[]).await {
        Ok(reply) if reply == [0] => Ok(End::AllWell),
        other => Err(End::Odd(format!("{other:?} counters where none was made"))),
    }
}

async fn made_up(mut scene: Scene) -> Step<End> {
    let mut peer = scene.peer().await;
    let counter = counter(&mut peer).await?;
    for _ in 0..32 {
        let number = match scene.seed.below(3) {
            0 => 0,
            1 => counter + 1 + scene.seed.below(8),
            _ => scene.seed.draw() | 1 << 40,
        };
        let both = [handle(counter), handle(number)];
        let outcome = match scene.seed.below(6) {
            0 => call(&mut peer, "counter.value", Some(number), &[handle(number)]).await,
            1 => call(&mut peer, "counter.value", Some(counter), &[handle(number)]).await,
            2 => call(&mut peer, "counter.value", Some(number), &[handle(counter)]).await,
            3 => call(&mut peer, "counter.merge", Some(counter), &both).await,
            4 => release(&mut peer, vec![(counter, 1), (number, 1)]).await,
            _ => call(&mut peer, "consume", Some(number), &[handle(number)]).await,
        };
        refused(outcome, &[NotFound])?;
        let nothing = Message::Release(Release {
            handles: vec![(number, u32::MAX)],
        });
        peer.send(CONNECTION, nothing).await;
    }
    refused(
        release(&mut peer, vec![(counter, 2)]).await,
        &[InvalidArgument],
    )?;
    refused(
        release(&mut peer, vec![(counter, u32::MAX)]).await,
        &[InvalidArgument],
    )?;
    value_is(&mut peer, counter, 5).await?;
    done(peer, &[counter]).await
}

async fn of_another(mut scene: Scene) -> Step<End> {
    let mut owner = scene.peer().await;
    let mut thief = scene.peer().await;
    let theirs = counter(&mut owner).await?;
    let second = counter(&mut owner).await?;
    for number in [theirs, second] {
        let used = call(
            &mut thief,
            "counter.increment",
            Some(number),
            &[handle(number)],
        )
        .await;
        refused(used, &[NotFound])?;
        refused(release(&mut thief, vec![(number, 1)]).await, &[NotFound])?;
        let consumed = call(&mut thief, "consume", Some(number), &[handle(number)]).await;
        refused(consumed, &[NotFound])?;
    }
    // Its own object under the same number is another.
    let ours = counter(&mut thief).await?;
    refused(
        call(
            &mut thief,
            "counter.absorb",
            Some(ours),
            &[handle(ours), handle(second)],
        )
        .await,
        &[NotFound],
    )?;
    value_is(&mut owner, theirs, 5).await?;
    value_is(&mut owner, second, 5).await?;
    done(owner, &[theirs, second]).await?;
    done(thief, &[ours]).await
}

async fn odd_places(mut scene: Scene) -> Step<End> {
    let mut peer = scene.peer().await;
    let counter = counter(&mut peer).await?;
    let on = Some(counter);
    let tagged = |tag: u8, item: &[u8]| [&[0xd9, 0x72, tag][..], item].concat();
    let one = |item: Vec<u8>| [vec![0x81], item, vec![0xa0]].concat();
    let bad: [(&str, Vec<u8>); 12] = [
        ("consume", one(vec![7])),
        ("consume", one(vec![0x61, b'7'])),
        ("consume", one(tagged(0x70, &[0x20]))),
        ("consume", one(tagged(0x70, &tagged(0x70, &[1])))),
        ("consume", one(tagged(0x70, &[0x18, 1]))),
        ("consume", one(tagged(0x72, &[1]))),
        (
            "consume",
            one([&[0xda, 0, 0, 0x72, 0x70][..], &[1]].concat()),
        ),
        // Its own, where an object of the module has to be.
        ("consume", one(tagged(0x71, &[1]))),
        // One of the module's, where something else has to be.
        ("[constructor]counter", one(encode_value(&handle(counter)))),
        ("make", one(encode_value(&handle(counter)))),
        ("publish", one(encode_value(&handle(counter)))),
        ("emit", one(encode_value(&handle(counter)))),
    ];
    for (function, arguments) in bad {
        let id = begin(&mut peer, function, on, None, arguments).await;
        refused(peer.outcome(id).await, &[InvalidArgument])?;
    }
    value_is(&mut peer, counter, 5).await?;
    done(peer, &[counter]).await
}

async fn own_twice(mut scene: Scene) -> Step<End> {
    let mut peer = scene.peer().await;
    let counter = counter(&mut peer).await?;
    let on = Some(counter);
    let twice = [handle(counter), handle(counter)];
    for function in ["counter.merge", "counter.absorb"] {
        let outcome = call(&mut peer, function, on, &twice).await;
        refused(outcome, &[NotFound, InvalidArgument, FailedPrecondition])?;
    }
    value_is(&mut peer, counter, 5).await?;
    // One of many has it, and all others come too late.
    let mut ids = Vec::new();
    for _ in 0..8 {
        let arguments = encode_arguments(&[handle(counter)], &[]);
        ids.push(begin(&mut peer, "consume", on, None, arguments).await);
    }
    let mut consumed = 0;
    for outcome in outcomes(&mut peer, &ids).await? {
        match outcome {
            Ok(reply) if reply == [5] => consumed += 1,
            outcome => refused(outcome, &[NotFound, FailedPrecondition])?,
        }
    }
    if consumed != 1 {
        return Err(End::Odd(format!("{consumed} calls consumed one object")));
    }
    done(peer, &[]).await
}

async fn releases_in_use(mut scene: Scene) -> Step<End> {
    let mut peer = scene.peer().await;
    for _ in 0..8 {
        let counter = counter(&mut peer).await?;
        let mut ids = Vec::new();
        for place in 0..6 {
            let arguments = encode_arguments(&[handle(counter)], &[]);
            let function = "counter.increment";
            ids.push(begin(&mut peer, function, Some(counter), None, arguments).await);
            if place == scene.seed.below(6) {
                let handles = vec![(counter, 1)];
                peer.send(CONNECTION, Message::Release(Release { handles }))
                    .await;
            }
        }
        for outcome in outcomes(&mut peer, &ids).await? {
            match outcome {
                Ok(_) => {}
                outcome => refused(outcome, &[NotFound])?,
            }
        }
        let handles = vec![(counter, 1)];
        peer.send(CONNECTION, Message::Release(Release { handles }))
            .await;
    }
    done(peer, &[]).await
}

async fn releases_without_end(mut scene: Scene) -> Step<End> {
    let mut peer = scene.peer().await;
    let counter = counter(&mut peer).await?;
    let mut ids = Vec::new();
    for number in 0..400 {
        let id = peer.fresh_id();
        let handles = (0..64)
            .map(|other| (counter + 1 + number * 64 + other, 1))
            .collect();
        peer.send(id, Message::Release(Release { handles })).await;
        ids.push(id);
    }
    for outcome in outcomes(&mut peer, &ids).await? {
        match outcome {
            Err(failure) if [NotFound, ResourceExhausted].contains(&failure.code) => {}
            other => return Err(End::Odd(format!("{other:?} to a release of nothing"))),
        }
    }
    value_is(&mut peer, counter, 5).await?;
    done(peer, &[counter]).await
}

async fn hoards(mut scene: Scene) -> Step<End> {
    let mut peer = scene.peer().await;
    let anchor = counter(&mut peer).await?;
    let many = Value::List(vec![Value::U64(1); 1000]);
    let full = loop {
        let arguments = [many.clone()];
        if let Err(failure) = call(&mut peer, "make", Some(anchor), &arguments).await {
            break failure;
        }
    };
    if full.code != ResourceExhausted {
        return Err(End::Failure(full));
    }
    let full = loop {
        if let Err(end) = counter(&mut peer).await {
            break end;
        }
    };
    match full {
        End::AllWell => peer.reset(),
        other => return Err(other),
    }
    Ok(End::AllWell)
}

async fn after_a_trap(mut scene: Scene) -> Step<End> {
    let mut peer = scene.peer().await;
    let counter = counter(&mut peer).await?;
    let (on, it) = (Some(counter), [handle(counter)]);
    let mut ids = Vec::new();
    for function in [
        "counter.increment",
        "counter.fail",
        "counter.increment",
        "counter.copy",
    ] {
        let arguments = encode_arguments(&it, &[]);
        ids.push(begin(&mut peer, function, on, None, arguments).await);
    }
    let mut codes = Vec::new();
    for outcome in outcomes(&mut peer, &ids).await? {
        codes.push(outcome.map_err(|failure| failure.code));
    }
    let gone = Err(FailedPrecondition);
    let expected = [Ok(vec![6]), Err(ErrorCode::Trapped), gone.clone(), gone];
    if codes != expected {
        return Err(End::Odd(format!("{codes:?}")));
    }
    // It is held, and let go of like any.
    done(peer, &[counter]).await
}

/// Gives an object of its own, and waits until it is called; gives the call.
async fn called(peer: &mut RawPeer, function: &str, timeout_ms: u64) -> (ExchangeId, ExchangeId) {
    let event = Value::String("x".to_owned());
    let mut arguments = vec![own(1), event];
    if function == "emit" {
        arguments.push(Value::U32(1));
    }
    let arguments = encode_arguments(&arguments, &[]);
    let id = begin(peer, function, None, Some(timeout_ms), arguments).await;
    let (call, ..) = peer.called().await;
    (id, call)
}

async fn silent(mut scene: Scene) -> Step<End> {
    let mut peer = scene.peer().await;
    let (id, _) = called(&mut peer, "emit", 300).await;
    loop {
        match peer.message().await {
            (answered, Message::Failure(failure)) if answered == id => {
                return match failure.code {
                    DeadlineExceeded | Cancelled => done(peer, &[]).await,
                    _ => Err(End::Failure(failure)),
                };
            }
            (_, Message::Cancel | Message::Release(_)) => {}
            other => return Err(End::Odd(format!("{other:?}"))),
        }
    }
}

async fn nonsense(mut scene: Scene) -> Step<End> {
    let mut peer = scene.peer().await;
    let answers = [
        Value::U64(7),
        Value::Bytes(vec![0; 1000]),
        Value::Option(None),
        handle(1),
        own(1),
        Value::List(vec![own(2); 100]),
        Value::Result(Ok(None)),
        Value::Result(Ok(Some(Box::new(own(1))))),
    ];
    for answer in answers {
        let (id, call) = called(&mut peer, "emit", 5000).await;
        peer.answer(call, &answer).await;
        loop {
            match peer.message().await {
                (answered, Message::Failure(failure))
                    if answered == id
                        && (failure.code, failure.fault) == (Unknown, Fault::Application) =>
                {
                    break;
                }
                (_, Message::Release(_)) => {}
                other => return Err(End::Odd(format!("{other:?} after {answer:?}"))),
            }
        }
        // What it says now, nobody asked.
        peer.answer(call, &answer).await;
    }
    done(peer, &[]).await
}

async fn vanishes(mut scene: Scene) -> Step<End> {
    for _ in 0..4 {
        let mut peer = scene.peer().await;
        called(&mut peer, "emit", 5000).await;
        peer.reset();
    }
    Ok(End::AllWell)
}
