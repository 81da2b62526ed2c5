use std::collections::BTreeMap;

use protocol::fluss::kv_batch::KvBatch;
use protocol::ids::TableId;
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use protocol::kafka::compression::Codec;
use protocol::schema::{Column, NumberedSchema, TypeKind};
use storage::catalog::names::TablePath;
use storage::catalog::{Origin, Table, TableKind, TopicName};
use uuid::Uuid;

use super::*;

const SMALL: usize = 1 << 20;

/// A table `n BIGINT, b STRING, a INT`, with the key `(a, b)` and buckets by `b`.
fn topic(buckets: u32, properties: &[(&str, &str)]) -> Topic {
    let columns = [
        ("n", TypeKind::BigInt),
        ("b", TypeKind::String),
        ("a", TypeKind::Int),
    ];
    let columns = (0..).zip(columns).map(|(id, (name, kind))| Column {
        name: name.to_owned(),
        data_type: DataType {
            kind,
            nullable: name == "n",
        },
        comment: None,
        id,
        agg_function: None,
    });
    let schema = Schema {
        columns: columns.collect(),
        primary_key: vec!["a".to_owned(), "b".to_owned()],
        auto_increment_column: None,
        highest_field_id: 2,
    };
    let property = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let table = Table {
        id: TableId::new(1),
        fluss_id: TableId::new(1),
        path: TablePath::new("d", "t"),
        topic: Some(TopicName {
            name: "d.t".to_owned(),
            id: Uuid::nil(),
        }),
        origin: Origin::Fluss,
        kind: TableKind::PrimaryKey,
        schemas: vec![NumberedSchema {
            id: SchemaId::new(1),
            schema,
        }],
        bucket_count: buckets,
        bucket_count_epoch: 0,
        bucket_keys: vec!["b".to_owned()],
        partition_keys: Vec::new(),
        properties: properties.iter().map(property).collect(),
        custom_properties: BTreeMap::new(),
        comment: None,
        kafka_configs: BTreeMap::new(),
        created_ms: 0,
        modified_ms: 0,
    };
    Topic {
        table: Arc::new(table),
        partition: None,
    }
}

fn batch(values: &[String], codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        codec,
        ..BatchOptions::default()
    });
    for (place, value) in (0..).zip(values) {
        builder.append(place, 0, None, Some(value.as_bytes()), []);
    }
    builder.finish()
}

fn split(spread: &Spread, values: &[String]) -> Vec<BucketRows> {
    let batch = batch(values, Codec::None);
    let rows = spread.split(&batch, SMALL, &mut Scratch::new());
    rows.expect("rows")
}

fn value(a: i32, b: &str) -> String {
    format!("{{\"a\":{a},\"b\":\"{b}\",\"n\":{a}}}")
}

#[test]
fn rows_are_stored_under_the_primary_key_and_spread_by_the_bucket_key() {
    let spread = Spread::new(&topic(7, &[]), false).expect("supported");
    let values: Vec<_> = (0..50).map(|a| value(a, &format!("b{}", a % 5))).collect();
    let mut found = 0;
    for rows in split(&spread, &values) {
        assert!(rows.targets.is_empty());
        let batch = KvBatch::parse(rows.records, SMALL).expect("a batch");
        batch
            .check_rows(&spread.layout)
            .expect("rows of the schema");
        for record in batch.records() {
            let types = [
                DataType::not_null(TypeKind::Int),
                DataType::not_null(TypeKind::String),
            ];
            let mut key = Vec::new();
            let encoder = KeyEncoder::Compacted;
            encoder
                .decode(record.key, types.iter(), &mut key)
                .expect("a key");
            let [Datum::Int(a), Datum::String(b)] = key[..] else {
                panic!("{key:?}");
            };
            assert_eq!(b, format!("b{}", a % 5));
            let mut bucket_key = Vec::new();
            let encoded = encoder.encode(&[Datum::String(b)], types[1..].iter(), &mut bucket_key);
            encoded.expect("a key");
            assert_eq!(rows.bucket, BucketFunction::Fluss.bucket(&bucket_key, 7));
            found += 1;
        }
        assert!(rows.first <= rows.last && rows.last < 50);
    }
    assert_eq!(found, 50);
}

#[test]
fn records_that_write_other_columns_are_parts_of_their_own() {
    let spread = Spread::new(&topic(1, &[]), true).expect("supported");
    let short = "{\"a\":1,\"b\":\"\"}".to_owned();
    let values = [
        value(1, ""),
        value(2, ""),
        short.clone(),
        short,
        value(3, ""),
    ];
    let parts: Vec<_> = split(&spread, &values)
        .into_iter()
        .map(|rows| (rows.first, rows.last, rows.targets))
        .collect();
    let expected = [(0, 1, vec![]), (2, 3, vec![1, 2]), (4, 4, vec![])];
    assert_eq!(parts, expected);
}

#[test]
fn rows_that_take_too_much_memory_are_refused() {
    let spread = Spread::new(&topic(3, &[]), false).expect("supported");
    let values: Vec<_> = (0..1000).map(|a| value(a, &"b".repeat(100))).collect();
    let batch = batch(&values, Codec::Zstd);
    let tried = |limit| spread.split(&batch, limit, &mut Scratch::new());
    // Enough for what is decompressed, and not for the rows.
    let inflated: usize = values.iter().map(|value| value.len() + 10).sum();
    assert!(matches!(tried(inflated), Err(SplitError::TooLarge(_))));
    assert!(matches!(
        tried(1000),
        Err(SplitError::Batch(InvalidBatch::Decompress(_)))
    ));
    assert!(tried(3 * inflated).is_ok());
}

#[test]
fn many_refused_records_are_counted_and_some_named() {
    let spread = Spread::new(&topic(3, &[]), false).expect("supported");
    let values = vec!["{}".to_owned(); 2 * RECORD_ERRORS_MAX];
    let batch = batch(&values, Codec::None);
    match spread.split(&batch, SMALL, &mut Scratch::new()) {
        Err(SplitError::Records { total, errors }) => {
            assert_eq!((total, errors.len()), (200, RECORD_ERRORS_MAX));
            assert_eq!(errors[7].0, 7);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn tables_whose_buckets_only_clients_can_choose_are_not_written_to() {
    let hudi = topic(3, &[("table.datalake.format", "hudi")]);
    let refused = Spread::new(&hudi, false).err();
    assert_eq!(refused, Some(Unsupported::Hudi));
}
