//! What can go wrong with a log, per operation, and what the caller can do.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::batch::ProducerScheme;
use protocol::ids::{LeaderEpoch, Offset};

/// Why a log takes no more writes, or none of anything.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OfflineCause {
    /// An fdatasync failed: what is on disk is unknown. Only recovery at the next start helps.
    #[error("fdatasync of {} failed: {error}", path.display())]
    SyncFailed {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// A failed write could not be taken back.
    #[error("a failed write to {} could not be undone: {error}", path.display())]
    UndoFailed {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// Bytes that had been synced are damaged. Nothing was cut.
    #[error("{} is corrupt at byte {position}, offset {offset}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damaged frame begins.
        position: u64,
        /// The offset that was expected there.
        offset: Offset,
        /// What does not hold.
        what: &'static str,
    },
    /// The log was closed for shutdown or removal.
    #[error("the log is closed")]
    Closed,
}

/// Why an append was refused. Nothing of the append is in the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The sequence is neither the next one nor one of the last five batches.
    #[error("out of order sequence {found} of producer {producer_id}, expected {expected}")]
    OutOfOrderSequence {
        /// Who.
        producer_id: i64,
        /// The next sequence in order.
        expected: i32,
        /// What came.
        found: i32,
    },
    /// A newer epoch of the producer has written already.
    #[error("producer {producer_id} has epoch {current}, the batch has {found}")]
    FencedProducer {
        /// Who.
        producer_id: i64,
        /// The newest epoch.
        current: i16,
        /// What came.
        found: i16,
    },
    /// The id belongs to the other wire's numbering.
    #[error("producer id {producer_id} is in use as a {scheme:?} id")]
    WrongScheme {
        /// Who.
        producer_id: i64,
        /// The scheme the id is known under.
        scheme: ProducerScheme,
    },
    /// The caller's epoch is not this log's: it should refresh and go to the leader.
    #[error("leader epoch is {current}, the append was for {expected}")]
    FencedLeader {
        /// The log's epoch.
        current: LeaderEpoch,
        /// The caller's epoch.
        expected: LeaderEpoch,
    },
    /// The disk is full; reads go on, and writes will when there is space.
    #[error("no space left on disk")]
    DiskFull,
    /// The write failed and was taken back; trying again may help.
    #[error("write failed: {0}")]
    Io(Arc<io::Error>),
    /// The log takes no writes.
    #[error("the log is offline: {0}")]
    Offline(OfflineCause),
    /// Too many appends wait for the disk; trying again later helps.
    #[error("too many appends wait for the disk")]
    QueueFull,
    /// Offsets would pass 2⁶³.
    #[error("the log has no offsets left")]
    OffsetsExhausted,
}

/// Why a read failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the log start or past the log end.
    #[error("offset {offset} is outside of {log_start}..={log_end}")]
    OutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// First offset of the log.
        log_start: Offset,
        /// Offset after the last one.
        log_end: Offset,
    },
    /// The stored bytes are damaged.
    #[error("the log is corrupt: {0}")]
    Corrupt(OfflineCause),
    /// The system could not read.
    #[error("read failed: {0}")]
    Io(Arc<io::Error>),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        ReadError::Io(Arc::new(error))
    }
}

/// Why a log could not be opened, or a part of its care failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refused a file operation.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was tried, such as "cannot open".
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A file is of a format that this version does not know.
    #[error("{} has {what}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is not understood.
        what: String,
    },
    /// The log is offline.
    #[error(transparent)]
    Offline(#[from] OfflineCause),
}

impl LogError {
    /// For `map_err`: adds what was tried on which path.
    pub(super) fn io(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_path_buf();
        move |error| LogError::Io { what, path, error }
    }
}
