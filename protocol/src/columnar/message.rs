//! Columns of an Arrow message, made by Arrow's checking constructors.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, MapArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType as ArrowType, Fields, TimeUnit};
use thiserror::Error;

use super::{arrow_field, arrow_type, time_unit};
use crate::fluss::arrow_message::{ArrowMessage, BufferCodec, BufferSpan, FieldNode, Shape};
use crate::fluss::buffer_codec::{BufferError, Decompressor};
use crate::schema::{DataType, TypeKind};

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

impl<'a> MessageReader<'a> {
    /// A reader of a message whose shape is checked; `body` is its whole body.
    pub(super) fn new(
        message: ArrowMessage,
        body: Buffer,
        decoded_bytes_max: usize,
        decompressor: &'a mut Decompressor,
    ) -> Self {
        MessageReader {
            body,
            nodes: message.nodes.into_iter(),
            buffers: message.buffers.into_iter(),
            codec: message.codec,
            left: decoded_bytes_max,
            decoded_bytes_max,
            decompressor,
        }
    }

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
