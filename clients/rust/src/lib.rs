//! Client library of rpc-host: upload WebAssembly components to a node and call them.
//!
//! ```standalone_crate
//! use rpc_host_client::{Client, Options, Profile};
//!
//! # rpc_host_tests::documented(async || {
//! # let wasm = rpc_host_tests::built("calc");
//! let client = Client::connect(Profile::load()?).await?;
//! let module = client.upload_module(wasm).await?; // durable when it returns
//! client.register("calc", &module, Options::default()).await?;
//! let sum: i64 = client.module("calc").call("add", (2, 3)).await?;
//! assert_eq!(sum, 5);
//! # Ok::<(), rpc_host_client::Error>(())
//! # });
//! ```
//!
//! # Values
//!
//! Arguments are a tuple of anything that implements `serde::Serialize`, results anything that
//! implements `serde::Deserialize`; [`rpc_host_protocol::serde`] has the table. Names are snake_case
//! here and kebab-case in WIT:
//!
//! ```standalone_crate
//! # use rpc_host_client::{Client, Options, Profile};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize)]
//! struct Point { x: i32, y: i32 }
//!
//! #[derive(Debug, Deserialize, PartialEq)]
//! struct Counted { lines: u64, words: u64, chars: u64, bytes: u64 }
//!
//! # rpc_host_tests::documented(async || {
//! # let client = Client::connect(Profile::load()?).await?;
//! # for name in ["calc", "text"] {
//! #     let module = client.upload_module(rpc_host_tests::built(name)).await?;
//! #     client.register(name, &module, Options::default()).await?;
//! # }
//! let calc = client.module("calc");
//! let distance: f64 = calc.call("distance", (Point { x: 1, y: 2 }, Point { x: 4, y: 6 })).await?;
//! assert_eq!(distance, 5.0);
//!
//! let quotient: Result<i64, String> = calc.call_result("div", (1, 0)).await?;
//! assert_eq!(quotient, Err("cannot divide 1 by zero".to_owned()));
//!
//! let counted: Counted = client.module("text").call("count", ("a few words",)).await?;
//! assert_eq!(counted, Counted { lines: 1, words: 3, chars: 11, bytes: 11 });
//! # Ok::<(), rpc_host_client::Error>(())
//! # });
//! ```
//!
//! # Errors
//!
//! A function that returns a WIT `result` may end with its own `err` value. That is a *guest error*,
//! not a failure of the call: [`NamedModule::call_result`] gives it as the inner `Result`, and
//! [`NamedModule::call`] as [`Error::Guest`], whose value can be read as a type of yours.
//!
//! # Serving a name
//!
//! A name can be served by this program instead of a module: to the calls of its own session, or to the
//! whole tenant. Whatever imports the name then calls this program, over the connection that is there
//! already, in tasks of its own; there is nothing to poll. The lease says how long.
//!
//! ```standalone_crate
//! # use rpc_host_client::{Client, Options, Profile};
//! use rpc_host_client::{Scope, interface};
//! use std::sync::{Arc, Mutex};
//!
//! interface! {
//!     /// `acme:log/logger`
//!     pub trait Logger {
//!         async fn log(&self, level: String, message: String);
//!     }
//! }
//!
//! #[derive(Clone, Default)]
//! struct Lines(Arc<Mutex<Vec<String>>>);
//!
//! impl Logger for Lines {
//!     async fn log(&self, level: String, message: String) {
//!         self.0.lock().unwrap().push(format!("{level}: {message}"));
//!     }
//! }
//!
//! # rpc_host_tests::documented(async || {
//! # let client = Client::connect(Profile::load()?).await?;
//! # for (name, file) in [
//! #     ("app", "app"), ("acme:log/logger", "logger"), ("acme:auth/verifier", "verifier"),
//! # ] {
//! #     let module = client.upload_module(rpc_host_tests::built(file)).await?;
//! #     client.register(name, &module, Options::default()).await?;
//! # }
//! let lines = Lines::default();
//! let lease = client.provide("acme:log/logger", lines.clone(), Scope::Session).await?;
//! // `app` imports `acme:log/logger`, and does not know who answers.
//! let refused: Result<String, String> =
//!     client.module("app").call_result("handle", ("no token", "whoami")).await?;
//! assert!(refused.is_err());
//! assert!(lines.0.lock().unwrap()[0].starts_with("warn: refused"));
//!
//! lease.withdraw().await?; // or drop it; the registered module answers again
//! # Ok::<(), rpc_host_client::Error>(())
//! # });
//! ```
//!
//! A call that the implementation makes on the same client while it serves is part of the chain that it
//! serves, and so of its deadline; it never waits for a slot, since what has the slots may wait for it.
//! What it spawns is on its own.
//!
//! # Live objects
//!
//! A value of a resource type is an [`Object`]: [`NamedModule::object`] calls a constructor, results hold them
//! wherever their types have a resource, and they are given to calls as `&object` or `object`. What is dropped is
//! let go of on the host. A program gives objects of its own with [`Client::object`]: the module calls them here.
//!
//! ```standalone_crate
//! # use rpc_host_client::{Client, Options, Profile};
//! use rpc_host_client::Object;
//!
//! # rpc_host_tests::documented(async || {
//! # let client = Client::connect(Profile::load()?).await?;
//! # let module = client.upload_module(rpc_host_tests::built("counter")).await?;
//! # client.register("counter", &module, Options::default()).await?;
//! let module = client.module("counter");
//! let counter = module.object("counter", (10,)).await?;
//! assert_eq!(counter.call::<u64>("increment", ()).await?, 11);
//!
//! let twin: Object = counter.call("copy", ()).await?;
//! let sum: u64 = module.call("sum", ([&counter, &twin],)).await?; // borrowed
//! assert_eq!(sum, 22);
//! assert_eq!(module.call::<u64>("consume", (twin,)).await?, 11); // given away
//! # Ok::<(), rpc_host_client::Error>(())
//! # });
//! ```
//!
//! # Connections
//!
//! A [`Client`] is cheap to clone and has one connection, over which any number of calls are under way
//! at once; more than the host allows wait for their turn. Dropping the future of a call cancels it on
//! the host.
//!
//! When the connection is lost, every lease on it is over ([`Lease::lost`]), every [`Object`] is gone, and every
//! call under way ends
//! with [`Error::Lost`]: the call may or may
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
mod lease;
mod logs;
mod module;
mod object;
mod profile;
mod provide;
pub mod provider;
mod registry;
mod socket;
mod streams;
mod tenant;
mod tls;
mod upload;

pub use call::{Call, RawReply};
pub use client::Client;
pub use error::{Error, GuestError};
pub use lease::{Lease, Lost};
pub use logs::LogOptions;
pub use module::NamedModule;
pub use object::{ClientObject, Object};
pub use profile::{Profile, ProfileError};
pub use provide::Provision;
pub use provider::{Incoming, ProviderError};
pub use registry::{ChangeOptions, Options};
pub use rpc_host_protocol as protocol;
pub use rpc_host_protocol::message::{
    Fallback, Output as Line, OutputStream, ProvideScope as Scope,
};
pub use rpc_host_protocol::operation::{
    Description, FunctionDescription, FunctionEntry, ImportEntry, ImportStanding, Inspection,
    Instancing, LimitEntry, ModuleEntry, NewToken, ProviderEntry, ReadyEntry, RegistrationEntry,
    ResourceDescription, RevisionEntry, SwapTo, TenantEntry, TokenEntry, WithheldGrant,
};
pub use rpc_host_protocol::serde::Arguments;
pub use rpc_host_protocol::value::ValueError;
pub use rpc_host_protocol::{ErrorCode, Failure, Fault};
pub use tenant::{TenantOptions, TokenRequest};
pub use upload::{Component, Module, UploadProgress};
