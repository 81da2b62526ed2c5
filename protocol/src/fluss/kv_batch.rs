//! KV record batches: what PUT_KV carries, one for each bucket of a request.
//!
//! ```text
//! length         i32   0   bytes after this field
//! magic          i8    4   0
//! CRC-32C        u32   5   over everything after it
//! schema id      i16   9   of all rows
//! attributes     i8   11   0
//! writer id      i64  12   -1: not idempotent
//! batch sequence i32  20   -1: not idempotent
//! record count   i32  24
//! records             28
//! record:  length i32 (bytes after it) | key length, unsigned varint | key | row, or nothing
//! ```
//!
//! A record without a row deletes its key. Rows have all columns of the schema, those that are not
//! meant to be written hold null. Numbers are little-endian. Facts: Fluss log format, KV record
//! batch; `DefaultKvRecordBatch.java`, `DefaultKvRecord.java`.

use bytes::Bytes;
use thiserror::Error;

use super::batch::{NO_SEQUENCE, NO_WRITER};
use crate::ids::SchemaId;
use crate::row::compacted::write_varint32;
use crate::row::{Datum, RowError, RowLayout};

const LENGTH_OVERHEAD: usize = 4;
const MAGIC_AT: usize = 4;
const CRC_AT: usize = 5;
const SCHEMA_ID_AT: usize = 9;
const WRITER_ID_AT: usize = 12;
const SEQUENCE_AT: usize = 20;
const COUNT_AT: usize = 24;
/// Bytes before the first record.
pub const HEADER_LEN: usize = 28;
/// The smallest record: its length and an empty key.
const RECORD_LEN_MIN: usize = 5;

/// Why bytes are no KV batch that may be applied. All of them mean that the batch is corrupt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum KvBatchError {
    #[error("kv batch is cut: {have} bytes of {need}")]
    Cut { have: usize, need: usize },
    #[error("kv batch length {0} is impossible")]
    Length(i32),
    #[error("kv batch of {found} bytes exceeds the limit of {max}")]
    TooLarge { found: usize, max: usize },
    #[error("{0} bytes follow the kv batch")]
    Trailing(usize),
    #[error("kv batch magic {0} is unknown")]
    Magic(u8),
    #[error("kv batch CRC {found:#010x} is not the {expected:#010x} of its bytes")]
    Crc { found: u32, expected: u32 },
    #[error("kv batch counts {0} records, which do not fit its bytes")]
    Count(i32),
    #[error("writer {writer_id} with batch sequence {sequence}")]
    Sequence { writer_id: i64, sequence: i32 },
    #[error("kv record {0} is cut")]
    Record(usize),
    #[error("{0} bytes follow the last kv record")]
    TrailingRecords(usize),
    #[error("row of kv record {index} is malformed")]
    Row { index: usize, source: RowError },
}

/// One change: a key, and the row that it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvRecord<'a> {
    /// The key as the client encoded it; opaque to the server.
    pub key: &'a [u8],
    /// The row; none deletes the key.
    pub row: Option<&'a [u8]>,
}

/// A batch whose header, CRC and record bounds are checked. Its rows are not until
/// [`KvBatch::check_rows`].
#[derive(Debug, Clone)]
pub struct KvBatch {
    bytes: Bytes,
}

impl KvBatch {
    /// Checks a batch, which must fill `bytes` and take no more than `bytes_max`.
    pub fn parse(bytes: Bytes, bytes_max: usize) -> Result<Self, KvBatchError> {
        let (have, need) = (bytes.len(), HEADER_LEN);
        if have < need {
            return Err(KvBatchError::Cut { have, need });
        }
        let length = i32::from_le_bytes(field(&bytes, 0));
        let need = match usize::try_from(length) {
            Ok(n) if n + LENGTH_OVERHEAD >= HEADER_LEN => n + LENGTH_OVERHEAD,
            _ => return Err(KvBatchError::Length(length)),
        };
        if need > bytes_max {
            let (found, max) = (need, bytes_max);
            return Err(KvBatchError::TooLarge { found, max });
        }
        if have < need {
            return Err(KvBatchError::Cut { have, need });
        }
        if have > need {
            return Err(KvBatchError::Trailing(have - need));
        }
        if bytes[MAGIC_AT] != 0 {
            return Err(KvBatchError::Magic(bytes[MAGIC_AT]));
        }
        let found = u32::from_le_bytes(field(&bytes, CRC_AT));
        let expected = crc32c::crc32c(&bytes[SCHEMA_ID_AT..]);
        if found != expected {
            return Err(KvBatchError::Crc { found, expected });
        }
        let batch = KvBatch { bytes };
        batch.check()?;
        Ok(batch)
    }

