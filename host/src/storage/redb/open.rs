//! Opening a store: new, ours, somebody else's at the moment, or from a later release.

use std::path::Path;

use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, ReadableTable, TableError,
};

use super::{ABOUT, CACHE_BYTES, ENTRIES, FORMAT, KNOWN_FORMAT, RedbStorage, changes, engine};
use crate::storage::StorageError;
use crate::storage::file::{self, LEFTOVER_PREFIX};

impl RedbStorage {
    /// Opens the store in a file, making it (mode 0600) if it is not there.
    ///
    /// # Errors
    /// When another process has it open, when a later release wrote it (the file is then not
    /// touched), or when the engine or the file system fails.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        if path.exists() {
            refuse_newer(path)?;
        } else {
            create(path)?;
        }
        Self::prepare(open_file(path)?, path)
    }

    /// A store that lives in memory and is gone with it.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn in_memory() -> Result<Self, StorageError> {
        let database = Builder::new()
            .create_with_backend(redb::backends::InMemoryBackend::new())
            .map_err(engine)?;
        Self::prepare(database, Path::new("memory"))
    }

    fn prepare(database: Database, path: &Path) -> Result<Self, StorageError> {
        let writing = database.begin_write().map_err(engine)?;
        {
            let mut about = writing.open_table(ABOUT).map_err(engine)?;
            let found = about
                .get(FORMAT)
                .map_err(engine)?
                .map(|stored| stored.value());
            check_format(found, path)?;
            if found.is_none() {
                about.insert(FORMAT, KNOWN_FORMAT).map_err(engine)?;
            }
            // Readers may then rely on the table.
            writing.open_table(ENTRIES).map_err(engine)?;
        }
        writing.commit().map_err(engine)?;
        Ok(Self {
            database,
            changes: changes(),
            order: std::sync::Mutex::new(()),
        })
    }
}

/// Makes an empty store under another name and gives it its own when it is whole: the engine does
/// not open a file that it was cut off from making.
fn create(path: &Path) -> Result<(), StorageError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let unfinished = directory.join(format!("{LEFTOVER_PREFIX}store"));
    file::remove(&unfinished)?;
    drop(RedbStorage::prepare(open_file(&unfinished)?, path)?);
    file::place(&unfinished, path)
}

fn open_file(path: &Path) -> Result<Database, StorageError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_file(file::open_private(path)?)
        .map_err(|error| open_error(error, path))
}

/// Looks at an existing store without writing a byte. A store that was not closed cleanly cannot
/// be read this way; it is then judged after its recovery, by [`RedbStorage::prepare`].
fn refuse_newer(path: &Path) -> Result<(), StorageError> {
    let database = match ReadOnlyDatabase::open(path) {
        Ok(database) => database,
        Err(DatabaseError::UpgradeRequired(_)) => {
            return Err(newer(path, KNOWN_FORMAT.saturating_add(1)));
        }
        Err(_) => return Ok(()),
    };
    let reading = database.begin_read().map_err(engine)?;
    let about = match reading.open_table(ABOUT) {
        Ok(about) => about,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(engine(error)),
    };
    let found = about
        .get(FORMAT)
        .map_err(engine)?
        .map(|stored| stored.value());
    check_format(found, path)
}

fn check_format(found: Option<u64>, path: &Path) -> Result<(), StorageError> {
    match found {
        Some(found) if found > KNOWN_FORMAT => Err(newer(path, found)),
        _ => Ok(()),
    }
}

fn newer(path: &Path, found: u64) -> StorageError {
    StorageError::NewerFormat {
        path: path.to_owned(),
        found,
        known: KNOWN_FORMAT,
    }
}

fn open_error(error: DatabaseError, path: &Path) -> StorageError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StorageError::InUse {
            path: path.to_owned(),
            holder: String::new(),
        },
        other => engine(other),
    }
}
