//! Where the node keeps what must survive it: a small ordered key-value contract and the
//! embedded engine behind it.
//!
//! The contract is chosen so that a cluster's key-value service fits it as well: single keys,
//! prefixes, atomic batches with compare-and-set, and a watch that may lag and says so. There is
//! no iterator that stays open, no transaction that reads, no lock.
//!
//! Deliberately not here: what the values mean (each layer converts its own records), large
//! bytes (modules and artifacts are files), and threads: every call here blocks on the disk, and
//! the layers that are called from async code move it off their thread with [`blocking`].
//!
//! No other folder names a storage engine.

mod batch;
mod blocking;
mod error;
pub mod file;
mod key;
mod record;
mod redb;
mod watch;

pub use batch::{Batch, Expect};
pub use blocking::{Stopped, blocking};
pub use error::StorageError;
pub use key::{Key, Prefix};
pub use record::{damaged, decode, encode};
pub use redb::RedbStorage;
pub use watch::{Change, Lagged, Watch};

use std::fmt::Debug;

/// The largest value one key may hold. A record is a description, never content.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The number of the commit that last wrote a key. Grows with every commit of the store and is
/// never used twice, so a key that was deleted and made again has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRevision(u64);

impl KeyRevision {
    /// The number itself, for messages.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// One key with its value, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// What was last written to it.
    pub value: Vec<u8>,
    /// Which commit wrote it.
    pub revision: KeyRevision,
}

/// An ordered key-value store. Every method may block on the disk.
pub trait Storage: Send + Sync + Debug {
    /// Reads one key.
    ///
    /// # Errors
    /// When the engine fails.
    fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError>;

    /// Reads all keys below a prefix, in key order, as of one moment.
    ///
    /// # Errors
    /// When the engine fails.
    fn scan(&self, prefix: &Prefix) -> Result<Vec<Entry>, StorageError>;

    /// The keys below a prefix, in key order, as of one moment: at most so many after those skipped.
    ///
    /// # Errors
    /// When the engine fails.
    fn keys(&self, prefix: &Prefix, skip: usize, most: usize) -> Result<Vec<Key>, StorageError>;

    /// Applies a batch as a whole or not at all. When it returns, the batch survives the loss of
    /// power.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] when an expectation does not hold (nothing was written), or
    /// when the engine fails.
    fn commit(&self, batch: Batch) -> Result<KeyRevision, StorageError>;

    /// Follows what is committed below a prefix from now on. A watcher that is too slow is told
    /// that it missed something and then has to scan again.
    fn watch(&self, prefix: &Prefix) -> Watch;
}
