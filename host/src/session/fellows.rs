//! The sessions of a node, as far as the end of each concerns the others.
//!
//! A client that serves a name answers calls of other sessions too. When the node stops, its session
//! stays until all of them are done with their own work, so that no call loses what it calls before
//! its time is up.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts the sessions that have work of their own under way, or may still get some. A clone counts
/// the same ones.
#[derive(Clone, Debug, Default)]
pub struct Fellows(Arc<watch::Sender<usize>>);

/// One session among its fellows. Counts until it is done or dropped.
#[derive(Debug)]
pub(super) struct Fellow {
    fellows: Fellows,
    is_counted: bool,
}

impl Fellows {
    /// One more.
    pub(super) fn join(&self) -> Fellow {
        self.0.send_modify(|count| *count = count.saturating_add(1));
        Fellow {
            fellows: self.clone(),
            is_counted: true,
        }
    }
}

impl Fellow {
    /// It has no work of its own any more, and gets none.
    pub(super) fn is_done(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.fellows
                .0
                .send_modify(|count| *count = count.saturating_sub(1));
        }
    }

    /// Waits until no session has work of its own.
    pub(super) async fn all_done(&self) {
        let mut count = self.fellows.0.subscribe();
        // The other end is held here, so this never fails.
        let _done = count.wait_for(|count| *count == 0).await;
    }
}

impl Drop for Fellow {
    fn drop(&mut self) {
        self.is_done();
    }
}
