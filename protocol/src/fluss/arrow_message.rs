//! The one Arrow IPC message of a log batch: a RecordBatch without schema and dictionaries.
//!
//! ```text
//! 0xFFFFFFFF | metadata length i32 | metadata: flatbuffer Message, padded to 8 | body
//! ```
//!
//! Facts: the Arrow columnar format specification ("Encapsulated message format") and the Fluss
//! log format, ARROW. The metadata is read with the flatbuffers verifier and written as a fixed
//! layout, because only two shapes occur: with and without body compression.

mod metadata;

pub use metadata::{metadata_len, write_metadata};

use arrow_ipc::{BodyCompressionMethod, CompressionType, MessageHeader, MetadataVersion};
use flatbuffers::VerifierOptions;
use thiserror::Error;

use crate::schema::{DataType, TypeKind};

/// Bytes before the metadata: the continuation marker and the metadata's length.
pub const PREFIX_LEN: usize = 8;

/// Tables of a valid message: Message, RecordBatch, BodyCompression; some room for custom metadata.
const TABLES_MAX: usize = 64;
/// Nesting of those tables.
const DEPTH_MAX: usize = 8;
/// The verifier's own measure of work.
const APPARENT_SIZE_MAX: usize = 64 << 20;

/// What is wrong with an Arrow message. Each means that the batch is corrupt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ArrowMessageError {
    #[error("arrow message is cut: {have} bytes of {need}")]
    Cut { have: usize, need: usize },
    #[error("arrow message has no continuation marker")]
    NoMarker,
    #[error("arrow metadata length {0} is not a positive multiple of 8")]
    MetadataLength(i32),
    #[error("arrow metadata is malformed: {0}")]
    Flatbuffer(String),
    #[error("arrow message is not a record batch of metadata version 5")]
    NotARecordBatch,
    #[error("arrow body compression {0} is unknown")]
    Compression(i8),
    #[error("arrow field node {0} has an impossible length or null count")]
    Node(usize),
    #[error("arrow body length {0} is not a multiple of 8")]
    BodyLength(usize),
    #[error("arrow buffer {0} lies outside the body or out of order")]
    Buffer(usize),
    #[error(
        "arrow message has {nodes} nodes and {buffers} buffers, the schema wants {want_nodes} and {want_buffers}"
    )]
    Shape {
        nodes: usize,
        buffers: usize,
        want_nodes: usize,
        want_buffers: usize,
    },
}

/// How each buffer of a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BufferCodec {
    /// LZ4 frames.
    Lz4Frame,
    /// Zstandard frames.
    Zstd,
}

/// Length and null count of one flattened field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldNode {
    /// Values, nulls included.
    pub length: usize,
    /// Nulls among them.
    pub null_count: usize,
}

/// Where a buffer lies in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSpan {
    /// Bytes from the start of the body, a multiple of 8.
    pub offset: usize,
    /// Bytes without padding.
    pub length: usize,
}

/// The metadata of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrowMessage {
    /// Rows of every top-level column.
    pub row_count: usize,
    /// Flattened fields, depth first, parents before children.
    pub nodes: Vec<FieldNode>,
    /// Buffers in the order of the fields; inside the body, in order, not overlapping.
    pub buffers: Vec<BufferSpan>,
    /// Compression of every buffer, if any.
    pub codec: Option<BufferCodec>,
    /// Bytes from the start of the message to the body.
    pub body_start: usize,
    /// Bytes of the body, padding included.
    pub body_len: usize,
}

/// How many flattened fields and buffers a type takes in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// Field nodes.
    pub nodes: usize,
    /// Buffers.
    pub buffers: usize,
}

impl Shape {
    /// The shape of one column: itself and all of its descendants.
    pub fn of(data_type: &DataType) -> Shape {
        let own = |buffers| Shape { nodes: 1, buffers };
        match &data_type.kind {
            TypeKind::Char { .. } | TypeKind::String | TypeKind::Bytes => own(3),
            TypeKind::Array(element) => own(2).plus(Shape::of(element)),
            // A map is a list of entry structs.
            TypeKind::Map { key, value } => own(2)
                .plus(own(1))
                .plus(Shape::of(key))
                .plus(Shape::of(value)),
            TypeKind::Row(fields) => fields
                .iter()
                .fold(own(1), |shape, f| shape.plus(Shape::of(&f.data_type))),
            TypeKind::Boolean
            | TypeKind::TinyInt
            | TypeKind::SmallInt
            | TypeKind::Int
            | TypeKind::BigInt
            | TypeKind::Float
            | TypeKind::Double
            | TypeKind::Binary { .. }
            | TypeKind::Decimal { .. }
            | TypeKind::Date
            | TypeKind::Time { .. }
            | TypeKind::Timestamp { .. }
            | TypeKind::TimestampLtz { .. } => own(2),
        }
    }

