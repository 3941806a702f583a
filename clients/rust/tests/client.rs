//! The client against a host that does what each test tells it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it should be"
)]

mod fake_host;
mod objects;
mod provide;
mod streams;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake_host::{FakeHost, Peer, welcome};
use rpc_host_client::{Client, Error, ErrorCode, Failure, Fault, Options, UploadProgress};
use rpc_host_protocol::cbor::encode_envelope;
use rpc_host_protocol::message::{Ack, Beat, CallHeader, Goaway, Welcome};
use rpc_host_protocol::operation::{ModuleEntry, RevisionEntry};
use rpc_host_protocol::serde::{from_cbor, to_cbor};
use rpc_host_protocol::{ExchangeId, Message, Operation};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};

/// Positional arguments as a tuple; there are no named ones.
fn positional<T: DeserializeOwned>(arguments: &[u8]) -> T {
    let (positional, named) = arguments.split_at(arguments.len() - 1);
    assert_eq!(named, [0xa0], "no named arguments");
    from_cbor(positional, "args").unwrap()
}

fn cbor<T: serde::Serialize>(value: T) -> Vec<u8> {
    to_cbor(&value, "value").unwrap()
}

fn unavailable() -> Failure {
    Failure::new(ErrorCode::Unavailable, Fault::Host, "stopping")
}

async fn add(mut peer: Peer) {
    peer.greet(welcome()).await;
    while let Some((id, _, arguments)) = peer.call().await {
        let (a, b): (i64, i64) = positional(&arguments);
        peer.reply(id, cbor(a + b), false).await;
    }
}

#[track_caller]
fn soon<T>(at_most: Duration, since: Instant, value: T) -> T {
    let elapsed = since.elapsed();
    assert!(elapsed < at_most, "took {elapsed:?}");
    value
}

#[test]
fn a_client_can_be_shared() {
    fn shareable<T: Clone + Send + Sync + 'static>() {}
    shareable::<Client>();
    fn sendable<T: Send>(_: T) {}
    let _future = |client: Client| {
        sendable(async move {
            let sum: Result<i64, Error> = client.module("calc").call("add", (2, 3)).await;
            sum
        })
    };
}

