//! What is done in a volume by place. All of it blocks.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fstat, ftruncate,
    mkdirat, renameat, statat, unlinkat, utimensat,
};
use tokio::sync::Semaphore;

use super::file::{File, Rights, Room};
use super::ledger::{Ledger, Usage};
use super::listing::Listing;
use super::share::Share;
use super::volume::{Turn, Volume};
use super::{Access, Place, VolumeError, VolumeLimits, kernel};

/// No limit allows deeper paths or longer ones, so nothing that a guest made is beyond.
const DEEPEST: usize = 128;
const LONGEST_BYTES: usize = 4095;

/// A volume, open for one instance.
#[derive(Debug)]
pub struct Tree {
    volume: Arc<Volume>,
    root: Arc<OwnedFd>,
    access: Access,
    limits: Arc<VolumeLimits>,
    share: Arc<Share>,
    open_files: Arc<Semaphore>,
}

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, which nothing follows.
    Link,
    /// A named pipe, which nothing opens; so with all that follow.
    Pipe,
    /// A socket.
    Socket,
    /// A device of blocks.
    BlockDevice,
    /// A device of characters.
    CharacterDevice,
    /// Something else.
    Unknown,
}

impl Kind {
    pub(super) fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Pipe,
            FileType::Socket => Self::Socket,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::CharacterDevice => Self::CharacterDevice,
            FileType::Unknown => Self::Unknown,
        }
    }
}

/// A time, since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instant {
    /// Whole seconds.
    pub seconds: u64,
    /// And nanoseconds.
    pub nanoseconds: u32,
}

/// What is known of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// How many names it has.
    pub links: u64,
    /// Its length.
    pub bytes: u64,
    /// When it was last read.
    pub accessed: Instant,
    /// When its content last changed.
    pub modified: Instant,
    /// When anything of it last changed.
    pub changed: Instant,
    /// Which one it is; the same under all of its names, and of no use to anybody else.
    pub node: kernel::Node,
}

impl Stat {
    pub(super) fn of(stat: &rustix::fs::Stat) -> Self {
        let instant = |seconds: i64, nanoseconds: u64| Instant {
            seconds: u64::try_from(seconds).unwrap_or(0),
            nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
        };
        Stat {
            kind: Kind::of(kernel::kind(stat)),
            links: stat.st_nlink,
            bytes: kernel::size(stat),
            accessed: instant(stat.st_atime, stat.st_atime_nsec),
            modified: instant(stat.st_mtime, stat.st_mtime_nsec),
            changed: instant(stat.st_ctime, stat.st_ctime_nsec),
            node: kernel::node(stat),
        }
    }
}

/// Times to set. `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// When it was last read.
    pub accessed: Option<NewTime>,
    /// When its content last changed.
    pub modified: Option<NewTime>,
}

/// A time to set.
#[derive(Clone, Copy, Debug)]
pub enum NewTime {
    /// That of the system's clock.
    Now,
    /// This one.
    At(Instant),
}

impl Times {
    pub(super) fn for_kernel(&self) -> Timestamps {
        let time = |time: Option<NewTime>| match time {
            None => Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            Some(NewTime::Now) => Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
            Some(NewTime::At(instant)) => Timespec {
                tv_sec: i64::try_from(instant.seconds).unwrap_or(i64::MAX),
                tv_nsec: instant.nanoseconds.into(),
            },
        };
        Timestamps {
            last_access: time(self.accessed),
            last_modification: time(self.modified),
        }
    }
}

/// How something is to be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Make a file if nothing is there.
    pub create: bool,
    /// Together with that: only if nothing is there.
    pub exclusive: bool,
    /// Empty the file.
    pub truncate: bool,
    /// Only a directory will do.
    pub directory: bool,
    /// To read.
    pub read: bool,
    /// To write.
    pub write: bool,
    /// Each write is on the disk when it is done: its data, or all of it.
    pub sync_data: bool,
    /// See there.
    pub sync_all: bool,
}

/// What was opened.
#[derive(Debug)]
pub enum Opened {
    /// A file.
    File(File),
    /// A directory: nothing is open, its place is enough.
    Directory,
}

