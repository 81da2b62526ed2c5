//! The embedded store: a `redb` database in one file of the data directory.
//!
//! The file is made under another name and renamed when it is a durable, empty database, so that
//! a crash in between leaves nothing that looks like a damaged one.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};

use super::{CatalogStore, RecordChange, StoreError};
use crate::env::{Disk, DiskFile, OpenMode};

/// The file in the directory that the store is given.
pub const FILE_NAME: &str = "catalog.redb";
const FILE_NAME_NEW: &str = "catalog.redb.new";

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// One row: how many commits there were. It tells after a full disk whether the last one happened.
const COMMITS: TableDefinition<'_, (), u64> = TableDefinition::new("commits");

/// Bytes of pages that redb keeps. All records are read once at the start and kept by the catalog,
/// so that the pages serve writing alone.
const CACHE_BYTES: usize = 1 << 20;

/// A `redb` database on a [`Disk`].
pub struct RedbStore {
    file: Arc<dyn DiskFile>,
    open: Mutex<Open>,
}

struct Open {
    /// None after a full disk, until it can be opened again.
    database: Option<Database>,
    commits: u64,
}

impl RedbStore {
    /// Opens the store in `directory`, or makes an empty one there. The directory must exist.
    pub fn open(disk: &dyn Disk, directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        if disk.exists(&path)? {
            let file = disk.open(&path, OpenMode::ReadWrite)?;
            return RedbStore::on(file);
        }
        let path_new = directory.join(FILE_NAME_NEW);
        let file = disk.open(&path_new, OpenMode::CreateOrTruncate)?;
        let store = RedbStore::on(Arc::clone(&file))?;
        file.sync_data()?;
        disk.rename(&path_new, &path)?;
        disk.sync_directory(directory)?;
        Ok(store)
    }

    fn on(file: Arc<dyn DiskFile>) -> Result<Self, StoreError> {
        let database = open_database(&file)?;
        let commits = count_commits(&database)?;
        Ok(RedbStore {
            file,
            open: Mutex::new(Open {
                database: Some(database),
                commits,
            }),
        })
    }
}

impl Open {
    /// redb refuses everything after an error; opening it again brings it back to its last commit.
    fn database(&mut self, file: &Arc<dyn DiskFile>) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            let database = open_database(file)?;
            self.commits = count_commits(&database)?;
            self.database = Some(database);
        }
        Ok(self.database.as_ref().expect("it was opened just now"))
    }
}

fn open_database(file: &Arc<dyn DiskFile>) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let backend = Backend {
        file: Arc::clone(file),
    };
    builder
        .create_with_backend(backend)
        .map_err(|error| match error {
            DatabaseError::Storage(error) => store_error(error),
            other => StoreError::Damaged(other.to_string()),
        })
}

fn count_commits(database: &Database) -> Result<u64, StoreError> {
    let transaction = database.begin_read().map_err(store_error)?;
    let table = match transaction.open_table(COMMITS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
        Err(error) => return Err(store_error(error)),
    };
    let row = table.get(()).map_err(store_error)?;
    Ok(row.map_or(0, |row| row.value()))
}

impl CatalogStore for RedbStore {
    fn load(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let mut open = self.open.lock();
        let transaction = open
            .database(&self.file)?
            .begin_read()
            .map_err(store_error)?;
        let table = match transaction.open_table(RECORDS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(store_error(error)),
        };
        let mut records = Vec::new();
        for entry in table.iter().map_err(store_error)? {
            let (key, value) = entry.map_err(store_error)?;
            records.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(records)
    }

    fn commit(&self, changes: &[RecordChange]) -> Result<(), StoreError> {
        let mut open = self.open.lock();
        open.database(&self.file)?;
        let commits = open.commits + 1;
        match write(open.database(&self.file)?, changes, commits) {
            Ok(()) => {
                open.commits = commits;
                Ok(())
            }
            Err(StoreError::Full(error)) => {
                // Closed before it is opened again: two on one file would not see each other.
                open.database = None;
                // Not opened: the next call tries again, and it was not committed, because redb
                // grows the file before it writes the commit.
                let is_open = open.database(&self.file).is_ok();
                if is_open && open.commits == commits {
                    Ok(())
                } else {
                    Err(StoreError::Full(error))
                }
            }
            Err(error) => Err(error),
        }
    }
}

fn write(database: &Database, changes: &[RecordChange], commits: u64) -> Result<(), StoreError> {
    let mut transaction = database.begin_write().map_err(store_error)?;
    // Clients choose what stands in the records: a commit must not rest on a checksum alone, which
    // they could forge.
    transaction.set_two_phase_commit(true);
    {
        let mut table = transaction.open_table(RECORDS).map_err(store_error)?;
        for change in changes {
            match change {
                RecordChange::Put { key, value } => {
                    table
                        .insert(key.as_str(), value.as_slice())
                        .map_err(store_error)?;
                }
                RecordChange::Delete { key } => {
                    table.remove(key.as_str()).map_err(store_error)?;
                }
            }
        }
        let mut table = transaction.open_table(COMMITS).map_err(store_error)?;
        table.insert((), commits).map_err(store_error)?;
    }
    transaction.commit().map_err(store_error)
}

fn store_error(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => error.into(),
        other => StoreError::Damaged(other.to_string()),
    }
}

/// redb's view of a file.
struct Backend {
    file: Arc<dyn DiskFile>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        if self.file.read_at(out, offset)? < out.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_length(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write_all_at(&[IoSlice::new(data)], offset)
    }
}
