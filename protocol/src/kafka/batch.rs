//! The header of a record batch, magic 2, read and patched in place.
//!
//! ```text
//!   0        8         12       16      17    21           23
//!  +--------+---------+--------+-------+-----+------------+-------------------+
//!  | base   | length  | leader | magic | CRC | attributes | last offset delta |
//!  | offset | of rest | epoch  |  = 2  |     |            |                   |
//!  +--------+---------+--------+-------+-----+------------+-------------------+
//!  27               35              43            51             53              57      61
//!  +----------------+---------------+-------------+--------------+---------------+-------+---------+
//!  | base timestamp | max timestamp | producer id | its epoch    | base sequence | count | records |
//!  +----------------+---------------+-------------+--------------+---------------+-------+---------+
//!
//!  attributes: bits 0-2 codec, 3 timestamp type (1 = LogAppendTime), 4 transactional, 5 control,
//!              6 base timestamp is a delete horizon
//! ```
//!
//! All numbers are big endian. `length` counts what follows it. The CRC-32C covers everything from
//! the attributes to the end, so that base offset and leader epoch can be assigned without a new
//! CRC.

use bytes::Bytes;

use crate::ids::{LeaderEpoch, Offset};
use crate::kafka::compression::Codec;
use crate::kafka::record::Records;

/// Bytes before the records.
pub const HEADER_LENGTH: usize = 61;
/// Bytes that `length` does not count: base offset and `length` itself.
pub const LENGTH_OVERHEAD: usize = 12;
/// The only batch version that Kafka 4 and we accept.
pub const MAGIC: u8 = 2;
/// "No producer" in the producer id field.
pub const NO_PRODUCER_ID: i64 = -1;

pub(crate) mod field {
    //! Byte positions of the header's fields.
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const COUNT: usize = 57;
}

pub(crate) const CODEC_MASK: u16 = 0b111;
const LOG_APPEND_TIME_BIT: u16 = 1 << 3;
const TRANSACTIONAL_BIT: u16 = 1 << 4;
const CONTROL_BIT: u16 = 1 << 5;
pub(crate) const DELETE_HORIZON_BIT: u16 = 1 << 6;

/// Why bytes are not a whole batch of magic 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a header has.
    #[error("{available} bytes are too short for a batch header")]
    TooShort {
        /// Bytes that were there.
        available: usize,
    },
    /// The length field is smaller than a header or negative.
    #[error("batch length {length} is out of range")]
    Length {
        /// The field's value.
        length: i32,
    },
    /// The length field reaches past the bytes.
    #[error("batch of {needed} bytes is cut off after {available}")]
    CutOff {
        /// What the length field asks for, header included.
        needed: usize,
        /// Bytes that were there.
        available: usize,
    },
    /// An older or unknown message format.
    #[error("batch has magic {0}, not 2")]
    Magic(u8),
}

/// What the timestamps of a batch mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// Each record carries its producer's time.
    CreateTime,
    /// All records have the time of their append, which is the batch's max timestamp.
    LogAppendTime,
}

impl TimestampType {
    /// The value of `message.timestamp.type`.
    pub const fn name(self) -> &'static str {
        match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        }
    }

    /// Parses a value of `message.timestamp.type`.
    pub fn from_name(name: &str) -> Option<Self> {
        [TimestampType::CreateTime, TimestampType::LogAppendTime]
            .into_iter()
            .find(|t| t.name() == name)
    }
}

