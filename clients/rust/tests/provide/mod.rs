//! Names that the client serves, to a host that does what each test tells it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rpc_host_client::provider::Answer;
use rpc_host_client::{
    Client, Error, ErrorCode, Failure, Fallback, Fault, Incoming, Lease, Lost, Options,
    ProviderError, Scope,
};
use rpc_host_protocol::cbor::encode_envelope;
use rpc_host_protocol::message::{CallHeader, Lapse, Leased, Provide, Welcome, Withdraw};
use rpc_host_protocol::operation::{FunctionDescription, ModuleEntry, Operation, ProviderEntry};
use rpc_host_protocol::types::{ResultType, Signature, Type};
use rpc_host_protocol::{ExchangeId, Message};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, OnceCell, Semaphore, mpsc, oneshot};

use crate::cbor;
use crate::fake_host::{FakeHost, Peer, welcome};

const NAME: &str = "acme:log/logger";
const LEASE: u64 = 7;

fn functions() -> Vec<FunctionDescription> {
    let function = |name: &str, result| FunctionDescription {
        interface: Some("acme:log/logger@0.1.0".to_owned()),
        name: name.to_owned(),
        signature: Signature {
            parameters: Vec::new(),
            result,
        },
        undescribed: None,
        docs: None,
    };
    let result = ResultType {
        ok: Some(Arc::new(Type::Bool)),
        err: Some(Arc::new(Type::String)),
    };
    vec![
        function("log-line", None),
        function("check", Some(Type::Result(result))),
        function("count", Some(Type::U32)),
    ]
}

fn leased(provide: &Provide, functions: Vec<FunctionDescription>) -> Vec<u8> {
    encode_envelope(&Leased {
        lease: LEASE,
        lease_ms: provide.lease_ms,
        window: provide.window,
        functions,
    })
}

impl Peer {
    /// Greets, and grants the first offer.
    async fn grant(&mut self) -> Provide {
        self.greet(welcome()).await;
        let (id, message) = self.receive().await.unwrap();
        let Message::Provide(provide) = message else {
            panic!("{message:?} instead of an offer");
        };
        let value = leased(&provide, functions());
        self.reply(id, value, false).await;
        provide
    }

    async fn call_client(&mut self, id: u32, function: &str, arguments: impl Serialize) {
        self.call_lease(id, LEASE, function, arguments).await;
    }

    async fn call_lease(&mut self, id: u32, lease: u64, function: &str, arguments: impl Serialize) {
        let header = CallHeader {
            module: NAME.to_owned(),
            function: function.to_owned(),
            timeout_ms: Some(60_000),
            lease: Some(lease),
            ..CallHeader::default()
        };
        let mut arguments = cbor(arguments);
        arguments.push(0xa0);
        self.send(ExchangeId(id), Message::call(header, arguments))
            .await;
    }

    /// The answer to a call, whichever comes next.
    async fn answer<T: DeserializeOwned>(&mut self) -> (u32, Result<(T, bool), Failure>) {
        let (id, message) = self.receive().await.unwrap();
        match message {
            Message::Reply { value, is_result } => {
                let value = rpc_host_protocol::serde::from_cbor(&value, "answer").unwrap();
                (id.0, Ok((value, is_result)))
            }
            Message::Failure(failure) => (id.0, Err(failure)),
            other => panic!("{other:?} instead of an answer"),
        }
    }

    async fn failure(&mut self) -> (u32, ErrorCode, String) {
        let (id, answer) = self.answer::<()>().await;
        let failure = answer.unwrap_err();
        (id, failure.code, failure.message)
    }
}

