//! Who may have a turn where its call was read, on the threads that serve connections.
//!
//! That way is the quickest: no other thread has to wake. It is also the one on which a guest can hold up
//! others, as what waits there is served in the order in which it came. So it is for short turns, and for
//! a part of the time only: a tenant whose turn was long has to go by the mill for a while that is a
//! multiple of that turn, and where several tenants are at work each has half of its share of the
//! processors there. A tenant that is alone has all of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::processor;

/// What a short turn takes at most.
pub(super) const LONG_TURN: Duration = Duration::from_millis(1);
/// Whoever had a long turn goes by the mill for so many times its length.
const TIMES_BARRED: u32 = 256;
const LONGEST_BAR: Duration = Duration::from_secs(10);
/// Whoever seemed to have one is measured exactly for so long. Exactly means by the kernel, which knows
/// whether it was another thread that had the processor.
const WATCHED: Duration = Duration::from_secs(2);
/// What is used is counted for each of such spans of time.
const SPAN_NS: u64 = 10_000_000;

/// The quick way of a node.
#[derive(Debug)]
pub(super) struct QuickWay {
    began: Instant,
    processors: u64,
    /// The number of the present span.
    span: AtomicU64,
    /// The weights together of the tenants that were at work in it so far, and in the one before.
    present_weight: AtomicU64,
    previous_weight: AtomicU64,
}

/// A turn under way.
#[derive(Debug)]
pub(super) struct Turn {
    began: Instant,
    /// What the thread had before, if it is measured exactly.
    measured: Option<Duration>,
}

impl QuickWay {
    pub(super) fn new(processors: usize) -> Self {
        QuickWay {
            began: Instant::now(),
            processors: u64::try_from(processors).unwrap_or(1).max(1),
            span: AtomicU64::new(0),
            present_weight: AtomicU64::new(0),
            previous_weight: AtomicU64::new(0),
        }
    }

    /// Begins a turn, if the tenant may have one here now.
    pub(super) fn begin(&self, account: &Account) -> Option<Turn> {
        self.begin_at(account, Instant::now())
    }

    fn begin_at(&self, account: &Account, began: Instant) -> Option<Turn> {
        let now_ns = self.at(began);
        if account.quick_use().is_barred(now_ns) || self.has_had_its_part(account, now_ns / SPAN_NS)
        {
            return None;
        }
        let is_watched = account.quick_use().is_watched(now_ns);
        Some(Turn {
            began,
            measured: is_watched.then(processor::time_of_this_thread),
        })
    }

    /// A turn is over. Tells whether it was long.
    pub(super) fn end(&self, account: &Account, turn: &Turn) -> bool {
        self.end_at(account, turn, Instant::now())
    }

    fn end_at(&self, account: &Account, turn: &Turn, now: Instant) -> bool {
        let (now_ns, took) = (self.at(now), now - turn.began);
        self.note_at_work(account, now_ns / SPAN_NS);
        let (way, took_ns) = (account.quick_use(), nanos(took));
        way.charge(took_ns);
        if took < LONG_TURN {
            return false;
        }
        match turn.measured {
            // Somebody else may have had the processor in the meantime.
            None => way.watch_until(now_ns + nanos(WATCHED)),
            Some(before) => {
                let used = processor::time_of_this_thread().saturating_sub(before);
                if used >= LONG_TURN {
                    let bar = LONGEST_BAR.min(used * TIMES_BARRED);
                    way.bar_until(now_ns + nanos(bar));
                    way.watch_until(now_ns + nanos(bar + WATCHED));
                }
            }
        }
        true
    }

    /// The tenant was at work elsewhere.
    pub(super) fn note_elsewhere(&self, account: &Account) {
        self.note_at_work(account, self.at(Instant::now()) / SPAN_NS);
    }

    fn has_had_its_part(&self, account: &Account, span: u64) -> bool {
        let own = u64::from(account.weight().max(1));
        let others = self.weight_of_all(span).saturating_sub(own);
        if others == 0 {
            return false;
        }
        let part = SPAN_NS * self.processors / 2 * own / (own + others);
        account.quick_use().used_ns(span) >= part
    }