/// A checked view of one batch: the header and exactly the bytes that its length names.
///
/// Checked are the sizes and the magic byte, not the CRC ([`BatchView::crc_is_valid`]) and not the
/// records.
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Views the batch at the start of `bytes`; more may follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let length = total_length(bytes)?;
        if bytes.len() < length {
            return Err(BatchError::CutOff {
                needed: length,
                available: bytes.len(),
            });
        }
        match bytes[field::MAGIC] {
            MAGIC => Ok(BatchView {
                bytes: &bytes[..length],
            }),
            other => Err(BatchError::Magic(other)),
        }
    }

    /// The bytes of the batch, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Size of the batch in bytes, header included.
    pub fn total_length(&self) -> usize {
        self.bytes.len()
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes[at..at + N]
            .try_into()
            .expect("a parsed batch holds a whole header")
    }

    /// The offset of the first record; 0 in what clients send.
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.array(0))
    }

    /// The epoch of the leader that appended the batch; -1 in what clients send.
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.array(field::LEADER_EPOCH))
    }

    /// The stored CRC-32C.
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.array(field::CRC))
    }

    /// Computes the CRC-32C and compares it with the stored one.
    pub fn crc_is_valid(&self) -> bool {
        crc32c::crc32c(&self.bytes[field::ATTRIBUTES..]) == self.crc()
    }

    /// All attribute bits.
    pub fn attributes(&self) -> u16 {
        u16::from_be_bytes(self.array(field::ATTRIBUTES))
    }

    /// The number of the compression codec, 0 to 7.
    pub fn codec_id(&self) -> u8 {
        (self.attributes() & CODEC_MASK) as u8
    }

    /// The compression codec; `None` for a number that Kafka does not define.
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_id(self.codec_id())
    }

    /// What the timestamps mean.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes() & LOG_APPEND_TIME_BIT {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// True when the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// True when the records are markers (commit, abort) that clients never see.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// True when the base timestamp is the time after which the cleaner may drop tombstones.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes() & DELETE_HORIZON_BIT != 0
    }

    /// Offset of the last record minus the base offset.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.array(field::LAST_OFFSET_DELTA))
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset()
            .wrapping_add(i64::from(self.last_offset_delta()))
    }

    /// What the records' timestamp deltas are added to, epoch milliseconds.
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(field::BASE_TIMESTAMP))
    }

    /// The largest record time, or the append time with LogAppendTime; epoch milliseconds.
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(field::MAX_TIMESTAMP))
    }

    /// The id of an idempotent producer, or [`NO_PRODUCER_ID`].
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.array(field::PRODUCER_ID))
    }

    /// True when an idempotent or transactional producer sent the batch.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id() > NO_PRODUCER_ID
    }

    /// The producer's epoch; -1 without a producer id.
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.array(field::PRODUCER_EPOCH))
    }

    /// The sequence number of the first record; -1 without a producer id.
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.array(field::BASE_SEQUENCE))
    }

    /// The sequence number of the last record; -1 without one.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            base if base < 0 => -1,
            base => sequence_after(base, self.last_offset_delta().max(0)),
        }
    }

    /// The number of records that the header names.
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.array(field::COUNT))
    }

    /// The bytes after the header: records, compressed when the codec says so.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LENGTH..]
    }

    /// Iterates the records of an uncompressed batch; of a compressed one use
    /// [`Records::new`] over what [`crate::kafka::compression`] made of [`BatchView::payload`].
    pub fn records(&self) -> Records<'a> {
        Records::new(self.payload(), self.record_count())
    }

    /// The time of a record whose timestamp delta is given, epoch milliseconds.
    pub fn record_time(&self, timestamp_delta: i64) -> i64 {
        match self.timestamp_type() {
            TimestampType::CreateTime => self.base_timestamp().wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.max_timestamp(),
        }
    }
}

/// The size of the batch that starts at `bytes`, from its length field alone.
pub fn total_length(bytes: &[u8]) -> Result<usize, BatchError> {
    let Some(field) = bytes.get(field::LENGTH..LENGTH_OVERHEAD) else {
        return Err(BatchError::TooShort {
            available: bytes.len(),
        });
    };
    let length = i32::from_be_bytes(field.try_into().expect("four bytes were taken"));
    // Older formats have shorter headers: they are told apart by their magic, not by their size.
    match usize::try_from(length) {
        Ok(rest) if rest + LENGTH_OVERHEAD >= HEADER_LENGTH => {
            if bytes.len() < HEADER_LENGTH {
                return Err(BatchError::TooShort {
                    available: bytes.len(),
                });
            }
            Ok(rest + LENGTH_OVERHEAD)
        }
        _ => match bytes.get(field::MAGIC) {
            Some(&magic) if magic < MAGIC && length > 0 => Err(BatchError::Magic(magic)),
            _ => Err(BatchError::Length { length }),
        },
    }
}

/// The sequence number that is `delta` after `sequence`; after `i32::MAX` comes 0.
///
/// ```
/// assert_eq!(protocol::kafka::batch::sequence_after(i32::MAX, 2), 1);
/// ```
pub const fn sequence_after(sequence: i32, delta: i32) -> i32 {
    match sequence.checked_add(delta) {
        Some(sum) => sum,
        None => delta - (i32::MAX - sequence) - 1,
    }
}

/// Writes the fields that a log assigns. They lie outside the CRC.
///
/// `header` is the start of a batch, at least its first 16 bytes.
pub fn assign(
    header: &mut [u8],
    base_offset: Offset,
    epoch: LeaderEpoch,
) -> Result<(), BatchError> {
    let available = header.len();
    let Some(header) = header.first_chunk_mut::<{ field::MAGIC }>() else {
        return Err(BatchError::TooShort { available });
    };
    header[..field::LENGTH].copy_from_slice(&base_offset.value().to_be_bytes());
    header[field::LEADER_EPOCH..].copy_from_slice(&epoch.value().to_be_bytes());
    Ok(())
}

