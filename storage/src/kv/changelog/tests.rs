use protocol::columnar::{ChangeTypes, Decoder, row_at};
use protocol::fluss::batch::LogBatch;
use protocol::row::Datum;
use protocol::schema::TypeKind;

use super::*;
use crate::kv::fixtures::{ONE, TWO, row, table};

use ChangeType::{Delete, Insert, UpdateAfter, UpdateBefore};

fn source(writer_id: i64, sequence: i32) -> SourceBlock {
    SourceBlock {
        scheme: ProducerScheme::Fluss,
        producer_id: writer_id,
        producer_epoch: 0,
        source_partition: 3,
        first_sequence: sequence,
        last_sequence: sequence,
    }
}

#[test]
fn a_kafka_producer_stands_beside_the_batch_and_not_in_it() {
    let table = two_columns();
    let plan = ChangelogPlan::compile(&table, ChangelogImage::Full, LogFormat::Arrow, 1 << 20);
    let plan = plan.unwrap();
    let kafka = SourceBlock {
        scheme: ProducerScheme::Kafka,
        first_sequence: 4,
        ..source(7, 9)
    };
    let batch = plan.start().finish(Some(kafka), &mut Compressor::new(None));
    let batch = batch.unwrap();
    assert_eq!(batch.source, Some(kafka));
    let header = LogBatch::parse(&batch.bytes).unwrap();
    assert_eq!(
        header.header().writer_id(),
        protocol::fluss::batch::NO_WRITER
    );
}

fn two_columns() -> MergeTable {
    table(&[("a", TypeKind::String, ""), ("b", TypeKind::Int, "")], 1)
}

/// The outcomes of a small batch: an insert, an update of a row of the older schema, a delete of
/// one, nothing.
fn log(
    table: &MergeTable,
    image: ChangelogImage,
    format: LogFormat,
) -> (UnassignedBatch, Vec<Option<i32>>) {
    let old = row(table, ONE, &[Datum::Int(1), Datum::String("old")]);
    let new = row(table, TWO, &[Datum::Int(2), Datum::Null, Datum::Int(-5)]);
    let old = Value {
        schema_id: ONE,
        row: &old,
    };
    let new = Value {
        schema_id: TWO,
        row: &new,
    };
    let plan = ChangelogPlan::compile(table, image, format, 1 << 20).unwrap();
    let mut changelog = plan.start();
    let outcomes = [
        Outcome::Insert { new },
        Outcome::Update { old, new },
        Outcome::Nothing,
        Outcome::Delete { old },
        Outcome::Overwrite { new },
    ];
    let deltas = outcomes.map(|o| changelog.push(&o).unwrap()).to_vec();
    let batch = changelog.finish(Some(source(7, 9)), &mut Compressor::new(None));
    (batch.unwrap(), deltas)
}

/// Change types and rows of a batch.
fn read(table: &MergeTable, batch: &UnassignedBatch) -> Vec<(ChangeType, String)> {
    let schema = &table.schemas[&batch.schema_id];
    let parsed = LogBatch::parse(&batch.bytes).unwrap();
    assert!(parsed.crc_holds());
    assert_eq!(parsed.header().last_offset_delta(), batch.last_offset_delta);
    assert_eq!(parsed.header().record_count(), batch.record_count);
    let decoded = Decoder::default().decode(&parsed, batch.format, schema, None);
    let decoded = decoded.unwrap();
    let ChangeTypes::PerRow(changes) = decoded.changes else {
        panic!("a changelog has change types");
    };
    let mut values = Vec::new();
    let rows = changes.into_iter().enumerate().map(|(i, change)| {
        row_at(&decoded.rows, schema, i, &mut values);
        (change, format!("{values:?}"))
    });
    rows.collect()
}

#[test]
fn all_formats_hold_the_same_changes_of_the_newest_schema() {
    let old = r#"[Int(1), String("old"), Null]"#.to_owned();
    let new = "[Int(2), Null, Int(-5)]".to_owned();
    let full = [
        (Insert, &new),
        (UpdateBefore, &old),
        (UpdateAfter, &new),
        (Delete, &old),
        (UpdateAfter, &new),
    ];
    let wal = [
        (Insert, &new),
        (UpdateAfter, &new),
        (Delete, &old),
        (UpdateAfter, &new),
    ];
    for (kv_format, log_format) in [
        (KvFormat::Compacted, LogFormat::Arrow),
        (KvFormat::Compacted, LogFormat::Compacted),
        (KvFormat::Indexed, LogFormat::Arrow),
        (KvFormat::Indexed, LogFormat::Compacted),
        (KvFormat::Indexed, LogFormat::Indexed),
    ] {
        let table = MergeTable {
            kv_format,
            ..two_columns()
        };
        let (batch, deltas) = log(&table, ChangelogImage::Full, log_format);
        let expected = full.map(|(change, row)| (change, row.clone()));
        assert_eq!(read(&table, &batch), expected, "{kv_format} {log_format}");
        assert_eq!(deltas, [Some(0), Some(2), None, Some(3), Some(4)]);
        let (batch, deltas) = log(&table, ChangelogImage::Wal, log_format);
        let expected = wal.map(|(change, row)| (change, row.clone()));
        assert_eq!(read(&table, &batch), expected, "{kv_format} {log_format}");
        assert_eq!(deltas, [Some(0), Some(1), None, Some(2), Some(3)]);
        let source = batch.source.unwrap();
        assert_eq!((source.producer_id, source.last_sequence), (7, 9));
        assert_eq!(source.source_partition, 3);
    }
}

