//! Objects of clients: guests hold, pass and call them, and let go of them; and clients serve interfaces with
//! resources.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rpc_host_client::{ErrorCode, Fault, Instancing, Options};
use rpc_host_protocol::cbor::{decode_arguments, handles};
use rpc_host_protocol::message::{CallHeader, Fallback, Message, Provide, ProvideScope, Release};
use rpc_host_protocol::types::{Field, ResultType, Signature, Type};
use rpc_host_protocol::value::{Handle, ValueLimits};
use rpc_host_protocol::{ExchangeId, Failure, Fault as WireFault, Value};
use rpc_host_tests::{HostOptions, RawPeer, TestHost, TestTenant, built};

use crate::handles::{
    Holder, decoded, handle, header, number_of, until_nothing_lives, with_counter,
};

const HANDLER: &str = "acme:events/events@0.1.0";

/// An object of the client as an argument.
fn object(number: u64) -> Value {
    Value::Handle(Handle::Client(number))
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn ok(value: Value) -> Value {
    Value::Result(Ok(Some(Box::new(value))))
}

fn err(value: Value) -> Value {
    Value::Result(Err(Some(Box::new(value))))
}

fn answers(said: &[Result<&str, &str>]) -> Value {
    let said = said.iter().map(|one| match one {
        Ok(said) => ok(text(said)),
        Err(said) => err(text(said)),
    });
    Value::List(said.collect())
}

/// What `emit` and `publish` give.
fn said(bytes: &[u8]) -> Value {
    let text = Some(std::sync::Arc::new(Type::String));
    let result = Type::Result(ResultType {
        ok: text.clone(),
        err: text,
    });
    decoded(bytes, &Type::List(result.into()))
}

fn of_handler() -> Signature {
    let field = |name: &str, ty| Field {
        name: name.into(),
        ty,
    };
    Signature {
        parameters: vec![
            field("self", Type::Borrow("handler".into())),
            field("event", Type::String),
        ],
        result: None,
    }
}

impl Holder {
    /// Begins a call of the module `counter`.
    async fn calls(&mut self, function: &str, arguments: &[Value]) -> ExchangeId {
        self.begin(header(function, None), arguments).await
    }

    /// The next call of a handler: its exchange, the handler and the event.
    async fn handled(&mut self) -> (ExchangeId, u64, String) {
        let (id, header, arguments) = self.0.called().await;
        assert_eq!(header.module, HANDLER);
        let function = format!("{HANDLER}.[method]handler.call");
        assert_eq!((header.function, header.lease), (function, None));
        let limits = ValueLimits::default();
        let arguments = decode_arguments(&arguments, &of_handler(), limits).unwrap();
        match &arguments[..] {
            [Value::Handle(Handle::Client(number)), Value::String(event)] => {
                (id, *number, event.clone())
            }
            other => panic!("{other:?}"),
        }
    }

    /// What the host lets go of next.
    async fn released(&mut self) -> Vec<(u64, u32)> {
        loop {
            match self.0.message().await {
                (ExchangeId::CONNECTION, Message::Release(Release { handles })) => return handles,
                (_, Message::Call { .. } | Message::Reply { .. } | Message::Failure(_)) => {
                    panic!("something else came first")
                }
                _ => {}
            }
        }
    }

    /// That nothing of this client's is released until the answer to one more call.
    async fn nothing_is_released(&mut self) {
        let id = self.calls("live", &[]).await;
        loop {
            match self.0.message().await {
                (of, Message::Reply { .. }) if of == id => return,
                (_, Message::Release(release)) => panic!("{release:?}"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_guest_calls_the_object_of_its_caller_which_is_lent_for_the_call() {
    let tenant = with_counter().await;
    let mut it = Holder::of(&tenant).await;
    for number in [5, 0, u64::MAX] {
        let arguments = [object(number), text("news"), Value::U32(3)];
        let id = it.calls("emit", &arguments).await;
        for answer in 0..3 {
            let (of, called, event) = it.handled().await;
            assert_eq!((called, event.as_str()), (number, "news"));
            if answer < 2 {
                it.0.answer(of, &ok(text("heard"))).await;
            } else {
                let failure = Failure::new(ErrorCode::Unknown, WireFault::Application, "no time");
                it.0.send(of, Message::Failure(failure)).await;
            }
        }
        let reply = it.0.outcome(id).await.unwrap();
        let Value::List(heard) = said(&reply) else {
            panic!("no list");
        };
        assert_eq!(heard[..2], [ok(text("heard")), ok(text("heard"))]);
        let Value::Result(Err(Some(why))) = &heard[2] else {
            panic!("{heard:?}");
        };
        assert!(format!("{why:?}").contains("no time"), "{why:?}");
        assert_eq!(it.released().await, [(number, 1)]);
    }
    // An answer of another type is none.
    let arguments = [object(1), text("news"), Value::U32(1)];
    let id = it.calls("emit", &arguments).await;
    let (of, ..) = it.handled().await;
    it.0.answer(of, &Value::U32(1)).await;
    let failure = it.0.outcome(id).await.unwrap_err();
    assert_eq!(
        (failure.code, failure.fault),
        (ErrorCode::Unknown, Fault::Application)
    );
    assert!(failure.message.contains("no result"), "{failure:?}");
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn a_guest_keeps_an_object_that_it_was_given_and_says_when_it_does_not() {
    let tenant = TestHost::shared().await.tenant().await;
    register(&tenant, Instancing::Session).await;
    let mut it = Holder::of(&tenant).await;
    let first = it.number("subscribe", None, &[object(7)]).await;
    let second = it.number("subscribe", None, &[object(8)]).await;
    // The same one may be given twice, and is two then.
    it.number("subscribe", None, &[object(7)]).await;
    it.nothing_is_released().await;
    let id = it.calls("publish", &[text("now")]).await;
    for expected in [7, 8, 7] {
        let (of, number, event) = it.handled().await;
        assert_eq!((number, event.as_str()), (expected, "now"));
        it.0.answer(of, &ok(text("yes"))).await;
    }
    let reply = it.0.outcome(id).await.unwrap();
    assert_eq!(said(&reply), answers(&[Ok("yes"), Ok("yes"), Ok("yes")]));

    // One comes back as the very same, and is let go of after that.
    let taken = it
        .try_call("unsubscribe", None, &[number_argument(second)])
        .await
        .unwrap();
    let handler = Type::Option(std::sync::Arc::new(Type::Own("handler".into())));
    let back = Value::Option(Some(Box::new(object(8))));
    assert_eq!(decoded(&taken, &handler), back);
    assert_eq!(it.released().await, [(8, 1)]);
    // Another is dropped by the guest, while it works.
    let id = it.calls("forget", &[number_argument(first)]).await;
    assert_eq!(it.released().await, [(7, 1)]);
    it.0.outcome(id).await.unwrap();
    // The other time that it was given goes with the instance.
    let failed = it.fails("[static]counter.larger", None, &[]).await;
    assert_eq!(failed.code, ErrorCode::InvalidArgument);
    it.nothing_is_released().await;
    tenant.client.remove("counter").await.unwrap();
    assert_eq!(it.released().await, [(7, 1)]);
}

fn number_argument(number: u64) -> Value {
    Value::U32(number.try_into().unwrap())
}

#[tokio::test]
async fn what_comes_with_a_call_that_fails_was_not_given() {
    let tenant = TestHost::shared().await.tenant().await;
    register(&tenant, Instancing::Session).await;
    let mut it = Holder::of(&tenant).await;
    it.number("subscribe", None, &[object(3)]).await;
    // It fails before the guest begins, and while it works.
    let wrong = [object(3), text("x"), text("no number")];
    let failed = it.fails("emit", None, &wrong).await;
    assert_eq!(failed.code, ErrorCode::InvalidArgument);
    let late = CallHeader {
        timeout_ms: Some(100),
        ..header("emit", None)
    };
    let arguments = [object(4), text("x"), Value::U32(1)];
    let id = it.begin(late, &arguments).await;
    let (of, ..) = it.handled().await;
    let mut cancelled = false;
    let failure = loop {
        match it.0.message().await {
            (one, Message::Cancel) if one == of => cancelled = true,
            (one, Message::Failure(failure)) if one == id => break failure,
            (_, Message::Release(release)) => {
                // With the instance goes what was given before.
                assert_eq!(release.handles, [(3, 1)]);
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(failure.code, ErrorCode::DeadlineExceeded, "{failure:?}");
    if !cancelled {
        loop {
            match it.0.message().await {
                (one, Message::Cancel) if one == of => break,
                (_, Message::Release(release)) => assert_eq!(release.handles, [(3, 1)]),
                other => panic!("{other:?}"),
            }
        }
    }
    // A client's object is none of the module's own.
    let failed = it.fails("peek", None, &[object(4)]).await;
    assert_eq!(failed.code, ErrorCode::InvalidArgument);
    let wanted = "no `demo:counter/counters@0.1.0.counter`";
    assert!(failed.message.contains(wanted), "{failed:?}");
}

async fn register(tenant: &TestTenant, instancing: Instancing) {
    let options = Options {
        instancing,
        ..Options::default()
    };
    tenant
        .register_with("counter", built("counter"), options)
        .await;
}

#[tokio::test]
async fn a_shared_instance_calls_the_objects_of_all_who_gave_some() {
    let tenant = TestHost::shared().await.tenant().await;
    register(&tenant, Instancing::Shared).await;
    let (mut one, mut other) = (Holder::of(&tenant).await, Holder::of(&tenant).await);
    let first = one.number("subscribe", None, &[object(5)]).await;
    other.number("subscribe", None, &[object(5)]).await;
    let publish = |ms| CallHeader {
        timeout_ms: Some(ms),
        ..header("publish", None)
    };
    let id = other.begin(publish(10_000), &[text("both")]).await;
    let (of, number, _) = one.handled().await;
    assert_eq!(number, 5);
    one.0.answer(of, &ok(text("one"))).await;
    let (of, number, _) = other.handled().await;
    assert_eq!(number, 5);
    other.0.answer(of, &ok(text("other"))).await;
    let reply = other.0.outcome(id).await.unwrap();
    assert_eq!(said(&reply), answers(&[Ok("one"), Ok("other")]));
    // One client's object is the other's to hold, by a handle, and to give back.
    let first_one = [number_argument(first)];
    let taken = other.try_call("unsubscribe", None, &first_one).await;
    let taken = taken.unwrap();
    let handler = Type::Option(std::sync::Arc::new(Type::Own("handler".into())));
    let Value::Option(Some(held)) = decoded(&taken, &handler) else {
        panic!("no handler");
    };
    let held = number_of(&held);
    let again = other.number("subscribe", held, &[handle(held)]).await;
    assert!(again > first);
    let id = other.begin(publish(10_000), &[text("again")]).await;
    let (of, ..) = other.handled().await;
    other.0.answer(of, &ok(text("other"))).await;
    let (of, ..) = one.handled().await;
    one.0.answer(of, &ok(text("one"))).await;
    other.0.outcome(id).await.unwrap();

    // Who does not answer keeps nobody longer than that has time.
    let begun = Instant::now();
    let id = other.begin(publish(300), &[text("slow")]).await;
    let (of, ..) = other.handled().await;
    other.0.answer(of, &ok(text("other"))).await;
    one.handled().await;
    let failure = other.0.outcome(id).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::DeadlineExceeded, "{failure:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn whoever_calls_the_object_of_a_client_that_is_gone_is_told_so() {
    let tenant = TestHost::shared().await.tenant().await;
    register(&tenant, Instancing::Shared).await;
    let (mut one, mut other) = (Holder::of(&tenant).await, Holder::of(&tenant).await);
    one.number("subscribe", None, &[object(1)]).await;
    // It goes while it is called, and before.
    let id = other.calls("publish", &[text("x")]).await;
    one.handled().await;
    drop(one);
    let failure = other.0.outcome(id).await.unwrap_err();
    assert_eq!(
        (failure.code, failure.fault),
        (ErrorCode::ProviderLost, Fault::Application)
    );
    assert!(failure.message.contains(HANDLER), "{failure:?}");
    let mut one = Holder::of(&tenant).await;
    one.number("subscribe", None, &[object(1)]).await;
    one.0.close().await;
    while one.0.next().await.is_some() {}
    let failure = other.fails("publish", None, &[text("x")]).await;
    assert_eq!(failure.code, ErrorCode::ProviderLost, "{failure:?}");
}

#[tokio::test]
async fn a_client_that_calls_back_into_the_instance_that_waits_for_it_is_told_so() {
    let tenant = TestHost::shared().await.tenant().await;
    register(&tenant, Instancing::Shared).await;
    let mut it = Holder::of(&tenant).await;
    let arguments = [object(1), text("x"), Value::U32(1)];
    let id = it.calls("emit", &arguments).await;
    let (of, ..) = it.handled().await;
    let within = CallHeader {
        within: Some(of.0),
        ..header("live", None)
    };
    let inner = it.begin(within, &[]).await;
    let failure = it.0.outcome(inner).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::WouldDeadlock, "{failure:?}");
    it.0.answer(of, &ok(text("x"))).await;
    it.0.outcome(id).await.unwrap();
}

const MAKER: &str = "test:things/maker";

/// A client that serves `test:things/maker`, and its things.
struct Maker {
    peer: RawPeer,
    functions: HashMap<String, Signature>,
    things: HashMap<u64, i64>,
    /// How often each is held.
    held: HashMap<u64, u32>,
    last: u64,
    made: u32,
}

impl Maker {
    async fn of(tenant: &TestTenant, scope: ProvideScope) -> Self {
        let mut peer = tenant.raw_peer().await;
        let provide = Provide {
            name: MAKER.to_owned(),
            scope,
            lease_ms: 60_000,
            window: 8,
            fallback: Fallback::Previous,
            wit: None,
        };
        let leased = peer.provide(provide).await.unwrap();
        let functions = leased.functions.into_iter().map(|one| {
            let interface = one.interface.unwrap();
            (format!("{interface}.{}", one.name), one.signature)
        });
        Maker {
            peer,
            functions: functions.collect(),
            things: HashMap::new(),
            held: HashMap::new(),
            last: 0,
            made: 0,
        }
    }

    fn make(&mut self, value: i64) -> Value {
        self.last += 1;
        self.made += 1;
        self.things.insert(self.last, value);
        *self.held.entry(self.last).or_default() += 1;
        object(self.last)
    }

    fn value(&mut self, of: &Value) -> &mut i64 {
        let Value::Handle(Handle::Client(number)) = of else {
            panic!("{of:?} is none of ours")
        };
        self.things.get_mut(number).expect("a thing that is held")
    }

    fn release(&mut self, handles: &[(u64, u32)]) {
        for (number, count) in handles {
            let held = self.held.get_mut(number).expect("something that is held");
            *held -= count;
            if *held == 0 {
                self.held.remove(number);
                self.things.remove(number);
            }
        }
    }

    fn answer(&mut self, function: &str, arguments: &[Value]) -> Option<Value> {
        let (_, name) = function.rsplit_once("@0.1.0.").unwrap();
        let number = |at: usize| match &arguments[at] {
            Value::S64(number) => *number,
            other => panic!("{other:?}"),
        };
        let option = |value: Option<Value>| Value::Option(value.map(Box::new));
        Some(match name {
            "[constructor]thing" => self.make(number(0)),
            "[static]thing.checked" if number(0) < 0 => err(text("negative")),
            "[static]thing.checked" => ok(self.make(number(0))),
            "[method]thing.value" => Value::S64(*self.value(&arguments[0])),
            "[method]thing.add" => {
                let value = self.value(&arguments[0]);
                *value += number(1);
                Value::S64(*value)
            }
            "[static]thing.larger" => {
                let one = *self.value(&arguments[0]);
                Value::S64(one.max(*self.value(&arguments[1])))
            }
            "[static]thing.merge" => {
                let sum = *self.value(&arguments[0]) + *self.value(&arguments[1]);
                self.make(sum)
            }
            "make" => {
                let Value::List(values) = &arguments[0] else {
                    panic!("{arguments:?}")
                };
                let values = values.iter().map(|value| match value {
                    Value::S64(value) => self.make(*value),
                    other => panic!("{other:?}"),
                });
                Value::List(values.collect())
            }
            "maybe" => match &arguments[0] {
                Value::Option(Some(value)) => {
                    let Value::S64(value) = **value else {
                        panic!("{value:?}")
                    };
                    option(Some(self.make(value)))
                }
                _ => option(None),
            },
            "couple" => {
                let left = self.make(number(0));
                let right = match &arguments[1] {
                    Value::Option(Some(value)) => match **value {
                        Value::S64(value) => Some(self.make(value)),
                        _ => None,
                    },
                    _ => None,
                };
                Value::Record(vec![("left".into(), left), ("right".into(), option(right))])
            }
            "sum" => {
                let Value::List(things) = &arguments[0] else {
                    panic!("{arguments:?}")
                };
                Value::S64(things.iter().map(|thing| *self.value(thing)).sum())
            }
            "sum-pair" => {
                let Value::Record(fields) = &arguments[0] else {
                    panic!("{arguments:?}")
                };
                let mut sum = *self.value(&fields[0].1);
                if let Value::Option(Some(right)) = &fields[1].1 {
                    sum += *self.value(right);
                }
                Value::S64(sum)
            }
            "consume" => Value::S64(*self.value(&arguments[0])),
            "live" => Value::U32(self.things.len().try_into().unwrap()),
            "made" => Value::U32(self.made),
            _ => return None,
        })
    }

    /// Serves until this exchange of its own has ended.
    async fn serve_until(&mut self, until: ExchangeId) -> Result<Vec<u8>, Failure> {
        loop {
            match self.peer.message().await {
                (of, Message::Reply { value, .. }) if of == until => return Ok(value),
                (of, Message::Failure(failure)) if of == until => return Err(failure),
                (id, Message::Call { header, arguments }) => {
                    self.serve(id, &header, &arguments).await;
                }
                (_, Message::Release(release)) => self.release(&release.handles),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn serve(&mut self, id: ExchangeId, header: &CallHeader, arguments: &[u8]) {
        let signature = self.functions[&header.function].clone();
        let limits = ValueLimits::default();
        let arguments = decode_arguments(arguments, &signature, limits).unwrap();
        let value = self.answer(&header.function, &arguments).unwrap();
        self.peer.answer(id, &value).await;
    }

    async fn calls(&mut self, module: &str, function: &str, ty: &Type) -> Value {
        let id = self.peer.call(module, function, &[]).await;
        let reply = self.serve_until(id).await;
        decoded(
            &reply.unwrap_or_else(|failure| panic!("{function}: {failure}")),
            ty,
        )
    }
}

#[tokio::test]
async fn a_client_serves_an_interface_with_resources_as_a_module_does() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("user", built("user")).await;
    tenant.register("test:things/broker", built("broker")).await;
    tenant.register(MAKER, built("maker")).await;
    let functions = [
        ("lifetimes", Type::List(Type::U32.into())),
        ("lending", Type::List(Type::S64.into())),
        (
            "giving",
            Type::Tuple(vec![Type::S64, Type::U32, Type::U32].into()),
        ),
        ("brokered", Type::List(Type::S64.into())),
        ("misplace", Type::S64),
        ("mislend", Type::S64),
    ];
    let mut by_module = Vec::new();
    let mut peer = tenant.raw_peer().await;
    for (function, ty) in &functions {
        let id = peer.call("user", function, &[]).await;
        by_module.push(decoded(&peer.outcome(id).await.unwrap(), ty));
    }
    let mut maker = Maker::of(&tenant, ProvideScope::Session).await;
    for ((function, ty), expected) in functions.iter().zip(by_module) {
        let found = maker.calls("user", function, ty).await;
        assert_eq!(found, expected, "{function}");
        // Whatever the call left behind is let go of.
        while !maker.things.is_empty() {
            let (_, message) = maker.peer.message().await;
            let Message::Release(release) = message else {
                panic!("{message:?}")
            };
            maker.release(&release.handles);
        }
    }
}

#[tokio::test]
async fn a_client_holds_objects_of_another_client_that_serves_them() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register(MAKER, built("maker")).await;
    let mut maker = Maker::of(&tenant, ProvideScope::Tenant).await;
    let mut it = Holder::of(&tenant).await;
    let of_maker = |function: &str, on| CallHeader {
        module: MAKER.to_owned(),
        ..header(function, on)
    };
    let serving = tokio::spawn(async move {
        while let Some((id, message)) = maker.peer.next().await {
            match message {
                Message::Call { header, arguments } => {
                    maker.serve(id, &header, &arguments).await;
                }
                Message::Release(release) => {
                    maker.release(&release.handles);
                    if maker.made == 2 && maker.things.is_empty() {
                        break;
                    }
                }
                _ => {}
            }
        }
        maker
    });
    let id = it
        .begin(of_maker("[constructor]thing", None), &[Value::S64(4)])
        .await;
    let thing = Type::Own("thing".into());
    let first = number_of(&decoded(&it.0.outcome(id).await.unwrap(), &thing));
    for expected in [7, 10] {
        let arguments = [handle(first), Value::S64(3)];
        let id = it
            .begin(of_maker("thing.add", Some(first)), &arguments)
            .await;
        let value = it.0.outcome(id).await.unwrap();
        assert_eq!(decoded(&value, &Type::S64), Value::S64(expected));
    }
    let id = it
        .begin(of_maker("[constructor]thing", None), &[Value::S64(1)])
        .await;
    let second = number_of(&decoded(&it.0.outcome(id).await.unwrap(), &thing));
    let id = it
        .begin(of_maker("consume", Some(first)), &[handle(first)])
        .await;
    let value = it.0.outcome(id).await.unwrap();
    assert_eq!(decoded(&value, &Type::S64), Value::S64(10));
    it.let_go(&[(second, 1), (first, 1)]).await;
    let maker = serving.await.unwrap();
    assert!(maker.held.is_empty());
}

#[tokio::test]
async fn a_client_that_serves_is_lent_objects_of_modules_and_calls_them_meanwhile() {
    const BROKER: &str = "test:things/broker";
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("user", built("user")).await;
    tenant.register(BROKER, built("broker")).await;
    tenant.register(MAKER, built("maker")).await;
    let mut it = Holder::of(&tenant).await;
    let provide = Provide {
        name: BROKER.to_owned(),
        scope: ProvideScope::Session,
        lease_ms: 60_000,
        window: 8,
        fallback: Fallback::Previous,
        wit: None,
    };
    let leased = it.0.provide(provide).await.unwrap();
    let signature = |name: &str| {
        let mut all = leased.functions.iter();
        all.find(|one| one.name == name).unwrap().signature.clone()
    };
    let of_maker = |function: &str, on, within: ExchangeId| CallHeader {
        module: MAKER.to_owned(),
        function: function.to_owned(),
        on: Some(on),
        within: Some(within.0),
        ..CallHeader::default()
    };
    // One is lent, and is called from within.
    let id = it.0.call("user", "mislend", &[]).await;
    let (of, header, arguments) = it.0.called().await;
    assert!(header.function.ends_with(".look"), "{header:?}");
    let look = signature("look");
    let arguments = decode_arguments(&arguments, &look, ValueLimits::default()).unwrap();
    let lent = number_of(&arguments[0]);
    let value = it
        .begin(of_maker("thing.value", lent, of), &[handle(lent)])
        .await;
    let value = it.0.outcome(value).await.unwrap();
    assert_eq!(decoded(&value, &Type::S64), Value::S64(1));
    // It is not this client's to give away.
    let consume = it
        .begin(of_maker("consume", lent, of), &[handle(lent)])
        .await;
    let failure = it.0.outcome(consume).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::FailedPrecondition, "{failure:?}");
    it.0.answer(of, &Value::S64(77)).await;
    let value = it.0.outcome(id).await.unwrap();
    assert_eq!(decoded(&value, &Type::S64), Value::S64(77));
    // And nothing to it any more.
    let header = CallHeader {
        within: None,
        ..of_maker("thing.value", lent, of)
    };
    let late = it.begin(header, &[handle(lent)]).await;
    let failure = it.0.outcome(late).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NotFound, "{failure:?}");

    // One is given, changed, and given back.
    let id = it.0.call("user", "misplace", &[]).await;
    let (of, _, arguments) = it.0.called().await;
    let pass = signature("pass");
    let arguments = decode_arguments(&arguments, &pass, ValueLimits::default()).unwrap();
    let given = number_of(&arguments[0]);
    let add = [handle(given), Value::S64(41)];
    let add = it.begin(of_maker("thing.add", given, of), &add).await;
    it.0.outcome(add).await.unwrap();
    it.0.answer(of, &handle(given)).await;
    let value = it.0.outcome(id).await.unwrap();
    assert_eq!(decoded(&value, &Type::S64), Value::S64(42));

    // One is given and kept, and outlives the call that it came with.
    let id = it.0.call("user", "misplace", &[]).await;
    let (of, _, arguments) = it.0.called().await;
    let arguments = decode_arguments(&arguments, &pass, ValueLimits::default()).unwrap();
    let kept = number_of(&arguments[0]);
    assert_ne!(kept, given);
    let failure = Failure::new(ErrorCode::Unknown, WireFault::Application, "kept");
    it.0.send(of, Message::Failure(failure)).await;
    let failure = it.0.outcome(id).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unknown);
    // The call that failed took the instances with it.
    let header = CallHeader {
        within: None,
        ..of_maker("thing.value", kept, of)
    };
    let gone = it.begin(header, &[handle(kept)]).await;
    let failure = it.0.outcome(gone).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::FailedPrecondition, "{failure:?}");
    it.let_go(&[(kept, 1)]).await;
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn what_is_given_to_a_client_that_has_no_room_for_it_ends() {
    const BROKER: &str = "test:things/broker";
    let options = HostOptions::new().limit("max-handles-per-session", 2);
    let tenant = TestHost::start_with(options).await.tenant().await;
    tenant.register(BROKER, built("broker")).await;
    tenant.register(MAKER, built("maker")).await;
    let of = |module: &str, function: &str, on| CallHeader {
        module: module.to_owned(),
        ..header(function, on)
    };
    let two = [Value::List(vec![Value::S64(1), Value::S64(2)])];
    let mut sessions = [Holder::of(&tenant).await, Holder::of(&tenant).await];
    let mut held = Vec::new();
    for it in &mut sessions {
        let made = it.begin(of(MAKER, "make", None), &two).await;
        let made = it.0.outcome(made).await.unwrap();
        held.push(handles(&made).map(Handle::number).collect::<Vec<_>>());
    }
    let [mut it, mut other] = sessions;
    let provide = Provide {
        name: BROKER.to_owned(),
        scope: ProvideScope::Tenant,
        lease_ms: 60_000,
        window: 8,
        fallback: Fallback::Previous,
        wit: None,
    };
    other.0.provide(provide).await.unwrap();
    let (given, rest) = (held[0][0], held[0][1]);
    let keep = it
        .begin(of(BROKER, "keep", Some(given)), &[handle(given)])
        .await;
    let failure = it.0.outcome(keep).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ResourceExhausted, "{failure:?}");
    // It is neither here nor there, and its destructor comes before whatever is called next.
    let live = it.begin(of(MAKER, "live", Some(rest)), &[]).await;
    assert_eq!(it.0.outcome(live).await.unwrap(), [1]);
    it.let_go(&[(given, 1), (rest, 1)]).await;
    let theirs = [(held[1][0], 1), (held[1][1], 1)];
    other.let_go(&theirs).await;
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn what_a_client_was_lent_is_its_owners_whatever_the_client_lets_go_of() {
    const BROKER: &str = "test:things/broker";
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register(BROKER, built("broker")).await;
    tenant.register(MAKER, built("maker")).await;
    let mut it = Holder::of(&tenant).await;
    let of = |module: &str, function: &str, on| CallHeader {
        module: module.to_owned(),
        ..header(function, on)
    };
    let id = it
        .begin(of(MAKER, "[constructor]thing", None), &[Value::S64(4)])
        .await;
    let thing = Type::Own("thing".into());
    let thing = number_of(&decoded(&it.0.outcome(id).await.unwrap(), &thing));
    for leaves in [false, true] {
        let mut other = tenant.raw_peer().await;
        let provide = Provide {
            name: BROKER.to_owned(),
            scope: ProvideScope::Tenant,
            lease_ms: 60_000,
            window: 8,
            fallback: Fallback::Previous,
            wit: None,
        };
        other.provide(provide).await.unwrap();
        let look = of(BROKER, "look", Some(thing));
        let look = it.begin(look, &[handle(thing)]).await;
        let (call, _, arguments) = other.called().await;
        let lent = handles(&arguments).next().unwrap().number();
        if leaves {
            other.reset();
            let failure = it.0.outcome(look).await.unwrap_err();
            assert_eq!(failure.code, ErrorCode::ProviderLost, "{failure:?}");
        } else {
            // Once where it waits, which ends at once, and once where it does not.
            let release = |number| {
                Message::Release(Release {
                    handles: vec![(number, 1)],
                })
            };
            let id = other.fresh_id();
            other.send(id, release(lent)).await;
            assert_eq!(other.outcome(id).await.unwrap(), [0xf6]);
            other.answer(call, &Value::S64(1)).await;
            it.0.outcome(look).await.unwrap();
            let look = of(BROKER, "look", Some(thing));
            let look = it.begin(look, &[handle(thing)]).await;
            let (call, _, arguments) = other.called().await;
            let lent = handles(&arguments).next().unwrap().number();
            other.send(ExchangeId::CONNECTION, release(lent)).await;
            other.answer(call, &Value::S64(1)).await;
            it.0.outcome(look).await.unwrap();
            other.withdraw(BROKER, false).await.unwrap();
        }
        let value = of(MAKER, "thing.value", Some(thing));
        let value = it.begin(value, &[handle(thing)]).await;
        let value = it.0.outcome(value).await.unwrap();
        assert_eq!(decoded(&value, &Type::S64), Value::S64(4));
    }
    it.let_go(&[(thing, 1)]).await;
    until_nothing_lives(&tenant.client).await;
}
