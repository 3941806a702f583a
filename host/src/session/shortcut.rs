//! Whether a call may have its first turn in the task that reads the connection.
//!
//! For a call of a few microseconds, a task of its own costs as much as the call. So the first calls of what was
//! read together get one turn each where they were read, as long as that does not take long; the others get tasks
//! at once, and with them other processors. While a call has that turn, the session reads nothing: no cancel, no
//! further call. That is why the turn is one turn only, which the engine ends at its next tick, and why functions
//! whose turns are not short lose the shortcut until their calls take little of a processor. A long turn now and then
//! costs nothing: any thread may have to wait for a processor.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rpc_host_protocol::message::CallHeader;
use tokio::time::Instant;

use crate::processor::{self, Meter};

/// What all turns of calls that were read together take, but for the last one.
const LONGEST_TURNS: Duration = Duration::from_micros(100);
/// What a short turn takes at most. For calls that come now and then, of which nothing is in the caches any more, this
/// is not much.
const LONGEST_TURN: Duration = Duration::from_micros(500);
/// Longer than it would be for want of a processor: counts twice, so that one of these closes the shortcut.
const VERY_LONG_TURN: Duration = Duration::from_millis(5);
/// What a long turn adds to the score, from which each short one takes one off.
const LONG: u32 = 16;
/// With this score the shortcut is closed: when there was another long turn a few calls ago.
const CLOSED: u32 = LONG + LONG / 2;
/// So many calls sit out then that turn out to be short, before it is tried again: what takes long each time is not.
const SAT_OUT: u32 = 64;
/// Of so many functions something is known at once. The last one with a long turn has the place.
const PLACES: u8 = 64;

/// Remembers how long turns were, by function. All clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Shortcut(Arc<Habits>);

#[derive(Debug)]
struct Habits([Habit; PLACES as usize]);

impl Default for Habits {
    fn default() -> Self {
        Habits(std::array::from_fn(|_| Habit::default()))
    }
}

/// How long the turns of a function were lately.
#[derive(Debug, Default)]
struct Habit {
    /// Whose it is.
    function: AtomicU64,
    score: AtomicU32,
    to_sit_out: AtomicU32,
}

/// A function, by which its habit is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

/// A turn under way. It ends on the thread on which it began.
#[derive(Debug)]
pub(super) struct Turn {
    place: Place,
    began: Instant,
    /// What the thread had before of the processor, where another turn was long lately: it may be that some other
    /// thread had it.
    measured: Option<Duration>,
}

/// A call that sits out.
#[derive(Debug)]
pub(super) struct SitsOut {
    shortcut: Shortcut,
    place: Place,
    meter: Meter,
}

impl Place {
    /// Of the function that a call is for.
    pub(super) fn of(call: &CallHeader) -> Self {
        let mut hasher = DefaultHasher::new();
        (&call.module, &call.function).hash(&mut hasher);
        // None is 0, which is nobody's.
        Place(hasher.finish() | 1 << 63)
    }
}

impl Shortcut {
    /// A call of a function that has to sit out, as those before it were long.
    pub(super) fn sits_out(&self, place: Place) -> Option<SitsOut> {
        let habit = self.habit(place)?;
        let is_closed = habit.to_sit_out.load(Ordering::Relaxed) > 0;
        is_closed.then(|| SitsOut {
            shortcut: self.clone(),
            place,
            meter: Meter::default(),
        })
    }

    /// A call of a function takes it.
    pub(super) fn begin(&self, place: Place) -> Turn {
        let habit = self.habit(place);
        let is_watched = habit.is_some_and(|habit| habit.score.load(Ordering::Relaxed) > 0);
        Turn {
            place,
            began: Instant::now(),
            measured: is_watched.then(processor::time_of_this_thread),
        }
    }

    /// Its turn is over, and with it maybe all of the call. What a call is like that had a short turn and then needed
    /// others, nobody knows: it may have been sent elsewhere.
    pub(super) fn end(&self, turn: &Turn, is_all: bool) {
        self.note(turn.place, turn.length(), is_all);
    }

    fn note(&self, place: Place, length: Duration, is_all: bool) {
        match self.habit(place) {
            Some(habit) if length > LONGEST_TURN => habit.note_long(length),
            Some(habit) if is_all => habit.note_short(),
            None if length > LONGEST_TURN => {
                if let Some(habit) = self.at(place) {
                    habit.begin(place);
                    habit.note_long(length);
                }
            }
            _ => {}
        }
    }

    /// What is known of a function.
    fn habit(&self, place: Place) -> Option<&Habit> {
        let habit = self.at(place)?;
        (habit.function.load(Ordering::Relaxed) == place.0).then_some(habit)
    }

    /// Where it would stand.
    fn at(&self, Place(function): Place) -> Option<&Habit> {
        let Habits(all) = &*self.0;
        all.get(usize::try_from(function % u64::from(PLACES)).ok()?)
    }
}

impl Turn {
    fn length(&self) -> Duration {
        let elapsed = self.began.elapsed();
        match self.measured {
            Some(before) if elapsed > LONGEST_TURN => {
                processor::time_of_this_thread().saturating_sub(before)
            }
            _ => elapsed,
        }
    }
}

impl SitsOut {
    /// What counts its processor time.
    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// The call is over.
    pub(super) fn end(self) {
        if let Some(habit) = self.shortcut.habit(self.place)
            && self.meter.total() <= LONGEST_TURN
        {
            let fewer = |left: u32| left.checked_sub(1);
            let order = Ordering::Relaxed;
            // None are left where another call was the last of them.
            let _last = habit.to_sit_out.fetch_update(order, order, fewer);
        }
    }
}

