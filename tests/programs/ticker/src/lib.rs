//! Counts the calls that its instance has had: what is made without any WIT is there for other
//! modules too.

#![forbid(unsafe_code)]

#[rpc_guest::module]
mod ticker {
    use std::cell::Cell;

    thread_local! {
        static TICKS: Cell<u32> = const { Cell::new(0) };
    }

    /// 1, 2, 3, …
    pub fn next() -> u32 {
        TICKS.set(TICKS.get() + 1);
        TICKS.get()
    }

    /// The same number.
    pub fn ping(number: u64) -> u64 {
        number
    }
}
