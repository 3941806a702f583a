//! What one tenant uses of the node at this moment, shared by all its sessions and calls.
//!
//! An account knows a number and a name, and no registration, session or permit. Whoever acts for a
//! tenant holds its account; what it takes is given back when the guard for it is dropped, so exactly
//! once, however a call ends.

mod accounts;
mod chatter;
mod pace;
mod quantity;
mod quick_use;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use accounts::Accounts;
pub use chatter::{Chatter, Dropped, Hearing};
pub use pace::{Pace, Rate};
pub use quantity::{Held, Quantity};
pub use quick_use::QuickUse;

/// What a tenant may use. A node's own numbers, or what is left of them to one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes of memory and tables of all its instances together, and of values on their way.
    pub max_memory_bytes: u64,
    /// Exchanges under way at once in all its sessions.
    pub max_calls_in_flight: u64,
    /// How fast calls may begin.
    pub calls: Rate,
    /// How fast everything else may begin that is asked of the node.
    pub requests: Rate,
    /// How fast its guests may write to the log, in bytes.
    pub log_bytes: Rate,
    /// Its part of the processors, beside that of others.
    pub weight: u32,
}

/// One tenant's account. All numbers are of this moment, and any thread may read them.
#[derive(Debug)]
pub struct Account {
    tenant: u64,
    name: Arc<str>,
    weight: AtomicU32,
    cpu_us: AtomicU64,
    memory: Arc<Quantity>,
    spare_memory: Arc<Quantity>,
    calls_in_flight: Arc<Quantity>,
    calls: Pace,
    requests: Pace,
    chatter: Chatter,
    quick_use: QuickUse,
}

impl Account {
    /// An account that nothing was taken from yet.
    pub fn new(tenant: u64, name: Arc<str>, allowance: &Allowance) -> Self {
        Account {
            tenant,
            name,
            weight: AtomicU32::new(allowance.weight),
            cpu_us: AtomicU64::new(0),
            memory: Arc::new(Quantity::new(allowance.max_memory_bytes)),
            spare_memory: Arc::new(Quantity::new(allowance.max_memory_bytes)),
            calls_in_flight: Arc::new(Quantity::new(allowance.max_calls_in_flight)),
            calls: Pace::new(allowance.calls),
            requests: Pace::new(allowance.requests),
            chatter: Chatter::new(allowance.log_bytes),
            quick_use: QuickUse::default(),
        }
    }

    /// The number of the tenant.
    pub fn tenant(&self) -> u64 {
        self.tenant
    }

    /// What the tenant is called, as people read it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Another allowance from now on. What is held stays held, even where it is more.
    pub fn allow(&self, allowance: &Allowance) {
        self.weight.store(allowance.weight, Ordering::Relaxed);
        self.memory.set_limit(allowance.max_memory_bytes);
        self.spare_memory.set_limit(allowance.max_memory_bytes);
        self.calls_in_flight
            .set_limit(allowance.max_calls_in_flight);
        self.calls.set_rate(allowance.calls);
        self.requests.set_rate(allowance.requests);
        self.chatter.pace().set_rate(allowance.log_bytes);
    }

    /// Its part of the processors, beside that of others.
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Somebody of the tenant had a processor for so long.
    pub fn charge(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.cpu_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The processor time that was charged since the account was opened.
    pub fn cpu(&self) -> Duration {
        Duration::from_micros(self.cpu_us.load(Ordering::Relaxed))
    }

    /// What it had of the quick way.
    pub fn quick_use(&self) -> &QuickUse {
        &self.quick_use
    }

    /// Bytes of memory and tables of all instances together, and of values on their way.
    pub fn memory(&self) -> &Arc<Quantity> {
        &self.memory
    }

    /// Bytes that instances take which no call has. No call lacks them: they are to go where one needs them.
    pub fn spare_memory(&self) -> &Arc<Quantity> {
        &self.spare_memory
    }

    /// Whether so much more of it, and all that calls have, are within the limit.
    pub fn has_to_spare(&self, more: u64) -> bool {
        let (calls, spare) = (self.memory.used(), self.spare_memory.used());
        let total = calls
            .checked_add(spare)
            .and_then(|held| held.checked_add(more));
        total.is_some_and(|total| total <= self.memory.limit())
    }

    /// Exchanges under way.
    pub fn calls_in_flight(&self) -> &Arc<Quantity> {
        &self.calls_in_flight
    }

    /// How fast calls begin.
    pub fn calls(&self) -> &Pace {
        &self.calls
    }

    /// How fast everything else begins that is asked of the node.
    pub fn requests(&self) -> &Pace {
        &self.requests
    }

    /// What its guests say.
    pub fn chatter(&self) -> &Chatter {
        &self.chatter
    }

    /// Whether nothing is lost if it is forgotten.
    fn is_idle(&self, now: Instant) -> bool {
        self.memory.used() == 0
            && self.spare_memory.used() == 0
            && self.calls_in_flight.used() == 0
            && self.calls.is_rested(now)
            && self.requests.is_rested(now)
            && self.chatter.is_rested(now)
    }
}

#[cfg(any(test, feature = "bench"))]
impl Allowance {
    /// More than any test uses.
    pub(crate) fn for_tests(max_memory_bytes: u64) -> Self {
        let rate = Rate {
            per_second: 1 << 40,
            burst: Duration::from_secs(1),
        };
        Allowance {
            max_memory_bytes,
            max_calls_in_flight: u64::MAX,
            calls: rate,
            requests: rate,
            log_bytes: rate,
            weight: 100,
        }
    }
}

#[cfg(test)]
impl Account {
    /// An account of nobody, that may use so much memory.
    pub(crate) fn for_tests(max_memory_bytes: u64) -> Arc<Self> {
        let allowance = Allowance::for_tests(max_memory_bytes);
        Arc::new(Account::new(7, Arc::from("acme"), &allowance))
    }
}

#[cfg(test)]
mod tests;
