//! What authors of rpc-host modules in Rust depend on.
//!
//! A module is plain Rust in one `mod`:
//!
//! ```
//! #[rpc_guest::module]
//! mod calc {
//!     /// The sum of two numbers.
//!     pub fn add(a: i64, b: i64) -> i64 {
//!         a + b
//!     }
//! }
//! ```
//!
//! Built for `wasm32-wasip2` as a `cdylib`, this is a component; `rpc-host upload calc.wasm --name
//! calc` puts it on a node, and `rpc-host call calc 'add(2, 3)'` answers `5`. Built for the machine
//! at hand it is the same plain Rust, so its unit tests need no node and no WebAssembly.
//!
//! * [`module`](macro@module) makes a component of a `mod`, with no WIT to write.
//! * [`generate!`] is for those who bring WIT of their own.
//! * [`log`] writes lines into the node's log.
//! * [`kv`] keeps keys and values that outlive the call.
//! * What is granted as `env:KEY=VALUE` is in [`std::env`].
//!
//! This crate deliberately offers no way around the host: what a module can reach is what it was
//! granted, and each such power is a small typed module here.
//!
//! # A crate for a module
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! rpc-guest = "0.1"
//!
//! [profile.release]
//! opt-level = "s"
//! lto = true
//! panic = "abort"
//! strip = "debuginfo" # names stay, so that a trap shows which function it was in
//! ```

#![forbid(unsafe_code)]

// So that generated code finds this crate by one name, also from within.
extern crate self as rpc_guest;

#[cfg(target_arch = "wasm32")]
mod bindings;
mod generate;
pub mod kv;
pub mod log;

#[doc = include_str!("module.md")]
pub use rpc_guest_macros::module;

#[doc(hidden)]
pub mod __private {
    pub use rpc_guest_macros::docs_section;
    pub use wit_bindgen;
}
