//! Records to bytes and back. The record types are private to the layers that own them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Entry, StorageError};

/// The stored form of a record.
///
/// # Errors
/// When the record cannot be written as JSON, such as a map whose keys are not text.
pub fn encode(record: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    serde_json::to_vec(record).map_err(|error| StorageError::Engine(Box::new(error)))
}

/// The record in a stored entry.
///
/// # Errors
/// [`StorageError::Damaged`] when it is not such a record.
pub fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, StorageError> {
    serde_json::from_slice(&entry.value).map_err(|error| damaged(entry, error))
}

/// For a record that is well-formed and still cannot be.
pub fn damaged(entry: &Entry, reason: impl ToString) -> StorageError {
    StorageError::Damaged {
        key: entry.key.to_string(),
        reason: reason.to_string(),
    }
}