impl Tree {
    pub(super) fn new(
        volume: Arc<Volume>,
        root: Arc<OwnedFd>,
        access: Access,
        limits: Arc<VolumeLimits>,
        share: Arc<Share>,
        open_files: Arc<Semaphore>,
    ) -> Self {
        Tree {
            volume,
            root,
            access,
            limits,
            share,
            open_files,
        }
    }

    /// What is at a place. `follow`: what a symbolic link leads to is wanted, which is refused.
    ///
    /// # Errors
    /// When nothing is there that may be looked at.
    pub fn stat(&self, place: &Place, follow: bool) -> Result<Stat, VolumeError> {
        let stat = kernel::look(&self.root, place.path())?;
        match kernel::kind(&stat) {
            FileType::Directory => {}
            FileType::Symlink if follow || place.is_for_directory() => {
                return Err(VolumeError::Link);
            }
            _ if place.is_for_directory() => return Err(VolumeError::NotDirectory),
            _ => {}
        }
        Ok(Stat::of(&stat))
    }

    /// Opens a file, or finds a directory.
    ///
    /// # Errors
    /// When it is neither, may not be opened so, or there is no room for it.
    pub fn open(&self, place: &Place, wish: Wish) -> Result<Opened, VolumeError> {
        if wish.directory && (wish.create || wish.exclusive || wish.truncate) {
            return Err(VolumeError::Invalid);
        }
        if wish.create || wish.truncate || wish.write {
            self.may_change()?;
        }
        // What is open is part of the count.
        let turn = self
            .volume
            .ledger()
            .map(|_| self.volume.turn())
            .transpose()?;
        let stat = match kernel::look(&self.root, place.path()) {
            Err(VolumeError::NoEntry) if wish.create => {
                let turn = turn.ok_or(VolumeError::ReadOnly)?;
                return self.create(place, wish, &turn).map(Opened::File);
            }
            outcome => outcome?,
        };
        match kernel::kind(&stat) {
            _ if wish.create && wish.exclusive => Err(VolumeError::Exists),
            FileType::Symlink => Err(VolumeError::Link),
            FileType::Directory if wish.create || wish.truncate || wish.write => {
                Err(VolumeError::IsDirectory)
            }
            FileType::Directory => Ok(Opened::Directory),
            FileType::RegularFile if wish.directory || place.is_for_directory() => {
                Err(VolumeError::NotDirectory)
            }
            FileType::RegularFile => self.open_file(place, wish, turn.as_ref()).map(Opened::File),
            // Opening a pipe or a device may wait, or do things.
            _ => Err(VolumeError::NotPermitted),
        }
    }

    fn create(&self, place: &Place, wish: Wish, turn: &Turn<'_>) -> Result<File, VolumeError> {
        if place.is_for_directory() {
            return Err(VolumeError::IsDirectory);
        }
        let room = self.room()?;
        turn.ledger.take_file()?;
        let flags = flags(wish) | OFlags::CREATE | OFlags::EXCL;
        let mode = self.volume.modes().file;
        match kernel::open(&self.root, place.path(), flags, mode) {
            Ok(fd) => File::new(fd, room, &self.volume, &self.share, self.rights(wish)),
            Err(error) => {
                turn.ledger.give_file();
                Err(error)
            }
        }
    }

    fn open_file(
        &self,
        place: &Place,
        wish: Wish,
        turn: Option<&Turn<'_>>,
    ) -> Result<File, VolumeError> {
        let room = self.room()?;
        let fd = kernel::open(&self.root, place.path(), flags(wish), Mode::empty())?;
        let stat = fstat(&fd)?;
        // It may be another one since.
        if kernel::kind(&stat) != FileType::RegularFile {
            return Err(VolumeError::NotPermitted);
        }
        let changes = wish.write || wish.truncate;
        // One with other names may be a file from elsewhere, and would count for none of them rightly.
        if changes && stat.st_nlink > 1 {
            return Err(VolumeError::NotPermitted);
        }
        if wish.truncate {
            let turn = turn.ok_or(VolumeError::ReadOnly)?;
            ftruncate(&fd, 0)?;
            turn.ledger.give_bytes(kernel::size(&stat));
        }
        File::new(fd, room, &self.volume, &self.share, self.rights(wish))
    }

    fn rights(&self, wish: Wish) -> Rights {
        Rights {
            read: wish.read,
            write: wish.write,
            change: self.access.may_write(),
        }
    }

