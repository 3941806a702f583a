//! Frames over streams in memory, with the clock stopped.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use rpc_host_protocol::assembler::{Assembler, AssemblerLimits, RawMessage, fragments};
use rpc_host_protocol::frame::{
    ExchangeId, FRAGMENT_BYTES, HEADER_BYTES, Kind, MAX_FRAME_PAYLOAD_BYTES,
};
use tokio::io::{AsyncWrite, AsyncWriteExt, duplex};
use tokio::time::{Instant, timeout};

use super::*;
use crate::transport::TransportError;

const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
const WHOLE: AssemblerLimits = AssemblerLimits {
    max_message_bytes: 64 << 20,
    max_buffered_bytes: 256 << 20,
    max_incomplete_messages: 64,
};

fn message(id: u32, bytes: usize) -> RawMessage {
    RawMessage {
        kind: Kind::Reply,
        flags: 0,
        id: ExchangeId(id),
        payload: (0..=250).cycle().take(bytes).collect::<Vec<_>>().into(),
    }
}

fn wire(message: &RawMessage) -> Vec<u8> {
    let frames =
        fragments(message).flat_map(|(header, part)| [&header.encode()[..], part].concat());
    frames.collect()
}

fn reader<R: tokio::io::AsyncRead + Unpin>(stream: R) -> FrameReader<R> {
    FrameReader::new(stream, FRAME_TIMEOUT, MAX_FRAME_PAYLOAD_BYTES)
}

/// The messages of a stream until it ends, in the order in which they are complete.
async fn messages<R: tokio::io::AsyncRead + Unpin>(stream: R) -> Vec<RawMessage> {
    let (mut reader, mut assembler) = (reader(stream), Assembler::new(WHOLE));
    let mut messages = Vec::new();
    while let Some((header, payload)) = reader.next().await.unwrap() {
        messages.extend(assembler.accept(header, &payload).unwrap());
    }
    messages
}

