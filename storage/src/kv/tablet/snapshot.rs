//! The files of an index as they are at one moment, for whoever copies them to another place.

use std::path::Path;
use std::sync::atomic::Ordering;

use protocol::ids::Offset;
use thiserror::Error;

use super::{KvTablet, Slot};
use crate::kv::auto_increment::IdRange;
use crate::kv::index::{IndexError, LinkedFiles};
use crate::log::OfflineCause;

/// Why there are no files.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SnapshotError {
    #[error(transparent)]
    Index(#[from] IndexError),
    /// What the index has may not survive in the log.
    #[error("log is offline: {0}")]
    Offline(OfflineCause),
}

/// An index as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvSnapshot {
    /// The files.
    pub files: LinkedFiles,
    /// Numbers for the auto-increment column that the bucket had and did not hand out.
    pub ids: Option<IdRange>,
}

impl KvTablet {
    /// How far the index is; none while it is not open, when nothing can have changed.
    pub fn applied(&self) -> Option<Offset> {
        let index = self.inner.index.read();
        index.as_ref().map(|index| index.state().applied)
    }

    /// Makes the index's files appear in a directory of the same disk, which must not exist. What
    /// they have is durable in the log when this returns, so that they never show what a crash took
    /// from it. None while the index is not open. Puts of the bucket wait a moment. Blocks.
    ///
    /// # Errors
    /// The disk refuses; the directory is to be removed.
    pub fn link_files(&self, directory: &Path) -> Result<Option<KvSnapshot>, SnapshotError> {
        let inner = &self.inner;
        // Most of what is in memory goes to disk while puts go on.
        let Some(index) = inner.index.read().clone() else {
            return Ok(None);
        };
        index.flush()?;
        drop(index);
        let snapshot = {
            let mut slot = inner.core.lock();
            let Slot::Open(core) = &mut *slot else {
                return Ok(None);
            };
            // Nothing is applied while the lane is held up here.
            let files = core.index.link_files(directory)?;
            let applied = files.state.applied.value();
            inner.flushed.fetch_max(applied, Ordering::Relaxed);
            KvSnapshot {
                files,
                ids: core.writer.ids().map(|ids| ids.range()),
            }
        };
        // In page-cache mode the index is ahead of what a power loss leaves of the log.
        inner.log.log().sync().map_err(SnapshotError::Offline)?;
        Ok(Some(snapshot))
    }
}
