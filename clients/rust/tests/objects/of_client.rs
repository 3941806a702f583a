//! Objects of the client's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rpc_host_client::{ClientObject, Error, Incoming, Object, ProviderError, interface};
use rpc_host_protocol::message::{CallHeader, Release};
use rpc_host_protocol::serde::from_cbor;
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, ExchangeId, Message};
use serde::Serialize;
use tokio::sync::Notify;

use super::{against, host};
use crate::fake_host::Peer;
use crate::{cbor, positional};

const INTERFACE: &str = "acme:events/events@0.1.0";

interface! {
    trait Handler {
        async fn call(&self, event: String) -> Result<String, String>;
        async fn look(&self, at: Object, with: Option<ClientObject>) -> ClientObject;
    }
}

/// Counts those that there are.
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
            "" => Err("nothing happened".to_owned()),
            event => Ok(format!("{}: {event}", self.name)),
        }
    }

    async fn look(&self, at: Object, with: Option<ClientObject>) -> ClientObject {
        assert_eq!(at.number(), 70);
        with.expect("the one that was given")
    }
}

impl Peer {
    /// Calls a method of the client's object of this number; its answer.
    async fn calls(
        &mut self,
        id: u32,
        number: u64,
        method: &str,
        arguments: impl Serialize,
    ) -> Result<Vec<u8>, (ErrorCode, String)> {
        self.begins(id, number, method, arguments).await;
        match self.receive().await.unwrap() {
            (answered, Message::Reply { value, .. }) if answered.0 == id => Ok(value),
            (answered, Message::Failure(failure)) if answered.0 == id => {
                Err((failure.code, failure.message))
            }
            (_, other) => panic!("{other:?} instead of an answer"),
        }
    }

    async fn begins(&mut self, id: u32, number: u64, method: &str, arguments: impl Serialize) {
        let header = CallHeader {
            module: INTERFACE.to_owned(),
            function: format!("{INTERFACE}.[method]handler.{method}"),
            timeout_ms: Some(60_000),
            ..CallHeader::default()
        };
        // All of the arguments: the object, and those that were given.
        let rest = match cbor(arguments) {
            null if null == [0xf6] => vec![0x80],
            rest => rest,
        };
        let count = rest[0] - 0x80;
        let mut bytes = vec![0x81 + count];
        bytes.extend(cbor(Handle::Client(number)));
        bytes.extend_from_slice(&rest[1..]);
        bytes.push(0xa0);
        let call = Message::Call {
            header,
            arguments: bytes.into(),
        };
        self.send(ExchangeId(id), call).await;
    }

    /// Lets go of objects of the client, and sees to it that the client has heard.
    async fn lets_go_of(&mut self, numbers: &[u64]) {
        let handles = numbers.iter().map(|number| (*number, 1)).collect();
        let release = Message::Release(Release { handles });
        self.send(ExchangeId::CONNECTION, release).await;
        self.hears_nothing().await;
    }

    /// The next call's only argument, an object of the client.
    async fn takes(&mut self) -> (ExchangeId, u64) {
        let (id, _, arguments) = self.header().await;
        let (Handle::Client(number),) = positional::<(Handle,)>(&arguments) else {
            panic!("an object of the host");
        };
        (id, number)
    }
}

fn text(answer: Result<Vec<u8>, (ErrorCode, String)>) -> Result<String, String> {
    from_cbor(&answer.unwrap(), "answer").unwrap()
}

