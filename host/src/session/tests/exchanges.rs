//! How exchanges begin and end.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::message::{Ack, Message, Release};
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Kind, Operation};
use tokio::io::AsyncWriteExt;

use super::peer::{Peer, call};
use crate::config::Limits;

#[tokio::test]
async fn calls_and_requests_are_answered() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.call(1, "echo").await;
    let reply = Message::Reply {
        value: b"arguments".to_vec(),
        is_result: true,
    };
    assert_eq!(peer.receive().await, Some((1, reply)));
    peer.send(3, Message::Request(Operation::List {})).await;
    let reply = Message::Reply {
        value: b"list".to_vec(),
        is_result: false,
    };
    assert_eq!(peer.receive().await, Some((3, reply)));
    peer.call(5, "no-such-function").await;
    assert_eq!(peer.failure(5).await.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn answers_come_as_they_are_ready() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.call(1, "wait").await;
    peer.call(3, "large").await;
    peer.call(5, "echo").await;
    assert_eq!(peer.reply(5).await, b"arguments", "it passes the large one");
    assert_eq!(peer.reply(3).await.len(), 1 << 20);
    peer.node.gate.notify_one();
    assert_eq!(peer.reply(1).await, b"arguments");
}

#[tokio::test]
async fn calls_may_come_interleaved() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let long = call("echo", &[9; 40_000]).encode(ExchangeId(1));
    let short = call("echo", b"short").encode(ExchangeId(3));
    let wire = |message: &RawMessage| {
        let frames = rpc_host_protocol::assembler::fragments(message);
        frames
            .map(|(header, part)| [&header.encode()[..], part].concat())
            .collect::<Vec<_>>()
    };
    let mut frames = wire(&long);
    frames.splice(1..1, wire(&short));
    for frame in frames {
        peer.write.write_all(&frame).await.unwrap();
    }
    // The short one was complete first; which is answered first depends on who had a turn where it was read.
    let mut answered = HashMap::new();
    for _ in 0..2 {
        match peer.receive().await {
            Some((id, Message::Reply { value, .. })) => {
                assert_eq!(answered.insert(id, value), None)
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answered[&3], b"short");
    assert_eq!(answered[&1], [9; 40_000]);
}

#[tokio::test]
async fn a_cancel_ends_the_call_and_is_its_answer() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.call(1, "hang").await;
    peer.running(1).await;
    peer.send(1, Message::Cancel).await;
    assert_eq!(peer.failure(1).await.code, ErrorCode::Cancelled);
    peer.running(0).await;
    // Too late, twice: nothing answers it, nothing breaks.
    peer.send(1, Message::Cancel).await;
    peer.call(3, "echo").await;
    assert_eq!(peer.reply(3).await, b"arguments");
    peer.send(3, Message::Cancel).await;
    peer.call(5, "echo").await;
    assert_eq!(peer.reply(5).await, b"arguments");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_meets_the_reply_leaves_one_answer() {
    let mut peer = Peer::welcome(Limits::default()).await;
    for id in (1..2000).step_by(2) {
        peer.call(id, "echo").await;
        peer.send(id, Message::Cancel).await;
        let (found, answer) = peer.receive().await.unwrap();
        assert_eq!(found, id);
        match answer {
            Message::Reply { .. } => {}
            Message::Failure(failure) => assert_eq!(failure.code, ErrorCode::Cancelled),
            other => panic!("{other:?}"),
        }
    }
    peer.running(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_told_that_a_call_is_cancelled_has_its_place_for_another() {
    let limits = Limits {
        max_calls_in_flight_per_session: 1,
        ..Limits::default()
    };
    let mut peer = Peer::welcome(limits).await;
    for id in (1..4000).step_by(2) {
        peer.call(id, "hang").await;
        peer.send(id, Message::Cancel).await;
        assert_eq!(peer.failure(id).await.code, ErrorCode::Cancelled);
    }
}

#[tokio::test]
async fn over_the_limit_of_calls_the_next_is_refused_until_one_ends() {
    let limits = Limits {
        max_calls_in_flight_per_session: 2,
        ..Limits::default()
    };
    let mut peer = Peer::welcome(limits).await;
    peer.call(1, "wait").await;
    peer.call(3, "hang").await;
    peer.running(2).await;
    peer.call(5, "echo").await;
    let failure = peer.failure(5).await;
    assert_eq!(failure.code, ErrorCode::ResourceExhausted);
    assert!(
        failure.message.contains("2 calls are in flight"),
        "{failure}"
    );
    peer.node.gate.notify_one();
    peer.reply(1).await;
    peer.call(7, "echo").await;
    peer.reply(7).await;
    peer.send(3, Message::Cancel).await;
    peer.failure(3).await;
    peer.running(0).await;
    for id in [9, 11] {
        peer.call(id, "echo").await;
        peer.reply(id).await;
    }
}

#[tokio::test]
async fn calls_in_flight_carry_no_more_than_so_many_bytes() {
    let limits = Limits {
        max_message_bytes: 100_000,
        ..Limits::default()
    };
    let mut peer = Peer::welcome(limits).await;
    let bytes = [0; 90_000];
    // Wherever in a message they are.
    let with_long_header = |function| {
        let mut call = call(function, &[]);
        if let Message::Call { header, .. } = &mut call {
            header.module = "m".repeat(bytes.len());
        }
        call
    };
    for id in [1, 5] {
        peer.send(id, call("hang", &bytes)).await;
        peer.send(id + 2, with_long_header("hang")).await;
    }
    peer.running(4).await;
    peer.send(9, call("echo", &bytes)).await;
    assert!(peer.failure(9).await.message.contains("too many bytes"));
    peer.send(11, with_long_header("echo")).await;
    assert!(peer.failure(11).await.message.contains("too many bytes"));
    peer.call(13, "echo").await;
    peer.reply(13).await;
    peer.send(5, Message::Cancel).await;
    peer.failure(5).await;
    peer.running(3).await;
    peer.send(15, call("echo", &bytes)).await;
    assert_eq!(peer.reply(15).await.len(), bytes.len());
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_call_alone() {
    let mut peer = Peer::welcome(Limits::default()).await;
    // Alone, it runs within the session's own task.
    peer.call(1, "panic").await;
    assert_eq!(peer.failure(1).await.code, ErrorCode::Internal);
    peer.call(3, "wait").await;
    peer.running(1).await;
    peer.call(5, "panic").await;
    let failure = peer.failure(5).await;
    assert_eq!(
        (failure.code, failure.fault),
        (ErrorCode::Internal, Fault::Host)
    );
    assert!(
        !failure.message.contains("as the test wants it"),
        "{failure}"
    );
    peer.node.gate.notify_one();
    assert_eq!(peer.reply(3).await, b"arguments");
}

#[tokio::test]
async fn a_malformed_message_is_a_failure_of_its_exchange_alone() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.call(1, "wait").await;
    peer.running(1).await;
    let raw = |kind, id| RawMessage {
        kind,
        flags: 0,
        id: ExchangeId(id),
        payload: vec![0xff, 0x00].into(),
    };
    for (kind, id, answered) in [
        (Kind::Call, 3, 3),
        (Kind::Request, 5, 5),
        (Kind::Upload, 7, 7),
        (Kind::Provide, 9, 9),
        (Kind::Cancel, 1, 0),
        (Kind::Ping, 0, 0),
    ] {
        peer.send_raw(&raw(kind, id)).await;
        let failure = peer.failure(answered).await;
        assert_eq!(
            (failure.code, failure.fault),
            (ErrorCode::InvalidArgument, Fault::Peer)
        );
        assert!(failure.message.starts_with("malformed"), "{failure}");
    }
    peer.node.gate.notify_one();
    assert_eq!(peer.reply(1).await, b"arguments");
}

#[tokio::test]
async fn an_id_that_is_used_again_ends_the_session() {
    for (first, second) in [(1, 1), (5, 3), (1, 2), (1, 0)] {
        let mut peer = Peer::welcome(Limits::default()).await;
        peer.call(first, "echo").await;
        peer.reply(first).await;
        peer.call(second, "echo").await;
        let failure = peer.goaway().await;
        assert_eq!(
            (failure.code, failure.fault),
            (ErrorCode::InvalidArgument, Fault::Peer),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn what_breaks_the_budget_of_messages_ends_the_session() {
    let limits = Limits {
        max_message_bytes: 100_000,
        ..Limits::default()
    };
    let mut peer = Peer::welcome(limits).await;
    peer.send(1, call("echo", &[0; 100_001])).await;
    assert_eq!(peer.goaway().await.code, ErrorCode::ResourceExhausted);
}

#[tokio::test]
async fn what_needs_no_answer_gets_none() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let failure = Failure::new(ErrorCode::Cancelled, Fault::Peer, "about nothing");
    let reply = Message::Reply {
        value: vec![0xf6],
        is_result: false,
    };
    let ack = Message::Ack(Ack {
        received_bytes: 0,
        window_bytes: 0,
    });
    let release = Message::Release(Release {
        handles: vec![(1, 1)],
    });
    for (id, message) in [
        (2, reply.clone()),
        (2, Message::Failure(failure.clone())),
        (1, reply),
        (0, Message::Failure(failure)),
        (2, ack),
        (0, release),
    ] {
        peer.send(id, message).await;
    }
    peer.call(5, "echo").await;
    assert_eq!(peer.reply(5).await, b"arguments");
    assert_eq!(peer.node.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_all_get_their_own_answer() {
    let mut peer = Peer::welcome(Limits::default()).await;
    for round in 0..20_u32 {
        let ids: Vec<u32> = (0..200)
            .map(|index| (round * 200 + index) * 2 + 1)
            .collect();
        for id in &ids {
            peer.send(*id, call("echo", &id.to_be_bytes())).await;
        }
        let mut answered = Vec::new();
        for _ in &ids {
            let Some((id, Message::Reply { value, .. })) = peer.receive().await else {
                panic!("expected a reply");
            };
            assert_eq!(value, id.to_be_bytes());
            answered.push(id);
        }
        answered.sort_unstable();
        assert_eq!(answered, ids);
    }
}

/// One read brings hundreds of frames; nobody else on the thread waits for all of them.
#[tokio::test]
async fn a_read_full_of_frames_leaves_turns_to_others() {
    const CALLS: u32 = 200;
    let mut peer = Peer::welcome(Limits::default()).await;
    let mut flood = Vec::new();
    for number in 0..CALLS {
        let message = call("hang", b"").encode(ExchangeId(1 + 2 * number));
        for (header, part) in rpc_host_protocol::assembler::fragments(&message) {
            flood.extend_from_slice(&header.encode());
            flood.extend_from_slice(part);
        }
    }
    let before = peer.node.asked.load(Ordering::SeqCst);
    let end = before + CALLS as usize;
    peer.write.write_all(&flood).await.unwrap();
    let (mut seen, mut most_in_a_row) = (before, 0);
    while seen < end {
        tokio::task::yield_now().await;
        let now = peer.node.asked.load(Ordering::SeqCst);
        most_in_a_row = most_in_a_row.max(now - seen);
        seen = now;
    }
    assert!(most_in_a_row <= 40, "{most_in_a_row} frames in one turn");
}
