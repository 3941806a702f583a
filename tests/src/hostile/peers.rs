//! Peers that break the protocol, or use all that it allows.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::cbor::encode_arguments;
use rpc_host_protocol::frame::{FLAG_MORE, HEADER_BYTES, Header};
use rpc_host_protocol::message::{Beat, CallHeader, Hello, Message, Release};
use rpc_host_protocol::operation::{
    Logs, Named, Register, TenantSettings, TokenCreate, TokenList, TokenRevoke,
};
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Kind, Operation, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Scene;
use super::arena::WRITE_TIMEOUT_MS;
use super::guests::registered;
use super::program::{Attack, Cost, End, Expect, Guest, Program};
use crate::{RawPeer, hello};

use Cost::{Slow, Some as Middling};
use ErrorCode::{
    InvalidArgument, PermissionDenied, ResourceExhausted, Unauthenticated, Unimplemented,
};

const CONNECTION: ExchangeId = ExchangeId::CONNECTION;

const fn dismissed(parts: &'static [&'static str]) -> Expect {
    Expect::Dismissal(InvalidArgument, parts)
}

macro_rules! peers {
    ($($row:literal $name:literal $cost:ident, $what:literal, $run:expr => $expect:expr;)+) => {
        vec![$(Program {
            row: $row,
            name: $name,
            what: $what,
            cost: $cost,
            attack: Attack::Client {
                registered: vec![
                    registered("sum", Guest::Built("calc"), &[], &[]),
                    registered("sleep", Guest::Written("r13-pollables"), &[], &[]),
                    registered("long", Guest::Built("big"), &[], &[]),
                    registered("loud", Guest::Written("r11-stdout"), &[("max-cpu-ms-per-call", 20)], &[]),
                ],
                run: |scene| Box::pin($run(scene)),
            },
            expect: $expect,
        }),+]
    };
}

