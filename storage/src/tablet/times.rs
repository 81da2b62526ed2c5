//! Finding records by time: Kafka's ListOffsets looks at record times, Fluss's at commit times.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, TimestampMillisecondArray};
use bytes::Bytes;
use protocol::batch::BatchFormat;
use protocol::columnar::Decoder;
use protocol::fluss::batch::LogBatch;
use protocol::ids::Offset;
use protocol::kafka::batch::BatchView;
use protocol::kafka::validate::Scratch;
use protocol::raw;

use super::error::{ConvertError, KafkaReadError};
use super::other_wire::committed_end;
use super::shape::TableShape;
use super::{RecordAt, Tablet};
use crate::log::frame::FrameHeader;
use crate::log::{Log, ReadError, ReadRange};

/// Bytes that one Kafka batch may decompress to. It was within the limit of its append, which is
/// lower.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

impl Tablet {
    /// The first record whose record time is `timestamp_ms` or later, among those that a reader
    /// sees (below the last stable offset for `committed_only`, else the high watermark).
    pub async fn offset_for_record_time(
        &self,
        timestamp_ms: i64,
        committed_only: bool,
    ) -> Result<Option<RecordAt>, KafkaReadError> {
        self.find(move |tablet| {
            let (start, end) = visible(tablet, committed_only);
            first_at(tablet, timestamp_ms, start, end)
        })
        .await
    }

    /// The record with the largest record time, the first of several (Kafka's KIP-734).
    pub async fn offset_of_largest_record_time(
        &self,
        committed_only: bool,
    ) -> Result<Option<RecordAt>, KafkaReadError> {
        self.find(move |tablet| {
            let (start, end) = visible(tablet, committed_only);
            let largest = tablet.log().log().largest_record_time(start, end)?;
            match largest {
                Some(time) => first_at(tablet, time, start, end),
                None => Ok(None),
            }
        })
        .await
    }

    /// The offset of the first batch that was appended at `timestamp_ms` or later on the commit
    /// clock; `None` when there is none that Fluss readers see.
    pub async fn offset_for_commit_time(
        &self,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, ReadError> {
        let found = move |log: &Log| {
            let w = log.watermarks();
            let end = committed_end(&w);
            let header = log.first_committed_at(timestamp_ms)?;
            Ok(header
                .map(|header| header.base_offset.max(w.log_start))
                .filter(|offset| *offset < end))
        };
        let log = self.log().clone();
        self.log().wait(move || found(log.log())).await
    }

    async fn find(
        &self,
        search: impl FnOnce(&Tablet) -> Result<Option<RecordAt>, KafkaReadError> + Send + 'static,
    ) -> Result<Option<RecordAt>, KafkaReadError> {
        let tablet = self.clone();
        self.log().wait(move || Ok(search(&tablet))).await?
    }
}

fn visible(tablet: &Tablet, committed_only: bool) -> (Offset, Offset) {
    let w = tablet.watermarks();
    let end = if committed_only {
        committed_end(&w)
    } else {
        w.high_watermark
    };
    (w.log_start, end)
}

/// The first record in `start..end` whose time is `time` or later.
fn first_at(
    tablet: &Tablet,
    time: i64,
    start: Offset,
    end: Offset,
) -> Result<Option<RecordAt>, KafkaReadError> {
    let mut from = start;
    // Taken after the watermarks, it knows the schemas of all that is visible.
    let shape = tablet.shape();
    let log = tablet.log().log();
    // A frame may have such a record only below the log start, or, before batches with a wrong
    // largest time were refused, none: then a later one has it.
    while let Some(header) = log.first_recorded_at(time, from, end)? {
        let range = ReadRange {
            offset: header.base_offset.max(start),
            end,
            bytes_max: 0,
            at_least_one: true,
        };
        let Some(run) = log.read_run(range, true)? else {
            return Ok(None);
        };
        let Some((header, batch)) = run.frames().next() else {
            return Ok(None);
        };
        if let Some(found) = first_in_batch(header, batch, &shape, time, start)? {
            return Ok(Some(found));
        }
        from = header.last_offset.next();
    }
    Ok(None)
}

fn first_in_batch(
    header: &FrameHeader,
    batch: &[u8],
    shape: &TableShape,
    time: i64,
    start: Offset,
) -> Result<Option<RecordAt>, ConvertError> {
    let found = if header.format == BatchFormat::Kafka {
        first_in_kafka_batch(header, batch, time, start)?
    } else if shape.raw {
        first_in_raw_batch(header, batch, shape, time, start)?
    } else {
        // Seen from Kafka, all rows of a Fluss batch have its commit time.
        (header.commit_time >= time).then(|| (header.commit_time, header.base_offset.max(start)))
    };
    Ok(found.map(|(timestamp_ms, offset)| RecordAt {
        timestamp_ms,
        offset,
        leader_epoch: header.leader_epoch,
    }))
}

fn first_in_kafka_batch(
    header: &FrameHeader,
    batch: &[u8],
    time: i64,
    start: Offset,
) -> Result<Option<(i64, Offset)>, ConvertError> {
    let at = header.base_offset;
    let view = BatchView::parse(batch).map_err(ConvertError::at(at))?;
    let mut scratch = Scratch::new();
    let records = scratch
        .records(&view, DECOMPRESSED_BYTES_MAX)
        .map_err(ConvertError::at(at))?;
    for record in records {
        let record = record.map_err(ConvertError::at(at))?;
        let offset = at + i64::from(record.offset_delta);
        let record_time = view.record_time(record.timestamp_delta);
        if record_time >= time && offset >= start {
            return Ok(Some((record_time, offset)));
        }
    }
    Ok(None)
}

fn first_in_raw_batch(
    header: &FrameHeader,
    batch: &[u8],
    shape: &TableShape,
    time: i64,
    start: Offset,
) -> Result<Option<(i64, Offset)>, ConvertError> {
    let at = header.base_offset;
    let batch = LogBatch::parse(&Bytes::copy_from_slice(batch)).map_err(ConvertError::at(at))?;
    let schema_id = batch.header().schema_id();
    let schema = shape.schema(schema_id).ok_or(ConvertError::UnknownSchema {
        offset: at,
        schema_id,
    })?;
    let columns = Some(&[raw::TIMESTAMP][..]);
    let decoded = Decoder::default()
        .decode(&batch, header.format, schema, columns)
        .map_err(ConvertError::at(at))?;
    let times = decoded.rows.column(0);
    let Some(times) = times.as_primitive_opt::<TimestampMillisecondType>() else {
        return Ok(None);
    };
    Ok((0..times.len())
        .map(|row| (record_time(times, row, header.commit_time), at + row as i64))
        .find(|(record_time, offset)| *record_time >= time && *offset >= start))
}

/// A row without a time has that of its append.
fn record_time(times: &TimestampMillisecondArray, row: usize, commit_time: i64) -> i64 {
    if times.is_valid(row) {
        times.value(row)
    } else {
        commit_time
    }
}
