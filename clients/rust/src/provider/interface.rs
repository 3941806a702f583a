//! Interfaces as Rust traits.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Incoming, IntoProvider, Provider, Serving};

/// An implementation of a trait that [`interface!`](crate::interface) made.
#[derive(Debug)]
pub struct Typed<T>(PhantomData<T>);

/// What [`interface!`](crate::interface) makes of a trait: how a call finds its function. `I` is the
/// trait, as a type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no implementation of a trait made by `interface!`"
)]
pub trait Implements<I> {
    /// What is served by it.
    type Implementation: Send + Sync + 'static;

    /// Serves a call.
    fn serve(implementation: Arc<Self::Implementation>, call: Incoming) -> Serving;
}

/// See [`IntoProvider`].
#[derive(Debug)]
pub struct ByInterface<I>(PhantomData<fn(I)>);

impl<T, I: 'static> IntoProvider<ByInterface<I>> for T
where
    T: Send + Sync + 'static,
    Typed<T>: Implements<I, Implementation = T>,
{
    fn into_provider(self) -> Arc<dyn Provider> {
        Arc::new(Dispatch {
            implementation: Arc::new(self),
            interface: PhantomData,
        })
    }
}

struct Dispatch<T, I> {
    implementation: Arc<T>,
    interface: PhantomData<fn(I)>,
}

impl<T, I: 'static> Provider for Dispatch<T, I>
where
    T: Send + Sync + 'static,
    Typed<T>: Implements<I, Implementation = T>,
{
    fn serve(self: Arc<Self>, call: Incoming) -> Serving {
        Typed::<T>::serve(self.implementation.clone(), call)
    }
}

/// Makes a trait of an interface, so that whatever implements it can serve a name.
///
/// Functions are written as in a trait, without default bodies; names are snake_case here and kebab-case
/// in WIT, and the types are those of [`rpc_host_protocol::serde`]. A function that returns a `Result` is
/// one that returns a WIT `result`. One that returns `Result<_, ProviderError>` may fail without having an
/// answer; a panic is such a failure too.
///
/// ```
/// use rpc_host_client::interface;
///
/// interface! {
///     /// Takes lines.
///     pub trait Logger {
///         /// Adds a line.
///         async fn log(&self, level: String, message: String);
///         /// How many there are of a level.
///         async fn count(&self, level: String) -> Result<u32, String>;
///     }
/// }
///
/// struct Printer;
///
/// impl Logger for Printer {
///     async fn log(&self, level: String, message: String) {
///         println!("{level}: {message}");
///     }
///
///     async fn count(&self, level: String) -> Result<u32, String> {
///         Err(format!("{level}: nobody counts"))
///     }
/// }
/// ```
#[macro_export]
macro_rules! interface {
    (@output) => { () };
    (@output $output:ty) => { $output };
    (
        $(#[$attribute:meta])*
        $visibility:vis trait $interface:ident {
            $(
                $(#[$function_attribute:meta])*
                async fn $function:ident(
                    &self $(, $parameter:ident : $type:ty)* $(,)?
                ) $(-> $output:ty)? ;
            )*
        }
    ) => {
        $(#[$attribute])*
        $visibility trait $interface: Send + Sync + 'static {
            $(
                $(#[$function_attribute])*
                fn $function(
                    &self $(, $parameter: $type)*
                ) -> impl ::std::future::Future<Output = $crate::interface!(@output $($output)?)> + Send;
            )*
        }

        const _: () = {
            /// The trait, as a type.
            pub struct Interface;

            impl<T: $interface> $crate::provider::Implements<Interface>
                for $crate::provider::Typed<T>
            {
                type Implementation = T;

                fn serve(
                    implementation: ::std::sync::Arc<T>,
                    call: $crate::provider::Incoming,
                ) -> $crate::provider::Serving {
                    ::std::boxed::Box::pin(async move {
                        $(
                            if call.is(::std::stringify!($function)) {
                                let ($($parameter,)*) = call.args::<($($type,)*)>()?;
                                let output = T::$function(&implementation $(, $parameter)*).await;
                                return $crate::provider::IntoAnswer::into_answer(output);
                            }
                        )*
                        ::std::result::Result::Err(call.unknown())
                    })
                }
            }
        };
    };
}
