//! How uploads go, and go wrong.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rpc_host_protocol::cbor::{decode_envelope, encode_envelope};
use rpc_host_protocol::message::{Ack, Message, UploadHeader};
use rpc_host_protocol::operation::ModuleEntry;
use rpc_host_protocol::{ErrorCode, Failure};
use tokio::time::Instant;

use super::peer::{Peer, entry};
use crate::config::Limits;

const CHUNK: usize = 256 * 1024;

fn upload(digest: &str, size_bytes: usize) -> Message {
    Message::Upload(UploadHeader {
        digest: digest.to_owned(),
        size_bytes: size_bytes as u64,
    })
}

async fn ack(peer: &mut Peer, id: u32) -> Ack {
    match peer.receive().await.unwrap() {
        (found, Message::Ack(ack)) if found == id => ack,
        other => panic!("expected an ack of #{id}, got {other:?}"),
    }
}

/// Waits until the node has let go of so many uploads.
async fn dropped(peer: &Peer, count: usize) {
    while peer.node.uploads_dropped.load(Ordering::SeqCst) < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_upload_arrives_whole_within_its_window() {
    let mut peer = Peer::welcome(Limits::default()).await;
    let bytes: Vec<u8> = (0..=250).cycle().take(5 * 1024 * 1024 + 17).collect();
    peer.send(1, upload("new", bytes.len())).await;
    let first = ack(&mut peer, 1).await;
    assert_eq!(
        first,
        Ack {
            received_bytes: 0,
            window_bytes: 1 << 20
        }
    );
    let (mut sent, mut granted) = (0, 1 << 20);
    let module = loop {
        while sent < bytes.len().min(granted) {
            let end = bytes.len().min(granted).min(sent + CHUNK);
            peer.send(1, Message::Chunk(bytes[sent..end].to_vec()))
                .await;
            sent = end;
        }
        match peer.receive().await.unwrap() {
            (1, Message::Ack(ack)) => {
                granted = usize::try_from(ack.received_bytes + ack.window_bytes).unwrap();
                assert!(ack.received_bytes <= sent as u64);
            }
            (
                1,
                Message::Reply {
                    value,
                    is_result: false,
                },
            ) => break value,
            other => panic!("{other:?}"),
        }
    };
    let module: ModuleEntry = decode_envelope(&module).unwrap();
    assert_eq!(module, entry("new", bytes.len() as u64));
    assert_eq!(*peer.node.stored.lock().unwrap(), bytes);
}

#[tokio::test]
async fn what_is_known_or_refused_is_answered_at_once() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.send(1, upload("known", 70)).await;
    assert_eq!(peer.reply(1).await, encode_envelope(&entry("known", 70)));
    peer.send(3, upload("refused", 70)).await;
    assert_eq!(peer.failure(3).await.code, ErrorCode::InvalidArgument);
    // A chunk that was on its way is nobody's.
    peer.send(3, Message::Chunk(vec![1])).await;
    peer.call(5, "echo").await;
    peer.reply(5).await;
}

async fn broken_by(size: usize, chunks: &[usize]) -> Failure {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.send(1, upload("slow", size)).await;
    ack(&mut peer, 1).await;
    for chunk in chunks {
        peer.send(1, Message::Chunk(vec![0; *chunk])).await;
    }
    let failure = peer.failure(1).await;
    dropped(&peer, 1).await;
    // The session goes on, and the slot is free.
    peer.send(3, Message::Chunk(vec![1])).await;
    assert_eq!(
        peer.goaway().await.code,
        ErrorCode::InvalidArgument,
        "it never began"
    );
    failure
}

#[tokio::test]
async fn an_upload_that_breaks_a_rule_is_dropped() {
    let window = 1 << 20;
    let overrun = broken_by(10 * window, &[CHUNK, CHUNK, CHUNK, CHUNK, 1]).await;
    assert_eq!(overrun.code, ErrorCode::ResourceExhausted);
    assert!(overrun.message.contains("wait for an ack"), "{overrun}");
    let too_much = broken_by(100, &[60, 41]).await;
    assert_eq!(too_much.code, ErrorCode::InvalidArgument);
    assert!(
        too_much.message.contains("100 that were announced"),
        "{too_much}"
    );
    assert_eq!(broken_by(100, &[0]).await.code, ErrorCode::InvalidArgument);
    assert_eq!(
        broken_by(10 * window, &[CHUNK + 1]).await.code,
        ErrorCode::InvalidArgument
    );
}

#[tokio::test]
async fn an_upload_that_waits_for_the_disk_holds_up_nothing_else() {
    let mut peer = Peer::welcome(Limits::default()).await;
    peer.send(1, upload("slow", 1 << 20)).await;
    ack(&mut peer, 1).await;
    for _ in 0..4 {
        peer.send(1, Message::Chunk(vec![0; CHUNK])).await;
    }
    peer.call(3, "echo").await;
    assert_eq!(peer.reply(3).await, b"arguments");
    peer.send(1, Message::Cancel).await;
    assert_eq!(peer.failure(1).await.code, ErrorCode::Cancelled);
    dropped(&peer, 1).await;
}

#[tokio::test]
async fn only_so_many_uploads_at_once() {
    let mut peer = Peer::welcome(Limits {
        max_uploads_per_session: 2,
        ..Limits::default()
    })
    .await;
    for id in [1, 3] {
        peer.send(id, upload("slow", 10)).await;
        ack(&mut peer, id).await;
    }
    peer.send(5, upload("known", 10)).await;
    assert_eq!(peer.failure(5).await.code, ErrorCode::ResourceExhausted);
    peer.send(1, Message::Cancel).await;
    peer.failure(1).await;
    dropped(&peer, 1).await;
    peer.send(7, upload("known", 10)).await;
    peer.reply(7).await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_chunks_do_not_come_is_dropped() {
    let limits = Limits {
        idle_timeout_ms: 50_000,
        keepalive_interval_ms: 50_000,
        ..Limits::default()
    };
    let mut peer = Peer::welcome(limits).await;
    let began = Instant::now();
    peer.send(1, upload("new", 10)).await;
    ack(&mut peer, 1).await;
    peer.send(1, Message::Chunk(vec![0; 5])).await;
    loop {
        match peer.receive().await.unwrap() {
            (0, Message::Ping(_)) => {}
            (1, Message::Failure(failure)) => {
                assert_eq!(failure.code, ErrorCode::DeadlineExceeded);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(began.elapsed(), Duration::from_secs(50));
    dropped(&peer, 1).await;
}
