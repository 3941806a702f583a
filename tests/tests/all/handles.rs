//! What a session's numbers for live objects mean, seen on the wire: who may use which, when it ends, and what
//! everybody is told who may not.
//!
//! How it feels to use objects is held by `objects`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_host_client::{Client, ErrorCode, Fault, Options, TenantOptions};
use rpc_host_protocol::cbor::{decode_value, encode_arguments, handles};
use rpc_host_protocol::message::{CallHeader, Message, Release};
use rpc_host_protocol::types::Type;
use rpc_host_protocol::value::{Handle, ValueLimits};
use rpc_host_protocol::{ExchangeId, Failure, Value};
use rpc_host_tests::{HostOptions, RawPeer, TestHost, TestTenant, built, component};

/// A client that holds objects.
pub(crate) struct Holder(pub(crate) RawPeer);

/// An object of the host as an argument.
pub(crate) fn handle(number: u64) -> Value {
    Value::Handle(Handle::Host(number))
}

pub(crate) fn header(function: &str, on: Option<u64>) -> CallHeader {
    CallHeader {
        module: "counter".to_owned(),
        function: function.to_owned(),
        on,
        ..CallHeader::default()
    }
}

impl Holder {
    pub(crate) async fn of(tenant: &TestTenant) -> Self {
        Holder(tenant.raw_peer().await)
    }

    pub(crate) async fn begin(&mut self, header: CallHeader, arguments: &[Value]) -> ExchangeId {
        let id = self.0.fresh_id();
        let arguments = encode_arguments(arguments, &[]);
        self.0.send(id, Message::call(header, arguments)).await;
        id
    }

    pub(crate) async fn try_call(
        &mut self,
        function: &str,
        on: impl Into<Option<u64>>,
        arguments: &[Value],
    ) -> Result<Vec<u8>, Failure> {
        let id = self.begin(header(function, on.into()), arguments).await;
        self.0.outcome(id).await
    }

    /// Calls a function of the module `counter` that gives a number.
    pub(crate) async fn number(
        &mut self,
        function: &str,
        on: impl Into<Option<u64>>,
        arguments: &[Value],
    ) -> u64 {
        let reply = self.try_call(function, on, arguments).await;
        number(&reply.unwrap_or_else(|failure| panic!("{function}: {failure}")))
    }

    /// How a call fails.
    pub(crate) async fn fails(
        &mut self,
        function: &str,
        on: impl Into<Option<u64>>,
        arguments: &[Value],
    ) -> Failure {
        self.try_call(function, on, arguments).await.unwrap_err()
    }

    /// What these calls gave, in whatever order: numbers.
    pub(crate) async fn replies(&mut self, ids: &[ExchangeId]) -> HashMap<ExchangeId, u64> {
        let mut replies = HashMap::new();
        while replies.len() < ids.len() {
            match self.0.message().await {
                (id, Message::Reply { value, .. }) => drop(replies.insert(id, number(&value))),
                other => panic!("{other:?}"),
            }
        }
        replies
    }

    async fn refused(
        &mut self,
        (function, on): (&str, Option<u64>),
        arguments: &[Value],
        code: ErrorCode,
        part: &str,
    ) -> Failure {
        let failure = self.try_call(function, on, arguments).await.unwrap_err();
        assert_eq!(failure.code, code, "{function}: {failure:?}");
        assert!(
            failure.message.contains(part),
            "no {part:?} in {failure:?} of {function}"
        );
        failure
    }

    /// Calls a function that gives a counter.
    async fn counter(
        &mut self,
        function: &str,
        on: impl Into<Option<u64>>,
        arguments: &[Value],
    ) -> u64 {
        let reply = self.try_call(function, on, arguments).await;
        let reply = reply.unwrap_or_else(|failure| panic!("{function}: {failure}"));
        handle_in(&reply)
    }

    /// A counter in an instance of its own.
    pub(crate) async fn new_counter(&mut self, start: u64) -> u64 {
        self.counter("[constructor]counter", None, &[Value::U64(start)])
            .await
    }

