//! What is held is what is used, never less and never over the limit.

use std::sync::Barrier;

use proptest::prelude::*;
use std::collections::HashMap;

use super::*;

const LIMIT: u64 = 1000;

#[derive(Clone, Debug)]
enum Step {
    Take { holder: usize, more: u64 },
    Let { holder: usize },
    Allow { limit: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8usize, prop_oneof![0..400u64, Just(u64::MAX)])
            .prop_map(|(holder, more)| Step::Take { holder, more }),
        2 => (0..8usize).prop_map(|holder| Step::Let { holder }),
        1 => (0..2 * LIMIT).prop_map(|limit| Step::Allow { limit }),
    ]
}

proptest! {
    #[test]
    fn what_is_used_is_the_sum_of_what_is_held(steps in proptest::collection::vec(step(), 0..200)) {
        let account = Account::for_tests(LIMIT);
        let (mut holders, mut limit) = (HashMap::<usize, (Held, u64)>::new(), LIMIT);
        for step in steps {
            let used: u64 = holders.values().map(|(_, amount)| amount).sum();
            match step {
                Step::Take { holder, more } => {
                    let (held, amount) = holders.entry(holder).or_insert_with(|| {
                        (Held::none(account.memory()), 0)
                    });
                    let fits = used.checked_add(more).is_some_and(|total| total <= limit);
                    prop_assert_eq!(held.try_grow(more), fits);
                    *amount += if fits { more } else { 0 };
                    prop_assert_eq!(held.amount(), *amount);
                }
                Step::Let { holder } => drop(holders.remove(&holder)),
                Step::Allow { limit: other } => {
                    account.memory().set_limit(other);
                    limit = other;
                }
            }
            let used: u64 = holders.values().map(|(_, amount)| amount).sum();
            prop_assert_eq!(account.memory().used(), used);
        }
        holders.clear();
        prop_assert_eq!(account.memory().used(), 0);
    }
}

/// Whoever looks, at any time, sees no more than the limit.
#[test]
fn threads_together_never_exceed_the_limit_and_give_all_back() {
    const THREADS: u64 = 4;
    let account = Account::for_tests(LIMIT);
    let begin = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (account, begin) = (Arc::clone(&account), &begin);
            scope.spawn(move || {
                begin.wait();
                let mut refused = 0;
                for round in 0..20_000u64 {
                    let mut held = Held::none(account.memory());
                    for part in 0..3 {
                        let more = 1 + (round * 31 + thread * 17 + part) % 300;
                        refused += u64::from(!held.try_grow(more));
                        assert!(account.memory().used() <= LIMIT);
                    }
                    assert!(account.memory().used() >= held.amount());
                    account.charge(Duration::from_micros(1));
                }
                refused
            });
        }
    });
    assert_eq!(account.memory().used(), 0);
    assert_eq!(account.cpu(), Duration::from_micros(THREADS * 20_000));
}
