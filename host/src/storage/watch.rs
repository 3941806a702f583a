//! Following the store: a bounded feed of committed changes.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use super::{Key, KeyRevision, Prefix};

/// How many changes a slow watcher may be behind before it has to scan again.
pub(super) const BACKLOG_CHANGES: usize = 1024;

/// One key as a commit left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// Its new value, or none when it was deleted.
    pub value: Option<Vec<u8>>,
    /// The commit.
    pub revision: KeyRevision,
}

/// The watcher was too slow and missed changes; scanning again brings it up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("missed {missed} changes of the store; scan again")]
pub struct Lagged {
    /// How many changes, of all prefixes, were dropped.
    pub missed: u64,
}

/// A feed of the changes below one prefix.
#[derive(Debug)]
pub struct Watch {
    prefix: Prefix,
    changes: broadcast::Receiver<Arc<Change>>,
}

impl Watch {
    pub(super) fn new(prefix: Prefix, changes: broadcast::Receiver<Arc<Change>>) -> Self {
        Self { prefix, changes }
    }

    /// Waits for the next change, in commit order. `None` when the store is closed.
    ///
    /// # Errors
    /// [`Lagged`] when changes were missed. The watch goes on after it.
    pub async fn next(&mut self) -> Option<Result<Arc<Change>, Lagged>> {
        loop {
            match self.changes.recv().await {
                Ok(change) if self.prefix.covers(change.key.as_str()) => return Some(Ok(change)),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Some(Err(Lagged { missed })),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
