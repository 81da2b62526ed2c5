//! Selecting columns of stored ARRAY-format batches without decoding them.
//!
//! ```text
//! stored     header | statistics | change types | metadata  | a a b b b c c
//! projected  header'|            | change types | metadata' | a a       c c
//! ```
//!
//! Each buffer of a body stands alone, compressed or not, so the selected ones are copied as they
//! are. The header keeps everything but its length (and the statistics' length, which becomes 0);
//! so the CRC no longer fits, and clients do not check it in projected answers. Facts: Fluss server
//! semantics, projection pushdown; `FileLogProjection.java`.
//!
//! Planning needs only the bytes before the body, so that the log reads nothing else but the
//! selected ranges.

use std::ops::Range;

use arrow_array::new_null_array;
use bytes::Bytes;
use thiserror::Error;

use super::arrow_encode::BodyWriter;
use super::arrow_message::{
    ArrowMessage, ArrowMessageError, BufferSpan, PREFIX_LEN, Shape, body_start, metadata_len,
    write_metadata,
};
use super::batch::{BatchError, HEADER_LEN_MAX, HeaderView, LENGTH_OVERHEAD, Magic};
use super::buffer_codec::Compressor;
use crate::columnar::arrow_type;
use crate::schema::{DataType, Schema};

/// Why a batch cannot be projected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ProjectionError {
    #[error("projected fields {0:?} are empty, not ascending, or beyond the table's columns")]
    Fields(Vec<usize>),
    #[error(transparent)]
    Header(#[from] BatchError),
    #[error(transparent)]
    Message(#[from] ArrowMessageError),
    #[error("record count {0} is impossible")]
    RecordCount(i32),
    #[error("batch of {batch} bytes ends before its records, which need {need}")]
    Cut { batch: usize, need: usize },
    #[error("projected batch of {0} bytes is too large")]
    TooLarge(usize),
}

/// Which columns of a table to send.
#[derive(Debug, Clone)]
pub struct Projection {
    fields: Vec<usize>,
    /// The types of all columns of the newest schema.
    types: Vec<DataType>,
}

/// How to make a projected batch of a stored one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectionPlan {
    /// Header, change types and metadata of the projected batch. The assigned fields are the
    /// stored ones and may still be patched.
    pub head: Vec<u8>,
    /// The parts of the stored batch that follow, in order and merged where they touch, counted
    /// from the start of the stored batch.
    pub body_ranges: Vec<Range<u64>>,
    /// Columns that the batch's schema does not have yet, all null. Comes last.
    pub tail: Bytes,
    /// Bytes of the projected batch.
    pub total_len: usize,
}

impl ProjectionPlan {
    /// Puts the projected batch together from the whole stored one.
    ///
    /// # Panics
    /// When `stored` is not the batch that was planned.
    pub fn apply(&self, stored: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.total_len);
        out.extend_from_slice(&self.head);
        for range in &self.body_ranges {
            let at = |offset: u64| usize::try_from(offset).expect("planned within the batch");
            out.extend_from_slice(&stored[at(range.start)..at(range.end)]);
        }
        out.extend_from_slice(&self.tail);
        out
    }
}

/// The outcome of planning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// The plan.
    Plan(ProjectionPlan),
    /// The first so many bytes of the batch are needed; there are more than were given.
    NeedMore(usize),
}

impl Projection {
    /// A projection to columns by position in the newest schema: not empty, ascending, in range
    /// (else Fluss answers error 34).
    pub fn new(newest: &Schema, fields: &[usize]) -> Result<Self, ProjectionError> {
        let ascending = fields.windows(2).all(|pair| pair[0] < pair[1]);
        let in_range = fields
            .last()
            .is_some_and(|last| *last < newest.columns.len());
        if !ascending || !in_range {
            return Err(ProjectionError::Fields(fields.to_vec()));
        }
        let types = newest.columns.iter().map(|c| c.data_type.clone()).collect();
        Ok(Projection {
            fields: fields.to_vec(),
            types,
        })
    }

    /// The positions, ascending.
    pub fn fields(&self) -> &[usize] {
        &self.fields
    }

