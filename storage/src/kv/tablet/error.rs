//! What goes wrong with the keys of a bucket.

use std::sync::Arc;

use protocol::fluss::kv_batch::KvBatchError;
use protocol::ids::Offset;
use thiserror::Error;

use crate::kv::index::IndexError;
use crate::kv::merge::PlanError;
use crate::kv::replay::ReplayError;
use crate::kv::writer::PutError;
use crate::log::{AppendError, OfflineCause, ReadError};

/// Why a batch is not put. The client is wrong.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidPut {
    #[error(transparent)]
    Batch(#[from] KvBatchError),
    /// It asks for what the table cannot do.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Why rows were not written or read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum KvError {
    /// The table was altered since the batch was checked.
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Put(#[from] PutError),
    #[error("the log refused the changelog")]
    Append(#[from] AppendError),
    /// Trying again later helps.
    #[error("{bytes} bytes wait for the bucket, more than {max}")]
    QueueFull { bytes: usize, max: usize },
    #[error("the index does not answer")]
    Index(#[source] IndexError),
    #[error("the index cannot be opened")]
    Open(#[source] Arc<OpenIndexError>),
    /// Fewer keys at a time would fit.
    #[error("the answer is larger than {max} bytes")]
    AnswerTooLarge { max: usize },
    #[error("the bucket is closed")]
    Closed,
}

impl From<OpenIndexError> for KvError {
    fn from(error: OpenIndexError) -> Self {
        KvError::Open(Arc::new(error))
    }
}

impl KvError {
    /// True when the bucket was too busy and a retry will find it less so (Fluss error 72).
    pub fn is_too_busy(&self) -> bool {
        match self {
            KvError::QueueFull { .. } => true,
            KvError::Put(PutError::Full(full)) => full.retriable,
            _ => false,
        }
    }
}

/// Why the index of a bucket is not open. It is tried again at the next use.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OpenIndexError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("the log is offline: {0}")]
    Offline(OfflineCause),
    #[error("the changelog cannot be read")]
    Read(#[from] ReadError),
    /// A batch of the log is none of a changelog of this table.
    #[error("the changelog at offset {offset} cannot be replayed")]
    Replay { offset: Offset, source: ReplayError },
    #[error("the table's shape does not allow replay")]
    Shape(#[source] ReplayError),
    /// An attempt failed a moment ago.
    #[error("{0}")]
    Recently(String),
}

impl OpenIndexError {
    /// True when the next attempt removes the index and makes it anew.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, OpenIndexError::Index(IndexError::Corrupt(_)))
    }
}
