//! Waits, in the host rather than in its own code.

#![forbid(unsafe_code)]

#[rpc_guest::module]
mod sleeper {
    use std::time::{Duration, Instant};

    /// Sleeps for so long, and says how long it was, in milliseconds.
    pub fn sleep(duration_ms: u64) -> u64 {
        let start = Instant::now();
        std::thread::sleep(Duration::from_millis(duration_ms));
        u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
