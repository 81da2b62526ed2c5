//! What passes, what is refused, and that what passes decodes.

use proptest::prelude::*;

use super::*;
use crate::batch::ProducerScheme;
use crate::columnar::{RowsBuilder, arrow_schema, datum_at};
use crate::fluss::arrow_message::BufferCodec;
use crate::fluss::batch::{BatchSpec, build_arrow, build_empty, build_rows};
use crate::fluss::buffer_codec::Compressor;
use crate::fluss::vectors;
use crate::row::{Datum, compacted, indexed, strategy};
use crate::schema::{DataType, TypeKind};

fn context(format: BatchFormat) -> ValidateContext {
    ValidateContext {
        format,
        bucket: BucketId::new(2),
        append_only: false,
        record_time_column: None,
        limits: Limits {
            decoded_bytes_max: 1 << 20,
            ..Limits::default()
        },
    }
}

fn validate(
    bytes: Bytes,
    context: &ValidateContext,
    schema: &Schema,
) -> Result<UnassignedBatch, InvalidBatch> {
    let schema = Arc::new(schema.clone());
    let lookup = |id| (id == SchemaId::new(1)).then(|| schema.clone());
    Validator::new().validate(bytes, context, &lookup)
}

/// The batch with a CRC that fits again.
fn seal(mut bytes: Vec<u8>) -> Bytes {
    let crc = crc32c::crc32c(&bytes[25..]);
    bytes[21..25].copy_from_slice(&crc.to_le_bytes());
    bytes.into()
}

#[test]
fn batches_of_the_java_client_pass() {
    let schema = vectors::int_and_string();
    for vector in [&vectors::APPEND_ONLY, &vectors::CHANGELOG, &vectors::ZSTD] {
        let batch = validate(vector.bytes(), &context(BatchFormat::FlussArrow), &schema).unwrap();
        assert_eq!(batch.bytes, vector.bytes());
        assert_eq!((batch.record_count, batch.last_offset_delta), (2, 1));
        assert_eq!(batch.record_time_max, NO_TIME);
        let source = batch.source.unwrap();
        assert_eq!(source.scheme, ProducerScheme::Fluss);
        assert_eq!((source.producer_id, source.source_partition), (7, 2));
        assert_eq!((source.first_sequence, source.last_sequence), (3, 3));
    }
}

#[test]
fn a_log_table_takes_appends_only() {
    let context = ValidateContext {
        append_only: true,
        ..context(BatchFormat::FlussArrow)
    };
    let schema = vectors::int_and_string();
    assert!(validate(vectors::APPEND_ONLY.bytes(), &context, &schema).is_ok());
    let refused = validate(vectors::CHANGELOG.bytes(), &context, &schema);
    assert!(matches!(refused, Err(InvalidBatch::NotAppendOnly(0))));
}

#[test]
fn headers_that_contradict_their_records_are_refused() {
    let schema = vectors::int_and_string();
    let context = context(BatchFormat::FlussArrow);
    let with = |at: usize, bytes: &[u8]| {
        let mut batch = vectors::APPEND_ONLY.bytes().to_vec();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        validate(seal(batch), &context, &schema)
    };
    assert!(matches!(with(25, &[9, 0]), Err(InvalidBatch::UnknownSchema(id)) if id.value() == 9));
    assert!(matches!(
        with(28, &[2]),
        Err(InvalidBatch::OffsetDelta { count: 2, delta: 2 })
    ));
    assert!(matches!(
        with(40, &[0xff; 4]),
        Err(InvalidBatch::Sequence { writer_id: 7, .. })
    ));
    // One row more than the message has.
    let more = with(28, &[2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3]);
    assert!(matches!(
        more,
        Err(InvalidBatch::Records(DecodeError::RowCount {
            header: 3,
            message: 2
        }))
    ));
    let mut flipped = vectors::APPEND_ONLY.bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(
        validate(flipped.into(), &context, &schema),
        Err(InvalidBatch::Crc { .. })
    ));
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let schema = vectors::int_and_string();
    let mut batch = vectors::APPEND_ONLY.bytes().to_vec();
    let at = batch.len() - 8;
    assert_eq!(batch[at], b'x');
    batch[at] = 0xff;
    let refused = validate(seal(batch), &context(BatchFormat::FlussArrow), &schema);
    assert!(matches!(
        refused,
        Err(InvalidBatch::Records(DecodeError::Column { .. }))
    ));
}

