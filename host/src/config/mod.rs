//! What a node is told before it starts: where to listen, where to keep things, and every limit.
//!
//! Raw text is read once, here, into types that cannot hold a value out of bounds. Nothing below
//! this folder reads the environment, a configuration file or a flag.

mod audit;
mod data_dir;
mod demand;
mod error;
mod http;
mod limits;
mod listen;
mod log;
mod narrowing;
mod node_key;
mod profile;
mod serve;
mod volumes;

use audit::AuditTable;
pub use audit::audit_file;
pub use data_dir::DataDir;
pub use demand::SandboxDemand;
pub use error::ConfigError;
#[cfg(feature = "http")]
pub use http::HttpConfig;
pub use limits::{LIMITS, LimitRow, Limits, unit};
pub use listen::{ListenAddress, ServerName};
pub use log::{LogFormat, LogLevel};
pub use narrowing::{Narrowing, NarrowingError, Scope};
pub use node_key::NodeKey;
pub use profile::Profile;
pub use serve::{ClientCertificates, Config, Flags, ServerCertificateFiles};

/// A limit as a count of things in memory.
pub fn count(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