/// A host that grants the first offer of its first connection and then does what the test says. The test
/// ends when it has.
async fn provided<F, S, P>(script: S, provide: impl FnOnce(Client) -> P) -> (Client, Lease)
where
    F: Future<Output = ()> + Send + 'static,
    S: FnOnce(Peer) -> F + Send + 'static,
    P: Future<Output = Result<Lease, Error>>,
{
    let script = std::sync::Mutex::new(Some(script));
    let host = FakeHost::start(move |mut peer: Peer, _| {
        let script = script.lock().unwrap().take();
        async move {
            peer.grant().await;
            script.expect("one connection")(peer).await;
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let lease = provide(client.clone()).await.unwrap();
    (client, lease)
}

/// Runs the host's side of a test to its end, over a lease that lives as long.
async fn serve<M, F>(
    implementation: impl rpc_host_client::provider::IntoProvider<M>,
    window: u32,
    script: impl FnOnce(Peer) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (done, is_done) = oneshot::channel();
    let script = async move |peer: Peer| {
        script(peer).await;
        done.send(()).unwrap();
    };
    let _held = provided(script, |client| {
        client
            .provision(NAME, implementation)
            .window(window)
            .start()
    })
    .await;
    let is_done = tokio::time::timeout(Duration::from_secs(30), is_done).await;
    is_done
        .expect("the host's side takes too long")
        .expect("the host's side failed");
}

rpc_host_client::interface! {
    /// Takes lines.
    pub(crate) trait Logger {
        /// Adds one.
        async fn log_line(&self, level: String, message: String);
        async fn check(&self, token: String) -> Result<bool, String>;
        async fn count(&self) -> Result<u32, ProviderError>;
    }
}

rpc_host_client::interface! {
    trait Other {
        async fn nothing(&self);
    }
}

#[derive(Default)]
struct Lines(AtomicUsize);

impl Logger for Lines {
    async fn log_line(&self, level: String, message: String) {
        assert_eq!((level.as_str(), message.as_str()), ("info", "hello"));
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    async fn check(&self, token: String) -> Result<bool, String> {
        match token.as_str() {
            "good" => Ok(true),
            _ => Err(format!("{token} is no token")),
        }
    }

    async fn count(&self) -> Result<u32, ProviderError> {
        match self.0.load(Ordering::Relaxed) {
            0 => Err(ProviderError::new("nothing yet").with_code(ErrorCode::Unavailable)),
            lines => Ok(u32::try_from(lines)?),
        }
    }
}

struct Idle;

impl Other for Idle {
    async fn nothing(&self) {}
}

#[tokio::test]
async fn a_trait_serves_an_interface() {
    let script = async |mut peer: Peer| {
        peer.call_client(2, "count", [(); 0]).await;
        let (id, code, message) = peer.failure().await;
        assert_eq!(
            (id, code, message.as_str()),
            (2, ErrorCode::Unavailable, "nothing yet")
        );
        peer.call_client(4, "log-line", ("info", "hello")).await;
        assert_eq!(peer.answer::<()>().await, (4, Ok(((), false))));
        peer.call_client(6, "acme:log/logger@0.1.0.count", [(); 0])
            .await;
        assert_eq!(peer.answer::<u32>().await, (6, Ok((1, false))));
        peer.call_client(8, "check", ("good",)).await;
        let ok: Result<bool, String> = Ok(true);
        assert_eq!(peer.answer().await, (8, Ok((ok, true))));
        peer.call_client(10, "check", ("bad",)).await;
        let err: Result<bool, String> = Err("bad is no token".to_owned());
        assert_eq!(peer.answer().await, (10, Ok((err, true))));

        peer.call_client(12, "check", (7,)).await;
        let (_, code, message) = peer.failure().await;
        assert_eq!(code, ErrorCode::InvalidArgument);
        assert!(message.contains("args[0]: expected"), "{message}");
        peer.call_client(14, "reset", [(); 0]).await;
        let (_, code, message) = peer.failure().await;
        assert_eq!(code, ErrorCode::Unimplemented);
        assert!(message.contains("has no reset"), "{message}");
    };
    serve(Lines::default(), 4, script).await;
}

#[tokio::test]
async fn a_closure_is_told_everything() {
    let script = async |mut peer: Peer| {
        peer.call_client(2, "check", ("a", 5)).await;
        let answer: Result<u8, ()> = Ok(5);
        assert_eq!(peer.answer().await, (2, Ok((answer, true))));
        peer.call_client(4, "count", [(); 0]).await;
        assert_eq!(peer.answer::<u32>().await, (4, Ok((9, false))));
        peer.call_client(6, "log-line", [(); 0]).await;
        let (_, answer) = peer.answer::<()>().await;
        let failure = answer.unwrap_err();
        assert_eq!(failure.fault, Fault::Application);
        assert_eq!(failure.code, ErrorCode::Unknown);
        assert_eq!(failure.message, "invalid digit found in string");
    };
    let closure = |call: Incoming| async move {
        assert_eq!(call.name(), NAME);
        assert_eq!(call.interface(), Some("acme:log/logger@0.1.0"));
        let left = call.time_left().unwrap();
        assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30));
        match call.function() {
            "check" => {
                assert_eq!(call.raw_args(), [0x82, 0x61, b'a', 5, 0xa0]);
                assert!(call.signature().unwrap().returns_result());
                let (_, number) = call.args::<(String, u8)>()?;
                Answer::of(&Ok::<u8, ()>(number))
            }
            "count" => Ok(Answer::raw(vec![9])),
            other => Ok(Answer::of(&other.parse::<u8>()?)?),
        }
    };
    serve(closure, 4, script).await;
}

#[tokio::test]
async fn what_is_offered_crosses_the_wire() {
    let (seen, mut offers) = mpsc::unbounded_channel();
    let host = FakeHost::start(move |mut peer: Peer, _| {
        let seen = seen.clone();
        async move {
            seen.send(peer.grant().await).unwrap();
            let (id, _) = peer.receive().await.unwrap();
            peer.reply(id, cbor(()), false).await;
            let (id, message) = peer.receive().await.unwrap();
            let Message::Provide(provide) = message else {
                panic!("{message:?}");
            };
            seen.send(provide).unwrap();
            let failure = Failure::new(ErrorCode::PermissionDenied, Fault::Peer, "deployers only");
            peer.send(id, Message::Failure(failure)).await;
            assert_eq!(peer.receive().await, None);
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let lease = client.provide(NAME, Idle, Scope::Session).await.unwrap();
    assert_eq!(
        offers.recv().await.unwrap(),
        Provide {
            name: NAME.to_owned(),
            scope: Scope::Session,
            lease_ms: 10_000,
            window: 16,
            fallback: Fallback::Previous,
            wit: None,
        }
    );
    assert_eq!((lease.name(), lease.number()), (NAME, LEASE));
    assert_eq!(lease.duration(), Duration::from_secs(10));
    assert_eq!(lease.window(), 16);
    assert_eq!(lease.functions(), functions());
    assert!(lease.loss().is_none());
    lease.withdraw().await.unwrap();
    let provision = client
        .provision(NAME, Idle)
        .scope(Scope::Tenant)
        .lease(Duration::from_millis(1500))
        .window(2)
        .fallback(Fallback::Error)
        .wit("interface i {}");
    let error = provision.start().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::PermissionDenied);
    assert_eq!(
        offers.recv().await.unwrap(),
        Provide {
            name: NAME.to_owned(),
            scope: Scope::Tenant,
            lease_ms: 1500,
            window: 2,
            fallback: Fallback::Error,
            wit: Some("interface i {}".to_owned()),
        }
    );
    for window in [0, 1025] {
        let error = client.provision(NAME, Idle).window(window).start().await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("is not from 1 to 1024"), "{error}");
    }
}

#[tokio::test]
async fn calls_are_served_side_by_side_up_to_the_window() {
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    let closure = move |call: Incoming| {
        let gate = gate.clone();
        async move {
            if call.function() == "count" {
                gate.acquire().await.unwrap().forget();
            }
            call.args::<(u32,)>().map(|(number,)| number)
        }
    };
    let script = async move |mut peer: Peer| {
        for id in [2, 4] {
            peer.call_client(id, "count", (id,)).await;
        }
        peer.call_client(6, "other", (6,)).await;
        assert_eq!(peer.answer::<u32>().await, (6, Ok((6, false))));
        peer.call_client(8, "count", (8,)).await;
        peer.call_client(10, "count", (10,)).await;
        let (id, code, _) = peer.failure().await;
        assert_eq!((id, code), (10, ErrorCode::ResourceExhausted));
        open.add_permits(3);
        let mut answered = Vec::new();
        for _ in 0..3 {
            let (id, answer) = peer.answer::<u32>().await;
            assert_eq!(answer, Ok((id, false)));
            answered.push(id);
        }
        answered.sort_unstable();
        assert_eq!(answered, [2, 4, 8]);
        peer.call_client(12, "other", (12,)).await;
        assert_eq!(peer.answer::<u32>().await, (12, Ok((12, false))));
    };
    serve(closure, 3, script).await;
}

/// Says when it is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _nobody_listens = self.0.send(());
    }
}

#[tokio::test]
async fn a_call_that_the_host_cancels_is_dropped_and_answered_once() {
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let closure = move |call: Incoming| {
        let dropped = dropped.clone();
        async move {
            if call.function() == "count" {
                let _dropped = Dropped(dropped);
                std::future::pending::<()>().await;
            }
        }
    };
    let script = async move |mut peer: Peer| {
        for id in (2..20).step_by(2) {
            peer.call_client(id, "count", [(); 0]).await;
            peer.send(ExchangeId(id), Message::Cancel).await;
            let (answered, code, _) = peer.failure().await;
            assert_eq!((answered, code), (id, ErrorCode::Cancelled));
            // It may have been cancelled before it began.
            while drops.try_recv().is_ok() {}
        }
        peer.call_client(20, "log-line", [(); 0]).await;
        assert_eq!(peer.answer::<()>().await, (20, Ok(((), false))));
        // One that meets the answer is ignored.
        peer.send(ExchangeId(20), Message::Cancel).await;
        peer.call_client(22, "log-line", [(); 0]).await;
        assert_eq!(peer.answer::<()>().await, (22, Ok(((), false))));
    };
    serve(closure, 1, script).await;
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_call_alone() {
    let closure = |call: Incoming| async move {
        assert_ne!(call.function(), "count", "it counts");
        1
    };
    let script = async |mut peer: Peer| {
        peer.call_client(2, "count", [(); 0]).await;
        let (id, code, message) = peer.failure().await;
        assert_eq!((id, code), (2, ErrorCode::Unknown));
        assert!(
            message.contains("panicked") && message.contains("it counts"),
            "{message}"
        );
        peer.call_client(4, "other", [(); 0]).await;
        assert_eq!(peer.answer::<u8>().await, (4, Ok((1, false))));
    };
    serve(closure, 1, script).await;
}

#[tokio::test]
async fn a_long_answer_lets_a_short_one_pass_and_one_over_the_limit_is_a_failure() {
    let closure = |call: Incoming| async move {
        let (bytes,): (usize,) = call.args()?;
        Ok::<_, ProviderError>(vec![1u8; bytes])
    };
    let script = async |mut peer: Peer| {
        peer.call_client(2, "f", (12 << 20,)).await;
        peer.call_client(4, "f", (1,)).await;
        assert_eq!(peer.answer().await, (4, Ok((vec![1u8], false))));
        let (id, answer) = peer.answer::<Vec<u8>>().await;
        assert_eq!((id, answer.unwrap().0.len()), (2, 12 << 20));
        peer.call_client(6, "f", (17 << 20,)).await;
        let (id, code, message) = peer.failure().await;
        assert_eq!((id, code), (6, ErrorCode::ResourceExhausted));
        assert!(message.contains("the answer is too long"), "{message}");
    };
    serve(closure, 4, script).await;
}

#[tokio::test]
async fn a_lapse_ends_a_lease_and_lets_its_calls_go_on() {
    let gate = Arc::new(Notify::new());
    let open = gate.clone();
    let closure = move |_: Incoming| {
        let gate = gate.clone();
        async move { gate.notified().await }
    };
    let (done, is_done) = oneshot::channel();
    let script = async move |mut peer: Peer| {
        peer.call_client(2, "log-line", [(); 0]).await;
        let lapse = |lease| Lapse {
            name: NAME.to_owned(),
            lease,
            failure: Failure::new(ErrorCode::ProviderLost, Fault::Peer, "stolen"),
        };
        for lease in [LEASE, LEASE + 1] {
            let lapse = Message::Lapse(lapse(lease));
            peer.send(ExchangeId::CONNECTION, lapse).await;
        }
        peer.call_client(4, "log-line", [(); 0]).await;
        let (id, code, _) = peer.failure().await;
        assert_eq!((id, code), (4, ErrorCode::Unimplemented));
        open.notify_one();
        assert_eq!(peer.answer::<()>().await, (2, Ok(((), false))));
        done.send(()).unwrap();
        // Nothing is said about a lease that is over.
        assert_eq!(peer.receive().await, None);
    };
    let provide = async |client: Client| client.provide(NAME, closure, Scope::Session).await;
    let (client, lease) = provided(script, provide).await;
    let lost = lease.lost().await;
    assert!(matches!(&lost, Lost::Lapsed(failure) if failure.message == "stolen"));
    assert_eq!(lost.to_string(), "provider-lost: stolen");
    assert!(lease.loss().is_some());
    is_done.await.unwrap();
    lease.withdraw().await.unwrap();
    drop(client);
}

#[tokio::test]
async fn a_lost_connection_ends_its_leases_and_calls() {
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let closure = move |_: Incoming| {
        let dropped = Dropped(dropped.clone());
        async move {
            let _dropped = dropped;
            std::future::pending::<()>().await;
        }
    };
    let script = async |mut peer: Peer| {
        peer.call_client(2, "log-line", [(); 0]).await;
        peer.call_lease(4, LEASE + 1, "log-line", [(); 0]).await;
        let (id, code, _) = peer.failure().await;
        assert_eq!((id, code), (4, ErrorCode::Unimplemented));
    };
    let provide = async |client: Client| client.provide(NAME, closure, Scope::Session).await;
    let (_client, lease) = provided(script, provide).await;
    let lost = lease.lost().await;
    assert!(
        matches!(lost, Lost::Connection(Error::Lost { .. })),
        "{lost}"
    );
    drops.recv().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_is_dropped_is_withdrawn_and_served_until_the_host_knows() {
    let (refused, is_refused) = oneshot::channel();
    let (done, is_done) = oneshot::channel();
    let script = async move |mut peer: Peer| {
        let (id, message) = peer.receive().await.unwrap();
        let expected = Withdraw {
            name: NAME.to_owned(),
            lease: Some(LEASE),
            steal: false,
        };
        assert_eq!(message, Message::Withdraw(expected));
        peer.call_client(2, "log-line", [(); 0]).await;
        assert_eq!(peer.answer::<()>().await, (2, Ok(((), false))));
        peer.reply(id, cbor(()), false).await;
        peer.call_client(4, "log-line", [(); 0]).await;
        let (id, code, _) = peer.failure().await;
        assert_eq!((id, code), (4, ErrorCode::Unimplemented));
        refused.send(()).unwrap();
        // Nothing holds the connection any more.
        assert_eq!(peer.receive().await, None);
        done.send(()).unwrap();
    };
    let nothing = |_: Incoming| async {};
    let provide = async |client: Client| client.provide(NAME, nothing, Scope::Session).await;
    let (client, lease) = provided(script, provide).await;
    drop(lease);
    is_refused.await.unwrap();
    drop(client);
    is_done.await.unwrap();
}

#[tokio::test]
async fn an_offer_that_nobody_waits_for_is_withdrawn_when_it_is_granted() {
    let (seen, mut offers) = mpsc::unbounded_channel();
    let (done, mut is_done) = mpsc::unbounded_channel();
    let host = FakeHost::start(move |mut peer: Peer, _| {
        let (seen, done) = (seen.clone(), done.clone());
        async move {
            peer.greet(welcome()).await;
            let (id, message) = peer.receive().await.unwrap();
            let Message::Provide(provide) = message else {
                panic!("{message:?}");
            };
            seen.send(()).unwrap();
            assert_eq!(peer.receive().await, Some((id, Message::Cancel)));
            peer.reply(id, leased(&provide, functions()), false).await;
            let (id, message) = peer.receive().await.unwrap();
            let Message::Withdraw(withdraw) = message else {
                panic!("{message:?}");
            };
            assert_eq!(withdraw.lease, Some(LEASE));
            peer.reply(id, cbor(()), false).await;
            done.send(()).unwrap();
            peer.receive().await;
        }
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let offering = client.clone();
    let offer = tokio::spawn(async move { offering.provide(NAME, Idle, Scope::Session).await });
    offers.recv().await.unwrap();
    offer.abort();
    is_done.recv().await.unwrap();
}

#[tokio::test]
async fn a_call_may_overtake_the_answer_to_the_offer() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        let (id, message) = peer.receive().await.unwrap();
        let Message::Provide(provide) = message else {
            panic!("{message:?}");
        };
        peer.call_client(2, "check", ("good",)).await;
        peer.call_lease(4, LEASE + 1, "check", ("good",)).await;
        peer.reply(id, leased(&provide, functions()), false).await;
        for _ in 0..2 {
            match peer.answer::<Result<bool, String>>().await {
                (2, answer) => assert_eq!(answer, Ok((Ok(true), true))),
                (_, answer) => assert_eq!(answer.unwrap_err().code, ErrorCode::FailedPrecondition),
            }
        }
        let (id, ..) = peer.call().await.unwrap();
        peer.reply(id, cbor(()), false).await;
        peer.receive().await;
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let provision = client.provision(NAME, Lines::default());
    let _lease = provision.start().await.unwrap();
    client.module("m").call::<()>("done", ()).await.unwrap();
}

/// Calls `inner` of the host while it serves, on a client that it is given later.
fn calling_back(client: Arc<OnceCell<Client>>) -> impl Fn(Incoming) -> Nested {
    move |_| {
        let client = client.clone();
        Box::pin(async move {
            let client = client.get().unwrap();
            let number: u32 = client.module("inner").call("f", ()).await?;
            Ok(number + 1)
        })
    }
}

type Nested = Pin<Box<dyn Future<Output = Result<u32, ProviderError>> + Send>>;

async fn header(peer: &mut Peer) -> (ExchangeId, CallHeader) {
    let (id, message) = peer.receive().await.unwrap();
    match message {
        Message::Call { header, .. } => (id, header),
        other => panic!("{other:?} instead of a call"),
    }
}

#[tokio::test]
async fn a_call_made_while_serving_is_part_of_the_chain() {
    let (done, is_done) = oneshot::channel();
    let (go, may_go) = oneshot::channel();
    let script = async move |mut peer: Peer| {
        may_go.await.unwrap();
        peer.call_client(2, "count", [(); 0]).await;
        let (id, inner) = header(&mut peer).await;
        assert_eq!((inner.module.as_str(), inner.within), ("inner", Some(2)));
        peer.reply(id, cbor(41), false).await;
        assert_eq!(peer.answer::<u32>().await, (2, Ok((42, false))));
        done.send(()).unwrap();
        let (id, outer) = header(&mut peer).await;
        assert_eq!((outer.module.as_str(), outer.within), ("outer", None));
        peer.reply(id, cbor(()), false).await;
        peer.receive().await;
    };
    let client = Arc::new(OnceCell::new());
    let closure = calling_back(client.clone());
    let provide = async |own: Client| own.provide(NAME, closure, Scope::Session).await;
    let (own, _lease) = provided(script, provide).await;
    client.set(own.clone()).unwrap();
    go.send(()).unwrap();
    is_done.await.unwrap();
    own.module("outer").call::<()>("f", ()).await.unwrap();
}

#[tokio::test]
async fn calls_that_fill_the_host_leave_room_for_those_they_wait_for() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(Welcome {
            max_calls_in_flight: 4,
            ..welcome()
        })
        .await;
        let (id, message) = peer.receive().await.unwrap();
        let Message::Provide(provide) = message else {
            panic!("{message:?}");
        };
        peer.reply(id, leased(&provide, functions()), false).await;
        // One in four is kept, so three of these come, and each needs what the client serves.
        let mut outer = Vec::new();
        for _ in 0..3 {
            outer.push(header(&mut peer).await.0);
        }
        peer.call_client(2, "count", [(); 0]).await;
        let (inner, call) = header(&mut peer).await;
        assert_eq!((call.module.as_str(), call.within), ("inner", Some(2)));
        // Now all are taken, and what would wait for one fails instead.
        peer.call_client(4, "count", [(); 0]).await;
        let (id, code, message) = peer.failure().await;
        assert_eq!((id, code), (4, ErrorCode::Unknown));
        assert!(message.contains("resource-exhausted"), "{message}");
        peer.reply(inner, cbor(0), false).await;
        assert_eq!(peer.answer::<u32>().await, (2, Ok((1, false))));
        for id in outer {
            peer.reply(id, cbor(()), false).await;
        }
        while let Some((id, message)) = peer.receive().await {
            assert!(matches!(message, Message::Call { .. }), "{message:?}");
            peer.reply(id, cbor(()), false).await;
        }
    })
    .await;
    let own = Client::connect(host.profile()).await.unwrap();
    let client = Arc::new(OnceCell::new_with(Some(own.clone())));
    let provision = own.provision(NAME, calling_back(client.clone()));
    let lease = provision.start().await.unwrap();
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let own = own.clone();
            tokio::spawn(async move { own.module("outer").call::<()>("f", ()).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    drop(lease);
}

#[tokio::test]
async fn a_short_lease_is_kept_alive() {
    let (done, is_done) = oneshot::channel();
    let script = async move |mut peer: Peer| {
        let mut last = Instant::now();
        for _ in 0..5 {
            let (_, message) = peer.receive().await.unwrap();
            assert!(matches!(message, Message::Ping(_)), "{message:?}");
            let silence = last.elapsed();
            assert!(silence < Duration::from_secs(2), "{silence:?}");
            last = Instant::now();
        }
        done.send(()).unwrap();
        peer.receive().await;
    };
    // The host's idle timeout alone asks for a sign of life each 15 s.
    let provide = async |client: Client| {
        let lease = Duration::from_millis(400);
        client.provision(NAME, Idle).lease(lease).start().await
    };
    let _held = provided(script, provide).await;
    is_done.await.unwrap();
}

#[tokio::test]
async fn answers_that_nobody_reads_keep_their_places() {
    let started = Arc::new(AtomicUsize::new(0));
    let counter = started.clone();
    let closure = move |_: Incoming| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { vec![1u8; 4 << 20] }
    };
    let script = async |mut peer: Peer| {
        // Far more than the window, each of which would leave 4 MiB waiting to be written.
        for id in (2..).step_by(2) {
            peer.call_client(id, "count", [(); 0]).await;
            if peer.is_left() {
                break;
            }
        }
    };
    let provide = async |client: Client| client.provision(NAME, closure).window(4).start().await;
    let (_client, lease) = provided(script, provide).await;
    let lost = tokio::time::timeout(Duration::from_secs(60), lease.lost()).await;
    let lost = lost.expect("the flood is noticed").to_string();
    assert!(lost.contains("calls without end"), "{lost}");
    let started = started.load(Ordering::Relaxed);
    assert!(started <= 4 + 4, "{started} were served");
}

#[tokio::test]
async fn what_clients_serve_is_listed_freed_and_promoted() {
    let host = FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(welcome()).await;
        let (id, message) = peer.receive().await.unwrap();
        assert_eq!(message, Message::Request(Operation::Providers {}));
        let entry = ProviderEntry {
            name: NAME.to_owned(),
            scope: Scope::Tenant,
            serving: true,
            session: "a".to_owned(),
            served_by: "b".to_owned(),
            lease: LEASE,
            since_ms: 1,
            until_ms: 2,
            window: 3,
            in_flight: 0,
            late_answers: 0,
            fallback: Fallback::Error,
        };
        peer.reply(id, encode_envelope(&vec![entry]), false).await;
        let (id, message) = peer.receive().await.unwrap();
        let steal = Withdraw {
            name: NAME.to_owned(),
            lease: None,
            steal: true,
        };
        assert_eq!(message, Message::Withdraw(steal));
        peer.reply(id, cbor(()), false).await;
        let (id, message) = peer.receive().await.unwrap();
        assert!(matches!(message, Message::Upload(_)), "{message:?}");
        let module = ModuleEntry {
            digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                .to_owned(),
            size_bytes: 0,
            already_known: true,
        };
        peer.reply(id, encode_envelope(&module), false).await;
        let (id, message) = peer.receive().await.unwrap();
        let Message::Request(Operation::Promote(register)) = message else {
            panic!("{message:?}");
        };
        assert_eq!((register.name.as_str(), register.force), (NAME, true));
        assert_eq!(register.digest, module.digest);
        let failure = Failure::new(ErrorCode::FailedPrecondition, Fault::Tenant, "no");
        peer.send(id, Message::Failure(failure)).await;
        peer.receive().await;
    })
    .await;
    let client = Client::connect(host.profile()).await.unwrap();
    let providers = client.providers().await.unwrap();
    assert_eq!((providers.len(), providers[0].lease), (1, LEASE));
    client.withdraw(NAME, true).await.unwrap();
    let module = client.upload_module(b"").await.unwrap();
    let options = Options {
        force: true,
        ..Options::default()
    };
    let error = client.promote(NAME, &module, options).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::FailedPrecondition);
}

