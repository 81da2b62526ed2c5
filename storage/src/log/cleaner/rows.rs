//! Fluss batches under the cleaner: rows in offset order, without a gap inside a batch.
//!
//! ```text
//!  frame      0 1 2 3 4 5 6      of which 0, 3 and 6 go
//!  becomes    (1 2 |3) (4 5 |6)  |: the last offset delta reaches so far
//! ```
//!
//! Row i of a batch has the batch's base offset + i, so rows that go from the middle split it. The
//! last piece takes the rest of the offsets and carries the writer on.

use std::io;

use bytes::Bytes;
use protocol::batch::BatchFormat;
use protocol::columnar::{DecodedBatch, Decoder, row_at};
use protocol::fluss::batch::{
    Assigned, BatchSpec, BuildError, Changes, LogBatch, build_arrow, build_empty, build_rows,
};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::options::KvFormat;
use protocol::ids::SchemaId;
use protocol::row::RowLayout;
use protocol::schema::Schema;

use super::format::{RewriteError, UnreadableBatch};
use crate::log::frame::FrameHeader;

/// Reads Fluss batches and writes what is left of them. Keeps the memory of codecs.
pub struct RowBatches {
    decoder: Decoder,
    compressor: Compressor,
}

impl RowBatches {
    /// Columns are written with this compressor.
    pub fn new(compressor: Compressor) -> RowBatches {
        RowBatches {
            decoder: Decoder::default(),
            compressor,
        }
    }

    /// The schema that a batch was written with.
    pub fn parse(batch: &[u8]) -> Result<(LogBatch, SchemaId), UnreadableBatch> {
        let batch =
            LogBatch::parse(&Bytes::copy_from_slice(batch)).map_err(UnreadableBatch::from)?;
        let id = batch.header().schema_id();
        Ok((batch, id))
    }

    /// The rows of a batch.
    pub fn decode(
        &mut self,
        header: &FrameHeader,
        batch: &LogBatch,
        schema: &Schema,
    ) -> Result<DecodedBatch, UnreadableBatch> {
        self.decoder
            .decode(batch, header.format, schema, None)
            .map_err(UnreadableBatch::from)
    }

    /// Writes the rows for which `stays` is true, as what `decoded.changes` says.
    pub fn write(
        &mut self,
        header: &FrameHeader,
        batch: &LogBatch,
        schema: &Schema,
        decoded: &DecodedBatch,
        stays: impl Fn(usize) -> bool,
        write: &mut dyn FnMut(&FrameHeader, &[u8]) -> io::Result<()>,
    ) -> Result<(), RewriteError> {
        let count = decoded.rows.num_rows();
        let mut first = (0..count).find(|row| stays(*row));
        if first.is_none() {
            let spec = spec_of(header, batch, 0, None)?;
            let append_only = batch.header().append_only();
            let bytes = build_empty(&spec, append_only).map_err(UnreadableBatch::from)?;
            return Ok(write(&with_length(header, &bytes), &bytes)?);
        }
        while let Some(start) = first {
            let end = (start..count).find(|row| !stays(*row)).unwrap_or(count);
            first = (end..count).find(|row| stays(*row));
            let next = first.map(|row| row as i32);
            let spec = spec_of(header, batch, start as i32, next)?;
            let bytes = self
                .build(&spec, header.format, schema, decoded, start..end)
                .map_err(RewriteError::Unreadable)?;
            let delta = spec.last_offset_delta.unwrap_or_default();
            let base_offset = header.base_offset + start as i64;
            let piece = FrameHeader {
                base_offset,
                last_offset: base_offset + i64::from(delta),
                // Whose batch it was, its last piece says.
                source: header.source.filter(|_| next.is_none()),
                ..with_length(header, &bytes)
            };
            write(&piece, &bytes)?;
        }
        Ok(())
    }

    fn build(
        &mut self,
        spec: &BatchSpec,
        format: BatchFormat,
        schema: &Schema,
        decoded: &DecodedBatch,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<u8>, UnreadableBatch> {
        let changes = match decoded.changes.as_changes() {
            Changes::PerRow(changes) => Changes::PerRow(&changes[range.clone()]),
            Changes::AppendOnly => Changes::AppendOnly,
        };
        let form = match format {
            BatchFormat::FlussIndexed => KvFormat::Indexed,
            BatchFormat::FlussCompacted => KvFormat::Compacted,
            _ => {
                let rows = decoded.rows.slice(range.start, range.len());
                return build_arrow(spec, changes, &rows, &mut self.compressor)
                    .map_err(UnreadableBatch::from);
            }
        };
        let layout = RowLayout::of(form, schema);
        let (mut bytes, mut starts, mut values) = (Vec::new(), vec![0], Vec::new());
        for row in range {
            row_at(&decoded.rows, schema, row, &mut values);
            layout
                .write(&values, &mut bytes)
                .map_err(UnreadableBatch::from)?;
            starts.push(bytes.len());
        }
        let pieces: Vec<&[u8]> = starts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        build_rows(spec, changes, pieces.into_iter()).map_err(UnreadableBatch::from)
    }
}

/// What a piece says of itself that begins at row `start` of the batch; the next one begins at row
/// `next`, or there is none.
fn spec_of(
    header: &FrameHeader,
    batch: &LogBatch,
    start: i32,
    next: Option<i32>,
) -> Result<BatchSpec, UnreadableBatch> {
    let view = batch.header();
    let delta = match next {
        Some(next) => i64::from(next - start - 1),
        None => header.last_offset - header.base_offset - i64::from(start),
    };
    let delta = i32::try_from(delta)
        .map_err(|_| UnreadableBatch::from(BuildError::TooLarge(delta as usize)))?;
    let writer = (view.writer_id(), view.batch_sequence());
    Ok(BatchSpec {
        schema_id: view.schema_id(),
        writer: (next.is_none() && writer.0 >= 0).then_some(writer),
        last_offset_delta: Some(delta),
        assigned: Assigned {
            base_offset: header.base_offset.value() + i64::from(start),
            commit_time_ms: header.commit_time,
        },
    })
}

fn with_length(header: &FrameHeader, bytes: &[u8]) -> FrameHeader {
    FrameHeader {
        batch_length: bytes.len() as u32,
        ..*header
    }
}