    /// Both shapes one after the other.
    #[must_use]
    pub fn plus(self, other: Shape) -> Shape {
        Shape {
            nodes: self.nodes + other.nodes,
            buffers: self.buffers + other.buffers,
        }
    }
}

/// The length of prefix and metadata, which is where the body starts, read from the first
/// [`PREFIX_LEN`] bytes of a message.
pub fn body_start(prefix: &[u8]) -> Result<usize, ArrowMessageError> {
    let Some((marker, rest)) = prefix.split_first_chunk::<4>() else {
        return Err(ArrowMessageError::Cut {
            have: prefix.len(),
            need: PREFIX_LEN,
        });
    };
    let Some(length) = rest.first_chunk::<4>() else {
        return Err(ArrowMessageError::Cut {
            have: prefix.len(),
            need: PREFIX_LEN,
        });
    };
    if marker != &[0xff; 4] {
        return Err(ArrowMessageError::NoMarker);
    }
    let length = i32::from_le_bytes(*length);
    // A length that is no multiple of 8 is rounded by some readers and not by others.
    match usize::try_from(length) {
        Ok(n) if n > 0 && n.is_multiple_of(8) => Ok(PREFIX_LEN + n),
        _ => Err(ArrowMessageError::MetadataLength(length)),
    }
}

impl ArrowMessage {
    /// Reads the metadata of a message. Needs the bytes up to the body, not the body.
    pub fn parse(bytes: &[u8]) -> Result<ArrowMessage, ArrowMessageError> {
        let body_start = body_start(bytes)?;
        let metadata = bytes
            .get(PREFIX_LEN..body_start)
            .ok_or(ArrowMessageError::Cut {
                have: bytes.len(),
                need: body_start,
            })?;
        let options = VerifierOptions {
            max_depth: DEPTH_MAX,
            max_tables: TABLES_MAX,
            max_apparent_size: APPARENT_SIZE_MAX,
            ignore_missing_null_terminator: false,
        };
        let message = arrow_ipc::root_as_message_with_opts(&options, metadata)
            .map_err(|e| ArrowMessageError::Flatbuffer(e.to_string()))?;
        if message.version() != MetadataVersion::V5
            || message.header_type() != MessageHeader::RecordBatch
        {
            return Err(ArrowMessageError::NotARecordBatch);
        }
        let batch = message
            .header_as_record_batch()
            .ok_or(ArrowMessageError::NotARecordBatch)?;
        if batch
            .variadicBufferCounts()
            .is_some_and(|counts| !counts.is_empty())
        {
            return Err(ArrowMessageError::NotARecordBatch);
        }
        let codec = match batch.compression() {
            None => None,
            Some(c) if c.method() != BodyCompressionMethod::BUFFER => {
                return Err(ArrowMessageError::Compression(c.method().0));
            }
            Some(c) => Some(match c.codec() {
                CompressionType::LZ4_FRAME => BufferCodec::Lz4Frame,
                CompressionType::ZSTD => BufferCodec::Zstd,
                other => return Err(ArrowMessageError::Compression(other.0)),
            }),
        };
        let length = |value: i64| usize::try_from(value).ok();
        let body_len = length(message.bodyLength()).ok_or(ArrowMessageError::NotARecordBatch)?;
        let row_count = length(batch.length()).ok_or(ArrowMessageError::NotARecordBatch)?;

        if !body_len.is_multiple_of(8) {
            return Err(ArrowMessageError::BodyLength(body_len));
        }

        let mut nodes = Vec::new();
        for (i, node) in batch.nodes().iter().flatten().enumerate() {
            match (length(node.length()), length(node.null_count())) {
                (Some(length), Some(null_count)) if null_count <= length => {
                    nodes.push(FieldNode { length, null_count });
                }
                _ => return Err(ArrowMessageError::Node(i)),
            }
        }
        let mut buffers = Vec::new();
        let mut end = 0usize;
        for (i, buffer) in batch.buffers().iter().flatten().enumerate() {
            let span = match (length(buffer.offset()), length(buffer.length())) {
                (Some(offset), Some(length)) => BufferSpan { offset, length },
                _ => return Err(ArrowMessageError::Buffer(i)),
            };
            // Order is what lets a projection cut the body without decoding it.
            let in_order = span.offset >= end && span.offset.is_multiple_of(8);
            match span.offset.checked_add(span.length) {
                Some(span_end) if in_order && span_end <= body_len => end = span_end,
                _ => return Err(ArrowMessageError::Buffer(i)),
            }
            buffers.push(span);
        }
        Ok(ArrowMessage {
            row_count,
            nodes,
            buffers,
            codec,
            body_start,
            body_len,
        })
    }

