//! Kafka frames as Fluss log batches of the raw schema.
//!
//! ```text
//!  frames   [0 1 2][3 4][C 5][6 _ 8 _]      C: control batch, _: offset without record
//!  batches  (0 1 2 3 4 |5)(6 |7)(8 |9)      |: the last offset delta reaches so far
//! ```
//!
//! Row i of a Fluss batch has the batch's base offset + i, so a gap between visible records ends a
//! batch; the last offset delta covers it. Offsets before the first visible record, and spans
//! without one, are a batch without rows.

use std::cell::RefCell;

use bytes::Bytes;
use protocol::fluss::batch::{
    Assigned, BatchSpec, BuildError, ChangeType, Changes, build_arrow, build_empty,
};
use protocol::ids::{Offset, SchemaId};
use protocol::kafka::batch::{BatchError, BatchView};
use protocol::kafka::record::RecordError;
use protocol::kafka::validate::{InvalidBatch, Scratch};
use protocol::raw::{RawBatchBuilder, RawColumns, RawError};

use super::parts::{Part, Parts};
use super::spans::SpanFrames;
use crate::log::frame::FrameHeader;
use crate::tablet::{ArrowCodec, ConvertError};

/// Bytes of values after which a batch ends. Below 1 MiB together with what Arrow adds, because
/// that is what the clients ask for per bucket.
const BATCH_BYTES_MAX: usize = 960 << 10;
/// Offsets, null bits and header lists of one row, about.
const ROW_OVERHEAD: usize = 16;
/// No more frames of a span are taken once its batches have so many bytes: well-compressed
/// frames must not fill the memory together.
const SPAN_BYTES_MAX: usize = 16 << 20;
/// Bytes that one batch may decompress to. It was within the limit of its append, which is lower.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;
/// Smaller batches are not compressed: a reader that follows the log would wait longer for the
/// compressor than for the bytes it saves.
const COMPRESS_FROM: usize = 16 << 10;

/// How rows are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct FlussForm {
    /// The schema of the frames, which is raw.
    pub(super) schema_id: SchemaId,
    /// The key is the primary key: values are `+U`, tombstones `-D`.
    pub(super) compacted: bool,
    /// The columns to build.
    pub(super) columns: RawColumns,
    /// Compression of batches that are worth it.
    pub(super) codec: ArrowCodec,
    /// Records below it are left out, because they were deleted.
    pub(super) log_start: Offset,
}

/// Transcodes the frames of a span. Stops after a frame when there is much already: the parts say
/// how far it came.
pub(super) fn to_fluss(frames: &SpanFrames, form: &FlussForm) -> Result<Parts, ConvertError> {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let parts = with_scratch(frames, form, scratch);
        scratch.trim();
        parts
    })
}

fn with_scratch(
    frames: &SpanFrames,
    form: &FlussForm,
    scratch: &mut Scratch,
) -> Result<Parts, ConvertError> {
    let mut writer: Option<Writer> = None;
    for (header, batch) in frames.iter() {
        let start = header.base_offset.max(form.log_start);
        let writer = writer.get_or_insert_with(|| Writer::new(*form, start));
        if writer.bytes >= SPAN_BYTES_MAX {
            break;
        }
        writer
            .frame(header, &batch, scratch)
            .map_err(ConvertError::at(header.base_offset))?;
    }
    match writer {
        Some(writer) => {
            let start = writer.cursor;
            writer.finish().map_err(ConvertError::at(start))
        }
        None => Ok(Parts::default()),
    }
}

