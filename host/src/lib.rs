//! The host of rpc-host.
#![deny(unsafe_code)]

pub mod capability;
pub mod sandbox;
