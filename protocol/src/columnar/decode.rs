//! The records of a log batch as Arrow arrays.
//!
//! Every array is made by Arrow's checking constructors, so a batch that decodes once (which is
//! what validation before an append does) decodes always. Buffers that are neither compressed nor
//! misaligned are shared with the batch, not copied.

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_buffer::Buffer;
use arrow_schema::ArrowError;
use thiserror::Error;

use super::message::{ColumnError, MessageReader};
use super::rows::{RowsBuilder, RowsError};
use super::{arrow_type, projected_arrow_schema};
use crate::batch::BatchFormat;
use crate::fluss::arrow_message::{ArrowMessage, ArrowMessageError};
use crate::fluss::batch::{ChangeType, Changes, LogBatch};
use crate::fluss::buffer_codec::Decompressor;
use crate::row::{RowError, compacted, indexed};
use crate::schema::Schema;

/// Why the records of a batch cannot be decoded. Each means that the batch is corrupt or larger
/// than the limit.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum DecodeError {
    #[error("a batch of format {0:?} holds no fluss records")]
    Format(BatchFormat),
    #[error("records end inside record {0}")]
    Cut(usize),
    #[error("{0} bytes follow the last record")]
    Trailing(usize),
    #[error("record count {0} is negative")]
    RecordCount(i32),
    #[error("change type {0} is unknown")]
    ChangeType(u8),
    #[error("record {index} is malformed")]
    Row { index: usize, source: RowError },
    #[error("record {index} cannot become columns")]
    Rows { index: usize, source: RowsError },
    #[error(transparent)]
    Message(#[from] ArrowMessageError),
    #[error("header counts {header} rows, the arrow message {message}")]
    RowCount { header: usize, message: usize },
    #[error("column {column} is malformed")]
    Column { column: String, source: ColumnError },
    #[error("columns do not make rows")]
    Assemble(#[source] ArrowError),
}

/// What happened to the rows of a decoded batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeTypes {
    /// All rows are `+A`.
    AppendOnly,
    /// One type per row.
    PerRow(Vec<ChangeType>),
}

impl ChangeTypes {
    /// The same, borrowed.
    pub fn as_changes(&self) -> Changes<'_> {
        match self {
            ChangeTypes::AppendOnly => Changes::AppendOnly,
            ChangeTypes::PerRow(types) => Changes::PerRow(types),
        }
    }
}

/// The rows of a batch.
#[derive(Debug, Clone)]
pub struct DecodedBatch {
    /// The rows, in offset order from the batch's base offset.
    pub rows: RecordBatch,
    /// What happened to them.
    pub changes: ChangeTypes,
}

/// Decodes batches. Keeps decompression contexts, so one per thread or task is best.
#[derive(Debug)]
pub struct Decoder {
    decompressor: Decompressor,
    decoded_bytes_max: usize,
}

/// Bytes that a batch may decode to when the caller names no limit: far above what clients send
/// (2 MiB before compression), and far below this machine's memory.
pub const DECODED_BYTES_MAX: usize = 256 << 20;

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new(DECODED_BYTES_MAX)
    }
}

impl Decoder {
    /// A decoder that refuses batches which decode to more bytes.
    pub fn new(decoded_bytes_max: usize) -> Self {
        Decoder {
            decompressor: Decompressor::default(),
            decoded_bytes_max,
        }
    }

    /// Changes the limit of [`Decoder::new`].
    pub fn set_limit(&mut self, decoded_bytes_max: usize) {
        self.decoded_bytes_max = decoded_bytes_max;
    }

    /// Decodes a batch of this schema, all columns or those at the given positions in the given
    /// order. The CRC is not checked here.
    pub fn decode(
        &mut self,
        batch: &LogBatch,
        format: BatchFormat,
        schema: &Schema,
        columns: Option<&[usize]>,
    ) -> Result<DecodedBatch, DecodeError> {
        let all: Vec<usize>;
        let columns = match columns {
            Some(columns) => columns,
            None => {
                all = (0..schema.columns.len()).collect();
                &all
            }
        };
        let count = record_count(batch)?;
        let (arrays, changes) = match format {
            BatchFormat::FlussArrow => self.decode_arrow(batch, count, schema, columns)?,
            BatchFormat::FlussIndexed | BatchFormat::FlussCompacted => {
                self.decode_rows(batch, format, count, schema, columns)?
            }
            BatchFormat::Kafka => return Err(DecodeError::Format(format)),
        };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let arrow_schema = projected_arrow_schema(schema, columns);
        let rows = RecordBatch::try_new_with_options(arrow_schema, arrays, &options)
            .map_err(DecodeError::Assemble)?;
        Ok(DecodedBatch { rows, changes })
    }

