//! The few ways to the kernel. All that a guest names goes through [`open`].

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;

use super::VolumeError;

/// How often an interrupted attempt is made again.
const ATTEMPTS: usize = 8;

/// Opens what is at `path` beneath `root`, in one step that nobody can come between: through no symbolic
/// link, not even a last one (but for `O_PATH`, which shows it), through no link of the kernel's own, out
/// of no file system, and never upwards.
///
/// A kernel without this refuses; there is no other way in.
pub(super) fn open(
    root: impl AsFd,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, VolumeError> {
    let always = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    for _ in 0..ATTEMPTS {
        match openat2(root.as_fd(), path, flags | always, mode, resolve) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            outcome => return Ok(outcome?),
        }
    }
    Err(VolumeError::Busy)
}

/// What is at `path`, without opening it: no device or pipe notices.
pub(super) fn look(root: impl AsFd, path: &str) -> Result<Stat, VolumeError> {
    let found = open(root, path, OFlags::PATH, Mode::empty())?;
    Ok(fstat(found)?)
}

/// A directory, to name what is directly in it.
pub(super) fn directory(root: impl AsFd, path: &str) -> Result<OwnedFd, VolumeError> {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
}

/// A directory, to list.
pub(super) fn listed(root: impl AsFd, path: &str) -> Result<OwnedFd, VolumeError> {
    open(
        root,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY,
        Mode::empty(),
    )
}

/// What something is.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Bytes of a regular file; nothing else has any.
pub(super) fn size(stat: &Stat) -> u64 {
    match kind(stat) {
        FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or(0),
        _ => 0,
    }
}

/// Which file it is, under whatever name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    device: u64,
    number: u64,
}

/// Which file it is.
pub(super) fn node(stat: &Stat) -> Node {
    Node {
        device: stat.st_dev,
        number: stat.st_ino,
    }
}