pub(super) fn programs() -> Vec<Program> {
    peers! {
        "P1" "frame-of-four-gigabytes" Middling, "a frame that says it has four gigabytes",
            |scene| bytes(scene, header(u32::MAX, 3, 0, 1)) => dismissed(&["over the limit of 65536 bytes"]);
        "P1" "frame-one-too-long" Middling, "a frame one byte longer than they are",
            |scene| bytes(scene, header(65_537, 3, 0, 1)) => dismissed(&["over the limit of 65536 bytes"]);
        "P1" "frames-of-nothing" Middling, "ten thousand frames of nothing, of a message that never ends",
            frames_of_nothing => Expect::AllWell;
        "P2" "random-bytes" Middling, "bytes that mean nothing",
            random_bytes => Expect::HangUp;
        "P2" "random-messages" Middling, "messages of every kind that mean nothing",
            random_messages => Expect::AllWell;
        "P2" "not-canonical" Middling, "duplicate keys, indefinite lengths, long integers, bytes behind the end",
            not_canonical => Expect::AllWell;
        "P3" "deep-argument" Middling, "an argument of ten thousand lists in one another",
            |scene| argument(scene, [vec![0x81; 10_000], vec![0x80]].concat()) => Expect::Failure(InvalidArgument, Fault::Peer, &["args"]);
        "P3" "deep-envelope" Middling, "a request of ten thousand maps in one another",
            deep_envelope => Expect::Failure(InvalidArgument, Fault::Peer, &["malformed request"]);
        "P3" "deep-tags" Middling, "an argument of ten thousand tags in one another",
            |scene| argument(scene, vec![0xc0; 10_000]) => Expect::Failure(InvalidArgument, Fault::Peer, &["args"]);
        "P4" "claimed-items" Middling, "lists and texts that say they are of astronomic length",
            claimed_items => Expect::AllWell;
        "P5" "odd-items" Middling, "items of CBOR in places that have others",
            odd_items => Expect::AllWell;
        "P6" "silent-stranger" Slow, "connects and says nothing",
            silent_stranger => Expect::HangUp;
        "P6" "half-a-hello" Slow, "says half of a hello",
            half_a_hello => Expect::HangUp;
        "P6" "half-a-frame" Slow, "sends half of a frame",
            |scene| bytes(scene, vec![0; 6]) => Expect::HangUp;
        "P7" "reset-in-mid-frame" Middling, "goes away in the middle of a frame",
            reset_in_mid_frame => Expect::AllWell;
        "P7" "reset-in-mid-call" Middling, "goes away while its calls run",
            reset_in_mid_call => Expect::AllWell;
        "P8" "never-reads" Slow, "asks for megabytes and reads none of them",
            never_reads => Expect::HangUp;
        "P8" "wants-to-hear-and-does-not-read" Slow, "follows a log, calls what prints without end, and reads nothing until all is said",
            deaf => Expect::AllWell;
        "P9" "id-again" Middling, "begins two exchanges with one id",
            |scene| ids(scene, &[1, 1]) => dismissed(&["exchange #1 cannot begin after #1"]);
        "P9" "id-of-the-node" Middling, "begins an exchange with an id that is the node's",
            |scene| ids(scene, &[2]) => dismissed(&["ids are odd"]);
        "P9" "id-of-the-connection" Middling, "begins an exchange with the id of the connection",
            |scene| ids(scene, &[0]) => dismissed(&["ids are odd"]);
        "P9" "answers-to-nothing" Middling, "answers a thousand calls that were never made",
            answers_to_nothing => Expect::AllWell;
        "P9" "second-hello" Middling, "says hello again, with another's token",
            second_hello => dismissed(&["a hello cannot come from a client here"]);
        "P10" "pings" Middling, "three thousand pings at once",
            pings => Expect::AllWell;
        "P10" "calls-beyond-the-limit" Middling, "more calls at once than it may have",
            calls_beyond => Expect::AllWell;
        "P10" "unfinished-messages" Middling, "thousands of messages that it never finishes",
            unfinished => Expect::Dismissal(ResourceExhausted, &["messages are incomplete at once"]);
        "P10" "message-without-end" Middling, "a message longer than messages are",
            without_end => Expect::Dismissal(ResourceExhausted, &["over the limit of"]);
        "P11" "cancels" Middling, "two cancels for each of a hundred calls, at once",
            cancels => Expect::AllWell;
        "P11" "cancel-of-nothing" Middling, "cancels a call that was not made",
            |scene| sent(scene, 7, Message::Cancel) => dismissed(&["which has not begun"]);
        "P12" "made-up-handle" Middling, "passes a handle that it made up",
            |scene| argument(scene, vec![0xd9, 0x72, 0x70, 0x07]) => Expect::Failure(InvalidArgument, Fault::Peer, &["args"]);
        "P12" "releases-of-nothing" Middling, "gives up thousands of handles that it does not have",
            releases => Expect::AllWell;
        "P14" "no-version" Middling, "speaks no version at all",
            |scene| says_hello(scene, Vec::new()) => Expect::Dismissal(Unimplemented, &["this host speaks protocol version 1"]);
        "P14" "version-of-tomorrow" Middling, "speaks only versions that do not exist",
            |scene| says_hello(scene, vec![0, 2, u32::MAX]) => Expect::Dismissal(Unimplemented, &["this host speaks protocol version 1"]);
        "P14" "unknown-kind" Middling, "sends a kind of message that there is not",
            |scene| bytes(scene, header(0, 99, 0, 1)) => dismissed(&["99 is not a kind of message"]);
        "P14" "unknown-flag" Middling, "sets a flag that means nothing",
            |scene| bytes(scene, header(0, 15, 0x80, 0)) => dismissed(&["have no meaning"]);
        "P14" "reserved-bytes" Middling, "puts something into the bytes that are reserved",
            reserved => dismissed(&["reserved bytes"]);
        "P14" "work-before-hello" Middling, "asks before it has said who it is",
            before_hello => dismissed(&["hello"]);
        "P14" "large-hello" Middling, "says a hello of a megabyte",
            large_hello => Expect::Dismissal(InvalidArgument, &["4096 bytes"]);
        "P16" "no-tls" Middling, "speaks no TLS",
            no_tls => Expect::HangUp;
        "P16" "tls-of-nonsense" Middling, "begins a handshake of TLS that means nothing",
            nonsense_tls => Expect::HangUp;
        "P17" "strangers" Middling, "many connections from one address, none of which says who it is",
            strangers => Expect::AllWell;
        "A5" "guesses-tokens" Middling, "tries tokens: malformed, unknown, and with a wrong secret",
            guesses => Expect::Dismissal(Unauthenticated, &[]);
        "A7" "reader-who-would-more" Middling, "does with a reader's token what readers may not",
            reader => Expect::AllWell;
        "A7" "deployer-who-would-more" Middling, "makes tokens and tenants with a deployer's token",
            deployer => Expect::AllWell;
        "A7" "admin-who-would-more" Middling, "operates the node with the token of a tenant's admin",
            admin => Expect::AllWell;
    }
}