    fn decode_arrow(
        &mut self,
        batch: &LogBatch,
        count: usize,
        schema: &Schema,
        columns: &[usize],
    ) -> Result<(Vec<ArrayRef>, ChangeTypes), DecodeError> {
        let (changes, message) = split_change_types(batch, count)?;
        if count == 0 && message.is_empty() {
            let empty = columns
                .iter()
                .map(|i| arrow_array::new_empty_array(&arrow_type(&schema.columns[*i].data_type)));
            return Ok((empty.collect(), changes));
        }
        let mut reader = self.message(message, count, schema)?;
        let mut arrays: Vec<Option<ArrayRef>> = vec![None; columns.len()];
        for (i, column) in schema.columns.iter().enumerate() {
            if !columns.contains(&i) {
                reader.skip(&column.data_type);
                continue;
            }
            let array =
                reader
                    .column(&column.data_type, count)
                    .map_err(|source| DecodeError::Column {
                        column: column.name.clone(),
                        source,
                    })?;
            for (slot, wanted) in arrays.iter_mut().zip(columns) {
                if *wanted == i {
                    *slot = Some(array.clone());
                }
            }
        }
        Ok((arrays.into_iter().flatten().collect(), changes))
    }

    /// The reader over a message whose shape, row count and length are checked.
    pub(crate) fn message(
        &mut self,
        bytes: bytes::Bytes,
        count: usize,
        schema: &Schema,
    ) -> Result<MessageReader<'_>, DecodeError> {
        let message = ArrowMessage::parse(&bytes)?;
        message.check_shape(schema.columns.iter().map(|c| &c.data_type))?;
        if message.row_count != count {
            return Err(DecodeError::RowCount {
                header: count,
                message: message.row_count,
            });
        }
        let need = message.body_start.saturating_add(message.body_len);
        if bytes.len() < need {
            return Err(ArrowMessageError::Cut {
                have: bytes.len(),
                need,
            }
            .into());
        }
        if bytes.len() > need {
            return Err(DecodeError::Trailing(bytes.len() - need));
        }
        let body = Buffer::from(bytes.slice(message.body_start..));
        Ok(MessageReader::new(
            message,
            body,
            self.decoded_bytes_max,
            &mut self.decompressor,
        ))
    }

    fn decode_rows(
        &mut self,
        batch: &LogBatch,
        format: BatchFormat,
        count: usize,
        schema: &Schema,
        columns: &[usize],
    ) -> Result<(Vec<ArrayRef>, ChangeTypes), DecodeError> {
        let types = columns.iter().map(|i| &schema.columns[*i].data_type);
        let mut builder = RowsBuilder::new(types.cloned(), self.decoded_bytes_max);
        let bytes = batch.records();
        let mut changes = Vec::new();
        let mut values = Vec::new();
        for_each_record(&bytes, count, |index, change, row| {
            let types = schema.columns.iter().map(|c| &c.data_type);
            let read = match format {
                BatchFormat::FlussIndexed => indexed::read(row, types, &mut values),
                _ => compacted::read(row, types, &mut values),
            };
            read.map_err(|source| DecodeError::Row { index, source })?;
            changes.push(change);
            builder
                .append(columns.iter().map(|i| &values[*i]))
                .map_err(|source| DecodeError::Rows { index, source })
        })?;
        let append_only = changes.iter().all(|c| *c == ChangeType::AppendOnly);
        let changes = if append_only {
            ChangeTypes::AppendOnly
        } else {
            ChangeTypes::PerRow(changes)
        };
        let arrays = builder.finish().map_err(DecodeError::Assemble)?;
        Ok((arrays, changes))
    }
}

/// The header's record count.
pub(crate) fn record_count(batch: &LogBatch) -> Result<usize, DecodeError> {
    let count = batch.header().record_count();
    usize::try_from(count).map_err(|_| DecodeError::RecordCount(count))
}

/// The change types of an ARROW batch and the message behind them.
pub(crate) fn split_change_types(
    batch: &LogBatch,
    count: usize,
) -> Result<(ChangeTypes, bytes::Bytes), DecodeError> {
    let mut records = batch.records();
    if batch.header().append_only() || records.is_empty() {
        return Ok((ChangeTypes::AppendOnly, records));
    }
    if records.len() < count {
        return Err(DecodeError::Cut(records.len()));
    }
    let types = records.split_to(count);
    let types = types
        .iter()
        .map(|b| ChangeType::from_byte(*b).ok_or(DecodeError::ChangeType(*b)))
        .collect::<Result<_, _>>()?;
    Ok((ChangeTypes::PerRow(types), records))
}

/// Calls `f` with index, change type and row of each record of an INDEXED or COMPACTED batch.
pub(crate) fn for_each_record<'a>(
    bytes: &'a [u8],
    count: usize,
    mut f: impl FnMut(usize, ChangeType, &'a [u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut rest = bytes;
    for index in 0..count {
        let (length, after) = rest
            .split_first_chunk::<4>()
            .ok_or(DecodeError::Cut(index))?;
        let length =
            usize::try_from(i32::from_le_bytes(*length)).map_err(|_| DecodeError::Cut(index))?;
        let (record, after) = after
            .split_at_checked(length)
            .ok_or(DecodeError::Cut(index))?;
        let (change, row) = record.split_first().ok_or(DecodeError::Cut(index))?;
        let change = ChangeType::from_byte(*change).ok_or(DecodeError::ChangeType(*change))?;
        f(index, change, row)?;
        rest = after;
    }
    match rest.len() {
        0 => Ok(()),
        left => Err(DecodeError::Trailing(left)),
    }
}