    async fn gives_handles(&mut self, function: &str, arguments: &[Value]) -> Vec<u64> {
        let reply = self.try_call(function, None, arguments).await.unwrap();
        let ty = Type::List(Arc::new(Type::Own("counter".into())));
        let Value::List(values) = decoded(&reply, &ty) else {
            panic!("no list");
        };
        values.iter().map(number_of).collect()
    }

    /// Lets go of objects, without an answer.
    pub(crate) async fn let_go(&mut self, handles: &[(u64, u32)]) {
        let handles = handles.to_vec();
        let release = Message::Release(Release { handles });
        self.0.send(ExchangeId::CONNECTION, release).await;
    }

    /// Lets go of objects, and waits until they have ended.
    async fn release(&mut self, handles: &[(u64, u32)]) -> Result<(), Failure> {
        let id = self.0.fresh_id();
        let handles = handles.to_vec();
        self.0.send(id, Message::Release(Release { handles })).await;
        let reply = self.0.outcome(id).await?;
        assert_eq!(reply, [0xf6], "null");
        Ok(())
    }

    /// That all of these are nothing to this session, and that nobody can tell why.
    async fn not_held(&mut self, number: u64) {
        let said = format!("no object {number} in this session");
        let of = ("[method]counter.value", Some(number));
        let argument = [handle(number)];
        let refused = self.refused(of, &argument, ErrorCode::NotFound, &said);
        let failure = refused.await;
        assert_eq!((failure.fault, &failure.message), (Fault::Peer, &said));
    }

    async fn gone(&mut self, number: u64, why: &str) {
        let of = ("[method]counter.value", Some(number));
        let argument = [handle(number)];
        let gone = self.refused(of, &argument, ErrorCode::FailedPrecondition, why);
        let failure = gone.await;
        assert_eq!(failure.fault, Fault::Guest, "{failure:?}");
    }
}

pub(crate) fn decoded(bytes: &[u8], ty: &Type) -> Value {
    decode_value(bytes, ty, "result", ValueLimits::default()).unwrap()
}

