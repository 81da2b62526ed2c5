//! The index of a bucket: key bytes to stored value, in key order, and how far the changelog is in
//! it.
//!
//! The log is the truth. An index lags behind it, is brought up to it by a replay, and is thrown
//! away when it does not fit ([`check`]). Everything here may wait for a disk.
//!
//! *Invariant*: a batch of changes and the state that goes with it are written as one. After a
//! crash the index is as it was after one of its batches, not necessarily the last one; to apply
//! offsets again that it already has changes nothing.

mod found;
pub mod memory;
pub mod rocks;
mod store;

pub use found::FoundRows;
pub use store::{IndexStore, IndexUsage, OpenedIndex};

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use protocol::ids::{LeaderEpoch, Offset};
use protocol::schema::DataType;
use thiserror::Error;

use crate::log::Log;

/// Why the index does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum IndexError {
    /// It must be rebuilt.
    #[error("index is corrupt: {0}")]
    Corrupt(String),
    /// Disk full, too many open files, and the like.
    #[error("index failed: {0}")]
    Failed(String),
}

/// How far an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexState {
    /// It has the changes of all offsets below this one.
    pub applied: Offset,
    /// The epoch under which the last of them was appended; none without any. A log that lost its
    /// tail and grew again has another one there.
    pub epoch: Option<LeaderEpoch>,
    /// Its rows; none for tables that do not count them (changelog image WAL).
    pub row_count: Option<i64>,
}

/// Which index a bucket has to have.
#[derive(Debug, Clone)]
pub struct IndexSpec {
    /// Where its files are.
    pub directory: PathBuf,
    /// Tells this bucket's log from any other, also from earlier ones of the same name.
    pub identity: [u8; 16],
    /// Whether its state counts rows.
    pub counts_rows: bool,
    /// Types of the leading key columns that prefix lookups name; empty without such lookups.
    pub prefix: Vec<DataType>,
}

/// What a reader of rows does with a key and its stored value; it may break off.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// The same for many prefixes, with the position of the one that the key begins with.
pub type PrefixVisit<'v> = dyn FnMut(usize, &[u8], &[u8]) -> ControlFlow<()> + 'v;

/// The index of one bucket. One thread writes, any number reads.
pub trait Index: Send + Sync {
    /// How far it is, by its last batch.
    fn state(&self) -> IndexState;

    /// Looks keys up, in the order of `keys`; `found` is cleared first. Goes no further once `found`
    /// [is over](FoundRows::is_over) its bound.
    fn get_many(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<(), IndexError>;

    /// As [`Index::get_many`], for a reader who may ask again: what is found may stay in memory. What
    /// a merge asks for is replaced at once, as a rule once.
    fn look_up(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<(), IndexError> {
        self.get_many(keys, found)
    }

    /// As [`Index::look_up`], without waiting for a disk; false, and nothing of use in `found`, where
    /// it would have to; true as well when it stopped at the bound of `found`.
    fn look_up_cached(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<bool, IndexError>;

    /// Visits, for one prefix after the other, the rows whose keys begin with it, in key order. A
    /// prefix is the encoding of the leading key columns that the table looks up by. Unless it
    /// `may_wait` for a disk, it may find that it has to, and returns false, having visited some.
    fn scan_prefixes(
        &self,
        prefixes: &[&[u8]],
        may_wait: bool,
        visit: &mut PrefixVisit<'_>,
    ) -> Result<bool, IndexError>;

    /// Begins a batch of changes.
    fn start(&self) -> Box<dyn IndexBatch + '_>;

    /// The rows as they are now, whatever is written meanwhile. Holds space while it lives.
    fn view(&self) -> Result<Box<dyn IndexView + '_>, IndexError>;

    /// How it copes with its writes.
    fn pressure(&self) -> IndexPressure {
        IndexPressure::default()
    }

    /// Writes to disk what only memory has, so that a restart replays less.
    fn flush(&self) -> Result<(), IndexError>;

    /// Makes the index's files, with all that was written, appear in another directory of the same
    /// disk, which must not exist; files that never change are linked. They open as an index with
    /// the state that is returned, as long as nothing is written meanwhile.
    ///
    /// # Errors
    /// The disk refuses, or the index has no files.
    fn link_files(&self, directory: &Path) -> Result<LinkedFiles, IndexError> {
        let directory = directory.display();
        let reason = format!("an index without files cannot appear in {directory}");
        Err(IndexError::Failed(reason))
    }
}

/// What was linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedFiles {
    /// How far the files are.
    pub state: IndexState,
    /// Tells the database from any other. Files of one name that two links of one database have are
    /// the same file; those of another database may have their names, and be others.
    pub database: String,
}

/// How an index copes with its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexPressure {
    /// Bytes in memory that are not on disk.
    pub memory_bytes: u64,
    /// Files that every lookup may have to ask.
    pub overlapping_files: u64,
    /// Bytes that compaction has to write.
    pub compaction_bytes: u64,
    /// Writes wait.
    pub writes_stopped: bool,
    /// Bytes of its files.
    pub disk_bytes: u64,
}

/// Changes that become visible and durable together.
pub trait IndexBatch {
    /// The key gets this stored value.
    fn put(&mut self, key: &[u8], value: &[u8]);

