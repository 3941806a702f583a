//! Resources, records and variants as the guest SDK makes them of plain Rust.

#![forbid(unsafe_code)]

/// Counters and what can be done with them.
#[rpc_guest::module]
mod objects {
    use std::cell::Cell;

    thread_local! {
        static LIVE: Cell<u32> = const { Cell::new(0) };
    }

    /// How a counter moves.
    #[derive(Clone, Copy)]
    pub enum Step {
        /// Up by one.
        Up,
        /// Up or down by so much.
        By(i64),
        /// From the first to the second, if it stands at the first.
        Exchange(i64, i64),
    }

    /// A counter at rest.
    pub struct Snapshot {
        /// Where it stands.
        pub value: i64,
        /// What became of each step.
        pub steps: Vec<Result<i64, String>>,
    }

    /// A number that is kept between calls.
    pub struct Counter {
        value: i64,
        steps: Vec<Result<i64, String>>,
    }

    impl Counter {
        /// A counter that stands at `start`.
        pub fn new(start: i64) -> Self {
            LIVE.set(LIVE.get() + 1);
            Self {
                value: start,
                steps: Vec::new(),
            }
        }

        /// Add one; the new value.
        pub fn increment(&mut self) -> i64 {
            self.value = self.value.wrapping_add(1);
            self.value
        }

        /// Where it stands.
        pub fn value(&self) -> i64 {
            self.value
        }

        /// Take several steps.
        pub fn walk(&mut self, steps: Vec<Step>) -> Snapshot {
            for step in steps {
                let done = self.step(step);
                self.steps.push(done);
            }
            Snapshot {
                value: self.value,
                steps: self.steps.clone(),
            }
        }

        /// Add where the other stands.
        pub fn add(&mut self, other: &Counter) -> i64 {
            self.value = self.value.wrapping_add(other.value);
            self.value
        }

        /// A counter at nought.
        pub fn zero() -> Self {
            Self::new(0)
        }

        /// Ends the call with a panic, and the counter with it.
        pub fn fail(&self) {
            panic!("failed at {}", self.value);
        }

        fn step(&mut self, step: Step) -> Result<i64, String> {
            self.value = match step {
                Step::Up => self.value.checked_add(1).ok_or("at the end")?,
                Step::By(amount) => self.value.checked_add(amount).ok_or("too far")?,
                Step::Exchange(from, to) if self.value == from => to,
                Step::Exchange(from, _) => return Err(format!("not at {from}")),
            };
            Ok(self.value)
        }
    }

    impl Drop for Counter {
        fn drop(&mut self) {
            LIVE.set(LIVE.get().saturating_sub(1));
        }
    }

    /// A resource whose constructor may fail.
    pub struct Gate {
        width: u32,
    }

    impl Gate {
        /// A gate that is at least one wide.
        pub fn new(width: u32) -> Result<Self, Step> {
            if width == 0 {
                return Err(Step::By(1));
            }
            Ok(Self { width })
        }

        /// How wide it is.
        pub fn width(&self) -> u32 {
            self.width
        }
    }

    /// As many counters as there are starts.
    pub fn counters(starts: &[i64]) -> Vec<Counter> {
        starts.iter().copied().map(Counter::new).collect()
    }

    /// One counter in the place of several.
    pub fn merge(counters: Vec<Counter>) -> Option<Counter> {
        let sum = counters
            .iter()
            .map(Counter::value)
            .reduce(i64::wrapping_add);
        sum.map(Counter::new)
    }

    /// Where a counter stands that is lent for the call.
    pub fn peek(counter: &Counter) -> i64 {
        counter.value
    }

    /// Moves a counter that is lent for the call.
    pub fn push(counter: &mut Counter, step: Step) -> Result<i64, String> {
        counter.step(step)
    }

    /// How many counters there are.
    pub fn live() -> u32 {
        LIVE.get()
    }
}