fn number(bytes: &[u8]) -> u64 {
    match decoded(bytes, &Type::U64) {
        Value::U64(number) => number,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn number_of(value: &Value) -> u64 {
    match value {
        Value::Handle(Handle::Host(number)) => *number,
        other => panic!("{other:?}"),
    }
}

fn handle_in(bytes: &[u8]) -> u64 {
    number_of(&decoded(bytes, &Type::Own("counter".into())))
}

pub(crate) async fn with_counter() -> TestTenant {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("counter", built("counter")).await;
    tenant
}

async fn with_counter_on(options: HostOptions) -> TestTenant {
    let tenant = TestHost::start_with(options).await.tenant().await;
    tenant.register("counter", built("counter")).await;
    tenant
}

/// Bytes of memory that the tenant's instances have.
async fn memory(client: &Client) -> u64 {
    let limits = client.limits(None).await.unwrap();
    let memory = limits
        .iter()
        .find(|limit| limit.name == "max-memory-bytes-per-tenant");
    memory.unwrap().used.unwrap()
}

/// Waits until nothing of the tenant's is alive.
pub(crate) async fn until_nothing_lives(client: &Client) {
    let nothing = async {
        while memory(client).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    rpc_host_tests::in_time("instances to go", nothing).await;
}

#[tokio::test]
async fn an_object_lives_from_call_to_call_in_an_instance_of_its_own() {
    let tenant = with_counter().await;
    let mut it = Holder::of(&tenant).await;
    let one = it.new_counter(10).await;
    let other = it.new_counter(100).await;
    assert_ne!(one, other);
    for expected in 11..14 {
        let function = "[method]counter.increment";
        let value = it.number(function, one, &[handle(one)]).await;
        assert_eq!(value, expected);
    }
    let function = "counters.counter.value";
    let value = it.number(function, other, &[handle(other)]).await;
    assert_eq!(value, 100);
    // What else is called on it is called there, too.
    assert_eq!(it.number("live", one, &[]).await, 1);
    assert_eq!(it.number("total", one, &[]).await, 3);
    assert_eq!(it.number("total", None, &[]).await, 0, "elsewhere");
    it.release(&[(one, 1), (other, 1)]).await.unwrap();
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn objects_pass_in_whatever_holds_them_and_back() {
    let tenant = with_counter().await;
    let mut it = Holder::of(&tenant).await;
    let starts = Value::List([1, 2, 3].map(Value::U64).to_vec());
    let made = it.gives_handles("make", &[starts]).await;
    assert_eq!(made.len(), 3);
    let on = made[0];
    let all = Value::List(made.iter().map(|number| handle(*number)).collect());
    assert_eq!(it.number("sum", on, std::slice::from_ref(&all)).await, 6);
    // The same one may be lent twice.
    let twice = Value::List(vec![handle(on), handle(on)]);
    assert_eq!(it.number("sum", on, &[twice]).await, 2);
    let pair = Value::Record(vec![
        ("name".into(), Value::String("both".to_owned())),
        ("left".into(), handle(made[0])),
        (
            "right".into(),
            Value::Option(Some(Box::new(handle(made[1])))),
        ),
    ]);
    assert_eq!(it.number("sum-pair", on, &[pair]).await, 3);
    it.not_held(made[0]).await;
    it.not_held(made[1]).await;
    let on = made[2];
    let larger = [handle(on), handle(on)];
    assert_eq!(it.number("[static]counter.larger", on, &larger).await, 3);
    let copy = it.counter("counter.copy", on, &[handle(on)]).await;
    assert_eq!(it.number("live", on, &[]).await, 2);
    let same = it.counter("same", on, &[handle(copy)]).await;
    assert_ne!(same, copy, "it was given away, and is another one's now");
    it.not_held(copy).await;
    let merged = [handle(on), handle(same)];
    let merged = it.counter("counter.merge", on, &merged).await;
    assert_eq!(it.number("peek", merged, &[handle(merged)]).await, 6);
    assert_eq!(it.number("live", merged, &[]).await, 1);

    let some = it
        .try_call("checked", None, &[Value::S64(7)])
        .await
        .unwrap();
    let of_result = Type::Result(rpc_host_protocol::types::ResultType {
        ok: Some(Arc::new(Type::Own("counter".into()))),
        err: Some(Arc::new(Type::String)),
    });
    let Value::Result(Ok(Some(some))) = decoded(&some, &of_result) else {
        panic!("no counter");
    };
    let some = number_of(&some);
    assert_eq!(it.number("counter.value", some, &[handle(some)]).await, 7);
    let none = it.try_call("maybe", None, &[Value::Option(None)]).await;
    assert_eq!(none.unwrap(), [0xf6]);
    it.release(&[(some, 1), (merged, 1)]).await.unwrap();
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn calls_on_one_object_are_made_in_the_order_in_which_they_were_sent() {
    let tenant = with_counter().await;
    let mut it = Holder::of(&tenant).await;
    let one = it.new_counter(0).await;
    let mut ids = Vec::new();
    for by in 1..=200_u64 {
        let header = header("[method]counter.add", Some(one));
        ids.push(it.begin(header, &[handle(one), Value::U64(by)]).await);
    }
    // It is let go of while they wait, and they were sent before.
    it.let_go(&[(one, 1)]).await;
    let mut replies = HashMap::new();
    while replies.len() < ids.len() {
        match it.0.message().await {
            (id, Message::Reply { value, .. }) => drop(replies.insert(id, value)),
            other => panic!("{other:?}"),
        }
    }
    let of_result = Type::Result(rpc_host_protocol::types::ResultType {
        ok: Some(Arc::new(Type::U64)),
        err: Some(Arc::new(Type::String)),
    });
    let mut sum = 0;
    for (id, by) in ids.iter().zip(1..) {
        sum += by;
        let expected = Value::Result(Ok(Some(Box::new(Value::U64(sum)))));
        assert_eq!(decoded(&replies[id], &of_result), expected);
    }
    it.not_held(one).await;
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn a_release_counts_and_what_releases_too_much_releases_nothing() {
    let tenant = with_counter().await;
    let mut it = Holder::of(&tenant).await;
    let one = it.new_counter(1).await;
    let other = it.counter("counter.copy", one, &[handle(one)]).await;
    let refused = |failure: Failure, code, part: &str| {
        assert_eq!(failure.code, code, "{failure:?}");
        assert_eq!(failure.fault, Fault::Peer);
        assert!(failure.message.contains(part), "{failure:?}");
    };
    let too_often = it.release(&[(other, 1), (one, 2)]).await.unwrap_err();
    refused(too_often, ErrorCode::InvalidArgument, "1 times");
    let unknown = it.release(&[(other, 1), (77, 1)]).await.unwrap_err();
    refused(unknown, ErrorCode::NotFound, "no object 77 in this session");
    it.let_go(&[(one, 2), (77, 1), (0, 1)]).await;
    assert_eq!(it.number("live", one, &[]).await, 2);
    it.release(&[(other, 1)]).await.unwrap();
    it.not_held(other).await;
    assert_eq!(it.number("live", one, &[]).await, 1, "its destructor ran");
    let again = it.release(&[(other, 1)]).await.unwrap_err();
    refused(again, ErrorCode::NotFound, "no object");
    it.let_go(&[(other, 1), (one, 1)]).await;
    it.not_held(one).await;
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn what_a_session_does_not_hold_is_nothing_to_it_whatever_else_it_is() {
    let tenant = with_counter().await;
    let mut it = Holder::of(&tenant).await;
    let mut neighbour = Holder::of(&tenant).await;
    let theirs = neighbour.new_counter(1).await;
    neighbour.new_counter(1).await;
    let ours = it.new_counter(5).await;
    // Numbers are a session's own: the same number is another object.
    assert_eq!(theirs, ours);
    let value = it.number("counter.value", ours, &[handle(ours)]).await;
    assert_eq!(value, 5);
    for number in [0, 2, 3, u64::from(u32::MAX), u64::MAX] {
        it.not_held(number).await;
        let taken = it.try_call("consume", ours, &[handle(number)]).await;
        let failure = taken.unwrap_err();
        let said = format!("no object {number} in this session");
        assert_eq!((failure.code, failure.message), (ErrorCode::NotFound, said));
    }
    // What is refused has consumed nothing, and nobody noticed.
    let both = [handle(ours), handle(9)];
    let of = ("[static]counter.merge", Some(ours));
    it.refused(of, &both, ErrorCode::NotFound, "no object 9")
        .await;
    assert_eq!(it.number("live", ours, &[]).await, 1);
    assert_eq!(
        neighbour
            .number("counter.value", theirs, &[handle(theirs)])
            .await,
        1
    );
}

#[tokio::test]
async fn objects_of_different_instances_do_not_meet_in_one_call() {
    let tenant = with_counter().await;
    let mut it = Holder::of(&tenant).await;
    let one = it.new_counter(1).await;
    let other = it.new_counter(2).await;
    let both = [handle(one), handle(other)];
    let of = ("counter.larger", Some(one));
    let code = ErrorCode::FailedPrecondition;
    let failure = it.refused(of, &both, code, "instancing `session`").await;
    assert_eq!(failure.fault, Fault::Peer);
    let of = ("counter.value", Some(other));
    it.refused(of, &[handle(one)], code, "object 1").await;
    // And a call has to say where it is done.
    let of = ("counter.value", None);
    let failure = it.refused(of, &[handle(one)], code, "`on`").await;
    assert_eq!(failure.fault, Fault::Peer);
    // What is given away is named once.
    let of = ("counter.merge", Some(one));
    let both = [handle(one), handle(one)];
    it.refused(of, &both, ErrorCode::InvalidArgument, "only once")
        .await;
    // A counter is no handler, and another module's resource is none of this.
    let of = ("emit", Some(one));
    let emit = [handle(one), Value::String("x".into()), Value::U32(1)];
    let wanted = "is no `acme:events/events@0.1.0.handler`";
    it.refused(of, &emit, ErrorCode::InvalidArgument, wanted)
        .await;
    for (number, value) in [(one, 1), (other, 2)] {
        let found = it.number("counter.value", number, &[handle(number)]).await;
        assert_eq!(found, value);
    }
}

#[tokio::test]
async fn an_instance_is_gone_with_the_first_call_that_fails_in_it_and_says_so() {
    let tenant = with_counter().await;
    let mut it = Holder::of(&tenant).await;
    let untouched = it.new_counter(3).await;
    let one = it.new_counter(1).await;
    let other = it.counter("counter.copy", one, &[handle(one)]).await;
    let of = ("counter.fail", Some(one));
    it.refused(of, &[handle(one)], ErrorCode::Trapped, "failed at 1")
        .await;
    for number in [one, other] {
        it.gone(number, "an earlier call of it failed; make it anew")
            .await;
    }
    // They are held all the same, until they are let go of.
    it.release(&[(one, 1), (other, 1)]).await.unwrap();
    it.not_held(one).await;
    // What was refused before a guest began has spoiled nothing.
    let of = ("counter.add", Some(untouched));
    let wrong = [handle(untouched), Value::String("x".into())];
    it.refused(of, &wrong, ErrorCode::InvalidArgument, "args[1]")
        .await;
    let of = ("no-such-function", Some(untouched));
    it.refused(of, &[], ErrorCode::InvalidArgument, "no function")
        .await;
    let of = ("counter.value", Some(untouched));
    let elsewhere = CallHeader {
        module: "nobody".to_owned(),
        ..header(of.0, of.1)
    };
    let id = it.begin(elsewhere, &[handle(untouched)]).await;
    let failure = it.0.outcome(id).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NotFound, "{failure:?}");
    let argument = [handle(untouched)];
    let value = it.number("counter.value", untouched, &argument).await;
    assert_eq!(value, 3);
}

/// A component with a resource `thing`: `make` gives one, `spin` never ends, `drops` tells how many have ended,
/// and the destructor does `ending`.
pub(crate) fn things(ending: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (core module $drop
                (memory (export "memory") 1)
                (func (export "end") (param i32)
                    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
                    {ending}))
            (core instance $drop (instantiate $drop))
            (type $thing' (resource (rep i32) (dtor (func $drop "end"))))
            (core func $new (canon resource.new $thing'))
            (core module $m
                (import "host" "new" (func $new (param i32) (result i32)))
                (import "host" "memory" (memory 1))
                (func (export "make") (result i32) (call $new (i32.const 7)))
                (func (export "drops") (result i32) (i32.load (i32.const 0)))
                (func (export "touch") (param i32) (result i32) (local.get 0))
                (func (export "spin") (param i32) (loop (br 0))))
            (core instance $i (instantiate $m (with "host" (instance
                (export "new" (func $new))
                (export "memory" (memory $drop "memory"))))))
            (export $thing "thing" (type $thing'))
            (func (export "make") (result (own $thing)) (canon lift (core func $i "make")))
            (func (export "drops") (result u32) (canon lift (core func $i "drops")))
            (func (export "touch") (param "it" (borrow $thing)) (result u32)
                (canon lift (core func $i "touch")))
            (func (export "spin") (param "it" (borrow $thing)) (canon lift (core func $i "spin"))))"#
    ))
}

impl Holder {
    /// How these exchanges fail, in whatever order.
    async fn failures<const N: usize>(&mut self, ids: [ExchangeId; N]) -> [Failure; N] {
        let mut failures = HashMap::new();
        while failures.len() < N {
            match self.0.message().await {
                (id, Message::Failure(failure)) => drop(failures.insert(id, failure)),
                other => panic!("{other:?}"),
            }
        }
        ids.map(|id| failures.remove(&id).expect("a failure"))
    }

    async fn make_thing(&mut self) -> u64 {
        handle_in(&self.try_call("make", None, &[]).await.unwrap())
    }
}

#[tokio::test]
async fn a_call_that_is_late_or_cancelled_ends_its_instance() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("counter", things("")).await;
    let mut it = Holder::of(&tenant).await;
    let one = it.make_thing().await;
    assert_eq!(it.number("touch", one, &[handle(one)]).await, 7);
    let late = CallHeader {
        timeout_ms: Some(50),
        ..header("spin", Some(one))
    };
    let id = it.begin(late, &[handle(one)]).await;
    // It waits for its turn, and is the first to hear of it.
    let next = it.begin(header("touch", Some(one)), &[handle(one)]).await;
    let [failure, next] = it.failures([id, next]).await;
    assert_eq!(failure.code, ErrorCode::DeadlineExceeded, "{failure:?}");
    let failure = next;
    assert_eq!(failure.code, ErrorCode::FailedPrecondition, "{failure:?}");
    assert!(
        failure.message.contains("did not end in time"),
        "{failure:?}"
    );

    // In another session, which does not know yet that `spin` takes long: it begins where it is read.
    let mut it = Holder::of(&tenant).await;
    let one = it.make_thing().await;
    let id = it.begin(header("spin", Some(one)), &[handle(one)]).await;
    // One that waits for its turn can be cancelled without harm, one that has it cannot.
    let next = it.begin(header("touch", Some(one)), &[handle(one)]).await;
    it.0.send(next, Message::Cancel).await;
    let failure = it.0.outcome(next).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Cancelled);
    it.0.send(id, Message::Cancel).await;
    let failure = it.0.outcome(id).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Cancelled);
    let touch = it.try_call("touch", one, &[handle(one)]).await;
    let failure = touch.unwrap_err();
    assert!(failure.message.contains("was cancelled"), "{failure:?}");
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn a_call_waits_for_its_turn_no_longer_than_it_has_time() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("counter", things("")).await;
    let mut it = Holder::of(&tenant).await;
    let one = it.make_thing().await;
    let spinning = CallHeader {
        timeout_ms: Some(2000),
        ..header("spin", Some(one))
    };
    let spinning = it.begin(spinning, &[handle(one)]).await;
    let waiting = CallHeader {
        timeout_ms: Some(50),
        ..header("touch", Some(one))
    };
    let waiting = it.begin(waiting, &[handle(one)]).await;
    let (first, message) = it.0.message().await;
    assert_eq!(first, waiting);
    let Message::Failure(failure) = message else {
        panic!("{message:?}")
    };
    assert_eq!(failure.code, ErrorCode::DeadlineExceeded);
    it.0.send(spinning, Message::Cancel).await;
    it.0.outcome(spinning).await.unwrap_err();
}

#[tokio::test]
async fn destructors_that_trap_or_never_end_take_their_instance_and_nothing_else() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("counter", things("unreachable")).await;
    let mut it = Holder::of(&tenant).await;
    let one = it.make_thing().await;
    let id = it.begin(header("make", Some(one)), &[]).await;
    let other = handle_in(&it.0.outcome(id).await.unwrap());
    let failure = it.release(&[(one, 1)]).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Trapped, "{failure:?}");
    it.not_held(one).await;
    let touch = it.try_call("touch", other, &[handle(other)]).await;
    let failure = touch.unwrap_err();
    assert!(failure.message.contains("earlier call"), "{failure:?}");
    drop(it);
    until_nothing_lives(&tenant.client).await;

    // At the end of a session they loop, but not for long.
    let minute = 60_000;
    for (name, value, other) in [
        ("session-end-timeout-ms", 100, "max-cpu-ms-per-session-end"),
        ("max-cpu-ms-per-session-end", 100, "session-end-timeout-ms"),
    ] {
        let options = HostOptions::new().limit(name, value).limit(other, minute);
        let tenant = TestHost::start_with(options).await.tenant().await;
        tenant.register("counter", things("(loop (br 0))")).await;
        let mut it = Holder::of(&tenant).await;
        for _ in 0..3 {
            it.make_thing().await;
        }
        let begun = Instant::now();
        drop(it);
        until_nothing_lives(&tenant.client).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?} by {name}");
    }
}

#[tokio::test]
async fn at_the_end_of_a_session_nothing_of_it_is_left() {
    let tenant = with_counter().await;
    for polite in [true, false] {
        let mut it = Holder::of(&tenant).await;
        for start in 0..8 {
            let one = it.new_counter(start).await;
            it.counter("counter.copy", one, &[handle(one)]).await;
        }
        let one = it.new_counter(1).await;
        // Some calls are under way, and wait.
        for _ in 0..4 {
            it.begin(header("counter.increment", Some(one)), &[handle(one)])
                .await;
        }
        match polite {
            true => it.0.close().await,
            false => it.0.reset(),
        }
        until_nothing_lives(&tenant.client).await;
    }
}

#[tokio::test]
async fn a_reply_that_is_never_told_leaves_nothing_held() {
    let options = HostOptions::new()
        .limit("max-handles-per-session", 2)
        .limit("max-reply-bytes", 100_000);
    let tenant = with_counter_on(options).await;
    let mut it = Holder::of(&tenant).await;
    let couple = |bytes: usize| {
        let name = Value::String("x".repeat(bytes));
        let some = Value::Option(Some(Box::new(Value::U64(2))));
        [name, Value::U64(1), some]
    };
    // It is too long to be sent, again and again.
    for _ in 0..4 {
        let failure = it.fails("couple", None, &couple(100_000)).await;
        assert_eq!(failure.code, ErrorCode::ResourceExhausted, "{failure:?}");
    }
    until_nothing_lives(&tenant.client).await;
    // There is room for one, and the other has none: both end.
    let one = it.new_counter(1).await;
    let failure = it.fails("couple", None, &couple(1)).await;
    assert_eq!(failure.code, ErrorCode::ResourceExhausted, "{failure:?}");
    it.let_go(&[(one, 1)]).await;
    until_nothing_lives(&tenant.client).await;
    let reply = it.try_call("couple", None, &couple(1)).await.unwrap();
    assert_eq!(handles(&reply).count(), 2);
    // Nobody reads these, and then nobody is there to.
    drop(it);
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut it = Holder::of(&tenant).await;
        for _ in 0..8 {
            it.begin(header("couple", None), &couple(90_000)).await;
        }
        others.push(it);
    }
    for it in others {
        it.0.reset();
    }
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn so_many_objects_and_instances_are_held_and_no_more() {
    let options = HostOptions::new()
        .limit("max-handles-per-session", 5)
        .limit("max-pinned-instances-per-session", 3)
        .limit("max-pinned-instances-per-tenant", 4);
    let tenant = with_counter_on(options).await;
    let mut it = Holder::of(&tenant).await;
    let mut made = Vec::new();
    for start in 0..3 {
        made.push(it.new_counter(start).await);
    }
    let exhausted = ErrorCode::ResourceExhausted;
    let new = ("[constructor]counter", None);
    let start = [Value::U64(1)];
    let limit = "max-pinned-instances-per-session";
    let failure = it.refused(new, &start, exhausted, limit).await;
    assert_eq!(failure.fault, Fault::Peer);
    // Others of the tenant have what is left to all of them.
    let mut other = Holder::of(&tenant).await;
    other.new_counter(1).await;
    let limit = "max-pinned-instances-per-tenant";
    let failure = other.refused(new, &start, exhausted, limit).await;
    assert_eq!(failure.fault, Fault::Tenant);
    // What needs none of it goes on.
    assert_eq!(other.number("live", None, &[]).await, 0);

    let on = made[0];
    let copy = ("counter.copy", Some(on));
    for _ in 0..2 {
        made.push(it.counter(copy.0, on, &[handle(on)]).await);
    }
    let limit = "max-handles-per-session";
    let failure = it.refused(copy, &[handle(on)], exhausted, limit).await;
    assert_eq!(failure.fault, Fault::Peer);
    assert_eq!(
        it.number("live", on, &[]).await,
        3,
        "the guest was not called"
    );
    // There is room for one, and three come: none of them is kept.
    it.release(&[(made[3], 1)]).await.unwrap();
    let three = Value::List([1, 2, 3].map(Value::U64).to_vec());
    let make = ("make", Some(on));
    it.refused(make, &[three], exhausted, limit).await;
    assert_eq!(it.number("live", on, &[]).await, 2, "their destructors ran");
    it.release(&[(made[1], 1)]).await.unwrap();
    it.new_counter(9).await;
}

#[tokio::test]
async fn what_was_made_with_a_grant_is_not_called_by_whoever_does_not_allow_it() {
    let tenant = TestHost::shared().await.tenant().await;
    let granted = Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    };
    tenant
        .register_with("counter", built("counter"), granted)
        .await;
    let mut it = Holder::of(&tenant).await;
    let one = it.new_counter(1).await;
    let narrow = CallHeader {
        allow: Some(Vec::new()),
        ..header("counter.value", Some(one))
    };
    let id = it.begin(narrow, &[handle(one)]).await;
    let failure = it.0.outcome(id).await.unwrap_err();
    assert_eq!(
        (failure.code, failure.fault),
        (ErrorCode::FailedPrecondition, Fault::Peer)
    );
    assert!(
        failure.message.contains("`log`, which the caller"),
        "{failure:?}"
    );
    let value = it.number("counter.value", one, &[handle(one)]).await;
    assert_eq!(value, 1, "another call may");

    // Where the tenant does not, nobody may, and it is gone.
    let admin = tenant.host.client().await;
    let settings = TenantOptions {
        allow: Some(Vec::new()),
        ..TenantOptions::default()
    };
    admin.tenant_set(&tenant.name, settings).await.unwrap();
    let of = ("counter.value", Some(one));
    let code = ErrorCode::FailedPrecondition;
    let failure = it
        .refused(of, &[handle(one)], code, "`log`, which the tenant")
        .await;
    assert_eq!(failure.fault, Fault::Tenant);
    it.gone(one, "it may not have any more what it was made with")
        .await;
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn what_is_removed_takes_its_objects_with_it_and_what_is_swapped_does_not() {
    let tenant = with_counter().await;
    let mut it = Holder::of(&tenant).await;
    let one = it.new_counter(1).await;
    // Another module under the name: what lives goes on as it was.
    let client = &tenant.client;
    let forced = Options {
        force: true,
        ..Options::default()
    };
    let module = client.upload_module(things("")).await.unwrap();
    client.register("counter", &module, forced).await.unwrap();
    let value = it.number("counter.increment", one, &[handle(one)]).await;
    assert_eq!(value, 2);
    let copy = it.counter("counter.copy", one, &[handle(one)]).await;
    let thing = it.make_thing().await;
    assert_eq!(it.number("touch", thing, &[handle(thing)]).await, 7);
    client.remove("counter").await.unwrap();
    for number in [one, copy] {
        it.gone(number, "its registration was removed").await;
    }
    until_nothing_lives(client).await;
}

#[tokio::test]
async fn a_revoked_session_holds_nothing() {
    let tenant = with_counter().await;
    let token = tenant.token("caller").await;
    let mut it = Holder(RawPeer::welcomed(&tenant.host, &token).await);
    it.new_counter(1).await;
    let id = token.split('_').nth(1).unwrap();
    tenant.client.token_revoke(id).await.unwrap();
    let id = it.begin(header("live", None), &[]).await;
    it.0.outcome(id).await.unwrap_err();
    until_nothing_lives(&tenant.client).await;
    tokio::time::timeout(Duration::from_secs(5), it.0.parting())
        .await
        .unwrap();
}
