//! Fluss log batches as Kafka record batches.
//!
//! `+A`, `+I` and `+U` are records, `-D` is a tombstone, `-U` an offset without record. The value
//! is the row as a JSON object (`protocol::json`), the key that of the key columns; in tables of
//! the raw schema the columns are key, value, time and headers themselves. Elsewhere the record
//! time is the commit time.
//!
//! Kafka batches may have gaps anywhere, so the frames of a span become one batch of up to 1 MiB.
//! A span without records is a batch without records, which is what Kafka's own cleaner leaves:
//! clients go on after its last offset.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use protocol::columnar::{DecodeError, Decoder};
use protocol::fluss::batch::{BatchError, ChangeType, LogBatch};
use protocol::ids::{LeaderEpoch, Offset};
use protocol::json::{JsonError, JsonRows};
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use protocol::kafka::record::Header;
use protocol::raw::{RawRows, is_raw};
use protocol::schema::Schema;

use super::parts::{Part, Parts};
use super::spans::SpanFrames;
use crate::log::frame::FrameHeader;
use crate::tablet::ConvertError;

/// Bytes after which a batch ends: Kafka's default `max.partition.fetch.bytes`.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// No more rows of a span are taken once its batches have so many bytes: compressed columns of a
/// few bytes may be gigabytes of JSON.
const SPAN_BYTES_MAX: usize = 16 << 20;

/// How records are written.
#[derive(Debug, Clone)]
pub(super) struct KafkaForm {
    /// The schema of the frames.
    pub(super) schema: Arc<Schema>,
    /// Positions of the columns that are the key; none: records have no key.
    pub(super) key_columns: Arc<[usize]>,
    /// The epoch of the frames.
    pub(super) leader_epoch: LeaderEpoch,
    /// Rows below it are left out, because they were deleted.
    pub(super) log_start: Offset,
}

/// Transcodes the frames of a span. Stops, also inside a frame, when there is much already: the
/// parts say how far it came.
pub(super) fn to_kafka(frames: &SpanFrames, form: &KafkaForm) -> Result<Parts, ConvertError> {
    thread_local! {
        static DECODER: RefCell<Decoder> = RefCell::default();
    }
    DECODER.with_borrow_mut(|decoder| {
        let mut writer: Option<Writer> = None;
        for (header, batch) in frames.iter() {
            let start = header.base_offset.max(form.log_start);
            let writer = writer.get_or_insert_with(|| Writer::new(form, start));
            if writer.bytes >= SPAN_BYTES_MAX {
                break;
            }
            writer
                .frame(header, &batch, decoder)
                .map_err(ConvertError::at(header.base_offset))?;
        }
        Ok(writer.map(Writer::finish).unwrap_or_default())
    })
}

/// Why a Fluss batch of the log cannot become records. It was checked before it was appended.
#[derive(Debug, thiserror::Error)]
enum ToKafkaError {
    #[error(transparent)]
    Header(#[from] BatchError),
    #[error("crc does not hold")]
    Crc,
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("rows are not of the raw schema")]
    NotRaw,
    #[error("batch has more rows than offsets")]
    Rows,
}

