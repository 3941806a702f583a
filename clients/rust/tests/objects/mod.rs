//! Objects of either side, against a host that counts what it gives.

mod of_client;

use std::collections::BTreeMap;
use std::sync::Arc;

use rpc_host_client::{Client, Error, Line, Object, OutputStream};
use rpc_host_protocol::cbor::encode_envelope;
use rpc_host_protocol::holding::Given;
use rpc_host_protocol::message::{Beat, CallHeader, Release};
use rpc_host_protocol::operation::{Description, FunctionDescription};
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Message, Operation};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::fake_host::{FakeHost, Peer, welcome};
use crate::{cbor, positional};

/// Runs a test against a host that does what `script` says, and has done so when the test is over.
async fn against<F, T>(
    script: impl FnOnce(Peer) -> F + Send + 'static,
    test: impl AsyncFnOnce(Client) -> T,
) -> T
where
    F: Future<Output = ()> + Send + 'static,
{
    let (done, is_done) = oneshot::channel();
    let script = std::sync::Mutex::new(Some((script, done)));
    let host = FakeHost::start(move |mut peer: Peer, _| {
        let first = script.lock().unwrap().take();
        async move {
            peer.greet(welcome()).await;
            let (script, done) = first.expect("one connection");
            script(peer).await;
            done.send(()).unwrap();
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    // The connection stays until the host has heard what it has to hear.
    let outcome = test(client.clone()).await;
    is_done.await.expect("the host's part went well");
    drop(client);
    outcome
}

impl Peer {
    async fn header(&mut self) -> (ExchangeId, CallHeader, Vec<u8>) {
        match self.receive().await.unwrap() {
            (id, Message::Call { header, arguments }) => (id, header, arguments.into_vec()),
            (_, other) => panic!("{other:?} instead of a call"),
        }
    }

    async fn gives(&mut self, id: ExchangeId, value: impl Serialize) {
        self.reply(id, cbor(value), false).await;
    }

    async fn fails(&mut self, id: ExchangeId) {
        let failure = Failure::new(
            ErrorCode::NotFound,
            Fault::Peer,
            "no object in this session",
        );
        self.send(id, Message::Failure(failure)).await;
    }

    async fn release(&mut self) -> (ExchangeId, BTreeMap<u64, u32>) {
        match self.receive().await.unwrap() {
            (id, Message::Release(Release { handles })) => (id, handles.into_iter().collect()),
            (_, other) => panic!("{other:?} instead of a release"),
        }
    }

    /// The releases that nobody waits for, until this many objects are let go of.
    async fn released(&mut self, count: usize) -> BTreeMap<u64, u32> {
        let mut released = BTreeMap::new();
        while released.len() < count {
            let (id, handles) = self.release().await;
            assert_eq!(id, ExchangeId::CONNECTION);
            released.extend(handles);
        }
        released
    }

    /// That the client says nothing: it answers before it says anything else.
    async fn hears_nothing(&mut self) {
        let beat = Beat { nonce: 1 };
        self.send(ExchangeId::CONNECTION, Message::Ping(beat)).await;
        let (_, message) = self.receive().await.unwrap();
        assert_eq!(message, Message::Pong(beat));
    }
}

fn host(number: u64) -> Handle {
    Handle::Host(number)
}

#[tokio::test]
async fn an_object_is_made_used_and_let_go_of() {
    let script = async |mut peer: Peer| {
        let (id, header, arguments) = peer.header().await;
        assert_eq!(
            header.function,
            "demo:counter/counters@0.1.0.[constructor]counter"
        );
        assert_eq!((header.module.as_str(), header.on), ("counter", None));
        assert_eq!(positional::<(u64,)>(&arguments), (10,));
        peer.gives(id, host(7)).await;

        let (id, header, arguments) = peer.header().await;
        assert_eq!(
            header.function,
            "demo:counter/counters@0.1.0.[method]counter.add"
        );
        assert_eq!((header.module.as_str(), header.on), ("counter", Some(7)));
        assert_eq!(positional::<(Handle, u64)>(&arguments), (host(7), 5));
        assert_eq!(header.timeout_ms, Some(1500));
        peer.reply(id, cbor(Ok::<_, String>(15)), true).await;
        assert_eq!(peer.released(1).await, BTreeMap::from([(7, 1)]));
    };
    against(script, async |client| {
        let module = client.module("counter");
        let counter = module.object("demo:counter/counters@0.1.0.counter", (10,));
        let counter = counter.await.unwrap();
        assert_eq!((counter.number(), counter.module()), (7, "counter"));
        let add = counter
            .method("add")
            .arg(5)
            .timeout(std::time::Duration::from_millis(1500));
        assert_eq!(add.call::<u64>().await.unwrap(), 15);
        let clone = counter.clone();
        assert_eq!(clone, counter);
        drop(counter);
        assert!(clone.is_open());
    })
    .await;
}

#[derive(Debug, Deserialize)]
struct Pair {
    name: String,
    left: Object,
    right: Option<Object>,
    others: Vec<Object>,
    last: Result<Object, String>,
}

#[derive(Serialize)]
struct PairOfHandles {
    name: &'static str,
    left: Handle,
    right: Option<Handle>,
    others: Vec<Handle>,
    last: Result<Handle, String>,
}

fn given() -> PairOfHandles {
    PairOfHandles {
        name: "both",
        left: host(1),
        right: Some(host(2)),
        others: vec![host(3), host(1)],
        last: Ok(host(4)),
    }
}

#[tokio::test]
async fn objects_come_and_go_anywhere_within_a_value() {
    #[derive(Serialize)]
    struct Asked<'a> {
        first: &'a Object,
        others: Vec<&'a Object>,
        none: Option<&'a Object>,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Seen {
        first: Handle,
        others: Vec<Handle>,
        none: Option<Handle>,
    }
    let script = async |mut peer: Peer| {
        let (id, ..) = peer.header().await;
        peer.gives(id, given()).await;
        let (id, header, arguments) = peer.header().await;
        assert_eq!(header.on, Some(1), "where the first of them lives");
        let (seen,): (Seen,) = positional(&arguments);
        let expected = Seen {
            first: host(1),
            others: vec![host(2), host(4)],
            none: None,
        };
        assert_eq!(seen, expected);
        peer.gives(id, ()).await;
        let expected = BTreeMap::from([(1, 2), (2, 1), (3, 1), (4, 1)]);
        assert_eq!(peer.released(4).await, expected);
    };
    against(script, async |client| {
        let module = client.module("counter");
        let pair: Pair = module.call("couple", ()).await.unwrap();
        assert_eq!((pair.name.as_str(), pair.others.len()), ("both", 2));
        assert_eq!(pair.others[1], pair.left);
        assert_ne!(pair.others[0], pair.left);
        let (right, last) = (pair.right.as_ref().unwrap(), pair.last.as_ref().unwrap());
        let asked = Asked {
            first: &pair.left,
            others: vec![right, last],
            none: None,
        };
        module.call::<()>("ask", (asked,)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_nobody_takes_out_of_an_answer_is_let_go_of() {
    #[derive(Deserialize)]
    struct Name {
        #[serde(rename = "name")]
        _name: String,
    }
    let script = async |mut peer: Peer| {
        let all = BTreeMap::from([(1, 2), (2, 1), (3, 1), (4, 1)]);
        for _ in 0..2 {
            let (id, ..) = peer.header().await;
            peer.gives(id, given()).await;
            assert_eq!(peer.released(4).await, all);
        }
        // One that comes too late for anybody.
        let (late, ..) = peer.header().await;
        let (_, message) = peer.receive().await.unwrap();
        assert_eq!(message, Message::Cancel);
        let (id, ..) = peer.header().await;
        peer.gives(late, host(9)).await;
        assert_eq!(peer.released(1).await, BTreeMap::from([(9, 1)]));
        // And one in an error.
        peer.reply(id, cbor(Err::<(), _>(host(8))), true).await;
        let (id, header, _) = peer.header().await;
        assert_eq!(header.on, Some(8));
        peer.gives(id, ()).await;
        assert_eq!(peer.released(1).await, BTreeMap::from([(8, 1)]));
    };
    against(script, async |client| {
        let module = client.module("counter");
        let wrong = module.call::<String>("couple", ()).await.unwrap_err();
        assert!(matches!(wrong, Error::Decode(_)), "{wrong}");
        // A record that has more fields than are asked for is refused, with all that is in it.
        assert!(module.call::<Name>("couple", ()).await.is_err());
        {
            let mut call = Box::pin(module.call::<Object>("late", ()));
            let waker = std::task::Waker::noop();
            assert!(
                call.as_mut()
                    .poll(&mut std::task::Context::from_waker(waker))
                    .is_pending()
            );
        }
        let error = module.call::<()>("fail", ()).await.unwrap_err();
        let Error::Guest(error) = error else {
            panic!("{error}");
        };
        let object: Object = error.value().unwrap();
        drop(error);
        module.call::<()>("look", (object,)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_object_is_held_until_the_call_that_it_is_given_to_is_answered() {
    let script = async |mut peer: Peer| {
        let (id, ..) = peer.header().await;
        peer.gives(id, [host(1), host(2), host(3)]).await;
        let (id, ..) = peer.header().await;
        peer.hears_nothing().await;
        peer.gives(id, ()).await;
        assert_eq!(peer.released(1).await, BTreeMap::from([(1, 1)]));
        // A call that fails has taken nothing.
        let (id, ..) = peer.header().await;
        peer.hears_nothing().await;
        peer.fails(id).await;
        assert_eq!(peer.released(1).await, BTreeMap::from([(2, 1)]));
        // One that nobody waits for is not over before it is answered.
        let (id, ..) = peer.header().await;
        assert_eq!(peer.receive().await.unwrap(), (id, Message::Cancel));
        peer.hears_nothing().await;
        peer.fails(id).await;
        assert_eq!(peer.released(1).await, BTreeMap::from([(3, 1)]));
    };
    against(script, async |client| {
        let module = client.module("counter");
        let [one, two, three]: [Object; 3] = module.call("make", ()).await.unwrap();
        module.call::<()>("consume", (one,)).await.unwrap();
        module.call::<()>("consume", (two,)).await.unwrap_err();
        let mut call = Box::pin(module.call::<()>("consume", (three,)));
        let waker = std::task::Waker::noop();
        assert!(
            call.as_mut()
                .poll(&mut std::task::Context::from_waker(waker))
                .is_pending()
        );
    })
    .await;
}

#[tokio::test]
async fn whoever_closes_an_object_waits_for_its_end_and_closes_it_for_all() {
    let script = async |mut peer: Peer| {
        let (id, ..) = peer.header().await;
        peer.gives(id, [host(7), host(7), host(8)]).await;
        let (id, handles) = peer.release().await;
        assert!(id.is_from_client());
        assert_eq!(handles, BTreeMap::from([(7, 2)]));
        peer.hears_nothing().await;
        peer.gives(id, ()).await;
        // The same number again is another copy.
        let (id, ..) = peer.header().await;
        peer.gives(id, host(7)).await;
        let (id, handles) = peer.release().await;
        assert_eq!(handles, BTreeMap::from([(8, 1)]));
        peer.fails(id).await;
        assert_eq!(peer.released(1).await, BTreeMap::from([(7, 1)]));
    };
    against(script, async |client| {
        let module = client.module("counter");
        let [one, two, other]: [Object; 3] = module.call("make", ()).await.unwrap();
        one.close().await.unwrap();
        assert!(!one.is_open() && !two.is_open() && other.is_open());
        let closed = |error: Error| {
            assert_eq!(error.code(), ErrorCode::FailedPrecondition);
            assert_eq!(
                error.to_string().replace("args[0]: ", ""),
                "object 7 is closed"
            );
        };
        closed(one.close().await.unwrap_err());
        closed(two.close().await.unwrap_err());
        let used = two.method("value").call::<u64>().await.unwrap_err();
        assert_eq!(used.to_string(), "args[0]: object 7 is closed");
        let again: Object = module.call("again", ()).await.unwrap();
        assert!(again.is_open() && !one.is_open());
        drop((one, two));
        let failed = other.close().await.unwrap_err();
        assert_eq!(failed.code(), ErrorCode::NotFound);
        drop(again);
    })
    .await;
}

#[tokio::test]
async fn thousands_that_are_dropped_at_once_are_let_go_of_in_a_few_messages() {
    const MANY: u64 = 20_000;
    let script = async |mut peer: Peer| {
        let (id, ..) = peer.header().await;
        let many: Vec<_> = (1..=MANY).map(host).collect();
        peer.gives(id, many).await;
        let (mut messages, mut released) = (0, BTreeMap::new());
        while released.len() < usize::try_from(MANY).unwrap() {
            released.extend(peer.release().await.1);
            messages += 1;
        }
        assert!(messages < 200, "{messages} messages");
        assert!(
            released
                .into_iter()
                .eq((1..=MANY).map(|number| (number, 1)))
        );
    };
    against(script, async |client| {
        let many: Vec<Object> = client.module("counter").call("make", ()).await.unwrap();
        drop(many);
    })
    .await;
}

#[tokio::test]
async fn the_methods_of_a_module_are_asked_for_once() {
    let script = async |mut peer: Peer| {
        let (id, ..) = peer.header().await;
        peer.gives(id, [host(1), host(2)]).await;
        let function = |name: &str| FunctionDescription {
            interface: Some("a:b/c@0.1.0".to_owned()),
            name: name.to_owned(),
            ..FunctionDescription::default()
        };
        let description = Description {
            functions: vec![
                function("[method]counter.get-value"),
                function("[method]counter.close"),
                function("[method]gate.close"),
            ],
            ..Description::default()
        };
        for number in [1, 2] {
            if number == 1 {
                let (id, message) = peer.receive().await.unwrap();
                let Message::Request(Operation::Describe(asked)) = message else {
                    panic!("{message:?}");
                };
                assert_eq!((asked.name.as_str(), asked.function), ("counter", None));
                peer.reply(id, encode_envelope(&description), false).await;
            }
            let (id, header, _) = peer.header().await;
            assert_eq!(header.function, "a:b/c@0.1.0.[method]counter.get-value");
            assert_eq!(header.on, Some(number));
            peer.gives(id, number).await;
        }
        // Whoever says which resource, or all of it, is not asked about.
        for function in ["[method]gate.close", "counter.close"] {
            let (id, header, _) = peer.header().await;
            assert_eq!(
                (header.function.as_str(), header.module.as_str()),
                (function, "counter")
            );
            peer.gives(id, ()).await;
        }
        // What is not known may be new.
        let (id, message) = peer.receive().await.unwrap();
        assert!(matches!(message, Message::Request(Operation::Describe(_))));
        peer.reply(id, encode_envelope(&description), false).await;
    };
    against(script, async |client| {
        let [one, two]: [Object; 2] = client.module("counter").call("make", ()).await.unwrap();
        assert_eq!(one.call::<u64>("get_value", ()).await.unwrap(), 1);
        assert_eq!(two.call::<u64>("get-value", ()).await.unwrap(), 2);
        let error = one.call::<()>("close", ()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("several resources of counter that have a method `close`"),
            "{text}"
        );
        let gate = one.clone().of_resource("gate");
        gate.call::<()>("close", ()).await.unwrap();
        one.call::<()>("counter.close", ()).await.unwrap();
        let error = one.call::<()>("open", ()).await.unwrap_err();
        assert!(matches!(error, Error::Object { number: 1, .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn objects_of_a_lost_connection_are_gone_and_not_released_on_the_next() {
    let host_side = FakeHost::start(|mut peer: Peer, number| async move {
        peer.greet(welcome()).await;
        let (id, ..) = peer.header().await;
        if number == 0 {
            peer.gives(id, [host(7), host(8)]).await;
            // Gone when the client has its answer.
            peer.header().await;
            return;
        }
        peer.gives(id, host(7)).await;
        let (id, ..) = peer.header().await;
        peer.gives(id, ()).await;
        // That of this connection, and no other.
        assert_eq!(peer.released(1).await, BTreeMap::from([(7, 1)]));
        let (id, ..) = peer.header().await;
        peer.gives(id, ()).await;
    })
    .await;
    let client = Client::connect(host_side.profile()).await.unwrap();
    let module = client.module("counter");
    let [seven, eight]: [Object; 2] = module.call("make", ()).await.unwrap();
    let lost = module.call::<()>("die", ()).await.unwrap_err();
    assert!(matches!(lost, Error::Lost { .. }), "{lost}");
    let gone = seven.close().await.unwrap_err();
    assert_eq!(
        gone.to_string(),
        "object 7 is gone, because its connection has ended; make it anew"
    );
    let gone = eight.call::<u64>("counter.value", ()).await.unwrap_err();
    assert!(gone.to_string().contains("is gone, because"), "{gone}");

    let other: Object = module.call("make", ()).await.unwrap();
    assert_eq!(other.number(), seven.number());
    assert_ne!(other, seven);
    let mixed = module.call::<()>("both", (&other, &eight)).await;
    assert!(
        mixed
            .unwrap_err()
            .to_string()
            .contains("args[1]: object 8 is gone")
    );
    drop((seven, eight));
    module.call::<()>("first", (&other,)).await.unwrap();
    drop(other);
    module.call::<()>("last", ()).await.unwrap();
}

#[tokio::test]
async fn objects_of_two_connections_do_not_meet() {
    let give_one = |mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        let (id, ..) = peer.header().await;
        peer.gives(id, host(7)).await;
        peer.receive().await;
    };
    let (first, second) = (
        FakeHost::start(give_one).await,
        FakeHost::start(give_one).await,
    );
    let first = Client::connect(first.profile()).await.unwrap();
    let second = Client::connect(second.profile()).await.unwrap();
    let one: Object = first.module("counter").call("make", ()).await.unwrap();
    let other: Object = second.module("counter").call("make", ()).await.unwrap();
    assert_ne!(one, other);
    let mixed = first
        .module("counter")
        .call::<()>("both", (&one, &other))
        .await;
    assert_eq!(
        mixed.unwrap_err().to_string(),
        "args[1]: objects of two connections cannot meet in a call"
    );
    let astray = second.module("counter").call::<()>("look", (&one,)).await;
    assert_eq!(
        astray.unwrap_err().to_string(),
        "object 7 is of another connection"
    );
    let astray = second.module("counter").function("look").on(&one);
    assert!(matches!(
        astray.call::<()>().await,
        Err(Error::Object { number: 7, .. })
    ));
    // Nor is an object anything outside of a call.
    assert!(rpc_host_protocol::serde::to_cbor(&one, "value").is_err());
    let seven = cbor(host(7));
    assert!(rpc_host_protocol::serde::from_cbor::<Object>(&seven, "value").is_err());
}

#[tokio::test]
async fn lines_are_shown_in_their_order_and_before_the_answer() {
    let script = async |mut peer: Peer| {
        for end in [true, false] {
            let (id, header, _) = peer.header().await;
            assert!(header.output);
            for (number, stream) in [
                OutputStream::Stdout,
                OutputStream::Stderr,
                OutputStream::Log,
            ]
            .into_iter()
            .cycle()
            .take(300)
            .enumerate()
            {
                let line = Line {
                    stream,
                    text: number.to_string(),
                    level: None,
                    at_ms: None,
                    call: None,
                    lost: None,
                };
                peer.send(id, Message::Output(line)).await;
            }
            match end {
                true => peer.gives(id, 1).await,
                false => peer.fails(id).await,
            }
        }
        let (id, header, _) = peer.header().await;
        assert!(!header.output);
        peer.gives(id, 1).await;
    };
    against(script, async |client| {
        for is_well in [true, false] {
            let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
            let seen = lines.clone();
            let call = client.module("m").function("f");
            let call = call.output(move |line| seen.lock().unwrap().push(line));
            assert_eq!(call.call::<u8>().await.is_ok(), is_well);
            let lines = lines.lock().unwrap();
            assert!(
                lines
                    .iter()
                    .map(|line| &line.text)
                    .eq(&(0..300).map(|n| n.to_string()).collect::<Vec<_>>())
            );
            assert_eq!(lines[1].stream, OutputStream::Stderr);
        }
        client.module("m").call::<u8>("f", ()).await.unwrap();
    })
    .await;
}

/// Four threads take, share, use, pass and drop what a host gives them again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_many_threads_do_with_objects_none_is_lost_and_none_is_left() {
    const TASKS: u64 = 8;
    const ROUNDS: u64 = 400;
    let script = async |mut peer: Peer| {
        let mut given = Given::new(u64::MAX);
        let (mut ended, mut uses) = (0, 0);
        while ended < TASKS || !given.is_empty() {
            match peer.receive().await.unwrap() {
                (id, Message::Call { header, arguments }) => match header.function.as_str() {
                    "share" => {
                        let (of,): (u64,) = positional(&arguments);
                        let number = given.send(of).unwrap();
                        peer.gives(id, vec![host(number); 1]).await;
                    }
                    "use" => {
                        for handle in rpc_host_protocol::cbor::handles(&arguments) {
                            given.get(handle.number()).expect("it is held");
                            uses += 1;
                        }
                        peer.gives(id, ()).await;
                    }
                    "end" => {
                        ended += 1;
                        peer.gives(id, ()).await;
                    }
                    other => panic!("{other}"),
                },
                (id, Message::Release(release)) => {
                    given.release_all(&release.handles).expect("each once");
                    if id != ExchangeId::CONNECTION {
                        peer.gives(id, ()).await;
                    }
                }
                (_, other) => panic!("{other:?}"),
            }
        }
        assert!(uses >= TASKS * ROUNDS, "{uses}");
    };
    against(script, async |client| {
        let tasks = (0..TASKS).map(|task| {
            let module = client.module("counter");
            tokio::spawn(async move {
                let mut kept: Vec<Object> = Vec::new();
                for round in 0..ROUNDS {
                    // Few objects, so that copies of one cross each other.
                    let of = (round * 7 + task) % 3;
                    let [object]: [Object; 1] = module.call("share", (of,)).await.unwrap();
                    module
                        .call::<()>("use", (&object, object.clone()))
                        .await
                        .unwrap();
                    match round % 4 {
                        0 => kept.push(object),
                        1 => drop(std::mem::take(&mut kept)),
                        2 => {
                            let elsewhere = object.clone();
                            std::thread::spawn(move || drop(elsewhere)).join().unwrap();
                        }
                        _ => module.call::<()>("use", (object,)).await.unwrap(),
                    }
                }
                drop(kept);
                module.call::<()>("end", ()).await.unwrap();
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    })
    .await;
}
