//! What guests say, line by line: the newest lines of each registration are kept in memory, and who called hears them
//! while they are said, if it asked for that.
//!
//! What a line is and how long it may be is decided before; here is only what becomes of it. Nobody who says
//! something ever waits for who listens: lines that nobody read in time are lost, and counted. Nothing is written to
//! the disk; the node's log has the same lines, as far as there is a rate for them.

mod call_name;
mod scribe;
mod shelf;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use rpc_host_protocol::message::OutputStream;

pub use call_name::CallName;
pub use scribe::{Ear, Scribe};
use shelf::Shelf;
pub use shelf::{Journal, Read};

use crate::clock::{Timestamp, WallClock};

/// A line that a guest said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// In which call, as the node's log names it.
    pub call: CallName,
    /// Where it said it.
    pub stream: OutputStream,
    /// How much it matters, if it is one of the log.
    pub level: Option<&'static str>,
    /// What it said.
    pub text: Arc<str>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of the lines of one registration.
    pub registration_bytes: u64,
    /// Bytes of the lines of all registrations of the tenant.
    pub tenant_bytes: u64,
}

/// The lines of all tenants, by number. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Journals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn WallClock>,
    tenants: RwLock<Tenants>,
}

#[derive(Debug, Default)]
struct Tenants {
    shelves: HashMap<u64, Arc<Shelf>>,
    /// Those that are no more. A call that lasts longer than its tenant says nothing to anybody.
    removed: HashSet<u64>,
}

impl Journals {
    /// None yet.
    pub fn new(clock: Arc<dyn WallClock>) -> Self {
        Journals(Arc::new(Inner {
            clock,
            tenants: RwLock::default(),
        }))
    }

    /// Writes down what is said in a call by modules of a tenant. `ear` hears it, too.
    pub fn scribe(&self, tenant: u64, call: CallName, ear: Option<Arc<dyn Ear>>) -> Scribe {
        Scribe::new(Arc::clone(&self.0.clock), self.shelf(tenant), call, ear)
    }

    /// What is kept of a registration, and whatever comes.
    pub fn open(&self, tenant: u64, name: &str) -> Journal {
        self.shelf(tenant).open(name)
    }

    /// Bytes of all lines that are kept of a tenant.
    pub fn used_bytes(&self, tenant: u64) -> u64 {
        self.shelf(tenant).used_bytes()
    }

    /// A registration is no more, and neither is what it said; or all of a tenant, for good.
    pub fn removed(&self, tenant: u64, name: Option<&str>) {
        match name {
            Some(name) => self.shelf(tenant).forget(name),
            None => {
                let mut tenants = write(&self.0.tenants);
                tenants.removed.insert(tenant);
                let shelf = tenants.shelves.remove(&tenant);
                drop(tenants);
                if let Some(shelf) = shelf {
                    shelf.forget_all();
                }
            }
        }
    }

    fn shelf(&self, tenant: u64) -> Arc<Shelf> {
        let known = self.0.tenants.read();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(shelf) = known.shelves.get(&tenant) {
            return Arc::clone(shelf);
        }
        drop(known);
        let mut tenants = write(&self.0.tenants);
        if tenants.removed.contains(&tenant) {
            return Arc::default();
        }
        Arc::clone(tenants.shelves.entry(tenant).or_default())
    }
}

/// Nothing panics while it is locked, so poison means nothing here.
fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
