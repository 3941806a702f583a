//! Every limit of a node.

#[allow(dead_code, reason = "read by the configuration file's reader")]
mod error;
#[allow(dead_code, reason = "read by the configuration file's reader")]
mod limits;

pub use error::ConfigError;
pub use limits::{LIMITS, LimitRow, Limits};
