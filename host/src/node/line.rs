//! Whose turn it is in a root call that several calls are made of.
//!
//! Turns are had in the order in which they were asked for, and asking waits for nothing: so calls that came
//! one after the other over one connection have their turns in that order, whatever threads their work is done
//! by. A turn is over when it is dropped; whoever stops waiting is passed over.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

/// Those who are passed over are forgotten when so many wait.
const MANY: usize = 64;

/// Those who wait for a turn, and whether somebody has it.
#[derive(Debug, Default)]
pub(super) struct Line(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_taken: bool,
    waiting: VecDeque<oneshot::Sender<Turn>>,
    /// How many have to wait until those are looked for who have gone.
    look_at: usize,
}

/// The turn of one call. Dropped, it is the next one's.
#[derive(Debug)]
#[must_use = "dropped, the turn is over"]
pub(super) struct Turn(Option<Arc<Line>>);

/// A place in the line. It ends with the turn.
#[derive(Debug)]
#[must_use = "dropped, the place is lost"]
pub(super) enum Ticket {
    /// Nobody was before.
    Now(Option<Turn>),
    /// Some were.
    Waits(oneshot::Receiver<Turn>),
}

impl Line {
    /// A line in which somebody has the turn already.
    pub(super) fn taken() -> (Arc<Self>, Turn) {
        let line = Arc::new(Line(Mutex::new(State {
            is_taken: true,
            ..State::default()
        })));
        (Arc::clone(&line), Turn(Some(line)))
    }

    /// Gets a place at its end.
    pub(super) fn join(self: &Arc<Self>) -> Ticket {
        let mut state = self.state();
        if !state.is_taken {
            state.is_taken = true;
            return Ticket::Now(Some(Turn(Some(Arc::clone(self)))));
        }
        if state.waiting.len() >= state.look_at.max(MANY) {
            state.waiting.retain(|one| !one.is_closed());
            state.look_at = state.waiting.len().saturating_mul(2);
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        Ticket::Waits(receiver)
    }

    /// Whether nobody has the turn.
    #[cfg(test)]
    fn is_free(&self) -> bool {
        !self.state().is_taken
    }

    /// Nothing panics while it is locked, so poison means nothing here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(line) = self.0.take() else {
            return;
        };
        loop {
            let next = {
                let mut state = line.state();
                let next = state.waiting.pop_front();
                state.is_taken = next.is_some();
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn(Some(Arc::clone(&line)))) {
                Ok(()) => return,
                // It has gone; the turn that it would have had is no turn.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

impl Future for Ticket {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Turn> {
        match &mut *self {
            Ticket::Now(turn) => match turn.take() {
                Some(turn) => Poll::Ready(turn),
                None => Poll::Pending,
            },
            Ticket::Waits(receiver) => match ready!(Pin::new(receiver).poll(context)) {
                Ok(turn) => Poll::Ready(turn),
                // Each turn is passed on or ends the waiting, so this does not come about.
                Err(_gone) => Poll::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn poll(ticket: &mut Ticket) -> Poll<Turn> {
        Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn is_there(ticket: &mut Ticket) -> Option<Turn> {
        match poll(ticket) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn turns_come_in_the_order_of_asking_whoever_looks_first() {
        let line = Arc::new(Line::default());
        let mut first = line.join();
        let (mut second, mut third) = (line.join(), line.join());
        assert!(is_there(&mut third).is_none() && is_there(&mut second).is_none());
        let turn = is_there(&mut first).unwrap();
        assert!(is_there(&mut third).is_none() && is_there(&mut second).is_none());
        drop(turn);
        assert!(is_there(&mut third).is_none());
        let turn = is_there(&mut second).unwrap();
        let mut fourth = line.join();
        drop(turn);
        assert!(is_there(&mut fourth).is_none());
        drop(is_there(&mut third).unwrap());
        drop(is_there(&mut fourth).unwrap());
        assert!(line.is_free());
    }

    #[test]
    fn whoever_has_gone_is_passed_over_even_with_its_turn_in_hand() {
        let line = Arc::new(Line::default());
        let first = line.join();
        let gone = line.join();
        let has_it = line.join();
        let mut last = line.join();
        drop(gone);
        // The turn is the third's, which does not know yet and goes.
        drop(first);
        drop(has_it);
        drop(is_there(&mut last).unwrap());
        assert!(line.is_free());
        let (line, turn) = Line::taken();
        let mut next = line.join();
        drop(turn);
        assert!(is_there(&mut next).is_some());
    }

    #[test]
    fn those_who_come_and_go_leave_nothing_behind() {
        let line = Arc::new(Line::default());
        let turn = line.join();
        let kept: Vec<_> = (0..10).map(|_| line.join()).collect();
        for _ in 0..100_000 {
            drop(line.join());
        }
        assert!(line.state().waiting.len() <= MANY);
        drop(turn);
        for mut ticket in kept {
            drop(is_there(&mut ticket).unwrap());
        }
        assert!(line.is_free());
    }
}
