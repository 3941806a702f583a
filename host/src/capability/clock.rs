//! Clocks of one millisecond: enough to tell the time by, too coarse to time a neighbour with. And those
//! that a grant puts in their place: as good as the system's, or standing still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

const RESOLUTION: Duration = Duration::from_millis(1);

/// The time of day.
pub(super) struct CoarseWallClock;

impl HostWallClock for CoarseWallClock {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX))
    }
}

fn since_1970() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default()
}

/// The time since the instance was made, so that it tells nothing of the node.
pub(super) struct CoarseMonotonicClock {
    start: Instant,
}

impl CoarseMonotonicClock {
    pub(super) fn since(start: Instant) -> Self {
        CoarseMonotonicClock { start }
    }
}

impl HostMonotonicClock for CoarseMonotonicClock {
    fn resolution(&self) -> u64 {
        u64::try_from(RESOLUTION.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        elapsed_ms.saturating_mul(1_000_000)
    }
}

const FINEST: Duration = Duration::from_nanos(1);

/// The time of day, as the system tells it.
pub(super) struct PreciseWallClock;

impl HostWallClock for PreciseWallClock {
    fn resolution(&self) -> Duration {
        FINEST
    }

    fn now(&self) -> Duration {
        since_1970()
    }
}

/// The time since the instance was made, to the nanosecond.
pub(super) struct PreciseMonotonicClock {
    start: Instant,
}

impl PreciseMonotonicClock {
    pub(super) fn since(start: Instant) -> Self {
        PreciseMonotonicClock { start }
    }
}

impl HostMonotonicClock for PreciseMonotonicClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Where a clock stands, in nanoseconds since 1970.
#[derive(Clone)]
pub(crate) struct FrozenAt(Arc<AtomicU64>);

impl FrozenAt {
    pub(super) fn new(at: Duration) -> Self {
        let frozen = FrozenAt(Arc::default());
        frozen.set(at);
        frozen
    }

    /// It stands here from now on.
    pub(crate) fn set(&self, at: Duration) {
        let ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(ns, Ordering::Relaxed);
    }
}

/// A clock that stands at the time at which the call began.
pub(super) struct FrozenClock(pub(super) FrozenAt);

impl HostWallClock for FrozenClock {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.0.load(Ordering::Relaxed))
    }
}

impl HostMonotonicClock for FrozenClock {
    fn resolution(&self) -> u64 {
        u64::try_from(RESOLUTION.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        0
    }
}
