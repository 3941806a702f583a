//! What can be wrong with a configuration. All of it is the operator's to mend, so each text says
//! how.

use std::path::{Path, PathBuf};

use crate::capability::PolicyError;

/// A configuration that is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A limit of zero. Leaving a limit out means its default, never "none".
    #[error("`{name}` is 0, but must be between 1 and {ceiling}; leave it out for {default}")]
    ZeroLimit {
        /// The limit.
        name: &'static str,
        /// What it is if left out.
        default: u64,
        /// The most it may be.
        ceiling: u64,
    },
    /// A limit above what any node may be set to.
    #[error("`{name}` is {value}, but must be between 1 and {ceiling}; leave it out for {default}")]
    OverCeiling {
        /// The limit.
        name: &'static str,
        /// What was asked for.
        value: u64,
        /// What it is if left out.
        default: u64,
        /// The most it may be.
        ceiling: u64,
    },
    /// Two limits that contradict each other.
    #[error(
        "`{lower}` ({lower_value}) is above `{upper}` ({upper_value}); \
         lower the one or raise the other"
    )]
    Contradiction {
        /// The limit that has to be the smaller one.
        lower: &'static str,
        /// What it was set to.
        lower_value: u64,
        /// The limit that has to be the larger one.
        upper: &'static str,
        /// What it is.
        upper_value: u64,
    },
    /// Not an address to listen on.
    #[error("`{text}` is not HOST:PORT; write `127.0.0.1:7443`, `[::1]:7443` or `0.0.0.0:7443`")]
    InvalidListen {
        /// What was given.
        text: String,
    },
    /// Not a name for a certificate.
    #[error("`{text}` is not a DNS name or an IP address; wildcards are not possible")]
    InvalidServerName {
        /// What was given.
        text: String,
    },
    /// More names than a certificate should carry.
    #[error("`server-names` lists more than {limit} names; leave some out")]
    TooManyServerNames {
        /// How many there may be.
        limit: usize,
    },
    /// A volume that is not said fully.
    #[error("`[volumes.{volume}]`: {reason}")]
    InvalidVolume {
        /// What it is called.
        volume: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// More volumes than a node should have.
    #[error("there are more than {limit} volumes; leave some out")]
    TooManyVolumes {
        /// How many there may be.
        limit: usize,
    },
    /// Not a format.
    #[error("`{text}` is not a log format; choose human or json")]
    InvalidLogFormat {
        /// What was given.
        text: String,
    },
    /// Not a demand.
    #[error("`{text}` is no way to confine a node; choose require, best-effort or off")]
    InvalidSandboxDemand {
        /// What was given.
        text: String,
    },
    /// Not a level.
    #[error("`{text}` is not a log level; choose error, warn, info, debug or trace")]
    InvalidLogLevel {
        /// What was given.
        text: String,
    },
    /// Something that this node was not built with.
    #[error(
        "this node is built without `{feature}`; leave `[{feature}]` out, or build it with \
         `--features {feature}`"
    )]
    BuiltWithout {
        /// The feature, and the table of the configuration.
        feature: &'static str,
    },
    /// Not a network.
    #[cfg(feature = "http")]
    #[error(
        "`{text}` is not a network; write its first address and the length of its prefix, \
         `10.1.0.0/16`, or `10.1.2.3/32` for one address"
    )]
    InvalidNetwork {
        /// What was given.
        text: String,
    },
    /// More entries than anybody needs.
    #[cfg(feature = "http")]
    #[error("`{name}` lists more than {limit} entries; leave some out")]
    TooManyEntries {
        /// The list.
        name: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Nobody listens on port 0.
    #[cfg(feature = "http")]
    #[error("nobody listens on port 0; list ports from 1 to 65535 under `ports`")]
    NoPort,
    /// The file of authorities cannot be read.
    #[cfg(feature = "http")]
    #[error("cannot read the authorities in {}: {reason}", .path.display())]
    UnreadableAuthorities {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// What may be granted is not written as it should be.
    #[error("`[grants] allow`: {0}")]
    Policy(#[from] PolicyError),
    /// Not TOML, or not the tables and keys of a configuration.
    #[error("{reason}")]
    Syntax {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// The file cannot be read at all.
    #[error("cannot read the configuration {}: {reason}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Something in a file is wrong.
    #[error("in {}: {source}", .path.display())]
    InFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: Box<Self>,
    },
}

impl ConfigError {
    pub(super) fn in_file(self, path: &Path) -> Self {
        Self::InFile {
            path: path.to_owned(),
            source: Box::new(self),
        }
    }
}
