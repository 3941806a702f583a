//! What objects ask of a session: that calls begin in their order, and that nothing is held that nobody was told of.

use std::sync::atomic::Ordering;

use rpc_host_protocol::message::{CallHeader, Message, Release};
use rpc_host_protocol::{ErrorCode, ExchangeId};

use super::peer::{Peer, call};
use crate::config::Limits;

fn on_object(function: &str, arguments: &[u8]) -> Message {
    let header = CallHeader {
        module: "m".to_owned(),
        function: function.to_owned(),
        on: Some(7),
        ..CallHeader::default()
    };
    Message::Call {
        header,
        arguments: arguments.to_vec().into(),
    }
}

fn release(number: u64) -> Message {
    Message::Release(Release {
        handles: vec![(number, 1)],
    })
}

/// Whatever thread does their work, and however long they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_on_objects_and_releases_begin_in_the_order_in_which_they_were_sent() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let (mut sent, mut answers) = (Vec::new(), 0);
    for id in (1..=399).step_by(2) {
        match id % 5 {
            // Its work waits for all that comes after it.
            0 => peer.send(id, release(7)).await,
            1 => peer.send(id, on_object("echo", &[1; 20_000])).await,
            2 => peer.send(id, on_object("hang", b"")).await,
            _ => peer.send(id, on_object("echo", b"short")).await,
        }
        sent.push(if id % 5 == 0 { 0 } else { id });
        if ![0, 2].contains(&(id % 5)) {
            answers += 1;
        }
    }
    for _ in 0..answers {
        let (_, message) = peer.receive().await.unwrap();
        assert!(matches!(message, Message::Reply { .. }), "{message:?}");
    }
    assert_eq!(*peer.node.begun.lock().unwrap(), sent);
}

/// A client that reads slowly, and a session that leaves one long reply at a time to be written.
async fn slow_reader(max_unread_reply_bytes_per_session: u64) -> Peer {
    let limits = Limits {
        max_queued_bytes_per_session: 1000,
        max_unread_reply_bytes_per_session,
        ..Limits::default()
    };
    Peer::connect_over(1024, limits).entered().await
}

/// Waits until so many replies were told of, and so many were not.
async fn accounted(peer: &Peer, told: usize, untold: usize) {
    let node = &peer.node;
    let now = || {
        let told = node.told.lock().unwrap().len();
        (told, node.untold.load(Ordering::SeqCst))
    };
    while now() != (told, untold) {
        assert!(now().0 <= told && now().1 <= untold, "{:?}", now());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_reply_tells_of_is_undone_where_the_reply_is_lost() {
    let mut peer = slow_reader(1 << 20).await;
    peer.call(1, "large").await;
    accounted(&peer, 1, 0).await;
    // This waits for room, with all the bytes that may; for the next there are none, and it is no reply.
    peer.call(3, "large").await;
    peer.running(0).await;
    peer.call(5, "large").await;
    accounted(&peer, 1, 1).await;
    let mut answered = Vec::new();
    for _ in 0..3 {
        match peer.receive().await.unwrap() {
            (id, Message::Reply { value, .. }) => answered.push((id, value.len())),
            (id, Message::Failure(failure)) => {
                assert_eq!(failure.code, ErrorCode::ResourceExhausted, "{failure}");
                answered.push((id, 0));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answered, [(5, 0), (1, 1 << 20), (3, 1 << 20)]);
    accounted(&peer, 2, 1).await;
    assert_eq!(*peer.node.told.lock().unwrap(), [1, 3]);
}

#[tokio::test]
async fn each_reply_is_accounted_for_once_when_the_connection_ends_before_it_is_written() {
    let mut peer = slow_reader(256 << 20).await;
    for id in [1, 3, 5, 7] {
        peer.call(id, "large").await;
        peer.running(0).await;
    }
    peer.call(9, "wait").await;
    peer.running(1).await;
    let node = peer.node.clone();
    peer.leave().await;
    // What was to be written is the session's, and ends with it; what was not answered was told of by nobody.
    let all = || node.told.lock().unwrap().len() + node.untold.load(Ordering::SeqCst);
    while all() != 4 || node.running.load(Ordering::SeqCst) != 0 {
        assert!(all() <= 4);
        tokio::task::yield_now().await;
    }
    node.gate.notify_one();
    tokio::task::yield_now().await;
    assert_eq!(all(), 4);
}

#[tokio::test]
async fn a_release_behind_a_long_reply_comes_after_it_and_counts_in_full() {
    const BACK: u16 = 5000;
    let mut peer = Peer::connect_over(1024, Limits::default()).entered().await;
    let reach = peer.provide(1).await;
    peer.call(3, "large").await;
    peer.running(0).await;
    accounted(&peer, 1, 0).await;
    // What came back in the reply, some of it twice; and what did not.
    let back = (1..=u64::from(BACK)).chain([1, 1]);
    reach.release_behind(back.collect(), ExchangeId(3));
    reach.release(u64::from(BACK) + 1);
    // What the client lets go of meanwhile does not wait for it.
    peer.send(0, release(7)).await;
    peer.send(5, call("echo", b"short")).await;
    let (mut before, mut counts) = (Vec::new(), vec![0; usize::from(BACK) + 1]);
    let mut is_whole = false;
    while counts.iter().sum::<u32>() < u32::from(BACK) + 2 {
        match peer.receive().await.unwrap() {
            (3, Message::Reply { value, .. }) => {
                assert_eq!(value.len(), 1 << 20);
                assert_eq!(peer.node.released.load(Ordering::SeqCst), 1);
                is_whole = true;
            }
            (0, Message::Release(release)) if is_whole => {
                for (number, count) in release.handles {
                    counts[usize::try_from(number).unwrap()] += count;
                }
            }
            (id, message) => before.push((id, message)),
        }
    }
    let one = (0, release(u64::from(BACK) + 1));
    let reply = Message::Reply {
        value: b"short".to_vec(),
        is_result: true,
    };
    assert_eq!(before, [one, (5, reply)]);
    assert_eq!(counts[..3], [0, 3, 1]);
    assert!(counts[2..].iter().all(|count| *count == 1));
}
