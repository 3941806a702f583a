//! All volumes of a node: whose is which.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::ledger::{Ledger, Usage};
use super::mount::{Home, Mount};
use super::share::Room;
use super::shelf::{Shelf, remove};
use super::volume::Volume;
use super::{Access, OpenVolumesError, VolumeError, VolumeLimits, VolumeName};

/// A directory of the machine that the operator gives to tenants under the name of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDirectory {
    /// The directory.
    pub path: PathBuf,
    /// What they may do in it: reading alone, or changing it up to a quota of all of them together.
    pub quota: Option<Usage>,
    /// Who.
    pub tenants: Tenants,
}

/// Which tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// All that there are and will be.
    All,
    /// Those of these names.
    Named(BTreeSet<String>),
}

/// All volumes of a node. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Volumes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    limits: Arc<VolumeLimits>,
    room: Arc<Room>,
    of_host: OfHost,
    shelves: Mutex<HashMap<u64, Held>>,
}

/// The operator's.
type OfHost = BTreeMap<VolumeName, (Tenants, Access, Arc<Volume>)>;

#[derive(Debug)]
enum Held {
    Shelf(Arc<Shelf>),
    /// What a late call of a removed tenant finds. One number for each that an operator removed since
    /// the start.
    Removed,
}

impl Volumes {
    /// Those of tenants, below `path`, and those of the operator. What belongs to none of `tenants` is
    /// deleted.
    ///
    /// # Errors
    /// When a directory of the operator is not there, or `path` cannot be read.
    pub fn open(
        path: PathBuf,
        limits: VolumeLimits,
        host: BTreeMap<VolumeName, HostDirectory>,
        tenants: &[u64],
    ) -> Result<Self, OpenVolumesError> {
        sweep(&path, tenants).map_err(|source| OpenVolumesError::Own {
            path: path.clone(),
            source,
        })?;
        let of_host = of_host(&path, host)?;
        Ok(Volumes {
            inner: Arc::new(Inner {
                path,
                room: Arc::new(Room::new(&limits)),
                limits: Arc::new(limits),
                of_host,
                shelves: Mutex::default(),
            }),
        })
    }

    /// The volumes of one new instance: of the operator's those that the tenant may have, no more than
    /// they are for, and else the tenant's own. Nothing is looked at on disk before the instance does.
    pub fn mounts(
        &self,
        tenant: u64,
        tenant_name: &str,
        wanted: impl IntoIterator<Item = (VolumeName, Access)>,
    ) -> Vec<Mount> {
        let mut wanted = wanted.into_iter().peekable();
        if wanted.peek().is_none() {
            return Vec::new();
        }
        let Some(shelf) = self.shelf(tenant) else {
            return Vec::new();
        };
        let open_files = Arc::new(Semaphore::new(
            self.inner.limits.max_open_files_per_instance,
        ));
        let mount = |(name, access): (VolumeName, Access)| {
            let (home, access) = match self.of_host(tenant_name, &name) {
                Some((volume, most)) => (Home::OfHost(volume), access.and(most)),
                None => (Home::Own(Arc::clone(&shelf)), access),
            };
            let limits = Arc::clone(&self.inner.limits);
            let share = Arc::clone(shelf.share());
            Mount::new(name, access, home, limits, share, Arc::clone(&open_files))
        };
        wanted.map(mount).collect()
    }

    /// Bytes of a tenant's own volumes, as far as they were counted.
    pub fn used_bytes(&self, tenant: u64) -> u64 {
        match self.shelves().get(&tenant) {
            Some(Held::Shelf(shelf)) => shelf.used_bytes(),
            Some(Held::Removed) | None => 0,
        }
    }

    /// Counts what is in those of tenants and in the operator's, one after the other, on a thread that
    /// may block. A call that needs the count earlier counts for itself.
    pub async fn count(self) {
        let volumes = self;
        let counting = tokio::task::spawn_blocking(move || {
            for tenant in tenants_in(&volumes.inner.path).unwrap_or_default() {
                let counted = volumes.shelf(tenant).map(|shelf| shelf.count());
                if let Some(Err(error)) = counted {
                    tracing::error!(tenant, %error, "a tenant's volumes cannot be counted, and not be used");
                }
            }
            for (name, (_, access, volume)) in &volumes.inner.of_host {
                let counted = volume.turn().map(drop);
                if let (true, Err(error)) = (access.may_write(), counted) {
                    tracing::error!(%name, %error, "a volume cannot be counted, and not be changed");
                }
            }
        });
        if let Err(error) = counting.await {
            tracing::error!(%error, "volumes were not counted");
        }
    }

