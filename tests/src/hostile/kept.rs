//! Clients that spoil instances which others use as well, and modules that hand over no state worth having.

use std::time::Duration;

use rpc_host_protocol::Value;
use rpc_host_protocol::message::{CallHeader, Message};
use rpc_host_protocol::operation::Instancing;
use rpc_host_protocol::{ErrorCode, Fault};

use super::Scene;
use super::guests::registered;
use super::holder::{Holder, Own, Step, handle, odd, refused, unless_full};
use super::program::{Attack, Cost, End, Expect, Guest, Program, Registered};
use super::things::{SPIN, THINGS, TRAP, made, things};
use crate::{PATIENCE, component};

use Cost::{Slow, Some as Middling};
use ErrorCode::{FailedPrecondition, Trapped};

/// What these programs find in their tenant. Each run points a name of its own at some of them.
fn needed() -> Vec<Registered> {
    let kept = |name: &str, made| {
        let cpu = &[("max-cpu-ms-per-call", 20)];
        registered(name, Guest::Made(made), cpu, &[])
    };
    vec![
        kept("kept", || counts("", "")),
        kept("kept-gives", || counts(&give(8, ""), GIVEN)),
        kept("kept-enormous", || counts(&give(24 << 20, ""), GIVEN)),
        kept("kept-beyond", || counts(&give(0x7fff_ffff, ""), GIVEN)),
        kept("kept-never", || {
            counts(&give(8, "(loop $again (br $again))"), GIVEN)
        }),
        kept("kept-takes", || counts(&take("", ""), TAKEN)),
        kept("kept-traps", || counts(&take("", "unreachable"), TAKEN)),
        kept("kept-refuses", || {
            counts(&take("(result i32)", REFUSAL), REFUSED)
        }),
        things(THINGS),
    ]
}

/// A component that counts its calls in its memory, and more.
fn counts(core: &str, lifted: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (core module $m
                (memory (export "memory") 400)
                (func (export "count") (result i32)
                    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                    (i32.load (i32.const 0)))
                (func (export "trap") unreachable)
                (func (export "spin") (loop (br 0)))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                {core})
            (core instance $i (instantiate $m))
            (func (export "count") (result u32) (canon lift (core func $i "count")))
            (func (export "trap") (canon lift (core func $i "trap")))
            (func (export "spin") (canon lift (core func $i "spin")))
            {lifted})"#
    ))
}

/// Does something, and gives so many bytes.
fn give(bytes: u32, first: &str) -> String {
    format!(
        r#"(func (export "give") (result i32)
            {first}
            (i32.store (i32.const 16) (i32.const 0))
            (i32.store (i32.const 20) (i32.const {bytes}))
            (i32.const 16))"#
    )
}

/// Takes a part of what it is given, and does something.
fn take(result: &str, then: &str) -> String {
    format!(
        r#"(func (export "take") (param i32 i32) {result}
            (i32.store (i32.const 0) (i32.load (local.get 0)))
            {then})"#
    )
}

/// An error with a megabyte of text, of characters that nobody should print.
const REFUSAL: &str = r#"(memory.fill (i32.const 2048) (i32.const 27) (i32.const 1000000))
    (i32.store (i32.const 32) (i32.const 1))
    (i32.store (i32.const 36) (i32.const 2048))
    (i32.store (i32.const 40) (i32.const 1000000))
    (i32.const 32)"#;

const GIVEN: &str = r#"(func (export "export-state") (result (list u8))
    (canon lift (core func $i "give") (memory (core memory $i "memory"))))"#;
const TAKEN: &str = r#"(func (export "import-state") (param "state" (list u8))
    (canon lift (core func $i "take")
        (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))"#;
const REFUSED: &str = r#"(func (export "import-state") (param "state" (list u8)) (result (result (error string)))
    (canon lift (core func $i "take")
        (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))"#;

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
        "R29" "state-that-is-enormous" Middling, "hands over a state of 24 megabytes to what comes after it",
            |scene| hands_over(scene, "kept-enormous", "kept-takes");
        "R29" "state-beyond-the-end" Middling, "hands over a state that goes beyond its memory",
            |scene| hands_over(scene, "kept-beyond", "kept-takes");
        "R29" "state-that-never-comes" Middling, "never ends handing over its state",
            |scene| hands_over(scene, "kept-never", "kept-takes");
        "R29" "state-that-is-not-taken" Middling, "traps with a part of the state that it was given",
            |scene| hands_over(scene, "kept-gives", "kept-traps");
        "R29" "state-that-is-refused" Middling, "refuses the state that it was given in a megabyte of words that clear a terminal",
            |scene| hands_over(scene, "kept-gives", "kept-refuses");
        "R29" "spoils-what-all-share" Slow, "traps, never ends and is cancelled in an instance that others wait for", spoils;
        "R29" "joins-what-all-share" Middling, "has a module of its own take part in an instance that all share", joins;
        "R29" "ends-in-what-all-share" Middling, "leaves objects that do not end in an instance that all share, and goes", ends;
        "R29" "instance-for-each-session" Middling, "has an instance kept for each of more sessions than there are places for", each_its_own;
    }
}

