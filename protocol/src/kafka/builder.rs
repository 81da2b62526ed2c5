//! Builds record batches of our own: for the transcoder and the internal logs.

use bytes::Bytes;

use crate::batch::{BatchFormat, NO_TIME, ProducerScheme, SourceBlock, UnassignedBatch};
use crate::ids::SchemaId;
use crate::kafka::batch::{
    HEADER_LENGTH, HeaderFields, NO_PRODUCER_ID, TimestampType, sequence_after,
};
use crate::kafka::compression::{self, Codec};
use crate::kafka::record::{Header, write_record};

/// What a batch says about itself besides its records.
#[derive(Debug, Clone, Copy)]
pub struct BatchOptions {
    /// How the records are compressed.
    pub codec: Codec,
    /// The codec's level, see [`compression::compress`].
    pub level: Option<i32>,
    /// What the timestamps mean.
    pub timestamp_type: TimestampType,
    /// The offset of delta 0; 0 where the log assigns it.
    pub base_offset: i64,
    /// The leader epoch; -1 where the log assigns it.
    pub leader_epoch: i32,
    /// The producer to write into the header.
    pub producer: Option<BatchProducer>,
    /// The batch belongs to a transaction.
    pub transactional: bool,
    /// The records are control records.
    pub control: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        BatchOptions {
            codec: Codec::None,
            level: None,
            timestamp_type: TimestampType::CreateTime,
            base_offset: 0,
            leader_epoch: -1,
            producer: None,
            transactional: false,
            control: false,
        }
    }
}

/// An idempotent producer and its place in its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchProducer {
    /// The producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence number of offset delta 0; -1 for control batches.
    pub base_sequence: i32,
}

