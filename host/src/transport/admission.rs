//! Room for connections.
//!
//! Three bounds, because they guard against three things: all connections (the node's memory), those
//! that have not said who they are (strangers may not take the room of everybody else), and those
//! from one address (one stranger may not take the room of all strangers).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// Counts connections. Nothing is counted twice, and each thing given goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    connections: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    addresses: Arc<Addresses>,
}

/// Room for one connection, from wherever.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) slot: OwnedSemaphorePermit,
    pub(super) doorstep: Doorstep,
}

/// Room among those that have not said who they are.
#[derive(Debug)]
pub struct Doorstep {
    _permit: OwnedSemaphorePermit,
}

/// Room for one connection from one address.
#[derive(Debug)]
pub(super) struct AddressSlot {
    addresses: Arc<Addresses>,
    origin: Origin,
}

#[derive(Debug)]
struct Addresses {
    max: u64,
    counts: Mutex<HashMap<Origin, u64>>,
}

/// What counts as one address: in IPv6, whoever has one has the whole network of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Origin(IpAddr);

impl Origin {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                Origin(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
            address @ IpAddr::V4(_) => Origin(address),
        }
    }
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        let semaphore = |count: u64| {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)))
        };
        Admission {
            connections: semaphore(limits.max_connections),
            strangers: semaphore(limits.max_unauthenticated_connections),
            addresses: Arc::new(Addresses {
                max: limits.max_connections_per_address,
                counts: Mutex::default(),
            }),
        }
    }

    /// Waits for room, so that what finds none stays with the operating system and costs nothing
    /// here. `None` never comes about while the node runs: nobody closes the counters.
    pub(super) async fn room(&self) -> Option<Room> {
        let slot = Arc::clone(&self.connections).acquire_owned().await.ok()?;
        let permit = Arc::clone(&self.strangers).acquire_owned().await.ok()?;
        Some(Room {
            slot,
            doorstep: Doorstep { _permit: permit },
        })
    }

    /// Room for one more from this address. Does not wait: whoever is over its share must not hold
    /// up others.
    pub(super) fn try_address(&self, address: IpAddr) -> Option<AddressSlot> {
        let origin = Origin::of(address);
        let mut counts = self.addresses.counts();
        let count = counts.entry(origin).or_default();
        if *count >= self.addresses.max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(AddressSlot {
            addresses: Arc::clone(&self.addresses),
            origin,
        })
    }
}

impl Addresses {
    /// Nothing panics while it is locked, so poison means nothing here.
    fn counts(&self) -> MutexGuard<'_, HashMap<Origin, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts();
        if let Some(count) = counts.get_mut(&self.origin) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission::new(&Limits {
            max_connections: 3,
            max_unauthenticated_connections: 2,
            max_connections_per_address: 2,
            ..Limits::default()
        })
    }

    #[test]
    fn one_address_gets_its_share_and_no_more() {
        let admission = admission();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = admission.try_address(address("192.0.2.1")).unwrap();
        let _second = admission.try_address(address("::ffff:192.0.2.1")).unwrap();
        assert!(admission.try_address(address("192.0.2.1")).is_none());
        assert!(admission.try_address(address("192.0.2.2")).is_some());
        drop(first);
        assert!(admission.try_address(address("192.0.2.1")).is_some());

        let _in_one_network = [
            admission.try_address(address("2001:db8::1")).unwrap(),
            admission.try_address(address("2001:db8::ffff:1")).unwrap(),
        ];
        assert!(admission.try_address(address("2001:db8::2")).is_none());
        assert!(admission.try_address(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn nothing_is_remembered_of_addresses_that_left() {
        let admission = admission();
        drop(admission.try_address(IpAddr::from([192, 0, 2, 1])));
        assert!(admission.addresses.counts().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_wait_while_known_peers_have_room() {
        let is_full = async |admission: &Admission| {
            let waited = tokio::time::timeout(std::time::Duration::from_secs(1), admission.room());
            waited.await.is_err()
        };
        let admission = admission();
        let first = admission.room().await.unwrap();
        let second = admission.room().await.unwrap();
        assert!(is_full(&admission).await, "two strangers are at the door");
        drop(first.doorstep);
        let third = admission.room().await.unwrap();
        drop((second.doorstep, third.doorstep));
        assert!(is_full(&admission).await, "three connections are open");
        drop(first.slot);
        assert!(!is_full(&admission).await);
    }
}
