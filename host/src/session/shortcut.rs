//! Whether a call may have its first turn in the task that reads the connection.
//!
//! For a call of a few microseconds, a task of its own costs as much as the call. So the first calls of what was
//! read together get one turn each where they were read, as long as that does not take long; the others get tasks
//! at once, and with them other processors. While a call has that turn, the session reads nothing: no cancel, no
//! further call. That is why the turn is one turn only, which the engine ends at its next tick, and why a session
//! whose calls are not short loses the shortcut for a while. A long turn now and then costs nothing: any thread may
//! have to wait for a processor.

use std::time::Duration;

use tokio::time::Instant;

/// What a short turn takes at most, and all turns of calls that were read together, but for the last one.
const LONGEST_TURN: Duration = Duration::from_micros(100);
/// What a long turn adds to the score, from which each short one takes one off.
const LONG: u32 = 16;
/// With this score the shortcut is closed: when there was another long turn a few calls ago.
const CLOSED: u32 = LONG + LONG / 2;
/// So many calls get tasks of their own then, before it is tried again.
const SAT_OUT: u32 = 64;

/// Remembers how long turns were.
#[derive(Debug, Default)]
pub(super) struct Shortcut {
    score: u32,
    to_sit_out: u32,
}

impl Shortcut {
    /// Whether the next call may take it, of those that were read at that time.
    pub(super) fn may(&mut self, read_at: Instant) -> bool {
        match self.to_sit_out.checked_sub(1) {
            None => read_at.elapsed() < LONGEST_TURN,
            Some(left) => {
                self.to_sit_out = left;
                false
            }
        }
    }

    /// A call that took it had a turn of this length.
    pub(super) fn note(&mut self, turn: Duration) {
        if turn <= LONGEST_TURN {
            self.score = self.score.saturating_sub(1);
            return;
        }
        self.score += LONG;
        if self.score >= CLOSED {
            // When it is tried again, one long turn is enough.
            self.score = LONG;
            self.to_sit_out = SAT_OUT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_in_a_row(shortcut: &mut Shortcut) -> usize {
        std::iter::from_fn(|| (!shortcut.may(Instant::now())).then_some(())).count()
    }

    #[test]
    fn long_turns_close_it_for_a_while() {
        let mut shortcut = Shortcut::default();
        let long = LONGEST_TURN * 2;
        shortcut.note(long);
        assert_eq!(refused_in_a_row(&mut shortcut), 0);
        shortcut.note(long);
        assert_eq!(refused_in_a_row(&mut shortcut), SAT_OUT as usize);
        shortcut.note(long);
        assert_eq!(refused_in_a_row(&mut shortcut), SAT_OUT as usize);
    }

    #[test]
    fn it_is_for_the_first_calls_of_what_was_read_together() {
        let mut shortcut = Shortcut::default();
        let now = Instant::now();
        assert!(shortcut.may(now));
        assert!(!shortcut.may(now - LONGEST_TURN));
        assert!(shortcut.may(Instant::now()), "the next ones may again");
    }

    #[test]
    fn a_long_turn_now_and_then_does_not() {
        let mut shortcut = Shortcut::default();
        for turn in 0..1_000 {
            let is_long = turn % (LONG + 1) == 0;
            shortcut.note(LONGEST_TURN * if is_long { 2 } else { 1 });
            assert!(shortcut.may(Instant::now()));
        }
    }
}
