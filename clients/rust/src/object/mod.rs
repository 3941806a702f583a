//! Live objects: those of the host that this program holds, and those of this program that the host holds.

mod own;
pub(crate) mod scope;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use rpc_host_protocol::serde::Arguments;
use rpc_host_protocol::value::Handle;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::call::Call;
use crate::connection::{Connection, Proxy};
use crate::error::Error;

pub use own::ClientObject;
pub(crate) use own::Implementation;

/// A live object of the host: a value of a resource type that a module made and that this program holds.
///
/// It lives in the instance of the module that made it, which stays for as long as somebody holds one of its
/// objects. All clones are of the one object. When the last of them is dropped, the host is told so before long,
/// and ends the object; [`close`](Object::close) does that at once and waits for it. An object keeps its
/// connection open, and is gone when that is lost.
///
/// An object occurs in results and arguments wherever the function's type has a resource, within records, lists,
/// options and results too: as `Object` in types that implement `Deserialize` and `Serialize`. Where a function
/// *borrows* one it is given as `&object`; where it takes one as its *own*, as `object`, after which other clones
/// of it are of an object that this program does not have any more.
///
/// ```standalone_crate
/// # use rpc_host_client::{Client, Options, Profile};
/// use rpc_host_client::Object;
///
/// #[derive(serde::Deserialize)]
/// struct Pair { name: String, left: Object, right: Option<Object> }
///
/// # rpc_host_tests::documented(async || {
/// # let client = Client::connect(Profile::load()?).await?;
/// # let module = client.upload_module(rpc_host_tests::built("counter")).await?;
/// # client.register("counter", &module, Options::default()).await?;
/// let module = client.module("counter");
/// let counter = module.object("counter", (10,)).await?;
/// assert_eq!(counter.call::<u64>("increment", ()).await?, 11);
///
/// let other: Object = counter.call("copy", ()).await?;
/// let larger: u64 = module.call("counter.larger", (&counter, &other)).await?;
/// assert_eq!(larger, 11);
/// assert_eq!(counter.call::<u64>("absorb", (other,)).await?, 22);
///
/// let pair: Pair = module.call("couple", ("both", 1, Some(2))).await?;
/// assert_eq!(pair.left.call::<u64>("value", ()).await?, 1);
/// assert_eq!((pair.name.as_str(), pair.right.is_some()), ("both", true));
///
/// counter.close().await?;
/// # Ok::<(), rpc_host_client::Error>(())
/// # });
/// ```
#[derive(Clone)]
pub struct Object {
    proxy: Arc<Proxy>,
    connection: Arc<Connection>,
    module: Arc<str>,
    resource: Option<Arc<str>>,
}

impl Object {
    fn new(proxy: Proxy, connection: Arc<Connection>, module: Arc<str>) -> Self {
        Object {
            proxy: Arc::new(proxy),
            connection,
            module,
            resource: None,
        }
    }

    /// The number by which this session holds it. It means nothing elsewhere.
    pub fn number(&self) -> u64 {
        self.proxy.number()
    }

    /// The registration whose functions are called where it lives.
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The same object, for calls of another registration that has a part where it lives: the one that
    /// made it, if it came by way of others.
    pub fn in_module(mut self, name: impl Into<Arc<str>>) -> Self {
        self.module = name.into();
        self
    }

    /// The same object, known to be of this resource: `counter`, `counters.counter` or
    /// `demo:counter/counters@0.1.0.counter`. Needed only where methods of several resources have one name.
    pub fn of_resource(mut self, resource: impl Into<Arc<str>>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Whether it may be used: neither closed, nor gone with its connection. Whether the instance is well that
    /// it lives in, only a call tells.
    pub fn is_open(&self) -> bool {
        self.proxy.gone().is_none()
    }

    /// Calls a method, as [`NamedModule::call`](crate::NamedModule::call) calls a function.
    pub fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        arguments: impl Arguments,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        self.method(method).args(arguments).call()
    }

    /// Calls a method that returns a WIT `result`: a guest error is the inner `Err`.
    pub fn call_result<T: DeserializeOwned, E: DeserializeOwned>(
        &self,
        method: &str,
        arguments: impl Arguments,
    ) -> impl Future<Output = Result<Result<T, E>, Error>> + Send {
        self.method(method).args(arguments).call_result()
    }

    /// A call of a method that is put together step by step: with a
    /// [timeout](Call::timeout), with [less than all grants](Call::allow), with
    /// [what it prints](Call::output). The object is its first argument already.
    pub fn method(&self, name: impl Into<String>) -> Call {
        Call::on_object(self, name.into())
    }

    /// Lets go of the object for all clones, and waits until the host has ended it.
    pub async fn close(&self) -> Result<(), Error> {
        if let Some(gone) = self.proxy.gone() {
            return Err(gone);
        }
        self.connection.clone().release(&self.proxy).await
    }

    pub(crate) fn resource(&self) -> Option<&Arc<str>> {
        self.resource.as_ref()
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(crate) fn module_name(&self) -> &Arc<str> {
        &self.module
    }
}

impl PartialEq for Object {
    /// Whether both are of the same object.
    fn eq(&self, other: &Self) -> bool {
        self.proxy.is_same(&other.proxy)
    }
}

impl Eq for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number();
        match &self.resource {
            Some(resource) => write!(f, "Object({}, {resource}, {number})", self.module),
            None => write!(f, "Object({}, {number})", self.module),
        }
    }
}

impl Serialize for Object {
    /// As an argument of a call, or part of one. Elsewhere it is an error.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        scope::write(self).map_err(S::Error::custom)?;
        Handle::Host(self.number()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Object {
    /// From the answer of a call, or part of it. Elsewhere it is an error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Handle::deserialize(deserializer)? {
            Handle::Host(number) => scope::read(number).ok_or_else(|| {
                D::Error::custom("an object comes with an answer, and else nowhere")
            }),
            Handle::Client(_) => Err(D::Error::custom(
                "expected an object of the host, got one of this client; read it as a `ClientObject`",
            )),
        }
    }
}