    fn check(&self) -> Result<(), KvBatchError> {
        let count = i32::from_le_bytes(field(&self.bytes, COUNT_AT));
        let room = (self.bytes.len() - HEADER_LEN) / RECORD_LEN_MIN;
        let fits = usize::try_from(count).is_ok_and(|count| count <= room);
        if !fits {
            return Err(KvBatchError::Count(count));
        }
        if let Some((writer_id, sequence)) = self.writer()
            && sequence < 0
        {
            return Err(KvBatchError::Sequence {
                writer_id,
                sequence,
            });
        }
        let mut rest = &self.bytes[HEADER_LEN..];
        for index in 0..self.len() {
            rest = split_record(rest).ok_or(KvBatchError::Record(index))?.1;
        }
        match rest.len() {
            0 => Ok(()),
            left => Err(KvBatchError::TrailingRecords(left)),
        }
    }

    /// Checks that every row is one of the schema that the batch names, whose layout this is.
    /// A batch that passes decodes always.
    pub fn check_rows(&self, layout: &RowLayout) -> Result<(), KvBatchError> {
        let mut values: Vec<Datum<'_>> = Vec::with_capacity(layout.types().len());
        for (index, record) in self.records().enumerate() {
            if let Some(row) = record.row {
                layout
                    .read(row, &mut values)
                    .map_err(|source| KvBatchError::Row { index, source })?;
            }
        }
        Ok(())
    }

    /// The schema of all rows.
    pub fn schema_id(&self) -> SchemaId {
        SchemaId::new(i16::from_le_bytes(field(&self.bytes, SCHEMA_ID_AT)))
    }

    /// Writer id and batch sequence of an idempotent writer.
    pub fn writer(&self) -> Option<(i64, i32)> {
        let writer_id = i64::from_le_bytes(field(&self.bytes, WRITER_ID_AT));
        let sequence = i32::from_le_bytes(field(&self.bytes, SEQUENCE_AT));
        (writer_id != NO_WRITER).then_some((writer_id, sequence))
    }

    /// Records in the batch.
    pub fn len(&self) -> usize {
        let count = i32::from_le_bytes(field(&self.bytes, COUNT_AT));
        usize::try_from(count).expect("parse checked it")
    }

    /// True for a batch without records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes of the batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records in order.
    pub fn records(&self) -> KvRecords<'_> {
        KvRecords {
            rest: &self.bytes[HEADER_LEN..],
        }
    }
}

/// The records of a batch.
#[derive(Debug, Clone)]
pub struct KvRecords<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for KvRecords<'a> {
    type Item = KvRecord<'a>;

    fn next(&mut self) -> Option<KvRecord<'a>> {
        let (record, rest) = split_record(self.rest)?;
        self.rest = rest;
        Some(record)
    }
}

/// The record at the start of `bytes` and what follows it; none when it is cut.
fn split_record(bytes: &[u8]) -> Option<(KvRecord<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_le_bytes(*length)).ok()?;
    let (record, rest) = rest.split_at_checked(length)?;
    let (key_len, record) = unsigned_varint(record)?;
    let (key, row) = record.split_at_checked(key_len)?;
    let row = (!row.is_empty()).then_some(row);
    Some((KvRecord { key, row }, rest))
}

/// A length of up to 31 bits, 7 per byte, low ones first.
fn unsigned_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let value = i32::try_from(value).ok()?;
            return Some((usize::try_from(value).ok()?, &bytes[i + 1..]));
        }
    }
    None
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Makes batches: for tests and tools, clients bring their own.
#[derive(Debug, Clone)]
pub struct KvBatchBuilder {
    out: Vec<u8>,
    count: i32,
}

impl KvBatchBuilder {
    /// A batch of rows of this schema; `writer` is writer id and batch sequence.
    pub fn new(schema_id: SchemaId, writer: Option<(i64, i32)>) -> Self {
        let (writer_id, sequence) = writer.unwrap_or((NO_WRITER, NO_SEQUENCE));
        let mut out = vec![0; HEADER_LEN];
        out[SCHEMA_ID_AT..][..2].copy_from_slice(&schema_id.value().to_le_bytes());
        out[WRITER_ID_AT..][..8].copy_from_slice(&writer_id.to_le_bytes());
        out[SEQUENCE_AT..][..4].copy_from_slice(&sequence.to_le_bytes());
        KvBatchBuilder { out, count: 0 }
    }

    /// Appends a record.
    ///
    /// # Panics
    /// When the batch grows past 2 GiB.
    pub fn append(&mut self, record: KvRecord<'_>) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        write_varint32(length(record.key.len()), &mut self.out);
        self.out.extend_from_slice(record.key);
        self.out.extend_from_slice(record.row.unwrap_or_default());
        let len = length(self.out.len() - start - 4);
        self.out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        self.count += 1;
    }

    /// The batch.
    pub fn finish(mut self) -> Bytes {
        let len = length(self.out.len() - LENGTH_OVERHEAD);
        self.out[..4].copy_from_slice(&len.to_le_bytes());
        self.out[COUNT_AT..HEADER_LEN].copy_from_slice(&self.count.to_le_bytes());
        let crc = crc32c::crc32c(&self.out[SCHEMA_ID_AT..]);
        self.out[CRC_AT..SCHEMA_ID_AT].copy_from_slice(&crc.to_le_bytes());
        self.out.into()
    }
}

fn length(len: usize) -> i32 {
    i32::try_from(len).expect("a kv batch is smaller than 2 GiB")
}

#[cfg(test)]
mod tests;