/// A session notes its turns one after the other, so nothing is lost between a load and a store.
impl Habit {
    /// The place is for this function from now on.
    fn begin(&self, place: Place) {
        self.to_sit_out.store(0, Ordering::Relaxed);
        self.score.store(0, Ordering::Relaxed);
        self.function.store(place.0, Ordering::Relaxed);
    }

    fn note_short(&self) {
        let score = self.score.load(Ordering::Relaxed);
        self.score.store(score.saturating_sub(1), Ordering::Relaxed);
    }

    fn note_long(&self, turn: Duration) {
        let times = if turn > VERY_LONG_TURN { 2 } else { 1 };
        let score = self
            .score
            .load(Ordering::Relaxed)
            .saturating_add(LONG * times);
        if score >= CLOSED {
            self.to_sit_out.store(SAT_OUT, Ordering::Relaxed);
        }
        // When it is tried again, one long turn is enough.
        self.score.store(score.min(LONG), Ordering::Relaxed);
    }
}

/// Whether there is time for another turn, of calls that were read at that time.
pub(super) fn has_time(read_at: Instant) -> bool {
    read_at.elapsed() < LONGEST_TURNS
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place(1 << 63);

    fn note(shortcut: &Shortcut, times: u32) {
        shortcut.note(PLACE, LONGEST_TURN * times, true);
    }

    /// A call that sits out, and takes so much of a processor.
    async fn ends_elsewhere(shortcut: &Shortcut, took: Duration) -> bool {
        let Some(call) = shortcut.sits_out(PLACE) else {
            return false;
        };
        let work = async {
            let before = processor::time_of_this_thread();
            while processor::time_of_this_thread() - before < took {
                std::hint::spin_loop();
            }
        };
        call.meter().measure(Box::pin(work)).await;
        call.end();
        true
    }

    async fn sat_out_in_a_row(shortcut: &Shortcut) -> u32 {
        let mut count = 0;
        while ends_elsewhere(shortcut, Duration::ZERO).await {
            count += 1;
        }
        count
    }

    #[tokio::test]
    async fn long_turns_close_it_for_a_while() {
        let shortcut = Shortcut::default();
        note(&shortcut, 2);
        assert_eq!(sat_out_in_a_row(&shortcut).await, 0);
        note(&shortcut, 2);
        assert_eq!(sat_out_in_a_row(&shortcut).await, SAT_OUT);
        note(&shortcut, 2);
        assert_eq!(sat_out_in_a_row(&shortcut).await, SAT_OUT, "one is enough");
    }

    #[tokio::test]
    async fn a_very_long_turn_closes_it_at_once() {
        let shortcut = Shortcut::default();
        shortcut.note(PLACE, VERY_LONG_TURN * 2, false);
        assert_eq!(sat_out_in_a_row(&shortcut).await, SAT_OUT);
    }

    #[tokio::test]
    async fn what_takes_long_elsewhere_stays_there() {
        let shortcut = Shortcut::default();
        note(&shortcut, 2);
        note(&shortcut, 2);
        for _ in 0..2 * SAT_OUT {
            assert!(ends_elsewhere(&shortcut, LONGEST_TURN * 2).await);
        }
        assert_eq!(
            sat_out_in_a_row(&shortcut).await,
            SAT_OUT,
            "it is short now"
        );
    }

    #[test]
    fn a_short_turn_of_a_longer_call_says_nothing() {
        for is_all in [false, true] {
            let shortcut = Shortcut::default();
            note(&shortcut, 2);
            for _ in 0..LONG {
                shortcut.end(&shortcut.begin(PLACE), is_all);
            }
            note(&shortcut, 2);
            assert_eq!(shortcut.sits_out(PLACE).is_some(), !is_all);
        }
    }

    #[test]
    fn a_long_turn_now_and_then_does_not() {
        let shortcut = Shortcut::default();
        for turn in 0..1_000 {
            let is_long = turn % (LONG + 1) == 0;
            note(&shortcut, if is_long { 2 } else { 1 });
            assert!(shortcut.sits_out(PLACE).is_none());
        }
    }

    #[test]
    fn time_of_other_threads_does_not_count() {
        let shortcut = Shortcut::default();
        for _ in 0..10 {
            let turn = shortcut.begin(PLACE);
            std::thread::sleep(LONGEST_TURN * 2);
            shortcut.end(&turn, true);
        }
        assert!(shortcut.sits_out(PLACE).is_none());
        for _ in 0..2 {
            let turn = shortcut.begin(PLACE);
            while turn.length() <= LONGEST_TURN {
                std::hint::spin_loop();
            }
            shortcut.end(&turn, true);
        }
        assert!(shortcut.sits_out(PLACE).is_some());
    }

    #[test]
    fn it_is_for_the_first_calls_of_what_was_read_together() {
        let now = Instant::now();
        assert!(has_time(now));
        assert!(!has_time(now - LONGEST_TURNS));
    }

    #[test]
    fn functions_have_habits_of_their_own() {
        let shortcut = Shortcut::default();
        let place = |function: &str| {
            Place::of(&CallHeader {
                module: "calc".to_owned(),
                function: function.to_owned(),
                ..CallHeader::default()
            })
        };
        let sum = place("sum");
        let long = |place| shortcut.note(place, LONGEST_TURN * 2, true);
        long(sum);
        long(sum);
        for number in 0..1_000 {
            assert!(shortcut.sits_out(place(&format!("f{number}"))).is_none());
        }
        assert!(shortcut.sits_out(sum).is_some());
        // Whoever comes after it has its place, and nothing of what was known of it.
        let other = Place(sum.0 ^ u64::from(PLACES));
        long(other);
        assert!(shortcut.sits_out(other).is_none());
        assert!(shortcut.sits_out(sum).is_none());
    }
}
