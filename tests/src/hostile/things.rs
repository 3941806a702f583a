//! Guests whose objects are not what they seem, or do not end as objects do.

use rpc_host_protocol::message::{Fallback, Message, Provide, ProvideScope, Release};
use rpc_host_protocol::{ErrorCode, Failure, Fault, Value};

use super::Scene;
use super::guests::{bound, registered};
use super::holder::{Holder, Step, handle, odd, refused, unless_full};
use super::program::{Attack, Cost, End, Expect, Guest, Program, Registered};

use Cost::{Cheap, Slow, Some as Middling};
use ErrorCode::{
    FailedPrecondition, NotFound, ResourceExhausted, Trapped, Unimplemented, WouldDeadlock,
};

/// What a thing may be told to do at its end.
const NOTHING: u32 = 0;
pub(super) const TRAP: u32 = 1;
pub(super) const SPIN: u32 = 2;
const RECURSE: u32 = 3;
const ASK: u32 = 4;

const ASKED: &str = "hostile:end/it@0.1.0";
const ASKED_WIT: &str = "package hostile:end@0.1.0; interface it { ended: func() -> u32; }";

pub(super) const THINGS: &str = "things";
/// The same, whose end asks itself.
const OF_ITSELF: &str = "things-of-itself";

/// The guest under a name.
pub(super) fn things(name: &str) -> Registered {
    let cpu = &[("max-cpu-ms-per-call", 20)];
    registered(name, Guest::Written("r28-things"), cpu, &[])
}

macro_rules! clients {
    ($($row:literal $name:literal $cost:ident, $what:literal, $run:expr;)+) => {
        vec![$(Program {
            row: $row,
            name: $name,
            what: $what,
            cost: $cost,
            attack: Attack::Client {
                registered: vec![things(THINGS), bound(things(OF_ITSELF), &[(ASKED, OF_ITSELF)])],
                run: |scene| Box::pin(async move { $run(scene).await.unwrap_or_else(|end| end) }),
            },
            expect: Expect::AllWell,
        }),+]
    };
}

pub(super) fn programs() -> Vec<Program> {
    clients! {
        "R25" "gives-what-it-made-up" Cheap, "gives an object by a number that it made up", |scene| forges(scene, "made-up");
        "R25" "gives-what-is-gone" Cheap, "gives an object that it let go of", |scene| forges(scene, "gone");
        "R25" "gives-one-twice" Cheap, "gives one object twice in one list", |scene| forges(scene, "twice");
        "R25" "gives-what-it-was-lent" Cheap, "gives as its caller's own what it was only lent",
            |scene| gives(scene, "lent");
        "R25" "gives-what-it-let-go-of" Cheap, "gives back what it was given, and has let go of",
            |scene| gives(scene, "taken");
        "R12" "as-many-as-there-may-be" Slow, "gives as many objects as there may be, and one more", many;
        "R28" "end-that-traps" Middling, "objects whose end traps", |scene| ends(scene, TRAP, Trapped);
        "R28" "end-that-recurses" Middling, "objects whose end uses up the stack", |scene| ends(scene, RECURSE, Trapped);
        "R28" "end-that-never-comes" Middling, "objects whose end never comes", |scene| ends(scene, SPIN, ResourceExhausted);
        "R28" "end-that-asks-itself" Middling, "objects whose end waits for an answer of the very instance that they live in", asks_itself;
        "R28" "end-that-asks-who-leaves" Middling, "objects whose end asks a client that goes away instead of answering", asks_who_leaves;
        "R28" "ends-of-a-session" Slow, "goes away with all kinds of objects that do not end, while it calls them", leaves;
    }
}

/// A thing that ends so.
pub(super) async fn made(it: &mut Holder, on: Option<u64>, how: u32) -> Step<u64> {
    it.object("make", on, &[Value::U32(how)]).await
}

/// Gives what it does not have.
async fn forges(mut scene: Scene, function: &str) -> Step<End> {
    let mut it = Holder::of(&mut scene, THINGS).await;
    let given = it.call(function, None, &[]).await;
    if let Err(failure) = &given
        && failure.code == Trapped
        && !failure.message.contains("handle")
    {
        return odd(format!("{failure:?} says nothing of a handle"));
    }
    refused(given, Fault::Guest, Trapped)?;
    Ok(End::AllWell)
}

async fn gives(mut scene: Scene, function: &str) -> Step<End> {
    let mut it = Holder::of(&mut scene, THINGS).await;
    let one = made(&mut it, None, NOTHING).await?;
    let other = made(&mut it, Some(one), NOTHING).await?;
    let given = it.call(function, Some(one), &[handle(one)]).await;
    refused(given, Fault::Guest, Trapped)?;
    gone(&mut it, other).await?;
    // What changes hands did so when the guest began; what was lent is let go of like any.
    if function == "taken" {
        refused(it.release(&[(one, 1)]).await, Fault::Peer, NotFound)?;
    } else {
        unless_full(it.release(&[(one, 1)]).await)?;
    }
    unless_full(it.release(&[(other, 1)]).await)?;
    Ok(End::AllWell)
}

/// That an object's instance is gone, and says so.
async fn gone(it: &mut Holder, object: u64) -> Step<()> {
    let touch = it.call("touch", Some(object), &[handle(object)]).await;
    refused(touch, Fault::Guest, FailedPrecondition)
}

