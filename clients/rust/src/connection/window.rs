//! How many calls into this client are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// The places for calls of one lease.
///
/// A call that the host has cancelled has a place until it has stopped, but not one that the next call
/// would need: the host cannot know how long that takes. Of those that have to stop there may be as many
/// again as there are places.
#[derive(Debug)]
pub(super) struct Window {
    size: u32,
    running: AtomicU32,
    stopping: AtomicU32,
    /// All calls of the connection.
    taken: Arc<AtomicUsize>,
}

/// A place, taken until the answer is written.
#[derive(Debug)]
pub(super) struct Place {
    window: Arc<Window>,
    is_stopping: AtomicBool,
}

impl Window {
    pub(super) fn new(size: u32, taken: Arc<AtomicUsize>) -> Self {
        Window {
            size,
            running: AtomicU32::new(0),
            stopping: AtomicU32::new(0),
            taken,
        }
    }

    /// A place, if there is one. Only the reader takes some, so none is taken twice.
    pub(super) fn take(self: &Arc<Self>) -> Option<Arc<Place>> {
        let is_full = self.running.load(Ordering::Relaxed) >= self.size
            || self.stopping.load(Ordering::Relaxed) >= self.size;
        if is_full {
            return None;
        }
        self.running.fetch_add(1, Ordering::Relaxed);
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(Place {
            window: self.clone(),
            is_stopping: AtomicBool::new(false),
        }))
    }
}

impl Place {
    /// The host has ended the call.
    pub(super) fn stop(&self) {
        if !self.is_stopping.swap(true, Ordering::Relaxed) {
            self.window.stopping.fetch_add(1, Ordering::Relaxed);
            self.window.running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let count = if *self.is_stopping.get_mut() {
            &self.window.stopping
        } else {
            &self.window.running
        };
        count.fetch_sub(1, Ordering::Relaxed);
        self.window.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_when_the_host_is_told_and_so_is_one_of_a_call_that_has_to_stop() {
        let taken = Arc::new(AtomicUsize::new(0));
        let window = Arc::new(Window::new(2, taken.clone()));
        let first = window.take().unwrap();
        let second = window.take().unwrap();
        assert!(window.take().is_none());
        drop(first);
        let first = window.take().unwrap();
        assert!(window.take().is_none());

        first.stop();
        first.stop();
        let third = window.take().unwrap();
        assert!(window.take().is_none());
        second.stop();
        assert!(window.take().is_none(), "two have not stopped yet");
        assert_eq!(taken.load(Ordering::Relaxed), 3);
        drop(first);
        let fourth = window.take().unwrap();
        assert!(window.take().is_none());
        drop((second, third, fourth));
        assert_eq!(taken.load(Ordering::Relaxed), 0);
        assert!(window.take().is_some());
    }
}
