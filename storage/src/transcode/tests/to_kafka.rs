//! Fluss rows on the Kafka wire.

use super::*;

fn all_types() -> Schema {
    let json = include_bytes!("../../../../protocol/src/fluss/golden/schema_all_types.json");
    schema_from_json(json).unwrap()
}

fn text(random: &mut impl FnMut(u64) -> u64, length: u64) -> String {
    (0..length)
        .map(|_| char::from(b'a' + random(26) as u8))
        .collect()
}

/// A random value of a type. Strings live as long as the test.
fn datum(data_type: &DataType, random: &mut impl FnMut(u64) -> u64) -> Datum<'static> {
    if data_type.nullable && random(4) == 0 {
        return Datum::Null;
    }
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    match &data_type.kind {
        TypeKind::Boolean => Datum::Boolean(random(2) == 1),
        TypeKind::TinyInt => Datum::TinyInt(random(256) as i8),
        TypeKind::SmallInt => Datum::SmallInt(random(65536) as i16),
        TypeKind::Int => Datum::Int(random(1 << 32) as i32),
        TypeKind::BigInt => Datum::BigInt(random(u64::MAX) as i64),
        TypeKind::Float => Datum::Float(random(1000) as f32 / 8.0),
        TypeKind::Double => Datum::Double(random(1000) as f64 / 8.0),
        TypeKind::Char { length } => Datum::String(leak(text(random, u64::from(*length)))),
        TypeKind::String => {
            let length = random(20);
            Datum::String(leak(text(random, length)))
        }
        TypeKind::Binary { length } => {
            Datum::Bytes(leak(text(random, u64::from(*length))).as_bytes())
        }
        TypeKind::Bytes => Datum::Bytes(leak(text(random, 5)).as_bytes()),
        TypeKind::Decimal { precision, .. } => {
            Datum::Decimal(i128::from(random(10u64.pow((*precision).min(9).into()))))
        }
        TypeKind::Date => Datum::Date(random(30_000) as i32),
        TypeKind::Time { precision } => {
            let step = if *precision == 0 { 1000 } else { 1 };
            Datum::Time((random(86_400_000) / step * step) as i32)
        }
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
            let step = if *precision == 0 { 1000 } else { 1 };
            Datum::Timestamp(Timestamp {
                millis: (random(1 << 41) / step * step) as i64,
                nanos: 0,
            })
        }
        TypeKind::Array(element) => {
            Datum::Array((0..random(3)).map(|_| datum(element, random)).collect())
        }
        TypeKind::Map { key, value } => {
            let key = DataType::not_null(key.kind.clone());
            Datum::Map(
                (0..random(3))
                    .map(|_| (datum(&key, random), datum(value, random)))
                    .collect(),
            )
        }
        TypeKind::Row(fields) => Datum::Row(
            fields
                .iter()
                .map(|field| datum(&field.data_type, random))
                .collect(),
        ),
    }
}

/// Rows in memory and as a batch of each format.
/// Offset, time, key, value.
type KafkaRecord = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// All records, and the offset after the last batch.
fn kafka_records(chunks: &[Bytes]) -> (Vec<KafkaRecord>, i64) {
    let mut records = Vec::new();
    let mut next = -1;
    for chunk in chunks {
        for batch in kafka_batch::Batches::new(chunk.clone()) {
            let batch = batch.unwrap();
            let view = BatchView::parse(&batch).unwrap();
            assert!(view.crc_is_valid());
            assert_eq!(view.leader_epoch(), 1);
            next = view.last_offset() + 1;
            for record in view.records() {
                let record = record.unwrap();
                records.push((
                    view.base_offset() + i64::from(record.offset_delta),
                    view.record_time(record.timestamp_delta),
                    record.key.map(<[u8]>::to_vec),
                    record.value.map(<[u8]>::to_vec),
                ));
            }
        }
    }
    (records, next)
}

#[test]
fn rows_of_every_type_and_format_are_json_on_the_kafka_wire() {
    let schema = all_types();
    let key_columns = vec![
        schema.columns[0].name.clone(),
        schema.columns[1].name.clone(),
    ];
    let shape = TableShape {
        key_columns,
        ..TableShape::of(SCHEMA, schema.clone())
    };
    let world = World::new(shape, small_segments());
    let source = Arc::clone(&world.simulation.randomness);
    let mut random = |bound: u64| source.below(bound);
    let mut expected = Vec::new();
    let types = [
        ChangeType::Insert,
        ChangeType::UpdateBefore,
        ChangeType::UpdateAfter,
        ChangeType::Delete,
    ];
    let formats = [
        BatchFormat::FlussArrow,
        BatchFormat::FlussIndexed,
        BatchFormat::FlussCompacted,
    ];
    for number in 0..30 {
        let base = world.end().value();
        let rows: Vec<Vec<_>> = (0..1 + number % 5)
            .map(|_| {
                let row = schema.columns.iter();
                row.map(|c| datum(&c.data_type, &mut random)).collect()
            })
            .collect();
        let per_row: Vec<_> = rows.iter().map(|_| types[random(4) as usize]).collect();
        let changes = if number % 2 == 0 {
            Changes::AppendOnly
        } else {
            Changes::PerRow(&per_row)
        };
        let format = formats[number / 4 % 3];
        let (batch, memory) = fluss_batch(&schema, format, changes, &rows);
        world.append(batch);
        let time = world
            .log
            .log()
            .first_committed_at(0)
            .unwrap()
            .unwrap()
            .commit_time;
        let values = JsonRows::new(&memory, &schema).unwrap();
        let keys = JsonRows::of_columns(&memory, &schema, &[0, 1]).unwrap();
        for i in 0..rows.len() {
            let change = changes.get(i);
            if change == ChangeType::UpdateBefore {
                continue;
            }
            let (mut key, mut value) = (Vec::new(), Vec::new());
            keys.write(i, &mut key).unwrap();
            values.write(i, &mut value).unwrap();
            let value = (change != ChangeType::Delete).then_some(value);
            expected.push((base + i as i64, time, Some(key), value));
        }
    }
    let read = world.kafka(0, 64 << 20);
    let (records, next) = kafka_records(&read.chunks);
    assert_eq!(records, expected);
    assert_eq!(next, world.end().value());
    for from in 0..next {
        let (records, _) = kafka_records(&world.kafka(from, 1).chunks);
        let last = records.last().map_or(from, |r| r.0);
        let seen = records.into_iter().filter(|r| r.0 >= from);
        let wanted = expected.iter().filter(|r| r.0 >= from && r.0 <= last);
        assert!(seen.eq(wanted.cloned()), "from {from}");
    }
}