#[test]
fn null_in_a_not_null_column_is_refused() {
    let mut schema = vectors::int_and_string();
    schema.columns[1].data_type.nullable = false;
    let refused = validate(
        vectors::APPEND_ONLY.bytes(),
        &context(BatchFormat::FlussArrow),
        &schema,
    );
    assert!(matches!(
        refused,
        Err(InvalidBatch::Records(DecodeError::Column { .. }))
    ));
}

#[test]
fn empty_batches_pass_for_every_format() {
    let schema = vectors::int_and_string();
    let empty = build_empty(&BatchSpec::new(SchemaId::new(1)), true).unwrap();
    for format in [
        BatchFormat::FlussArrow,
        BatchFormat::FlussIndexed,
        BatchFormat::FlussCompacted,
    ] {
        let batch = validate(empty.clone().into(), &context(format), &schema).unwrap();
        assert_eq!((batch.record_count, batch.last_offset_delta), (0, 0));
        assert!(batch.source.is_none());
    }
}

#[test]
fn several_batches_are_validated_in_order() {
    let schema = Arc::new(vectors::int_and_string());
    let lookup = |_| Some(schema.clone());
    let both = [&vectors::APPEND_ONLY.bytes()[..], &vectors::ZSTD.bytes()].concat();
    let context = context(BatchFormat::FlussArrow);
    let batches = Validator::new()
        .validate_all(both.clone().into(), &context, &lookup)
        .unwrap();
    assert_eq!(batches.len(), 2);
    let one = Validator::new().validate(both.into(), &context, &lookup);
    assert!(matches!(one, Err(InvalidBatch::Trailing(_))));
}

#[test]
fn the_record_time_is_the_largest_of_its_column() {
    let kind = TypeKind::TimestampLtz { precision: 3 };
    let schema = vectors::schema(&[("t", DataType::nullable(kind.clone()))]);
    let mut rows = RowsBuilder::new([DataType::nullable(kind)], 1000);
    for millis in [Some(5), None, Some(9), Some(-4)] {
        let value = millis.map_or(Datum::Null, |millis| {
            Datum::Timestamp(crate::row::Timestamp { millis, nanos: 0 })
        });
        rows.append([value].iter()).unwrap();
    }
    let rows =
        arrow_array::RecordBatch::try_new(arrow_schema(&schema), rows.finish().unwrap()).unwrap();
    let spec = BatchSpec::new(SchemaId::new(1));
    let bytes = build_arrow(
        &spec,
        Changes::AppendOnly,
        &rows,
        &mut Compressor::new(None),
    )
    .unwrap();
    let context = ValidateContext {
        record_time_column: Some(0),
        ..context(BatchFormat::FlussArrow)
    };
    assert_eq!(
        validate(bytes.into(), &context, &schema)
            .unwrap()
            .record_time_max,
        9
    );
}

