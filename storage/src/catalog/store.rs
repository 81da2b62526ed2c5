//! Where the catalog's records lie: keys and values, changed by atomic, durable commits.

pub mod memory;
pub mod redb;
#[cfg(test)]
mod tests;

use std::io;

/// One record comes or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange {
    /// Sets a record.
    Put {
        /// Its key.
        key: String,
        /// Its bytes.
        value: Vec<u8>,
    },
    /// Removes a record; a missing one is no error.
    Delete {
        /// Its key.
        key: String,
    },
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Nothing was changed, and a later try may succeed.
    #[error("disk is full")]
    Full(#[source] io::Error),
    /// The disk failed. Whether the change happened is not known.
    #[error("disk")]
    Io(#[source] io::Error),
    /// The store's own structure is damaged, or it is in use by another process.
    #[error("{0}")]
    Damaged(String),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(error),
            _ => StoreError::Io(error),
        }
    }
}

/// Keeps records. There is one writer, the [`Catalog`](super::Catalog), which reads everything once
/// and keeps what it read; a store shared by several brokers makes sure of that by the ownership it
/// grants.
///
/// All implementations run the suite in `tests.rs`.
pub trait CatalogStore: Send + Sync + 'static {
    /// All records in the order of their keys.
    fn load(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Makes all changes, or none, and returns when they are durable. Later changes of one key win
    /// over earlier ones. After an error other than [`StoreError::Full`] it is not known which of
    /// the two happened until the next start.
    fn commit(&self, changes: &[RecordChange]) -> Result<(), StoreError>;
}