fn header(length: u32, kind: u8, flags: u8, id: u32) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend([kind, flags, 0, 0]);
    bytes.extend(id.to_be_bytes());
    bytes
}

/// How the node ends a connection.
async fn parted(mut peer: RawPeer) -> End {
    match peer.parting().await.pop() {
        Some(Message::Failure(failure)) => End::Dismissal(failure),
        Some(Message::Goaway(goaway)) => End::Dismissal(goaway.failure),
        _ => End::HangUp,
    }
}

fn ended(outcome: Result<Vec<u8>, Failure>) -> End {
    match outcome {
        Ok(value) => End::Value(value),
        Err(failure) => End::Failure(failure),
    }
}

/// That the connection is as good as before.
async fn still_good(mut peer: RawPeer) -> End {
    let id = peer
        .call("sum", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    match peer.outcome(id).await {
        Ok(sum) if sum == [5] => End::AllWell,
        other => End::Odd(format!("2 + 3 is {other:?}")),
    }
}

async fn bytes(mut scene: Scene, bytes: Vec<u8>) -> End {
    let mut peer = scene.peer().await;
    peer.send_bytes(&bytes).await;
    parted(peer).await
}

async fn sent(mut scene: Scene, id: u32, message: Message) -> End {
    let mut peer = scene.peer().await;
    peer.send(ExchangeId(id), message).await;
    parted(peer).await
}

async fn frames_of_nothing(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let id = peer.fresh_id();
    peer.send_bytes(&header(0, 3, FLAG_MORE, id.0).repeat(10_000))
        .await;
    still_good(peer).await
}

async fn random_bytes(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let words = (0..64).map(|_| scene.seed.draw().to_be_bytes());
    peer.send_bytes(&words.collect::<Vec<_>>().concat()).await;
    parted(peer).await
}

async fn random_messages(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    for kind in [
        Kind::Call,
        Kind::Request,
        Kind::Upload,
        Kind::Provide,
        Kind::Withdraw,
    ] {
        let id = peer.fresh_id();
        let words = (0..=scene.seed.below(64)).map(|_| scene.seed.clone().draw().to_be_bytes());
        let payload = words.collect::<Vec<_>>().concat();
        scene.seed.draw();
        peer.send_raw(&RawMessage {
            kind,
            flags: 0,
            id,
            payload: payload.into(),
        })
        .await;
        match peer.outcome(id).await {
            Err(failure) if failure.code == InvalidArgument => {}
            other => return End::Odd(format!("{other:?} to a {kind:?} of nonsense")),
        }
    }
    still_good(peer).await
}

async fn all_malformed(mut peer: RawPeer, bad: &[(Kind, Vec<u8>)]) -> End {
    for (kind, payload) in bad {
        let id = peer.fresh_id();
        let (kind, payload) = (*kind, payload.clone());
        peer.send_raw(&RawMessage {
            kind,
            flags: 0,
            id,
            payload: payload.into(),
        })
        .await;
        match peer.outcome(id).await {
            Err(failure) if (failure.code, failure.fault) == (InvalidArgument, Fault::Peer) => {}
            other => return End::Odd(format!("{other:?} to a malformed {kind:?}")),
        }
    }
    still_good(peer).await
}

async fn not_canonical(mut scene: Scene) -> End {
    let peer = scene.peer().await;
    let list = crate::envelope(&Operation::List {});
    let bad = [
        (Kind::Request, Vec::new()),
        (Kind::Request, vec![0x9f, 0xff]),
        (Kind::Request, vec![0xbf, 0xff]),
        (Kind::Request, [list.clone(), vec![0]].concat()),
        (Kind::Request, [list.clone(), list.clone()].concat()),
        // A length that is longer than it has to be.
        (Kind::Request, [&[0xb8, 1][..], &list[1..]].concat()),
        (Kind::Upload, vec![0xa2, 0x61, b'a', 1, 0x61, b'a', 1]),
        (Kind::Provide, vec![0xa1, 0x61, 0xff, 1]),
        (Kind::Withdraw, vec![0xf7]),
        (Kind::Call, vec![0xa0]),
    ];
    all_malformed(peer, &bad).await
}

async fn deep_envelope(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let id = peer.fresh_id();
    let payload = [0xa1, 0x61, b'a'].repeat(10_000);
    peer.send_raw(&RawMessage {
        kind: Kind::Request,
        flags: 0,
        id,
        payload: payload.into(),
    })
    .await;
    ended(peer.outcome(id).await)
}

/// A call of `add` whose first argument is `item`.
async fn with_argument(peer: &mut RawPeer, item: &[u8]) -> Result<Vec<u8>, Failure> {
    let id = peer.fresh_id();
    let arguments = [&[0x82][..], item, &[3, 0xa0]].concat();
    peer.send(id, call_of("sum", "add", arguments)).await;
    peer.outcome(id).await
}

fn call_of(module: &str, function: &str, arguments: Vec<u8>) -> Message {
    Message::Call {
        header: CallHeader {
            module: module.to_owned(),
            function: function.to_owned(),
            ..CallHeader::default()
        },
        arguments: arguments.into(),
    }
}

async fn argument(mut scene: Scene, item: Vec<u8>) -> End {
    let mut peer = scene.peer().await;
    ended(with_argument(&mut peer, &item).await)
}

async fn all_refused(mut peer: RawPeer, items: &[&[u8]]) -> End {
    for item in items {
        match with_argument(&mut peer, item).await {
            Err(failure) if (failure.code, failure.fault) == (InvalidArgument, Fault::Peer) => {}
            other => return End::Odd(format!("{other:?} to the argument {item:x?}")),
        }
    }
    still_good(peer).await
}

async fn claimed_items(mut scene: Scene) -> End {
    // Every major type that has a length, with each of the widths.
    let mut items: Vec<Vec<u8>> = Vec::new();
    for major in [0x40, 0x60, 0x80, 0xa0] {
        items.push([&[major | 0x1a][..], &u32::MAX.to_be_bytes()].concat());
        for shift in [36, 40, 60, 63] {
            items.push([&[major | 0x1b][..], &(1_u64 << shift).to_be_bytes()].concat());
        }
        items.push([&[major | 0x1b][..], &u64::MAX.to_be_bytes()].concat());
    }
    let items: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
    all_refused(scene.peer().await, &items).await
}

async fn odd_items(mut scene: Scene) -> End {
    let items: [&[u8]; 13] = [
        &[0xc2, 0x41, 1],                                        // a big number
        &[0xfb, 0x40, 0, 0, 0, 0, 0, 0, 0],                      // 2.0
        &[0xf9, 0x7e, 0],                                        // not a number
        &[0xf6],                                                 // null
        &[0xf7],                                                 // undefined
        &[0xe0],                                                 // a simple value of no meaning
        &[0xf8, 0x20],                                           // another
        &[0x61, 0xff],                                           // text that is none
        &[0x18, 2],                                              // 2, longer than it has to be
        &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // beyond 63 bits
        &[0x5f, 0x41, 1, 0xff],                                  // bytes in pieces
        &[0xff],                                                 // the end of something
        &[0x1c],                                                 // a length that is reserved
    ];
    all_refused(scene.peer().await, &items).await
}

async fn silent_stranger(mut scene: Scene) -> End {
    let mut stream = scene.stranger().await;
    let mut said = Vec::new();
    let _reset = crate::in_time("the end of a silent one", stream.read_to_end(&mut said)).await;
    if said.is_empty() {
        End::HangUp
    } else {
        End::Odd(format!("it was told {said:x?}"))
    }
}

async fn half_a_hello(mut scene: Scene) -> End {
    let mut peer = scene.newcomer().await;
    let hello = Message::Hello(hello(Some(&scene.tenant.token))).encode(CONNECTION);
    let length = u32::try_from(hello.payload.len()).unwrap_or(u32::MAX);
    peer.send_bytes(&header(length, 1, 0, 0)).await;
    peer.send_bytes(&hello.payload[..4]).await;
    parted(peer).await
}

async fn reset_in_mid_frame(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let id = peer.fresh_id();
    let message = call_of("sum", "add", encode_arguments(&[Value::S64(2)], &[])).encode(id);
    let length = u32::try_from(message.payload.len()).unwrap_or(u32::MAX);
    let whole = [header(length, 3, 0, id.0), message.payload.into_vec()].concat();
    let cut = scene.seed.index(whole.len());
    peer.send_bytes(&whole[..cut]).await;
    match scene.seed.below(3) {
        0 => peer.reset(),
        1 => peer.close().await,
        _ => {}
    }
    End::AllWell
}

async fn reset_in_mid_call(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    for _ in 0..3 {
        peer.call("sleep", "sleep", &[]).await;
    }
    if scene.seed.below(2) == 0 {
        // The node has at least read them.
        peer.send(CONNECTION, Message::Ping(Beat { nonce: 1 }))
            .await;
        peer.message().await;
    }
    peer.reset();
    End::AllWell
}

/// What nobody reads has to be more than all buffers on the way hold.
async fn never_reads(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    for _ in 0..24 {
        peer.call("long", "text", &[Value::U32(1_000_000)]).await;
    }
    // It goes on to speak, so that it finds out when nobody listens any more.
    let ping = Message::Ping(Beat { nonce: 1 }).encode(CONNECTION);
    let length = u32::try_from(ping.payload.len()).unwrap_or(u32::MAX);
    let ping = [header(length, 15, 0, 0), ping.payload.into_vec()].concat();
    let until_it_ends = async {
        while peer.try_send_bytes(&ping).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    crate::in_time("the end of one that does not read", until_it_ends).await;
    End::HangUp
}

async fn deaf(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let mut followed = Vec::new();
    for _ in 0..5 {
        let id = peer.fresh_id();
        let logs = Logs {
            name: "loud".to_owned(),
            tail: None,
            follow: true,
        };
        peer.send(id, Message::Request(Operation::Logs(logs))).await;
        followed.push(id);
    }
    let mut called = Vec::new();
    for _ in 0..5 {
        let id = peer.fresh_id();
        let mut call = call_of("loud", "lines", encode_arguments(&[], &[]));
        if let Message::Call { header, .. } = &mut call {
            header.output = true;
        }
        peer.send(id, call).await;
        called.push(id);
    }
    // Somebody else sees the last of it, and so all was said.
    let silent_since = Instant::now();
    let mut other = scene.peer().await;
    for _ in 0..5 {
        let id = other.call("loud", "lines", &[]).await;
        if other.outcome(id).await.is_ok() {
            return End::Odd("printing without end has an end".to_owned());
        }
    }
    let was_silent_for_long = silent_since.elapsed() >= Duration::from_millis(WRITE_TIMEOUT_MS);
    let mut heard = 0_u64;
    while !called.is_empty() || !followed.is_empty() {
        let Some(message) = peer.next().await else {
            // Among many it may take so long that the node gives up one who does not read.
            return match was_silent_for_long {
                true => still_good(other).await,
                false => End::Odd("the node closed the connection".to_owned()),
            };
        };
        match message {
            (_, Message::Output(line)) => heard += line.lost.unwrap_or(1),
            (id, Message::Failure(failure)) if called.contains(&id) => {
                if failure.code != ResourceExhausted {
                    return End::Failure(failure);
                }
                called.retain(|other| *other != id);
                if called.is_empty() {
                    for id in &followed {
                        peer.send(*id, Message::Cancel).await;
                    }
                }
            }
            (id, Message::Failure(failure)) if failure.code == ErrorCode::Cancelled => {
                followed.retain(|other| *other != id);
            }
            other => return End::Odd(format!("{other:?} to one who would hear")),
        }
    }
    if heard == 0 {
        return End::Odd("nothing was heard".to_owned());
    }
    still_good(peer).await
}

async fn ids(mut scene: Scene, ids: &[u32]) -> End {
    let mut peer = scene.peer().await;
    let arguments = encode_arguments(&[Value::S64(2), Value::S64(3)], &[]);
    for id in ids {
        peer.send(ExchangeId(*id), call_of("sum", "add", arguments.clone()))
            .await;
    }
    parted(peer).await
}

async fn answers_to_nothing(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    for number in 0..1000 {
        let reply = Message::Reply {
            value: vec![0xf6],
            is_result: number % 2 == 0,
        };
        peer.send(ExchangeId(2 + 2 * number), reply).await;
    }
    still_good(peer).await
}

async fn second_hello(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    peer.send(CONNECTION, Message::Hello(hello(Some(&scene.reader))))
        .await;
    parted(peer).await
}

async fn pings(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let count = 3000;
    let mut all = Vec::new();
    for nonce in 0..count {
        let ping = Message::Ping(Beat { nonce }).encode(CONNECTION);
        let length = u32::try_from(ping.payload.len()).unwrap_or(u32::MAX);
        all.extend(header(length, 15, 0, 0));
        all.extend(ping.payload.into_vec());
    }
    peer.send_bytes(&all).await;
    for nonce in 0..count {
        let (_, message) = peer.message().await;
        if message != Message::Pong(Beat { nonce }) {
            return End::Odd(format!("{message:?} in answer to ping {nonce}"));
        }
    }
    still_good(peer).await
}

async fn calls_beyond(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let limit = usize::try_from(super::arena::MAX_CALLS_IN_FLIGHT).unwrap_or_default();
    let mut begun = Vec::new();
    for _ in 0..limit + 10 {
        // They wait for places in turn, so not all of them run; but all are under way.
        begun.push(peer.call("sleep", "sleep", &[]).await);
    }
    for id in &begun[limit..] {
        match peer.outcome(*id).await {
            Err(failure) if failure.code == ResourceExhausted => {}
            other => return End::Odd(format!("{other:?} to a call over the limit")),
        }
    }
    for id in &begun[..limit] {
        peer.send(*id, Message::Cancel).await;
    }
    for _ in &begun[..limit] {
        match peer.message().await {
            (_, Message::Failure(failure)) if failure.code == ErrorCode::Cancelled => {}
            other => return End::Odd(format!("{other:?} to a cancel")),
        }
    }
    still_good(peer).await
}

async fn unfinished(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    for _ in 0..10_000 {
        let id = peer.fresh_id();
        let part = [header(1, 3, FLAG_MORE, id.0), vec![0]].concat();
        if peer.try_send_bytes(&part).await.is_err() {
            break;
        }
    }
    parted(peer).await
}

async fn without_end(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let id = peer.fresh_id();
    let part = [header(65_536, 3, FLAG_MORE, id.0), vec![0; 65_536]].concat();
    // Twice as many as make the longest message.
    for _ in 0..2 * super::arena::MAX_MESSAGE_BYTES / 65_536 {
        if peer.try_send_bytes(&part).await.is_err() {
            break;
        }
    }
    parted(peer).await
}

async fn cancels(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let mut begun = Vec::new();
    for _ in 0..super::arena::MAX_CALLS_IN_FLIGHT / 2 {
        let id = peer
            .call("sum", "add", &[Value::S64(2), Value::S64(3)])
            .await;
        peer.send(id, Message::Cancel).await;
        peer.send(id, Message::Cancel).await;
        begun.push(id);
    }
    let mut answered = std::collections::HashSet::new();
    while answered.len() < begun.len() {
        match peer.message().await {
            (id, Message::Reply { value, .. }) if value == [5] && answered.insert(id) => {}
            (id, Message::Failure(failure))
                if failure.code == ErrorCode::Cancelled && answered.insert(id) => {}
            other => return End::Odd(format!("{other:?} to a cancelled call")),
        }
    }
    still_good(peer).await
}

async fn releases(mut scene: Scene) -> End {
    let mut peer = scene.peer().await;
    let id = peer
        .call("sum", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    let handles = (0..4096).map(|handle| (handle, u32::MAX)).collect();
    peer.send(CONNECTION, Message::Release(Release { handles }))
        .await;
    if peer.outcome(id).await != Ok(vec![5]) {
        return End::Odd("a release disturbed a call".to_owned());
    }
    still_good(peer).await
}

async fn says_hello(mut scene: Scene, versions: Vec<u32>) -> End {
    let mut peer = scene.newcomer().await;
    let hello = Hello {
        versions,
        ..hello(Some(&scene.tenant.token))
    };
    peer.send(CONNECTION, Message::Hello(hello)).await;
    parted(peer).await
}

async fn reserved(scene: Scene) -> End {
    let mut frame = Header {
        length_bytes: 0,
        kind: Kind::Ping,
        flags: 0,
        id: CONNECTION,
    }
    .encode();
    frame[HEADER_BYTES - 5] = 1;
    bytes(scene, frame.to_vec()).await
}

async fn before_hello(mut scene: Scene) -> End {
    let mut peer = scene.newcomer().await;
    peer.send(ExchangeId(1), Message::Request(Operation::TenantList {}))
        .await;
    parted(peer).await
}

async fn large_hello(mut scene: Scene) -> End {
    let mut peer = scene.newcomer().await;
    let hello = Hello {
        client: "x".repeat(1 << 20),
        ..hello(Some(&scene.tenant.token))
    };
    peer.send(CONNECTION, Message::Hello(hello)).await;
    parted(peer).await
}

async fn no_tls(mut scene: Scene) -> End {
    hung_up_on(&mut scene, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await
}

/// The head of a record of a handshake, and of a first message of 16 MB in it.
async fn nonsense_tls(mut scene: Scene) -> End {
    let hello = [
        &[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..],
        &[0xa5; 16_380],
    ]
    .concat();
    hung_up_on(&mut scene, &hello).await
}

async fn hung_up_on(scene: &mut Scene, bytes: &[u8]) -> End {
    let mut stream = scene.stranger().await;
    let _closed = stream.write_all(bytes).await;
    let mut said = Vec::new();
    let _reset = crate::in_time("the end of a stranger", stream.read_to_end(&mut said)).await;
    // An alert of TLS, and nothing else.
    if said.is_empty() || said.starts_with(&[0x15, 3]) {
        End::HangUp
    } else {
        End::Odd(format!("it was told {said:x?}"))
    }
}

/// All from one address: those over its share are turned away, and everybody else comes in.
async fn strangers(mut scene: Scene) -> End {
    let source = scene.address();
    let share = super::arena::STRANGERS_PER_ADDRESS;
    let mut kept = Vec::new();
    for _ in 0..share + 8 {
        kept.push(scene.stranger_from(source).await);
    }
    let mut turned_away = 0;
    for stream in &mut kept[share..] {
        let mut byte = [0];
        let closed = crate::in_time("the end of one too many", stream.read(&mut byte)).await;
        turned_away += u32::from(matches!(closed, Ok(0) | Err(_)));
    }
    if turned_away == 8 {
        still_good(scene.peer().await).await
    } else {
        End::Odd(format!("{turned_away} of 8 were turned away"))
    }
}

/// They all get one answer. From an address that nobody else comes from.
async fn guesses(mut scene: Scene) -> End {
    let source = scene.address();
    let real = scene.reader.clone();
    let other_secret: String = (0..4)
        .map(|_| format!("{:016x}", scene.seed.draw()))
        .collect();
    let (id, _secret) = real.rsplit_once('_').expect("a token has a secret");
    let tokens = [
        None,
        Some(String::new()),
        Some("rpch_0000000000000000".to_owned()),
        Some(format!("rpch_{:016x}_{other_secret}", scene.seed.draw())),
        Some(format!("{id}_{other_secret}")),
        Some(real.to_uppercase()),
        Some(format!("{real}0")),
        Some(format!(" {real}")),
    ];
    let mut answers = Vec::new();
    for token in tokens {
        let mut peer = RawPeer::connect_from(&scene.host, source).await;
        peer.send(CONNECTION, Message::Hello(hello(token.as_deref())))
            .await;
        match parted(peer).await {
            End::Dismissal(failure) => answers.push(failure),
            other => return other,
        }
    }
    let last = answers.pop();
    match last {
        Some(last) if answers.iter().all(|answer| *answer == last) => End::Dismissal(last),
        last => End::Odd(format!("{answers:?} and {last:?}")),
    }
}

fn named(name: &str) -> Named {
    Named {
        name: name.to_owned(),
    }
}

/// Settings that give more than anybody has.
fn settings(name: &str) -> TenantSettings {
    TenantSettings {
        name: name.to_owned(),
        allow: Some(vec!["any".to_owned()]),
        weight: Some(1000),
        ..TenantSettings::default()
    }
}

fn registering(name: &str) -> Register {
    Register {
        name: name.to_owned(),
        digest: format!("sha256:{}", "0".repeat(64)),
        grants: vec!["log".to_owned()],
        force: true,
        ..Register::default()
    }
}

fn new_token(tenant: Option<&str>, role: &str) -> Operation {
    Operation::TokenCreate(TokenCreate {
        tenant: tenant.map(str::to_owned),
        role: role.to_owned(),
        expires_in_s: None,
    })
}

/// What takes the right to manage tokens.
fn of_admins() -> Vec<Operation> {
    vec![
        new_token(None, "reader"),
        new_token(None, "admin"),
        Operation::TokenList(TokenList { tenant: None }),
        Operation::TokenRevoke(TokenRevoke { id: "0".repeat(16) }),
    ]
}

/// What takes the right to operate the node.
fn of_operators(scene: &Scene) -> Vec<Operation> {
    vec![
        Operation::TenantCreate(settings("mine")),
        Operation::TenantSet(settings(&scene.tenant.name)),
        Operation::TenantSet(settings(&scene.victim)),
        Operation::TenantList {},
        Operation::TenantRemove(named(&scene.victim)),
        Operation::TenantRemove(named("default")),
        new_token(Some("default"), "admin"),
        new_token(Some(&scene.victim), "reader"),
    ]
}

async fn all_denied(mut peer: RawPeer, operations: Vec<Operation>) -> End {
    for operation in operations {
        let shown = format!("{operation:?}");
        match peer.operate::<serde_json::Value>(operation).await {
            Err(failure) if failure.code == PermissionDenied => {}
            other => return End::Odd(format!("{other:?} to {shown}")),
        }
    }
    End::AllWell
}

async fn reader(mut scene: Scene) -> End {
    let mut peer = scene.peer_with(&scene.reader.clone()).await;
    let id = peer
        .call("sum", "add", &[Value::S64(2), Value::S64(3)])
        .await;
    match peer.outcome(id).await {
        Err(failure) if failure.code == PermissionDenied => {}
        other => return End::Odd(format!("{other:?} to a reader's call")),
    }
    let mut operations = vec![
        Operation::Register(registering("mine")),
        Operation::Promote(registering("sum")),
        Operation::Remove(named("sum")),
    ];
    operations.extend(of_admins());
    operations.extend(of_operators(&scene));
    all_denied(peer, operations).await
}

async fn deployer(mut scene: Scene) -> End {
    let peer = scene.peer_with(&scene.deployer.clone()).await;
    let mut operations = of_admins();
    operations.extend(of_operators(&scene));
    all_denied(peer, operations).await
}

async fn admin(mut scene: Scene) -> End {
    let peer = scene.peer().await;
    all_denied(peer, of_operators(&scene)).await
}

/// Any loopback address.
pub(super) fn loopback(number: u64) -> Ipv4Addr {
    let [.., second, third, fourth] = number.to_be_bytes();
    Ipv4Addr::new(127, second | 1, third, fourth.clamp(1, 254))
}
