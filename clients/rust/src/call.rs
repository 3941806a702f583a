//! One call.

use std::fmt;
use std::time::Duration;

use rpc_host_protocol::Message;
use rpc_host_protocol::message::CallHeader;
use rpc_host_protocol::serde::{ArgumentList, Arguments, from_cbor, split_result};
use rpc_host_protocol::value::ValueError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Client, within};
use crate::error::{Error, GuestError};

/// The host ends a call that takes too long. So much longer is waited for it to say so.
const GRACE: Duration = Duration::from_secs(2);

/// A call that has not been made yet.
#[must_use = "nothing is called before `call` or one of its sisters"]
pub struct Call {
    client: Client,
    header: CallHeader,
    timeout: Option<Duration>,
    arguments: Result<ArgumentList, ValueError>,
}

/// What answered a call, not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawReply {
    /// The result as one CBOR item; null if the function has none.
    pub value: Vec<u8>,
    /// Whether the function returns a WIT `result`, so that the value is `{ok: …}` or `{err: …}`.
    pub is_result: bool,
}

impl Call {
    pub(crate) fn new(client: Client, module: &str, function: String) -> Self {
        Call {
            client,
            header: CallHeader {
                module: module.to_owned(),
                function,
                ..CallHeader::default()
            },
            timeout: None,
            arguments: Ok(ArgumentList::new()),
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
            && let Err(error) = add(list)
        {
            self.arguments = Err(error);
        }
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
        self.send().await?.into_value()
    }

    /// Makes the call of a function that returns a WIT `result`: a guest error is the inner `Err`.
    pub async fn call_result<T: DeserializeOwned, E: DeserializeOwned>(
        self,
    ) -> Result<Result<T, E>, Error> {
        self.send().await?.into_result()
    }

    /// Makes the call with arguments that are encoded already, in place of those added before: an array
    /// of positional arguments and a map of named ones, as
    /// [`encode_arguments`](rpc_host_protocol::cbor::encode_arguments) makes them.
    pub async fn call_raw(self, arguments: Vec<u8>) -> Result<RawReply, Error> {
        let Call {
            client,
            header,
            timeout,
            ..
        } = self;
        send(client, header, timeout, arguments).await
    }

    async fn send(self) -> Result<RawReply, Error> {
        let arguments = self.arguments.map_err(Error::Encode)?.into_bytes();
        send(self.client, self.header, self.timeout, arguments).await
    }
}

async fn send(
    client: Client,
    mut header: CallHeader,
    timeout: Option<Duration>,
    arguments: Vec<u8>,
) -> Result<RawReply, Error> {
    // A timeout below the unit of the wire is still a timeout.
    header.timeout_ms = timeout.map(|timeout| {
        u64::try_from(timeout.as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    });
    let answer = async {
        let exchange = client.begin(Message::Call { header, arguments }).await?;
        exchange.finished().await
    };
    match timeout {
        None => answer.await,
        Some(timeout) => within(timeout.saturating_add(GRACE), answer).await,
    }
}

impl RawReply {
    fn into_value<T: DeserializeOwned>(self) -> Result<T, Error> {
        if !self.is_result {
            return from_cbor(&self.value, "result").map_err(Error::Decode);
        }
        match split_result(&self.value).map_err(Error::Decode)? {
            Ok(payload) => from_cbor(payload, "result.ok").map_err(Error::Decode),
            Err(payload) => Err(Error::Guest(GuestError::new(payload))),
        }
    }

    fn into_result<T: DeserializeOwned, E: DeserializeOwned>(self) -> Result<Result<T, E>, Error> {
        if !self.is_result {
            return Err(Error::Decode(ValueError {
                path: "result".to_owned(),
                problem: "the function does not return a result; use `call`".to_owned(),
            }));
        }
        match split_result(&self.value).map_err(Error::Decode)? {
            Ok(payload) => from_cbor(payload, "result.ok").map(Ok),
            Err(payload) => from_cbor(payload, "result.err").map(Err),
        }
        .map_err(Error::Decode)
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