async fn many(mut scene: Scene) -> Step<End> {
    // As many as one instance holds of its own, and as the instances of one call have outside of them.
    const MOST: u32 = 10_000;
    let mut it = Holder::of(&mut scene, THINGS).await;
    for _ in 0..2 {
        let more = it.call("many", None, &[Value::U32(MOST + 1)]).await;
        refused(more, Fault::Guest, ResourceExhausted)?;
        // Nothing of those is left: as many as before are there now.
        let first = it.object("many", None, &[Value::U32(MOST)]).await?;
        let more = it.call("make", Some(first), &[Value::U32(NOTHING)]).await;
        refused(more, Fault::Guest, ResourceExhausted)?;
        gone(&mut it, first).await?;
        let last = first + u64::from(MOST) - 1;
        for chunk in (first..=last).collect::<Vec<_>>().chunks(4096) {
            let handles: Vec<_> = chunk.iter().map(|number| (*number, 1)).collect();
            unless_full(it.release(&handles).await)?;
        }
        refused(it.release(&[(last, 1)]).await, Fault::Peer, NotFound)?;
    }
    Ok(End::AllWell)
}

async fn ends(mut scene: Scene, how: u32, code: ErrorCode) -> Step<End> {
    let mut it = Holder::of(&mut scene, THINGS).await;
    // One that waits for the end is told of it, and one that does not wait finds out.
    for waits in [true, false] {
        let one = made(&mut it, None, how).await?;
        let other = made(&mut it, Some(one), NOTHING).await?;
        let third = made(&mut it, Some(one), how).await?;
        if waits {
            refused(it.release(&[(one, 1)]).await, Fault::Guest, code)?;
        } else {
            it.drops(&[(one, 1)]).await;
        }
        gone(&mut it, other).await?;
        gone(&mut it, third).await?;
        refused(it.release(&[(one, 1)]).await, Fault::Peer, NotFound)?;
        // Nothing of it runs any more, so this ends well.
        unless_full(it.release(&[(other, 1), (third, 1)]).await)?;
    }
    // The guest itself lets go of one that it was given.
    let one = made(&mut it, None, how).await?;
    let taken = it.call("take", Some(one), &[handle(one)]).await;
    refused(taken, Fault::Guest, code)?;
    refused(it.release(&[(one, 1)]).await, Fault::Peer, NotFound)?;
    Ok(End::AllWell)
}

async fn asks_itself(mut scene: Scene) -> Step<End> {
    let mut it = Holder::of(&mut scene, OF_ITSELF).await;
    let one = made(&mut it, None, ASK).await?;
    let other = made(&mut it, Some(one), ASK).await?;
    let ended = it.release(&[(one, 1)]).await;
    refused(ended, Fault::Tenant, WouldDeadlock)?;
    gone(&mut it, other).await?;
    Ok(End::AllWell)
}

fn provided() -> Provide {
    Provide {
        name: ASKED.to_owned(),
        scope: ProvideScope::Session,
        lease_ms: 60_000,
        window: 4,
        fallback: Fallback::Previous,
        wit: Some(ASKED_WIT.to_owned()),
    }
}

async fn asks_who_leaves(mut scene: Scene) -> Step<End> {
    // It goes while it is asked; and it has gone, in order or not, before anything ends.
    for moment in 0..3 {
        let mut it = Holder::of(&mut scene, THINGS).await;
        if let Err(failure) = it.peer.provide(provided()).await {
            return Err(End::Failure(failure));
        }
        let one = made(&mut it, None, ASK).await?;
        made(&mut it, Some(one), ASK).await?;
        made(&mut it, None, ASK).await?;
        match moment {
            0 => {
                it.drops(&[(one, 1)]).await;
                let (_, header, _) = it.peer.called().await;
                if !header.function.ends_with(".ended") {
                    return odd(format!("{header:?} is called"));
                }
                it.peer.reset();
            }
            1 => it.peer.reset(),
            _ => {
                it.peer.close().await;
                // What is asked of it now it hears, and does not answer.
                while let Some((id, message)) = it.peer.next().await {
                    if let Message::Call { .. } = message {
                        return odd(format!("{id} is called in a session that is over"));
                    }
                }
            }
        }
    }
    // Nobody has the name any more, and an end that asks says so.
    let mut it = Holder::of(&mut scene, THINGS).await;
    let one = made(&mut it, None, ASK).await?;
    let ended = it.release(&[(one, 1)]).await;
    refused(ended, Fault::Tenant, FailedPrecondition)?;
    // One that fails in words of its own fails the end.
    if let Err(failure) = it.peer.provide(provided()).await {
        return Err(End::Failure(failure));
    }
    let one = made(&mut it, None, ASK).await?;
    let handles = vec![(one, 1)];
    let id = it.peer.fresh_id();
    it.peer
        .send(id, Message::Release(Release { handles }))
        .await;
    let (call, ..) = it.peer.called().await;
    let words = Failure::new(Unimplemented, Fault::Host, "\x1b[2J not that");
    it.peer.send(call, Message::Failure(words)).await;
    let ended = it.peer.outcome(id).await;
    refused(ended, Fault::Application, ErrorCode::Unknown)?;
    Ok(End::AllWell)
}

async fn leaves(mut scene: Scene) -> Step<End> {
    let mut it = Holder::of(&mut scene, THINGS).await;
    for how in [TRAP, SPIN, RECURSE, ASK, NOTHING] {
        let one = made(&mut it, None, how).await?;
        for _ in 0..4 {
            made(&mut it, Some(one), how).await?;
        }
        let header = it.header("touch", Some(one));
        it.begin(header, &[handle(one)]).await;
        if scene.seed.below(2) == 0 {
            it.drops(&[(one, 1)]).await;
        }
    }
    match scene.seed.below(2) {
        0 => it.peer.reset(),
        _ => it.peer.close().await,
    }
    Ok(End::AllWell)
}
