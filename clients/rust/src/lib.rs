//! Client library of rpc-host: upload WebAssembly components to a node and call them.
//!
//! ```no_run
//! use rpc_host_client::{Client, Options, Profile};
//!
//! # async fn example(wasm: Vec<u8>) -> Result<(), rpc_host_client::Error> {
//! let client = Client::connect(Profile::load()?).await?;
//! let module = client.upload_module(wasm).await?; // durable when it returns
//! client.register("calc", &module, Options::default()).await?;
//! let sum: i64 = client.module("calc").call("add", (2, 3)).await?;
//! assert_eq!(sum, 5);
//! # Ok(())
//! # }
//! ```
//!
//! # Values
//!
//! Arguments are a tuple of anything that implements `serde::Serialize`, results anything that
//! implements `serde::Deserialize`; [`rpc_host_protocol::serde`] has the table. Names are snake_case
//! here and kebab-case in WIT:
//!
//! ```no_run
//! # use rpc_host_client::{Client, Error};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize)]
//! struct Order { item_number: u32, quantity: u32 }
//!
//! #[derive(Debug, Deserialize)]
//! enum OrderError { OutOfStock, TooMany { most: u32 } }
//!
//! # async fn example(client: Client) -> Result<(), Error> {
//! let shop = client.module("shop");
//! let order = Order { item_number: 7, quantity: 2 };
//! let placed: Result<u64, OrderError> = shop.call_result("place", (&order,)).await?;
//! match placed {
//!     Ok(number) => println!("order {number}"),
//!     Err(OrderError::OutOfStock) => println!("come back tomorrow"),
//!     Err(OrderError::TooMany { most }) => println!("not more than {most}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! A function that returns a WIT `result` may end with its own `err` value. That is a *guest error*,
//! not a failure of the call: [`NamedModule::call_result`] gives it as the inner `Result`, and
//! [`NamedModule::call`] as [`Error::Guest`], whose value can be read as a type of yours.
//!
//! # Connections
//!
//! A [`Client`] is cheap to clone and has one connection, over which any number of calls are under way
//! at once; more than the host allows wait for their turn. Dropping the future of a call cancels it on
//! the host.
//!
//! When the connection is lost, every call under way ends with [`Error::Lost`]: the call may or may
//! not have run, and only its author knows whether it may run twice, so the client **never repeats a
//! call by itself**. The next call connects anew. While the host cannot be reached, one attempt is made
//! in a while (100 ms apart at first, 5 s at most), and calls in between fail at once with the error of
//! the last one. When the host says that it is going away, new calls fail with `unavailable` until it
//! closes the connection. Uploads and reads may simply be repeated: an upload that the host has already
//! is answered at once.
#![forbid(unsafe_code)]

mod call;
mod client;
mod connection;
mod error;
mod module;
mod profile;
mod registry;
mod tenant;
mod tls;
mod upload;

pub use call::{Call, RawReply};
pub use client::Client;
pub use error::{Error, GuestError};
pub use module::NamedModule;
pub use profile::{Profile, ProfileError};
pub use registry::Options;
pub use rpc_host_protocol as protocol;
pub use rpc_host_protocol::operation::{
    Description, FunctionDescription, FunctionEntry, ImportEntry, ImportStanding, Inspection,
    ModuleEntry, NewToken, RegistrationEntry, RevisionEntry, TenantEntry, TokenEntry,
};
pub use rpc_host_protocol::serde::Arguments;
pub use rpc_host_protocol::value::ValueError;
pub use rpc_host_protocol::{ErrorCode, Failure, Fault};
pub use tenant::TokenRequest;
pub use upload::{Module, UploadProgress};
