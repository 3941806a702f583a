//! Counts the memory and tables of one instance, in bytes together, and among those of its tenant.

use wasmtime::ResourceLimiter;

use std::sync::Arc;

use super::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};
use super::spare::Spare;
use super::stocks::Stocks;
use crate::account::{Account, Held};

/// What an element of a table takes.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();
/// What an instance takes of its tenant's memory beyond what it needs at that moment, so that its tables,
/// and each small growth, do not ask again.
const AHEAD_BYTES: u64 = 64 << 10;

/// Why growth was refused. A guest that traps after it most likely does so for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The instance would have more than it may.
    Instance {
        /// The limit.
        limit_bytes: u64,
    },
    /// All instances of its tenant together would.
    Tenant {
        /// The limit.
        limit_bytes: u64,
    },
}

/// The engine's own limits hold for each memory and each table; this one holds for all of an instance,
/// and of a tenant. What it took of the tenant's goes back when it is dropped, with the store.
pub(super) struct Limiter {
    max_memory_bytes: u64,
    memory_bytes: u64,
    taken: Taken,
    refusal: Option<Refusal>,
    has_refused: bool,
}

/// What it has taken of its tenant's.
enum Taken {
    /// Of the memory of calls.
    ByCall(Held, Option<Before>),
    /// Beside that.
    Spare(Spare),
}

/// What gives way to a call's memory.
struct Before {
    stocks: Arc<Stocks>,
    account: Arc<Account>,
}

impl Before {
    fn new(stocks: &Arc<Stocks>, account: &Arc<Account>) -> Self {
        Before {
            stocks: Arc::clone(stocks),
            account: Arc::clone(account),
        }
    }
}

impl Limiter {
    pub(super) fn new(max_memory_bytes: u64, account: &Account) -> Self {
        Limiter {
            max_memory_bytes,
            memory_bytes: 0,
            taken: Taken::ByCall(Held::none(account.memory()), None),
            refusal: None,
            has_refused: false,
        }
    }

    /// Of an instance that no call has yet.
    pub(super) fn ahead(max_memory_bytes: u64, spare: Spare) -> Self {
        Limiter {
            max_memory_bytes,
            memory_bytes: 0,
            taken: Taken::Spare(spare),
            refusal: None,
            has_refused: false,
        }
    }

    /// It is of a call, to which these give way.
    pub(super) fn before(&mut self, stocks: &Arc<Stocks>, account: &Arc<Account>) {
        if let Taken::ByCall(_, before) = &mut self.taken {
            *before = Some(Before::new(stocks, account));
        }
    }

    /// A call gets the instance. `false`: the tenant's calls may not have so much.
    #[must_use = "what was not taken may not be used"]
    pub(super) fn begin_call(&mut self, account: &Arc<Account>, stocks: &Arc<Stocks>) -> bool {
        let Taken::Spare(spare) = &self.taken else {
            return false;
        };
        let Some(held) = Held::try_take(account.memory(), spare.memory_bytes()) else {
            return false;
        };
        // What it had beside goes back, so that it is not counted twice.
        self.taken = Taken::ByCall(held, Some(Before::new(stocks, account)));
        true
    }

    /// Its call is over. `false`: it may not be there any longer than that.
    #[must_use = "whoever may not be there has to go"]
    pub(super) fn end_call(&mut self, account: &Arc<Account>, stocks: &Stocks) -> bool {
        let spare = Spare::try_take(account, &stocks.memory, self.memory_bytes);
        let is_taken = spare.is_some();
        if let Some(spare) = spare {
            self.taken = Taken::Spare(spare);
        }
        is_taken
    }

    /// Bytes of its memories and tables.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The last one.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Whether a guest that no call has yet got less than it asked for, whyever.
    pub(super) fn has_refused(&self) -> bool {
        self.has_refused
    }

    fn take(&mut self, more_bytes: Option<usize>) -> bool {
        let total = more_bytes
            .and_then(|more| u64::try_from(more).ok())
            .and_then(|more| self.memory_bytes.checked_add(more))
            .filter(|total| *total <= self.max_memory_bytes);
        let Some(total) = total else {
            let limit_bytes = self.max_memory_bytes;
            self.refusal = Some(Refusal::Instance { limit_bytes });
            return false;
        };
        if let Err(limit_bytes) = self.taken.grow(total) {
            self.refusal = Some(Refusal::Tenant { limit_bytes });
            return false;
        }
        self.memory_bytes = total;
        true
    }
}

impl Taken {
    /// Has as much as this. Where it may not, that is the limit.
    fn grow(&mut self, total: u64) -> Result<(), u64> {
        match self {
            Taken::ByCall(held, before) => {
                let missing = total.saturating_sub(held.amount());
                if missing == 0 {
                    return Ok(());
                }
                if !held.try_grow(missing.saturating_add(AHEAD_BYTES)) && !held.try_grow(missing) {
                    return Err(held.of().limit());
                }
                if let Some(Before { stocks, account }) = before
                    && !account.has_to_spare(0)
                {
                    stocks.give_way(account);
                }
                Ok(())
            }
            Taken::Spare(spare) => {
                let missing = total.saturating_sub(spare.memory_bytes());
                if missing > 0 && !spare.try_grow(missing) {
                    return Err(spare.limit());
                }
                Ok(())
            }
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let is_taken = self.take(desired.checked_sub(current));
        self.has_refused |= !is_taken;
        Ok(is_taken)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.has_refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.checked_sub(current);
        let more_bytes = more.and_then(|more| more.checked_mul(TABLE_ELEMENT_BYTES));
        let is_taken = desired <= MAX_TABLE_ELEMENTS && self.take(more_bytes);
        self.has_refused |= !is_taken;
        Ok(is_taken)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.has_refused = true;
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_count_as_what_they_take() {
        let mut limiter = Limiter::new(100, &Account::for_tests(1000));
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert!(!limiter.memory_growing(0, 21, None).unwrap());
        assert!(limiter.memory_growing(0, 20, None).unwrap());
        assert!(!limiter.table_growing(10, 11, None).unwrap());
        assert_eq!(
            limiter.refusal(),
            Some(Refusal::Instance { limit_bytes: 100 })
        );
    }

    #[test]
    fn memories_are_counted_together() {
        let mut limiter = Limiter::new(100, &Account::for_tests(1000));
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert_eq!(limiter.refusal(), None);
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert!(limiter.refusal().is_some());
        assert!(
            !limiter
                .table_growing(0, MAX_TABLE_ELEMENTS + 1, None)
                .unwrap()
        );
    }

    #[test]
    fn instances_of_a_tenant_are_counted_together_and_give_all_back() {
        let account = Account::for_tests(100);
        let mut first = Limiter::new(80, &account);
        let mut second = Limiter::new(80, &account);
        assert!(first.memory_growing(0, 70, None).unwrap());
        assert!(second.memory_growing(0, 30, None).unwrap());
        assert!(!second.table_growing(0, 1, None).unwrap());
        let refusal = Refusal::Tenant { limit_bytes: 100 };
        assert_eq!(second.refusal(), Some(refusal));
        drop(first);
        assert!(second.table_growing(0, 1, None).unwrap());
        drop(second);
        assert_eq!(account.memory().used(), 0);
    }

    #[test]
    fn small_growth_asks_the_tenant_once() {
        let account = Account::for_tests(1 << 30);
        let mut limiter = Limiter::new(1 << 30, &account);
        assert!(limiter.memory_growing(0, 1 << 20, None).unwrap());
        let taken = account.memory().used();
        assert!(limiter.table_growing(0, 100, None).unwrap());
        assert_eq!(account.memory().used(), taken);
    }
}
