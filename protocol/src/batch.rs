//! A batch as its producer sent it, before the log assigns an offset.
//!
//! The stored bytes and the assigned fields (offset, epoch, commit time) are separate values: the
//! bytes stay verbatim, the assigned fields stand in the frame header and are written into the
//! batch when it is read.

use bytes::Bytes;

use crate::ids::{BucketId, SchemaId};

/// "No time is known", as both wires write it.
pub const NO_TIME: i64 = -1;

/// How the bytes of a batch are laid out. Persisted in frame headers: numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BatchFormat {
    /// A Kafka record batch, magic 2.
    Kafka = 1,
    /// A Fluss log batch whose records are one Arrow message.
    FlussArrow = 2,
    /// A Fluss log batch of INDEXED rows.
    FlussIndexed = 3,
    /// A Fluss log batch of COMPACTED rows.
    FlussCompacted = 4,
}

impl BatchFormat {
    /// The persisted number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The format of a persisted number, if there is one.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(BatchFormat::Kafka),
            2 => Some(BatchFormat::FlussArrow),
            3 => Some(BatchFormat::FlussIndexed),
            4 => Some(BatchFormat::FlussCompacted),
            _ => None,
        }
    }

    /// True for the three formats of the Fluss wire.
    pub const fn is_fluss(self) -> bool {
        !matches!(self, BatchFormat::Kafka)
    }
}

/// Whose numbering a producer id belongs to. Persisted: numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ProducerScheme {
    /// Kafka: producer id, epoch, one sequence number per record.
    Kafka = 1,
    /// Fluss: writer id, one sequence number per batch.
    Fluss = 2,
}

impl ProducerScheme {
    /// The persisted number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The scheme of a persisted number, if there is one.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(ProducerScheme::Kafka),
            2 => Some(ProducerScheme::Fluss),
            _ => None,
        }
    }
}

/// Who wrote a batch, and which of the writer's sequence numbers it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceBlock {
    /// Kafka's or Fluss's rules.
    pub scheme: ProducerScheme,
    /// Kafka producer id or Fluss writer id.
    pub producer_id: i64,
    /// Kafka producer epoch. Of a Fluss writer 0, and the id of the table's schema where it puts
    /// rows into a compacted topic, whose sequences begin again with each change of the kind.
    pub producer_epoch: i16,
    /// The partition that the client addressed; differs from the bucket only for re-bucketed rows.
    pub source_partition: i32,
    /// Sequence of the first record (Kafka) or of the batch (Fluss).
    pub first_sequence: i32,
    /// Sequence of the last record (Kafka) or of the batch (Fluss).
    pub last_sequence: i32,
}

impl SourceBlock {
    /// Of a Fluss writer's batch, whose sequence counts batches.
    pub fn of_fluss(writer_id: i64, sequence: i32, bucket: BucketId) -> SourceBlock {
        SourceBlock {
            scheme: ProducerScheme::Fluss,
            producer_id: writer_id,
            producer_epoch: 0,
            source_partition: bucket.value(),
            first_sequence: sequence,
            last_sequence: sequence,
        }
    }
}

/// A validated batch that has no offset yet: what a log's `append` takes.
#[derive(Debug, Clone)]
pub struct UnassignedBatch {
    /// Verbatim bytes, a whole batch with its own header.
    pub bytes: Bytes,
    /// The layout of `bytes`.
    pub format: BatchFormat,
    /// The schema that was valid when the batch was written.
    pub schema_id: SchemaId,
    /// Records in the batch; 0 for an empty batch.
    pub record_count: i32,
    /// Offsets that the batch takes, minus one.
    pub last_offset_delta: i32,
    /// Largest record time, epoch milliseconds; [`NO_TIME`] where the record time is the commit time.
    pub record_time_max: i64,
    /// Part of a Kafka transaction.
    pub transactional: bool,
    /// A Kafka control batch; only the broker itself writes these.
    pub control: bool,
    /// Who wrote it, for idempotent producers.
    pub source: Option<SourceBlock>,
}
