//! The way from async code to work that blocks on the disk.

use super::StorageError;

/// The runtime is shutting down and did not run the work to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopped;

impl From<Stopped> for StorageError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Runs `work` on a thread that may block. Work that was begun is finished even if the caller
/// stops waiting: a commit is never half of one because a client went away.
///
/// # Errors
/// [`Stopped`] when the runtime is shutting down.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopped> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Stopped)
}