    /// Plans the projection of an ARROW batch from its first bytes. `columns` is how many columns
    /// the batch's own schema has: columns are only ever added at the end, so those are the first
    /// ones of the newest schema. Later columns are sent as nulls.
    pub fn plan(&self, prefix: &[u8], columns: usize) -> Result<Planned, ProjectionError> {
        let header = match HeaderView::parse(prefix) {
            Ok(header) => header,
            Err(BatchError::Cut { have, .. }) if have < HEADER_LEN_MAX => {
                // The smallest header is enough for the magic, which tells the rest.
                let need = prefix.get(12).map_or(HEADER_LEN_MAX, |magic| {
                    Magic::from_byte(*magic).map_or(HEADER_LEN_MAX, Magic::header_len)
                });
                return Ok(Planned::NeedMore(need));
            }
            Err(e) => return Err(e.into()),
        };
        let header_len = header.magic().header_len();
        if header.is_header_only() {
            return Ok(Planned::Plan(ProjectionPlan {
                head: prefix[..header_len].to_vec(),
                body_ranges: Vec::new(),
                tail: Bytes::new(),
                total_len: header_len,
            }));
        }
        let count = usize::try_from(header.record_count())
            .map_err(|_| ProjectionError::RecordCount(header.record_count()))?;
        let change_types = if header.append_only() { 0 } else { count };
        let message_at = header.records_at() + change_types;
        let batch = header.batch_len();
        let within = |need: usize| {
            if need > batch {
                Err(ProjectionError::Cut { batch, need })
            } else {
                Ok(need)
            }
        };
        let need = within(message_at + PREFIX_LEN)?;
        if prefix.len() < need {
            return Ok(Planned::NeedMore(need));
        }
        let need = within(message_at + body_start(&prefix[message_at..])?)?;
        if prefix.len() < need {
            return Ok(Planned::NeedMore(need));
        }
        let message = ArrowMessage::parse(&prefix[message_at..need])?;
        within(need.saturating_add(message.body_len))?;
        let columns = columns.min(self.types.len());
        message.check_shape(&self.types[..columns])?;
        self.rewrite(prefix, &header, message_at, &message, columns)
            .map(Planned::Plan)
    }

    fn rewrite(
        &self,
        prefix: &[u8],
        header: &HeaderView<'_>,
        message_at: usize,
        message: &ArrowMessage,
        columns: usize,
    ) -> Result<ProjectionPlan, ProjectionError> {
        let body_at = (message_at + message.body_start) as u64;
        let mut out = ArrowMessage {
            row_count: message.row_count,
            nodes: Vec::new(),
            buffers: Vec::new(),
            codec: message.codec,
            body_start: 0,
            body_len: 0,
        };
        let mut body_ranges: Vec<Range<u64>> = Vec::new();
        let mut at = Shape::default();
        for (i, data_type) in self.types[..columns].iter().enumerate() {
            let shape = Shape::of(data_type);
            if self.fields.binary_search(&i).is_ok() {
                out.nodes
                    .extend_from_slice(&message.nodes[at.nodes..at.nodes + shape.nodes]);
                for b in at.buffers..at.buffers + shape.buffers {
                    let padded = message.padded(b);
                    let length = message.buffers[b].length;
                    out.buffers.push(BufferSpan {
                        offset: out.body_len,
                        length,
                    });
                    out.body_len += padded.len();
                    let range = body_at + padded.start as u64..body_at + padded.end as u64;
                    match body_ranges.last_mut() {
                        Some(last) if last.end == range.start => last.end = range.end,
                        _ if range.is_empty() => {}
                        _ => body_ranges.push(range),
                    }
                }
            }
            at = at.plus(shape);
        }
        let tail = self.null_columns(columns, &mut out);
        out.body_start = metadata_len(out.nodes.len(), out.buffers.len(), out.codec);

        let header_len = header.magic().header_len();
        let mut head = prefix[..header_len].to_vec();
        head.extend_from_slice(&prefix[header.records_at()..message_at]);
        write_metadata(&out, &mut head);
        let total_len = head.len() + out.body_len;
        let length = i32::try_from(total_len - LENGTH_OVERHEAD)
            .map_err(|_| ProjectionError::TooLarge(total_len))?;
        head[8..12].copy_from_slice(&length.to_le_bytes());
        if header.magic() != Magic::V0 {
            head[header_len - 4..header_len].fill(0);
        }
        Ok(ProjectionPlan {
            head,
            body_ranges,
            tail,
            total_len,
        })
    }