/// A schema of one column with a long name.
fn wide(kind: TypeKind) -> Schema {
    let mut schema = all_types();
    schema.columns.truncate(1);
    schema.columns[0].name = "n".repeat(1000);
    schema.columns[0].data_type = DataType::nullable(kind);
    schema
}

#[test]
fn a_frame_that_is_much_json_is_taken_in_pieces() {
    const ROWS: i64 = 40_000;
    let schema = wide(TypeKind::Boolean);
    let world = World::new(TableShape::of(SCHEMA, schema.clone()), small_segments());
    let rows = vec![vec![Datum::Null]; ROWS as usize];
    for _ in 0..2 {
        let format = BatchFormat::FlussArrow;
        let (batch, _) = fluss_batch(&schema, format, Changes::AppendOnly, &rows);
        world.append(batch);
    }
    let mut next = 0;
    while next < 2 * ROWS {
        let read = world.kafka(next, 1);
        assert!(read.bytes < 2 << 20, "{} bytes", read.bytes);
        let (records, end) = kafka_records(&read.chunks);
        let offsets = records.iter().map(|record| record.0);
        assert!(offsets.filter(|offset| *offset >= next).eq(next..end));
        next = end;
    }
    assert_eq!(next, 2 * ROWS);
}

#[test]
fn a_row_that_no_kafka_client_could_fetch_is_a_gap() {
    let field = RowField {
        name: "f".repeat(1000),
        data_type: DataType::nullable(TypeKind::Boolean),
        description: None,
        field_id: -1,
    };
    let element = DataType::nullable(TypeKind::Row(vec![field]));
    let schema = wide(TypeKind::Array(Box::new(element)));
    let world = World::new(TableShape::of(SCHEMA, schema.clone()), small_segments());
    let row = |elements: usize| vec![Datum::Array(vec![Datum::Row(vec![Datum::Null]); elements])];
    let rows = [row(1), row(100_000), row(2)];
    let (batch, _) = fluss_batch(&schema, BatchFormat::FlussArrow, Changes::AppendOnly, &rows);
    world.append(batch);
    let (records, next) = kafka_records(&world.kafka(0, 1 << 20).chunks);
    let offsets: Vec<_> = records.iter().map(|record| record.0).collect();
    assert_eq!((offsets, next), (vec![0, 2], 3));
}

#[test]
fn an_empty_fluss_batch_is_an_empty_kafka_batch() {
    let schema = all_types();
    let world = World::new(TableShape::of(SCHEMA, schema), small_segments());
    let bytes = build_empty(&BatchSpec::new(SCHEMA), false).unwrap();
    world.append(unassigned(bytes.clone(), BatchFormat::FlussArrow, 0, 0));
    world.append(unassigned(bytes, BatchFormat::FlussArrow, 0, 0));
    let read = world.kafka(0, 1 << 20);
    let (records, next) = kafka_records(&read.chunks);
    assert!(records.is_empty());
    assert_eq!((next, read.next_offset), (2, Offset::new(2)));
}

#[test]
fn raw_rows_are_the_records_they_say() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    let header = Datum::Row(vec![Datum::String("h"), Datum::Bytes(b"1")]);
    let rows = vec![
        vec![
            Datum::Bytes(b"k"),
            Datum::Bytes(b"v"),
            Datum::Timestamp(Timestamp {
                millis: 1234,
                nanos: 0,
            }),
            Datum::Array(vec![header]),
        ],
        vec![Datum::Null, Datum::Null, Datum::Null, Datum::Null],
    ];
    let schema = raw_schema(false);
    let (batch, _) = fluss_batch(&schema, BatchFormat::FlussArrow, Changes::AppendOnly, &rows);
    world.append(batch);
    let read = world.kafka(0, 1 << 20);
    let (records, _) = kafka_records(&read.chunks);
    let key_value = (Some(b"k".to_vec()), Some(b"v".to_vec()));
    assert_eq!(records[0], (0, 1234, key_value.0, key_value.1));
    assert_eq!((records[1].0, &records[1].2), (1, &None));
    let view = BatchView::parse(&read.chunks[0]).unwrap();
    let first = view.records().next().unwrap().unwrap();
    let headers: Vec<_> = first.headers.iter().map(|h| (h.key, h.value)).collect();
    assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..]))]);
}
