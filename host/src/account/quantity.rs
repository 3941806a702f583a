//! Something that is taken and given back, up to a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Account;

/// How much of something is in use, and how much may be.
#[derive(Debug)]
pub struct Quantity {
    used: AtomicU64,
    limit: AtomicU64,
}

impl Quantity {
    pub(super) fn new(limit: u64) -> Self {
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
    pub(super) fn try_take(&self, more: u64) -> bool {
        let limit = self.limit();
        // Nothing else is published by this number, so no order with other memory is needed.
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(more).filter(|total| *total <= limit)
            })
            .is_ok()
    }

    pub(super) fn give_back(&self, less: u64) {
        let before = self.used.fetch_sub(less, Ordering::Relaxed);
        debug_assert!(before >= less, "more was given back than taken");
    }
}

/// What one holder has of one of an account's quantities. Dropped, all of it goes back.
#[derive(Debug)]
pub struct Held {
    account: Arc<Account>,
    of: fn(&Account) -> &Quantity,
    amount: u64,
}

impl Held {
    /// Nothing yet. `of` says which quantity it will be of.
    pub fn none(account: Arc<Account>, of: fn(&Account) -> &Quantity) -> Self {
        Held {
            account,
            of,
            amount: 0,
        }
    }

    /// Takes more. `false`, and nothing is taken, where it would be over the limit.
    #[must_use = "what was not taken may not be used"]
    pub fn try_grow(&mut self, more: u64) -> bool {
        let Some(amount) = self.amount.checked_add(more) else {
            return false;
        };
        let taken = (self.of)(&self.account).try_take(more);
        if taken {
            self.amount = amount;
        }
        taken
    }

    /// How much it is.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Whose it is.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.amount > 0 {
            (self.of)(&self.account).give_back(self.amount);
        }
    }
}
