//! What one writer wrote to a register and many readers read from it, held against what a register is.
//!
//! A name that is swapped is a register: a swap writes which version answers, and a call reads it. All
//! of them take time, so each is an interval on one monotonic clock, and counts as done at some moment
//! within. The history is that of a register if such moments can be chosen: each read gives what was
//! written last before it. With one writer, who begins no write before the last one is done, it is
//! enough that
//!
//! * each read gives the value of a write that can be the last at some moment of the read, and
//! * of two reads of which one is done before the other begins, the later one does not go back.
//!
//! The same value may be written many times. Then a read is taken to be of the earliest write that it
//! can be of, which leaves the most to the reads after it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

/// From when to when something took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it was begun.
    pub begun: Duration,
    /// When its end was known.
    pub done: Duration,
}

/// One read: the version, as two places told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub span: Span,
    /// What.
    pub version: (u32, u32),
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writing {
    /// When.
    pub span: Span,
    /// What.
    pub version: u32,
}

/// All that was written, in the order of the one writer, and all that was read.
#[derive(Clone, Debug, Default)]
pub struct RegisterHistory {
    /// The writes.
    pub writes: Vec<Writing>,
    /// The reads, in any order.
    pub reads: Vec<Reading>,
}

/// Why a history is not that of a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRegister {
    /// This write begins before the one before it is done.
    TwoWriters(Writing),
    /// One answer of two versions.
    Mixed(Reading),
    /// What nobody ever wrote.
    NeverWritten(Reading),
    /// What was overwritten before the read began.
    Stale(Reading),
    /// What was written only after the read was done.
    Future(Reading),
    /// What an earlier read had seen overwritten.
    WentBack(Reading),
}

impl fmt::Display for NoRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl RegisterHistory {
    /// That it is the history of a register.
    ///
    /// # Errors
    /// The first read, by its begin, that shows that it is not.
    pub fn check(&self) -> Result<(), NoRegister> {
        for pair in self.writes.windows(2) {
            if pair[1].span.begun < pair[0].span.done {
                return Err(NoRegister::TwoWriters(pair[1]));
            }
        }
        let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
        for (place, write) in self.writes.iter().enumerate() {
            places.entry(write.version).or_default().push(place);
        }
        let mut reads: Vec<&Reading> = self.reads.iter().collect();
        reads.sort_by_key(|read| read.span.begun);
        let mut seen = Seen::default();
        for read in reads {
            let (one, other) = read.version;
            if one != other {
                return Err(NoRegister::Mixed(*read));
            }
            let Some(places) = places.get(&one) else {
                return Err(NoRegister::NeverWritten(*read));
            };
            let place = self.place(*read, places, seen.before(read.span.begun))?;
            seen.add(read.span.done, place);
        }
        Ok(())
    }

    /// The earliest write that a read can be of, if it must not be one before `floor`.
    fn place(&self, read: Reading, places: &[usize], floor: usize) -> Result<usize, NoRegister> {
        let Span { begun, done } = read.span;
        // Those that had begun when the read was done: any later one is of its future.
        let begun_writes = self
            .writes
            .partition_point(|write| write.span.begun <= done);
        // The first whose successor was not done when the read began: any earlier one is of its past.
        let done_writes = self.writes.partition_point(|write| write.span.done < begun);
        let oldest = done_writes.saturating_sub(1);
        let first_from = |least: usize| places.get(places.partition_point(|place| *place < least));
        match first_from(oldest) {
            None => Err(NoRegister::Stale(read)),
            Some(place) if *place >= begun_writes => {
                // Whether it is too old or too new depends on what there is.
                Err(if places.first().is_some_and(|first| *first < oldest) {
                    NoRegister::Stale(read)
                } else {
                    NoRegister::Future(read)
                })
            }
            Some(_) => match first_from(oldest.max(floor)) {
                Some(place) if *place < begun_writes => Ok(*place),
                _ => Err(NoRegister::WentBack(read)),
            },
        }
    }
}

/// The latest write that was read by those who were done at some time.
#[derive(Debug, Default)]
struct Seen {
    latest: usize,
    /// Of reads that were done after the time that was last asked for: when, and of which write.
    later: BTreeMap<Duration, usize>,
}

impl Seen {
    fn add(&mut self, done: Duration, place: usize) {
        let known = self.later.entry(done).or_default();
        *known = (*known).max(place);
    }

