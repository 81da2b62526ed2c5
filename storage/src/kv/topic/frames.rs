//! The records of a topic's frames as entries of its index.

use std::borrow::Cow;

use bytes::Bytes;
use protocol::batch::{BatchFormat, NO_TIME};
use protocol::columnar::{DecodeError, Decoder};
use protocol::fluss::batch::{BatchError as FlussBatchError, ChangeType, LogBatch};
use protocol::fluss::options::KvFormat;
use protocol::ids::{Offset, SchemaId};
use protocol::kafka::batch::{BatchError, BatchView};
use protocol::kafka::record::RecordError;
use protocol::kafka::validate::{InvalidBatch, Scratch};
use protocol::raw::{RawRows, raw_schema};
use protocol::row::{Datum, RowError, RowLayout, Timestamp};
use protocol::schema::Schema;

use super::entry::Entry;
use crate::log::frame::FrameHeader;

/// Bytes that one batch may decompress to. It was within the limit of its append, which is lower.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;
/// Memory for one entry that is kept for the next one.
const ENTRY_BYTES_KEPT: usize = 1 << 20;

/// Why a frame has no records. It was checked before it was appended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum FrameError {
    #[error(transparent)]
    Header(#[from] BatchError),
    #[error("crc does not hold")]
    Crc,
    #[error(transparent)]
    Records(#[from] InvalidBatch),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    FlussHeader(#[from] FlussBatchError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("rows are not of the raw schema")]
    NotRaw,
    #[error(transparent)]
    Row(#[from] RowError),
}

/// One record with a key.
pub(super) struct Keyed<'a> {
    pub(super) offset: Offset,
    pub(super) key: &'a [u8],
    /// The entry's bytes.
    pub(super) entry: &'a [u8],
}

/// Reads frames. Has memory that is used again: one per thread.
pub(super) struct FrameReader {
    scratch: Scratch,
    decoder: Decoder,
    /// Of Fluss frames, which are older than the topic's key.
    unkeyed: Schema,
    rows: RowWriter,
}

impl FrameReader {
    pub(super) fn new() -> FrameReader {
        FrameReader {
            scratch: Scratch::new(),
            decoder: Decoder::default(),
            unkeyed: raw_schema(false),
            rows: RowWriter::new(),
        }
    }

    /// Calls `apply` with each record that has a key, from offset `from` on and in order. Rows get
    /// this schema id.
    pub(super) fn read<E: From<FrameError>>(
        &mut self,
        header: &FrameHeader,
        batch: &[u8],
        from: Offset,
        schema_id: SchemaId,
        apply: &mut impl FnMut(Keyed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if header.control {
            return Ok(());
        }
        let read = match header.format {
            BatchFormat::Kafka => self.kafka(header, batch, from, schema_id, apply),
            _ => self.fluss(header, batch, from, schema_id, apply),
        };
        self.scratch.trim();
        self.rows.trim();
        read
    }

    fn kafka<E: From<FrameError>>(
        &mut self,
        header: &FrameHeader,
        batch: &[u8],
        from: Offset,
        schema_id: SchemaId,
        apply: &mut impl FnMut(Keyed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let view = BatchView::parse(batch).map_err(FrameError::from)?;
        if !view.crc_is_valid() {
            return Err(FrameError::Crc.into());
        }
        let records = self.scratch.records(&view, DECOMPRESSED_BYTES_MAX);
        for record in records.map_err(FrameError::from)? {
            let record = record.map_err(FrameError::from)?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            let Some(key) = record.key.filter(|_| offset >= from) else {
                continue;
            };
            let record_time = view.record_time(record.timestamp_delta);
            let found = Entry {
                offset,
                commit_time: header.commit_time,
                record_time,
                value: record.value,
            };
            let headers = record.headers.iter().map(|h| (h.key, h.value));
            let keyed = self.rows.keyed(schema_id, key, &found, headers);
            apply(keyed.map_err(FrameError::from)?)?;
        }
        Ok(())
    }

    /// Rows that Fluss clients appended before the topic was compacted.
    fn fluss<E: From<FrameError>>(
        &mut self,
        header: &FrameHeader,
        batch: &[u8],
        from: Offset,
        schema_id: SchemaId,
        apply: &mut impl FnMut(Keyed<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let batch = LogBatch::parse(&Bytes::copy_from_slice(batch)).map_err(FrameError::from)?;
        if !batch.crc_holds() {
            return Err(FrameError::Crc.into());
        }
        if batch.header().is_header_only() {
            return Ok(());
        }
        let decoded = self
            .decoder
            .decode(&batch, header.format, &self.unkeyed, None)
            .map_err(FrameError::from)?;
        let changes = decoded.changes.as_changes();
        let rows = RawRows::new(&decoded.rows).ok_or(FrameError::NotRaw)?;
        for (i, row) in rows.iter().enumerate() {
            let offset = header.base_offset + i as i64;
            let change = changes.get(i);
            let Some(key) = row.key.filter(|_| offset >= from) else {
                continue;
            };
            if change == ChangeType::UpdateBefore {
                continue;
            }
            let found = Entry {
                offset,
                commit_time: header.commit_time,
                record_time: row.timestamp_ms.unwrap_or(NO_TIME),
                value: row.value.filter(|_| change != ChangeType::Delete),
            };
            let headers = row.headers().map(|(key, value)| (key.as_bytes(), value));
            let keyed = self.rows.keyed(schema_id, key, &found, headers);
            apply(keyed.map_err(FrameError::from)?)?;
        }
        Ok(())
    }
}

/// Writes rows of the raw schema as lookups answer with them.
struct RowWriter {
    layout: RowLayout,
    entry: Vec<u8>,
}

impl RowWriter {
    fn new() -> RowWriter {
        RowWriter {
            layout: RowLayout::of(KvFormat::Compacted, &raw_schema(true)),
            entry: Vec::new(),
        }
    }

    /// A record, whose value is still the record's, with its entry.
    fn keyed<'w, 'r>(
        &'w mut self,
        schema_id: SchemaId,
        key: &'w [u8],
        record: &Entry<'r>,
        headers: impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)>,
    ) -> Result<Keyed<'w>, RowError> {
        let mut entry = std::mem::take(&mut self.entry);
        entry.clear();
        let written = self.write(schema_id, key, record, headers, &mut entry);
        self.entry = entry;
        written?;
        Ok(Keyed {
            offset: record.offset,
            key,
            entry: &self.entry,
        })
    }

    /// Gives back the memory of a large entry.
    fn trim(&mut self) {
        self.entry.clear();
        self.entry.shrink_to(ENTRY_BYTES_KEPT);
    }

    /// Appends the entry of a record.
    fn write<'r>(
        &self,
        schema_id: SchemaId,
        key: &[u8],
        record: &Entry<'r>,
        headers: impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)>,
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        record.write_head(record.value.is_some(), out);
        let Some(value) = record.value else {
            return Ok(());
        };
        out.extend_from_slice(&schema_id.value().to_le_bytes());
        let texts: Vec<(Cow<'_, str>, _)> = headers
            .map(|(key, value)| (String::from_utf8_lossy(key), value))
            .collect();
        let headers = texts.iter().map(|(key, value)| {
            let value = value.map_or(Datum::Null, Datum::Bytes);
            Datum::Row(vec![Datum::String(key), value])
        });
        let mut row = self.layout.pieces(out);
        row.value(&Datum::Bytes(key))?;
        row.value(&Datum::Bytes(value))?;
        match record.record_time {
            NO_TIME => row.null()?,
            millis => row.value(&Datum::Timestamp(Timestamp { millis, nanos: 0 }))?,
        }
        row.value(&Datum::Array(headers.collect()))?;
        row.finish()
    }
}
