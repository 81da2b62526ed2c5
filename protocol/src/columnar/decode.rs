//! The records of a log batch as Arrow arrays.
//!
//! Every array is made by Arrow's checking constructors, so a batch that decodes once (which is
//! what validation before an append does) decodes always. Buffers that are neither compressed nor
//! misaligned are shared with the batch, not copied.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, MapArray, PrimitiveArray,
    RecordBatch, RecordBatchOptions, StringArray, StructArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType as ArrowType, Fields, TimeUnit};
use thiserror::Error;

use super::rows::{RowsBuilder, RowsError};
use super::{arrow_field, arrow_type, projected_arrow_schema, time_unit};
use crate::batch::BatchFormat;
use crate::fluss::arrow_message::{
    ArrowMessage, ArrowMessageError, BufferCodec, BufferSpan, FieldNode, Shape,
};
use crate::fluss::batch::{ChangeType, Changes, LogBatch};
use crate::fluss::buffer_codec::{BufferError, Decompressor};
use crate::row::{RowError, compacted, indexed};
use crate::schema::{DataType, Schema, TypeKind};

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

/// Why the buffers of a column are not an array.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ColumnError {
    #[error(transparent)]
    Buffer(#[from] BufferError),
    #[error("it has {found} values instead of {expected}")]
    Length { expected: usize, found: usize },
    #[error("a buffer of {found} bytes is too short for {expected}")]
    Short { expected: usize, found: usize },
    #[error("its null count {claimed} is not the {counted} of its bits")]
    NullCount { claimed: usize, counted: usize },
    #[error("it has nulls and is declared not null")]
    Null,
    #[error("its offsets decrease, or point outside the values")]
    Offsets,
    #[error("it has more values than the limit of {0} bytes allows")]
    TooLong(usize),
    #[error("fixed-size bytes of length 0")]
    ZeroWidth,
    #[error(transparent)]
    Arrow(#[from] ArrowError),
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
        Ok(MessageReader {
            body: Buffer::from(bytes.slice(message.body_start..)),
            nodes: message.nodes.into_iter(),
            buffers: message.buffers.into_iter(),
            codec: message.codec,
            left: self.decoded_bytes_max,
            decoded_bytes_max: self.decoded_bytes_max,
            decompressor: &mut self.decompressor,
        })
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

/// Takes columns off a message, in order.
pub(crate) struct MessageReader<'a> {
    body: Buffer,
    nodes: std::vec::IntoIter<FieldNode>,
    buffers: std::vec::IntoIter<BufferSpan>,
    codec: Option<BufferCodec>,
    left: usize,
    decoded_bytes_max: usize,
    decompressor: &'a mut Decompressor,
}

impl MessageReader<'_> {
    /// Passes over a column without looking at it.
    pub(crate) fn skip(&mut self, data_type: &DataType) {
        let shape = Shape::of(data_type);
        self.nodes.by_ref().take(shape.nodes).for_each(drop);
        self.buffers.by_ref().take(shape.buffers).for_each(drop);
    }

    /// A top-level column of `count` values.
    pub(crate) fn column(
        &mut self,
        data_type: &DataType,
        count: usize,
    ) -> Result<ArrayRef, ColumnError> {
        let array = self.array(data_type, count)?;
        if !data_type.nullable && array.null_count() > 0 {
            return Err(ColumnError::Null);
        }
        Ok(array)
    }

    /// Checks a column of fixed-width values as [`MessageReader::column`] would, without making
    /// an array of it. Returns false, with nothing read, when the column is of another kind.
    pub(crate) fn check_fixed_width(
        &mut self,
        data_type: &DataType,
        count: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<bool, ColumnError> {
        let arrow_type = arrow_type(data_type);
        let Some(width) = arrow_type.primitive_width() else {
            return Ok(false);
        };
        let node = self.node(Some(count))?;
        let nulls = self.nulls(node)?;
        if nulls.is_some() && !data_type.nullable {
            return Err(ColumnError::Null);
        }
        let span = self.span();
        let stored = &self.body[span.offset..span.offset + span.length];
        let plain = self
            .decompressor
            .plain(self.codec, stored, &mut self.left, scratch)?;
        need(plain.len(), count.saturating_mul(width))?;
        Ok(true)
    }

    fn array(&mut self, data_type: &DataType, count: usize) -> Result<ArrayRef, ColumnError> {
        let arrow_type = arrow_type(data_type);
        let node = self.node(Some(count))?;
        match &data_type.kind {
            TypeKind::Boolean => {
                let nulls = self.nulls(node)?;
                let bits = self.bits(node.length)?;
                Ok(Arc::new(BooleanArray::new(bits, nulls)))
            }
            TypeKind::TinyInt => self.primitive::<Int8Type>(node, arrow_type),
            TypeKind::SmallInt => self.primitive::<Int16Type>(node, arrow_type),
            TypeKind::Int => self.primitive::<Int32Type>(node, arrow_type),
            TypeKind::BigInt => self.primitive::<Int64Type>(node, arrow_type),
            TypeKind::Float => self.primitive::<Float32Type>(node, arrow_type),
            TypeKind::Double => self.primitive::<Float64Type>(node, arrow_type),
            TypeKind::Decimal { .. } => self.primitive::<Decimal128Type>(node, arrow_type),
            TypeKind::Date => self.primitive::<Date32Type>(node, arrow_type),
            TypeKind::Time { precision } => match time_unit(*precision) {
                TimeUnit::Second => self.primitive::<Time32SecondType>(node, arrow_type),
                TimeUnit::Millisecond => self.primitive::<Time32MillisecondType>(node, arrow_type),
                TimeUnit::Microsecond => self.primitive::<Time64MicrosecondType>(node, arrow_type),
                TimeUnit::Nanosecond => self.primitive::<Time64NanosecondType>(node, arrow_type),
            },
            TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
                match time_unit(*precision) {
                    TimeUnit::Second => self.primitive::<TimestampSecondType>(node, arrow_type),
                    TimeUnit::Millisecond => {
                        self.primitive::<TimestampMillisecondType>(node, arrow_type)
                    }
                    TimeUnit::Microsecond => {
                        self.primitive::<TimestampMicrosecondType>(node, arrow_type)
                    }
                    TimeUnit::Nanosecond => {
                        self.primitive::<TimestampNanosecondType>(node, arrow_type)
                    }
                }
            }
            TypeKind::Char { .. } | TypeKind::String => {
                let nulls = self.nulls(node)?;
                let (offsets, values) = self.variable(node.length)?;
                Ok(Arc::new(StringArray::try_new(offsets, values, nulls)?))
            }
            TypeKind::Bytes => {
                let nulls = self.nulls(node)?;
                let (offsets, values) = self.variable(node.length)?;
                Ok(Arc::new(BinaryArray::try_new(offsets, values, nulls)?))
            }
            TypeKind::Binary { length } => {
                let nulls = self.nulls(node)?;
                let width = i32::try_from(*length).ok().filter(|w| *w > 0);
                let width = width.ok_or(ColumnError::ZeroWidth)?;
                let values = self.values(node.length.saturating_mul(*length as usize))?;
                Ok(Arc::new(FixedSizeBinaryArray::try_new(
                    width, values, nulls,
                )?))
            }
            TypeKind::Array(element) => {
                let nulls = self.nulls(node)?;
                let offsets = self.offsets(node.length)?;
                let values = self.children(element, &offsets)?;
                let field = Arc::new(arrow_field("element", element));
                Ok(Arc::new(ListArray::try_new(field, offsets, values, nulls)?))
            }
            TypeKind::Map { key, value } => self.map(node, &arrow_type, key, value),
            TypeKind::Row(fields) => {
                let nulls = self.nulls(node)?;
                let mut arrays = Vec::with_capacity(fields.len());
                for field in fields {
                    arrays.push(self.array(&field.data_type, node.length)?);
                }
                let fields: Fields = fields
                    .iter()
                    .map(|f| arrow_field(&f.name, &f.data_type))
                    .collect();
                let len = node.length;
                Ok(Arc::new(StructArray::try_new_with_length(
                    fields, arrays, nulls, len,
                )?))
            }
        }
    }

    fn map(
        &mut self,
        node: FieldNode,
        arrow_type: &ArrowType,
        key: &DataType,
        value: &DataType,
    ) -> Result<ArrayRef, ColumnError> {
        let nulls = self.nulls(node)?;
        let offsets = self.offsets(node.length)?;
        let entries = self.node(None)?;
        check_last(&offsets, entries.length)?;
        let entry_nulls = self.nulls(entries)?;
        let keys = self.array(key, entries.length)?;
        let values = self.array(value, entries.length)?;
        let ArrowType::Map(field, ordered) = arrow_type else {
            unreachable!("the arrow type of a map");
        };
        let ArrowType::Struct(fields) = field.data_type().clone() else {
            unreachable!("the entries of a map are structs");
        };
        let entries = StructArray::try_new(fields, vec![keys, values], entry_nulls)?;
        let map = MapArray::try_new(field.clone(), offsets, entries, nulls, *ordered)?;
        Ok(Arc::new(map))
    }

    /// The child values of a list, at least as many as the offsets reach.
    fn children(
        &mut self,
        element: &DataType,
        offsets: &OffsetBuffer<i32>,
    ) -> Result<ArrayRef, ColumnError> {
        let len = self.nodes.as_slice().first().map_or(0, |n| n.length);
        check_last(offsets, len)?;
        self.array(element, len)
    }

    fn node(&mut self, expected: Option<usize>) -> Result<FieldNode, ColumnError> {
        let node = self.nodes.next().expect("check_shape counted the nodes");
        match expected {
            Some(expected) if expected != node.length => Err(ColumnError::Length {
                expected,
                found: node.length,
            }),
            // Values without any bytes (rows without fields) are bounded as well.
            _ if node.length > self.decoded_bytes_max => {
                Err(ColumnError::TooLong(self.decoded_bytes_max))
            }
            _ => Ok(node),
        }
    }

    fn span(&mut self) -> BufferSpan {
        self.buffers
            .next()
            .expect("check_shape counted the buffers")
    }

    /// The next buffer, decompressed.
    fn buffer(&mut self) -> Result<Buffer, ColumnError> {
        let span = self.span();
        let stored = self.body.slice_with_length(span.offset, span.length);
        Ok(self
            .decompressor
            .plain_buffer(self.codec, &stored, &mut self.left)?)
    }

    /// The next buffer, cut to `len` bytes.
    fn values(&mut self, len: usize) -> Result<Buffer, ColumnError> {
        let buffer = self.buffer()?;
        need(buffer.len(), len)?;
        Ok(buffer.slice_with_length(0, len))
    }

    fn bits(&mut self, len: usize) -> Result<BooleanBuffer, ColumnError> {
        Ok(BooleanBuffer::new(self.values(len.div_ceil(8))?, 0, len))
    }

    fn nulls(&mut self, node: FieldNode) -> Result<Option<NullBuffer>, ColumnError> {
        if node.null_count == 0 {
            // Without nulls the bits may be anything, or absent.
            self.span();
            return Ok(None);
        }
        let nulls = NullBuffer::new(self.bits(node.length)?);
        if nulls.null_count() != node.null_count {
            let (claimed, counted) = (node.null_count, nulls.null_count());
            return Err(ColumnError::NullCount { claimed, counted });
        }
        Ok(Some(nulls))
    }

    fn primitive<T: ArrowPrimitiveType>(
        &mut self,
        node: FieldNode,
        arrow_type: ArrowType,
    ) -> Result<ArrayRef, ColumnError> {
        let nulls = self.nulls(node)?;
        let width = size_of::<T::Native>();
        let values = aligned(self.values(node.length.saturating_mul(width))?, width);
        let values = ScalarBuffer::<T::Native>::new(values, 0, node.length);
        let array = PrimitiveArray::<T>::try_new(values, nulls)?;
        Ok(Arc::new(array.with_data_type(arrow_type)))
    }

    fn offsets(&mut self, len: usize) -> Result<OffsetBuffer<i32>, ColumnError> {
        let buffer = self.buffer()?;
        if len == 0 {
            // Writers leave out the one offset of an empty array.
            return Ok(OffsetBuffer::new_empty());
        }
        let bytes = (len + 1).saturating_mul(4);
        need(buffer.len(), bytes)?;
        let offsets = aligned(buffer.slice_with_length(0, bytes), 4);
        let offsets = ScalarBuffer::<i32>::new(offsets, 0, len + 1);
        let in_order = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if offsets[0] < 0 || !in_order {
            return Err(ColumnError::Offsets);
        }
        Ok(OffsetBuffer::new(offsets))
    }

    /// Offsets and the bytes they point into.
    fn variable(&mut self, len: usize) -> Result<(OffsetBuffer<i32>, Buffer), ColumnError> {
        let offsets = self.offsets(len)?;
        let values = self.buffer()?;
        let last = check_last(&offsets, values.len())?;
        Ok((offsets, values.slice_with_length(0, last)))
    }
}

/// The last offset, which must not pass the values.
fn check_last(offsets: &OffsetBuffer<i32>, values: usize) -> Result<usize, ColumnError> {
    let last = offsets.last().copied().unwrap_or(0);
    match usize::try_from(last) {
        Ok(last) if last <= values => Ok(last),
        _ => Err(ColumnError::Offsets),
    }
}

fn need(found: usize, expected: usize) -> Result<(), ColumnError> {
    if found < expected {
        Err(ColumnError::Short { expected, found })
    } else {
        Ok(())
    }
}

/// The buffer itself when its address fits the type, else a copy that does.
fn aligned(buffer: Buffer, align: usize) -> Buffer {
    // Arrow's arrays insist on the alignment of their type; 16 is the widest.
    if (buffer.as_ptr() as usize).is_multiple_of(align) {
        buffer
    } else {
        Buffer::from(buffer.as_slice())
    }
}
