//! What a produced batch must be before a log takes it.
//!
//! The rules are those of Kafka 4.3 (`LogValidator`, `ProduceRequest`, checked against a running
//! broker), with these differences, all towards refusing what no client sends: offset deltas are
//! checked in uncompressed batches too, a batch that claims LogAppendTime is always refused, bytes
//! after the batch are refused, and damaged compressed data is INVALID_RECORD rather than an
//! unknown server error.
//!
//! A batch whose max timestamp is not the largest record's is corrected, as Kafka does; all others
//! keep their bytes. An uncompressed batch is checked without an allocation.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;

use crate::batch::{BatchFormat, NO_TIME, ProducerScheme, SourceBlock, UnassignedBatch};
use crate::ids::SchemaId;
use crate::kafka::batch::{self, BatchError, BatchView, HEADER_LENGTH, TimestampType};
use crate::kafka::compression::{self, Codec, DecompressError, Decompressor};
use crate::kafka::record::{Record, RecordError, Records};

/// Refused records that an error lists; more are only counted.
pub const RECORD_ERRORS_MAX: usize = 100;

/// The settings of a topic and of the moment that decide about a batch.
#[derive(Debug, Clone, Copy)]
pub struct ValidateConfig {
    /// The schema id that is valid now.
    pub schema_id: SchemaId,
    /// The partition that the client addressed.
    pub source_partition: i32,
    /// `max.message.bytes`: the whole batch as sent, and as stored when it is recompressed.
    pub max_message_bytes: usize,
    /// Bytes that the decompressed records may take.
    pub max_decompressed_bytes: usize,
    /// Every record needs a key (`cleanup.policy=compact`).
    pub key_required: bool,
    /// Control batches are let through; only for what the broker itself writes.
    pub allow_control: bool,
    /// `message.timestamp.type`. Record times are only checked with CreateTime.
    pub timestamp_type: TimestampType,
    /// The broker's clock, epoch milliseconds.
    pub now_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type` and its level; `None` for `producer`.
    pub compression: Option<TargetCompression>,
}

/// A codec that batches are brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetCompression {
    /// The codec that stored batches have.
    pub codec: Codec,
    /// Its level, see [`compression::compress`].
    pub level: Option<i32>,
}

/// The Kafka error that answers an invalid batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are Kafka's own")]
pub enum ErrorClass {
    CorruptMessage,
    InvalidRecord,
    InvalidTimestamp,
    MessageTooLarge,
    UnsupportedCompressionType,
}

impl ErrorClass {
    /// The error as the message crate names it.
    pub const fn response_error(self) -> ResponseError {
        match self {
            ErrorClass::CorruptMessage => ResponseError::CorruptMessage,
            ErrorClass::InvalidRecord => ResponseError::InvalidRecord,
            ErrorClass::InvalidTimestamp => ResponseError::InvalidTimestamp,
            ErrorClass::MessageTooLarge => ResponseError::MessageTooLarge,
            ErrorClass::UnsupportedCompressionType => ResponseError::UnsupportedCompressionType,
        }
    }
}

/// Why a batch is refused. Nothing here gets better by sending the same bytes again, except
/// [`InvalidBatch::Crc`], which may be damage on the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum InvalidBatch {
    #[error("no record batch")]
    Empty,
    #[error(transparent)]
    Header(#[from] BatchError),
    #[error("{extra} bytes follow the only batch that a partition may have in a request")]
    SeveralBatches { extra: usize },
    #[error("batch of {size} bytes exceeds the maximum of {max}")]
    TooLarge { size: usize, max: usize },
    #[error("batch has a wrong CRC")]
    Crc,
    #[error("unknown compression codec {0}")]
    Codec(u8),
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    #[error("base offset is {0}, not 0")]
    BaseOffset(i64),
    #[error("{count} records do not fit a last offset delta of {last_offset_delta}")]
    Count { count: i32, last_offset_delta: i32 },
    #[error("clients may not write control batches")]
    Control,
    #[error("base sequence is {0}")]
    Sequence(i32),
    #[error("transactional batch has no producer id")]
    TransactionalWithoutProducer,
    #[error("record {index}: {source}")]
    Record { index: i32, source: RecordError },
    #[error("record {index} has offset delta {delta}")]
    OffsetDelta { index: i32, delta: i32 },
    #[error("{total} records refused, the first: {}", first_reason(errors))]
    Records {
        class: ErrorClass,
        total: usize,
        errors: Vec<RefusedRecord>,
    },
}

/// A record that alone makes its batch invalid (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Its place in the batch, from 0.
    pub index: i32,
    /// What is wrong with it.
    pub fault: RecordFault,
}

/// What a well-formed record can lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum RecordFault {
    #[error("compacted topic cannot accept a record without key")]
    NoKey,
    #[error(
        "timestamp {time_ms} is out of range, it should be within [{earliest_ms}, {latest_ms}]"
    )]
    Timestamp {
        time_ms: i64,
        earliest_ms: i64,
        latest_ms: i64,
    },
    #[error("producers may not set timestamp type LogAppendTime")]
    LogAppendTime,
}

impl RecordFault {
    const fn class(self) -> ErrorClass {
        match self {
            RecordFault::NoKey => ErrorClass::InvalidRecord,
            RecordFault::Timestamp { .. } | RecordFault::LogAppendTime => {
                ErrorClass::InvalidTimestamp
            }
        }
    }
}

fn first_reason(errors: &[RefusedRecord]) -> String {
    errors
        .first()
        .map(|e| e.fault.to_string())
        .unwrap_or_default()
}

impl InvalidBatch {
    /// The Kafka error that answers it.
    pub const fn class(&self) -> ErrorClass {
        match self {
            InvalidBatch::Crc
            | InvalidBatch::Header(BatchError::Magic(3..) | BatchError::Length { .. }) => {
                ErrorClass::CorruptMessage
            }
            InvalidBatch::TooLarge { .. }
            | InvalidBatch::Decompress(DecompressError::TooLarge { .. }) => {
                ErrorClass::MessageTooLarge
            }
            InvalidBatch::Codec(_) => ErrorClass::UnsupportedCompressionType,
            InvalidBatch::Records { class, .. } => *class,
            InvalidBatch::Empty
            | InvalidBatch::Header(_)
            | InvalidBatch::SeveralBatches { .. }
            | InvalidBatch::Decompress(_)
            | InvalidBatch::BaseOffset(_)
            | InvalidBatch::Count { .. }
            | InvalidBatch::Control
            | InvalidBatch::Sequence(_)
            | InvalidBatch::TransactionalWithoutProducer
            | InvalidBatch::Record { .. }
            | InvalidBatch::OffsetDelta { .. } => ErrorClass::InvalidRecord,
        }
    }

    /// The records to name in the answer (KIP-467), with a message each; at most
    /// [`RECORD_ERRORS_MAX`].
    pub fn record_errors(&self) -> Vec<(i32, String)> {
        match self {
            InvalidBatch::Records { errors, .. } => errors
                .iter()
                .map(|e| (e.index, e.fault.to_string()))
                .collect(),
            InvalidBatch::Record { index, .. } | InvalidBatch::OffsetDelta { index, .. } => {
                vec![(*index, self.to_string())]
            }
            _ => Vec::new(),
        }
    }
}

/// Working memory for checking batches; one per thread is enough.
#[derive(Debug, Default)]
pub struct Scratch {
    decompressor: Decompressor,
    records: Vec<u8>,
}

impl Scratch {
    /// Working memory that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives back what one large batch has taken; see [`compression::KEPT_BYTES_MAX`].
    pub fn trim(&mut self) {
        compression::trim_large(&mut self.records);
    }

    /// The records of a batch, decompressed if they must be; valid until the next call.
    ///
    /// # Errors
    /// When the codec is unknown, or the records are damaged or larger than `limit` bytes.
    pub fn records<'s>(
        &'s mut self,
        batch: &BatchView<'s>,
        limit: usize,
    ) -> Result<Records<'s>, InvalidBatch> {
        Ok(Records::new(
            self.payload(batch, limit)?,
            batch.record_count(),
        ))
    }

    /// The records of a batch as bytes, decompressed if they must be; valid until the next call.
    ///
    /// # Errors
    /// As [`Scratch::records`].
    pub fn payload<'s>(
        &'s mut self,
        batch: &BatchView<'s>,
        limit: usize,
    ) -> Result<&'s [u8], InvalidBatch> {
        match batch.codec().ok_or(InvalidBatch::Codec(batch.codec_id()))? {
            Codec::None => Ok(batch.payload()),
            codec => {
                self.decompressor
                    .decompress(codec, batch.payload(), limit, &mut self.records)?;
                Ok(&self.records)
            }
        }
    }
}

/// Checks the one batch that a client sent for a partition; see [`validate_with`]. The working
/// memory is the thread's own.
pub fn validate(bytes: Bytes, config: &ValidateConfig) -> Result<UnassignedBatch, InvalidBatch> {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(|scratch| validate_with(bytes, config, scratch))
}

/// Checks the one batch that a client sent for a partition, and makes of it what a log appends.
///
/// `bytes` is the whole records field of the request. With a target compression the batch is also
/// brought to that codec.
pub fn validate_with(
    bytes: Bytes,
    config: &ValidateConfig,
    scratch: &mut Scratch,
) -> Result<UnassignedBatch, InvalidBatch> {
    let checked = check(bytes, config, scratch);
    // Also of a batch that was refused: threads live on, and there are many.
    scratch.trim();
    checked
}

fn check(
    bytes: Bytes,
    config: &ValidateConfig,
    scratch: &mut Scratch,
) -> Result<UnassignedBatch, InvalidBatch> {
    if bytes.is_empty() {
        return Err(InvalidBatch::Empty);
    }
    let view = BatchView::parse(&bytes)?;
    check_header(&view, bytes.len(), config)?;
    let payload = scratch.payload(&view, config.max_decompressed_bytes)?;
    let max_timestamp = check_records(&view, payload, config)?;

    let mut batch = UnassignedBatch {
        format: BatchFormat::Kafka,
        schema_id: config.schema_id,
        record_count: view.record_count(),
        last_offset_delta: view.last_offset_delta(),
        record_time_max: match config.timestamp_type {
            TimestampType::CreateTime => max_timestamp,
            TimestampType::LogAppendTime => NO_TIME,
        },
        transactional: view.is_transactional(),
        control: view.is_control(),
        source: source_block(&view, config.source_partition),
        bytes: Bytes::new(),
    };
    let max_timestamp_differs = view.max_timestamp() != max_timestamp;
    let target = config
        .compression
        .filter(|target| Some(target.codec) != view.codec() && !view.is_control());
    batch.bytes = match target {
        Some(target) => {
            let stored = with_codec(&view, payload, target);
            if stored.len() > config.max_message_bytes {
                return Err(InvalidBatch::TooLarge {
                    size: stored.len(),
                    max: config.max_message_bytes,
                });
            }
            stored
        }
        None => bytes,
    };
    if max_timestamp_differs && config.timestamp_type == TimestampType::CreateTime {
        let mut patched = BytesMut::from(batch.bytes);
        batch::set_max_timestamp(&mut patched, max_timestamp)?;
        batch.bytes = patched.freeze();
    }
    Ok(batch)
}

fn check_header(
    view: &BatchView<'_>,
    available: usize,
    config: &ValidateConfig,
) -> Result<(), InvalidBatch> {
    let size = view.total_length();
    if available > size {
        return Err(InvalidBatch::SeveralBatches {
            extra: available - size,
        });
    }
    if size > config.max_message_bytes {
        return Err(InvalidBatch::TooLarge {
            size,
            max: config.max_message_bytes,
        });
    }
    if view.base_offset() != 0 {
        return Err(InvalidBatch::BaseOffset(view.base_offset()));
    }
    if !view.crc_is_valid() {
        return Err(InvalidBatch::Crc);
    }
    let (count, last_offset_delta) = (view.record_count(), view.last_offset_delta());
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(InvalidBatch::Count {
            count,
            last_offset_delta,
        });
    }
    if view.is_control() && !config.allow_control {
        return Err(InvalidBatch::Control);
    }
    if view.has_producer_id() {
        // A control batch has no sequence: markers are not part of it.
        if view.base_sequence() < 0 && !view.is_control() {
            return Err(InvalidBatch::Sequence(view.base_sequence()));
        }
    } else if view.is_transactional() {
        return Err(InvalidBatch::TransactionalWithoutProducer);
    }
    Ok(())
}

/// Walks all records and returns the largest record time.
fn check_records(
    view: &BatchView<'_>,
    payload: &[u8],
    config: &ValidateConfig,
) -> Result<i64, InvalidBatch> {
    let mut max_timestamp = NO_TIME;
    let mut refused = Refused::default();
    for (index, record) in (0i32..).zip(Records::new(payload, view.record_count())) {
        let record = record.map_err(|source| InvalidBatch::Record { index, source })?;
        if record.offset_delta != index {
            return Err(InvalidBatch::OffsetDelta {
                index,
                delta: record.offset_delta,
            });
        }
        let time_ms = view.record_time(record.timestamp_delta);
        max_timestamp = max_timestamp.max(time_ms);
        if let Some(fault) = record_fault(view, &record, time_ms, config) {
            refused.push(RefusedRecord { index, fault });
        }
    }
    refused.into_result().map(|()| max_timestamp)
}

fn record_fault(
    view: &BatchView<'_>,
    record: &Record<'_>,
    time_ms: i64,
    config: &ValidateConfig,
) -> Option<RecordFault> {
    if config.key_required && record.key.is_none() && !view.is_control() {
        return Some(RecordFault::NoKey);
    }
    if view.timestamp_type() == TimestampType::LogAppendTime {
        return Some(RecordFault::LogAppendTime);
    }
    let earliest_ms = config.now_ms.saturating_sub(config.timestamp_before_max_ms);
    let latest_ms = config.now_ms.saturating_add(config.timestamp_after_max_ms);
    let checked = config.timestamp_type == TimestampType::CreateTime && time_ms != NO_TIME;
    (checked && !(earliest_ms..=latest_ms).contains(&time_ms)).then_some(RecordFault::Timestamp {
        time_ms,
        earliest_ms,
        latest_ms,
    })
}

#[derive(Default)]
struct Refused {
    total: usize,
    errors: Vec<RefusedRecord>,
}

impl Refused {
    fn push(&mut self, error: RefusedRecord) {
        self.total += 1;
        if self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push(error);
        }
    }

    /// The first refused record decides about the error of the batch, as in Kafka.
    fn into_result(self) -> Result<(), InvalidBatch> {
        match self.errors.first() {
            None => Ok(()),
            Some(first) => Err(InvalidBatch::Records {
                class: first.fault.class(),
                total: self.total,
                errors: self.errors,
            }),
        }
    }
}

fn source_block(view: &BatchView<'_>, source_partition: i32) -> Option<SourceBlock> {
    view.has_producer_id().then(|| SourceBlock {
        scheme: ProducerScheme::Kafka,
        producer_id: view.producer_id(),
        producer_epoch: view.producer_epoch(),
        source_partition,
        first_sequence: view.base_sequence(),
        last_sequence: view.last_sequence(),
    })
}

/// Brings a batch to another codec; one that has it already, and a control batch, stay as they
/// are. Only codec, length and CRC differ after it.
///
/// # Errors
/// When the batch cannot be decompressed within `limit` bytes.
pub fn recompress(
    bytes: Bytes,
    target: TargetCompression,
    limit: usize,
    scratch: &mut Scratch,
) -> Result<Bytes, InvalidBatch> {
    let view = BatchView::parse(&bytes)?;
    if view.codec() == Some(target.codec) || view.is_control() {
        return Ok(bytes);
    }
    let payload = scratch.payload(&view, limit)?;
    Ok(with_codec(&view, payload, target))
}

fn with_codec(view: &BatchView<'_>, records: &[u8], target: TargetCompression) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_LENGTH + records.len());
    out.extend_from_slice(&view.bytes()[..HEADER_LENGTH]);
    compression::compress(target.codec, target.level, records, &mut out);
    batch::set_codec(&mut out, target.codec);
    Bytes::from(out)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