#[tokio::test]
async fn a_lease_that_is_withdrawn_by_name_is_over() {
    let (done, is_done) = oneshot::channel();
    let script = async move |mut peer: Peer| {
        let (id, message) = peer.receive().await.unwrap();
        let expected = Withdraw {
            name: NAME.to_owned(),
            lease: None,
            steal: false,
        };
        assert_eq!(message, Message::Withdraw(expected));
        peer.reply(id, cbor(()), false).await;
        peer.call_client(2, "nothing", [(); 0]).await;
        let (id, code, _) = peer.failure().await;
        assert_eq!((id, code), (2, ErrorCode::Unimplemented));
        done.send(()).unwrap();
        // The lease has nothing to say when it is dropped.
        assert_eq!(peer.receive().await, None);
    };
    let provide = async |client: Client| client.provide(NAME, Idle, Scope::Session).await;
    let (client, lease) = provided(script, provide).await;
    client.withdraw(NAME, false).await.unwrap();
    let lost = lease.loss().unwrap();
    assert!(matches!(lost, Lost::Withdrawn), "{lost}");
    is_done.await.unwrap();
}

#[tokio::test]
async fn what_a_served_name_gives_has_methods_of_its_own() {
    use rpc_host_client::ClientObject;
    use rpc_host_protocol::value::Handle;

    let things = |call: Incoming| async move {
        let (value,): (i64,) = call.args()?;
        assert_eq!(call.function(), "[constructor]thing");
        let thing = ClientObject::new(move |call: Incoming| async move {
            let (more,): (i64,) = call.args()?;
            assert_eq!((call.resource(), call.function()), (Some("thing"), "add"));
            Ok::<_, ProviderError>(value + more)
        });
        Ok::<_, ProviderError>(thing)
    };
    serve(things, 2, async |mut peer: Peer| {
        let constructor = "acme:log/logger@0.1.0.[constructor]thing";
        let method = "acme:log/logger@0.1.0.[method]thing.add";
        for (id, value) in [(2, 5), (6, 7)] {
            peer.call_client(id, constructor, (value,)).await;
            let (answered, thing) = peer.answer::<Handle>().await;
            let (thing, _) = thing.unwrap();
            assert_eq!(answered, id);
            peer.call_client(id + 2, method, (thing, 3)).await;
            assert_eq!(peer.answer::<i64>().await, (id + 2, Ok((value + 3, false))));
        }
        let nobody = Handle::Client(u64::MAX);
        peer.call_client(10, method, (nobody, 3)).await;
        let (id, code, _) = peer.failure().await;
        assert_eq!((id, code), (10, ErrorCode::NotFound));
        // Under another lease it is not served.
        peer.call_lease(12, LEASE + 1, method, (nobody, 3)).await;
        let (id, code, _) = peer.failure().await;
        assert_eq!((id, code), (12, ErrorCode::Unimplemented));
    })
    .await;
}
