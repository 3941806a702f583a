//! Processor time that a call may use, with all that it leads to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::account::Account;

/// What is left. A clone is the same budget: whoever takes part in a call spends from it.
///
/// It is counted in ticks: whoever is found at work when one comes has spent it. Over a few of them that
/// comes to the time that was used.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    total: Duration,
    left_us: AtomicU64,
    outer: Outer,
}

/// What is spent from with a budget.
#[derive(Debug)]
enum Outer {
    /// The one that it is a part of.
    Budget(Budget),
    /// Its tenant's account, which is told.
    Account(Arc<Account>),
}

/// Nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call, with all that it led to, used more than {} ms of processor time", .0.as_millis())]
pub struct Spent(pub Duration);

impl Budget {
    /// So much, of a call of the tenant whose account is charged with what is spent.
    pub fn new(total: Duration, account: Arc<Account>) -> Self {
        Budget(Arc::new(Shared {
            total,
            left_us: AtomicU64::new(micros(total)),
            outer: Outer::Account(account),
        }))
    }

    /// So much of this one, and not more than is left of it.
    pub fn part(&self, total: Duration) -> Self {
        Budget(Arc::new(Shared {
            total,
            left_us: AtomicU64::new(micros(total)),
            outer: Outer::Budget(self.clone()),
        }))
    }

    /// Takes a tick of this length.
    ///
    /// # Errors
    /// When nothing was left.
    pub fn spend(&self, tick: Duration) -> Result<(), Spent> {
        let spent = self
            .0
            .left_us
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left > 0).then(|| left.saturating_sub(micros(tick)))
            });
        match (spent, &self.0.outer) {
            (Err(_nothing), _) => Err(Spent(self.0.total)),
            (Ok(_), Outer::Budget(outer)) => outer.spend(tick),
            (Ok(_), Outer::Account(account)) => {
                account.charge(tick);
                Ok(())
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_share_it_spend_from_it() {
        let tick = Duration::from_millis(5);
        let account = Account::for_tests(0);
        let budget = Budget::new(Duration::from_millis(12), Arc::clone(&account));
        let other = budget.clone();
        for spender in [&budget, &other, &budget] {
            spender.spend(tick).unwrap();
        }
        let spent = Spent(Duration::from_millis(12));
        assert_eq!(other.spend(tick), Err(spent));
        assert_eq!(budget.spend(tick), Err(spent));
        assert_eq!(account.cpu(), 3 * tick, "the tenant is charged with each");
    }

    #[test]
    fn a_part_is_spent_before_the_whole_or_with_it() {
        let tick = Duration::from_millis(5);
        let account = Account::for_tests(0);
        let whole = Budget::new(3 * tick, Arc::clone(&account));
        let small = whole.part(tick);
        small.spend(tick).unwrap();
        assert_eq!(small.spend(tick), Err(Spent(tick)));
        let large = whole.part(10 * tick);
        large.spend(tick).unwrap();
        whole.spend(tick).unwrap();
        assert_eq!(large.spend(tick), Err(Spent(3 * tick)));
        assert_eq!(account.cpu(), 3 * tick);
    }
}
