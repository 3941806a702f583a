//! Something that is taken and given back, up to a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of something is in use, and how much may be.
#[derive(Debug)]
pub struct Quantity {
    used: AtomicU64,
    limit: AtomicU64,
}

impl Quantity {
    /// Nothing is in use, and so much may be.
    pub fn new(limit: u64) -> Self {
        Quantity {
            used: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
        }
    }

    /// What is in use now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What may be in use.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes so much, or nothing where it would be over the limit. What is taken is given back once,
    /// by whoever took it; guards see to that.
    #[must_use = "what was not taken may not be used"]
    fn try_take(&self, more: u64) -> bool {
        let limit = self.limit();
        // Nothing else is published by this number, so no order with other memory is needed.
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(more).filter(|total| *total <= limit)
            })
            .is_ok()
    }

    fn give_back(&self, less: u64) {
        let before = self.used.fetch_sub(less, Ordering::Relaxed);
        debug_assert!(before >= less, "more was given back than taken");
    }
}

/// What one holder has of a quantity. Dropped, all of it goes back.
#[derive(Debug)]
pub struct Held {
    of: Arc<Quantity>,
    amount: u64,
}

impl Held {
    /// Nothing yet.
    pub fn none(of: &Arc<Quantity>) -> Self {
        Held {
            of: Arc::clone(of),
            amount: 0,
        }
    }

    /// So much, if there is as much.
    pub fn try_take(of: &Arc<Quantity>, amount: u64) -> Option<Self> {
        let mut held = Self::none(of);
        held.try_grow(amount).then_some(held)
    }

    /// Takes more. `false`, and nothing is taken, where it would be over the limit.
    #[must_use = "what was not taken may not be used"]
    pub fn try_grow(&mut self, more: u64) -> bool {
        let Some(amount) = self.amount.checked_add(more) else {
            return false;
        };
        let taken = self.of.try_take(more);
        if taken {
            self.amount = amount;
        }
        taken
    }

    /// How much it is.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// What it is of.
    pub fn of(&self) -> &Quantity {
        &self.of
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.of.give_back(self.amount);
        }
    }
}