    /// The latest of the reads that were done before this. Asked with times that only grow.
    fn before(&mut self, begun: Duration) -> usize {
        let later = self.later.split_off(&begun);
        let earlier = std::mem::replace(&mut self.later, later);
        self.latest = earlier.into_values().fold(self.latest, usize::max);
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(begun: u64, done: u64) -> Span {
        Span {
            begun: Duration::from_millis(begun),
            done: Duration::from_millis(done),
        }
    }

    fn write(begun: u64, done: u64, version: u32) -> Writing {
        Writing {
            span: span(begun, done),
            version,
        }
    }

    fn read(begun: u64, done: u64, version: u32) -> Reading {
        Reading {
            span: span(begun, done),
            version: (version, version),
        }
    }

    /// One is written from 0 to 1, two from 10 to 20, three from 30 to 40, one again from 50 to 60.
    fn with(reads: &[Reading]) -> RegisterHistory {
        RegisterHistory {
            writes: vec![
                write(0, 1, 1),
                write(10, 20, 2),
                write(30, 40, 3),
                write(50, 60, 1),
            ],
            reads: reads.to_vec(),
        }
    }

    #[test]
    fn what_a_register_does_is_right() {
        with(&[
            read(2, 3, 1),
            // While it is written, old and new are both right, until one has seen the new.
            read(10, 15, 1),
            read(11, 19, 2),
            read(12, 18, 1),
            read(19, 21, 2),
            read(22, 29, 2),
            // A read may take as long as it likes.
            read(5, 100, 3),
            read(45, 46, 3),
            read(52, 53, 1),
            read(70, 80, 1),
        ])
        .check()
        .unwrap();
        RegisterHistory::default().check().unwrap();
    }

    #[test]
    fn each_wrong_history_is_told_apart() {
        type Wrong = fn(Reading) -> NoRegister;
        let table: [(Reading, Wrong); 8] = [
            (read(21, 25, 1), NoRegister::Stale),
            (read(41, 49, 2), NoRegister::Stale),
            (read(41, 49, 1), NoRegister::Stale),
            (read(61, 70, 3), NoRegister::Stale),
            (read(2, 9, 2), NoRegister::Future),
            (read(21, 29, 3), NoRegister::Future),
            (read(21, 29, 4), NoRegister::NeverWritten),
            (
                Reading {
                    version: (2, 3),
                    ..read(31, 39, 2)
                },
                NoRegister::Mixed,
            ),
        ];
        for (wrong, name) in table {
            let good = [read(2, 3, 1), read(22, 29, 2), read(65, 66, 1)];
            for place in 0..=good.len() {
                let mut reads = good.to_vec();
                reads.insert(place, wrong);
                assert_eq!(with(&reads).check(), Err(name(wrong)), "at {place}");
            }
        }
        let late = read(17, 18, 1);
        let inverted = with(&[read(11, 16, 2), late]);
        assert_eq!(inverted.check(), Err(NoRegister::WentBack(late)));
        // Nor by way of a third.
        let late = read(52, 53, 3);
        let inverted = with(&[read(45, 51, 1), late, read(44, 46, 3)]);
        assert_eq!(inverted.check(), Err(NoRegister::WentBack(late)));
        let overlapping = write(5, 30, 2);
        let history = RegisterHistory {
            writes: vec![write(0, 10, 1), overlapping],
            reads: Vec::new(),
        };
        assert_eq!(history.check(), Err(NoRegister::TwoWriters(overlapping)));
    }

    /// Whether the operations can be put in one order that time allows and a register explains: by
    /// trying all of them.
    fn is_register(history: &RegisterHistory, written: usize, read: u64, value: u32) -> bool {
        let writes = &history.writes;
        let is_read = |place: usize| read & (1 << place) != 0;
        let left = || (0..history.reads.len()).filter(|place| !is_read(*place));
        if written == writes.len() && left().next().is_none() {
            return true;
        }
        // Nothing may come before what was done before it began.
        let ends = left().map(|place| history.reads[place].span.done);
        let write = writes.get(written);
        let first_end = ends
            .chain(write.map(|write| write.span.done))
            .min()
            .unwrap();
        let by_write = write.is_some_and(|write| {
            write.span.begun <= first_end && is_register(history, written + 1, read, write.version)
        });
        by_write
            || left().any(|place| {
                let reading = &history.reads[place];
                reading.span.begun <= first_end
                    && reading.version.0 == value
                    && is_register(history, written, read | 1 << place, value)
            })
    }

    #[test]
    fn it_says_what_trying_all_orders_says() {
        let mut state = 7_u64;
        let mut below = |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % bound
        };
        let mut right = 0;
        for _ in 0..20_000 {
            let mut history = RegisterHistory::default();
            let mut at = 0;
            for _ in 0..=below(4) {
                let begun = at + 1 + below(3);
                at = begun + below(4);
                let version = u32::try_from(below(3)).unwrap();
                history.writes.push(write(begun, at, version));
            }
            for _ in 0..=below(4) {
                // A read begins after the first write: before that there is nothing to read.
                let first = u64::try_from(history.writes[0].span.done.as_millis()).unwrap();
                let begun = first + 1 + below(10);
                let version = u32::try_from(below(3)).unwrap();
                history.reads.push(read(begun, begun + below(8), version));
            }
            let expected = is_register(&history, 0, 0, u32::MAX);
            assert_eq!(history.check().is_ok(), expected, "{history:#?}");
            right += u32::from(expected);
        }
        assert!((2_000..18_000).contains(&right), "both kinds: {right}");
    }
}