    /// Lets go of what a removed tenant had, in memory and on disk. Calls of it that are under way find
    /// nothing any more.
    ///
    /// # Errors
    /// When not all of it could be deleted; the next start will.
    pub async fn forget(&self, tenant: u64) -> Result<(), VolumeError> {
        let held = self.shelves().insert(tenant, Held::Removed);
        let path = self.inner.path.join(tenant.to_string());
        let removing = tokio::task::spawn_blocking(move || match held {
            Some(Held::Shelf(shelf)) => shelf.end(),
            Some(Held::Removed) | None => remove(&path),
        });
        Ok(removing.await.map_err(|_| VolumeError::Io)??)
    }

    fn of_host(&self, tenant: &str, name: &VolumeName) -> Option<(Arc<Volume>, Access)> {
        let (tenants, access, volume) = self.inner.of_host.get(name)?;
        let is_theirs = match tenants {
            Tenants::All => true,
            Tenants::Named(names) => names.contains(tenant),
        };
        is_theirs.then(|| (Arc::clone(volume), *access))
    }

    fn shelf(&self, tenant: u64) -> Option<Arc<Shelf>> {
        let mut shelves = self.shelves();
        let held = shelves.entry(tenant).or_insert_with(|| {
            let path = self.inner.path.join(tenant.to_string());
            Held::Shelf(Arc::new(Shelf::new(
                path,
                &self.inner.limits,
                &self.inner.room,
            )))
        });
        match held {
            Held::Shelf(shelf) => Some(Arc::clone(shelf)),
            Held::Removed => None,
        }
    }

    // Nothing can be left half done in there.
    fn shelves(&self) -> MutexGuard<'_, HashMap<u64, Held>> {
        self.inner
            .shelves
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the operator's. None of them may have a part in what the node keeps for itself, nor one that is
/// changed in another: it would be counted in both.
fn of_host(
    own: &Path,
    host: BTreeMap<VolumeName, HostDirectory>,
) -> Result<OfHost, OpenVolumesError> {
    let mut opened = OfHost::new();
    let data = own.parent().unwrap_or(own).to_owned();
    let mut taken = vec![(data, Access::ReadWrite)];
    for (name, directory) in host {
        let HostDirectory {
            path,
            quota,
            tenants,
        } = directory;
        let refused = |source| OpenVolumesError::HostDirectory {
            volume: name.to_string(),
            path: path.clone(),
            source,
        };
        let access = match quota {
            Some(_) => Access::ReadWrite,
            None => Access::ReadOnly,
        };
        let place = path.canonicalize().map_err(refused)?;
        let is_shared = |(other, theirs): &&(PathBuf, Access)| {
            (access.may_write() || theirs.may_write()) && overlap(&place, other)
        };
        if let Some((other, _)) = taken.iter().find(is_shared) {
            return Err(OpenVolumesError::Overlap {
                volume: name.to_string(),
                path,
                other: other.clone(),
            });
        }
        taken.push((place, access));
        let ledger = quota.map(|quota| Ledger::new(quota, None));
        let volume = Arc::new(Volume::of_host(path.clone(), ledger).map_err(refused)?);
        opened.insert(name, (tenants, access, volume));
    }
    Ok(opened)
}

/// Deletes what removed tenants left.
fn sweep(path: &Path, tenants: &[u64]) -> std::io::Result<()> {
    for number in tenants_in(path)? {
        if !tenants.contains(&number) {
            remove(&path.join(number.to_string()))?;
        }
    }
    Ok(())
}

/// The tenants that have volumes. A name that this program does not give is left alone.
fn tenants_in(path: &Path) -> std::io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| Some((name, name.parse::<u64>().ok()?)));
        if let Some((name, number)) = number
            && number.to_string() == name
        {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

/// Whether one of two directories lies in the other.
fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