/// A call of the counting function gives this.
async fn counted(it: &mut Holder, expected: u32) -> Step<()> {
    it.gives("count", &[], &Value::U32(expected)).await
}

async fn hands_over(mut scene: Scene, from: &str, to: &str) -> Step<End> {
    let mut own = Own::new(&mut scene, from, Instancing::Shared).await?;
    let outcome = async {
        let mut it = Holder::of(&mut scene, &own.name).await;
        counted(&mut it, 1).await?;
        counted(&mut it, 2).await?;
        own.swap(to).await?;
        // Nothing of the state is there, and nothing of what failed to take it.
        counted(&mut it, 1).await?;
        counted(&mut it, 2).await?;
        Ok(End::AllWell)
    };
    let outcome = outcome.await;
    own.over(outcome).await
}

async fn spoils(mut scene: Scene) -> Step<End> {
    let own = Own::new(&mut scene, "kept", Instancing::Shared).await?;
    let outcome = async {
        let mut it = Holder::of(&mut scene, &own.name).await;
        let mut others = [
            Holder::of(&mut scene, &own.name).await,
            Holder::of(&mut scene, &own.name).await,
        ];
        for _ in 0..6 {
            let (function, timeout_ms) = match scene.seed.below(3) {
                0 => ("trap", None),
                1 => ("spin", None),
                _ => ("spin", Some(5)),
            };
            let header = CallHeader {
                timeout_ms,
                ..it.header(function, None)
            };
            let spoiling = it.begin(header, &[]).await;
            let is_cancelled = scene.seed.below(3) == 0;
            let mut waiting = Vec::new();
            for other in &mut others {
                let header = other.header("count", None);
                waiting.push(other.begin(header, &[]).await);
            }
            if is_cancelled {
                it.peer.send(spoiling, Message::Cancel).await;
            }
            if let Ok(reply) = it.peer.outcome(spoiling).await {
                return odd(format!("`{function}` gave {reply:?}"));
            }
            for (other, id) in others.iter_mut().zip(waiting) {
                unless_full(other.peer.outcome(id).await)?;
            }
        }
        Ok(End::AllWell)
    };
    let outcome = outcome.await;
    own.over(outcome).await
}

async fn joins(mut scene: Scene) -> Step<End> {
    let own = Own::new(&mut scene, THINGS, Instancing::Shared).await?;
    let outcome = async {
        let mut it = Holder::of(&mut scene, &own.name).await;
        let one = made(&mut it, None, 0).await?;
        for module in ["kept", THINGS] {
            let header = CallHeader {
                module: module.to_owned(),
                ..it.header("count", Some(one))
            };
            let id = it.begin(header, &[]).await;
            let joined = it.peer.outcome(id).await;
            refused(joined, Fault::Peer, FailedPrecondition)?;
        }
        unless_full(it.call("touch", Some(one), &[handle(one)]).await)?;
        unless_full(it.release(&[(one, 1)]).await)?;
        Ok(End::AllWell)
    };
    let outcome = outcome.await;
    own.over(outcome).await
}

async fn ends(mut scene: Scene) -> Step<End> {
    let own = Own::new(&mut scene, THINGS, Instancing::Shared).await?;
    let outcome = async {
        let mut other = Holder::of(&mut scene, &own.name).await;
        for how in [TRAP, SPIN] {
            let theirs = made(&mut other, None, 0).await?;
            let mut it = Holder::of(&mut scene, &own.name).await;
            for _ in 0..8 {
                made(&mut it, None, how).await?;
            }
            it.peer.reset();
            // The first end takes the instance with it, and with that whatever others have of it: they are told.
            let noticed = async {
                loop {
                    let touch = other.call("touch", Some(theirs), &[handle(theirs)]).await;
                    match touch {
                        Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                        failed => break refused(failed, Fault::Guest, FailedPrecondition),
                    }
                }
            };
            match tokio::time::timeout(PATIENCE, noticed).await {
                Ok(noticed) => noticed?,
                Err(_elapsed) => return odd("what has to end did not"),
            }
            // And the next one is as good as any.
            let next = made(&mut other, None, 0).await?;
            let touch = other.call("touch", Some(next), &[handle(next)]).await;
            unless_full(touch)?;
            unless_full(other.release(&[(theirs, 1), (next, 1)]).await)?;
        }
        Ok(End::AllWell)
    };
    let outcome = outcome.await;
    own.over(outcome).await
}

async fn each_its_own(mut scene: Scene) -> Step<End> {
    // A quarter of the places is for what outlives its calls.
    const MORE: usize = 40;
    let own = Own::new(&mut scene, "kept", Instancing::Session).await?;
    let outcome = async {
        let mut sessions = Vec::new();
        while sessions.len() < MORE {
            let mut it = Holder::of(&mut scene, &own.name).await;
            counted(&mut it, 1).await?;
            // It is this session's alone, and gone when it traps.
            counted(&mut it, 2).await?;
            refused(it.call("trap", None, &[]).await, Fault::Guest, Trapped)?;
            counted(&mut it, 1).await?;
            sessions.push(it);
        }
        // A node with more places has as many of them.
        Ok(End::AllWell)
    };
    let outcome = outcome.await;
    own.over(outcome).await
}
