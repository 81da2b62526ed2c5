//! Log batches of the Fluss wire, in memory as on the wire and in segments.
//!
//! ```text
//!                       V0   V1   V2
//! base offset      i64   0    0    0    assigned by the log
//! length           i32   8    8    8    bytes after this field
//! magic            i8   12   12   12
//! commit time      i64  13   13   13    assigned by the log
//! leader epoch     i32   -    -   21    assigned by the log
//! CRC-32C          u32  21   21   25    over everything after it
//! schema id        i16  25   25   29
//! attributes       i8   27   27   31    bit 0: append only
//! last offset delta i32 28   28   32
//! writer id        i64  32   32   36    -1: not idempotent
//! batch sequence   i32  40   40   44
//! record count     i32  44   44   48
//! statistics length i32  -   48   52
//! header size           48   52   56    then statistics, change types, records
//! ```
//!
//! All numbers are little-endian. Facts: Fluss log format, `LogRecordBatchFormat.java`.
//!
//! *Invariant*: what the log assigns lies before the CRC's range, so that it is patched without
//! touching the CRC.

mod build;
mod validate;

pub use build::{Assigned, BatchSpec, BuildError, Changes, build_arrow, build_empty, build_rows};
pub use validate::{InvalidBatch, Limits, SchemaLookup, ValidateContext, Validator};

use bytes::Bytes;
use thiserror::Error;

use crate::ids::{LeaderEpoch, Offset, SchemaId};

/// Bytes before the ones that the length field counts.
pub const LENGTH_OVERHEAD: usize = 12;
/// The smallest header, which is V0's.
pub const HEADER_LEN_MIN: usize = 48;
/// The largest header, which is V2's.
pub const HEADER_LEN_MAX: usize = 56;

const MAGIC_AT: usize = 12;
const COMMIT_TIME_AT: usize = 13;
const LEADER_EPOCH_AT: usize = 21;
const APPEND_ONLY: u8 = 1;

/// "No writer", as a batch says it.
pub const NO_WRITER: i64 = -1;
/// "No sequence", as a batch says it.
pub const NO_SEQUENCE: i32 = -1;

/// The version of a batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Magic {
    /// What clients write.
    V0,
    /// With statistics.
    V1,
    /// With a leader epoch and statistics.
    V2,
}

impl Magic {
    /// The version of a magic byte.
    pub const fn from_byte(byte: u8) -> Option<Magic> {
        match byte {
            0 => Some(Magic::V0),
            1 => Some(Magic::V1),
            2 => Some(Magic::V2),
            _ => None,
        }
    }

    /// Bytes of the header.
    pub const fn header_len(self) -> usize {
        match self {
            Magic::V0 => 48,
            Magic::V1 => 52,
            Magic::V2 => 56,
        }
    }

    /// Where the CRC stands; its range starts 4 bytes later.
    pub const fn crc_at(self) -> usize {
        match self {
            Magic::V0 | Magic::V1 => 21,
            Magic::V2 => 25,
        }
    }
}

/// What happened to a row. The numbers are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChangeType {
    /// `+A`, a row of a log table.
    AppendOnly = 0,
    /// `+I`, a new key.
    Insert = 1,
    /// `-U`, the row before an update.
    UpdateBefore = 2,
    /// `+U`, the row after an update.
    UpdateAfter = 3,
    /// `-D`, the last row of a key.
    Delete = 4,
}

impl ChangeType {
    /// The type of a byte of the wire.
    pub const fn from_byte(byte: u8) -> Option<ChangeType> {
        match byte {
            0 => Some(ChangeType::AppendOnly),
            1 => Some(ChangeType::Insert),
            2 => Some(ChangeType::UpdateBefore),
            3 => Some(ChangeType::UpdateAfter),
            4 => Some(ChangeType::Delete),
            _ => None,
        }
    }

    /// The byte of the wire.
    pub const fn byte(self) -> u8 {
        self as u8
    }
}

/// Why bytes are not a log batch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BatchError {
    #[error("batch is cut: {have} bytes of {need}")]
    Cut { have: usize, need: usize },
    #[error("batch magic {0} is unknown")]
    Magic(u8),
    #[error("batch length {0} is impossible")]
    Length(i32),
    #[error("batch statistics of {0} bytes do not fit the batch")]
    Statistics(i32),
}

/// Reads header fields from bytes that may hold only the beginning of a batch.
#[derive(Debug, Clone, Copy)]
pub struct HeaderView<'a> {
    bytes: &'a [u8],
    magic: Magic,
    len: usize,
}

