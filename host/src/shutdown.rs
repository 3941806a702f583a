//! How everything that runs hears that the node stops.
//!
//! There is one word, said once: until when work under way may finish. What that means is for each
//! listener to know; nobody is stopped from here.

use tokio::sync::watch;
use tokio::time::Instant;

/// Says that the node stops.
#[derive(Debug)]
pub struct Stop(watch::Sender<Option<Instant>>);

/// Hears that the node stops.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<Option<Instant>>);

/// The two ends. Dropping the saying end says that there is no time left.
pub fn stop() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(None);
    (Stop(sender), Stopping(receiver))
}

impl Stop {
    /// The node takes no new work; what is under way may go on until `deadline`.
    pub fn begin(&self, deadline: Instant) {
        self.0.send_replace(Some(deadline));
    }
}

impl Stopping {
    /// Waits until the node stops, and tells until when work under way may go on.
    pub async fn begun(mut self) -> Instant {
        match self.0.wait_for(Option::is_some).await {
            Ok(deadline) => deadline.unwrap_or_else(Instant::now),
            Err(_gone) => Instant::now(),
        }
    }
}
