//! Checking batches of clients before they are appended: what passes here decodes for ever.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use bytes::Bytes;
use thiserror::Error;

use super::{BatchError, Batches, Changes, LogBatch, NO_WRITER};
use crate::batch::{BatchFormat, NO_TIME, SourceBlock, UnassignedBatch};
use crate::columnar::{
    ColumnError, DecodeError, Decoder, RowsError, record_count, split_change_types,
};
use crate::fluss::batch::ChangeType;
use crate::fluss::buffer_codec::BufferError;
use crate::ids::{BucketId, SchemaId};
use crate::schema::Schema;

/// Bounds of a single batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the batch as it was sent.
    pub batch_bytes_max: usize,
    /// Bytes of its columns, decompressed.
    pub decoded_bytes_max: usize,
    /// Rows.
    pub records_max: usize,
}

impl Default for Limits {
    /// What suits a machine of 1 GiB; clients send at most 2 MiB before compression by default.
    fn default() -> Self {
        Limits {
            batch_bytes_max: 64 << 20,
            decoded_bytes_max: 128 << 20,
            records_max: 1 << 24,
        }
    }
}

/// What a table expects of its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidateContext {
    /// The table's log format.
    pub format: BatchFormat,
    /// The bucket that is written, for the source block.
    pub bucket: BucketId,
    /// True for log tables: no other change type than `+A`.
    pub append_only: bool,
    /// The TIMESTAMP_LTZ(3) column that is the record time; none where the commit time is.
    pub record_time_column: Option<usize>,
    /// Bounds.
    pub limits: Limits,
}

/// Finds a schema of the table by the id that a batch names.
pub trait SchemaLookup {
    /// The schema, when the table has it.
    fn schema(&self, id: SchemaId) -> Option<Arc<Schema>>;
}

impl<F: Fn(SchemaId) -> Option<Arc<Schema>>> SchemaLookup for F {
    fn schema(&self, id: SchemaId) -> Option<Arc<Schema>> {
        self(id)
    }
}

