//! What a guest does between two turns.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

thread_local! {
    /// Whether a guest gave up this thread since that was last asked.
    static GAVE_UP: Cell<bool> = const { Cell::new(false) };
}

/// Whether a guest gave up the calling thread since this was last asked: it would have gone on.
pub(super) fn gave_up_this_thread() -> bool {
    GAVE_UP.take()
}

/// Gives up the thread once. Where the time is over when it is the guest's turn again, it never ends:
/// whoever waits for the guest until then finds that out before the guest runs on.
pub(super) struct Rest {
    deadline: Instant,
    has_rested: bool,
}

impl Rest {
    /// For a guest that has time until `deadline`, and somebody who waits for it with that deadline.
    pub(super) fn until(deadline: Instant) -> Self {
        Rest {
            deadline,
            has_rested: false,
        }
    }
}

impl Future for Rest {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.has_rested {
            self.has_rested = true;
            GAVE_UP.set(true);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if Instant::now() >= self.deadline {
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn goes_on_in_time_and_never_when_it_is_late() {
        let mut context = Context::from_waker(Waker::noop());
        let second = Duration::from_secs(1);
        for (sleeps, expected) in [
            (Duration::ZERO, Poll::Ready(())),
            (second, Poll::Pending),
            (second * 2, Poll::Pending),
        ] {
            let mut rest = Rest::until(Instant::now() + second);
            let mut rest = Pin::new(&mut rest);
            assert_eq!(rest.as_mut().poll(&mut context), Poll::Pending);
            assert!(gave_up_this_thread());
            tokio::time::advance(sleeps).await;
            assert_eq!(rest.as_mut().poll(&mut context), expected);
            assert!(!gave_up_this_thread());
        }
    }
}
