//! Bytes that are uploaded, and should not be taken; and uploads that break off.

use rpc_host_protocol::message::{Message, UploadHeader};
use rpc_host_protocol::{ErrorCode, ExchangeId, Fault};

use super::program::{Attack, Cost, End, Expect, Guest, Program, plain};
use super::{Scene, large};
use crate::RawPeer;

use Cost::{Cheap, Dear, Slow, Some as Middling};
use ErrorCode::{FailedPrecondition, InvalidArgument, ResourceExhausted};
use Fault::Peer;

const fn invalid(parts: &'static [&'static str]) -> Expect {
    Expect::Failure(InvalidArgument, Peer, parts)
}

const fn too_much(parts: &'static [&'static str]) -> Expect {
    Expect::Failure(ResourceExhausted, Peer, parts)
}

macro_rules! uploads {
    ($($row:literal $name:literal $cost:ident, $what:literal, $bytes:expr => $expect:expr;)+) => {
        vec![$(Program {
            row: $row,
            name: $name,
            what: $what,
            cost: $cost,
            attack: Attack::Upload($bytes),
            expect: $expect,
        }),+]
    };
}

macro_rules! clients {
    ($($row:literal $name:literal $cost:ident, $what:literal, $run:expr => $expect:expr;)+) => {
        vec![$(Program {
            row: $row,
            name: $name,
            what: $what,
            cost: $cost,
            attack: Attack::Client { registered: Vec::new(), run: |scene| Box::pin($run(scene)) },
            expect: $expect,
        }),+]
    };
}

