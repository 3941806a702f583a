//! Cursors over numbers: what they go over is made as it is asked for, and what they leave behind when they
//! are let go of is a line in the log.

#![forbid(unsafe_code)]

#[rpc_guest::module]
mod cursor {
    use std::cell::Cell;
    use std::hint::black_box;
    use std::time::Duration;

    use rpc_guest::log;

    thread_local! {
        static OPEN: Cell<u32> = const { Cell::new(0) };
    }

    /// What `edition` says. Tests make another edition of this component by changing these bytes in it.
    const EDITION: &str = "the edition of this module is 1";

    /// Goes over numbers.
    pub struct Cursor {
        label: String,
        next: u64,
        end: u64,
    }

    impl Cursor {
        /// A cursor over so many numbers, from nought.
        pub fn new(label: String, items: u64) -> Self {
            OPEN.set(OPEN.get() + 1);
            Self {
                label,
                next: 0,
                end: items,
            }
        }

        /// The next numbers, at most so many; none at the end.
        pub fn next(&mut self, max: u32) -> Vec<u64> {
            let first = self.next;
            self.next = first.saturating_add(u64::from(max)).min(self.end);
            (first..self.next).collect()
        }

        /// Ends the call with a panic, and everything here with it.
        pub fn fail(&self) {
            panic!("failed at {}", self.next);
        }
    }

    impl Drop for Cursor {
        fn drop(&mut self) {
            OPEN.set(OPEN.get().saturating_sub(1));
            let (label, at) = (&self.label, self.next);
            log::info!("closed {label} at {at}");
        }
    }

    /// How many cursors there are.
    pub fn open() -> u32 {
        OPEN.get()
    }

    /// Which edition of this module it is; said after so long.
    pub fn edition(wait_ms: u64) -> String {
        std::thread::sleep(Duration::from_millis(wait_ms));
        black_box(EDITION).to_owned()
    }
}
