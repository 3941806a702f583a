//! Whether a call may have its first turn in the task that reads the connection.
//!
//! For a call of a few microseconds, a task of its own costs as much as the call. So the first calls of what was
//! read together get one turn each where they were read, as long as that does not take long; the others get tasks
//! at once, and with them other processors. While a call has that turn, the session reads nothing: no cancel, no
//! further call. That is why the turn is one turn only, which the engine ends at its next tick, and why functions
//! whose calls are not short lose the shortcut until they are. A long turn now and then costs nothing: any thread may
//! have to wait for a processor.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rpc_host_protocol::message::CallHeader;
use tokio::time::Instant;

use crate::processor;

/// What all turns of calls that were read together take, but for the last one.
const LONGEST_TURNS: Duration = Duration::from_micros(100);
/// What a short turn takes at most. For calls that come now and then, of which nothing is in the caches any more, this
/// is not much.
const LONGEST_TURN: Duration = Duration::from_micros(500);
/// What a long turn adds to the score, from which each short one takes one off.
const LONG: u32 = 16;
/// With this score the shortcut is closed: when there was another long turn a few calls ago.
const CLOSED: u32 = LONG + LONG / 2;
/// So many calls sit out then, before it is tried again.
const SAT_OUT: u32 = 64;
/// One that took longer does not count among these, so that what takes long each time is not tried again.
const LONGEST_ELSEWHERE: Duration = Duration::from_millis(2);
/// What is known is known of so many functions apart; of others that share a place with one of these, together.
const PLACES: usize = 16;

/// Remembers how long turns were, by function. All clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Shortcut(Arc<[Habit; PLACES]>);

/// How long the turns of a function were lately.
#[derive(Debug, Default)]
struct Habit {
    score: AtomicU32,
    to_sit_out: AtomicU32,
}

/// Where the habit of a function stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

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
    began: Instant,
}

impl Place {
    /// Of the function that a call is for.
    pub(super) fn of(call: &CallHeader) -> Self {
        let mut hasher = DefaultHasher::new();
        (&call.module, &call.function).hash(&mut hasher);
        Place(usize::try_from(hasher.finish() % PLACES as u64).unwrap_or_default())
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
            began: Instant::now(),
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
        let length = turn.length();
        if let Some(habit) = self.habit(turn.place)
            && (is_all || length > LONGEST_TURN)
        {
            habit.note(length);
        }
    }

    fn habit(&self, place: Place) -> Option<&Habit> {
        self.0.get(place.0)
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
    /// The call is over.
    pub(super) fn end(self) {
        if let Some(habit) = self.shortcut.habit(self.place) {
            habit.note_elsewhere(self.began.elapsed());
        }
    }
}

impl Habit {
    fn note(&self, turn: Duration) {
        let score = self.score.load(Ordering::Relaxed);
        if turn <= LONGEST_TURN {
            if score > 0 {
                self.score.store(score - 1, Ordering::Relaxed);
            }
            return;
        }
        let score = score.saturating_add(LONG);
        if score >= CLOSED {
            self.to_sit_out.store(SAT_OUT, Ordering::Relaxed);
        }
        // When it is tried again, one long turn is enough.
        self.score.store(score.min(LONG), Ordering::Relaxed);
    }

    fn note_elsewhere(&self, took: Duration) {
        if took <= LONGEST_ELSEWHERE {
            let fewer = |left: u32| left.checked_sub(1);
            let order = Ordering::Relaxed;
            // None are left where another call was the last of them.
            let _last = self.to_sit_out.fetch_update(order, order, fewer);
        }
    }
}

/// Whether there is time for another turn, of calls that were read at that time.
pub(super) fn has_time(read_at: Instant) -> bool {
    read_at.elapsed() < LONGEST_TURNS
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PLACE: Place = Place(0);

    fn note(shortcut: &Shortcut, times: u32) {
        let turn = LONGEST_TURN * times;
        shortcut.habit(PLACE).unwrap().note(turn);
    }

    fn ends_elsewhere(shortcut: &Shortcut, took: Duration) -> bool {
        let Some(mut call) = shortcut.sits_out(PLACE) else {
            return false;
        };
        call.began -= took;
        call.end();
        true
    }

    fn sat_out_in_a_row(shortcut: &Shortcut) -> u32 {
        let row = std::iter::from_fn(|| ends_elsewhere(shortcut, Duration::ZERO).then_some(()));
        u32::try_from(row.count()).unwrap()
    }

    #[test]
    fn long_turns_close_it_for_a_while() {
        let shortcut = Shortcut::default();
        note(&shortcut, 2);
        assert_eq!(sat_out_in_a_row(&shortcut), 0);
        note(&shortcut, 2);
        assert_eq!(sat_out_in_a_row(&shortcut), SAT_OUT);
        note(&shortcut, 2);
        assert_eq!(sat_out_in_a_row(&shortcut), SAT_OUT, "one is enough");
    }

    #[test]
    fn what_takes_long_elsewhere_stays_there() {
        let shortcut = Shortcut::default();
        note(&shortcut, 2);
        note(&shortcut, 2);
        for _ in 0..2 * SAT_OUT {
            assert!(ends_elsewhere(&shortcut, LONGEST_ELSEWHERE * 2));
        }
        assert_eq!(sat_out_in_a_row(&shortcut), SAT_OUT, "it is short now");
    }

    #[test]
    fn a_short_turn_of_a_longer_call_says_nothing() {
        let shortcut = Shortcut::default();
        for is_all in [false, true] {
            note(&shortcut, 2);
            for _ in 0..LONG {
                shortcut.end(&shortcut.begin(PLACE), is_all);
            }
            note(&shortcut, 2);
            let closed_for = if is_all { 0 } else { SAT_OUT };
            assert_eq!(sat_out_in_a_row(&shortcut), closed_for);
            shortcut
                .habit(PLACE)
                .unwrap()
                .score
                .store(0, Ordering::Relaxed);
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
        let place = |function: &str| {
            Place::of(&CallHeader {
                module: "calc".to_owned(),
                function: function.to_owned(),
                ..CallHeader::default()
            })
        };
        let places: HashSet<_> = (0..64)
            .map(|number| place(&format!("f{number}")).0)
            .collect();
        assert!(places.len() > PLACES / 2, "{places:?}");
        let shortcut = Shortcut::default();
        note(&shortcut, 2);
        note(&shortcut, 2);
        let closed = (0..PLACES).filter(|other| shortcut.sits_out(Place(*other)).is_some());
        assert_eq!(closed.collect::<Vec<_>>(), [PLACE.0]);
    }
}
