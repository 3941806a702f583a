//! Objects of clients that modules are given: called where they are, let go of when nobody holds them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_host_client::provider::Answer;
use rpc_host_client::{
    Client, ClientObject, ErrorCode, Incoming, Instancing, NamedModule, Object, Options,
    ProviderError, Scope, interface,
};
use rpc_host_tests::{TestHost, TestTenant, built, in_time};
use tokio::sync::Notify;

use crate::handles::until_nothing_lives;
use crate::{failure, refused};

type Said = Vec<Result<String, String>>;

interface! {
    trait Handler {
        async fn call(&self, event: String) -> Result<String, String>;
    }
}

/// Says what it hears, under its name; how many of them there are is counted.
struct Echo {
    name: &'static str,
    live: Arc<AtomicUsize>,
}

impl Echo {
    fn new(name: &'static str, live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::SeqCst);
        let live = live.clone();
        Echo { name, live }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handler for Echo {
    async fn call(&self, event: String) -> Result<String, String> {
        match event.as_str() {
            "" => Err(format!("{} heard nothing", self.name)),
            "panic" => panic!("{} was told to", self.name),
            event => Ok(format!("{} heard {event}", self.name)),
        }
    }
}

async fn counter(instancing: Instancing) -> TestTenant {
    let tenant = TestHost::shared().await.tenant().await;
    let options = Options {
        instancing,
        ..Options::default()
    };
    tenant
        .register_with("counter", built("counter"), options)
        .await;
    tenant
}

async fn until_live(live: &AtomicUsize, expected: usize) {
    let left = async {
        while live.load(Ordering::SeqCst) != expected {
            tokio::task::yield_now().await;
        }
    };
    in_time("objects to be let go of", left).await;
}

fn ok(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

#[tokio::test]
async fn a_module_calls_the_object_that_it_is_lent_and_lets_go_of_it() {
    let tenant = counter(Instancing::Call).await;
    let module = tenant.client.module("counter");
    let live = Arc::new(AtomicUsize::new(0));
    let echo = tenant.client.object(Echo::new("it", &live));
    let said: Said = module.call("emit", (&echo, "one", 3)).await.unwrap();
    assert_eq!(said, vec![ok("it heard one"); 3]);
    let said: Said = module.call("emit", (&echo, "", 1)).await.unwrap();
    assert_eq!(said, [Err("it heard nothing".to_owned())]);
    // What fails here is the function's own error there, where it is text.
    let said: Said = module.call("emit", (&echo, "panic", 1)).await.unwrap();
    assert!(
        said[0].as_ref().unwrap_err().contains("it was told to"),
        "{said:?}"
    );
    assert_eq!(live.load(Ordering::SeqCst), 1);
    drop(echo);
    until_live(&live, 0).await;
}

#[tokio::test]
async fn an_object_that_is_given_is_kept_called_and_given_back() {
    let tenant = counter(Instancing::Session).await;
    let module = tenant.client.module("counter");
    let live = Arc::new(AtomicUsize::new(0));
    let first = tenant.client.object(Echo::new("first", &live));
    let second = tenant.client.object(Echo::new("second", &live));
    let number: u32 = module.call("subscribe", (&first,)).await.unwrap();
    let other: u32 = module.call("subscribe", (second,)).await.unwrap();
    let again: u32 = module.call("subscribe", (&first,)).await.unwrap();
    let said: Said = module.call("publish", ("news",)).await.unwrap();
    let heard = ["first heard news", "second heard news", "first heard news"];
    assert_eq!(said, heard.map(ok));
    let back: Option<ClientObject> = module.call("unsubscribe", (number,)).await.unwrap();
    assert_eq!(back.as_ref(), Some(&first));
    let none: Option<ClientObject> = module.call("unsubscribe", (number,)).await.unwrap();
    assert_eq!(none, None);
    assert!(module.call::<bool>("forget", (other,)).await.unwrap());
    until_live(&live, 1).await;
    drop((first, back));
    let said: Said = module.call("publish", ("more",)).await.unwrap();
    assert_eq!(said, [ok("first heard more")], "it is the module's");
    assert!(module.call::<bool>("forget", (again,)).await.unwrap());
    until_live(&live, 0).await;
}

#[tokio::test]
async fn what_an_instance_holds_is_let_go_of_when_it_ends() {
    let tenant = counter(Instancing::Call).await;
    let module = tenant.client.module("counter");
    let live = Arc::new(AtomicUsize::new(0));
    let echo = |name| tenant.client.object(Echo::new(name, &live));
    // With its call.
    module.call::<u32>("subscribe", (echo("a"),)).await.unwrap();
    until_live(&live, 0).await;
    // With the last object of the host that holds it, and by a trap.
    for ends_well in [true, false] {
        let counter = module.object("counter", (1,)).await.unwrap();
        let subscribe = module.function("subscribe").on(&counter).arg(echo("b"));
        subscribe.call::<u32>().await.unwrap();
        let publish = module.function("publish").on(&counter).arg("it is");
        assert_eq!(publish.call::<Said>().await.unwrap(), [ok("b heard it is")]);
        match ends_well {
            true => counter.close().await.unwrap(),
            false => {
                refused(
                    counter.call::<()>("fail", ()).await,
                    ErrorCode::Trapped,
                    &[],
                );
            }
        }
        until_live(&live, 0).await;
    }
    // A call that fails before it begins has given nothing.
    let wrong = module.call::<u32>("subscribe", (echo("c"), 1)).await;
    refused(wrong, ErrorCode::InvalidArgument, &[]);
    let unknown = module.call::<u32>("enlist", (echo("d"),)).await;
    refused(unknown, ErrorCode::InvalidArgument, &[]);
    assert_eq!(live.load(Ordering::SeqCst), 0);
    until_nothing_lives(&tenant.client).await;
}

#[tokio::test]
async fn objects_of_several_clients_meet_in_a_shared_instance_and_those_of_one_that_left_are_lost()
{
    let tenant = counter(Instancing::Shared).await;
    let module = tenant.client.module("counter");
    let live = Arc::new(AtomicUsize::new(0));
    let other = tenant.client_again().await;
    let here = tenant.client.object(Echo::new("here", &live));
    let there = other.object(Echo::new("there", &live));
    let number: u32 = module.call("subscribe", (here,)).await.unwrap();
    let theirs: u32 = other
        .module("counter")
        .call("subscribe", (there,))
        .await
        .unwrap();
    let said: Said = module.call("publish", ("both",)).await.unwrap();
    assert_eq!(said, ["here heard both", "there heard both"].map(ok));
    drop(other);
    until_live(&live, 1).await;
    let lost = failure(module.call::<Said>("publish", ("one",)).await);
    assert_eq!(lost.code, ErrorCode::ProviderLost, "{lost}");
    let _either = (number, theirs);
}

#[tokio::test]
async fn whoever_is_called_may_call_and_who_would_wait_for_itself_is_told() {
    let tenant = counter(Instancing::Session).await;
    tenant.register("calc", built("calc")).await;
    let module = tenant.client.module("counter");
    let (calc, again): (NamedModule, NamedModule) = (tenant.client.module("calc"), module.clone());
    let caller = tenant.client.object(move |call: Incoming| {
        let (calc, again) = (calc.clone(), again.clone());
        async move {
            let (event,): (String,) = call.args()?;
            if event == "again" {
                // The instance waits for this very answer.
                let code = again.call::<u32>("live", ()).await.unwrap_err().code();
                return Ok::<Result<String, String>, ProviderError>(Err(code.to_string()));
            }
            let sum: i64 = calc.call("add", (2, 3)).await?;
            Ok(Ok(format!("{event} {sum}")))
        }
    });
    let said: Said = module.call("emit", (&caller, "sum", 2)).await.unwrap();
    assert_eq!(said, [ok("sum 5"), ok("sum 5")]);
    let said: Said = module.call("emit", (&caller, "again", 1)).await.unwrap();
    assert_eq!(said, [Err("would-deadlock".to_owned())]);
}

#[tokio::test]
async fn an_object_that_does_not_answer_is_waited_for_no_longer_than_the_call_has() {
    let tenant = counter(Instancing::Call).await;
    let module = tenant.client.module("counter");
    let (began, stopped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    struct Tells(Arc<Notify>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (begin, stop) = (began.clone(), stopped.clone());
    let silent = tenant.client.object(move |_: Incoming| {
        let tells = Tells(stop.clone());
        begin.notify_one();
        async move {
            let _tells = tells;
            std::future::pending::<Result<String, ProviderError>>().await
        }
    });
    let call = module.function("emit").args((&silent, "hello", 1));
    let late = call
        .timeout(Duration::from_millis(300))
        .call::<Said>()
        .await;
    refused(late, ErrorCode::DeadlineExceeded, &[]);
    in_time("the call to begin", began.notified()).await;
    in_time("it to be stopped", stopped.notified()).await;
    // And no longer than the caller does.
    let call = tokio::spawn({
        let call = module.function("emit").args((&silent, "hello", 1));
        async move { call.call::<Said>().await }
    });
    in_time("the call to begin", began.notified()).await;
    call.abort();
    in_time("it to be stopped", stopped.notified()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_thousands_that_are_given_and_lent_by_many_at_once_none_is_left() {
    const TASKS: u32 = 8;
    const ROUNDS: u32 = 100;
    let tenant = counter(Instancing::Session).await;
    let live = Arc::new(AtomicUsize::new(0));
    let client = tenant.client_again().await;
    let tasks = (0..TASKS).map(|_| {
        let (client, live): (Client, _) = (client.clone(), live.clone());
        tokio::spawn(async move {
            let module = client.module("counter");
            let kept = client.object(Echo::new("it", &live));
            for round in 0..ROUNDS {
                let object = match round % 2 {
                    0 => kept.clone(),
                    _ => client.object(Echo::new("it", &live)),
                };
                let said: Said = module.call("emit", (&object, "x", 1)).await.unwrap();
                assert_eq!(said, [ok("it heard x")]);
                let number: u32 = module.call("subscribe", (&object,)).await.unwrap();
                match round % 3 {
                    0 => {
                        let back: Option<ClientObject> =
                            module.call("unsubscribe", (number,)).await.unwrap();
                        assert_eq!(back, Some(object));
                    }
                    _ => assert!(module.call::<bool>("forget", (number,)).await.unwrap()),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    until_live(&live, 0).await;
    let said: Said = client
        .module("counter")
        .call("publish", ("x",))
        .await
        .unwrap();
    assert_eq!(said, []);
}

/// A module gives a client's object an object of its own to look at: `Object` among the arguments of a call into
/// this program, for the time of that call.
#[tokio::test]
async fn a_client_sees_its_own_objects_and_those_of_the_host_apart() {
    let tenant = counter(Instancing::Session).await;
    let module = tenant.client.module("counter");
    let echo = tenant
        .client
        .object(|_: Incoming| async { Ok::<_, ProviderError>(()) });
    let wrong = module.call::<u64>("peek", (&echo,)).await;
    refused(wrong, ErrorCode::InvalidArgument, &["counter"]);
    let counter: Object = module.object("counter", (1,)).await.unwrap();
    let wrong = module.call::<Said>("emit", (&counter, "x", 1)).await;
    refused(wrong, ErrorCode::InvalidArgument, &["handler"]);
    assert_eq!(counter.call::<u64>("value", ()).await.unwrap(), 1);
}

/// Values of things, by the objects that were given for them.
#[derive(Clone, Default)]
struct Things(Arc<Mutex<HashMap<ClientObject, Arc<AtomicI64>>>>);

impl Things {
    fn make(&self, value: i64) -> ClientObject {
        let value = Arc::new(AtomicI64::new(value));
        let of_thing = value.clone();
        let thing = ClientObject::new(move |call: Incoming| {
            let value = of_thing.clone();
            async move {
                let more = match call.function() {
                    "value" => 0,
                    "add" => call.args::<(i64,)>()?.0,
                    _ => return Err(call.unknown()),
                };
                Ok(value.fetch_add(more, Ordering::SeqCst) + more)
            }
        });
        self.0.lock().unwrap().insert(thing.clone(), value);
        thing
    }

    fn value(&self, thing: &ClientObject) -> i64 {
        self.0.lock().unwrap()[thing].load(Ordering::SeqCst)
    }

    fn serve(&self, call: &Incoming) -> Result<Answer, ProviderError> {
        match call.function() {
            "[constructor]thing" => Answer::of(&self.make(call.args::<(i64,)>()?.0)),
            "larger" => {
                let (a, b): (ClientObject, ClientObject) = call.args()?;
                Answer::of(&self.value(&a).max(self.value(&b)))
            }
            "sum" => {
                let (things,): (Vec<ClientObject>,) = call.args()?;
                Answer::of(&things.iter().map(|thing| self.value(thing)).sum::<i64>())
            }
            _ => Err(call.unknown()),
        }
    }
}

#[tokio::test]
async fn a_program_serves_an_interface_with_resources_as_a_module_does() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("user", built("user")).await;
    tenant.register("test:things/broker", built("broker")).await;
    tenant.register("test:things/maker", built("maker")).await;
    let user = tenant.client.module("user");
    let by_module: Vec<i64> = user.call("lending", ()).await.unwrap();
    let (things, calls) = (Things::default(), Arc::new(AtomicUsize::new(0)));
    let (serving, counted) = (things.clone(), calls.clone());
    let serve = move |call: Incoming| {
        counted.fetch_add(1, Ordering::SeqCst);
        let answer = serving.serve(&call);
        async move { answer }
    };
    let lease = tenant
        .client
        .provide("test:things/maker", serve, Scope::Session)
        .await
        .unwrap();
    let by_program: Vec<i64> = user.call("lending", ()).await.unwrap();
    assert_eq!(by_program, by_module);
    assert!(calls.load(Ordering::SeqCst) > 0 && !things.0.lock().unwrap().is_empty());
    lease.withdraw().await.unwrap();
}
