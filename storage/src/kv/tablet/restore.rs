//! An index that is lost is taken from a backup, where there is one, so that only what the backup
//! lacks is replayed from the log.

use std::path::Path;
use std::sync::atomic::Ordering;

use protocol::ids::{Offset, TabletId};
use thiserror::Error;

use super::{Inner, OpenIndexError};
use crate::kv::open_index::Opened;

/// Why a backup is not there after all. The index is made from the log instead.
#[derive(Debug, Error)]
#[error("the backup of an index cannot be fetched: {0}")]
pub struct RestoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Backups of indexes in another place.
pub trait IndexBackups: Send + Sync {
    /// How far the newest backup of a tablet's index is; none when there is none.
    fn newest(&self, tablet: TabletId) -> Option<Offset>;

    /// Copies the files of the newest backup into a directory, which does not exist. They are
    /// durable when this returns. Blocks.
    ///
    /// # Errors
    /// There is none any more, or its place does not answer.
    fn fetch(&self, tablet: TabletId, directory: &Path) -> Result<(), RestoreError>;
}

impl Inner {
    /// What was opened, or a backup instead when that is empty because the index was lost.
    pub(super) fn restored(&self, opened: Opened, damaged: bool) -> Result<Opened, OpenIndexError> {
        // A backup that turned out damaged would turn out so again.
        let again = damaged && self.restored.swap(false, Ordering::Relaxed);
        let log = self.log.log();
        let (Some(backups), Some(_), false) =
            (self.resources.backups.get(), &opened.rebuild, again)
        else {
            return Ok(opened);
        };
        let empty_at = opened.index.state().applied;
        match backups.newest(log.id()) {
            Some(newest) if newest > empty_at && newest <= log.watermarks().log_end => {}
            _ => return Ok(opened),
        }
        let Opened { index, rebuild } = opened;
        drop(index);
        // What stops here leaves no index, and the next attempt comes here again.
        self.resources.indexes.discard(&self.spec)?;
        match self.fetch(backups.as_ref()) {
            Ok(()) => self.restored.store(true, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(log = %log.id(), %error, "the index is made from its whole log");
            }
        }
        let opened = self.resources.indexes.open(&self.spec, log)?;
        if let Some(reason) = &opened.rebuild
            && self.restored.swap(false, Ordering::Relaxed)
        {
            tracing::warn!(log = %log.id(), %reason, "the backup does not fit, the index is made from its whole log");
        }
        Ok(Opened {
            index: opened.index,
            // Why it was lost in the first place.
            rebuild: rebuild.or(opened.rebuild),
        })
    }

    fn fetch(&self, backups: &dyn IndexBackups) -> Result<(), RestoreError> {
        let failed = |error: std::io::Error| RestoreError(error.into());
        let disk = &self.log.log().context().env.disk;
        let target = &self.spec.directory;
        let arriving = target.with_extension("restoring");
        disk.remove_directory(&arriving).map_err(failed)?;
        backups.fetch(self.log.log().id(), &arriving)?;
        disk.remove_directory(target).map_err(failed)?;
        disk.rename(&arriving, target).map_err(failed)?;
        match target.parent() {
            Some(parent) => disk.sync_directory(parent).map_err(failed),
            None => Ok(()),
        }
    }
}
