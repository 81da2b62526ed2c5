//! Arrow arrays to the Arrow message of a log batch.
//!
//! Buffers go straight into the batch, copied once. Validity buffers are always written, and
//! offsets always start at 0, as both clients write them.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{ArrowNativeType, NullBuffer, OffsetBuffer};
use arrow_schema::DataType;
use thiserror::Error;

use super::arrow_message::{ArrowMessage, BufferSpan, FieldNode, metadata_len, write_metadata};
use super::buffer_codec::Compressor;

/// Why arrays cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum EncodeError {
    #[error("arrow type {0} has no place in a log batch")]
    Type(String),
    #[error("column of {found} values among columns of {expected}")]
    Length { expected: usize, found: usize },
}

/// Appends the message of these columns to `out`.
pub fn encode(
    columns: &[ArrayRef],
    row_count: usize,
    compressor: &mut Compressor,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let (mut nodes, mut buffers) = (0, 0);
    for column in columns {
        if column.len() != row_count {
            return Err(EncodeError::Length {
                expected: row_count,
                found: column.len(),
            });
        }
        let (n, b) = shape(column.data_type())?;
        nodes += n;
        buffers += b;
    }
    // The metadata comes first and names the buffers' sizes: its place is kept.
    let start = out.len();
    let body_start = metadata_len(nodes, buffers, compressor.codec());
    out.resize(start + body_start, 0);
    let mut body = BodyWriter::new(compressor, out);
    for column in columns {
        body.array(column);
    }
    let message = body.finish(row_count, body_start);
    let mut metadata = Vec::new();
    write_metadata(&message, &mut metadata);
    out[start..start + body_start].copy_from_slice(&metadata);
    Ok(())
}

/// Nodes and buffers of a column.
fn shape(data_type: &DataType) -> Result<(usize, usize), EncodeError> {
    Ok(match data_type {
        DataType::Boolean | DataType::FixedSizeBinary(_) => (1, 2),
        DataType::Utf8 | DataType::Binary => (1, 3),
        DataType::List(child) | DataType::Map(child, _) => {
            let (n, b) = shape(child.data_type())?;
            (n + 1, b + 2)
        }
        DataType::Struct(fields) => {
            let mut sum = (1, 1);
            for field in fields {
                let (n, b) = shape(field.data_type())?;
                sum = (sum.0 + n, sum.1 + b);
            }
            sum
        }
        t if t.primitive_width().is_some() => (1, 2),
        t => return Err(EncodeError::Type(t.to_string())),
    })
}

/// Appends buffers to a body and notes where they lie.
pub(super) struct BodyWriter<'a> {
    compressor: &'a mut Compressor,
    out: &'a mut Vec<u8>,
    start: usize,
    nodes: Vec<FieldNode>,
    buffers: Vec<BufferSpan>,
    scratch: Vec<u8>,
}

impl<'a> BodyWriter<'a> {
    /// A body that starts at the end of `out`.
    pub(super) fn new(compressor: &'a mut Compressor, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        BodyWriter {
            compressor,
            out,
            start,
            nodes: Vec::new(),
            buffers: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The metadata of all that was written.
    pub(super) fn finish(self, row_count: usize, body_start: usize) -> ArrowMessage {
        ArrowMessage {
            row_count,
            nodes: self.nodes,
            buffers: self.buffers,
            codec: self.compressor.codec(),
            body_start,
            body_len: self.out.len() - self.start,
        }
    }

    /// Writes one array and all of its children. Its type has passed [`shape`].
    pub(super) fn array(&mut self, array: &dyn Array) {
        let len = array.len();
        self.nodes.push(FieldNode {
            length: len,
            null_count: array.null_count(),
        });
        self.validity(array.nulls(), len);
        match array.data_type() {
            DataType::Boolean => {
                let bits = array.as_boolean().values().sliced();
                self.bits(&bits, len);
            }
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                let values = self.offsets(array.offsets());
                self.buffer(&array.values()[values]);
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                let values = self.offsets(array.offsets());
                self.buffer(&array.values()[values]);
            }
            DataType::List(_) => {
                let array = array.as_list::<i32>();
                let values = self.offsets(array.offsets());
                self.array(&array.values().slice(values.start, values.len()));
            }
            DataType::Map(..) => {
                let array = array.as_map();
                let values = self.offsets(array.offsets());
                self.array(&array.entries().slice(values.start, values.len()));
            }
            DataType::Struct(_) => {
                for column in array.as_struct().columns() {
                    self.array(column);
                }
            }
            other => {
                let width = match other {
                    DataType::FixedSizeBinary(n) => usize::try_from(*n).unwrap_or(0),
                    _ => other.primitive_width().unwrap_or(0),
                };
                let data = array.to_data();
                let offset = data.offset();
                let values = &data.buffers()[0].as_slice()[offset * width..(offset + len) * width];
                self.buffer(values);
            }
        }
    }

    /// Writes offsets, counted from 0, and returns the values they span.
    fn offsets(&mut self, offsets: &OffsetBuffer<i32>) -> std::ops::Range<usize> {
        let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
        if first == 0 {
            self.buffer(offsets.inner().inner().as_slice());
        } else {
            let mut bytes = std::mem::take(&mut self.scratch);
            bytes.clear();
            bytes.extend(offsets.iter().flat_map(|o| (o - first).to_le_bytes()));
            self.buffer(&bytes);
            self.scratch = bytes;
        }
        first.as_usize()..last.as_usize()
    }

