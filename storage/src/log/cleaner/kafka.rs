//! Kafka batches under the cleaner.

use protocol::batch::NO_TIME;
use protocol::kafka::batch::BatchView;
use protocol::kafka::record::Records;
use protocol::kafka::retain::retain;
use protocol::kafka::validate::Scratch;

use super::format::{Judged, KeyedRecord, RecordFormat, Rewrite, RewriteError, UnreadableBatch};
use crate::log::frame::FrameHeader;

/// Bytes that one batch may decompress to. It was within the limit of its append, which is lower.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;
/// Working memory above this is given back after the batch that needed it.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Reads keys out of Kafka batches, and leaves records out as Kafka's own cleaner does: a batch
/// keeps its offsets, and its delete horizon stands where Kafka has it (KIP-534).
#[derive(Default)]
pub struct KafkaFormat {
    scratch: Scratch,
    plain: Vec<u8>,
    written: Vec<u8>,
}

impl RecordFormat for KafkaFormat {
    fn read(
        &mut self,
        header: &FrameHeader,
        batch: &[u8],
        arena: &mut Vec<u8>,
        records: &mut Vec<KeyedRecord>,
    ) -> Result<(), UnreadableBatch> {
        let view = BatchView::parse(batch).map_err(UnreadableBatch::from)?;
        let payload = self
            .scratch
            .payload(&view, DECOMPRESSED_BYTES_MAX)
            .map_err(UnreadableBatch::from)?;
        let start = arena.len();
        arena.extend_from_slice(payload);
        let payload_at = payload.as_ptr() as usize;
        for record in Records::new(payload, view.record_count()) {
            let record = record.map_err(UnreadableBatch::from)?;
            records.push(KeyedRecord {
                // Keys lie in the payload that has just been copied.
                key: record.key.map(|key| {
                    let at = start + (key.as_ptr() as usize - payload_at);
                    at..at + key.len()
                }),
                offset: header.base_offset + i64::from(record.offset_delta),
                tombstone: record.value.is_none(),
            });
        }
        self.scratch.trim();
        Ok(())
    }

    fn delete_horizon(&self, _header: &FrameHeader, batch: &[u8]) -> Option<i64> {
        let view = BatchView::parse(batch).ok()?;
        view.has_delete_horizon().then(|| view.base_timestamp())
    }

    fn must_rewrite(&self, _: &FrameHeader, _: &[KeyedRecord], judged: &Judged<'_>) -> bool {
        judged.new_horizon.is_some()
    }

    fn rewrite(
        &mut self,
        frame: Rewrite<'_>,
        write: &mut dyn FnMut(&FrameHeader, &[u8]) -> std::io::Result<()>,
    ) -> Result<(), RewriteError> {
        let view = BatchView::parse(frame.batch).map_err(UnreadableBatch::from)?;
        self.written.clear();
        let fates = frame.judged.fates;
        let retained = retain(
            &view,
            frame.extra,
            |number| fates.get(number).is_some_and(|fate| fate.stays()),
            frame.judged.new_horizon,
            &mut self.plain,
            &mut self.written,
        )
        .map_err(UnreadableBatch::from)?;
        let header = FrameHeader {
            batch_length: self.written.len() as u32,
            // Nothing of an empty batch has a time to be found by.
            record_time_max: if retained.records == 0 {
                NO_TIME
            } else {
                BatchView::parse(&self.written)
                    .map_err(UnreadableBatch::from)?
                    .max_timestamp()
            },
            ..*frame.header
        };
        write(&header, &self.written)?;
        for buffer in [&mut self.plain, &mut self.written] {
            if buffer.capacity() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
        Ok(())
    }
}