    fn room(&self) -> Result<Room, VolumeError> {
        let own = Arc::clone(&self.open_files).try_acquire_owned();
        let own = own.map_err(|_| VolumeError::TooManyOpen)?;
        Ok((own, self.share.open()?))
    }

    /// What is in a directory.
    ///
    /// # Errors
    /// When it is none, or there is no room for it.
    pub fn listing(&self, place: &Place) -> Result<Listing, VolumeError> {
        let room = self.room()?;
        Listing::new(kernel::listed(&self.root, place.path())?, room)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// When something is there, or there is no room for it.
    pub fn create_directory(&self, place: &Place) -> Result<(), VolumeError> {
        self.may_change()?;
        let (parent, name) = place.split().ok_or(VolumeError::Exists)?;
        let turn = self.volume.turn()?;
        let parent = kernel::directory(&self.root, parent)?;
        turn.ledger.take_file()?;
        let made = mkdirat(&parent, name, self.volume.modes().directory);
        if made.is_err() {
            turn.ledger.give_file();
        }
        Ok(made?)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// When it is none, or not empty.
    pub fn remove_directory(&self, place: &Place) -> Result<(), VolumeError> {
        self.may_change()?;
        let (parent, name) = place.split().ok_or(VolumeError::NotPermitted)?;
        let turn = self.volume.turn()?;
        let parent = kernel::directory(&self.root, parent)?;
        unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
        turn.ledger.give_file();
        Ok(())
    }

    /// Deletes a file, or whatever else is no directory.
    ///
    /// # Errors
    /// When it is a directory.
    pub fn unlink(&self, place: &Place) -> Result<(), VolumeError> {
        self.may_change()?;
        let (parent, name) = place.split().ok_or(VolumeError::IsDirectory)?;
        let turn = self.volume.turn()?;
        let parent = kernel::directory(&self.root, parent)?;
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match kernel::kind(&stat) {
            FileType::Directory => return Err(VolumeError::IsDirectory),
            _ if place.is_for_directory() => return Err(VolumeError::NotDirectory),
            _ => {}
        }
        unlinkat(&parent, name, AtFlags::empty())?;
        forget(turn.ledger, &stat);
        Ok(())
    }

    /// Gives something another place, where it takes the place of what is there.
    ///
    /// # Errors
    /// When that cannot be, as a directory in itself, or one on a file.
    pub fn rename(&self, from: &Place, to: &Place) -> Result<(), VolumeError> {
        self.may_change()?;
        let (from_parent, from_name) = from.split().ok_or(VolumeError::Busy)?;
        let (to_parent, to_name) = to.split().ok_or(VolumeError::Busy)?;
        let turn = self.volume.turn()?;
        let from_parent = kernel::directory(&self.root, from_parent)?;
        let to_parent = kernel::directory(&self.root, to_parent)?;
        let stat = statat(&from_parent, from_name, AtFlags::SYMLINK_NOFOLLOW)?;
        match kernel::kind(&stat) {
            FileType::Directory => {
                if to.path() != from.path() && to.is_within(from) {
                    return Err(VolumeError::Invalid);
                }
                self.fits(from, to)?;
            }
            _ if from.is_for_directory() || to.is_for_directory() => {
                return Err(VolumeError::NotDirectory);
            }
            _ => {}
        }
        let replaced = match statat(&to_parent, to_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(replaced) => Some(replaced),
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        renameat(&from_parent, from_name, &to_parent, to_name)?;
        if let Some(replaced) = replaced
            // Two names of one file are left as they are.
            && kernel::node(&replaced) != kernel::node(&stat)
        {
            forget(turn.ledger, &replaced);
        }
        Ok(())
    }

    /// Whether all that is in a directory has a place that can be said, once it is elsewhere.
    fn fits(&self, from: &Place, to: &Place) -> Result<(), VolumeError> {
        let deeper = to.depth().saturating_sub(from.depth());
        let longer_bytes = to.path().len().saturating_sub(from.path().len());
        if deeper == 0 && longer_bytes == 0 {
            return Ok(());
        }
        let deepest = self.limits.max_path_depth.saturating_sub(deeper);
        let longest_bytes = self.limits.max_path_bytes.saturating_sub(longer_bytes);
        walk(self.root.as_fd(), from.path(), |found| {
            match found.depth > deepest || found.path.len() > longest_bytes {
                true => Err(VolumeError::NameTooLong),
                false => Ok(()),
            }
        })
    }

    /// Sets the times of something. `follow`: see [`Tree::stat`].
    ///
    /// # Errors
    /// When it is not there, or a symbolic link.
    pub fn set_times(&self, place: &Place, follow: bool, times: &Times) -> Result<(), VolumeError> {
        self.may_change()?;
        self.stat(place, follow)?;
        let times = times.for_kernel();
        let (parent, name) = place.split().unwrap_or((".", "."));
        let parent = kernel::directory(&self.root, parent)?;
        Ok(utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sees to it that what is directly in a directory is on the disk.
    ///
    /// # Errors
    /// When it is none, or the disk fails.
    pub fn sync(&self, place: &Place) -> Result<(), VolumeError> {
        Ok(rustix::fs::fsync(kernel::listed(
            &self.root,
            place.path(),
        )?)?)
    }

    fn may_change(&self) -> Result<(), VolumeError> {
        match self.access.may_write() {
            true => Ok(()),
            false => Err(VolumeError::ReadOnly),
        }
    }
}

/// Takes what was deleted out of the count.
fn forget(ledger: &Ledger, stat: &rustix::fs::Stat) {
    let bytes = kernel::size(stat);
    if kernel::kind(stat) == FileType::RegularFile && stat.st_nlink > 1 {
        // It was counted under each of its names.
        ledger.give_bytes(bytes);
        ledger.give_file();
    } else {
        ledger.deleted(kernel::node(stat), bytes);
    }
}

fn flags(wish: Wish) -> OFlags {
    // What is emptied has to be open for writing, whatever may be done with it then.
    let mut flags = match (wish.read, wish.write || wish.truncate) {
        (_, false) => OFlags::RDONLY,
        (false, true) => OFlags::WRONLY,
        (true, true) => OFlags::RDWR,
    };
    if wish.sync_data {
        flags |= OFlags::DSYNC;
    }
    if wish.sync_all {
        flags |= OFlags::SYNC;
    }
    // A pipe that came in between keeps nobody waiting.
    flags | OFlags::NONBLOCK
}

/// Something found below a directory.
struct Found<'a> {
    /// From the root.
    path: &'a str,
    depth: usize,
    bytes: u64,
}

/// How much is below `root`: files under each of their names, as long as they say they are.
pub(super) fn count(root: BorrowedFd<'_>) -> Result<Usage, VolumeError> {
    let mut usage = Usage::default();
    walk(root, ".", |found| {
        usage.files = usage.files.saturating_add(1);
        usage.bytes = usage.bytes.saturating_add(found.bytes);
        Ok(())
    })?;
    Ok(usage)
}

/// Looks at all that is below `start`, as far as anybody could name it.
fn walk(
    root: BorrowedFd<'_>,
    start: &str,
    mut each: impl FnMut(&Found<'_>) -> Result<(), VolumeError>,
) -> Result<(), VolumeError> {
    let depth = match start {
        "." => 0,
        start => start.split('/').count(),
    };
    let mut waiting = vec![(start.to_owned(), depth)];
    while let Some((path, depth)) = waiting.pop() {
        let directory = match kernel::listed(root, &path) {
            // Gone since, or put there by somebody else and closed to the node: no guest sees it either.
            Err(VolumeError::NoEntry | VolumeError::NotPermitted) => continue,
            outcome => outcome?,
        };
        let mut entries = rustix::fs::Dir::new(directory)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => continue,
                Ok(name) => name,
            };
            let Ok(stat) = statat(entries.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue; // Gone since.
            };
            let inner = match path.as_str() {
                "." => name.to_owned(),
                path => format!("{path}/{name}"),
            };
            let depth = depth + 1;
            let is_directory = kernel::kind(&stat) == FileType::Directory;
            each(&Found {
                path: &inner,
                depth,
                bytes: kernel::size(&stat),
            })?;
            if is_directory && depth < DEEPEST && inner.len() < LONGEST_BYTES {
                waiting.push((inner, depth));
            }
        }
    }
    Ok(())
}