impl<'a> HeaderView<'a> {
    /// Checks the header at the start of `bytes`; what follows it may be absent.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let cut = |need| BatchError::Cut {
            have: bytes.len(),
            need,
        };
        let magic = *bytes.get(MAGIC_AT).ok_or(cut(HEADER_LEN_MIN))?;
        let magic = Magic::from_byte(magic).ok_or(BatchError::Magic(magic))?;
        let header_len = magic.header_len();
        let header = bytes.get(..header_len).ok_or(cut(header_len))?;
        let length = i32::from_le_bytes(field(header, 8));
        let len = match usize::try_from(length) {
            Ok(n) if n + LENGTH_OVERHEAD >= header_len => n + LENGTH_OVERHEAD,
            _ => return Err(BatchError::Length(length)),
        };
        let view = HeaderView {
            bytes: header,
            magic,
            len,
        };
        let statistics = view.statistics_length_field();
        match usize::try_from(statistics) {
            Ok(n) if n <= len - header_len => Ok(view),
            _ => Err(BatchError::Statistics(statistics)),
        }
    }

    /// The header's version.
    pub fn magic(&self) -> Magic {
        self.magic
    }

    /// Bytes of the whole batch.
    pub fn batch_len(&self) -> usize {
        self.len
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> i64 {
        i64::from_le_bytes(field(self.bytes, 0))
    }

    /// When the batch was appended, epoch milliseconds.
    pub fn commit_time_ms(&self) -> i64 {
        i64::from_le_bytes(field(self.bytes, COMMIT_TIME_AT))
    }

    /// The epoch under which the batch was appended, where the version has it.
    pub fn leader_epoch(&self) -> Option<i32> {
        (self.magic == Magic::V2).then(|| i32::from_le_bytes(field(self.bytes, LEADER_EPOCH_AT)))
    }

    /// The CRC that the batch carries.
    pub fn crc(&self) -> u32 {
        u32::from_le_bytes(field(self.bytes, self.magic.crc_at()))
    }

    /// The schema of the rows.
    pub fn schema_id(&self) -> SchemaId {
        SchemaId::new(i16::from_le_bytes(field(
            self.bytes,
            self.magic.crc_at() + 4,
        )))
    }

    /// The attribute bits.
    pub fn attributes(&self) -> u8 {
        self.bytes[self.magic.crc_at() + 6]
    }

    /// True when all rows are `+A` and the batch has no change types.
    pub fn append_only(&self) -> bool {
        self.attributes() & APPEND_ONLY != 0
    }

    /// Offsets that the batch takes, minus one.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_le_bytes(field(self.bytes, self.magic.crc_at() + 7))
    }

    /// The writer's id; [`NO_WRITER`] when the writer is not idempotent.
    pub fn writer_id(&self) -> i64 {
        i64::from_le_bytes(field(self.bytes, self.magic.crc_at() + 11))
    }

    /// The writer's number of this batch.
    pub fn batch_sequence(&self) -> i32 {
        i32::from_le_bytes(field(self.bytes, self.magic.crc_at() + 19))
    }

    /// Rows in the batch.
    pub fn record_count(&self) -> i32 {
        i32::from_le_bytes(field(self.bytes, self.magic.crc_at() + 23))
    }

    /// Bytes of statistics after the header.
    pub fn statistics_len(&self) -> usize {
        usize::try_from(self.statistics_length_field()).expect("parse checked it")
    }

    /// Where change types or records start.
    pub fn records_at(&self) -> usize {
        self.magic.header_len() + self.statistics_len()
    }

    /// True for a batch without rows, which is only a header.
    pub fn is_header_only(&self) -> bool {
        self.len == self.magic.header_len()
    }

    fn statistics_length_field(&self) -> i32 {
        match self.magic {
            Magic::V0 => 0,
            Magic::V1 | Magic::V2 => {
                i32::from_le_bytes(field(self.bytes, self.magic.crc_at() + 27))
            }
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// One whole batch. Its header is checked, its contents are not: see [`Validator`].
#[derive(Debug, Clone)]
pub struct LogBatch {
    bytes: Bytes,
}

impl LogBatch {
    /// Takes the batch at the start of `bytes`; the rest of `bytes` is left behind.
    pub fn parse(bytes: &Bytes) -> Result<Self, BatchError> {
        let len = HeaderView::parse(bytes)?.batch_len();
        if bytes.len() < len {
            return Err(BatchError::Cut {
                have: bytes.len(),
                need: len,
            });
        }
        Ok(LogBatch {
            bytes: bytes.slice(..len),
        })
    }

    /// The header's fields.
    pub fn header(&self) -> HeaderView<'_> {
        HeaderView::parse(&self.bytes).expect("parse checked it")
    }

    /// All bytes of the batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes of the batch, which is given up.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// True when the CRC fits the bytes. Batches that a server has projected fail this.
    pub fn crc_holds(&self) -> bool {
        let header = self.header();
        crc32c::crc32c(&self.bytes[header.magic.crc_at() + 4..]) == header.crc()
    }

    /// The statistics block, empty where there is none.
    pub fn statistics(&self) -> Bytes {
        let header = self.header();
        self.bytes
            .slice(header.magic.header_len()..header.records_at())
    }

    /// Change types (unless append only) and records.
    pub fn records(&self) -> Bytes {
        self.bytes.slice(self.header().records_at()..)
    }

    /// Offset of the last record, or of the one offset that an empty batch takes.
    pub fn last_offset(&self) -> i64 {
        let header = self.header();
        header
            .base_offset()
            .wrapping_add(i64::from(header.last_offset_delta()))
    }
}

/// The batches of a plain concatenation, as PRODUCE_LOG carries them. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// The batches in `bytes`, one behind the other.
    pub fn new(bytes: Bytes) -> Self {
        Batches { rest: bytes }
    }
}

