//! What can go wrong below every layer that keeps something.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of the store. All but `Conflict` and `TooLarge` are the node's own trouble; their
/// texts may name paths and are for its operator, not for a client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// An expectation of a batch did not hold; nothing was written.
    #[error("`{key}` was changed by someone else meanwhile; read it again and retry")]
    Conflict {
        /// The key that was not as expected.
        key: String,
    },
    /// A value is larger than a record may be.
    #[error("a record of {size_bytes} bytes is over the limit of {limit_bytes} bytes")]
    TooLarge {
        /// What was to be stored.
        size_bytes: usize,
        /// What may be stored.
        limit_bytes: usize,
    },
    /// The store was written by a later release.
    #[error(
        "the store at {path} has format {found}, this release knows formats up to {known}; \
         start the release that wrote it, nothing was changed"
    )]
    NewerFormat {
        /// Where the store is.
        path: PathBuf,
        /// What it says of itself.
        found: u64,
        /// What this release can read.
        known: u64,
    },
    /// Another process has the store or the data directory open.
    #[error("{path} is in use by another rpc-host{holder}; stop that one or choose another --data")]
    InUse {
        /// What is in use.
        path: PathBuf,
        /// Who has it, if that is known: ` (process 12)`.
        holder: String,
    },
    /// A directory that is not a data directory was given as one.
    #[error("{path} is neither empty nor a data directory of rpc-host; choose another --data")]
    NotOurs {
        /// What was given.
        path: PathBuf,
    },
    /// What was read cannot have been written by this program.
    #[error(
        "the stored record `{key}` is damaged ({reason}); restore the data directory from a backup"
    )]
    Damaged {
        /// Which record.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine failed. After a failed write it refuses all further ones until it is opened
    /// again, because what the disk then holds is unknown.
    #[error("the store failed: {0}; check the disk, then restart the node")]
    Engine(#[source] Box<dyn Error + Send + Sync>),
    /// A file beside the store could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried: `create`, `write`.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The node is stopping, and the thread that should have done the work is gone.
    #[error("the node is stopping; retry on another one or later")]
    Stopped,
}

impl StorageError {
    /// For `map_err` on a file operation.
    pub fn file<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