#[tokio::test]
async fn a_call_comes_back() {
    let host = FakeHost::start(|peer, _| add(peer)).await;
    let client = Client::connect(host.profile()).await.unwrap();
    let sum: i64 = client.module("calc").call("add", (2, 3)).await.unwrap();
    assert_eq!(sum, 5);
    let sum = client.module("calc").call::<String>("add", (2, 3)).await;
    assert_eq!(
        sum.unwrap_err().to_string(),
        "result: expected a string, got integer `5`"
    );
    let big = (i128::MAX,);
    let error = client
        .module("calc")
        .call::<()>("add", big)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Encode(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_calls_are_under_way_at_once_and_none_is_mixed_up() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(Welcome {
            max_calls_in_flight: 64,
            ..welcome()
        })
        .await;
        loop {
            // Answer in batches, the last one first.
            let mut batch = Vec::new();
            for _ in 0..32 {
                match peer.call().await {
                    Some(call) => batch.push(call),
                    None => return,
                }
            }
            for (id, _, arguments) in batch.into_iter().rev() {
                let (a, b): (i64, i64) = positional(&arguments);
                peer.reply(id, cbor(a + b), false).await;
            }
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let tasks: Vec<_> = (0..3200i64)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let sum: i64 = client.module("calc").call("add", (n, 1)).await.unwrap();
                assert_eq!(sum, n + 1);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_the_host_allows() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(Welcome {
            max_calls_in_flight: 2,
            ..welcome()
        })
        .await;
        let (first, ..) = peer.call().await.unwrap();
        let (second, ..) = peer.call().await.unwrap();
        let third = tokio::time::timeout(Duration::from_millis(100), peer.receive()).await;
        assert!(
            third.is_err(),
            "a third came before one of two was answered"
        );
        peer.reply(first, cbor(1), false).await;
        let (third, ..) = peer.call().await.unwrap();
        peer.reply(second, cbor(2), false).await;
        peer.reply(third, cbor(3), false).await;
        peer.receive().await;
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let call = || async { client.module("m").call::<i64>("f", ()).await.unwrap() };
    let (a, b, c) = tokio::join!(call(), call(), call());
    assert_eq!((a, b, c), (1, 2, 3));
}

#[tokio::test]
async fn guest_errors_are_typed_and_not_failures() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Wrong {
        DivisionByZero,
        OutOfRange { most: u32 },
    }
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        while let Some((id, function, _)) = peer.call().await {
            let value: Result<i64, Wrong> = match function.as_str() {
                "fine" => Ok(1),
                "zero" => Err(Wrong::DivisionByZero),
                _ => Err(Wrong::OutOfRange { most: 9 }),
            };
            peer.reply(id, cbor(value), true).await;
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let calc = client.module("calc");
    assert_eq!(calc.call::<i64>("fine", ()).await.unwrap(), 1);
    assert_eq!(
        calc.call_result::<i64, Wrong>("fine", ()).await.unwrap(),
        Ok(1)
    );
    let outcome = calc.call_result::<i64, Wrong>("zero", ()).await.unwrap();
    assert_eq!(outcome, Err(Wrong::DivisionByZero));
    let error = calc.call::<i64>("range", ()).await.unwrap_err();
    assert_eq!(error.to_string(), "guest error: {out-of-range: {most: 9}}");
    let Error::Guest(error) = error else {
        panic!("{error}");
    };
    assert_eq!(
        error.value::<Wrong>().unwrap(),
        Wrong::OutOfRange { most: 9 }
    );
}

#[tokio::test]
async fn failures_and_options_of_a_call_cross_the_wire() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        let (id, message) = peer.receive().await.unwrap();
        let Message::Call { header, arguments } = message else {
            panic!("{message:?}");
        };
        assert_eq!(header.timeout_ms, Some(1500));
        assert_eq!(
            arguments,
            [&[0x81, 1, 0xa1, 0x63][..], b"z-z", &[3]].concat().into()
        );
        let failure = Failure::new(ErrorCode::Trapped, Fault::Guest, "out of bounds")
            .with_backtrace(["inner".to_owned(), "outer".to_owned()]);
        peer.send(id, Message::Failure(failure)).await;
        peer.receive().await;
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let call = client.module("m").function("f").arg(1).named("z_z", 3);
    let error = call
        .timeout(Duration::from_millis(1500))
        .call::<()>()
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Trapped);
    assert_eq!(error.failure().unwrap().backtrace, ["inner", "outer"]);
}

#[tokio::test]
async fn dropping_a_call_cancels_it_and_keeps_its_slot_until_the_host_is_done() {
    let (seen, mut seen_here) = mpsc::unbounded_channel();
    let host = FakeHost::start(move |mut peer: Peer, _| {
        let seen = seen.clone();
        async move {
            peer.greet(Welcome {
                max_calls_in_flight: 1,
                ..welcome()
            })
            .await;
            let (id, ..) = peer.call().await.unwrap();
            seen.send("call").unwrap();
            assert_eq!(peer.receive().await.unwrap(), (id, Message::Cancel));
            seen.send("cancel").unwrap();
            let early = tokio::time::timeout(Duration::from_millis(50), peer.receive()).await;
            assert!(early.is_err());
            let failure = Failure::new(ErrorCode::Cancelled, Fault::Peer, "cancelled");
            peer.send(id, Message::Failure(failure)).await;
            let (id, ..) = peer.call().await.unwrap();
            peer.reply(id, cbor(7), false).await;
            peer.receive().await;
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let module = client.module("m");
    let call = tokio::spawn(async move { module.call::<i64>("f", ()).await });
    assert_eq!(seen_here.recv().await, Some("call"));
    call.abort();
    assert_eq!(seen_here.recv().await, Some("cancel"));
    assert_eq!(client.module("m").call::<i64>("f", ()).await.unwrap(), 7);
}

#[tokio::test]
async fn a_silent_host_does_not_hold_a_call_with_a_timeout() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        while peer.receive().await.is_some() {}
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let since = Instant::now();
    let call = client
        .module("m")
        .function("f")
        .timeout(Duration::from_millis(10));
    let error = call.call::<()>().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    soon(Duration::from_secs(5), since, ());
}

#[tokio::test]
async fn a_large_message_lets_a_small_one_pass_both_ways() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        let mut order = Vec::new();
        while let Some((id, function, arguments)) = peer.call().await {
            order.push(function.clone());
            match function.as_str() {
                "echo" => {
                    let bytes = arguments[1..arguments.len() - 1].to_vec();
                    peer.reply(id, bytes, false).await;
                }
                _ => peer.reply(id, cbor(order.clone()), false).await,
            }
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let data: Vec<u8> = (0..=255).cycle().take(12 << 20).collect();
    let module = client.module("m");
    let large = module.call::<Vec<u8>>("echo", (&data,));
    let small = async {
        tokio::task::yield_now().await;
        module.call::<Vec<String>>("small", ()).await.unwrap()
    };
    let (large, order) = tokio::join!(large, small);
    assert!(large.unwrap() == data);
    assert_eq!(
        order,
        ["small"],
        "the small call was complete before the large one"
    );
}

#[tokio::test]
async fn large_messages_together_stay_within_what_one_may_be() {
    // The fake host's assembler refuses more than 16 MiB of incomplete messages.
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        while let Some((id, _, arguments)) = peer.call().await {
            peer.reply(id, cbor(arguments.len()), false).await;
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let data = Arc::new(vec![1u8; 3 << 20]);
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let (client, data) = (client.clone(), data.clone());
            tokio::spawn(async move { client.module("m").call::<u64>("f", (&*data,)).await })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().unwrap() > 3 << 20);
    }
    let too_large = vec![1u8; 17 << 20];
    let error = client
        .module("m")
        .call::<u64>("f", (&too_large,))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("messages of 16777216 at most"),
        "{error}"
    );
    assert_eq!(client.module("m").call::<u64>("f", ()).await.unwrap(), 2);
}

