//! What a tenant may have open and under way at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{VolumeError, VolumeLimits};

/// Threads that may block, of those that the node has, which files may keep busy; the rest are for its own.
const MAX_FILE_OPERATIONS: usize = 128;

/// Of the node.
#[derive(Debug)]
pub(super) struct Room {
    operations: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Room {
    pub(super) fn new(limits: &VolumeLimits) -> Self {
        Room {
            operations: Arc::new(Semaphore::new(MAX_FILE_OPERATIONS)),
            open: Arc::new(Semaphore::new(limits.max_open_files)),
        }
    }
}

/// Of one tenant.
#[derive(Debug)]
pub(super) struct Share {
    node: Arc<Room>,
    operations: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

/// The right to keep a thread busy.
#[derive(Debug)]
pub(super) struct Turn {
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// The right to have a file open.
#[derive(Debug)]
pub(super) struct Open {
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Share {
    pub(super) fn new(node: &Arc<Room>, limits: &VolumeLimits) -> Self {
        Share {
            node: Arc::clone(node),
            operations: Arc::new(Semaphore::new(limits.max_file_operations_per_tenant)),
            open: Arc::new(Semaphore::new(limits.max_open_files_per_tenant)),
        }
    }

    /// Waits until a thread may be kept busy; first for the tenant's own, so that one that keeps all of
    /// its threads busy is not in the way of others.
    pub(super) async fn turn(&self) -> Result<Turn, VolumeError> {
        // Neither is ever closed.
        let own = Arc::clone(&self.operations).acquire_owned().await;
        let own = own.map_err(|_| VolumeError::Io)?;
        let node = Arc::clone(&self.node.operations).acquire_owned().await;
        let node = node.map_err(|_| VolumeError::Io)?;
        Ok(Turn {
            _permits: (own, node),
        })
    }

    pub(super) fn open(&self) -> Result<Open, VolumeError> {
        let own = Arc::clone(&self.open).try_acquire_owned();
        let own = own.map_err(|_| VolumeError::TooManyOpen)?;
        let node = Arc::clone(&self.node.open).try_acquire_owned();
        let node = node.map_err(|_| VolumeError::TooManyOpen)?;
        Ok(Open {
            _permits: (own, node),
        })
    }
}
