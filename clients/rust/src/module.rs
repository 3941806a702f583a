//! A registration, as something that can be called.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use rpc_host_protocol::serde::Arguments;
use serde::de::DeserializeOwned;

use crate::call::Call;
use crate::client::Client;
use crate::connection::constructor;
use crate::error::Error;
use crate::object::Object;

/// A registration by its name, as something that can be called.
#[derive(Clone)]
pub struct NamedModule {
    client: Client,
    name: Arc<str>,
}

impl NamedModule {
    pub(crate) fn new(client: Client, name: Arc<str>) -> Self {
        NamedModule { client, name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls a function with positional arguments.
    ///
    /// The function is named `add`, `calc.add` or `demo:calc/calc@0.1.0.add`; the shorter forms work
    /// where they fit one function only. A guest error is [`Error::Guest`].
    pub fn call<T: DeserializeOwned>(
        &self,
        function: &str,
        arguments: impl Arguments,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        self.function(function).args(arguments).call()
    }

    /// Calls a function that returns a WIT `result`: a guest error is the inner `Err`.
    pub fn call_result<T: DeserializeOwned, E: DeserializeOwned>(
        &self,
        function: &str,
        arguments: impl Arguments,
    ) -> impl Future<Output = Result<Result<T, E>, Error>> + Send {
        self.function(function).args(arguments).call_result()
    }

    /// Makes an object: calls the constructor of a resource, which is named `counter`, `counters.counter` or
    /// `demo:counter/counters@0.1.0.counter`; the shorter forms work where they fit one resource only.
    ///
    /// For more than arguments, such as a timeout, call the constructor as the
    /// [`function`](NamedModule::function) that it is, `[constructor]counter`, which gives an [`Object`].
    pub fn object(
        &self,
        resource: &str,
        arguments: impl Arguments,
    ) -> impl Future<Output = Result<Object, Error>> + Send {
        let resource: Arc<str> = resource.into();
        let made = self.function(constructor(&resource)).args(arguments);
        async move { Ok(made.call::<Object>().await?.of_resource(resource)) }
    }

    /// A call that is put together step by step.
    ///
    /// ```standalone_crate
    /// # use rpc_host_client::{Client, Options, Profile};
    /// use std::time::Duration;
    ///
    /// # rpc_host_tests::documented(async || {
    /// # let client = Client::connect(Profile::load()?).await?;
    /// # let module = client.upload_module(rpc_host_tests::built("text")).await?;
    /// # client.register("text", &module, Options::default()).await?;
    /// let length: Option<u64> = client
    ///     .module("text")
    ///     .function("line_length")
    ///     .arg("one\nthree")
    ///     .named("line", 1)
    ///     .timeout(Duration::from_secs(1))
    ///     .call()
    ///     .await?;
    /// assert_eq!(length, Some(5));
    /// # Ok::<(), rpc_host_client::Error>(())
    /// # });
    /// ```
    pub fn function(&self, function: impl Into<String>) -> Call {
        Call::new(self.client.clone(), &self.name, function.into())
    }
}

impl fmt::Debug for NamedModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamedModule({:?})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of what such a function returns.
    fn size_of_result<R>(_: impl Fn(Call) -> R) -> usize {
        size_of::<R>()
    }

    /// Each function on the way to whoever waits for a call moves it.
    #[test]
    fn what_callers_carry_of_a_call_is_small() {
        assert!(size_of_result(|call| call.call::<i64>()) <= 2048);
    }
}