pub(super) fn programs() -> Vec<Program> {
    let mut programs = uploads! {
        "U4" "million-functions" Slow, "a million functions of nothing",
            large::functions => too_much(&["1000000 functions, the limit is 200000"]);
        "U4" "claimed-functions" Cheap, "a header that says there are four thousand million functions",
            large::claimed_functions => too_much(&["4294967295 functions, the limit is 200000"]);
        "U5" "million-types" Slow, "a million types",
            large::types => too_much(&["100001 types, the limit is 100000"]);
        "U5" "many-segments" Middling, "a hundred thousand and one data segments",
            large::segments => too_much(&["100001 data and element segments, the limit is 100000"]);
        "U5" "many-imports" Middling, "fifty thousand and one imports",
            large::imports => too_much(&["50001 imports, the limit is 50000"]);
        "U5" "many-locals" Slow, "functions with four hundred million local variables in all",
            large::locals => too_much(&["locals of functions, the limit is 5000000"]);
        "U5" "one-local-too-many" Slow, "a function with 50001 local variables",
            large::one_local_too_many => invalid(&["too many locals"]);
        "U6" "long-function" Middling, "one function of five megabytes",
            large::long_function => too_much(&["bytes in one function, the limit is 4194304"]);
        "U6" "many-jumps" Dear, "one function of jumps to fourteen hundred places from each of them",
            large::jumps => too_much(&[]);
        "U6" "deep-blocks" Dear, "one function of four hundred thousand blocks in one another",
            large::blocks => too_much(&[]);
        "U7" "memory-of-the-compiler" Dear, "a function of which the compiler makes hundreds of megabytes",
            large::dense_calls => too_much(&["`max-compile-memory-bytes`"]);
        "U8" "deep-components" Slow, "ten thousand components in one another",
            large::nested => too_much(&["levels of nesting, the limit is 16"]);
        "U8" "deep-types" Slow, "types two hundred deep in one another",
            large::deep_types => invalid(&["not valid"]);
        "U8" "wide-types" Slow, "a type with more leaves than there are atoms",
            large::wide_types => invalid(&["not valid"]);
        "U10" "text" Cheap, "a component as text",
            || b"(component)".to_vec() => invalid(&["text"]);
        "U10" "core-module" Cheap, "a core module",
            || crate::component("(module (func (export \"run\")))") => invalid(&["core"]);
        "U10" "machine-code" Cheap, "an executable, as compiled code is one",
            machine_code => invalid(&[]);
        "U10" "nothing-to-call" Slow, "a component without a function",
            || crate::component("(component)") => invalid(&["function"]);
        "U11" "name-that-is-none" Slow, "exports a function whose name clears a terminal",
            odd_name => invalid(&["not valid"]);
        "U11" "long-name" Cheap, "exports a function with a name of a hundred kilobytes",
            large::long_name => too_much(&["the limit is 16384"]);
        "U12" "custom-section" Dear, "33 megabytes of a section that nobody needs",
            large::custom => too_much(&["bytes of custom sections"]);
        "U13" "large-images" Dear, "a few hundred bytes that become 64 megabytes of memory images",
            large::images => too_much(&["compiled code is over the limit"]);
        "U16" "beyond-wasi" Slow, "imports an interface of WASI that the node does not have",
            || Guest::Written("u16-beyond-wasi").bytes() => Expect::Failure(FailedPrecondition, Peer, &["wasi:keyvalue/store@0.2.0"]);
        "R4" "four-gigabytes" Slow, "needs four gigabytes before it begins",
            || plain("(memory 65536) (func (export \"run\"))", &["run"]) => too_much(&["needs more than this node has for one instance", "4294967296"]);
        "R4" "memories-of-one-module" Slow, "has eight memories in one module",
            || plain(&format!("{} (func (export \"run\"))", "(memory 0)".repeat(8)), &["run"]) => too_much(&["needs more than this node has for one instance"]);
        "R5" "too-large-a-table" Slow, "has a table larger than tables may be",
            || plain("(table 65537 funcref) (func (export \"run\"))", &["run"]) => too_much(&["needs more than this node has for one instance"]);
        "R5" "too-many-tables" Slow, "has more tables than there may be",
            || plain(&format!("{} (func (export \"run\"))", "(table 0 funcref)".repeat(17)), &["run"]) => too_much(&["needs more than this node has for one instance"]);
        "R6" "one-instance-too-many" Slow, "consists of one instance more than there may be",
            large::one_instance_too_many => too_much(&["needs more than this node has for one instance", "129"]);
        "R6" "far-too-many-instances" Middling, "consists of six hundred instances",
            large::far_too_many_instances => too_much(&["nested modules, components and instances"]);
        "R10" "stream-of-values" Slow, "has a type that only an asynchronous host can serve",
            || crate::component("(component (type $t (stream u8)) (export \"t\" (type $t)))") => invalid(&["not valid"]);
    };
    programs.extend(clients! {
        "U1" "sixteen-exabytes" Cheap, "says that it will upload 16 EiB",
            |scene| announces(scene, u64::MAX) => too_much(&["the node takes at most"]);
        "U1" "hundred-gigabytes" Cheap, "says that it will upload 100 GiB",
            |scene| announces(scene, 100 << 30) => too_much(&["the node takes at most"]);
        "U1" "nothing-at-all" Cheap, "says that it will upload nothing",
            |scene| announces(scene, 0) => invalid(&[]);
        "U2" "more-than-announced" Cheap, "sends more than it said",
            |scene| sends(scene, 10, 11) => invalid(&[]);
        "U2" "more-than-the-window" Middling, "sends more than was asked for yet",
            beyond_the_window => Expect::AllWell;
        "U2" "other-than-announced" Cheap, "sends other bytes than its digest says",
            |scene| sends(scene, 10, 10) => invalid(&["was declared"]);
        "U3" "breaks-off" Middling, "begins as many uploads as it may, sends half of each, and hangs up",
            breaks_off => Expect::AllWell;
        "U9" "cut" Slow, "a good component, cut off anywhere",
            cut => invalid(&[]);
        "U9" "flipped-bits" Slow, "a good component with some bits flipped",
            flipped => Expect::AllWell;
        "U14" "one-upload-too-many" Middling, "begins one upload more than it may at once",
            one_too_many => Expect::Failure(ResourceExhausted, Peer, &["4 uploads are in flight already"]);
    });
    programs
}

fn machine_code() -> Vec<u8> {
    [&b"\x7fELF\x02\x01\x01"[..], &[0; 4096]].concat()
}

/// The text form would not take such a name, so it is put in afterwards.
fn odd_name() -> Vec<u8> {
    let mut bytes = plain("(func (export \"clears-it\"))", &["clears-it"]);
    let (good, odd) = (b"clears-it", b"\x1b[2Jars\n\0");
    let places: Vec<usize> = (0..bytes.len() - good.len())
        .filter(|at| bytes[*at..].starts_with(good))
        .collect();
    for at in places {
        bytes[at..at + odd.len()].copy_from_slice(odd);
    }
    bytes
}

