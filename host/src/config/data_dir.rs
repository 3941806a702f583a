//! The data directory: what lies where, and that only one node uses it.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::storage::{StorageError, file};

/// Its presence also marks a directory as ours, so it is made first.
const LOCK: &str = "lock";
/// What a file system itself puts into an empty directory.
const MAY_BE_THERE: &str = "lost+found";
/// Enough for a process number.
const MAX_HOLDER_BYTES: u64 = 32;

/// An open data directory. While it lives, no other process can open it.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens a data directory, making it (mode 0700) if it is not there. What an earlier crash
    /// left unfinished directly in it is deleted.
    ///
    /// # Errors
    /// When another process uses it, when it holds something else than a node's data, or when the
    /// file system refuses.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        file::create_directory(path)?;
        let path = path
            .canonicalize()
            .map_err(StorageError::file("open", path))?;
        let lock_path = path.join(LOCK);
        if !lock_path.exists() && !is_empty(&path)? {
            return Err(StorageError::NotOurs { path });
        }
        let mut lock = file::open_private(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut lock);
                return Err(StorageError::InUse { path, holder });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StorageError::file("lock", &lock_path)(error));
            }
        }
        sign(&mut lock).map_err(StorageError::file("write", &lock_path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
            .map_err(StorageError::file("close to others", &path))?;
        file::sweep_leftovers(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store of records.
    pub fn store(&self) -> PathBuf {
        self.path.join("store.redb")
    }

    /// The key of the node's certificate authority.
    pub fn authority_key(&self) -> PathBuf {
        self.path.join("ca.key")
    }

    /// The certificate that clients trust.
    pub fn authority_certificate(&self) -> PathBuf {
        self.path.join("ca.pem")
    }

    /// The certificate and key that the node shows.
    pub fn server_identity(&self) -> PathBuf {
        self.path.join("server.pem")
    }

    /// The authority that signs certificates of clients, if it was ever asked to.
    pub fn clients(&self) -> PathBuf {
        self.path.join("clients")
    }

    /// The key that authenticates compiled artifacts.
    pub fn node_key(&self) -> PathBuf {
        self.path.join("node.key")
    }

    /// What a client on this machine connects with.
    pub fn client_profile(&self) -> PathBuf {
        self.path.join("client.toml")
    }

    /// Files of single tenants.
    pub fn tenants(&self) -> PathBuf {
        self.path.join("tenants")
    }

    /// Directories of single tenants, for their modules.
    pub fn volumes(&self) -> PathBuf {
        self.path.join("volumes")
    }

    /// Uploads under way; worth nothing after a restart.
    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }
}

fn is_empty(path: &Path) -> Result<bool, StorageError> {
    for entry in fs::read_dir(path).map_err(StorageError::file("read", path))? {
        let entry = entry.map_err(StorageError::file("read", path))?;
        if entry.file_name() != MAY_BE_THERE {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The process that wrote itself into the lock file: a hint for a message, no more.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(MAX_HOLDER_BYTES).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(process)) => format!(" (process {process})"),
        _ => String::new(),
    }
}

fn sign(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_private_and_used_by_one() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/data");
        let first = DataDir::open(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let refused = DataDir::open(&path).unwrap_err().to_string();
        let me = std::process::id();
        assert!(
            refused.contains(&format!("in use by another rpc-host (process {me})")),
            "{refused}"
        );
        drop(first);
        fs::write(path.join(".unfinished-x"), b"half").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let again = DataDir::open(&path).unwrap();
        assert!(!again.path().join(".unfinished-x").exists());
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("thesis.tex"), b"mine").unwrap();
        fs::set_permissions(other.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let refused = DataDir::open(other.path()).unwrap_err();
        assert!(matches!(refused, StorageError::NotOurs { .. }), "{refused}");
        assert_eq!(
            fs::metadata(other.path()).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert!(!other.path().join(LOCK).exists());
    }

    #[test]
    fn a_fresh_volume_is_empty() {
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir(volume.path().join("lost+found")).unwrap();
        DataDir::open(volume.path()).unwrap();
    }
}