    /// Of those at work in this span or the one before, about: it is counted without a lock.
    fn weight_of_all(&self, span: u64) -> u64 {
        let present = self.present_weight.load(Ordering::Relaxed);
        match span - self.span.load(Ordering::Relaxed).min(span) {
            0 => present.max(self.previous_weight.load(Ordering::Relaxed)),
            1 => present,
            _ => 0,
        }
    }

    fn note_at_work(&self, account: &Account, span: u64) {
        let last = self.span.load(Ordering::Relaxed);
        if last < span {
            let moved =
                self.span
                    .compare_exchange(last, span, Ordering::Relaxed, Ordering::Relaxed);
            // One of those who see it turns the page.
            if moved.is_ok() {
                let weight = self.present_weight.swap(0, Ordering::Relaxed);
                let is_next = last + 1 == span;
                let previous = if is_next { weight } else { 0 };
                self.previous_weight.store(previous, Ordering::Relaxed);
            }
        }
        if account.quick_use().is_first_in(span) {
            let weight = u64::from(account.weight().max(1));
            self.present_weight.fetch_add(weight, Ordering::Relaxed);
        }
    }

    fn at(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.began))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::account::Allowance;

    const SPAN: Duration = Duration::from_nanos(SPAN_NS);
    const SHORT: Duration = Duration::from_micros(500);

    fn account(tenant: u64, weight: u32) -> Account {
        let allowance = Allowance {
            weight,
            ..Allowance::for_tests(0)
        };
        Account::new(tenant, Arc::from("acme"), &allowance)
    }

    /// Short turns one after the other, until there are no more in this span or the span is over.
    fn used_of_a_span(quick: &QuickWay, account: &Account, begun: Instant) -> Duration {
        let mut used = Duration::ZERO;
        while used < SPAN - SHORT * 2
            && let Some(turn) = quick.begin_at(account, begun + used)
        {
            used += SHORT;
            assert!(!quick.end_at(account, &turn, begun + used));
        }
        used
    }

    #[test]
    fn whoever_is_alone_has_all_of_it() {
        let (quick, alone) = (QuickWay::new(1), account(1, 1));
        for span in 0..100 {
            let begun = quick.began + SPAN * span;
            assert_eq!(used_of_a_span(&quick, &alone, begun), SPAN - SHORT * 2);
        }
    }

    #[test]
    fn of_several_each_has_half_of_its_share() {
        let quick = QuickWay::new(2);
        let (one, three) = (account(1, 100), account(2, 300));
        for span in 1..100 {
            let begun = quick.began + SPAN * span;
            for each in [&one, &three] {
                let turn = quick.begin_at(each, begun).unwrap();
                quick.end_at(each, &turn, begun);
            }
            // Two processors, so half of all is as much as one.
            assert_eq!(used_of_a_span(&quick, &one, begun), SPAN / 4);
            assert_eq!(used_of_a_span(&quick, &three, begun), SPAN / 4 * 3);
        }
        // When the other is gone, there is nobody to leave anything to.
        let begun = quick.began + SPAN * 110;
        assert_eq!(used_of_a_span(&quick, &one, begun), SPAN - SHORT * 2);
    }

    #[test]
    fn a_long_turn_closes_it_for_many_times_its_length() {
        let (quick, account) = (QuickWay::new(1), account(1, 100));
        // The first is a reason to look closer.
        let turn = quick.begin_at(&account, quick.began).unwrap();
        assert!(quick.end_at(&account, &turn, quick.began + LONG_TURN));
        let begun = quick.began + SPAN;
        let turn = quick.begin_at(&account, begun).unwrap();
        let before = turn.measured.unwrap();
        while processor::time_of_this_thread() - before < LONG_TURN {
            std::hint::spin_loop();
        }
        let ended = begun + LONG_TURN;
        assert!(quick.end_at(&account, &turn, ended));
        let barred = ended + LONG_TURN * (TIMES_BARRED - 1);
        assert!(quick.begin_at(&account, barred).is_none());
        let free = ended + LONGEST_BAR;
        assert!(quick.begin_at(&account, free).is_some());
    }

    #[test]
    fn whoever_only_had_to_wait_for_a_processor_is_not_barred() {
        let (quick, account) = (QuickWay::new(1), account(1, 100));
        for span in 0..10 {
            let begun = quick.began + SPAN * span;
            let turn = quick.begin_at(&account, begun).unwrap();
            assert!(quick.end_at(&account, &turn, begun + LONG_TURN * 5));
        }
    }
}
