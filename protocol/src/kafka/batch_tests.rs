use super::*;
use crate::kafka::builder::{BatchBuilder, BatchOptions};
use proptest::prelude::*;

fn one_record(value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(0, 1_000, None, Some(value), []);
    builder.finish().to_vec()
}

#[test]
fn assigning_an_offset_keeps_the_crc() {
    let mut bytes = one_record(b"v");
    assign(&mut bytes, Offset::new(77), LeaderEpoch::new(5)).unwrap();
    let view = BatchView::parse(&bytes).unwrap();
    assert_eq!(
        (view.base_offset(), view.leader_epoch(), view.last_offset()),
        (77, 5, 77)
    );
    assert!(view.crc_is_valid());
}

#[test]
fn an_offset_can_be_assigned_in_a_copied_header() {
    let mut header = one_record(b"v")[..HEADER_LENGTH].to_vec();
    assert_eq!(
        assign(&mut header, Offset::new(1), LeaderEpoch::new(0)),
        Ok(())
    );
    assert_eq!(
        assign(&mut header[..15], Offset::new(1), LeaderEpoch::new(0)),
        Err(BatchError::TooShort { available: 15 })
    );
}

#[test]
fn stamping_gives_all_records_the_append_time() {
    let mut bytes = one_record(b"v");
    bytes.extend_from_slice(b"the next batch");
    stamp_log_append_time(&mut bytes, 123_456).unwrap();
    let view = BatchView::parse(&bytes).unwrap();
    assert!(view.crc_is_valid());
    assert_eq!(view.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(
        (
            view.max_timestamp(),
            view.base_timestamp(),
            view.record_time(3)
        ),
        (123_456, 1_000, 123_456)
    );
    assert!(bytes.ends_with(b"the next batch"));
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(5, 0), 5);
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
}

#[test]
fn batches_after_each_other_are_split() {
    let (a, b) = (one_record(b"a"), one_record(b"bb"));
    let joined = Bytes::from([a.clone(), b.clone()].concat());
    let split: Vec<_> = Batches::new(joined.clone())
        .map(|batch| batch.unwrap())
        .collect();
    assert_eq!(split, [a.clone(), b.clone()]);
    let mut cut = Batches::new(joined.slice(..joined.len() - 1));
    assert_eq!(cut.next(), Some(Ok(Bytes::from(a))));
    assert_eq!(
        cut.next(),
        Some(Err(BatchError::CutOff {
            needed: b.len(),
            available: b.len() - 1
        }))
    );
    assert_eq!(cut.next(), None);
}

#[test]
fn old_formats_are_named() {
    // A message of magic 1 is shorter than a header of magic 2.
    let mut message = vec![0; 40];
    message[8..12].copy_from_slice(&28i32.to_be_bytes());
    message[16] = 1;
    assert_eq!(
        BatchView::parse(&message).unwrap_err(),
        BatchError::Magic(1)
    );
    let mut long = vec![0; 100];
    long[8..12].copy_from_slice(&88i32.to_be_bytes());
    assert_eq!(BatchView::parse(&long).unwrap_err(), BatchError::Magic(0));
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let mut bytes = one_record(b"v");
    for (length, error) in [
        (-1, BatchError::Length { length: -1 }),
        (48, BatchError::Length { length: 48 }),
        (
            i32::MAX,
            BatchError::CutOff {
                needed: i32::MAX as usize + 12,
                available: bytes.len(),
            },
        ),
    ] {
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert_eq!(BatchView::parse(&bytes).unwrap_err(), error);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(magic) = bytes.get_mut(field::MAGIC) {
            *magic = 2;
        }
        if let Some(length) = bytes.get_mut(8..12) {
            length[..2].fill(0);
        }
        for batch in Batches::new(bytes.into()).flatten() {
            let view = BatchView::parse(&batch).unwrap();
            let _ = (view.crc_is_valid(), view.codec(), view.last_offset(), view.last_sequence());
            let _ = view.records().count();
        }
    }
}
