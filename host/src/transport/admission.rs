//! Room for connections.
//!
//! Four bounds, because they guard against four things: all connections (the node's memory), those
//! that have not said who they are (strangers may not take the room of everybody else), those from one
//! address (one peer may not take the room of all), and strangers from one address (one stranger may
//! not take the room of all strangers).

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
    strange_addresses: Arc<Addresses>,
}

/// The part of the strangers that may come from one address.
const STRANGERS_PER_ADDRESS_DIVISOR: u64 = 4;
/// So many may, however few there are: programs connect several times at once.
const LEAST_STRANGERS_PER_ADDRESS: u64 = 16;

/// Room for one connection, from wherever.
#[derive(Debug)]
pub(super) struct Room {
    slot: OwnedSemaphorePermit,
    stranger: OwnedSemaphorePermit,
}

/// What a connection holds for as long as it lasts.
#[derive(Debug)]
pub struct ConnectionRoom {
    _slot: OwnedSemaphorePermit,
    _address: AddressSlot,
}

/// Room among those that have not said who they are.
#[derive(Debug)]
pub struct Doorstep {
    _permit: OwnedSemaphorePermit,
    _address: AddressSlot,
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
            strange_addresses: Arc::new(Addresses {
                max: (limits.max_unauthenticated_connections / STRANGERS_PER_ADDRESS_DIVISOR)
                    .max(LEAST_STRANGERS_PER_ADDRESS),
                counts: Mutex::default(),
            }),
        }
    }

    /// Waits for room, so that what finds none stays with the operating system and costs nothing
    /// here. `None` never comes about while the node runs: nobody closes the counters.
    pub(super) async fn room(&self) -> Option<Room> {
        let slot = Arc::clone(&self.connections).acquire_owned().await.ok()?;
        let stranger = Arc::clone(&self.strangers).acquire_owned().await.ok()?;
        Some(Room { slot, stranger })
    }

    /// Gives room to a connection from this address; none if there are too many from it. Does not
    /// wait: whoever is over its share must not hold up others.
    pub(super) fn admit(&self, room: Room, address: IpAddr) -> Option<(ConnectionRoom, Doorstep)> {
        let connection = ConnectionRoom {
            _slot: room.slot,
            _address: Addresses::try_take(&self.addresses, address)?,
        };
        let doorstep = Doorstep {
            _permit: room.stranger,
            _address: Addresses::try_take(&self.strange_addresses, address)?,
        };
        Some((connection, doorstep))
    }
}

impl Addresses {
    fn try_take(addresses: &Arc<Addresses>, address: IpAddr) -> Option<AddressSlot> {
        let origin = Origin::of(address);
        let mut counts = addresses.counts();
        let count = counts.get(&origin).copied().unwrap_or_default();
        if count >= addresses.max {
            return None;
        }
        counts.insert(origin, count + 1);
        drop(counts);
        Some(AddressSlot {
            addresses: Arc::clone(addresses),
            origin,
        })
    }

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
            max_connections: 100,
            max_unauthenticated_connections: 8,
            max_connections_per_address: 3,
            ..Limits::default()
        })
    }

    async fn enter(admission: &Admission, address: &str) -> Option<(ConnectionRoom, Doorstep)> {
        let room = admission.room().await.unwrap();
        admission.admit(room, address.parse().unwrap())
    }

    /// One that has said who it is.
    async fn settle(admission: &Admission, address: &str) -> Option<ConnectionRoom> {
        enter(admission, address)
            .await
            .map(|(room, _doorstep)| room)
    }

    #[tokio::test]
    async fn one_address_gets_its_share_and_no_more() {
        let admission = admission();
        let first = settle(&admission, "192.0.2.1").await.unwrap();
        let _second = settle(&admission, "::ffff:192.0.2.1").await.unwrap();
        let _third = settle(&admission, "192.0.2.1").await.unwrap();
        assert!(settle(&admission, "192.0.2.1").await.is_none());
        assert!(settle(&admission, "192.0.2.2").await.is_some());
        drop(first);
        assert!(settle(&admission, "192.0.2.1").await.is_some());

        let _in_one_network = [
            settle(&admission, "2001:db8::1").await.unwrap(),
            settle(&admission, "2001:db8::2").await.unwrap(),
            settle(&admission, "2001:db8::ffff:1").await.unwrap(),
        ];
        assert!(settle(&admission, "2001:db8::3").await.is_none());
        assert!(settle(&admission, "2001:db8:0:1::1").await.is_some());
    }

    #[tokio::test]
    async fn one_address_cannot_take_the_room_of_all_strangers() {
        let admission = Admission::new(&Limits {
            max_unauthenticated_connections: 80,
            ..Limits::default()
        });
        let (_, first) = enter(&admission, "192.0.2.1").await.unwrap();
        let mut others = Vec::new();
        for _ in 1..20 {
            others.push(enter(&admission, "192.0.2.1").await.unwrap());
        }
        assert!(enter(&admission, "192.0.2.1").await.is_none());
        assert!(enter(&admission, "192.0.2.2").await.is_some());
        drop(first);
        assert!(enter(&admission, "192.0.2.1").await.is_some());
    }

    #[tokio::test]
    async fn nothing_is_remembered_of_addresses_that_left_or_were_refused() {
        let admission = admission();
        let all = [
            enter(&admission, "192.0.2.1").await,
            enter(&admission, "192.0.2.1").await,
            enter(&admission, "192.0.2.1").await,
            enter(&admission, "192.0.2.1").await,
        ];
        assert!(all[3].is_none());
        drop(all);
        assert!(admission.addresses.counts().is_empty());
        assert!(admission.strange_addresses.counts().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_wait_while_known_peers_have_room() {
        let is_full = async |admission: &Admission| {
            let waited = tokio::time::timeout(std::time::Duration::from_secs(1), admission.room());
            waited.await.is_err()
        };
        let admission = Admission::new(&Limits {
            max_connections: 3,
            max_unauthenticated_connections: 2,
            ..Limits::default()
        });
        let (first, at_the_door) = enter(&admission, "192.0.2.1").await.unwrap();
        let second = enter(&admission, "192.0.2.2").await.unwrap();
        assert!(is_full(&admission).await, "two strangers are at the door");
        drop(at_the_door);
        let third = enter(&admission, "192.0.2.3").await.unwrap();
        let (_second, _third) = (second.0, third.0);
        drop((second.1, third.1));
        assert!(is_full(&admission).await, "three connections are open");
        drop(first);
        assert!(!is_full(&admission).await);
    }
}