#[tokio::test]
async fn an_object_is_called_until_the_host_lets_go_of_it() {
    let live = Arc::new(AtomicUsize::new(0));
    let (of_host, of_client) = (live.clone(), live.clone());
    let script = async move |mut peer: Peer| {
        let (id, number) = peer.takes().await;
        // While the call runs that it was given to.
        let said = text(peer.calls(2, number, "call", ("one",)).await);
        assert_eq!(said, Ok("echo: one".to_owned()));
        peer.gives(id, ()).await;
        // And after it, though the client has let go of it.
        let (id, ..) = peer.header().await;
        let said = text(peer.calls(4, number, "call", ("",)).await);
        assert_eq!(said, Err("nothing happened".to_owned()));
        let missing = peer.calls(6, number, "jump", ()).await.unwrap_err();
        assert_eq!(missing.0, ErrorCode::Unimplemented);
        let wrong = peer.calls(8, number, "call", (1,)).await.unwrap_err();
        assert_eq!(wrong.0, ErrorCode::InvalidArgument);
        assert_eq!(of_host.load(Ordering::SeqCst), 1);
        peer.lets_go_of(&[number]).await;
        assert_eq!(of_host.load(Ordering::SeqCst), 0);
        let gone = peer.calls(10, number, "call", ("late",)).await.unwrap_err();
        assert_eq!(
            gone,
            (
                ErrorCode::NotFound,
                format!("this client has no object {number}")
            )
        );
        // Twice does no harm.
        peer.lets_go_of(&[number, number, 0]).await;
        peer.gives(id, ()).await;
    };
    against(script, async |client| {
        let module = client.module("counter");
        let object = client.object(Echo::new("echo", &of_client));
        module.call::<()>("subscribe", (object,)).await.unwrap();
        module.call::<()>("publish", ()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn each_time_that_an_object_is_given_is_let_go_of_by_itself() {
    let live = Arc::new(AtomicUsize::new(0));
    let (of_host, of_client) = (live.clone(), live.clone());
    let script = async move |mut peer: Peer| {
        let (id, first) = peer.takes().await;
        peer.gives(id, ()).await;
        let (id, second) = peer.takes().await;
        assert_ne!(first, second);
        // It ends with a failure, so nothing was given.
        peer.fails(id).await;
        let (id, third) = peer.takes().await;
        assert_eq!(
            peer.calls(2, second, "call", ("two",)).await.unwrap_err().0,
            ErrorCode::NotFound
        );
        peer.gives(id, ()).await;
        let (id, ..) = peer.header().await;
        for number in [first, third] {
            assert!(peer.calls(4, number, "call", ("on",)).await.is_ok());
        }
        peer.lets_go_of(&[second, third]).await;
        assert!(peer.calls(6, first, "call", ("on",)).await.is_ok());
        assert_eq!(of_host.load(Ordering::SeqCst), 1);
        peer.lets_go_of(&[first]).await;
        assert_eq!(of_host.load(Ordering::SeqCst), 0);
        peer.gives(id, ()).await;
    };
    against(script, async |client| {
        let module = client.module("counter");
        let object = client.object(Echo::new("echo", &of_client));
        module.call::<()>("emit", (&object,)).await.unwrap();
        module.call::<()>("emit", (&object,)).await.unwrap_err();
        module.call::<()>("emit", (object,)).await.unwrap();
        module.call::<()>("publish", ()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_object_that_comes_back_is_the_one_that_was_given() {
    let live = Arc::new(AtomicUsize::new(0));
    let of_client = live.clone();
    let script = async |mut peer: Peer| {
        let (id, _, arguments) = peer.header().await;
        let given = positional::<(Handle, Handle)>(&arguments);
        peer.gives(id, given).await;
        // Its end may be told right behind it.
        let handles = vec![(given.0.number(), 1), (given.1.number(), 1)];
        let release = Message::Release(Release { handles });
        peer.send(ExchangeId::CONNECTION, release).await;
        let (id, ..) = peer.header().await;
        peer.gives(id, given.0).await;
        let (id, ..) = peer.header().await;
        peer.gives(id, host(1)).await;
        assert_eq!(peer.released(1).await.len(), 1);
    };
    against(script, async |client| {
        let module = client.module("counter");
        let one = client.object(Echo::new("one", &of_client));
        let two = client.object(Echo::new("two", &of_client));
        assert_ne!(one, two);
        let (first, second): (ClientObject, ClientObject) =
            module.call("both", (&one, &two)).await.unwrap();
        assert_eq!((&first, &second), (&one, &two));
        let forged = module.call::<ClientObject>("forged", ()).await.unwrap_err();
        assert!(matches!(forged, Error::Decode(_)), "{forged}");
        let other = module.call::<ClientObject>("other", ()).await.unwrap_err();
        assert!(
            other.to_string().contains("read it as an `Object`"),
            "{other}"
        );
    })
    .await;
}

#[tokio::test]
async fn objects_of_both_sides_come_with_a_call_and_go_with_its_answer() {
    let live = Arc::new(AtomicUsize::new(0));
    let of_client = live.clone();
    let script = async |mut peer: Peer| {
        let (id, number) = peer.takes().await;
        let borrowed = (host(70), Handle::Client(number));
        peer.begins(2, number, "look", borrowed).await;
        assert_eq!(
            peer.released(1).await.into_iter().next(),
            Some((70, 1)),
            "it was looked at, and not kept"
        );
        let (_, answer) = peer.receive().await.unwrap();
        let Message::Reply { value, .. } = answer else {
            panic!("{answer:?} instead of an answer");
        };
        let Handle::Client(back) = from_cbor(&value, "answer").unwrap() else {
            panic!("an object of the host");
        };
        // It was given once more, and can be called by that.
        assert_ne!(back, number);
        peer.lets_go_of(&[number]).await;
        assert!(peer.calls(4, back, "call", ("hi",)).await.is_ok());
        peer.lets_go_of(&[back]).await;
        // What a call brings that is refused is let go of, too.
        let refused = peer
            .calls(6, number, "look", (host(71), Handle::Client(back)))
            .await;
        let (code, _) = refused.unwrap_err();
        assert_eq!(code, ErrorCode::NotFound);
        assert_eq!(peer.released(1).await.into_iter().next(), Some((71, 1)));
        peer.gives(id, ()).await;
    };
    against(script, async |client| {
        let object = client.object(Echo::new("echo", &of_client));
        let module = client.module("counter");
        module.call::<()>("emit", (&object,)).await.unwrap();
    })
    .await;
    assert_eq!(live.load(Ordering::SeqCst), 0);
}

/// A handler that gives back an object of the host's: the host must have it before it hears of its release.
#[tokio::test]
async fn what_an_answer_gives_back_is_let_go_of_after_it() {
    let script = async |mut peer: Peer| {
        let (id, ..) = peer.header().await;
        peer.gives(id, host(7)).await;
        let (id, _, arguments) = peer.header().await;
        let (Handle::Client(number),) = positional::<(Handle,)>(&arguments) else {
            panic!("an object of the host");
        };
        let answer = peer.calls(2, number, "call", ()).await.unwrap();
        let (object, _padding): (Handle, serde::de::IgnoredAny) =
            from_cbor(&answer, "answer").unwrap();
        assert_eq!(object, host(7));
        assert_eq!(peer.released(1).await.into_iter().next(), Some((7, 1)));
        peer.gives(id, ()).await;
    };
    against(script, async |client| {
        let module = client.module("counter");
        let object: Object = module.call("make", ()).await.unwrap();
        let object = std::sync::Mutex::new(Some(object));
        let gives = client.object(move |_: Incoming| {
            let object = object.lock().unwrap().take();
            async move {
                // Longer than a frame, so that a release could overtake it.
                Ok::<_, ProviderError>((object.unwrap(), vec![7_u8; 100_000]))
            }
        });
        module.call::<()>("emit", (gives,)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_answer_holds_no_object_of_another_connection() {
    let elsewhere = crate::fake_host::FakeHost::start(|mut peer: Peer, _| async move {
        peer.greet(crate::fake_host::welcome()).await;
        let (id, ..) = peer.header().await;
        peer.gives(id, host(7)).await;
        peer.receive().await;
    })
    .await;
    let other = rpc_host_client::Client::connect(elsewhere.profile())
        .await
        .unwrap();
    let theirs: Object = other.module("counter").call("make", ()).await.unwrap();
    let script = async |mut peer: Peer| {
        let (id, number) = peer.takes().await;
        let refused = peer.calls(2, number, "call", ()).await.unwrap_err();
        assert!(
            refused.1.contains("an object of another connection"),
            "{refused:?}"
        );
        peer.gives(id, ()).await;
    };
    against(script, async |client| {
        let object = client.object(move |_: Incoming| {
            let theirs = theirs.clone();
            async move { Ok::<_, ProviderError>(theirs) }
        });
        let module = client.module("counter");
        module.call::<()>("emit", (object,)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_call_that_an_object_makes_is_part_of_the_chain_that_it_serves() {
    let script = async |mut peer: Peer| {
        let (id, number) = peer.takes().await;
        peer.begins(2, number, "call", ("x",)).await;
        let (inner, header, _) = peer.header().await;
        assert_eq!(
            (header.within, header.function.as_str()),
            (Some(2), "inner")
        );
        peer.gives(inner, 5).await;
        let (answered, message) = peer.receive().await.unwrap();
        let value = cbor(5);
        let is_result = false;
        assert_eq!(
            (answered.0, message),
            (2, Message::Reply { value, is_result })
        );
        // One that the host does not wait for is stopped.
        peer.begins(4, number, "call", ("wait",)).await;
        let (inner, ..) = peer.header().await;
        peer.send(ExchangeId(4), Message::Cancel).await;
        assert_eq!(peer.receive().await.unwrap(), (inner, Message::Cancel));
        peer.fails(inner).await;
        let (answered, message) = peer.receive().await.unwrap();
        assert!(
            matches!(message, Message::Failure(_)) && answered.0 == 4,
            "{message:?}"
        );
        peer.gives(id, ()).await;
    };
    against(script, async |client| {
        let module = client.module("counter");
        let inner = module.clone();
        let object = client.object(move |_: Incoming| {
            let inner = inner.clone();
            async move { Ok::<_, ProviderError>(inner.call::<u8>("inner", ()).await?) }
        });
        module.call::<()>("emit", (object,)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_the_host_holds_is_let_go_of_with_the_connection() {
    let live = Arc::new(AtomicUsize::new(0));
    let of_client = live.clone();
    let (gone, is_gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let go = gone.clone();
    let script = async move |mut peer: Peer| {
        let (id, _) = peer.takes().await;
        peer.gives(id, ()).await;
        go.notified().await;
    };
    against(script, async |client| {
        let object = client.object(Echo::new("echo", &of_client));
        let module = client.module("counter");
        module.call::<()>("subscribe", (object,)).await.unwrap();
        assert_eq!(of_client.load(Ordering::SeqCst), 1);
        gone.notify_one();
        let lost = module.call::<()>("wait", ()).await.unwrap_err();
        assert!(matches!(lost, Error::Lost { .. }), "{lost}");
        is_gone.notify_one();
    })
    .await;
    is_gone.notified().await;
    assert_eq!(live.load(Ordering::SeqCst), 0);
}
