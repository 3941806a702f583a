//! The wall clock, handed in: the one place that asks the system for the time of day.
//!
//! For what people see and what crosses restarts: expiry, creation times, certificates.
//! Deadlines and timeouts use the runtime's monotonic clock instead.

use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment so many milliseconds after 1970.
    pub fn from_unix_ms(unix_ms: u64) -> Self {
        Self(unix_ms)
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(self) -> u64 {
        self.0
    }

    /// Time since 1970.
    pub fn since_epoch(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The moment `duration` later; the end of time if that is beyond it.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// Tells the time of day.
pub trait WallClock: Send + Sync + Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock set before 1970 reads as 1970.
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(0).plus(since_epoch)
    }
}

/// A clock that tests set by hand.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct ManualClock(std::sync::atomic::AtomicU64);

#[cfg(test)]
impl ManualClock {
    pub(crate) fn at(unix_ms: u64) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self(unix_ms.into()))
    }

    pub(crate) fn set(&self, unix_ms: u64) {
        self.0.store(unix_ms, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(test)]
impl WallClock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}