struct Writer<'a> {
    form: &'a KafkaForm,
    raw: bool,
    parts: Vec<Part>,
    bytes: usize,
    /// Offset after all that was taken note of.
    cursor: Offset,
    /// First offset of `batch`.
    base: Offset,
    batch: BatchBuilder,
    commit_time: i64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(form: &'a KafkaForm, start: Offset) -> Writer<'a> {
        Writer {
            raw: is_raw(&form.schema),
            parts: Vec::new(),
            bytes: 0,
            cursor: start,
            base: start,
            batch: batch_at(form, start),
            commit_time: 0,
            key: Vec::new(),
            value: Vec::new(),
            form,
        }
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        bytes: &Bytes,
        decoder: &mut Decoder,
    ) -> Result<(), ToKafkaError> {
        self.commit_time = header.commit_time;
        let batch = LogBatch::parse(bytes)?;
        if !batch.crc_holds() {
            return Err(ToKafkaError::Crc);
        }
        let decoded = decoder.decode(&batch, header.format, &self.form.schema, None)?;
        let rows = decoded.rows.num_rows();
        if rows as i64 > header.last_offset.next() - header.base_offset {
            return Err(ToKafkaError::Rows);
        }
        let changes = decoded.changes.as_changes();
        let first = (self.form.log_start - header.base_offset).max(0) as usize;
        let visible = (first..rows).filter_map(|row| match changes.get(row) {
            ChangeType::UpdateBefore => None,
            change => Some((row, change == ChangeType::Delete)),
        });
        if self.raw {
            let raw = RawRows::new(&decoded.rows).ok_or(ToKafkaError::NotRaw)?;
            for (row, deleted) in visible {
                let offset = header.base_offset + row as i64;
                if self.bytes >= SPAN_BYTES_MAX {
                    self.cursor = offset;
                    return Ok(());
                }
                let record = raw.get(row);
                let time = record.timestamp_ms.unwrap_or(header.commit_time);
                let headers = record.headers();
                self.append(
                    offset,
                    time,
                    record.key,
                    record.value.filter(|_| !deleted),
                    headers.map(|(key, value)| Header {
                        key: key.as_bytes(),
                        value,
                    }),
                );
            }
        } else {
            let values = JsonRows::new(&decoded.rows, &self.form.schema)?;
            let keys = match &*self.form.key_columns {
                [] => None,
                columns => Some(JsonRows::of_columns(
                    &decoded.rows,
                    &self.form.schema,
                    columns,
                )?),
            };
            let (mut key, mut value) = (
                std::mem::take(&mut self.key),
                std::mem::take(&mut self.value),
            );
            for (row, deleted) in visible {
                key.clear();
                value.clear();
                let offset = header.base_offset + row as i64;
                if self.bytes >= SPAN_BYTES_MAX {
                    self.cursor = offset;
                    (self.key, self.value) = (key, value);
                    return Ok(());
                }
                let written = match &keys {
                    Some(keys) => keys.write(row, &mut key),
                    None => Ok(()),
                };
                let written = match deleted {
                    true => written,
                    false => written.and_then(|()| values.write(row, &mut value)),
                };
                if let Err(error) = written {
                    // No Kafka client could fetch it: to them the offset is a gap.
                    metrics::counter!("vltava_transcoder_rows_too_large_total").increment(1);
                    tracing::warn!(%offset, %error, "a row is not shown to Kafka clients");
                    (key, value) = (Vec::new(), Vec::new());
                    self.cursor = offset.next();
                    continue;
                }
                self.append(
                    offset,
                    header.commit_time,
                    keys.is_some().then_some(key.as_slice()),
                    (!deleted).then_some(value.as_slice()),
                    std::iter::empty(),
                );
            }
            (self.key, self.value) = (key, value);
        }
        self.cursor = self.cursor.max(header.last_offset.next());
        Ok(())
    }

    fn append<'h>(
        &mut self,
        offset: Offset,
        time: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'h>> + Clone,
    ) {
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let full =
            !self.batch.is_empty() && self.batch.uncompressed_length() + size > BATCH_BYTES_MAX;
        let too_far = offset - self.base > i64::from(i32::MAX);
        if full || too_far {
            self.write(offset);
        }
        let delta = (offset - self.base) as i32;
        self.batch.append(delta, time, key, value, headers);
        self.cursor = offset.next();
    }

    /// The records so far and the offsets behind them up to `end` are a batch.
    fn write(&mut self, end: Offset) {
        let mut batch = std::mem::replace(&mut self.batch, batch_at(self.form, end));
        if batch.is_empty() {
            batch.set_max_timestamp(self.commit_time);
        }
        let delta = (end - self.base - 1).min(i64::from(i32::MAX));
        batch.set_last_offset_delta(delta as i32);
        let bytes = batch.finish();
        self.bytes += bytes.len();
        self.parts.push(Part {
            start: self.base,
            end,
            bytes,
        });
        self.base = end;
    }

    fn finish(mut self) -> Parts {
        if self.cursor > self.base {
            self.write(self.cursor);
        }
        Parts { parts: self.parts }
    }
}

fn batch_at(form: &KafkaForm, base: Offset) -> BatchBuilder {
    BatchBuilder::new(BatchOptions {
        base_offset: base.value(),
        leader_epoch: form.leader_epoch.value(),
        ..BatchOptions::default()
    })
}
