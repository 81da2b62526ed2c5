//! Where the indexes of buckets come from.

use std::sync::Arc;

use super::rocks::{OpenError, RocksIndex, RocksShared};
use super::{Index, IndexError, IndexSpec, LogEnds, Rebuild};

/// An index that is open. What it lacks, a replay of the log from its applied offset on gives it.
pub struct OpenedIndex {
    /// The index.
    pub index: Arc<dyn Index>,
    /// Why it begins empty at the start of the log; none when what was there is good.
    pub rebuild: Option<Rebuild>,
}

/// Memory that indexes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexUsage {
    /// Bytes of blocks in the cache, write buffers included.
    pub cache_bytes: usize,
    /// Bytes of write buffers.
    pub write_buffers_bytes: usize,
    /// Bytes of rows in memory, besides the cache.
    pub row_cache_bytes: u64,
}

/// Opens and makes indexes. Blocks.
pub trait IndexStore: Send + Sync {
    /// Opens the index of a log; makes an empty one where there is none that can be used.
    ///
    /// # Errors
    /// The disk refuses.
    fn open(&self, spec: &IndexSpec, log: &dyn LogEnds) -> Result<OpenedIndex, IndexError>;

    /// Memory in use by all its indexes.
    fn usage(&self) -> IndexUsage {
        IndexUsage::default()
    }

    /// Removes an index that is not open and was found damaged.
    ///
    /// # Errors
    /// The disk refuses.
    fn discard(&self, spec: &IndexSpec) -> Result<(), IndexError>;
}

impl IndexStore for RocksShared {
    fn open(&self, spec: &IndexSpec, log: &dyn LogEnds) -> Result<OpenedIndex, IndexError> {
        match RocksIndex::open(spec, self, log) {
            Ok(index) => Ok(OpenedIndex {
                index: Arc::new(index),
                rebuild: None,
            }),
            Err(OpenError::Index(error)) => Err(error),
            Err(OpenError::Rebuild(reason)) => {
                let created = RocksIndex::create(spec, self, log.log_start());
                let index = created.map_err(|error| match error {
                    OpenError::Index(error) => error,
                    OpenError::Rebuild(reason) => IndexError::Failed(reason.to_string()),
                })?;
                Ok(OpenedIndex {
                    index: Arc::new(index),
                    rebuild: Some(reason),
                })
            }
        }
    }

    fn usage(&self) -> IndexUsage {
        RocksShared::usage(self)
    }

    fn discard(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        RocksIndex::destroy(&spec.directory)
    }
}