/// Why a batch must not be appended. Only [`InvalidBatch::UnknownSchema`] may go away when the
/// client retries after a refresh; the others are corrupt or do not fit the table.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidBatch {
    #[error(transparent)]
    Header(#[from] BatchError),
    #[error("{0} bytes follow the batch")]
    Trailing(usize),
    #[error("batch of {found} {what} exceeds the limit of {max}")]
    TooLarge {
        what: &'static str,
        found: usize,
        max: usize,
    },
    #[error("batch CRC {found:#010x} is not the {expected:#010x} of its bytes")]
    Crc { found: u32, expected: u32 },
    #[error("schema {0} is unknown")]
    UnknownSchema(SchemaId),
    #[error("last offset delta {delta} does not fit {count} records")]
    OffsetDelta { count: usize, delta: i32 },
    #[error("a batch without records must be a header only")]
    NotEmpty,
    #[error("writer {writer_id} with batch sequence {sequence}")]
    Sequence { writer_id: i64, sequence: i32 },
    #[error("record {0} of a log table is no append")]
    NotAppendOnly(usize),
    #[error("records are malformed")]
    Records(#[from] DecodeError),
}

impl InvalidBatch {
    /// True when it may be that only [`Limits::decoded_bytes_max`] was too small.
    pub fn is_beyond_decoded_limit(&self) -> bool {
        match self {
            InvalidBatch::Records(DecodeError::Column { source, .. }) => matches!(
                source,
                ColumnError::TooLong(_) | ColumnError::Buffer(BufferError::TooLarge { .. })
            ),
            InvalidBatch::Records(DecodeError::Rows { source, .. }) => {
                matches!(source, RowsError::TooLarge(_))
            }
            _ => false,
        }
    }
}

/// Validates batches. Keeps decompression contexts, so one per thread or task is best.
#[derive(Debug, Default)]
pub struct Validator {
    decoder: Decoder,
    scratch: Vec<u8>,
}

impl Validator {
    /// A validator.
    pub fn new() -> Self {
        Validator::default()
    }

    /// Validates every batch of a plain concatenation, in order; the first bad one fails all.
    pub fn validate_all(
        &mut self,
        bytes: Bytes,
        context: &ValidateContext,
        schemas: &impl SchemaLookup,
    ) -> Result<Vec<UnassignedBatch>, InvalidBatch> {
        Batches::new(bytes)
            .map(|batch| self.check(batch?, context, schemas))
            .collect()
    }

    /// Validates one batch, which must fill `bytes`.
    pub fn validate(
        &mut self,
        bytes: Bytes,
        context: &ValidateContext,
        schemas: &impl SchemaLookup,
    ) -> Result<UnassignedBatch, InvalidBatch> {
        let batch = LogBatch::parse(&bytes)?;
        match bytes.len() - batch.bytes().len() {
            0 => self.check(batch, context, schemas),
            rest => Err(InvalidBatch::Trailing(rest)),
        }
    }

    fn check(
        &mut self,
        batch: LogBatch,
        context: &ValidateContext,
        schemas: &impl SchemaLookup,
    ) -> Result<UnassignedBatch, InvalidBatch> {
        let limits = &context.limits;
        within("bytes", batch.bytes().len(), limits.batch_bytes_max)?;
        let header = batch.header();
        if !batch.crc_holds() {
            let expected = crc32c::crc32c(&batch.bytes()[header.magic().crc_at() + 4..]);
            return Err(InvalidBatch::Crc {
                found: header.crc(),
                expected,
            });
        }
        let schema_id = header.schema_id();
        let schema = schemas
            .schema(schema_id)
            .ok_or(InvalidBatch::UnknownSchema(schema_id))?;
        let count = record_count(&batch)?;
        within("records", count, limits.records_max)?;
        let delta = header.last_offset_delta();
        if usize::try_from(delta).ok() != Some(count.saturating_sub(1)) {
            return Err(InvalidBatch::OffsetDelta { count, delta });
        }
        let source = source_block(&batch, context.bucket)?;
        let record_time_max = if count > 0 {
            self.check_records(&batch, count, context, &schema)?
        } else if batch.header().is_header_only() {
            NO_TIME
        } else {
            return Err(InvalidBatch::NotEmpty);
        };
        Ok(UnassignedBatch {
            format: context.format,
            schema_id,
            record_count: batch.header().record_count(),
            last_offset_delta: delta,
            record_time_max,
            transactional: false,
            control: false,
            source,
            bytes: batch.into_bytes(),
        })
    }

    /// Checks the records and returns the largest record time.
    fn check_records(
        &mut self,
        batch: &LogBatch,
        count: usize,
        context: &ValidateContext,
        schema: &Schema,
    ) -> Result<i64, InvalidBatch> {
        let decoder = &mut self.decoder;
        decoder.set_limit(context.limits.decoded_bytes_max);
        if context.format != BatchFormat::FlussArrow {
            let decoded = decoder.decode(batch, context.format, schema, None)?;
            check_changes(decoded.changes.as_changes(), context)?;
            return Ok(match context.record_time_column {
                Some(i) => time_max(decoded.rows.column(i)),
                None => NO_TIME,
            });
        }
        let (changes, message) = split_change_types(batch, count)?;
        check_changes(changes.as_changes(), context)?;
        let mut reader = decoder.message(message, count, schema)?;
        let mut record_time_max = NO_TIME;
        for (i, column) in schema.columns.iter().enumerate() {
            let is_record_time = context.record_time_column == Some(i);
            let malformed = |source| DecodeError::Column {
                column: column.name.clone(),
                source,
            };
            // Fixed-width values need no look at their contents, and no copy.
            if !is_record_time
                && reader
                    .check_fixed_width(&column.data_type, count, &mut self.scratch)
                    .map_err(malformed)?
            {
                continue;
            }
            let array = reader.column(&column.data_type, count).map_err(malformed)?;
            if is_record_time {
                record_time_max = time_max(&array);
            }
        }
        Ok(record_time_max)
    }
}

fn within(what: &'static str, found: usize, max: usize) -> Result<(), InvalidBatch> {
    if found > max {
        Err(InvalidBatch::TooLarge { what, found, max })
    } else {
        Ok(())
    }
}

fn check_changes(changes: Changes<'_>, context: &ValidateContext) -> Result<(), InvalidBatch> {
    let Changes::PerRow(types) = changes else {
        return Ok(());
    };
    match types.iter().position(|t| *t != ChangeType::AppendOnly) {
        Some(i) if context.append_only => Err(InvalidBatch::NotAppendOnly(i)),
        _ => Ok(()),
    }
}

fn source_block(batch: &LogBatch, bucket: BucketId) -> Result<Option<SourceBlock>, InvalidBatch> {
    let header = batch.header();
    let (writer_id, sequence) = (header.writer_id(), header.batch_sequence());
    if writer_id == NO_WRITER {
        return Ok(None);
    }
    if sequence < 0 {
        return Err(InvalidBatch::Sequence {
            writer_id,
            sequence,
        });
    }
    Ok(Some(SourceBlock::of_fluss(writer_id, sequence, bucket)))
}

/// The largest value of a column of milliseconds; [`NO_TIME`] when all are null or it is none.
fn time_max(array: &ArrayRef) -> i64 {
    let Some(times) = array.as_primitive_opt::<TimestampMillisecondType>() else {
        return NO_TIME;
    };
    times.iter().flatten().max().unwrap_or(NO_TIME)
}

#[cfg(test)]
mod tests;
