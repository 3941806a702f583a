//! What one tenant had of the quick way lately.
//!
//! Plain numbers, changed without a lock by all calls of the tenant; what they mean is decided by whoever
//! keeps the quick way. Times are nanoseconds since a moment that is the same for all of a node.

use std::sync::atomic::{AtomicU64, Ordering};

/// One tenant's use of the quick way.
#[derive(Debug, Default)]
pub struct QuickUse {
    /// The number of the span of time that `used_ns` is of.
    span: AtomicU64,
    used_ns: AtomicU64,
    watched_until_ns: AtomicU64,
    barred_until_ns: AtomicU64,
    /// What nobody has counted yet who shares out the other way.
    unsettled_ns: AtomicU64,
}

impl QuickUse {
    /// What was used in a span of time.
    pub fn used_ns(&self, span: u64) -> u64 {
        if self.span.load(Ordering::Relaxed) == span {
            self.used_ns.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    /// Something of the tenant ran in a span of time. Tells whether that was the first in it.
    pub fn is_first_in(&self, span: u64) -> bool {
        if self.span.load(Ordering::Relaxed) == span {
            return false;
        }
        // Two who come at once: the later one finds the span, and what the earlier one used is lost. It
        // was a turn's length.
        if self.span.swap(span, Ordering::Relaxed) == span {
            return false;
        }
        self.used_ns.store(0, Ordering::Relaxed);
        true
    }

    /// The tenant had the quick way for so long, in the present span.
    pub fn charge(&self, ns: u64) {
        self.used_ns.fetch_add(ns, Ordering::Relaxed);
        self.unsettled_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Takes what was used since this was last asked.
    pub fn settle(&self) -> u64 {
        // Most of the time there is nothing, and a look is cheaper.
        if self.unsettled_ns.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.unsettled_ns.swap(0, Ordering::Relaxed)
    }

    /// Until then its turns are measured exactly.
    pub fn watch_until(&self, ns: u64) {
        self.watched_until_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// Whether its turns are measured exactly.
    pub fn is_watched(&self, now_ns: u64) -> bool {
        now_ns < self.watched_until_ns.load(Ordering::Relaxed)
    }

    /// Until then the quick way is closed to it.
    pub fn bar_until(&self, ns: u64) {
        self.barred_until_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// Whether the quick way is closed to it.
    pub fn is_barred(&self, now_ns: u64) -> bool {
        now_ns < self.barred_until_ns.load(Ordering::Relaxed)
    }
}
