//! The frames of a compacted topic under the cleaner.

use bytes::Bytes;
use protocol::batch::BatchFormat;
use protocol::columnar::Decoder;
use protocol::fluss::batch::LogBatch;
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use protocol::kafka::record::Header;
use protocol::raw::{RawRows, raw_schema};

use super::frames::FrameError;
use crate::log::cleaner::{
    Judged, KafkaFormat, KeyedRecord, RecordFormat, Rewrite, RewriteError, UnreadableBatch,
};
use crate::log::frame::FrameHeader;

/// Kafka batches, and Arrow batches that Fluss clients appended before the topic was compacted: a
/// row is a record, and where one of them goes, the others are written as a Kafka batch.
#[derive(Default)]
pub struct TopicFormat {
    kafka: KafkaFormat,
    decoder: Decoder,
}

impl TopicFormat {
    /// A Fluss frame as the Kafka frame with the same records at the same offsets.
    fn as_kafka(
        &mut self,
        header: &FrameHeader,
        batch: &[u8],
    ) -> Result<(FrameHeader, Bytes), FrameError> {
        let batch = LogBatch::parse(&Bytes::copy_from_slice(batch))?;
        if !batch.crc_holds() {
            return Err(FrameError::Crc);
        }
        let mut builder = BatchBuilder::new(BatchOptions::default());
        if !batch.header().is_header_only() {
            let schema = raw_schema(false);
            let decoded = self.decoder.decode(&batch, header.format, &schema, None)?;
            let rows = RawRows::new(&decoded.rows).ok_or(FrameError::NotRaw)?;
            for (delta, row) in (0..).zip(rows.iter()) {
                let time_ms = row.timestamp_ms.unwrap_or(protocol::batch::NO_TIME);
                let headers = row.headers().map(|(key, value)| Header {
                    key: key.as_bytes(),
                    value,
                });
                builder.append(delta, time_ms, row.key, row.value, headers);
            }
        }
        let delta = header.last_offset - header.base_offset;
        builder.set_last_offset_delta(i32::try_from(delta).unwrap_or(i32::MAX));
        let bytes = builder.finish();
        let header = FrameHeader {
            format: BatchFormat::Kafka,
            batch_length: bytes.len() as u32,
            ..*header
        };
        Ok((header, bytes))
    }
}

impl RecordFormat for TopicFormat {
    fn read(
        &mut self,
        header: &FrameHeader,
        batch: &[u8],
        arena: &mut Vec<u8>,
        records: &mut Vec<KeyedRecord>,
    ) -> Result<(), UnreadableBatch> {
        if !header.format.is_fluss() {
            return self.kafka.read(header, batch, arena, records);
        }
        let (header, batch) = self.as_kafka(header, batch).map_err(unreadable)?;
        self.kafka.read(&header, &batch, arena, records)
    }

    fn delete_horizon(&self, header: &FrameHeader, batch: &[u8]) -> Option<i64> {
        match header.format.is_fluss() {
            true => None,
            false => self.kafka.delete_horizon(header, batch),
        }
    }

    fn must_rewrite(
        &self,
        header: &FrameHeader,
        records: &[KeyedRecord],
        judged: &Judged<'_>,
    ) -> bool {
        self.kafka.must_rewrite(header, records, judged)
    }

    fn rewrite(
        &mut self,
        frame: Rewrite<'_>,
        write: &mut dyn FnMut(&FrameHeader, &[u8]) -> std::io::Result<()>,
    ) -> Result<(), RewriteError> {
        if !frame.header.format.is_fluss() {
            return self.kafka.rewrite(frame, write);
        }
        let (header, batch) = self
            .as_kafka(frame.header, frame.batch)
            .map_err(unreadable)?;
        let frame = Rewrite {
            header: &header,
            batch: &batch,
            ..frame
        };
        self.kafka.rewrite(frame, write)
    }
}

fn unreadable(error: FrameError) -> UnreadableBatch {
    UnreadableBatch::from(error)
}
