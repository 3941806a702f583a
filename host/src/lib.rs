//! The library behind the `rpc-host` binary.
#![forbid(unsafe_code)]

pub mod config;
pub mod server;
pub mod session;
pub mod shutdown;
pub mod tenant;
pub mod transport;