#[tokio::test]
async fn an_upload_keeps_to_its_window_and_tells_how_far_it_is() {
    const WINDOW: u64 = 100_000;
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        let (id, message) = peer.receive().await.unwrap();
        let Message::Upload(header) = message else {
            panic!("{message:?}");
        };
        let mut received = Vec::new();
        let mut acked = 0;
        while (received.len() as u64) < header.size_bytes {
            let ack = Ack {
                received_bytes: acked,
                window_bytes: WINDOW,
            };
            peer.send(id, Message::Ack(ack)).await;
            while received.len() as u64 != (acked + WINDOW).min(header.size_bytes) {
                match peer.receive().await.unwrap() {
                    (_, Message::Chunk(bytes)) => received.extend_from_slice(&bytes),
                    (_, other) => panic!("{other:?}"),
                }
            }
            acked = received.len() as u64;
        }
        let entry = ModuleEntry {
            digest: header.digest,
            size_bytes: header.size_bytes,
            already_known: false,
        };
        peer.reply(id, encode_envelope(&entry), false).await;
        let (id, message) = peer.receive().await.unwrap();
        let Message::Request(Operation::Register(register)) = message else {
            panic!("{message:?}");
        };
        let revision = RevisionEntry {
            name: register.name,
            revision: 1,
            digest: register.digest,
            grants: register.grants,
            limits: register.limits,
            bindings: register.bindings,
            sealed: register.sealed,
            instancing: register.instancing,
            restores: None,
            created_at_ms: 0,
            created_by: "t1".to_owned(),
        };
        peer.reply(id, encode_envelope(&revision), false).await;
        peer.receive().await;
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let wasm = vec![1; 350_000];
    let mut steps = Vec::new();
    let module = client
        .upload_module_with_progress(&wasm, |step| steps.push(step))
        .await
        .unwrap();
    assert!(module.digest().starts_with("sha256:") && !module.was_known());
    let sending = |received_bytes| UploadProgress::Sending {
        received_bytes,
        size_bytes: 350_000,
    };
    assert_eq!(
        steps,
        [
            sending(0),
            sending(100_000),
            sending(200_000),
            sending(300_000),
            UploadProgress::Compiling
        ]
    );
    let options = Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    };
    let revision = client.register("calc", &module, options).await.unwrap();
    assert_eq!(
        (revision.revision, revision.grants),
        (1, vec!["log".to_owned()])
    );
}