/// Makes the batch at the start of `bytes` one of LogAppendTime: sets the timestamp type and the
/// max timestamp (epoch milliseconds) and writes a new CRC.
pub fn stamp_log_append_time(bytes: &mut [u8], time_ms: i64) -> Result<(), BatchError> {
    let attributes = BatchView::parse(bytes)?.attributes() | LOG_APPEND_TIME_BIT;
    bytes[field::ATTRIBUTES..field::LAST_OFFSET_DELTA].copy_from_slice(&attributes.to_be_bytes());
    set_max_timestamp(bytes, time_ms)
}

/// Writes the max timestamp (epoch milliseconds) of the batch at the start of `bytes` and a new
/// CRC.
pub fn set_max_timestamp(bytes: &mut [u8], time_ms: i64) -> Result<(), BatchError> {
    let length = BatchView::parse(bytes)?.total_length();
    bytes[field::MAX_TIMESTAMP..field::PRODUCER_ID].copy_from_slice(&time_ms.to_be_bytes());
    write_crc(&mut bytes[..length]);
    Ok(())
}

pub(crate) fn write_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[field::ATTRIBUTES..]);
    batch[field::CRC..field::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
}

pub(crate) fn write_length(batch: &mut [u8]) {
    let length = i32::try_from(batch.len() - LENGTH_OVERHEAD).expect("batches stay below 2 GiB");
    batch[field::LENGTH..LENGTH_OVERHEAD].copy_from_slice(&length.to_be_bytes());
}

/// Makes a header fit a payload that was compressed anew: codec, length and CRC. `batch` is a
/// whole batch and nothing else.
pub(crate) fn set_codec(batch: &mut [u8], codec: Codec) {
    // The codec lies in the low byte of the attributes.
    let low = &mut batch[field::ATTRIBUTES + 1];
    *low = *low & !(CODEC_MASK as u8) | codec.id();
    write_length(batch);
    write_crc(batch);
}

/// The fields of a header, for whoever writes a whole one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderFields {
    pub(crate) base_offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) codec: Codec,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) transactional: bool,
    pub(crate) control: bool,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
}

impl HeaderFields {
    /// Writes the header into the first bytes of a batch whose payload is already in place.
    ///
    /// # Panics
    /// When `batch` is shorter than a header or longer than `length` can say; builders keep both.
    pub(crate) fn write(&self, batch: &mut [u8]) {
        assert!(batch.len() >= HEADER_LENGTH, "a batch has a header");
        let mut attributes = u16::from(self.codec.id());
        if self.timestamp_type == TimestampType::LogAppendTime {
            attributes |= LOG_APPEND_TIME_BIT;
        }
        if self.transactional {
            attributes |= TRANSACTIONAL_BIT;
        }
        if self.control {
            attributes |= CONTROL_BIT;
        }
        let mut put = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.base_offset.to_be_bytes());
        put(field::LEADER_EPOCH, &self.leader_epoch.to_be_bytes());
        put(field::MAGIC, &[MAGIC]);
        put(field::ATTRIBUTES, &attributes.to_be_bytes());
        put(
            field::LAST_OFFSET_DELTA,
            &self.last_offset_delta.to_be_bytes(),
        );
        put(field::BASE_TIMESTAMP, &self.base_timestamp.to_be_bytes());
        put(field::MAX_TIMESTAMP, &self.max_timestamp.to_be_bytes());
        put(field::PRODUCER_ID, &self.producer_id.to_be_bytes());
        put(field::PRODUCER_EPOCH, &self.producer_epoch.to_be_bytes());
        put(field::BASE_SEQUENCE, &self.base_sequence.to_be_bytes());
        put(field::COUNT, &self.record_count.to_be_bytes());
        write_length(batch);
        write_crc(batch);
    }
}

/// Splits bytes that hold several batches one after the other into one slice per batch.
///
/// Stops after the first error.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// Iterates the batches in `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Batches { rest: bytes }
    }
}

impl Iterator for Batches {
    type Item = Result<Bytes, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match BatchView::parse(&self.rest).map(|view| view.total_length()) {
            Ok(length) => Some(Ok(self.rest.split_to(length))),
            Err(error) => {
                self.rest.clear();
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