    /// Checks that the message has exactly the fields and buffers of these columns.
    pub fn check_shape<'a>(
        &self,
        columns: impl IntoIterator<Item = &'a DataType>,
    ) -> Result<(), ArrowMessageError> {
        let want = columns
            .into_iter()
            .fold(Shape::default(), |s, c| s.plus(Shape::of(c)));
        if self.nodes.len() == want.nodes && self.buffers.len() == want.buffers {
            return Ok(());
        }
        Err(ArrowMessageError::Shape {
            nodes: self.nodes.len(),
            buffers: self.buffers.len(),
            want_nodes: want.nodes,
            want_buffers: want.buffers,
        })
    }

    /// The bytes of the body that belong to buffer `i`: from its start to the start of the next
    /// one, padding included.
    pub fn padded(&self, i: usize) -> std::ops::Range<usize> {
        let start = self.buffers[i].offset;
        let end = self
            .buffers
            .get(i + 1)
            .map_or(self.body_len, |next| next.offset);
        start..end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn written_metadata_reads_back() {
        for codec in [None, Some(BufferCodec::Lz4Frame), Some(BufferCodec::Zstd)] {
            let message = ArrowMessage {
                row_count: 3,
                nodes: vec![
                    FieldNode {
                        length: 3,
                        null_count: 1,
                    },
                    FieldNode {
                        length: 3,
                        null_count: 0,
                    },
                ],
                buffers: vec![
                    BufferSpan {
                        offset: 0,
                        length: 1,
                    },
                    BufferSpan {
                        offset: 8,
                        length: 12,
                    },
                    BufferSpan {
                        offset: 24,
                        length: 1,
                    },
                    BufferSpan {
                        offset: 32,
                        length: 16,
                    },
                    BufferSpan {
                        offset: 48,
                        length: 0,
                    },
                ],
                codec,
                body_start: metadata_len(2, 5, codec),
                body_len: 48,
            };
            let mut bytes = Vec::new();
            write_metadata(&message, &mut bytes);
            assert_eq!(bytes.len(), message.body_start);
            assert_eq!(ArrowMessage::parse(&bytes), Ok(message));
        }
    }

    #[test]
    fn buffers_out_of_order_are_refused() {
        let mut message = ArrowMessage {
            row_count: 0,
            nodes: vec![FieldNode {
                length: 0,
                null_count: 0,
            }],
            buffers: vec![
                BufferSpan {
                    offset: 8,
                    length: 8,
                },
                BufferSpan {
                    offset: 8,
                    length: 8,
                },
            ],
            codec: None,
            body_start: 0,
            body_len: 16,
        };
        let mut bytes = Vec::new();
        write_metadata(&message, &mut bytes);
        assert_eq!(
            ArrowMessage::parse(&bytes),
            Err(ArrowMessageError::Buffer(1))
        );

        message.buffers = vec![BufferSpan {
            offset: 0,
            length: 17,
        }];
        let mut bytes = Vec::new();
        write_metadata(&message, &mut bytes);
        assert_eq!(
            ArrowMessage::parse(&bytes),
            Err(ArrowMessageError::Buffer(0))
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = ArrowMessage::parse(&bytes);
            if bytes.len() > 16 {
                bytes[..4].copy_from_slice(&[0xff; 4]);
                let rest = i32::try_from((bytes.len() - 8) / 8 * 8).unwrap();
                bytes[4..8].copy_from_slice(&rest.to_le_bytes());
                let _ = ArrowMessage::parse(&bytes);
            }
        }

        #[test]
        fn a_flipped_byte_never_panics(at in 8usize..200, value in any::<u8>()) {
            let message = ArrowMessage {
                row_count: 2,
                nodes: vec![FieldNode { length: 2, null_count: 0 }; 2],
                buffers: vec![BufferSpan { offset: 0, length: 0 }; 4],
                codec: Some(BufferCodec::Zstd),
                body_start: 0,
                body_len: 0,
            };
            let mut bytes = Vec::new();
            write_metadata(&message, &mut bytes);
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = ArrowMessage::parse(&bytes);
        }
    }
}
