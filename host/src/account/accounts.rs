//! The accounts of the tenants that do something at the moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Account, Allowance};

/// Accounts that are kept before those are forgotten that nobody uses.
const MANY_ACCOUNTS: usize = 64;

/// Finds a tenant's account. There is at most one of each tenant at a time; one that nobody holds, and
/// that owes nothing, may be forgotten.
#[derive(Debug, Default)]
pub struct Accounts(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    accounts: HashMap<u64, Arc<Account>>,
    /// How many may be there before it is looked for those that nobody uses.
    sweep_at: usize,
}

impl Accounts {
    /// The account of a tenant; a new one with this allowance where there is none.
    pub fn of(
        &self,
        tenant: u64,
        name: &str,
        allowance: impl FnOnce() -> Allowance,
    ) -> Arc<Account> {
        let mut table = self.table();
        if let Some(account) = table.accounts.get(&tenant) {
            return Arc::clone(account);
        }
        if table.accounts.len() >= table.sweep_at {
            let now = Instant::now();
            table
                .accounts
                .retain(|_, account| Arc::strong_count(account) > 1 || !account.is_idle(now));
            // Looked for again when there are twice as many, so that it costs little each time.
            table.sweep_at = table.accounts.len().saturating_mul(2).max(MANY_ACCOUNTS);
        }
        let account = Arc::new(Account::new(tenant, Arc::from(name), &allowance()));
        table.accounts.insert(tenant, Arc::clone(&account));
        account
    }

    /// The account of a tenant, if it has one at the moment.
    pub fn find(&self, tenant: u64) -> Option<Arc<Account>> {
        self.table().accounts.get(&tenant).cloned()
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_one_account_as_long_as_somebody_holds_it() {
        let accounts = Accounts::default();
        let account = accounts.of(1, "acme", || Allowance::for_tests(1000));
        for other in 2..1000 {
            let _unused = accounts.of(other, "other", || Allowance::for_tests(1000));
        }
        assert!(Arc::ptr_eq(
            &account,
            &accounts.of(1, "acme", || Allowance::for_tests(1000))
        ));
        assert!(accounts.table().accounts.len() <= MANY_ACCOUNTS);
    }

    #[test]
    fn another_allowance_holds_at_once_for_those_who_have_the_account() {
        let accounts = Accounts::default();
        let account = accounts.of(1, "acme", || Allowance::for_tests(1000));
        let stricter = Allowance {
            weight: 1,
            ..Allowance::for_tests(10)
        };
        accounts.find(1).unwrap().allow(&stricter);
        assert_eq!((account.memory().limit(), account.weight()), (10, 1));
    }
}
