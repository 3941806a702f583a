//! What is in a directory, a few at a time.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, statat};

use super::VolumeError;
use super::file::Room;
use super::tree::Kind;

/// How many are read at once.
const BATCH: usize = 64;

/// One thing in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What is in a directory, as far as it was not read yet.
#[derive(Debug)]
pub struct Listing {
    directory: Dir,
    _room: Room,
}

impl Listing {
    pub(super) fn new(directory: OwnedFd, room: Room) -> Result<Self, VolumeError> {
        Ok(Listing {
            directory: Dir::new(directory)?,
            _room: room,
        })
    }

    /// A few more; none at the end. Names that are no text cannot be named by a guest, and are not there.
    /// Blocks.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn more(&mut self) -> Result<Vec<Entry>, VolumeError> {
        let mut entries = Vec::new();
        while entries.len() < BATCH {
            let Some(entry) = self.directory.read() else {
                break;
            };
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system says.
                FileType::Unknown => {
                    match statat(self.directory.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                        // Gone meanwhile.
                        Err(_) => continue,
                    }
                }
                kind => kind,
            };
            entries.push(Entry {
                name: name.to_owned(),
                kind: Kind::of(kind),
            });
        }
        Ok(entries)
    }
}
