//! What a program gives to serve a name: an implementation of an interface.
//!
//! Two things can be given to [`Client::provide`](crate::Client::provide): a closure, which is told
//! the function's name and reads its arguments itself, and anything that implements a trait made by
//! [`interface!`](crate::interface). Both become a [`Provider`].
//!
//! ```standalone_crate
//! # use rpc_host_client::{Client, Options, Profile};
//! use rpc_host_client::{Incoming, Scope};
//!
//! # rpc_host_tests::documented(async || {
//! # let client = Client::connect(Profile::load()?).await?;
//! # let module = client.upload_module(rpc_host_tests::built("calc")).await?;
//! # client.register("calc", &module, Options::default()).await?;
//! let wrong_by_one = |call: Incoming| async move {
//!     let (a, b): (i64, i64) = call.args()?;
//!     match call.function() {
//!         "add" => Ok(a + b + 1),
//!         "sub" => Ok(a - b - 1),
//!         _ => Err(call.unknown()),
//!     }
//! };
//! let lease = client.provide("calc", wrong_by_one, Scope::Session).await?;
//! let sum: i64 = client.module("calc").call("add", (2, 3)).await?;
//! assert_eq!(sum, 6);
//!
//! drop(lease);
//! # Ok::<(), rpc_host_client::Error>(())
//! # });
//! ```

mod answer;
mod functions;
mod incoming;
mod interface;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use answer::{Answer, IntoAnswer, ProviderError};
pub(crate) use functions::Functions;
pub use incoming::Incoming;
pub(crate) use incoming::without_self;
pub use interface::{ByInterface, Implements, Typed};

/// What comes of a call into this program, sooner or later.
pub type Serving = Pin<Box<dyn Future<Output = Result<Answer, ProviderError>> + Send>>;

/// Serves the calls of one name, several at once.
pub trait Provider: Send + Sync + 'static {
    /// Serves one call. If the host ends the call first, what this gave is dropped.
    fn serve(self: Arc<Self>, call: Incoming) -> Serving;
}

/// What can serve a name.
///
/// `M` only tells the ways apart in which a type can do so; it is always inferred. A type that
/// implements two traits made by [`interface!`](crate::interface) leaves it open which is meant: wrap
/// it into a type of its own for each.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve a name",
    label = "neither implements a trait made by `interface!` nor is such a closure",
    note = "a closure takes an `Incoming`, is `Send + Sync + 'static`, and gives a future of a \
            serializable value or of a `Result<_, ProviderError>`: \
            `|call: Incoming| async move {{ … }}`"
)]
pub trait IntoProvider<M> {
    /// The provider that it is.
    fn into_provider(self) -> Arc<dyn Provider>;
}

/// See [`IntoProvider`].
#[derive(Debug)]
pub enum AsItIs {}

impl<P: Provider> IntoProvider<AsItIs> for P {
    fn into_provider(self) -> Arc<dyn Provider> {
        Arc::new(self)
    }
}

/// See [`IntoProvider`].
#[derive(Debug)]
pub enum Shared {}

impl IntoProvider<Shared> for Arc<dyn Provider> {
    fn into_provider(self) -> Arc<dyn Provider> {
        self
    }
}

/// See [`IntoProvider`].
#[derive(Debug)]
pub struct ByClosure<M>(std::marker::PhantomData<fn(M)>);

impl<F, R, M: 'static> IntoProvider<ByClosure<M>> for F
where
    F: Fn(Incoming) -> R + Send + Sync + 'static,
    R: Future + Send + 'static,
    R::Output: IntoAnswer<M>,
{
    fn into_provider(self) -> Arc<dyn Provider> {
        Arc::new(Closure(self, std::marker::PhantomData))
    }
}

struct Closure<F, M>(F, std::marker::PhantomData<fn(M)>);

impl<F, R, M: 'static> Provider for Closure<F, M>
where
    F: Fn(Incoming) -> R + Send + Sync + 'static,
    R: Future + Send + 'static,
    R::Output: IntoAnswer<M>,
{
    fn serve(self: Arc<Self>, call: Incoming) -> Serving {
        let answer = (self.0)(call);
        Box::pin(async move { answer.await.into_answer() })
    }
}
