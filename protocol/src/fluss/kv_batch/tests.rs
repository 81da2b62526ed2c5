use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fluss::options::KvFormat;
use crate::fluss::vectors::{self, hex};

/// Made by the Java client 1.0.0: schema id 3, writer 77, sequence 5; keys 01 and 0203 with rows
/// (1, `row0`) and (2, `row1`), a delete of key 07, and a key of 200 bytes 09 with row (3, null).
const COMPACTED: (&str, &str, &str) = (
    "09010000000db0d2a60300004d000000000000000500000004000000090000000101000104726f77300a000000020203\
     000204726f7731020000000107cc000000c801",
    "09",
    "0203",
);
const INDEXED: (&str, &str, &str) = (
    "1c01000000406671b90300004d0000000000000005000000040000000f0000000101000400000001000000726f773010\
     000000020203000400000002000000726f7731020000000107d3000000c801",
    "09",
    "020000000003000000",
);

fn golden((head, key, tail): (&str, &str, &str)) -> Bytes {
    [hex(head), hex(key).repeat(200), hex(tail)].concat().into()
}

fn layout(format: KvFormat) -> RowLayout {
    RowLayout::of(format, &vectors::int_and_string())
}

#[test]
fn a_batch_of_the_java_client_is_read_and_made_again() {
    for (format, bytes) in [
        (KvFormat::Compacted, golden(COMPACTED)),
        (KvFormat::Indexed, golden(INDEXED)),
    ] {
        let layout = layout(format);
        let batch = KvBatch::parse(bytes.clone(), usize::MAX).unwrap();
        batch.check_rows(&layout).unwrap();
        assert_eq!(batch.schema_id(), SchemaId::new(3));
        assert_eq!(batch.writer(), Some((77, 5)));
        assert_eq!(batch.len(), 4);
        let records: Vec<_> = batch.records().collect();
        assert_eq!(records[2].key, [7]);
        assert_eq!(records[2].row, None);
        assert_eq!(records[3].key, [9; 200]);
        let mut values = Vec::new();
        layout.read(records[1].row.unwrap(), &mut values).unwrap();
        assert_eq!(values, [Datum::Int(2), Datum::String("row1")]);

        let mut builder = KvBatchBuilder::new(SchemaId::new(3), Some((77, 5)));
        records.into_iter().for_each(|r| builder.append(r));
        assert_eq!(builder.finish(), bytes);
    }
}

#[test]
fn damage_is_named() {
    let good = golden(COMPACTED);
    let broken = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        KvBatch::parse(bytes.into(), usize::MAX).unwrap_err()
    };
    assert!(matches!(broken(40, 0xee), KvBatchError::Crc { .. }));
    assert_eq!(broken(MAGIC_AT, 1), KvBatchError::Magic(1));
    assert!(matches!(broken(1, 2), KvBatchError::Cut { .. }));
    assert!(matches!(broken(3, 0x80), KvBatchError::Length(_)));
    let cut = KvBatch::parse(good.slice(..20), usize::MAX).unwrap_err();
    assert_eq!(cut, KvBatchError::Cut { have: 20, need: 28 });
    let long = KvBatch::parse([&good[..], &[0]].concat().into(), usize::MAX).unwrap_err();
    assert_eq!(long, KvBatchError::Trailing(1));
    let large = KvBatch::parse(good.clone(), 100).unwrap_err();
    assert!(matches!(large, KvBatchError::TooLarge { max: 100, .. }));
}

/// The batch with another byte at a place, and a CRC that fits.
fn forged(bytes: &Bytes, at: usize, new: &[u8]) -> Result<KvBatch, KvBatchError> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    let crc = crc32c::crc32c(&bytes[SCHEMA_ID_AT..]);
    bytes[CRC_AT..SCHEMA_ID_AT].copy_from_slice(&crc.to_le_bytes());
    KvBatch::parse(bytes.into(), usize::MAX)
}

#[test]
fn counts_and_lengths_that_do_not_fit_are_refused() {
    let good = golden(COMPACTED);
    for (count, error) in [
        (-1, KvBatchError::Count(-1)),
        (i32::MAX, KvBatchError::Count(i32::MAX)),
        (3, KvBatchError::TrailingRecords(208)),
        (5, KvBatchError::Record(4)),
    ] {
        let refused = forged(&good, COUNT_AT, &i32::to_le_bytes(count)).unwrap_err();
        assert_eq!(refused, error);
    }
    let refused = forged(&good, SEQUENCE_AT, &i32::to_le_bytes(-1)).unwrap_err();
    assert!(matches!(refused, KvBatchError::Sequence { .. }));
    let refused = forged(&good, HEADER_LEN, &i32::to_le_bytes(-1)).unwrap_err();
    assert_eq!(refused, KvBatchError::Record(0));
    // The key of the first record reaches past the record.
    let refused = forged(&good, HEADER_LEN + 4, &[100]).unwrap_err();
    assert_eq!(refused, KvBatchError::Record(0));
}

#[test]
fn a_row_that_is_none_of_the_schema_is_refused() {
    let mut builder = KvBatchBuilder::new(SchemaId::new(1), None);
    for row in [Some(&[0, 5, 1, b'x'][..]), None, Some(&[0, 5, 9])] {
        builder.append(KvRecord { key: b"k", row });
    }
    let batch = KvBatch::parse(builder.finish(), usize::MAX).unwrap();
    assert_eq!(batch.writer(), None);
    let refused = batch.check_rows(&layout(KvFormat::Compacted)).unwrap_err();
    assert!(matches!(refused, KvBatchError::Row { index: 2, .. }));
}

proptest! {
    #[test]
    fn what_is_built_is_read(
        records in vec((vec(any::<u8>(), 0..300), vec(any::<u8>(), 0..50)), 0..20),
        writer in any::<Option<(u32, u16)>>(),
    ) {
        let writer = writer.map(|(id, sequence)| (i64::from(id), i32::from(sequence)));
        let records: Vec<_> = records
            .iter()
            .map(|(key, row)| KvRecord { key, row: (!row.is_empty()).then_some(row) })
            .collect();
        let mut builder = KvBatchBuilder::new(SchemaId::new(9), writer);
        records.iter().for_each(|r| builder.append(*r));
        let batch = KvBatch::parse(builder.finish(), usize::MAX).unwrap();
        prop_assert_eq!(batch.writer(), writer);
        prop_assert_eq!(batch.records().collect::<Vec<_>>(), records);
    }

    #[test]
    fn arbitrary_records_never_panic(mut bytes in vec(any::<u8>(), HEADER_LEN..160), count in 0..6i32) {
        let len = i32::try_from(bytes.len() - LENGTH_OVERHEAD).unwrap();
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[MAGIC_AT] = 0;
        if let Ok(batch) = forged(&bytes.into(), COUNT_AT, &count.to_le_bytes()) {
            prop_assert_eq!(batch.records().count(), batch.len());
            let _ = batch.check_rows(&layout(KvFormat::Compacted));
            let _ = batch.check_rows(&layout(KvFormat::Indexed));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..80)) {
        prop_assert!(KvBatch::parse(bytes.into(), usize::MAX).is_err());
    }
}
