//! An open file.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::fs::{fstat, futimens};
use tokio::sync::OwnedSemaphorePermit;

use super::VolumeError;
use super::kernel::{self, Node};
use super::mount::blocking;
use super::share::{Open, Share};
use super::tree::{Stat, Times};
use super::volume::Volume;

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// So many bytes from its beginning.
    Offset(u64),
    /// At its end, wherever that is then.
    End,
}

/// An open regular file. Its functions block, but for [`File::run`].
#[derive(Debug)]
pub struct File {
    /// None while it is dropped only.
    held: Option<Held>,
    volume: Arc<Volume>,
    share: Arc<Share>,
    node: Node,
    rights: Rights,
}

/// What may be done with an open file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    /// It was opened to read.
    pub(super) read: bool,
    /// It was opened to write.
    pub(super) write: bool,
    /// It may be changed otherwise.
    pub(super) change: bool,
}

#[derive(Debug)]
struct Held {
    file: std::fs::File,
    _room: Room,
}

/// The right of an instance, its tenant and the node to have it open.
pub(super) type Room = (OwnedSemaphorePermit, Open);

impl File {
    pub(super) fn new(
        fd: OwnedFd,
        room: Room,
        volume: &Arc<Volume>,
        share: &Arc<Share>,
        rights: Rights,
    ) -> Result<Self, VolumeError> {
        let node = kernel::node(&fstat(&fd)?);
        if let Some(ledger) = volume.ledger() {
            ledger.opened(node);
        }
        Ok(File {
            held: Some(Held {
                file: fd.into(),
                _room: room,
            }),
            volume: Arc::clone(volume),
            share: Arc::clone(share),
            node,
            rights,
        })
    }

    fn file(&self) -> Result<&std::fs::File, VolumeError> {
        self.held
            .as_ref()
            .map(|held| &held.file)
            .ok_or(VolumeError::BadDescriptor)
    }

    /// Whether it was opened for reading.
    pub fn is_readable(&self) -> bool {
        self.rights.read
    }

    /// Whether it was opened for writing.
    pub fn is_writable(&self) -> bool {
        self.rights.write
    }

    /// Works on it, as [`Mount::run`](super::Mount::run) does.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, VolumeError> {
        let turn = self.share.turn().await?;
        let file = Arc::clone(self);
        blocking(turn, move || work(&file)).await
    }

    /// At most so many bytes from `offset` on; none at the end.
    ///
    /// # Errors
    /// When it is not open for reading, or the disk fails.
    pub fn read(&self, offset: u64, most_bytes: usize) -> Result<Vec<u8>, VolumeError> {
        if !self.rights.read {
            return Err(VolumeError::BadDescriptor);
        }
        let mut bytes = vec![0; most_bytes];
        let read = loop {
            match self.file()?.read_at(&mut bytes, offset) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Writes as many of the bytes as the system takes, and says how many, if there is room for all.
    ///
    /// # Errors
    /// When it is not open for writing, there is no room, or the disk fails.
    pub fn write(&self, at: At, bytes: &[u8]) -> Result<u64, VolumeError> {
        if !self.rights.write {
            return Err(VolumeError::BadDescriptor);
        }
        let turn = self.volume.turn()?;
        let size = self.size()?;
        let offset = match at {
            At::Offset(offset) => offset,
            At::End => size,
        };
        let end = offset
            .checked_add(bytes.len() as u64)
            .filter(|end| *end <= MAX_SIZE);
        let end = end.ok_or(VolumeError::FileTooLarge)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let growth = end.saturating_sub(size);
        turn.ledger.take_bytes(growth)?;
        let outcome = loop {
            match self.file().map(|file| file.write_at(bytes, offset)) {
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(outcome) => break outcome.map_err(VolumeError::from),
                Err(error) => break Err(error),
            }
        };
        let written = *outcome.as_ref().unwrap_or(&0) as u64;
        let reached = match written {
            0 => size,
            written => size.max(offset.saturating_add(written)),
        };
        turn.ledger
            .give_bytes(size.saturating_add(growth).saturating_sub(reached));
        turn.ledger.resized(self.node, reached);
        outcome?;
        Ok(written)
    }

    /// Makes it so long, with zeroes at its end or less of it. A hole counts as if it were filled.
    ///
    /// # Errors
    /// As [`File::write`].
    pub fn set_size(&self, bytes: u64) -> Result<(), VolumeError> {
        if !self.rights.write {
            return Err(VolumeError::BadDescriptor);
        }
        if bytes > MAX_SIZE {
            return Err(VolumeError::FileTooLarge);
        }
        let turn = self.volume.turn()?;
        let size = self.size()?;
        let growth = bytes.saturating_sub(size);
        turn.ledger.take_bytes(growth)?;
        if let Err(error) = self.file()?.set_len(bytes) {
            turn.ledger.give_bytes(growth);
            return Err(error.into());
        }
        turn.ledger.give_bytes(size.saturating_sub(bytes));
        turn.ledger.resized(self.node, bytes);
        Ok(())
    }

    fn size(&self) -> Result<u64, VolumeError> {
        Ok(kernel::size(&fstat(self.file()?)?))
    }

    /// What it is now.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn stat(&self) -> Result<Stat, VolumeError> {
        Ok(Stat::of(&fstat(self.file()?)?))
    }

    /// Sees to it that it is on the disk; `data_only`: without what does not matter for reading it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self, data_only: bool) -> Result<(), VolumeError> {
        let file = self.file()?;
        Ok(if data_only {
            file.sync_data()
        } else {
            file.sync_all()
        }?)
    }

    /// Sets its times.
    ///
    /// # Errors
    /// When the volume is for reading only, or the disk fails.
    pub fn set_times(&self, times: &Times) -> Result<(), VolumeError> {
        if !self.rights.change {
            return Err(VolumeError::ReadOnly);
        }
        Ok(futimens(self.file()?, &times.for_kernel())?)
    }
}

/// A file of this length is gone at once when nobody has it open any more; of a longer one the system has
/// much to give back.
const QUICKLY_DELETED_BYTES: u64 = 1 << 20;

/// The largest that file systems have names for.
const MAX_SIZE: u64 = i64::MAX as u64;

impl Drop for File {
    fn drop(&mut self) {
        let (Some(held), Some(ledger)) = (self.held.take(), self.volume.ledger()) else {
            return;
        };
        let Some(bytes) = ledger.leave(self.node) else {
            return;
        };
        if bytes <= QUICKLY_DELETED_BYTES {
            drop(held);
            ledger.gone(bytes);
            return;
        }
        // The system deletes it now, which takes a while. Its room comes back after that.
        let volume = Arc::clone(&self.volume);
        let close = move || {
            drop(held);
            if let Some(ledger) = volume.ledger() {
                ledger.gone(bytes);
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(close)),
            Err(_) => close(),
        }
    }
}