/// A batch of random rows in the format, and what it was made of.
fn batch(
    types: &[DataType],
    rows: &[Vec<strategy::Owned>],
    format: BatchFormat,
    codec: Option<BufferCodec>,
    changelog: bool,
) -> (Schema, Vec<u8>) {
    let names: Vec<_> = (0..types.len()).map(|i| format!("c{i}")).collect();
    let columns: Vec<_> = names
        .iter()
        .map(String::as_str)
        .zip(types.iter().cloned())
        .collect();
    let schema = vectors::schema(&columns);
    let spec = BatchSpec::new(SchemaId::new(1));
    let types_of_rows: Vec<_> = (0..rows.len())
        .map(|i| {
            if i % 2 == 0 {
                ChangeType::Insert
            } else {
                ChangeType::Delete
            }
        })
        .collect();
    let changes = if changelog {
        Changes::PerRow(&types_of_rows)
    } else {
        Changes::AppendOnly
    };
    let values: Vec<Vec<_>> = rows
        .iter()
        .map(|r| r.iter().map(strategy::Owned::datum).collect())
        .collect();
    let bytes = if format == BatchFormat::FlussArrow {
        let mut builder = RowsBuilder::new(types.to_vec(), 1 << 20);
        for row in &values {
            builder.append(row.iter()).unwrap();
        }
        let columns = builder.finish().unwrap();
        let rows = arrow_array::RecordBatch::try_new(arrow_schema(&schema), columns).unwrap();
        build_arrow(&spec, changes, &rows, &mut Compressor::new(codec)).unwrap()
    } else {
        let rows: Vec<Vec<u8>> = values
            .iter()
            .map(|row| {
                let mut out = Vec::new();
                match format {
                    BatchFormat::FlussIndexed => indexed::write(row, types.iter(), &mut out),
                    _ => compacted::write(row, types.iter(), &mut out),
                }
                .unwrap();
                out
            })
            .collect();
        build_rows(&spec, changes, rows.iter().map(Vec::as_slice)).unwrap()
    };
    (schema, bytes)
}

fn format() -> impl Strategy<Value = BatchFormat> {
    prop_oneof![
        3 => Just(BatchFormat::FlussArrow),
        1 => Just(BatchFormat::FlussIndexed),
        1 => Just(BatchFormat::FlussCompacted),
    ]
}

fn codec() -> impl Strategy<Value = Option<BufferCodec>> {
    prop_oneof![
        Just(None),
        Just(Some(BufferCodec::Lz4Frame)),
        Just(Some(BufferCodec::Zstd)),
    ]
}

proptest! {
    #[test]
    fn built_batches_validate_and_decode_to_their_rows(
        (types, rows) in strategy::rows(),
        format in format(),
        codec in codec(),
        changelog in any::<bool>(),
    ) {
        let (schema, bytes) = batch(&types, &rows, format, codec, changelog);
        let accepted = validate(bytes.into(), &context(format), &schema).unwrap();
        let log_batch = LogBatch::parse(&accepted.bytes).unwrap();
        let decoded = Decoder::default().decode(&log_batch, format, &schema, None).unwrap();
        prop_assert_eq!(decoded.rows.num_rows(), rows.len());
        for (i, row) in rows.iter().enumerate() {
            for (c, value) in row.iter().enumerate() {
                let found = datum_at(decoded.rows.column(c), &types[c], i);
                prop_assert_eq!(found, value.datum());
            }
            let expected = match (changelog, i % 2) {
                (false, _) => ChangeType::AppendOnly,
                (true, 0) => ChangeType::Insert,
                (true, _) => ChangeType::Delete,
            };
            prop_assert_eq!(decoded.changes.as_changes().get(i), expected);
        }
        // The last column alone.
        let last = types.len() - 1;
        let one =
            Decoder::default().decode(&log_batch, format, &schema, Some(&[last])).unwrap();
        prop_assert_eq!(one.rows.column(0), decoded.rows.column(last));
    }

    #[test]
    fn what_passes_validation_decodes(
        (types, rows) in strategy::rows(),
        format in format(),
        codec in codec(),
        changelog in any::<bool>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (schema, mut bytes) = batch(&types, &rows, format, codec, changelog);
        for (at, value) in damage {
            let at = 25 + at.index(bytes.len() - 25);
            bytes[at] = value;
        }
        if let Ok(accepted) = validate(seal(bytes), &context(format), &schema) {
            let log_batch = LogBatch::parse(&accepted.bytes).unwrap();
            let decoded = Decoder::default().decode(&log_batch, format, &schema, None);
            prop_assert!(decoded.is_ok(), "{:?}", decoded.err());
        }
    }
}
