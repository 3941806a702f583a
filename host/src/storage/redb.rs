//! The embedded engine: one file, one writer, one sync a commit.
//!
//! Commits are single-phase with checksums. Two phases would guard against somebody who can at
//! once choose the bytes written, reorder the disk's writes and time a crash; it would cost every
//! commit a second sync.

mod open;

use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use tokio::sync::broadcast;

use super::batch::Write;
use super::watch::BACKLOG_CHANGES;
use super::{
    Batch, Change, Entry, Expect, Key, KeyRevision, MAX_VALUE_BYTES, Prefix, Storage, StorageError,
    Watch,
};

/// Key → (revision, value).
const ENTRIES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("entries");
/// What the store says of itself: `format` and the last `revision`.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const FORMAT: &str = "format";
const REVISION: &str = "revision";
/// The format this release writes, and the latest it can read.
const KNOWN_FORMAT: u64 = 1;
/// Enough for every index page of a large registry. The engine's own default is a gigabyte.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// [`Storage`] on an embedded database.
#[derive(Debug)]
pub struct RedbStorage {
    database: Database,
    changes: broadcast::Sender<Arc<Change>>,
    /// Held over a whole commit, disk included: writers queue in the engine anyway, and watchers
    /// must hear of commits in the order they were made.
    order: Mutex<()>,
}

impl Storage for RedbStorage {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        let reading = self.database.begin_read().map_err(engine)?;
        let entries = reading.open_table(ENTRIES).map_err(engine)?;
        let found = entries.get(key.as_str()).map_err(engine)?;
        Ok(found.map(|stored| entry(key.as_str(), stored.value())))
    }

    fn scan(&self, prefix: &Prefix) -> Result<Vec<Entry>, StorageError> {
        let reading = self.database.begin_read().map_err(engine)?;
        let entries = reading.open_table(ENTRIES).map_err(engine)?;
        let mut found = Vec::new();
        for item in entries.range(prefix.as_str()..).map_err(engine)? {
            let (key, stored) = item.map_err(engine)?;
            if !key.value().starts_with(prefix.as_str()) {
                break;
            }
            if prefix.covers(key.value()) {
                found.push(entry(key.value(), stored.value()));
            }
        }
        Ok(found)
    }

    fn keys(&self, prefix: &Prefix, skip: usize, most: usize) -> Result<Vec<Key>, StorageError> {
        let reading = self.database.begin_read().map_err(engine)?;
        let entries = reading.open_table(ENTRIES).map_err(engine)?;
        let mut found = Vec::new();
        let mut left = skip;
        for item in entries.range(prefix.as_str()..).map_err(engine)? {
            let (key, _) = item.map_err(engine)?;
            if found.len() == most || !key.value().starts_with(prefix.as_str()) {
                break;
            }
            match left.checked_sub(1) {
                _ if !prefix.covers(key.value()) => {}
                Some(fewer) => left = fewer,
                None => found.push(Key::from_stored(key.value())),
            }
        }
        Ok(found)
    }

    fn commit(&self, batch: Batch) -> Result<KeyRevision, StorageError> {
        let _in_order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let writing = self.database.begin_write().map_err(engine)?;
        // Dropping the transaction on the way out of an error undoes it.
        let (revision, changes) = apply(&writing, batch)?;
        writing.commit().map_err(engine)?;
        for change in changes {
            // No receiver means nobody watches.
            let _ = self.changes.send(Arc::new(change));
        }
        Ok(revision)
    }

    fn watch(&self, prefix: &Prefix) -> Watch {
        Watch::new(prefix.clone(), self.changes.subscribe())
    }
}

fn apply(
    writing: &WriteTransaction,
    batch: Batch,
) -> Result<(KeyRevision, Vec<Change>), StorageError> {
    let mut about = writing.open_table(ABOUT).map_err(engine)?;
    let mut entries = writing.open_table(ENTRIES).map_err(engine)?;
    for (key, expect) in &batch.expectations {
        let found = entries
            .get(key.as_str())
            .map_err(engine)?
            .map(|stored| stored.value().0);
        let holds = match expect {
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::At(revision) => found == Some(revision.0),
        };
        if !holds {
            return Err(StorageError::Conflict {
                key: key.to_string(),
            });
        }
    }
    let last = about
        .get(REVISION)
        .map_err(engine)?
        .map_or(0, |stored| stored.value());
    let revision = KeyRevision(last.saturating_add(1));
    about.insert(REVISION, revision.0).map_err(engine)?;
    let mut changes = Vec::with_capacity(batch.writes.len());
    for write in batch.writes {
        match write {
            Write::Put(key, value) => {
                if value.len() > MAX_VALUE_BYTES {
                    let (size_bytes, limit_bytes) = (value.len(), MAX_VALUE_BYTES);
                    return Err(StorageError::TooLarge {
                        size_bytes,
                        limit_bytes,
                    });
                }
                entries
                    .insert(key.as_str(), (revision.0, value.as_slice()))
                    .map_err(engine)?;
                changes.push(Change {
                    key,
                    value: Some(value),
                    revision,
                });
            }
            Write::Delete(key) => {
                if entries.remove(key.as_str()).map_err(engine)?.is_some() {
                    changes.push(Change {
                        key,
                        value: None,
                        revision,
                    });
                }
            }
            Write::DeleteBelow(prefix) => {
                for key in keys_below(&entries, &prefix)? {
                    entries.remove(key.as_str()).map_err(engine)?;
                    changes.push(Change {
                        key,
                        value: None,
                        revision,
                    });
                }
            }
        }
    }
    Ok((revision, changes))
}

fn keys_below(
    entries: &Table<'_, &'static str, (u64, &'static [u8])>,
    prefix: &Prefix,
) -> Result<Vec<Key>, StorageError> {
    let mut keys = Vec::new();
    for item in entries.range(prefix.as_str()..).map_err(engine)? {
        let (key, _) = item.map_err(engine)?;
        if !key.value().starts_with(prefix.as_str()) {
            break;
        }
        if prefix.covers(key.value()) {
            keys.push(Key::from_stored(key.value()));
        }
    }
    Ok(keys)
}

fn entry(key: &str, (revision, value): (u64, &[u8])) -> Entry {
    Entry {
        key: Key::from_stored(key),
        value: value.to_owned(),
        revision: KeyRevision(revision),
    }
}

fn engine(error: impl Into<redb::Error>) -> StorageError {
    StorageError::Engine(Box::new(error.into()))
}

fn changes() -> broadcast::Sender<Arc<Change>> {
    broadcast::Sender::new(BACKLOG_CHANGES)
}

#[cfg(test)]
mod tests;
