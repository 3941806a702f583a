//! One call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::Message;
use rpc_host_protocol::message::CallHeader;
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::serde::{ArgumentList, Arguments, split_result};
use rpc_host_protocol::value::ValueError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::client::{Client, within};
use crate::connection::{Arrival, Line, Passed};
use crate::error::{Error, GuestError};
use crate::object::Object;
use crate::object::scope::{Read, Written, reading, reading_owned, writing};

/// The host ends a call that takes too long. So much longer is waited for it to say so.
const GRACE: Duration = Duration::from_secs(2);

/// A call that has not been made yet.
#[must_use = "nothing is called before `call` or one of its sisters"]
pub struct Call {
    origin: Origin,
    header: CallHeader,
    timeout: Option<Duration>,
    arguments: Result<ArgumentList, ValueError>,
    written: Written,
    show: Option<Show>,
}

/// What is called.
enum Origin {
    /// A function of a registration.
    Function(Client),
    /// A method of an object.
    Method(Object),
}

type Show = Box<dyn FnMut(Line) + Send>;

/// A reply on its way.
type Answer = Pin<Box<dyn Future<Output = Result<(RawReply, Option<Read>), Error>> + Send>>;

/// What answered a call, not decoded.
#[derive(Clone)]
pub struct RawReply {
    /// The result as one CBOR item; null if the function has none.
    pub value: Vec<u8>,
    /// Whether the function returns a WIT `result`, so that the value is `{ok: …}` or `{err: …}`.
    pub is_result: bool,
    /// Objects that are in it stay as long as it does.
    arrival: Option<Arc<Arrival>>,
}

impl Call {
    pub(crate) fn new(client: Client, module: &str, function: String) -> Self {
        Call::of(Origin::Function(client), module, function)
    }

    /// A call of an object's method, which has the object as its first argument.
    pub(crate) fn on_object(object: &Object, method: String) -> Self {
        let origin = Origin::Method(object.clone());
        Call::of(origin, object.module(), method)
            .on(object)
            .arg(object)
    }

    fn of(origin: Origin, module: &str, function: String) -> Self {
        Call {
            origin,
            header: CallHeader {
                module: module.to_owned(),
                function,
                ..CallHeader::default()
            },
            timeout: None,
            arguments: Ok(ArgumentList::new()),
            written: Written::default(),
            show: None,
        }
    }

    /// Adds the next positional argument.
    pub fn arg(self, value: impl Serialize) -> Self {
        self.with_arguments(|list| list.push(&value))
    }

    /// Adds several positional arguments, given as a tuple.
    pub fn args(self, values: impl Arguments) -> Self {
        self.with_arguments(|list| values.push_to(list))
    }

    /// Adds an argument by the name of its parameter, in snake_case or kebab-case.
    pub fn named(self, name: &str, value: impl Serialize) -> Self {
        self.with_arguments(|list| list.insert(name, &value))
    }

    fn with_arguments(
        mut self,
        add: impl FnOnce(&mut ArgumentList) -> Result<(), ValueError>,
    ) -> Self {
        // The first thing wrong is what will be reported.
        if let Ok(list) = &mut self.arguments
            && let Err(error) = writing(&mut self.written, || add(list))
        {
            self.arguments = Err(error);
        }
        self
    }

    /// Makes the call where this object lives. By itself, a call is made where the first of the objects lives
    /// that are among its arguments, and all of them have to live there.
    pub fn on(mut self, object: &Object) -> Self {
        self.header.on = Some(object.number());
        self.written
            .connection
            .get_or_insert_with(|| object.connection().clone());
        self
    }

    /// Shows each line that the called module writes, to its standard output, its standard error or its log, as
    /// it comes and before the call ends.
    ///
    /// ```standalone_crate
    /// # use rpc_host_client::{Client, Options, Profile};
    /// # use std::sync::{Arc, Mutex};
    /// # rpc_host_tests::documented(async || {
    /// # let client = Client::connect(Profile::load()?).await?;
    /// # let module = client.upload_module(rpc_host_tests::built("counter")).await?;
    /// # client.register("counter", &module, Options::default()).await?;
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let lines = seen.clone();
    /// client
    ///     .module("counter")
    ///     .function("say")
    ///     .arg(["one", "two"])
    ///     .output(move |line| lines.lock().unwrap().push(line.text))
    ///     .call::<()>()
    ///     .await?;
    /// assert_eq!(*seen.lock().unwrap(), ["one", "two"]);
    /// # Ok::<(), rpc_host_client::Error>(())
    /// # });
    /// ```
    pub fn output(mut self, show: impl FnMut(Line) + Send + 'static) -> Self {
        self.header.output = true;
        self.show = Some(Box::new(show));
        self
    }

    /// How long the call may take, on the host's clock. Without it, the host's default holds; it also
    /// has a maximum.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Leaves only such grants in force for the call, and all that it leads to, as match one of these
    /// patterns, such as `log` or `kv:cache=ro`; without any pattern, none. A call can have less than its
    /// modules are registered with, and never more.
    pub fn allow<T: Into<String>>(mut self, patterns: impl IntoIterator<Item = T>) -> Self {
        self.header.allow = Some(patterns.into_iter().map(Into::into).collect());
        self
    }

