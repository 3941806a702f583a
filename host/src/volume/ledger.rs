//! How much is in a volume, and who has what open.
//!
//! A file that was deleted while somebody has it open takes its room until it is closed, and so it is
//! counted until then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::VolumeError;
use super::kernel::Node;

/// What is in a volume, or may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all files, as long as they say they are: holes count.
    pub bytes: u64,
    /// Files and directories.
    pub files: u64,
}

/// Bytes of all volumes of one tenant.
#[derive(Debug)]
pub(super) struct Total {
    used: AtomicU64,
    max: AtomicU64,
}

impl Total {
    pub(super) fn new(max: u64) -> Self {
        Total {
            used: AtomicU64::new(0),
            max: AtomicU64::new(max),
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// How much may be used from now on. What is used already stays.
    pub(super) fn allow(&self, max: u64) {
        self.max.store(max, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.used.store(0, Ordering::Relaxed);
    }

    /// `max`: how much may be used then.
    fn take(&self, bytes: u64, max: u64) -> bool {
        let taken = |used: u64| used.checked_add(bytes).filter(|used| *used <= max);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }

    fn give(&self, bytes: u64) {
        let given = |used: u64| Some(used.saturating_sub(bytes));
        // It never says no.
        let _before = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, given);
    }
}

/// The count of one volume.
#[derive(Debug)]
pub(super) struct Ledger {
    max: Usage,
    total: Option<Arc<Total>>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    used: Usage,
    /// Bounded by the files that may be open.
    open: HashMap<Node, Held>,
}

/// A file that somebody has open.
#[derive(Debug, Default)]
struct Held {
    times: u32,
    /// Its bytes, if it was deleted meanwhile.
    orphan_bytes: Option<u64>,
}

impl Ledger {
    pub(super) fn new(max: Usage, total: Option<Arc<Total>>) -> Self {
        Ledger {
            max,
            total,
            books: Mutex::default(),
        }
    }

    // Nothing can be left half done in there.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn used(&self) -> Usage {
        self.books().used
    }

    /// What was found in it, whether or not it may be so much.
    pub(super) fn found(&self, usage: Usage) {
        self.books().used = usage;
        if let Some(total) = &self.total {
            total.take(usage.bytes, u64::MAX);
        }
    }

    pub(super) fn take_bytes(&self, bytes: u64) -> Result<(), VolumeError> {
        if bytes == 0 {
            return Ok(());
        }
        let mut books = self.books();
        let used = books.used.bytes.checked_add(bytes);
        let used = used
            .filter(|used| *used <= self.max.bytes)
            .ok_or(VolumeError::Quota)?;
        if let Some(total) = &self.total
            && !total.take(bytes, total.max.load(Ordering::Relaxed))
        {
            return Err(VolumeError::Quota);
        }
        books.used.bytes = used;
        Ok(())
    }

    pub(super) fn give_bytes(&self, bytes: u64) {
        let mut books = self.books();
        books.used.bytes = books.used.bytes.saturating_sub(bytes);
        if let Some(total) = &self.total {
            total.give(bytes);
        }
    }

    pub(super) fn take_file(&self) -> Result<(), VolumeError> {
        let mut books = self.books();
        if books.used.files >= self.max.files {
            return Err(VolumeError::Quota);
        }
        books.used.files += 1;
        Ok(())
    }

    pub(super) fn give_file(&self) {
        let mut books = self.books();
        books.used.files = books.used.files.saturating_sub(1);
    }

    /// Somebody opened a file.
    pub(super) fn opened(&self, node: Node) {
        self.books().open.entry(node).or_default().times += 1;
    }

    /// A file got another size, which is accounted for; if it is deleted, so much will come back.
    pub(super) fn resized(&self, node: Node, bytes: u64) {
        let mut books = self.books();
        if let Some(orphan) = books
            .open
            .get_mut(&node)
            .and_then(|held| held.orphan_bytes.as_mut())
        {
            *orphan = bytes;
        }
    }

    /// A file was deleted. Its room comes back when nobody has it open.
    pub(super) fn deleted(&self, node: Node, bytes: u64) {
        if let Some(held) = self.books().open.get_mut(&node) {
            held.orphan_bytes = Some(bytes);
            return;
        }
        self.give_bytes(bytes);
        self.give_file();
    }

    /// Somebody is about to close a file. Gives the bytes of one that was deleted, and that nobody else has open:
    /// they come back by [`Ledger::gone`] once it is closed.
    ///
    /// Before it is closed, as its number may be that of another file a moment later.
    #[must_use]
    pub(super) fn leave(&self, node: Node) -> Option<u64> {
        let mut books = self.books();
        let held = books.open.get_mut(&node)?;
        held.times = held.times.saturating_sub(1);
        if held.times > 0 {
            return None;
        }
        books.open.remove(&node).and_then(|held| held.orphan_bytes)
    }

    /// A deleted file of so many bytes was closed by the last who had it open.
    pub(super) fn gone(&self, bytes: u64) {
        self.give_bytes(bytes);
        self.give_file();
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel;
    use super::*;

    #[test]
    fn the_number_of_a_deleted_file_says_nothing_once_it_is_closed() {
        let most = Usage {
            bytes: 100,
            files: 2,
        };
        let ledger = Ledger::new(most, None);
        let file = tempfile::tempfile().unwrap();
        let node = kernel::node(&rustix::fs::fstat(&file).unwrap());
        ledger.take_file().unwrap();
        ledger.take_bytes(60).unwrap();
        ledger.opened(node);
        ledger.deleted(node, 60);
        assert_eq!(ledger.used().bytes, 60, "it is open");
        let bytes = ledger.leave(node).unwrap();
        // The system gives its number to another before its room came back.
        ledger.take_file().unwrap();
        ledger.opened(node);
        ledger.take_bytes(40).unwrap();
        ledger.resized(node, 40);
        ledger.gone(bytes);
        assert_eq!(ledger.leave(node), None, "that one was not deleted");
        let left = Usage {
            bytes: 40,
            files: 1,
        };
        assert_eq!(ledger.used(), left);
    }
}
