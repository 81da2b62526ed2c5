//! A batch with some of its records left out: what the cleaner writes.
//!
//! Base offset, last offset delta, sequence, producer, epoch, codec and flags stay as they are, so
//! that the batch takes the same offsets and its producer is still known. Records keep their bytes,
//! unless the batch gets a delete horizon: then the base timestamp is the horizon, as Kafka has it
//! since KIP-534 (`DefaultRecordBatch.java`), and the records' deltas count from there.

use crate::batch::NO_TIME;
use crate::kafka::batch::{
    BatchView, CODEC_MASK, DELETE_HORIZON_BIT, HEADER_LENGTH, TimestampType, field, write_crc,
    write_length,
};
use crate::kafka::compression;
use crate::kafka::record::{RecordError, Records, write_record};

/// What [`retain`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retained {
    /// Records that are left.
    pub records: i32,
    /// The largest record time of them, epoch milliseconds; [`NO_TIME`] when none is left.
    pub record_time_max: i64,
}

/// Appends `batch` to `out`, with only the records for whose number `keep` is true.
///
/// `records` are its records, decompressed; `plain` is working memory. With `delete_horizon`
/// (epoch milliseconds) the batch says from when on its tombstones may go.
///
/// # Errors
/// When `records` are damaged; `out` then ends in half a batch.
pub fn retain(
    batch: &BatchView<'_>,
    records: &[u8],
    mut keep: impl FnMut(usize) -> bool,
    delete_horizon: Option<i64>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Retained, RecordError> {
    let start = out.len();
    out.extend_from_slice(&batch.bytes()[..HEADER_LENGTH]);
    plain.clear();
    let shift = delete_horizon.map(|horizon| batch.base_timestamp().wrapping_sub(horizon));
    let mut retained = Retained {
        records: 0,
        record_time_max: NO_TIME,
    };
    let mut walk = Records::new(records, batch.record_count());
    let mut number = 0;
    loop {
        let begin = records.len() - walk.rest().len();
        let Some(record) = walk.next() else { break };
        let record = record?;
        let end = records.len() - walk.rest().len();
        if keep(number) {
            retained.records += 1;
            retained.record_time_max = retained
                .record_time_max
                .max(batch.record_time(record.timestamp_delta));
            match shift {
                None => plain.extend_from_slice(&records[begin..end]),
                Some(shift) => write_record(
                    plain,
                    record.timestamp_delta.wrapping_add(shift),
                    record.offset_delta,
                    record.key,
                    record.value,
                    record.headers.iter(),
                ),
            }
        }
        number += 1;
    }
    let mut attributes = batch.attributes();
    if retained.records == 0 {
        // As Kafka has it: nothing is compressed, and no tombstone waits.
        attributes &= !(CODEC_MASK | DELETE_HORIZON_BIT);
    } else if let Some(codec) = batch.codec() {
        compression::compress(codec, None, plain, out);
    }
    let written = &mut out[start..];
    if let Some(horizon) = delete_horizon.filter(|_| retained.records > 0) {
        attributes |= DELETE_HORIZON_BIT;
        written[field::BASE_TIMESTAMP..field::MAX_TIMESTAMP]
            .copy_from_slice(&horizon.to_be_bytes());
    }
    written[field::ATTRIBUTES..field::LAST_OFFSET_DELTA].copy_from_slice(&attributes.to_be_bytes());
    // The append time of all records, and the time of a batch that is empty now, stay.
    if batch.timestamp_type() == TimestampType::CreateTime && retained.records > 0 {
        written[field::MAX_TIMESTAMP..field::PRODUCER_ID]
            .copy_from_slice(&retained.record_time_max.to_be_bytes());
    }
    written[field::COUNT..HEADER_LENGTH].copy_from_slice(&retained.records.to_be_bytes());
    write_length(written);
    write_crc(written);
    Ok(retained)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::builder::{BatchBuilder, BatchOptions, BatchProducer};
    use crate::kafka::compression::Codec;
    use crate::kafka::record::Header;
    use crate::kafka::validate::Scratch;

    const HORIZON: i64 = 1_800_000_000_000;

    fn batch(codec: Codec, transactional: bool) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions {
            codec,
            base_offset: 40,
            transactional,
            producer: Some(BatchProducer {
                id: 7,
                epoch: 2,
                base_sequence: 100,
            }),
            ..BatchOptions::default()
        });
        let header = Header {
            key: b"h",
            value: Some(b"1"),
        };
        builder.append(0, 1_000, Some(b"a"), Some(&[1; 300]), [header]);
        builder.append(1, 3_000, Some(b"b"), None, []);
        builder.append(2, 2_000, Some(b"c"), Some(&[3; 300]), [header]);
        builder.finish().to_vec()
    }

    type Plain = (i64, i32, Vec<u8>, Option<usize>, usize);

    fn records(bytes: &[u8]) -> Vec<Plain> {
        let view = BatchView::parse(bytes).unwrap();
        assert!(view.crc_is_valid());
        let mut scratch = Scratch::new();
        let records = scratch.records(&view, 1 << 20).unwrap();
        records
            .map(Result::unwrap)
            .map(|r| {
                let time = view.record_time(r.timestamp_delta);
                let value = r.value.map(<[u8]>::len);
                (
                    time,
                    r.offset_delta,
                    r.key.unwrap().to_vec(),
                    value,
                    r.headers.len(),
                )
            })
            .collect()
    }

    fn retained(bytes: &[u8], keep: [bool; 3], horizon: Option<i64>) -> (Vec<u8>, Retained) {
        let view = BatchView::parse(bytes).unwrap();
        let mut plain = Vec::new();
        match view.codec().unwrap() {
            Codec::None => plain.extend_from_slice(view.payload()),
            codec => compression::decompress(codec, view.payload(), 1 << 20, &mut plain).unwrap(),
        }
        let mut out = Vec::new();
        let what = retain(
            &view,
            &plain,
            |n| keep[n],
            horizon,
            &mut Vec::new(),
            &mut out,
        );
        (out, what.unwrap())
    }

    #[test]
    fn what_is_left_keeps_its_offsets_times_and_bytes_under_every_codec() {
        for codec in Codec::ALL {
            let whole = batch(codec, true);
            let all = records(&whole);
            let (bytes, what) = retained(&whole, [true, false, true], None);
            assert_eq!(
                records(&bytes),
                [all[0].clone(), all[2].clone()],
                "{codec:?}"
            );
            assert_eq!((what.records, what.record_time_max), (2, 2_000));
            let (view, before) = (
                BatchView::parse(&bytes).unwrap(),
                BatchView::parse(&whole).unwrap(),
            );
            assert_eq!(view.attributes(), before.attributes());
            assert_eq!(
                (view.base_offset(), view.last_offset(), view.max_timestamp()),
                (40, 42, 2_000)
            );
            assert_eq!((view.producer_id(), view.producer_epoch()), (7, 2));
            assert_eq!((view.base_sequence(), view.last_sequence()), (100, 102));
        }
    }

    #[test]
    fn a_delete_horizon_is_the_base_timestamp_and_moves_no_record_time() {
        for codec in Codec::ALL {
            let whole = batch(codec, false);
            let (bytes, _) = retained(&whole, [true, true, true], Some(HORIZON));
            assert_eq!(records(&bytes), records(&whole), "{codec:?}");
            let view = BatchView::parse(&bytes).unwrap();
            assert!(view.has_delete_horizon());
            assert_eq!(view.base_timestamp(), HORIZON);
            // A later round leaves the horizon where it is.
            let (again, _) = retained(&bytes, [false, true, false], None);
            let view = BatchView::parse(&again).unwrap();
            assert_eq!(
                (view.has_delete_horizon(), view.base_timestamp()),
                (true, HORIZON)
            );
            assert_eq!(records(&again)[0].0, 3_000);
        }
    }

    #[test]
    fn an_emptied_batch_still_takes_its_offsets_and_knows_its_producer() {
        for codec in Codec::ALL {
            let (bytes, what) = retained(&batch(codec, false), [false; 3], None);
            assert_eq!((what.records, what.record_time_max), (0, NO_TIME));
            let view = BatchView::parse(&bytes).unwrap();
            assert!(view.crc_is_valid());
            assert_eq!((bytes.len(), view.record_count()), (HEADER_LENGTH, 0));
            assert_eq!(view.codec(), Some(Codec::None));
            assert_eq!((view.base_offset(), view.last_offset()), (40, 42));
            assert_eq!((view.producer_id(), view.last_sequence()), (7, 102));
            assert_eq!(view.max_timestamp(), 3_000);
        }
    }
}
