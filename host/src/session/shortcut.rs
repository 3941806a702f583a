//! Whether a lone call may have its first turn in the task that reads the connection.
//!
//! For a call of a few microseconds, a task of its own costs as much as the call. So where nothing
//! else goes on in a session, a call gets one turn where it was read. While it has that turn, the
//! session reads nothing: no cancel, no second call. That is why the turn is one turn only, which the
//! engine ends at its next tick, and why a session whose calls are not short loses the shortcut for a
//! while: at most one call in [`SAT_OUT`] can hold up another.

use std::time::Duration;

/// What a short turn takes at most.
const LONGEST_TURN: Duration = Duration::from_micros(100);
/// After a long turn, so many calls get tasks of their own before it is tried again.
const SAT_OUT: u32 = 64;

/// Remembers how long turns were.
#[derive(Debug, Default)]
pub(super) struct Shortcut {
    to_sit_out: u32,
}

impl Shortcut {
    /// Whether the next call may take it.
    pub(super) fn may(&mut self) -> bool {
        match self.to_sit_out.checked_sub(1) {
            None => true,
            Some(left) => {
                self.to_sit_out = left;
                false
            }
        }
    }

    /// A call that took it had a turn of this length.
    pub(super) fn note(&mut self, turn: Duration) {
        if turn > LONGEST_TURN {
            self.to_sit_out = SAT_OUT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_turn_closes_it_for_a_while() {
        let mut shortcut = Shortcut::default();
        assert!(shortcut.may());
        shortcut.note(LONGEST_TURN);
        assert!(shortcut.may());
        shortcut.note(LONGEST_TURN * 2);
        let refused = std::iter::from_fn(|| (!shortcut.may()).then_some(())).count();
        assert_eq!(refused, SAT_OUT as usize);
    }
}
