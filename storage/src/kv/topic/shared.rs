//! What the indexes of topics share, and which index is whose.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::ids::{SchemaId, TableId, TabletId};

use super::entry::FORM;
use crate::kv::index::{IndexError, IndexSpec, IndexStore};
use crate::kv::open_index::OpenIndexes;
use crate::threads::Workers;

/// What all indexes of topics share.
pub struct TopicIndexes {
    pub(super) indexes: OpenIndexes,
    /// Indexes that follow their logs at the same time. Each may hold one decompressed batch.
    pub(super) workers: Workers,
}

impl TopicIndexes {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(store: Arc<dyn IndexStore>, threads: usize) -> std::io::Result<Arc<TopicIndexes>> {
        Ok(Arc::new(TopicIndexes {
            indexes: OpenIndexes::new(store),
            workers: Workers::start("topic-index", threads)?,
        }))
    }
}

impl TopicIndexes {
    /// Removes the index in a directory, once it is not open.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn discard(&self, directory: &Path) -> Result<(), IndexError> {
        self.indexes.discard(&IndexSpec {
            directory: directory.to_path_buf(),
            identity: [0; 16],
            counts_rows: false,
            prefix: Vec::new(),
        })
    }
}

/// Which index it is.
#[derive(Debug, Clone)]
pub struct TopicIndexSpec {
    /// Where its files are.
    pub directory: PathBuf,
    /// The number of the table on the Fluss wire: the index of what the topic was before it was
    /// compacted again is none of it.
    pub table: TableId,
    /// The schema of the rows.
    pub schema_id: SchemaId,
}

impl TopicIndexSpec {
    pub(super) fn index(&self, tablet: TabletId) -> IndexSpec {
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&self.table.value().to_le_bytes());
        identity[8..12].copy_from_slice(&tablet.bucket.value().to_le_bytes());
        identity[12..].copy_from_slice(&FORM);
        IndexSpec {
            directory: self.directory.clone(),
            identity,
            counts_rows: false,
            prefix: Vec::new(),
        }
    }
}