    /// Appends the selected columns that a batch of so many columns lacks, and returns their body.
    fn null_columns(&self, columns: usize, out: &mut ArrowMessage) -> Bytes {
        let missing = &self.fields[self.fields.partition_point(|i| *i < columns)..];
        if missing.is_empty() {
            return Bytes::new();
        }
        let mut compressor = Compressor::new(out.codec);
        let mut body = Vec::new();
        let mut writer = BodyWriter::new(&mut compressor, &mut body);
        for i in missing {
            writer.array(&new_null_array(&arrow_type(&self.types[*i]), out.row_count));
        }
        let added = writer.finish(out.row_count, 0);
        out.nodes.extend(added.nodes);
        // Selected buffers end on a multiple of 8, so these stay aligned.
        let shifted = added.buffers.into_iter().map(|b| BufferSpan {
            offset: b.offset + out.body_len,
            ..b
        });
        out.buffers.extend(shifted);
        out.body_len += added.body_len;
        body.into()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use proptest::prelude::*;

    use super::*;
    use crate::batch::BatchFormat;
    use crate::columnar::{Decoder, RowsBuilder, arrow_schema};
    use crate::fluss::arrow_message::BufferCodec;
    use crate::fluss::batch::{BatchSpec, ChangeType, Changes, LogBatch, build_arrow, build_empty};
    use crate::fluss::vectors;
    use crate::ids::SchemaId;
    use crate::row::strategy;
    use crate::schema::TypeKind;

    /// Plans as a log does: with more bytes each time the plan asks for them.
    fn plan(projection: &Projection, batch: &[u8], columns: usize) -> ProjectionPlan {
        let mut have = 20;
        loop {
            match projection.plan(&batch[..have], columns).unwrap() {
                Planned::Plan(plan) => return plan,
                Planned::NeedMore(need) => {
                    assert!(need > have && need <= batch.len());
                    have = need;
                }
            }
        }
    }

    #[test]
    fn projected_batches_equal_those_of_a_fluss_server() {
        let schema = vectors::int_and_string();
        for (batch, field, expected) in [
            (&vectors::APPEND_ONLY, 0, &vectors::APPEND_ONLY_COLUMN_0),
            (&vectors::CHANGELOG, 1, &vectors::CHANGELOG_COLUMN_1),
            (&vectors::ZSTD, 1, &vectors::ZSTD_COLUMN_1),
        ] {
            let projection = Projection::new(&schema, &[field]).unwrap();
            let batch = batch.bytes();
            let plan = plan(&projection, &batch, 2);
            assert_eq!(plan.total_len, expected.bytes().len());
            assert_eq!(plan.body_ranges.len(), 1);
            assert_eq!(plan.apply(&batch), expected.bytes());
        }
    }

    #[test]
    fn a_header_only_batch_is_sent_as_it_is() {
        let batch = build_empty(&BatchSpec::new(SchemaId::new(1)), true).unwrap();
        let projection = Projection::new(&vectors::int_and_string(), &[1]).unwrap();
        assert_eq!(plan(&projection, &batch, 2).apply(&batch), batch);
    }

    #[test]
    fn statistics_are_dropped() {
        // The append-only batch as V1 with 16 bytes of statistics.
        let v0 = vectors::APPEND_ONLY.bytes();
        let mut v1 = v0[..48].to_vec();
        v1[12] = 1;
        let length = i32::try_from(v0.len() - 12 + 4 + 16).unwrap();
        v1[8..12].copy_from_slice(&length.to_le_bytes());
        v1.extend_from_slice(&16i32.to_le_bytes());
        v1.extend_from_slice(&[0xee; 16]);
        v1.extend_from_slice(&v0[48..]);
        let projection = Projection::new(&vectors::int_and_string(), &[0]).unwrap();
        let projected = plan(&projection, &v1, 2).apply(&v1);
        let expected = vectors::APPEND_ONLY_COLUMN_0.bytes();
        assert_eq!(projected.len(), expected.len() + 4);
        assert_eq!(projected[48..52], [0; 4]);
        assert_eq!(projected[52..], expected[48..]);
    }

    #[test]
    fn fields_must_be_ascending_and_in_range() {
        let schema = vectors::int_and_string();
        for fields in [&[][..], &[1, 0], &[0, 0], &[2]] {
            assert!(matches!(
                Projection::new(&schema, fields),
                Err(ProjectionError::Fields(_))
            ));
        }
    }

    #[test]
    fn a_batch_of_an_older_schema_gets_null_columns() {
        let mut newest = vectors::int_and_string();
        let list = DataType::nullable(TypeKind::Array(Box::new(DataType::nullable(TypeKind::Int))));
        for data_type in [DataType::nullable(TypeKind::Double), list] {
            let mut column = newest.columns[0].clone();
            column.name = format!("c{}", newest.columns.len());
            column.data_type = data_type;
            newest.columns.push(column);
        }
        let projection = Projection::new(&newest, &[1, 2, 3]).unwrap();
        for batch in [vectors::APPEND_ONLY.bytes(), vectors::ZSTD.bytes()] {
            let projected = plan(&projection, &batch, 2).apply(&batch);
            let mut sent = newest.clone();
            sent.columns.remove(0);
            let projected = LogBatch::parse(&projected.into()).unwrap();
            let decoded = Decoder::default()
                .decode(&projected, BatchFormat::FlussArrow, &sent, None)
                .unwrap();
            assert_eq!(decoded.rows.num_rows(), 2);
            assert_eq!(decoded.rows.column(0).null_count(), 1);
            assert_eq!(decoded.rows.column(1).null_count(), 2);
            assert_eq!(decoded.rows.column(2).null_count(), 2);
        }
    }

    proptest! {
        #[test]
        fn a_projected_batch_decodes_to_its_columns(
            (types, rows) in strategy::rows(),
            bits in any::<u8>(),
            codec in prop_oneof![
                Just(None),
                Just(Some(BufferCodec::Lz4Frame)),
                Just(Some(BufferCodec::Zstd)),
            ],
            changelog in any::<bool>(),
        ) {
            let names: Vec<_> = (0..types.len()).map(|i| format!("c{i}")).collect();
            let columns: Vec<_> =
                names.iter().map(String::as_str).zip(types.iter().cloned()).collect();
            let schema = vectors::schema(&columns);
            let mut builder = RowsBuilder::new(types.clone(), 1 << 20);
            for row in &rows {
                let row: Vec<_> = row.iter().map(strategy::Owned::datum).collect();
                builder.append(row.iter()).unwrap();
            }
            let arrays = builder.finish().unwrap();
            let batch =
                arrow_array::RecordBatch::try_new(arrow_schema(&schema), arrays).unwrap();
            let changes = vec![ChangeType::UpdateAfter; rows.len()];
            let changes =
                if changelog { Changes::PerRow(&changes) } else { Changes::AppendOnly };
            let spec = BatchSpec::new(SchemaId::new(1));
            let bytes =
                build_arrow(&spec, changes, &batch, &mut Compressor::new(codec)).unwrap();

            let mut fields: Vec<_> = (0..types.len()).filter(|i| bits & (1 << i) != 0).collect();
            if fields.is_empty() {
                fields.push(0);
            }
            let projection = Projection::new(&schema, &fields).unwrap();
            let plan = plan(&projection, &bytes, types.len());
            let projected = plan.apply(&bytes);
            prop_assert_eq!(projected.len(), plan.total_len);
            let mut sent = schema.clone();
            sent.columns = fields.iter().map(|i| schema.columns[*i].clone()).collect();
            let projected = LogBatch::parse(&projected.into()).unwrap();
            let decoded = Decoder::default()
                .decode(&projected, BatchFormat::FlussArrow, &sent, None)
                .unwrap();
            prop_assert_eq!(decoded.changes.as_changes(), changes);
            prop_assert_eq!(decoded.rows, batch.project(&fields).unwrap());
            if fields.len() == types.len() {
                // Nothing left out: the very same bytes.
                prop_assert_eq!(&projected.bytes()[..], &bytes[..]);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            have in any::<prop::sample::Index>(),
        ) {
            let mut batch = vectors::CHANGELOG.bytes().to_vec();
            for (at, value) in damage {
                let at = at.index(batch.len());
                batch[at] = value;
            }
            let projection = Projection::new(&vectors::int_and_string(), &[1]).unwrap();
            let _ = projection.plan(&batch[..have.index(batch.len() + 1)], 2);
            if let Ok(Planned::Plan(plan)) = projection.plan(&batch, 2) {
                let last = plan.body_ranges.last().map_or(0, |r| r.end);
                prop_assert!(last <= batch.len() as u64 || HeaderView::parse(&batch).unwrap().batch_len() > batch.len());
            }
        }
    }
}