    /// Makes the call. A guest error is [`Error::Guest`].
    pub async fn call<T: DeserializeOwned>(self) -> Result<T, Error> {
        let (reply, read) = self.send().await?;
        reply.into_value(read)
    }

    /// Makes the call of a function that returns a WIT `result`: a guest error is the inner `Err`.
    pub async fn call_result<T: DeserializeOwned, E: DeserializeOwned>(
        self,
    ) -> Result<Result<T, E>, Error> {
        let (reply, read) = self.send().await?;
        reply.into_result(read)
    }

    /// Makes the call with arguments that are encoded already, in place of those added before: an array
    /// of positional arguments and a map of named ones, as
    /// [`encode_arguments`](rpc_host_protocol::cbor::encode_arguments) makes them.
    pub async fn call_raw(mut self, arguments: Vec<u8>) -> Result<RawReply, Error> {
        self.written.passed = Passed::default();
        let (reply, _read) = self.send_encoded(arguments.into()).await?;
        Ok(reply)
    }

    async fn send(mut self) -> Result<(RawReply, Option<Read>), Error> {
        let arguments = std::mem::replace(&mut self.arguments, Ok(ArgumentList::new()));
        let arguments = arguments.map_err(Error::Encode)?.into_payload();
        self.send_encoded(arguments).await
    }

    /// Boxed, so that the futures of those who call, each within another, stay small.
    fn send_encoded(self, arguments: Payload) -> Answer {
        let timeout = self.timeout;
        let answer = Box::pin(self.exchange(arguments));
        match timeout {
            None => answer,
            Some(timeout) => Box::pin(within(timeout.saturating_add(GRACE), answer)),
        }
    }

    async fn exchange(self, arguments: Payload) -> Result<(RawReply, Option<Read>), Error> {
        let Call {
            origin,
            mut header,
            timeout,
            written: Written { passed, connection },
            show,
            ..
        } = self;
        // A timeout below the unit of the wire is still a timeout.
        header.timeout_ms = timeout.map(|timeout| {
            u64::try_from(timeout.as_millis())
                .unwrap_or(u64::MAX)
                .max(1)
        });
        let first = passed.proxies.first();
        header.on = header.on.or(first.map(|proxy| proxy.number()));
        let present = match &origin {
            Origin::Method(object) => object.connection().clone(),
            Origin::Function(client) => client.connection().await?,
        };
        if let (Some(connection), Some(number)) = (&connection, header.on)
            && !Arc::ptr_eq(connection, &present)
        {
            return Err(Error::object(number, "is of another connection"));
        }
        let connection = present;
        if let Origin::Method(object) = &origin {
            let resource = object.resource().map(|resource| &**resource);
            let (number, module) = (object.number(), object.module_name());
            let method = connection.method(number, module, resource, &header.function);
            header.function = Box::pin(method).await?;
        }
        let module = Arc::from(header.module.as_str());
        let message = Message::Call { header, arguments };
        let reply = match show {
            None => {
                let exchange = connection.clone().begin_with(message, passed, None);
                exchange.await?.finished().await?
            }
            Some(show) => {
                let (sender, lines) = mpsc::unbounded_channel();
                let exchange = connection.clone().begin_with(message, passed, Some(sender));
                exchange.await?.finished_showing(lines, show).await?
            }
        };
        let read = reply.arrival.clone().map(|arrival| Read {
            arrival,
            connection,
            module,
        });
        Ok((reply, read))
    }
}

impl RawReply {
    pub(crate) fn new(value: Vec<u8>, is_result: bool, arrival: Option<Arc<Arrival>>) -> Self {
        RawReply {
            value,
            is_result,
            arrival,
        }
    }

    fn into_value<T: DeserializeOwned>(self, read: Option<Read>) -> Result<T, Error> {
        let read = read.as_ref();
        if !self.is_result {
            return reading_owned(self.value, "result", read).map_err(Error::Decode);
        }
        match split_result(&self.value).map_err(Error::Decode)? {
            Ok(payload) => reading(payload, "result.ok", read).map_err(Error::Decode),
            Err(payload) => Err(Error::Guest(GuestError::new(payload, read.cloned()))),
        }
    }

    fn into_result<T: DeserializeOwned, E: DeserializeOwned>(
        self,
        read: Option<Read>,
    ) -> Result<Result<T, E>, Error> {
        let read = read.as_ref();
        if !self.is_result {
            return Err(Error::Decode(ValueError {
                path: "result".to_owned(),
                problem: "the function does not return a result; use `call`".to_owned(),
            }));
        }
        match split_result(&self.value).map_err(Error::Decode)? {
            Ok(payload) => reading(payload, "result.ok", read).map(Ok),
            Err(payload) => reading(payload, "result.err", read).map(Err),
        }
        .map_err(Error::Decode)
    }
}

impl PartialEq for RawReply {
    fn eq(&self, other: &Self) -> bool {
        (&self.value, self.is_result) == (&other.value, other.is_result)
    }
}

impl Eq for RawReply {}

impl fmt::Debug for RawReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawReply")
            .field("value", &self.value)
            .field("is_result", &self.is_result)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Call {
    /// Never shows the arguments, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
