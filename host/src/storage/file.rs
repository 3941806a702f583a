//! Files that are whole or not there: private modes, atomic replacement, durable directories.
//!
//! A file is written under another name in the same directory, synced, renamed, and the
//! directory is synced. A crash leaves the old file, or the new one, and at most a leftover
//! whose name begins with [`LEFTOVER_PREFIX`], which the owner of the directory sweeps.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::StorageError;

/// Begins the name of every file that is not finished.
pub const LEFTOVER_PREFIX: &str = ".unfinished-";

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The node's own user (0600).
    Private,
    /// Everybody who can reach the directory (0644).
    Public,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Replaces `path` by a file with these bytes, durably.
///
/// # Errors
/// When the file system refuses; the old file is then still there.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), StorageError> {
    let directory = directory_of(path);
    let mut unfinished = tempfile::Builder::new()
        .prefix(LEFTOVER_PREFIX)
        .permissions(fs::Permissions::from_mode(access.mode()))
        .tempfile_in(directory)
        .map_err(StorageError::file("create a file in", directory))?;
    unfinished
        .write_all(bytes)
        .map_err(StorageError::file("write", path))?;
    unfinished
        .as_file()
        .sync_all()
        .map_err(StorageError::file("sync", path))?;
    unfinished
        .persist(path)
        .map_err(|refused| StorageError::file("replace", path)(refused.error))?;
    sync_directory(directory)
}

/// Gives a complete file its final name, durably: its bytes first, then its name. Both names have
/// to be on one file system; what was there under the final name is replaced.
///
/// # Errors
/// When the file system refuses.
pub fn place(complete: &Path, path: &Path) -> Result<(), StorageError> {
    File::open(complete)
        .and_then(|file| file.sync_all())
        .map_err(StorageError::file("sync", complete))?;
    fs::rename(complete, path).map_err(StorageError::file("place", path))?;
    sync_directory(directory_of(path))
}

/// Reads a small file, or none when it does not exist.
///
/// # Errors
/// When it exists and cannot be read as text.
pub fn read_text(path: &Path) -> Result<Option<String>, StorageError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::file("read", path)(error)),
    }
}

/// Opens a file for reading and writing, made with mode 0600 if it is not there.
///
/// # Errors
/// When the file system refuses.
pub fn open_private(path: &Path) -> Result<File, StorageError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(StorageError::file("open", path))
}

/// Makes a directory only its owner may enter, and everything above it, durably. An existing
/// one is left as it is.
///
/// # Errors
/// When the file system refuses.
pub fn create_directory(path: &Path) -> Result<(), StorageError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = directory_of(path);
    create_directory(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_directory(parent),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(StorageError::file("create", path)(error)),
    }
}

/// Makes the names in a directory durable: without it a renamed file may be gone after a loss of
/// power.
///
/// # Errors
/// When the file system refuses.
pub fn sync_directory(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(StorageError::file("sync", path))
}

/// Where a file lies: the directory one is in, if its path names no other.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Deletes a file if it is there.
///
/// # Errors
/// When it is there and cannot be deleted.
pub fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StorageError::file("delete", path)(error))
        }
        _ => Ok(()),
    }
}

/// Deletes the leftovers of a crash directly in `directory`.
///
/// # Errors
/// When the directory cannot be read or a leftover cannot be deleted.
pub fn sweep_leftovers(directory: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(directory).map_err(StorageError::file("read", directory))? {
        let entry = entry.map_err(StorageError::file("read", directory))?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(LEFTOVER_PREFIX)
        {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_whole_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        replace(&path, b"one", Access::Private).unwrap();
        replace(&path, b"two", Access::Private).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn new_directories_are_private_and_leftovers_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b");
        create_directory(&deep).unwrap();
        create_directory(&deep).unwrap();
        assert_eq!(
            fs::metadata(&deep).unwrap().permissions().mode() & 0o777,
            0o700
        );
        fs::write(deep.join(".unfinished-x"), b"half").unwrap();
        fs::write(deep.join("kept"), b"whole").unwrap();
        sweep_leftovers(&deep).unwrap();
        assert!(!deep.join(".unfinished-x").exists());
        assert!(deep.join("kept").exists());
        assert_eq!(read_text(&deep.join("absent")).unwrap(), None);
    }
}
