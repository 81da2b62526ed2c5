//! The log that a coordinator keeps its state in, behind a trait: the broker's own internal log in
//! production, memory in tests.

use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use protocol::ids::Offset;

/// A shard of the coordinator: a partition of the internal log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record of the log. A later record replaces earlier ones with the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// What it speaks of.
    pub key: Bytes,
    /// Absent for a tombstone: the key is removed.
    pub value: Option<Bytes>,
}

impl LogRecord {
    /// Bytes of key and value.
    pub fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// What of a shard's log can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// The first record.
    pub start: Offset,
    /// After the last durable record (the high watermark).
    pub end: Offset,
}

/// Why the log refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupLogError {
    /// It cannot write now (a full disk, a full queue); later it may.
    #[error("group log cannot write now")]
    TryAgain,
    /// It takes no more writes until the broker is restarted.
    #[error("group log is offline")]
    Offline,
    /// The records are larger than the log allows.
    #[error("records are too large for the group log")]
    TooLarge,
    /// What it holds cannot be read.
    #[error("group log is damaged: {0}")]
    Damaged(String),
}

/// An append-only log per shard.
pub trait GroupLog: Send + Sync + 'static {
    /// Appends records as one batch. Appends to a shard are ordered by the *calls*, whatever the
    /// order in which the futures are polled. The future ends when the records are past the high
    /// watermark, with the offset after the last one.
    ///
    /// # Errors
    /// See [`GroupLogError`]. After an error none of the records is, or becomes, visible, unless
    /// the log went offline: then a restart may find them.
    fn append(
        &self,
        shard: ShardId,
        records: Vec<LogRecord>,
    ) -> BoxFuture<'static, Result<Offset, GroupLogError>>;

    /// What can be replayed.
    fn bounds(&self, shard: ShardId) -> BoxFuture<'static, Result<LogBounds, GroupLogError>>;

    /// All records from an offset up to the high watermark at the time of the call, each with its
    /// offset. `from` must lie within the bounds.
    fn replay(
        &self,
        shard: ShardId,
        from: Offset,
    ) -> BoxStream<'static, Result<(Offset, LogRecord), GroupLogError>>;

    /// Records below `offset` are no longer needed.
    fn release_before(
        &self,
        shard: ShardId,
        offset: Offset,
    ) -> BoxFuture<'static, Result<(), GroupLogError>>;
}