#[test]
fn compacted_rows_cannot_be_logged_as_indexed_ones() {
    let table = two_columns();
    let plan = ChangelogPlan::compile(&table, ChangelogImage::Full, LogFormat::Indexed, 1 << 20);
    assert!(matches!(plan, Err(ChangelogError::Format { .. })));
}

#[test]
fn a_batch_of_which_nothing_is_left_takes_one_offset() {
    for format in [LogFormat::Arrow, LogFormat::Compacted] {
        let table = two_columns();
        let plan = ChangelogPlan::compile(&table, ChangelogImage::Full, format, 1 << 20).unwrap();
        let mut changelog = plan.start();
        assert_eq!(changelog.push(&Outcome::Nothing).unwrap(), None);
        let batch = changelog.finish(Some(source(7, 9)), &mut Compressor::new(None));
        let batch = batch.unwrap();
        assert_eq!((batch.record_count, batch.last_offset_delta), (0, 0));
        let parsed = LogBatch::parse(&batch.bytes).unwrap();
        let header = parsed.header();
        assert!(header.is_header_only() && !header.append_only() && parsed.crc_holds());
        assert_eq!((header.writer_id(), header.batch_sequence()), (7, 9));
        assert_eq!(header.schema_id(), TWO);
    }
}

#[test]
fn the_limit_and_malformed_rows_are_named() {
    let table = two_columns();
    for format in [LogFormat::Arrow, LogFormat::Compacted] {
        let plan = ChangelogPlan::compile(&table, ChangelogImage::Full, format, 60).unwrap();
        let text = "x".repeat(100);
        let long = row(
            &table,
            TWO,
            &[Datum::Int(1), Datum::String(&text), Datum::Null],
        );
        let value = |schema_id, row| Outcome::Insert {
            new: Value { schema_id, row },
        };
        let refused = plan.start().push(&value(TWO, &long));
        assert!(matches!(refused, Err(ChangelogError::Rows(_))));
        let refused = plan.start().push(&value(ONE, &[0]));
        assert!(matches!(refused, Err(ChangelogError::Row(_))));
        let refused = plan.start().push(&value(SchemaId::new(9), &long));
        assert!(matches!(refused, Err(ChangelogError::Schema(_))));
    }
}

/// The Java client's CHANGELOG vector: schema 1 (a INT, b STRING), +I (1, `x`) and -D (2, null),
/// writer 7, sequence 3.
const CHANGELOG: &str = "0000000000000000260100000000000000000000001f0e83f60100000100000007000000000000000300000002000000\
     0104ffffffffc800000014000000000000000c0016000e001500100004000c0000003000000000000000000004001000\
     000000030a0018000c00080004000a000000140000006800000002000000000000000000000005000000000000000000\
     000001000000000000000800000000000000080000000000000010000000000000000100000000000000180000000000\
     00000c000000000000002800000000000000010000000000000000000000020000000200000000000000000000000000\
     000002000000000000000100000000000000030000000000000001000000020000000100000000000000000000000100\
     000001000000000000007800000000000000";

#[test]
fn a_changelog_equals_that_of_the_java_client() {
    let mut table = table(&[("b", TypeKind::String, "")], 1);
    table.schemas.remove(&TWO);
    table.latest = ONE;
    let plan = ChangelogPlan::compile(&table, ChangelogImage::Full, LogFormat::Arrow, 1 << 20);
    let plan = plan.unwrap();
    let rows = [
        row(&table, ONE, &[Datum::Int(1), Datum::String("x")]),
        row(&table, ONE, &[Datum::Int(2), Datum::Null]),
    ];
    let value = |i: usize| Value {
        schema_id: ONE,
        row: &rows[i],
    };
    let mut changelog = plan.start();
    changelog.push(&Outcome::Insert { new: value(0) }).unwrap();
    changelog.push(&Outcome::Delete { old: value(1) }).unwrap();
    let batch = changelog.finish(Some(source(7, 3)), &mut Compressor::new(None));
    let hex: String = batch
        .unwrap()
        .bytes
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(hex, CHANGELOG);
}
