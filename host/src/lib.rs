//! The library behind the `rpc-host` binary: a node that runs uploaded WebAssembly components
//! for many tenants.
#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod clock;
pub mod config;
mod hex;
pub mod registry;
pub mod storage;
pub mod tenant;
pub mod transport;
