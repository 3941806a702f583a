//! Runs for ever: what deadlines and cancellation are tried on.

#![forbid(unsafe_code)]

#[rpc_guest::module]
mod spin {
    use std::hint::black_box;

    /// Never returns.
    pub fn forever() {
        loop {
            black_box(());
        }
    }

    /// Goes round so many times, and says how often.
    pub fn rounds(count: u64) -> u64 {
        (0..count).fold(0, |done, _| black_box(done + 1))
    }

    /// Returns at once, to show that a node still answers.
    pub fn ping() -> String {
        "pong".into()
    }
}
