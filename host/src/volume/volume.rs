//! One directory, with its count.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{Mode, OFlags};

use super::VolumeError;
use super::ledger::{Ledger, Usage};
use super::tree::count;

/// One directory.
#[derive(Debug)]
pub(super) struct Volume {
    path: PathBuf,
    modes: Modes,
    root: Root,
    /// None where nobody may change anything.
    ledger: Option<Ledger>,
    /// Whether it was counted. Whoever changes anything holds this from before it looks until it has
    /// changed the count, so that both are always the same.
    turn: Mutex<bool>,
    /// Whether its tenant is gone.
    is_gone: AtomicBool,
}

/// The permissions of what is made in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modes {
    pub(super) file: Mode,
    pub(super) directory: Mode,
}

#[derive(Debug)]
enum Root {
    /// Open as long as the node runs.
    Kept(Arc<OwnedFd>),
    /// Open as long as an instance has a use for it.
    Used(Mutex<Weak<OwnedFd>>),
}

/// The right to change what is in a volume.
pub(super) struct Turn<'a> {
    pub(super) ledger: &'a Ledger,
    _counted: MutexGuard<'a, bool>,
}

impl Volume {
    /// A tenant's own. What is in it is the node's alone.
    pub(super) fn own(path: PathBuf, ledger: Ledger, is_counted: bool) -> Self {
        Volume {
            path,
            modes: Modes {
                file: Mode::from(0o600),
                directory: Mode::from(0o700),
            },
            root: Root::Used(Mutex::default()),
            ledger: Some(ledger),
            turn: Mutex::new(is_counted),
            is_gone: AtomicBool::new(false),
        }
    }

    /// A directory of the machine. What is made in it belongs to the node's user, for others as that
    /// user's mask says. `ledger`: if anything may be changed.
    pub(super) fn of_host(path: PathBuf, ledger: Option<Ledger>) -> std::io::Result<Self> {
        let root = open_root(&path, OFlags::empty())?;
        Ok(Volume {
            path,
            modes: Modes {
                file: Mode::from(0o666),
                directory: Mode::from(0o777),
            },
            root: Root::Kept(Arc::new(root)),
            ledger,
            turn: Mutex::new(false),
            is_gone: AtomicBool::new(false),
        })
    }

    pub(super) fn modes(&self) -> Modes {
        self.modes
    }

    /// Its root, for as long as anybody holds it.
    pub(super) fn root(&self) -> Result<Arc<OwnedFd>, VolumeError> {
        if self.is_gone() {
            return Err(VolumeError::NoEntry);
        }
        let used = match &self.root {
            Root::Kept(root) => return Ok(Arc::clone(root)),
            Root::Used(used) => used,
        };
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = used.upgrade() {
            return Ok(root);
        }
        let root = Arc::new(open_root(&self.path, OFlags::NOFOLLOW)?);
        *used = Arc::downgrade(&root);
        Ok(root)
    }

    /// Whether anybody has it in use.
    pub(super) fn is_used(&self) -> bool {
        match &self.root {
            Root::Kept(_) => true,
            Root::Used(used) => {
                used.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .strong_count()
                    > 0
            }
        }
    }

    /// What is in it, if that is counted.
    pub(super) fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// Waits for the right to change what is in it. Nobody may change anything before it was counted.
    pub(super) fn turn(&self) -> Result<Turn<'_>, VolumeError> {
        let ledger = self.ledger.as_ref().ok_or(VolumeError::ReadOnly)?;
        // Whoever panicked with it left the count at most too high.
        let mut is_counted = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_gone() {
            return Err(VolumeError::NoEntry);
        }
        if !*is_counted {
            ledger.found(count(self.root()?.as_fd())?);
            *is_counted = true;
        }
        Ok(Turn {
            ledger,
            _counted: is_counted,
        })
    }

    /// What is in it.
    pub(super) fn used(&self) -> Usage {
        self.ledger.as_ref().map(Ledger::used).unwrap_or_default()
    }

    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Ends it: nothing is changed in it any more when this returns.
    pub(super) fn end(&self) {
        self.is_gone.store(true, Ordering::Release);
        drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn open_root(path: &Path, flags: OFlags) -> std::io::Result<OwnedFd> {
    let flags = flags | OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