    fn validity(&mut self, nulls: Option<&NullBuffer>, len: usize) {
        match nulls {
            Some(nulls) => self.bits(&nulls.inner().sliced(), len),
            None => {
                let mut bytes = std::mem::take(&mut self.scratch);
                bytes.clear();
                bytes.resize(len.div_ceil(8), 0xff);
                mask_last(&mut bytes, len);
                self.buffer(&bytes);
                self.scratch = bytes;
            }
        }
    }

    /// Writes bits with those after the last one cleared.
    fn bits(&mut self, bits: &[u8], len: usize) {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        bytes.extend_from_slice(&bits[..len.div_ceil(8)]);
        mask_last(&mut bytes, len);
        self.buffer(&bytes);
        self.scratch = bytes;
    }

    fn buffer(&mut self, plain: &[u8]) {
        let at = self.out.len();
        self.compressor.append(plain, self.out);
        self.buffers.push(BufferSpan {
            offset: at - self.start,
            length: self.out.len() - at,
        });
        let padded = (self.out.len() - self.start).next_multiple_of(8);
        self.out.resize(self.start + padded, 0);
    }
}

fn mask_last(bytes: &mut [u8], len: usize) {
    if let (Some(last), used @ 1..) = (bytes.last_mut(), len % 8) {
        *last &= (1 << used) - 1;
    }
}

#[cfg(test)]
mod tests {
    //! The message against Arrow's own writer and reader, which is what Rust clients use.

    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::{RecordBatch, RecordBatchOptions};
    use arrow_buffer::Buffer;
    use arrow_ipc::reader::read_record_batch;
    use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
    use arrow_ipc::{CompressionType, MetadataVersion, root_as_message};
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::columnar::{Decoder, RowsBuilder, arrow_schema};
    use crate::fluss::arrow_message::{BufferCodec, body_start};
    use crate::fluss::vectors;
    use crate::row::strategy;
    use crate::schema::{DataType, Schema};

    fn rows(types: &[DataType], rows: &[Vec<strategy::Owned>]) -> (Schema, RecordBatch) {
        let names: Vec<_> = (0..types.len()).map(|i| format!("c{i}")).collect();
        let columns: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip(types.iter().cloned())
            .collect();
        let schema = vectors::schema(&columns);
        let mut builder = RowsBuilder::new(types.to_vec(), 1 << 20);
        for row in rows {
            let row: Vec<_> = row.iter().map(strategy::Owned::datum).collect();
            builder.append(row.iter()).unwrap();
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = builder.finish().unwrap();
        let batch =
            RecordBatch::try_new_with_options(arrow_schema(&schema), columns, &options).unwrap();
        (schema, batch)
    }

    fn decode(message: Vec<u8>, schema: &Schema, count: usize) -> Vec<ArrayRef> {
        let mut decoder = Decoder::default();
        let mut reader = decoder
            .message(Bytes::from(message), count, schema)
            .unwrap();
        let column = |c: &crate::schema::Column| reader.column(&c.data_type, count).unwrap();
        schema.columns.iter().map(column).collect()
    }

    fn codecs() -> impl Strategy<Value = Option<BufferCodec>> {
        prop_oneof![
            Just(None),
            Just(Some(BufferCodec::Lz4Frame)),
            Just(Some(BufferCodec::Zstd)),
        ]
    }

    proptest! {
        #[test]
        fn arrows_own_reader_reads_our_messages(
            (types, values) in strategy::rows(),
            codec in codecs(),
            cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let (_, batch) = rows(&types, &values);
            // A part of the rows, whose arrays have offsets.
            let start = cut.0.index(values.len());
            let len = 1 + cut.1.index(values.len() - start);
            let batch = batch.slice(start, len);
            let mut bytes = Vec::new();
            encode(batch.columns(), len, &mut Compressor::new(codec), &mut bytes).unwrap();
            let at = body_start(&bytes).unwrap();
            let message = root_as_message(&bytes[8..at]).unwrap();
            let read = read_record_batch(
                &Buffer::from(&bytes[at..]),
                message.header_as_record_batch().unwrap(),
                batch.schema(),
                &HashMap::new(),
                None,
                &MetadataVersion::V5,
            );
            prop_assert_eq!(read.unwrap(), batch);
        }

        #[test]
        fn messages_of_arrows_own_writer_decode(
            (types, values) in strategy::rows(),
            codec in codecs(),
            cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let (schema, batch) = rows(&types, &values);
            let start = cut.0.index(values.len());
            let len = 1 + cut.1.index(values.len() - start);
            let batch = batch.slice(start, len);
            let compression = codec.map(|codec| match codec {
                BufferCodec::Lz4Frame => CompressionType::LZ4_FRAME,
                BufferCodec::Zstd => CompressionType::ZSTD,
            });
            let options =
                IpcWriteOptions::default().try_with_compression(compression).unwrap();
            let mut writer =
                StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
            let schema_len = writer.get_ref().len();
            writer.write(&batch).unwrap();
            let message = writer.get_ref()[schema_len..].to_vec();
            prop_assert_eq!(&decode(message, &schema, len)[..], batch.columns());
        }
    }

    #[test]
    fn columns_of_other_lengths_and_types_are_refused() {
        let two: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1, 2]));
        let mut out = Vec::new();
        let mut compressor = Compressor::new(None);
        let refused = encode(&[two], 3, &mut compressor, &mut out);
        assert_eq!(
            refused,
            Err(EncodeError::Length {
                expected: 3,
                found: 2
            })
        );
        let large: ArrayRef = Arc::new(arrow_array::LargeStringArray::from(vec!["a"]));
        let refused = encode(&[large], 1, &mut compressor, &mut out);
        assert!(matches!(refused, Err(EncodeError::Type(_))));
        assert!(out.is_empty());
    }
}