#[tokio::test]
async fn frames_come_out_whole_however_they_are_cut() {
    let sent = [
        message(1, 0),
        message(3, 40),
        message(5, 5000),
        message(7, 40_000),
    ];
    let bytes: Vec<u8> = sent.iter().flat_map(wire).collect();
    for step in [1, 7, 11, 12, 13, 4096, 16 * 1024, bytes.len()] {
        let (mut here, there) = duplex(step);
        let bytes = bytes.clone();
        let writing = tokio::spawn(async move { here.write_all(&bytes).await });
        assert_eq!(messages(there).await, sent, "in steps of {step}");
        writing.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_read_loses_nothing() {
    let bytes = wire(&message(1, 9000));
    let (mut here, there) = duplex(64 * 1024);
    let mut reader = reader(there);
    for part in bytes.chunks(1000) {
        assert!(
            timeout(Duration::from_millis(1), reader.next())
                .await
                .is_err()
        );
        here.write_all(part).await.unwrap();
    }
    let (header, payload) = reader.next().await.unwrap().unwrap();
    assert_eq!(
        (header.id.0, payload),
        (1, message(1, 9000).payload.into_vec())
    );
}

#[tokio::test]
async fn a_reader_holds_little_while_frames_are_few_and_small() {
    let (mut here, there) = duplex(64 * 1024);
    let mut reader = reader(there);
    let mut read = async |count: u32, bytes: usize| {
        let sent: Vec<u8> = (0..count)
            .flat_map(|number| wire(&message(2 * number + 1, bytes)))
            .collect();
        here.write_all(&sent).await.unwrap();
        for _ in 0..count {
            assert_eq!(reader.next().await.unwrap().unwrap().1.len(), bytes);
        }
        let held = reader.held_bytes();
        reader.rest();
        (held, reader.held_bytes())
    };
    assert_eq!(read(1, 40).await, (1024, 0));
    assert_eq!(read(1, 3000).await.1, 0);
    let (held, rested) = read(200, 40).await;
    assert_eq!((held, rested), (16 * 1024, 0), "many at once");
    assert_eq!(read(1, 40).await, (1024, 0), "one by one again");
}

#[tokio::test]
async fn what_is_no_frame_is_an_error() {
    let read = async |bytes: &[u8]| {
        let mut reader = FrameReader::new(bytes, FRAME_TIMEOUT, 4096);
        loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    };
    let good = wire(&message(1, 4096));
    assert!(read(&good).await.is_ok());
    assert!(matches!(
        read(b"GET / HTTP/1.1\r\n").await,
        Err(TransportError::Header(_))
    ));
    for cut in [1, HEADER_BYTES - 1, HEADER_BYTES, good.len() - 1] {
        let end = read(&good[..cut]).await;
        assert!(
            matches!(end, Err(TransportError::Truncated)),
            "{cut}: {end:?}"
        );
    }
    let early = read(&wire(&message(1, 4097))).await;
    assert!(matches!(
        early,
        Err(TransportError::FrameTooEarly {
            length_bytes: 4097,
            max_bytes: 4096
        })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_trickles_ends_the_connection_and_silence_does_not() {
    let (mut here, there) = duplex(64);
    let mut reader = reader(there);
    assert!(
        timeout(Duration::from_secs(3600), reader.next())
            .await
            .is_err(),
        "silence"
    );
    let began = Instant::now();
    let trickle = async {
        for byte in wire(&message(1, 200)) {
            here.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        read = reader.next() => assert!(matches!(read, Err(TransportError::FrameTooSlow)), "{read:?}"),
        () = trickle => {}
    }
    assert!(began.elapsed() < FRAME_TIMEOUT + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_gets_more_time_than_a_small_one() {
    let (mut here, there) = duplex(64 * 1024);
    let mut reader = reader(there);
    let mut bytes = wire(&message(1, 10));
    bytes[..4].copy_from_slice(&65_536_u32.to_be_bytes());
    here.write_all(&bytes).await.unwrap();
    let began = Instant::now();
    assert!(matches!(
        reader.next().await,
        Err(TransportError::FrameTooSlow)
    ));
    assert_eq!(
        began.elapsed().as_secs(),
        (FRAME_TIMEOUT + Duration::from_secs(4)).as_secs()
    );
}

#[tokio::test]
async fn a_long_message_does_not_hold_up_short_ones() {
    let (here, there) = duplex(1024);
    let (outbox, writer) = outbox(here, &Limits::default());
    let writing = tokio::spawn(writer.run());
    let long = [message(1, 1_000_000), message(3, 300_000)];
    for message in &long {
        outbox.send(message.clone()).await.unwrap();
    }
    let mut reader = reader(there);
    reader.next().await.unwrap();
    // Rounds that are on their way end; the next one begins with the short message.
    outbox.send(message(5, 10)).await.unwrap();
    outbox.end();
    let mut assembler = Assembler::new(WHOLE);
    let (mut complete, mut frames) = (Vec::new(), Vec::new());
    while let Some((header, payload)) = reader.next().await.unwrap() {
        frames.push(header.id.0);
        complete.extend(
            assembler
                .accept(header, &payload)
                .ok()
                .flatten()
                .map(|m| m.id.0),
        );
    }
    writing.await.unwrap().unwrap();
    let short = frames.iter().position(|id| *id == 5).unwrap();
    assert!(short <= 8, "{short} frames came before it");
    assert_eq!(complete, [5, 3, 1]);
    let turns = frames.iter().filter(|id| **id != 5).take(30);
    let first = turns.filter(|id| **id == 1).count();
    assert!(
        (14..=16).contains(&first),
        "{first} of 30 fragments are the first one's"
    );
}

#[tokio::test]
async fn messages_of_one_exchange_keep_their_order() {
    let (here, there) = duplex(1024);
    let (outbox, writer) = outbox(here, &Limits::default());
    let sent = [
        message(2, 50_000),
        message(2, 5),
        message(2, 60_000),
        message(2, 6),
        message(4, 7),
    ];
    for message in &sent {
        outbox.send(message.clone()).await.unwrap();
    }
    outbox.end();
    let (written, received) = tokio::join!(writer.run(), messages(there));
    written.unwrap();
    let of_two: Vec<_> = received
        .iter()
        .filter(|message| message.id.0 == 2)
        .collect();
    assert_eq!(of_two, sent[..4].iter().collect::<Vec<_>>());
    assert_eq!(received[0], sent[4], "it had nothing to wait for");
}

#[tokio::test]
async fn what_follows_an_exchange_is_written_after_all_of_it_and_others_overtake_it() {
    let (here, there) = duplex(1024);
    let (outbox, writer) = outbox(here, &Limits::default());
    let writing = tokio::spawn(writer.run());
    outbox.send(message(2, 500_000)).await.unwrap();
    let mut reader = reader(there);
    reader.next().await.unwrap();
    // Left while the long one is being written: what follows it, short and long, and what does not.
    for (id, bytes) in [(0, 5), (0, 40_000), (0, 6)] {
        let following = outbox.send_following(message(id, bytes), ExchangeId(2));
        following.await.unwrap();
    }
    outbox.send(message(0, 7)).await.unwrap();
    outbox.send(message(4, 8)).await.unwrap();
    // What follows an exchange of which nothing is left has nothing to wait for.
    let late = outbox.send_following(message(6, 9), ExchangeId(4));
    late.await.unwrap();
    outbox.end();
    let mut assembler = Assembler::new(WHOLE);
    let mut complete = Vec::new();
    while let Some((header, payload)) = reader.next().await.unwrap() {
        if let Ok(Some(message)) = assembler.accept(header, &payload) {
            complete.push((message.id.0, message.payload.len()));
        }
    }
    writing.await.unwrap().unwrap();
    let expected = [
        (0, 7),
        (4, 8),
        (6, 9),
        // But for the fragment that was read before.
        (2, 500_000 - FRAGMENT_BYTES),
        (0, 5),
        (0, 40_000),
        (0, 6),
    ];
    assert_eq!(complete, expected);
}

/// Whatever they follow: a frame of the one within the other would be taken for its end.
#[tokio::test]
async fn messages_of_one_id_that_follow_different_exchanges_do_not_mix() {
    let (here, there) = duplex(1024);
    let (outbox, writer) = outbox(here, &Limits::default());
    for id in [2, 4] {
        outbox.send(message(id, 100_000)).await.unwrap();
    }
    let left = [
        (70_000, 2),
        (50_000, 4),
        (5, 4),
        (60_000, 6),
        (6, 2),
        (7, 0),
    ];
    for (bytes, follows) in left {
        let following = outbox.send_following(message(0, bytes), ExchangeId(follows));
        following.await.unwrap();
    }
    outbox.end();
    let (written, received) = tokio::join!(writer.run(), messages(there));
    written.unwrap();
    let mut of_connection: Vec<_> = received
        .iter()
        .filter(|one| one.id.0 == 0)
        .map(|one| one.payload.len())
        .collect();
    of_connection.sort_unstable();
    assert_eq!(of_connection, [5, 6, 7, 50_000, 60_000, 70_000]);
    assert!(
        received
            .iter()
            .all(|one| *one == message(one.id.0, one.payload.len()))
    );
}

/// Notes what each write gave it.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<usize>>>);

impl AsyncWrite for Notes {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().push(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn short_messages_that_wait_together_are_written_together() {
    let notes = Notes::default();
    let (outbox, writer) = outbox(notes.clone(), &Limits::default());
    for id in 0..100 {
        outbox.send(message(id, 28)).await.unwrap();
    }
    let writing = tokio::spawn(writer.run());
    tokio::task::yield_now().await;
    assert_eq!(*notes.0.lock().unwrap(), [4000]);
    outbox.send(message(1, 28)).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(
        *notes.0.lock().unwrap(),
        [4000, 40],
        "a lone one does not wait"
    );
    outbox.end();
    writing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_given_up() {
    let (here, _there) = duplex(1024);
    let limits = Limits {
        write_timeout_ms: 30_000,
        ..Limits::default()
    };
    let (outbox, writer) = outbox(here, &limits);
    let writing = tokio::spawn(writer.run());
    outbox.send(message(1, 2000)).await.unwrap();
    let began = Instant::now();
    assert!(matches!(
        writing.await.unwrap(),
        Err(TransportError::WriteTooSlow)
    ));
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(outbox.send(message(3, 1)).await, Err(OutboxClosed));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_lanes_do_not_block_each_other() {
    let waits = async |sending: &mut (dyn Future<Output = Result<(), OutboxClosed>> + Unpin)| {
        timeout(Duration::from_secs(1), sending).await.is_err()
    };
    let (here, there) = duplex(1024);
    let limits = Limits {
        max_queued_bytes_per_session: 100_000,
        ..Limits::default()
    };
    let (outbox, writer) = outbox(here, &limits);
    outbox.send(message(1, 500_000)).await.unwrap();
    let mut second = Box::pin(outbox.send(message(3, 50_000)));
    assert!(
        waits(&mut second).await,
        "one that is over the bound fills all of it"
    );
    let mut short = 0;
    while !waits(&mut Box::pin(outbox.send(message(5, FRAGMENT_BYTES)))).await {
        short += 1;
    }
    assert!((15..=16).contains(&short), "{short}");
    // What was sent and what waited goes out once the peer reads.
    let sending = async {
        second.await.unwrap();
        outbox.send(message(7, 99_000)).await.unwrap();
        outbox.end();
    };
    let (written, received, ()) = tokio::join!(writer.run(), messages(there), sending);
    written.unwrap();
    assert_eq!(received.len(), 3 + short);
    assert_eq!(
        outbox.send(message(9, 1)).await,
        Err(OutboxClosed),
        "it was ended"
    );
}