/// A digest of nothing in particular.
fn some_digest(scene: &mut Scene) -> String {
    let words = (0..4).map(|_| format!("{:016x}", scene.seed.draw()));
    format!("sha256:{}", words.collect::<String>())
}

async fn begins(peer: &mut RawPeer, digest: String, size_bytes: u64) -> ExchangeId {
    let id = peer.fresh_id();
    peer.send(id, Message::Upload(UploadHeader { digest, size_bytes }))
        .await;
    id
}

fn ended(outcome: Result<Vec<u8>, rpc_host_protocol::Failure>) -> End {
    match outcome {
        Ok(value) => End::Value(value),
        Err(failure) => End::Failure(failure),
    }
}

async fn announces(mut scene: Scene, size_bytes: u64) -> End {
    let mut peer = scene.peer().await;
    let digest = some_digest(&mut scene);
    let id = begins(&mut peer, digest, size_bytes).await;
    ended(peer.outcome(id).await)
}

async fn sends(mut scene: Scene, announced: u64, sent: usize) -> End {
    let mut peer = scene.peer().await;
    let digest = some_digest(&mut scene);
    let id = begins(&mut peer, digest, announced).await;
    match peer.message().await {
        (_, Message::Ack(_)) => {}
        other => return End::Odd(format!("{other:?} to an upload")),
    }
    peer.send(id, Message::Chunk(vec![0x61; sent])).await;
    ended(peer.outcome(id).await)
}

/// Sends twice the window at once, before it was granted any. A node that is quick may have stored it
/// all in time; then it was never too much.
async fn beyond_the_window(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let digest = some_digest(&mut scene);
    let id = begins(&mut peer, digest, 32 << 20).await;
    let sent = 2 << 20;
    for chunk in vec![0x61; sent].chunks(256 << 10) {
        peer.send(id, Message::Chunk(chunk.to_vec())).await;
    }
    loop {
        match peer.message().await {
            (_, Message::Failure(failure)) if failure.code == ResourceExhausted => {
                return End::AllWell;
            }
            (_, Message::Ack(ack)) if ack.received_bytes == sent as u64 => return End::AllWell,
            (_, Message::Ack(_)) => {}
            other => return End::Odd(format!("{other:?} to an upload")),
        }
    }
}

async fn breaks_off(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    for _ in 0..4 {
        let digest = some_digest(&mut scene);
        let id = begins(&mut peer, digest, 200_000).await;
        peer.send(id, Message::Chunk(vec![7; 100_000])).await;
    }
    if scene.seed.below(2) == 0 {
        peer.reset();
    }
    End::AllWell
}

async fn one_too_many(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let mut last = None;
    for _ in 0..5 {
        let digest = some_digest(&mut scene);
        last = Some(begins(&mut peer, digest, 200_000).await);
    }
    match last {
        Some(id) => ended(peer.outcome(id).await),
        None => End::Odd("no upload was begun".to_owned()),
    }
}

fn good() -> Vec<u8> {
    Guest::Written("r18-mirror").bytes()
}

async fn cut(mut scene: Scene) -> End {
    let mut bytes = good();
    bytes.truncate(1 + scene.seed.index(bytes.len() - 1));
    End::of(scene.upload(&bytes).await)
}

/// What comes of it may be a component after all: then it is one like any other, and taken away again.
async fn flipped(mut scene: Scene) -> End {
    let mut bytes = good();
    for _ in 0..=scene.seed.below(4) {
        // Not in the first bytes, which say what it is.
        let at = 8 + scene.seed.index(bytes.len() - 8);
        bytes[at] ^= 1 << scene.seed.below(8);
    }
    match scene.upload(&bytes).await {
        // Two at once may have made the same one, and one of them takes it away.
        Ok(module) => match scene.tenant.client.remove_module(module.digest()).await {
            Err(error) if error.code() != ErrorCode::NotFound => End::of_error(error),
            _ => End::AllWell,
        },
        Err(error) => match error.code() {
            InvalidArgument | FailedPrecondition | ResourceExhausted => End::AllWell,
            _ => End::of_error(error),
        },
    }
}
