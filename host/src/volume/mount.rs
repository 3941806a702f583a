//! A volume as one instance sees it, and work of it on a thread that may block.

use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;

use super::share::{Share, Turn};
use super::shelf::Shelf;
use super::tree::Tree;
use super::volume::Volume;
use super::{Access, Place, VolumeError, VolumeLimits, VolumeName};

/// A volume as one instance sees it. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Mount {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: VolumeName,
    access: Access,
    home: Home,
    limits: Arc<VolumeLimits>,
    share: Arc<Share>,
    open_files: Arc<Semaphore>,
    /// What is there, from the first use on.
    tree: OnceLock<Tree>,
}

/// Where a volume is.
#[derive(Debug)]
pub(super) enum Home {
    /// Among the tenant's own; made at its first use.
    Own(Arc<Shelf>),
    /// A directory of the machine.
    OfHost(Arc<Volume>),
}

impl Mount {
    pub(super) fn new(
        name: VolumeName,
        access: Access,
        home: Home,
        limits: Arc<VolumeLimits>,
        share: Arc<Share>,
        open_files: Arc<Semaphore>,
    ) -> Self {
        let tree = OnceLock::new();
        let inner = Inner {
            name,
            access,
            home,
            limits,
            share,
            open_files,
            tree,
        };
        Mount {
            inner: Arc::new(inner),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &VolumeName {
        &self.inner.name
    }

    /// What may be done in it.
    pub fn access(&self) -> Access {
        self.inner.access
    }

    /// Where `path` leads from `base`.
    ///
    /// # Errors
    /// As [`Place::join`].
    pub fn place(&self, base: &Place, path: &str) -> Result<Place, VolumeError> {
        base.join(path, &self.inner.limits)
    }

    /// Whether both are the same volume.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Works in it, on a thread that may block, as soon as the tenant may keep one more busy. What was
    /// begun is finished, even if nobody waits for it any more.
    ///
    /// # Errors
    /// Those of the work; and when the volume cannot be opened.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree) -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, VolumeError> {
        let turn = self.inner.share.turn().await?;
        let inner = Arc::clone(&self.inner);
        blocking(turn, move || work(inner.tree()?)).await
    }
}

impl Inner {
    fn tree(&self) -> Result<&Tree, VolumeError> {
        if let Some(tree) = self.tree.get() {
            return Ok(tree);
        }
        let volume = match &self.home {
            Home::Own(shelf) => shelf.volume(&self.name)?,
            Home::OfHost(volume) => Arc::clone(volume),
        };
        let root = volume.root()?;
        let (limits, share) = (Arc::clone(&self.limits), Arc::clone(&self.share));
        let open_files = Arc::clone(&self.open_files);
        let tree = Tree::new(volume, root, self.access, limits, share, open_files);
        // Two that came at once made the same.
        Ok(self.tree.get_or_init(|| tree))
    }
}

/// Does `work` on a thread that may block, and gives back the right to keep it busy when it is done.
pub(super) async fn blocking<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    let working = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    working.await.unwrap_or(Err(VolumeError::Io))
}
