//! Objects of this program that a module is given.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rpc_host_protocol::value::Handle;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::scope;
use crate::client::Client;
use crate::provider::{IntoProvider, Provider};

/// What is behind an object of this program.
pub(crate) struct Implementation {
    pub(crate) provider: Arc<dyn Provider>,
}

/// Of all objects that were ever passed, to whichever host. Each time has a number of its own, so that what a
/// host says about one time says nothing about another.
static LAST: AtomicU64 = AtomicU64::new(0);

/// An object of this program, to be given where a module takes a resource that it imports: its methods are then
/// called here. Made by [`Client::object`].
///
/// It is given as `&object` or as `object`; whether the module borrows it or keeps it, the host tells when it has
/// let go of it. What is behind it stays until then, or to the end of the connection, whether or not this is
/// dropped. When it comes back, in a result, it is equal to what was given.
#[derive(Clone)]
pub struct ClientObject {
    implementation: Arc<Implementation>,
}

impl ClientObject {
    /// The object of an implementation; see [`Client::object`].
    pub fn new<M>(implementation: impl IntoProvider<M>) -> Self {
        ClientObject {
            implementation: Arc::new(Implementation {
                provider: implementation.into_provider(),
            }),
        }
    }
}

impl Client {
    /// An object of this program, as something that can be given to calls of any client. Its methods are called
    /// as the functions of a name are that is [provided](Client::provide), and `implementation` may be
    /// what can be given there: the object itself is not among the arguments.
    ///
    /// ```standalone_crate,no_run
    /// # use rpc_host_client::{Client, Options, Profile};
    /// use rpc_host_client::interface;
    ///
    /// interface! {
    ///     /// `handler` of `acme:events/events`
    ///     pub trait Handler {
    ///         async fn call(&self, event: String) -> Result<String, String>;
    ///     }
    /// }
    ///
    /// struct Shouting;
    ///
    /// impl Handler for Shouting {
    ///     async fn call(&self, event: String) -> Result<String, String> {
    ///         Ok(event.to_uppercase())
    ///     }
    /// }
    ///
    /// # rpc_host_tests::documented(async || {
    /// # let client = Client::connect(Profile::load()?).await?;
    /// # let module = client.upload_module(rpc_host_tests::built("counter")).await?;
    /// # client.register("counter", &module, Options::default()).await?;
    /// let handler = client.object(Shouting);
    /// let said: Vec<Result<String, String>> =
    ///     client.module("counter").call("emit", (&handler, "hello", 2)).await?;
    /// assert_eq!(said, [Ok("HELLO".to_owned()), Ok("HELLO".to_owned())]);
    /// # Ok::<(), rpc_host_client::Error>(())
    /// # });
    /// ```
    pub fn object<M>(&self, implementation: impl IntoProvider<M>) -> ClientObject {
        ClientObject::new(implementation)
    }
}

impl PartialEq for ClientObject {
    /// Whether both are the same object.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.implementation, &other.implementation)
    }
}

impl Eq for ClientObject {}

impl fmt::Debug for ClientObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientObject")
    }
}

impl Serialize for ClientObject {
    /// As an argument of a call, or part of one. Elsewhere it is an error.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        scope::write_own(number, &self.implementation).map_err(S::Error::custom)?;
        Handle::Client(number).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ClientObject {
    /// From the answer of a call, or part of it. Elsewhere it is an error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = match Handle::deserialize(deserializer)? {
            Handle::Client(number) => scope::read_own(number),
            Handle::Host(_) => {
                return Err(D::Error::custom(
                    "expected an object of this client, got one of the host; read it as an `Object`",
                ));
            }
        };
        let implementation =
            found.ok_or_else(|| D::Error::custom("it is no object that this client gave"))?;
        Ok(ClientObject { implementation })
    }
}
