//! The library behind the `rpc-host` binary: a node that runs uploaded WebAssembly components
//! for many tenants.
//!
//! One way through the house, each step a small typed interface, nothing reaching back up:
//!
//! ```text
//! transport → session → node (registry → sandbox → capability)
//! ```
//!
//! `tenant`, `storage`, `config` and `clock` are the ground that all of these stand on. See
//! `ARCHITECTURE.md` for the map.

// One function of `sandbox/artifact.rs` and all of `sandbox/dynamic.rs` are exempt, and say why.
#![deny(unsafe_code)]

pub mod account;
pub mod audit;
pub mod bootstrap;
pub mod budget;
pub mod capability;
pub mod chain;
pub mod clock;
pub mod config;
pub mod confinement;
pub mod error;
mod hex;
mod inspect;
pub mod journal;
pub mod kv;
pub mod node;
pub mod objects;
#[cfg(feature = "http")]
pub mod outgoing;
mod processor;
pub mod provider;
pub mod registry;
pub mod sandbox;
mod serve;
pub mod server;
pub mod session;
mod share;
pub mod shutdown;
pub mod storage;
pub mod tenant;
pub mod transport;
pub mod volume;

/// For the benchmarks of parts of a node, which are no part of its interface.
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench {
    pub use crate::sandbox::workbench::{Guest, Workbench};
    pub use crate::serve::counted::Client;
}

pub use inspect::{describe_component, inspect_component};
pub use node::node_limits;
pub use sandbox::{run_compile_worker, run_describe_worker, run_probe_worker};
pub use serve::{Confined, ServeError, Ways, confine, serve};
