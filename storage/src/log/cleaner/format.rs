//! What the cleaner must know of a batch format: the keys in a batch, and how to leave some of its
//! records out.

use std::ops::Range;

use protocol::ids::Offset;

use crate::log::frame::FrameHeader;

/// One record of a batch, as the cleaner judges it.
#[derive(Debug, Clone)]
pub struct KeyedRecord {
    /// Where its key lies in the arena; `None` for a record without a key, which nobody can ask
    /// for in a compacted log.
    pub key: Option<Range<usize>>,
    /// Its offset.
    pub offset: Offset,
    /// It says that its key has no value.
    pub tombstone: bool,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is the newest of its key.
    Newest,
    /// It stays, though it may not be the newest of its key: that is not known yet, or what comes
    /// after it is not durable yet.
    Undecided,
    /// It goes.
    Gone,
}

impl Fate {
    /// True when the record stays.
    pub fn stays(self) -> bool {
        self != Fate::Gone
    }
}

/// What the records of a frame become.
#[derive(Debug)]
pub struct Judged<'a> {
    /// In the order of the records that [`RecordFormat::read`] gave.
    pub fates: &'a [Fate],
    /// A tombstone stays and the batch has no delete horizon yet: this becomes it, epoch
    /// milliseconds.
    pub new_horizon: Option<i64>,
}

/// Why a batch could not be read. It was checked before it was appended.
#[derive(Debug, thiserror::Error)]
#[error("a batch cannot be read: {0}")]
pub struct UnreadableBatch(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl UnreadableBatch {
    /// For `map_err`.
    pub fn from(error: impl std::error::Error + Send + Sync + 'static) -> UnreadableBatch {
        UnreadableBatch(Box::new(error))
    }
}

/// Reads and rewrites the batches of one log. Keeps working memory from batch to batch.
pub trait RecordFormat: Send {
    /// True when records build on those before them, so that what a round leaves makes sense only
    /// as a whole: its segments are put in place together, or none is.
    fn goes_as_a_whole(&self) -> bool {
        false
    }

    /// Appends to `arena` what [`RecordFormat::rewrite`] will need besides the batch, and the keys,
    /// and to `records` the records that are judged. Control batches are not given here.
    fn read(
        &mut self,
        header: &FrameHeader,
        batch: &[u8],
        arena: &mut Vec<u8>,
        records: &mut Vec<KeyedRecord>,
    ) -> Result<(), UnreadableBatch>;

    /// From when on the tombstones of this batch may go, epoch milliseconds; `None` when that is
    /// not settled yet.
    fn delete_horizon(&self, header: &FrameHeader, batch: &[u8]) -> Option<i64>;

    /// True when the batch must change though none of its records goes.
    fn must_rewrite(
        &self,
        header: &FrameHeader,
        records: &[KeyedRecord],
        judged: &Judged<'_>,
    ) -> bool;

    /// Writes the batch without the records that go, as one or more frames that take the offsets of
    /// the old one. When none stays, that is one empty batch. `kept` is what
    /// [`RecordFormat::read`] appended to the arena, before the keys.
    fn rewrite(
        &mut self,
        frame: Rewrite<'_>,
        write: &mut dyn FnMut(&FrameHeader, &[u8]) -> std::io::Result<()>,
    ) -> Result<(), RewriteError>;
}

/// A frame to rewrite.
pub struct Rewrite<'a> {
    /// Its header.
    pub header: &'a FrameHeader,
    /// Its batch.
    pub batch: &'a [u8],
    /// What [`RecordFormat::read`] appended to the arena for it.
    pub extra: &'a [u8],
    /// Its records.
    pub records: &'a [KeyedRecord],
    /// What becomes of them.
    pub judged: Judged<'a>,
}

/// Why a batch could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableBatch),
    /// The new file cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