#[tokio::test]
async fn a_refused_upload_stops_at_once() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        let (id, _) = peer.receive().await.unwrap();
        let ack = Ack {
            received_bytes: 0,
            window_bytes: 1 << 20,
        };
        peer.send(id, Message::Ack(ack)).await;
        peer.receive().await.unwrap();
        let failure = Failure::new(ErrorCode::InvalidArgument, Fault::Peer, "no component");
        peer.send(id, Message::Failure(failure)).await;
        while let Some((id, message)) = peer.receive().await {
            match message {
                Message::Chunk(_) => {}
                Message::Call { .. } => peer.reply(id, cbor(1), false).await,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let error = client.upload_module(vec![0; 5 << 20]).await.unwrap_err();
    assert_eq!(error.to_string(), "invalid-argument: no component");
    assert_eq!(client.module("m").call::<i64>("f", ()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_lost_connection_fails_what_is_under_way_and_the_next_call_connects_anew() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let calls_here = calls.clone();
    let host = FakeHost::start(move |mut peer: Peer, number| {
        let calls = calls_here.clone();
        async move {
            peer.greet(welcome()).await;
            while let Some((id, function, _)) = peer.call().await {
                calls.lock().unwrap().push((number, function));
                if number == 0 {
                    return;
                }
                peer.reply(id, cbor(1), false).await;
            }
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let module = client.module("m");
    let error = module.call::<i64>("first", ()).await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    assert_eq!(module.call::<i64>("second", ()).await.unwrap(), 1);
    let calls = calls.lock().unwrap().clone();
    let expected = [(0, "first".to_owned()), (1, "second".to_owned())];
    assert_eq!(calls, expected, "no call is made twice");
}

#[tokio::test]
async fn attempts_to_connect_keep_their_distance() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let host = FakeHost::start(move |mut peer: Peer, number| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if number == 0 {
                peer.greet(welcome()).await;
                peer.call().await;
            }
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let module = client.module("m");
    let until = Instant::now() + Duration::from_millis(250);
    let mut failed = 0;
    while Instant::now() < until {
        assert!(module.call::<i64>("f", ()).await.is_err());
        failed += 1;
        tokio::task::yield_now().await;
    }
    // 0 connects; then at about 0, 100 and (not yet) 300 ms.
    let attempts = attempts.load(Ordering::SeqCst);
    assert!(
        (2..=4).contains(&attempts),
        "{attempts} attempts for {failed} calls"
    );
    assert!(failed > 10);
}

#[tokio::test]
async fn a_host_that_goes_away_gets_no_new_calls_but_ends_the_old_ones() {
    let said = Arc::new(Notify::new());
    let said_there = said.clone();
    let host = FakeHost::start(move |mut peer: Peer, _| {
        let said = said_there.clone();
        async move {
            peer.greet(welcome()).await;
            let (id, ..) = peer.call().await.unwrap();
            let goaway = Message::Goaway(Goaway {
                failure: unavailable(),
            });
            peer.send(ExchangeId::CONNECTION, goaway).await;
            said.notified().await;
            peer.reply(id, cbor(1), false).await;
            assert!(peer.receive().await.is_none(), "no call after goaway");
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let module = client.module("m");
    let first = tokio::spawn({
        let module = module.clone();
        async move { module.call::<i64>("f", ()).await }
    });
    let since = Instant::now();
    let error = loop {
        // Until the goaway is here, the call would be made; with a call cancelled at once it is not.
        tokio::time::sleep(Duration::from_millis(20)).await;
        match tokio::time::timeout(Duration::ZERO, client.list()).await {
            Ok(Err(error)) => break error,
            _ => soon(Duration::from_secs(5), since, ()),
        }
    };
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(matches!(error, Error::Remote(_)), "{error}");
    said.notify_one();
    assert_eq!(first.await.unwrap().unwrap(), 1);
    drop((client, module));
}

#[tokio::test]
async fn pings_keep_a_silent_connection_alive_and_find_a_dead_one() {
    let silent = Arc::new(Notify::new());
    let silent_there = silent.clone();
    let host = FakeHost::start(move |mut peer: Peer, number| {
        let silent = silent_there.clone();
        async move {
            peer.greet(Welcome {
                idle_timeout_ms: 300,
                ..welcome()
            })
            .await;
            if number == 0 {
                for _ in 0..4 {
                    let (id, message) = peer.receive().await.unwrap();
                    let Message::Ping(beat) = message else {
                        panic!("{message:?}");
                    };
                    peer.send(id, Message::Pong(beat)).await;
                }
                silent.notify_one();
            }
            std::future::pending::<()>().await;
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    silent.notified().await;
    let since = Instant::now();
    let error = client.module("m").call::<()>("f", ()).await.unwrap_err();
    assert!(error.to_string().contains("not a sign of life"), "{error}");
    soon(Duration::from_secs(3), since, ());
}

#[tokio::test]
async fn the_hosts_pings_are_answered() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        let beat = Beat { nonce: u64::MAX };
        peer.send(ExchangeId::CONNECTION, Message::Ping(beat)).await;
        assert_eq!(
            peer.receive().await.unwrap(),
            (ExchangeId::CONNECTION, Message::Pong(beat))
        );
        let (id, ..) = peer.call().await.unwrap();
        peer.reply(id, cbor(1), false).await;
        peer.receive().await;
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(client.module("m").call::<i64>("f", ()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_host_that_breaks_the_protocol_is_left() {
    for (name, id, message) in [
        (
            "answered what was not asked",
            9,
            Message::Reply {
                value: vec![0xf6],
                is_result: false,
            },
        ),
        ("sent a welcome", 0, Message::Welcome(welcome())),
        ("unavailable: stopping", 0, Message::Failure(unavailable())),
        (
            "malformed failure",
            1,
            Message::Reply {
                value: vec![],
                is_result: false,
            },
        ),
    ] {
        let sent = message.clone();
        let host = FakeHost::start(move |mut peer: Peer, _| {
            let message = sent.clone();
            async move {
                peer.greet(welcome()).await;
                peer.call().await.unwrap();
                if name.starts_with("malformed") {
                    peer.send_frame([0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 0, 1], &[0xff])
                        .await;
                } else {
                    peer.send(ExchangeId(id), message).await;
                }
                assert!(peer.receive().await.is_none());
            }
        })
        .await;
        let client = Client::connect(host.profile()).await.unwrap();
        let error = client.module("m").call::<()>("f", ()).await.unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// What a host sends that wants to fill the client's memory ends the connection instead.
async fn left_by_its_client<F>(flood: impl Fn(Peer) -> F + Send + Sync + Clone + 'static) -> Error
where
    F: Future<Output = ()> + Send + 'static,
{
    let host = FakeHost::start(move |mut peer: Peer, _| {
        let flood = flood.clone();
        async move {
            let welcome = Welcome {
                max_calls_in_flight: u32::MAX,
                ..welcome()
            };
            peer.greet(welcome).await;
            peer.call().await.unwrap();
            flood(peer).await;
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let module = client.module("m");
    let answer = module.call::<()>("f", ());
    let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
    answer.expect("the flood is noticed").unwrap_err()
}

#[tokio::test]
async fn a_host_that_begins_messages_without_end_is_left() {
    let error = left_by_its_client(|mut peer| async move {
        let frame = |id: u32| {
            let [a, b, c, d] = id.to_be_bytes();
            [0, 0, 0, 0, 4, 1, 0, 0, a, b, c, d]
        };
        let frames: Vec<u8> = (2..100_000).flat_map(frame).collect();
        peer.send_frame(frame(1), &frames).await;
        peer.receive().await;
    })
    .await;
    assert!(error.to_string().contains("incomplete at once"), "{error}");
}

#[tokio::test]
async fn a_host_that_calls_without_reading_the_answers_is_left() {
    let error = left_by_its_client(|mut peer| async move {
        let call = Message::Call {
            header: CallHeader {
                module: String::new(),
                function: String::new(),
                ..CallHeader::default()
            },
            arguments: vec![0x80, 0xa0].into(),
        };
        for id in (2..1_000_000).step_by(2) {
            peer.send(ExchangeId(id), call.clone()).await;
        }
        peer.receive().await;
    })
    .await;
    assert!(error.to_string().contains("calls without end"), "{error}");
}

#[tokio::test]
async fn only_the_host_of_the_profile_is_believed() {
    let host = FakeHost::start(|peer, _| add(peer)).await;
    let other = FakeHost::start(|peer, _| add(peer)).await;
    let error = Client::connect(host.profile().ca_pem(&other.ca_pem))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    let error = Client::connect(host.profile().server_name("elsewhere"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    for bad in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let error = Client::connect(host.profile().ca_pem(bad))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Profile(_)), "{error}");
    }
    host.stop_listening();
    tokio::task::yield_now().await;
    let error = Client::connect(host.profile()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_its_own_error() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.receive().await.unwrap();
        let failure = Failure::new(ErrorCode::Unauthenticated, Fault::Peer, "no valid token");
        peer.send(ExchangeId::CONNECTION, Message::Failure(failure))
            .await;
    })
    .await;
    let error = Client::connect(host.profile()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated(_)), "{error}");
    assert_eq!(error.to_string(), "unauthenticated: no valid token");
}