impl Iterator for Batches {
    type Item = Result<LogBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = LogBatch::parse(&self.rest);
        self.rest = match &batch {
            Ok(batch) => self.rest.slice(batch.bytes.len()..),
            Err(_) => Bytes::new(),
        };
        Some(batch)
    }
}

/// Writes what the log assigned into a batch. The CRC stays valid.
///
/// `batch` starts with a batch's header; its version decides whether the epoch has a place.
pub fn patch_assigned(
    batch: &mut [u8],
    base_offset: Offset,
    commit_time_ms: i64,
    leader_epoch: LeaderEpoch,
) -> Result<(), BatchError> {
    let magic = HeaderView::parse(batch)?.magic();
    batch[..8].copy_from_slice(&base_offset.value().to_le_bytes());
    batch[COMMIT_TIME_AT..COMMIT_TIME_AT + 8].copy_from_slice(&commit_time_ms.to_le_bytes());
    if magic == Magic::V2 {
        let epoch = leader_epoch.value().to_le_bytes();
        batch[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&epoch);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fluss::vectors;

    #[test]
    fn the_header_of_a_client_batch_is_read() {
        let batch = LogBatch::parse(&vectors::APPEND_ONLY.bytes()).unwrap();
        let header = batch.header();
        assert_eq!(header.magic(), Magic::V0);
        assert_eq!(header.schema_id(), SchemaId::new(1));
        assert!(header.append_only());
        assert_eq!((header.writer_id(), header.batch_sequence()), (7, 3));
        assert_eq!((header.record_count(), header.last_offset_delta()), (2, 1));
        assert!(batch.crc_holds());
        assert!(batch.statistics().is_empty());
    }

    #[test]
    fn patching_keeps_the_crc() {
        let mut bytes = vectors::CHANGELOG.bytes().to_vec();
        patch_assigned(
            &mut bytes,
            Offset::new(41),
            1_700_000_000_000,
            LeaderEpoch::new(9),
        )
        .unwrap();
        let batch = LogBatch::parse(&bytes.into()).unwrap();
        assert!(batch.crc_holds());
        assert_eq!(batch.header().base_offset(), 41);
        assert_eq!(batch.header().commit_time_ms(), 1_700_000_000_000);
        assert_eq!(batch.last_offset(), 42);
        assert!(!batch.header().append_only());
    }

    #[test]
    fn a_v2_batch_takes_the_epoch() {
        let mut bytes = vec![0u8; 56];
        bytes[8..12].copy_from_slice(&44i32.to_le_bytes());
        bytes[MAGIC_AT] = 2;
        patch_assigned(&mut bytes, Offset::new(1), 2, LeaderEpoch::new(3)).unwrap();
        let header = HeaderView::parse(&bytes).unwrap();
        assert_eq!(header.leader_epoch(), Some(3));
        assert_eq!((header.base_offset(), header.commit_time_ms()), (1, 2));
        assert!(header.is_header_only());
    }

    #[test]
    fn concatenated_batches_are_walked_and_a_cut_one_is_named() {
        let one = vectors::APPEND_ONLY.bytes();
        let two = vectors::ZSTD.bytes();
        let mut all = [&one[..], &two[..]].concat();
        let sizes: Vec<_> = Batches::new(all.clone().into())
            .map(|b| b.unwrap().bytes().len())
            .collect();
        assert_eq!(sizes, [one.len(), two.len()]);

        all.pop();
        let walked: Vec<_> = Batches::new(all.into()).collect();
        assert_eq!(walked.len(), 2);
        let need = two.len();
        assert!(
            matches!(walked[1], Err(BatchError::Cut { have, need: n }) if have == need - 1 && n == need)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            magic in 0u8..4,
        ) {
            if bytes.len() > MAGIC_AT {
                bytes[MAGIC_AT] = magic;
                bytes[10..12].copy_from_slice(&[0, 0]);
            }
            for batch in Batches::new(bytes.into()).flatten() {
                let _ = (batch.crc_holds(), batch.statistics(), batch.records(), batch.last_offset());
            }
        }
    }
}
