//! What one tenant uses of the node at this moment, shared by all its sessions and calls.
//!
//! An account knows a number and a name, and no registration, session or permit. Whoever acts for a
//! tenant holds its account; what it takes is given back when the guard for it is dropped, so exactly
//! once, however a call ends.

mod accounts;
mod pace;
mod quantity;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

pub use accounts::Accounts;
pub use pace::Pace;
pub use quantity::{Held, Quantity};

/// What a tenant may use. A node's own numbers, or what is left of them to one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes of memory and tables of all its instances together.
    pub max_memory_bytes: u64,
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
    pace: Pace,
    /// Bytes of memory and tables of all instances together.
    memory: Quantity,
}

impl Account {
    /// An account that nothing was taken from yet.
    pub fn new(tenant: u64, name: Arc<str>, allowance: &Allowance) -> Self {
        Account {
            tenant,
            name,
            weight: AtomicU32::new(allowance.weight),
            cpu_us: AtomicU64::new(0),
            pace: Pace::default(),
            memory: Quantity::new(allowance.max_memory_bytes),
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
    }

    /// Another part of the processors from now on.
    pub fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
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
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Bytes of memory and tables of all instances together.
    pub fn memory(&self) -> &Quantity {
        &self.memory
    }

    /// Whether nothing is lost if it is forgotten.
    fn is_idle(&self) -> bool {
        self.memory.used() == 0
    }
}

#[cfg(test)]
impl Account {
    /// An account of nobody, that may use so much memory.
    pub(crate) fn for_tests(max_memory_bytes: u64) -> Arc<Self> {
        let allowance = Allowance {
            max_memory_bytes,
            weight: 100,
        };
        Arc::new(Account::new(7, Arc::from("acme"), &allowance))
    }
}

#[cfg(test)]
mod tests;
