//! Room for connections.
//!
//! Four bounds of how many there are at once, because they guard against four things: all connections (the node's memory), those
//! that have not said who they are (strangers may not take the room of everybody else), those from one
//! address (one peer may not take the room of all), and strangers from one address (one stranger may
//! not take the room of all strangers). And two of how many come over time, for each address: of new
//! connections, and of those that fail to say who they are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::origin::Origin;
use super::pace::Pace;
use crate::config::Limits;

/// Counts connections. Nothing is counted twice, and each thing given goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    connections: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    strange_addresses: Arc<Addresses>,
    arrivals: Pace,
    failures: Arc<Pace>,
}

/// Up to this debt of failures, an answer waits for nothing.
const FREE_DEBT: Duration = Duration::from_secs(60);
/// The most debt of failures that an address can have. Where one more failure would exceed it, the
/// address is not listened to.
const MAX_DEBT: Duration = Duration::from_secs(120);
/// The most that an answer to a failure waits.
const MAX_DELAY: Duration = Duration::from_secs(3);

/// Why there is no room for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwelcome {
    #[error("too many connections at once from one address")]
    TooManyAtOnce,
    #[error("too many connections in a minute from one address")]
    TooManyInAMinute,
    #[error("too many failed authentications from one address")]
    TooManyFailures,
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
    origin: Origin,
    failures: Arc<Pace>,
}

impl Doorstep {
    /// Whoever stands here failed to say who it is: tells how long the answer has to wait.
    pub fn failed(&self) -> Duration {
        let debt = self.failures.note(self.origin, Instant::now(), MAX_DEBT);
        debt.saturating_sub(FREE_DEBT).min(MAX_DELAY)
    }
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
            arrivals: Pace::per_minute(limits.max_connections_per_minute_per_address),
            failures: Arc::new(Pace::per_minute(
                limits.max_failed_authentications_per_minute_per_address,
            )),
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
    ///
    /// # Errors
    /// When one bound or the other is reached.
    pub(super) fn admit(
        &self,
        room: Room,
        address: IpAddr,
    ) -> Result<(ConnectionRoom, Doorstep), Unwelcome> {
        let (origin, now) = (Origin::of(address), Instant::now());
        if !self.failures.has_room(origin, now, MAX_DEBT) {
            return Err(Unwelcome::TooManyFailures);
        }
        let slot = |addresses| {
            let slot = Addresses::try_take(addresses, origin);
            slot.ok_or(Unwelcome::TooManyAtOnce)
        };
        let connection = ConnectionRoom {
            _slot: room.slot,
            _address: slot(&self.addresses)?,
        };
        let doorstep = Doorstep {
            _permit: room.stranger,
            _address: slot(&self.strange_addresses)?,
            origin,
            failures: Arc::clone(&self.failures),
        };
        if !self.arrivals.may(origin, now, FREE_DEBT) {
            return Err(Unwelcome::TooManyInAMinute);
        }
        Ok((connection, doorstep))
    }
}

impl Addresses {
    fn try_take(addresses: &Arc<Addresses>, origin: Origin) -> Option<AddressSlot> {
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
        admission.admit(room, address.parse().unwrap()).ok()
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

    async fn refused(admission: &Admission, address: &str) -> Option<Unwelcome> {
        let room = admission.room().await.unwrap();
        admission.admit(room, address.parse().unwrap()).err()
    }

    #[tokio::test(start_paused = true)]
    async fn new_connections_from_one_address_have_a_pace() {
        let admission = Admission::new(&Limits {
            max_connections_per_minute_per_address: 6,
            ..Limits::default()
        });
        for _ in 0..6 {
            assert_eq!(refused(&admission, "192.0.2.1").await, None);
        }
        let too_many = Some(Unwelcome::TooManyInAMinute);
        assert_eq!(refused(&admission, "192.0.2.1").await, too_many);
        assert_eq!(refused(&admission, "192.0.2.2").await, None);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(refused(&admission, "192.0.2.1").await, too_many);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(refused(&admission, "192.0.2.1").await, None);
        assert_eq!(refused(&admission, "192.0.2.1").await, too_many);
    }

    /// Up to a minute's worth, answers come at once; up to another, later; then nobody answers from
    /// there until time has paid for one more.
    #[tokio::test(start_paused = true)]
    async fn whoever_fails_often_waits_and_then_is_not_listened_to() {
        let admission = Admission::new(&Limits {
            max_failed_authentications_per_minute_per_address: 12,
            ..Limits::default()
        });
        let fail = async |address: &str| {
            let entered = enter(&admission, address).await;
            entered.map(|(_room, doorstep)| doorstep.failed())
        };
        for _ in 0..12 {
            assert_eq!(fail("2001:db8::1").await, Some(Duration::ZERO));
        }
        // Another address of the same network is the same.
        for _ in 0..12 {
            assert_eq!(fail("2001:db8::2").await, Some(MAX_DELAY));
        }
        assert_eq!(fail("2001:db8::3").await, None);
        let too_many = Some(Unwelcome::TooManyFailures);
        assert_eq!(refused(&admission, "2001:db8::3").await, too_many);
        assert_eq!(fail("2001:db8:0:1::1").await, Some(Duration::ZERO));
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert_eq!(refused(&admission, "2001:db8::3").await, too_many);
        // Those who know who they are come in again as soon as time has paid for one failure.
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(refused(&admission, "2001:db8::3").await, None);
        assert_eq!(refused(&admission, "2001:db8::3").await, None);
        assert_eq!(fail("2001:db8::1").await, Some(MAX_DELAY));
        assert_eq!(refused(&admission, "2001:db8::3").await, too_many);
        // After two minutes all is as it was.
        tokio::time::advance(Duration::from_secs(120)).await;
        assert_eq!(fail("2001:db8::1").await, Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_wait_while_known_peers_have_room() {
        let is_full = async |admission: &Admission| {
            let waited = tokio::time::timeout(Duration::from_secs(1), admission.room());
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