/// Why a Kafka batch of the log cannot become rows. It was checked before it was appended.
#[derive(Debug, thiserror::Error)]
enum ToFlussError {
    #[error(transparent)]
    Header(#[from] BatchError),
    #[error("crc does not hold")]
    Crc,
    #[error(transparent)]
    Records(#[from] InvalidBatch),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("record offset {0} is not above the one before, or past the batch")]
    OffsetDelta(i32),
    #[error(transparent)]
    Row(#[from] RawError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

struct Writer {
    form: FlussForm,
    parts: Vec<Part>,
    bytes: usize,
    /// Offset after all that was taken note of.
    cursor: Offset,
    /// Where the offsets begin that no part covers yet.
    covered: Offset,
    /// Rows from `covered` on, without a gap.
    rows: RawBatchBuilder,
    changes: Vec<ChangeType>,
    commit_time: i64,
}

impl Writer {
    fn new(form: FlussForm, start: Offset) -> Writer {
        Writer {
            parts: Vec::new(),
            bytes: 0,
            cursor: start,
            covered: start,
            rows: RawBatchBuilder::new(form.columns, form.compacted),
            changes: Vec::new(),
            commit_time: 0,
            form,
        }
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        batch: &[u8],
        scratch: &mut Scratch,
    ) -> Result<(), ToFlussError> {
        self.commit_time = self.commit_time.max(header.commit_time);
        if !header.control {
            let view = BatchView::parse(batch)?;
            if !view.crc_is_valid() {
                return Err(ToFlussError::Crc);
            }
            for record in scratch.records(&view, DECOMPRESSED_BYTES_MAX)? {
                let record = record?;
                let offset = header.base_offset + i64::from(record.offset_delta);
                if offset < self.form.log_start {
                    continue;
                }
                if offset < self.cursor || offset > header.last_offset {
                    return Err(ToFlussError::OffsetDelta(record.offset_delta));
                }
                // A compacted topic may hold older records without a key: nobody could ask for
                // them, they are gaps.
                if self.form.compacted && record.key.is_none() {
                    continue;
                }
                let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                self.make_room(offset, size)?;
                self.rows.append(
                    record.key,
                    record.value,
                    view.record_time(record.timestamp_delta),
                    record.headers.iter().map(|h| (h.key, h.value)),
                )?;
                if self.form.compacted {
                    self.changes.push(match record.value {
                        Some(_) => ChangeType::UpdateAfter,
                        None => ChangeType::Delete,
                    });
                }
                self.cursor = offset.next();
            }
        }
        self.cursor = self.cursor.max(header.last_offset.next());
        Ok(())
    }

    /// Makes `offset` the place of the next row.
    fn make_room(&mut self, offset: Offset, size: usize) -> Result<(), ToFlussError> {
        if self.rows.is_empty() {
            if offset > self.covered {
                self.write_empty(offset)?;
            }
            return Ok(());
        }
        let full = self.rows.bytes() + self.rows.len() * ROW_OVERHEAD + size > BATCH_BYTES_MAX;
        if full || offset - self.covered != self.rows.len() as i64 {
            self.write_rows(offset)?;
        }
        Ok(())
    }

    fn spec(&self, end: Offset) -> Result<BatchSpec, BuildError> {
        let delta = end - self.covered - 1;
        Ok(BatchSpec {
            schema_id: self.form.schema_id,
            writer: None,
            last_offset_delta: Some(
                i32::try_from(delta).map_err(|_| BuildError::TooLarge(delta as usize))?,
            ),
            assigned: Assigned {
                base_offset: self.covered.value(),
                commit_time_ms: self.commit_time,
            },
        })
    }

    /// The rows so far and what follows them up to `end` are a batch.
    fn write_rows(&mut self, end: Offset) -> Result<(), ToFlussError> {
        let form = self.form;
        let rows = std::mem::replace(
            &mut self.rows,
            RawBatchBuilder::new(form.columns, form.compacted),
        );
        let lossy = rows.lossy_header_keys();
        if lossy > 0 {
            metrics::counter!("vltava_transcoder_lossy_header_keys_total").increment(lossy);
        }
        let worth_it = rows.bytes() >= COMPRESS_FROM;
        let codec = if worth_it {
            form.codec
        } else {
            ArrowCodec::None
        };
        let changes = std::mem::take(&mut self.changes);
        let batch = build_arrow(
            &self.spec(end)?,
            if form.compacted {
                Changes::PerRow(&changes)
            } else {
                Changes::AppendOnly
            },
            &rows.finish(),
            &mut codec.compressor(),
        )?;
        self.push(end, batch);
        Ok(())
    }

    fn write_empty(&mut self, end: Offset) -> Result<(), ToFlussError> {
        let batch = build_empty(&self.spec(end)?, !self.form.compacted)?;
        self.push(end, batch);
        Ok(())
    }

    fn push(&mut self, end: Offset, batch: Vec<u8>) {
        self.bytes += batch.len();
        self.parts.push(Part {
            start: self.covered,
            end,
            bytes: Bytes::from(batch),
        });
        self.covered = end;
    }

    fn finish(mut self) -> Result<Parts, ToFlussError> {
        let end = self.cursor;
        if !self.rows.is_empty() {
            self.write_rows(end)?;
        } else if end > self.covered {
            self.write_empty(end)?;
        }
        Ok(Parts { parts: self.parts })
    }
}
