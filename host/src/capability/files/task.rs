//! Work that goes on while the guest does something else.

use std::future::Future;

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::task::AbortHandle;

use crate::volume::VolumeError;

type Outcome<T> = Result<T, VolumeError>;

/// Work under way. Dropped, it is given up; but for what a thread has begun, which it finishes.
pub(super) struct Task<T> {
    outcome: oneshot::Receiver<Outcome<T>>,
    work: AbortHandle,
}

impl<T: Send + 'static> Task<T> {
    pub(super) fn start(work: impl Future<Output = Outcome<T>> + Send + 'static) -> Self {
        let (sender, outcome) = oneshot::channel();
        let work = tokio::spawn(async move {
            // Whoever wanted to know may be gone.
            let _unheard = sender.send(work.await);
        });
        Task {
            outcome,
            work: work.abort_handle(),
        }
    }

    /// Its outcome, if it is there.
    pub(super) fn try_outcome(&mut self) -> Option<Outcome<T>> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => Some(Err(VolumeError::Io)),
        }
    }

    /// Waits for its outcome.
    pub(super) async fn outcome(&mut self) -> Outcome<T> {
        (&mut self.outcome).await.unwrap_or(Err(VolumeError::Io))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.work.abort();
    }
}
