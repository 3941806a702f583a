//! The node's own secret: with it compiled artifacts are recognised as made here.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::storage::StorageError;
use crate::storage::file::{self, Access};

const KEY_BYTES: usize = 32;

/// 256 random bits that never leave the node. Losing them costs a recompilation of every module
/// and nothing else.
#[derive(Clone)]
pub struct NodeKey(Zeroizing<[u8; KEY_BYTES]>);

impl NodeKey {
    /// Reads the key, or makes one if there is none.
    ///
    /// # Errors
    /// When the file is there and is not a key, or the system gives no randomness.
    pub fn load_or_create(path: &Path) -> Result<Self, StorageError> {
        match fs::read(path).map(Zeroizing::new) {
            Ok(bytes) => {
                let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice());
                key.map(|key| Self(Zeroizing::new(key)))
                    .map_err(|_| StorageError::Damaged {
                        key: path.display().to_string(),
                        reason: format!("it has {} bytes instead of {KEY_BYTES}", bytes.len()),
                    })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut key = Zeroizing::new([0; KEY_BYTES]);
                rand::fill(key.as_mut_slice()).map_err(|_| {
                    StorageError::file("find randomness for", path)(ErrorKind::Other.into())
                })?;
                file::replace(path, key.as_slice(), Access::Private)?;
                Ok(Self(key))
            }
            Err(error) => Err(StorageError::file("read", path)(error)),
        }
    }

    /// The key, for a MAC.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NodeKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once_and_a_damaged_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let first = NodeKey::load_or_create(&path).unwrap();
        assert_ne!(first.as_bytes(), &[0; KEY_BYTES]);
        assert_eq!(
            NodeKey::load_or_create(&path).unwrap().as_bytes(),
            first.as_bytes()
        );
        assert_eq!(format!("{first:?}"), "NodeKey(…)");
        fs::write(&path, b"short").unwrap();
        let refused = NodeKey::load_or_create(&path).unwrap_err();
        assert!(matches!(refused, StorageError::Damaged { .. }), "{refused}");
    }
}
