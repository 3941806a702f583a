//! Whose turn it is: among tenants by weight, within a tenant by the order of coming.
//!
//! Each tenant has a time of its own, which goes on by what its turns take, slower the more weight it
//! has. Who is furthest behind is next. Whoever comes back after a rest begins where the others are, or a
//! little before that, so nobody saves up turns by resting. What is overdue goes before all: it only has
//! to be told so, which takes no time.
//!
//! Nothing here looks at a clock or waits, so the rules can be tested by themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// What a turn takes at most, if all goes well; it is charged ahead, for several turns of a tenant may
/// be under way at once.
pub(super) const TURN: Duration = Duration::from_millis(5);
/// A tenant that comes from a rest is so far before the others, and one that used the quick way so far
/// behind them, at most. Both in the time of a tenant of ordinary weight.
const HEAD_START_NS: u64 = 5_000_000;
const MAX_OWED_NS: u64 = 20_000_000;
/// A tenant of this weight has a time that goes as fast as the clock on the wall.
const ORDINARY_WEIGHT: u64 = 100;
/// Tenants that are remembered before those that rest are forgotten.
const MANY_TENANTS: usize = 64;

/// Those that wait for a turn.
#[derive(Debug)]
pub(super) struct RunQueue<T> {
    tenants: HashMap<u64, Line<T>>,
    /// The tenants that have somebody waiting, by their time.
    order: BTreeSet<(u64, u64)>,
    /// Those that wait by when they are overdue.
    due: BTreeMap<(Instant, u64), u64>,
    /// The latest time at which a turn was given.
    now: u64,
    /// Numbers places in lines.
    last: u64,
    under_way: usize,
    /// How many tenants may be remembered before those that rest are forgotten.
    forget_at: usize,
}

/// One tenant's.
#[derive(Debug)]
struct Line<T> {
    time: u64,
    weight: u64,
    waiting: BTreeMap<u64, (Instant, T)>,
    under_way: u32,
}

/// A place in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    tenant: u64,
    number: u64,
    deadline: Instant,
}

/// A turn that was given.
#[derive(Debug)]
#[must_use = "its tenant is charged when it ends"]
pub(super) struct Given {
    tenant: u64,
    ahead: u64,
}

impl<T> RunQueue<T> {
    pub(super) fn new() -> Self {
        RunQueue {
            tenants: HashMap::new(),
            order: BTreeSet::new(),
            due: BTreeMap::new(),
            now: 0,
            last: 0,
            under_way: 0,
            forget_at: MANY_TENANTS,
        }
    }

    /// Somebody of `tenant` waits for a turn. The tenant used `owed` elsewhere since it was last here.
    pub(super) fn push(
        &mut self,
        tenant: u64,
        weight: u32,
        owed: Duration,
        deadline: Instant,
        who: T,
    ) -> Place {
        self.forget_some();
        let earliest = self.now.saturating_sub(HEAD_START_NS);
        let line = self.tenants.entry(tenant).or_insert_with(|| Line {
            time: earliest,
            weight: ORDINARY_WEIGHT,
            waiting: BTreeMap::new(),
            under_way: 0,
        });
        self.order.remove(&(line.time, tenant));
        line.weight = u64::from(weight).max(1);
        let owed = line.own_time(owed);
        if line.is_at_rest() {
            let latest = line.time.max(self.now + MAX_OWED_NS);
            line.time = (line.time + owed).min(latest).max(earliest);
        } else {
            line.time += owed;
        }
        self.last += 1;
        let number = self.last;
        line.waiting.insert(number, (deadline, who));
        self.order.insert((line.time, tenant));
        self.due.insert((deadline, number), tenant);
        Place {
            tenant,
            number,
            deadline,
        }
    }

    /// Leaves the queue, if it is still there.
    pub(super) fn remove(&mut self, place: &Place) -> Option<T> {
        let line = self.tenants.get_mut(&place.tenant)?;
        let (_, who) = line.waiting.remove(&place.number)?;
        if line.waiting.is_empty() {
            self.order.remove(&(line.time, place.tenant));
        }
        self.due.remove(&(place.deadline, place.number));
        Some(who)
    }

    /// Gives a turn to whoever is next.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Given, T)> {
        let overdue = self.overdue(now);
        let is_in_order = overdue.is_none();
        let place = overdue.or_else(|| self.furthest_behind())?;
        let who = self.remove(&place)?;
        let line = self.tenants.get_mut(&place.tenant)?;
        self.order.remove(&(line.time, place.tenant));
        // One that was not next by its time says nothing about the time of others.
        if is_in_order {
            self.now = self.now.max(line.time);
        }
        let ahead = line.own_time(TURN);
        line.time += ahead;
        line.under_way += 1;
        self.under_way += 1;
        if !line.waiting.is_empty() {
            self.order.insert((line.time, place.tenant));
        }
        let given = Given {
            tenant: place.tenant,
            ahead,
        };
        Some((given, who))
    }

    /// A turn has ended that took so long.
    pub(super) fn end(&mut self, given: &Given, took: Duration) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(line) = self.tenants.get_mut(&given.tenant) else {
            return;
        };
        let is_waiting = self.order.remove(&(line.time, given.tenant));
        let before = line.time.saturating_sub(given.ahead);
        line.time = before + line.own_time(took);
        line.under_way = line.under_way.saturating_sub(1);
        if is_waiting {
            self.order.insert((line.time, given.tenant));
        }
    }

    /// Whether somebody waits for a turn or has one.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way > 0 || !self.order.is_empty()
    }

    fn overdue(&self, now: Instant) -> Option<Place> {
        let ((deadline, number), tenant) = self.due.first_key_value()?;
        (*deadline <= now).then_some(Place {
            tenant: *tenant,
            number: *number,
            deadline: *deadline,
        })
    }

    fn furthest_behind(&self) -> Option<Place> {
        let (_, tenant) = self.order.first()?;
        let line = self.tenants.get(tenant)?;
        let (number, (deadline, _)) = line.waiting.first_key_value()?;
        Some(Place {
            tenant: *tenant,
            number: *number,
            deadline: *deadline,
        })
    }

    /// Forgets those that rest and would begin at the same time if they were new.
    fn forget_some(&mut self) {
        if self.tenants.len() < self.forget_at {
            return;
        }
        // Where nobody does anything, nobody is behind.
        let earliest = if self.is_busy() {
            self.now.saturating_sub(HEAD_START_NS)
        } else {
            u64::MAX
        };
        self.tenants
            .retain(|_, line| !line.is_at_rest() || line.time > earliest);
        // Looked for again when there are twice as many, so that it costs little each time.
        self.forget_at = self.tenants.len().saturating_mul(2).max(MANY_TENANTS);
    }
}

impl<T> Line<T> {
    fn is_at_rest(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }

    fn own_time(&self, time: Duration) -> u64 {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        ns.saturating_mul(ORDINARY_WEIGHT) / self.weight
    }
}

#[cfg(test)]
mod tests;