    /// The key goes.
    fn remove(&mut self, key: &[u8]);

    /// Writes the changes and the state after them.
    fn commit(self: Box<Self>, state: IndexState) -> Result<(), IndexError>;
}

/// An index at one moment.
pub trait IndexView {
    /// How far it was.
    fn state(&self) -> IndexState;

    /// Visits the rows behind key `after`, or from the first one on, in key order.
    fn scan(&self, after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), IndexError>;
}

/// Why an index cannot be used and has to be made again from the log or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Rebuild {
    #[error("there is no index yet")]
    Absent,
    #[error("the index is corrupt: {0}")]
    Corrupt(String),
    #[error("the index has another form or belongs to another bucket: {0}")]
    Foreign(String),
    /// The log lost what was not durable.
    #[error("the index has offsets below {applied}, the log ends at {log_end}")]
    Ahead { applied: Offset, log_end: Offset },
    /// The log lost what was not durable, and got something else since.
    #[error(
        "the offsets below {applied} that the index has were appended under {indexed:?}, those of \
         the log under {found:?}"
    )]
    Diverged {
        applied: Offset,
        indexed: Option<LeaderEpoch>,
        found: Option<LeaderEpoch>,
    },
    /// Retention or the cleaner removed what the index lacks.
    #[error("the index has offsets below {applied}, the log starts at {log_start}")]
    Behind { applied: Offset, log_start: Offset },
}

/// What an index is judged by.
pub trait LogEnds {
    /// First offset of the log.
    fn log_start(&self) -> Offset;

    /// Offset after the last record that was appended.
    fn log_end(&self) -> Offset;

    /// The epoch under which the record at `offset` was appended, where that is still known.
    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch>;
}

impl LogEnds for Log {
    fn log_start(&self) -> Offset {
        self.watermarks().log_start
    }

    fn log_end(&self) -> Offset {
        self.watermarks().log_end
    }

    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        Log::epoch_at(self, offset)
    }
}

/// The epoch that an index has which is brought up to `end`.
pub fn epoch_below(log: &dyn LogEnds, end: Offset) -> Option<LeaderEpoch> {
    (end > Offset::ZERO)
        .then(|| log.epoch_at(end + -1))
        .flatten()
}

/// Whether an index that is this far can be brought up to the log by a replay.
///
/// # Errors
/// It cannot; the index has to be made again.
pub fn check(state: IndexState, log: &dyn LogEnds) -> Result<(), Rebuild> {
    let (applied, log_start, log_end) = (state.applied, log.log_start(), log.log_end());
    if applied > log_end {
        return Err(Rebuild::Ahead { applied, log_end });
    }
    if applied < log_start {
        return Err(Rebuild::Behind { applied, log_start });
    }
    let (indexed, found) = (state.epoch, epoch_below(log, applied));
    if indexed != found {
        return Err(Rebuild::Diverged {
            applied,
            indexed,
            found,
        });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod conformance;
