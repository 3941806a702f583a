//! One tenant's own volumes.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::ledger::{Ledger, Total, Usage};
use super::share::{Room, Share};
use super::volume::Volume;
use super::{TenantLimits, VolumeError, VolumeLimits, VolumeName};

type Known = BTreeMap<VolumeName, Arc<Volume>>;

/// One tenant's own.
#[derive(Debug)]
pub(super) struct Shelf {
    path: PathBuf,
    limits: Arc<VolumeLimits>,
    total: Arc<Total>,
    room: Arc<Room>,
    /// What it may have, as was said last, and what is counted by that.
    allowed: Mutex<(TenantLimits, Arc<Share>)>,
    /// What is counted by limits of before, as long as somebody has it.
    earlier: Mutex<Vec<(TenantLimits, Weak<Share>)>>,
    is_gone: AtomicBool,
    /// None before they were counted. Held over the disk, by threads that may block.
    volumes: Mutex<Option<Known>>,
}

impl Shelf {
    pub(super) fn new(path: PathBuf, limits: &Arc<VolumeLimits>, room: &Arc<Room>) -> Self {
        Shelf {
            path,
            limits: Arc::clone(limits),
            total: Arc::new(Total::new(limits.of_tenant.max_volume_bytes)),
            allowed: Mutex::new((
                limits.of_tenant,
                Arc::new(Share::new(room, &limits.of_tenant)),
            )),
            earlier: Mutex::default(),
            room: Arc::clone(room),
            is_gone: AtomicBool::new(false),
            volumes: Mutex::default(),
        }
    }

    /// What the tenant may have from now on; instances that are there already count by what they began with.
    pub(super) fn allow(&self, limits: TenantLimits) -> Arc<Share> {
        let mut allowed = self.allowed();
        if allowed.0 != limits {
            self.total.allow(limits.max_volume_bytes);
            let share = self.again(&limits, &allowed);
            *allowed = (limits, share);
        }
        Arc::clone(&allowed.1)
    }

    /// The share by these limits: the one that there is, where calls under other limits go on beside each other.
    fn again(&self, limits: &TenantLimits, present: &(TenantLimits, Arc<Share>)) -> Arc<Share> {
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        earlier.retain(|(_, share)| share.strong_count() > 0);
        let known = earlier.iter().position(|(of, _)| of == limits);
        let known = known.and_then(|at| earlier.swap_remove(at).1.upgrade());
        earlier.push((present.0, Arc::downgrade(&present.1)));
        known.unwrap_or_else(|| Arc::new(Share::new(&self.room, limits)))
    }

    // Nothing can be left half done in there.
    fn allowed(&self) -> MutexGuard<'_, (TenantLimits, Arc<Share>)> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of all of them, once they were counted.
    pub(super) fn used_bytes(&self) -> u64 {
        self.total.used()
    }

    /// The volume of this name, which is made if it is not there.
    pub(super) fn volume(&self, name: &VolumeName) -> Result<Arc<Volume>, VolumeError> {
        self.with_known(|known| {
            if let Some(volume) = known.get(name) {
                return Ok(Arc::clone(volume));
            }
            let most = self.allowed().0.max_volumes;
            if known.len() as u64 >= most && !self.clear_one_away(known) {
                return Err(VolumeError::Quota);
            }
            let path = self.path.join(name.as_str());
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)?;
            let volume = Arc::new(Volume::own(path, self.ledger(), true));
            known.insert(name.clone(), Arc::clone(&volume));
            Ok(volume)
        })
    }

    /// Counts what is there, unless that was done.
    pub(super) fn count(&self) -> Result<(), VolumeError> {
        self.with_known(|_| Ok(()))
    }

    fn with_known<T>(
        &self,
        work: impl FnOnce(&mut Known) -> Result<T, VolumeError>,
    ) -> Result<T, VolumeError> {
        // Whoever panicked with it left a map that is whole.
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_gone.load(Ordering::Acquire) {
            return Err(VolumeError::NoEntry);
        }
        let known = match &mut *volumes {
            Some(known) => known,
            unknown => unknown.insert(self.load()?),
        };
        work(known)
    }

    /// What is on disk. All of it is counted before anything of it is used, as all have one quota.
    fn load(&self) -> Result<Known, VolumeError> {
        let mut known = Known::new();
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(known),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name
                .to_str()
                .and_then(|name| name.parse::<VolumeName>().ok())
            else {
                continue;
            };
            if entry.file_type()?.is_dir() {
                known.insert(
                    name,
                    Arc::new(Volume::own(entry.path(), self.ledger(), false)),
                );
            }
        }
        let counted = known
            .values()
            .try_for_each(|volume| volume.turn().map(drop));
        if let Err(error) = counted {
            // Those that were counted will be counted again.
            self.total.clear();
            return Err(error);
        }
        Ok(known)
    }

    fn ledger(&self) -> Ledger {
        let most = Usage {
            bytes: self.limits.max_volume_bytes,
            files: self.limits.max_files_per_volume,
        };
        Ledger::new(most, Some(Arc::clone(&self.total)))
    }

    /// Makes room for one more by removing one that is empty and that nobody uses.
    fn clear_one_away(&self, known: &mut Known) -> bool {
        let is_free = |(_, volume): &(&VolumeName, &Arc<Volume>)| {
            volume.used() == Usage::default() && !volume.is_used() && Arc::strong_count(volume) == 1
        };
        let Some(name) = known.iter().find(is_free).map(|(name, _)| name.clone()) else {
            return false;
        };
        // Not with what is in it: that would be a mistake.
        let is_removed = std::fs::remove_dir(self.path.join(name.as_str())).is_ok();
        if is_removed && let Some(volume) = known.remove(&name) {
            volume.end();
        }
        is_removed
    }

    /// Ends them all, and deletes what is in them.
    pub(super) fn end(&self) -> std::io::Result<()> {
        self.is_gone.store(true, Ordering::Release);
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        for volume in volumes.take().unwrap_or_default().values() {
            volume.end();
        }
        remove(&self.path)
    }
}

/// Deletes a directory with all that is in it, if it is there.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
