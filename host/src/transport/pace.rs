//! How often something may happen from one address over time.
//!
//! Each address has a *debt*, which each event raises and time pays off: at a hundred a minute, an
//! event costs 600 ms. So nothing is counted in windows, an address that has paid off needs no entry,
//! and what one entry says is one moment. What follows from a debt is for others to decide.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::origin::Origin;

const MINUTE: Duration = Duration::from_secs(60);
/// So many addresses are told apart. The others share one debt, so that nobody gets room by coming
/// from everywhere.
const MAX_ADDRESSES: usize = 65_536;
/// How often those are looked for that have paid off, while there is no room.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The debts of all addresses, for events of one sort.
#[derive(Debug)]
pub(super) struct Pace {
    cost: Duration,
    max_addresses: usize,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    /// When each address will have paid off.
    free_at: HashMap<Origin, Instant>,
    swept_at: Option<Instant>,
}

impl Pace {
    /// So many events a minute leave a debt of one minute at most.
    pub(super) fn per_minute(events: u64) -> Self {
        let events = u32::try_from(events).unwrap_or(u32::MAX).max(1);
        Pace {
            cost: MINUTE / events,
            max_addresses: MAX_ADDRESSES,
            ledger: Mutex::default(),
        }
    }

    /// The debt of an address.
    pub(super) fn debt(&self, origin: Origin, now: Instant) -> Duration {
        let ledger = self.ledger();
        let own = ledger.free_at.get(&origin);
        // Who is not told apart has part in what those owe.
        let free_at = own.or_else(|| {
            let is_full = ledger.free_at.len() >= self.max_addresses;
            is_full
                .then(|| ledger.free_at.get(&Origin::OTHERS))
                .flatten()
        });
        free_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// Something happened: gives the debt of its address, which grows no further than `most`.
    pub(super) fn note(&self, origin: Origin, now: Instant, most: Duration) -> Duration {
        let mut ledger = self.ledger();
        let origin = ledger.place(origin, now, self.max_addresses);
        let present = ledger.free_at.get(&origin).copied();
        let present = present.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let debt = present.saturating_add(self.cost).min(most.max(self.cost));
        ledger.free_at.insert(origin, now + debt);
        debt
    }

    /// Notes it if the debt stays within `most`, or else tells that it may not happen, which costs
    /// nothing.
    pub(super) fn may(&self, origin: Origin, now: Instant, most: Duration) -> bool {
        let may = self.has_room(origin, now, most);
        if may {
            self.note(origin, now, most);
        }
        may
    }

    /// Whether the debt would stay within `most` if it happened.
    pub(super) fn has_room(&self, origin: Origin, now: Instant, most: Duration) -> bool {
        self.debt(origin, now).saturating_add(self.cost) <= most.max(self.cost)
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Under what the debt of an address is kept.
    fn place(&mut self, origin: Origin, now: Instant, max_addresses: usize) -> Origin {
        if self.free_at.contains_key(&origin) || self.free_at.len() < max_addresses {
            return origin;
        }
        let is_due = self
            .swept_at
            .is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_INTERVAL);
        if is_due {
            self.swept_at = Some(now);
            self.free_at.retain(|_, free_at| *free_at > now);
        }
        if self.free_at.len() < max_addresses {
            origin
        } else {
            Origin::OTHERS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn origin(number: u32) -> Origin {
        Origin::of(std::net::IpAddr::V4(number.into()))
    }

    #[test]
    fn a_debt_grows_with_each_event_and_is_paid_off_by_time() {
        let (pace, now) = (Pace::per_minute(60), Instant::now());
        for event in 1..=10 {
            assert_eq!(pace.note(origin(1), now, MINUTE), SECOND * event);
        }
        assert_eq!(pace.debt(origin(1), now + 4 * SECOND), SECOND * 6);
        assert_eq!(pace.debt(origin(1), now + 20 * SECOND), Duration::ZERO);
        assert_eq!(pace.debt(origin(2), now), Duration::ZERO);
        for _ in 0..100 {
            pace.note(origin(1), now, MINUTE);
        }
        assert_eq!(pace.debt(origin(1), now), MINUTE, "no further than that");
    }

    #[test]
    fn so_many_may_happen_at_once_and_then_so_many_a_minute() {
        let (pace, now) = (Pace::per_minute(30), Instant::now());
        let happened = (0..100).filter(|_| pace.may(origin(1), now, MINUTE));
        assert_eq!(happened.count(), 30);
        assert!(pace.may(origin(2), now, MINUTE));
        let a_second_later = now + SECOND;
        assert!(!pace.may(origin(1), a_second_later, MINUTE));
        let two_seconds_later = now + 2 * SECOND;
        assert!(pace.may(origin(1), two_seconds_later, MINUTE));
        assert!(!pace.may(origin(1), two_seconds_later, MINUTE));
        let one_a_minute = Pace::per_minute(1);
        assert!(one_a_minute.may(origin(1), now, MINUTE));
        assert!(!one_a_minute.may(origin(1), now, MINUTE));
    }

    #[test]
    fn addresses_are_bounded_and_those_beyond_share_one_debt() {
        let now = Instant::now();
        let pace = Pace {
            max_addresses: 4,
            ..Pace::per_minute(60)
        };
        for number in 0..1000 {
            pace.note(origin(number), now, MINUTE);
        }
        assert_eq!(pace.ledger().free_at.len(), 5, "four, and the others");
        assert_eq!(pace.debt(origin(0), now), SECOND);
        assert_eq!(pace.debt(origin(1_000_000), now), MINUTE);
        // Whoever has paid off makes room.
        let later = now + 2 * MINUTE;
        pace.note(origin(7), later, MINUTE);
        assert_eq!(pace.ledger().free_at.len(), 1);
        assert_eq!(pace.debt(origin(7), later), SECOND);
    }
}