/// Collects records and makes a batch of them.
///
/// Offset deltas are explicit and only have to grow, so that offset gaps can be written:
///
/// ```
/// use protocol::kafka::builder::{BatchBuilder, BatchOptions};
/// use protocol::kafka::batch::BatchView;
///
/// let mut builder = BatchBuilder::new(BatchOptions { base_offset: 40, ..Default::default() });
/// builder.append(0, 1_000, Some(b"k"), Some(b"v"), []);
/// builder.append(2, 1_001, Some(b"k"), None, []); // offset 41 is a gap
/// builder.set_last_offset_delta(4); // and so are 43 and 44
/// let bytes = builder.finish();
/// assert_eq!(BatchView::parse(&bytes).unwrap().last_offset(), 44);
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// Room for the header, then uncompressed records.
    bytes: Vec<u8>,
    record_count: i32,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(options: BatchOptions) -> Self {
        BatchBuilder::with_buffer(options, Vec::new())
    }

    /// An empty batch that is built in `buffer`, whose contents are dropped.
    pub fn with_buffer(options: BatchOptions, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER_LENGTH, 0);
        BatchBuilder {
            options,
            bytes: buffer,
            record_count: 0,
            last_offset_delta: -1,
            base_timestamp: NO_TIME,
            max_timestamp: NO_TIME,
        }
    }

    /// Adds a record with its own offset delta and time (epoch milliseconds, [`NO_TIME`] for
    /// none).
    ///
    /// # Panics
    /// When the offset delta is not above the one before, or the batch reaches 2 GiB: callers
    /// bound their batches by [`BatchBuilder::uncompressed_length`].
    pub fn append<'h, H>(
        &mut self,
        offset_delta: i32,
        time_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) where
        H: IntoIterator<Item = Header<'h>>,
        H::IntoIter: Clone,
    {
        assert!(offset_delta > self.last_offset_delta, "offset deltas grow");
        if self.record_count == 0 {
            self.base_timestamp = time_ms;
        }
        let timestamp_delta = time_ms.wrapping_sub(self.base_timestamp);
        write_record(
            &mut self.bytes,
            timestamp_delta,
            offset_delta,
            key,
            value,
            headers.into_iter(),
        );
        self.record_count += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(time_ms);
    }

    /// Makes the batch end in an offset gap, or an empty batch take offsets. Ignored when records
    /// already reach further.
    pub fn set_last_offset_delta(&mut self, delta: i32) {
        self.last_offset_delta = self.last_offset_delta.max(delta);
    }

    /// Sets the max timestamp (epoch milliseconds) past the records' own: the append time of a
    /// batch of LogAppendTime, or the time of an empty one.
    pub fn set_max_timestamp(&mut self, time_ms: i64) {
        self.max_timestamp = time_ms;
    }

    /// The offset delta of the next record when there is no gap.
    pub fn next_offset_delta(&self) -> i32 {
        self.last_offset_delta + 1
    }

    /// Records so far.
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes so far, header included, before compression.
    pub fn uncompressed_length(&self) -> usize {
        self.bytes.len()
    }

    /// The batch as bytes.
    pub fn finish(self) -> Bytes {
        let options = &self.options;
        let mut batch = match options.codec {
            Codec::None => self.bytes,
            codec => {
                let mut batch = Vec::with_capacity(self.bytes.len() / 2);
                batch.resize(HEADER_LENGTH, 0);
                compression::compress(
                    codec,
                    options.level,
                    &self.bytes[HEADER_LENGTH..],
                    &mut batch,
                );
                batch
            }
        };
        let producer = options.producer.unwrap_or(BatchProducer {
            id: NO_PRODUCER_ID,
            epoch: -1,
            base_sequence: -1,
        });
        HeaderFields {
            base_offset: options.base_offset,
            leader_epoch: options.leader_epoch,
            codec: options.codec,
            timestamp_type: options.timestamp_type,
            transactional: options.transactional,
            control: options.control,
            // An empty batch still takes one offset: there is no way to write none.
            last_offset_delta: self.last_offset_delta.max(0),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: producer.base_sequence,
            record_count: self.record_count,
        }
        .write(&mut batch);
        Bytes::from(batch)
    }

    /// The batch as a log appends it.
    pub fn finish_unassigned(self, schema_id: SchemaId, source_partition: i32) -> UnassignedBatch {
        let (options, record_count, record_time_max) =
            (self.options, self.record_count, self.max_timestamp);
        let last_offset_delta = self.last_offset_delta.max(0);
        UnassignedBatch {
            bytes: self.finish(),
            format: BatchFormat::Kafka,
            schema_id,
            record_count,
            last_offset_delta,
            record_time_max,
            transactional: options.transactional,
            control: options.control,
            source: options.producer.map(|producer| SourceBlock {
                scheme: ProducerScheme::Kafka,
                producer_id: producer.id,
                producer_epoch: producer.epoch,
                source_partition,
                first_sequence: producer.base_sequence,
                last_sequence: match producer.base_sequence {
                    base if base < 0 => base,
                    base => sequence_after(base, last_offset_delta),
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::batch::BatchView;
    use crate::kafka::validate::Scratch;
    use proptest::prelude::*;

    #[test]
    fn an_empty_batch_takes_the_offsets_it_is_given() {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: 7,
            ..Default::default()
        });
        builder.set_last_offset_delta(9);
        let bytes = builder.finish();
        let view = BatchView::parse(&bytes).unwrap();
        assert_eq!(
            (view.record_count(), view.base_offset(), view.last_offset()),
            (0, 7, 16)
        );
        assert!(view.crc_is_valid());
        assert_eq!(view.records().count(), 0);
    }

    #[test]
    fn a_control_batch_says_so() {
        let mut builder = BatchBuilder::new(BatchOptions {
            control: true,
            transactional: true,
            producer: Some(BatchProducer {
                id: 9,
                epoch: 3,
                base_sequence: -1,
            }),
            ..Default::default()
        });
        builder.append(0, 5, Some(&[0, 0, 0, 1]), Some(&[0; 6]), []);
        let batch = builder.finish_unassigned(SchemaId::new(1), 0);
        let view = BatchView::parse(&batch.bytes).unwrap();
        assert!(view.is_control() && view.is_transactional() && batch.control);
        assert_eq!(
            (
                view.producer_id(),
                view.producer_epoch(),
                view.last_sequence()
            ),
            (9, 3, -1)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn every_codec_gives_back_offsets_times_and_bytes(
            id in 0u8..5,
            base_offset in 0i64..1 << 40,
            records in prop::collection::vec(
                (1i32..5, 0i64..1 << 45, any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>()), 1..40),
        ) {
            let codec = Codec::from_id(id).unwrap();
            let mut builder = BatchBuilder::new(BatchOptions { codec, base_offset, ..Default::default() });
            let mut expected = Vec::new();
            for (step, time, key, value) in &records {
                let delta = builder.next_offset_delta() + step - 1;
                builder.append(delta, *time, key.as_deref(), value.as_deref(), []);
                expected.push((delta, *time, key.as_deref(), value.as_deref()));
            }
            let bytes = builder.finish();
            let view = BatchView::parse(&bytes).unwrap();
            prop_assert!(view.crc_is_valid());
            prop_assert_eq!(view.codec(), Some(codec));
            prop_assert_eq!(view.max_timestamp(), records.iter().map(|r| r.1).max().unwrap());
            prop_assert_eq!(view.last_offset_delta(), expected.last().unwrap().0);
            let mut scratch = Scratch::new();
            let read: Vec<_> = scratch
                .records(&view, 1 << 20)
                .unwrap()
                .map(|r| r.unwrap())
                .map(|r| (r.offset_delta, view.record_time(r.timestamp_delta), r.key, r.value))
                .collect();
            prop_assert_eq!(read, expected);
        }
    }
}
