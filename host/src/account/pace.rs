//! How fast something may happen.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So much a second. After a rest, what is allowed in `burst` may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much a second. Zero is nothing at all.
    pub per_second: u64,
    /// For how long it may be saved up.
    pub burst: Duration,
}

/// Holds something to a rate. What has happened is remembered as one number: until when it is paid for.
#[derive(Debug)]
pub struct Pace {
    paid_until_ns: AtomicU64,
    per_second: AtomicU64,
    burst_ns: AtomicU64,
}

/// What times are counted from.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Pace {
    /// Nothing has happened yet.
    pub fn new(rate: Rate) -> Self {
        // No time that is counted with lies before it.
        LazyLock::force(&BEGINNING);
        Pace {
            paid_until_ns: AtomicU64::new(0),
            per_second: AtomicU64::new(rate.per_second),
            burst_ns: AtomicU64::new(nanos(rate.burst)),
        }
    }

    /// Another rate from now on, also for those who hold this already.
    pub fn set_rate(&self, rate: Rate) {
        self.per_second.store(rate.per_second, Ordering::Relaxed);
        self.burst_ns.store(nanos(rate.burst), Ordering::Relaxed);
    }

    /// How much a second.
    pub fn per_second(&self) -> u64 {
        self.per_second.load(Ordering::Relaxed)
    }

    /// Takes so much. What is more than a whole burst passes after a rest, and is paid for afterwards.
    ///
    /// # Errors
    /// When it is too early; how long to wait. Nothing was taken then.
    pub fn take(&self, amount: u64, now: Instant) -> Result<(), Duration> {
        let (now_ns, per_second) = (since_beginning(now), self.per_second());
        let cost_ns = cost_ns(amount, per_second);
        let most_ns = self.burst_ns.load(Ordering::Relaxed).max(cost_ns);
        let mut wait_ns = 0;
        let pay = |paid_until_ns: u64| {
            let then_ns = paid_until_ns.max(now_ns).saturating_add(cost_ns);
            wait_ns = then_ns.saturating_sub(now_ns).saturating_sub(most_ns);
            (wait_ns == 0 && per_second > 0).then_some(then_ns)
        };
        // Nothing else is published by this number, so no order with other memory is needed.
        let paid = &self.paid_until_ns;
        let taken = paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
        taken
            .map(|_before| ())
            .map_err(|_too_early| Duration::from_nanos(wait_ns))
    }

    /// Whether all was paid for.
    pub fn is_rested(&self, now: Instant) -> bool {
        self.paid_until_ns.load(Ordering::Relaxed) <= since_beginning(now)
    }
}

fn since_beginning(now: Instant) -> u64 {
    nanos(now.saturating_duration_since(*BEGINNING))
}

fn cost_ns(amount: u64, per_second: u64) -> u64 {
    let ns = u128::from(amount).saturating_mul(1_000_000_000);
    let each = ns.checked_div(u128::from(per_second)).unwrap_or(u128::MAX);
    u64::try_from(each).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(per_second: u64, burst_ms: u64) -> Pace {
        Pace::new(Rate {
            per_second,
            burst: Duration::from_millis(burst_ms),
        })
    }

    fn later(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_comes_at_once_and_then_so_much_a_second() {
        let (pace, start) = (pace(10, 500), Instant::now());
        for _ in 0..5 {
            pace.take(1, start).unwrap();
        }
        let wait = pace.take(1, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(pace.take(1, later(start, 99)).is_err());
        pace.take(1, later(start, 100)).unwrap();
        assert!(pace.take(1, later(start, 100)).is_err());
        assert!(!pace.is_rested(later(start, 599)) && pace.is_rested(later(start, 600)));
    }

    #[test]
    fn what_is_larger_than_a_burst_passes_after_a_rest_alone() {
        let (pace, start) = (pace(10, 100), Instant::now());
        pace.take(20, start).unwrap();
        assert!(pace.take(20, later(start, 1999)).is_err());
        pace.take(20, later(start, 2000)).unwrap();
    }

    #[test]
    fn zero_is_nothing_and_another_rate_holds_at_once() {
        let (pace, start) = (pace(0, 1000), Instant::now());
        pace.take(1, start).unwrap_err();
        pace.set_rate(Rate {
            per_second: 1,
            burst: Duration::from_secs(1),
        });
        pace.take(1, start).unwrap();
        pace.take(1, start).unwrap_err();
    }

    proptest! {
        /// In any stretch of time no more passes than a burst and what the rate gives in that time, and
        /// whoever waits as long as it was told passes.
        #[test]
        fn no_more_passes_than_burst_and_rate(
            per_second in 1..1000u64,
            burst_ms in 1..3000u64,
            steps in proptest::collection::vec((0..200u64, 1..5u64), 1..200),
        ) {
            let (one, start) = (pace(per_second, burst_ms), Instant::now());
            let (mut at_ms, mut passed) = (0, 0);
            for (pause_ms, amount) in steps {
                at_ms += pause_ms;
                match one.take(amount, later(start, at_ms)) {
                    Ok(()) => passed += amount,
                    Err(wait) => {
                        let copy = pace(per_second, burst_ms);
                        let paid_until_ns = one.paid_until_ns.load(Ordering::Relaxed);
                        copy.paid_until_ns.store(paid_until_ns, Ordering::Relaxed);
                        prop_assert!(copy.take(amount, later(start, at_ms) + wait).is_ok());
                    }
                }
                // The last one may have been larger than a burst.
                let most = per_second * (burst_ms + at_ms) / 1000;
                prop_assert!(passed <= most + 5, "{} of {}", passed, most);
            }
        }
    }
}
