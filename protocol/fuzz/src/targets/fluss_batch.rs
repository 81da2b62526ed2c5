//! Log batches of Fluss clients, from validation to all that the broker does with stored ones.

use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::BatchFormat;
use protocol::columnar::Decoder;
use protocol::fluss::batch::{HeaderView, Limits, LogBatch, ValidateContext, Validator};
use protocol::fluss::predicate::{LeafFunction, Literal, Predicate};
use protocol::fluss::projection::{Planned, Projection};
use protocol::fluss::statistics::BatchStatistics;
use protocol::ids::{BucketId, SchemaId};
use protocol::json::JsonRows;
use protocol::row::Timestamp;
use protocol::schema::Schema;
use protocol::stored;

use super::{Reader, schemas};

/// Bounds that a short input reaches.
const LIMITS: Limits = Limits {
    batch_bytes_max: 1 << 20,
    decoded_bytes_max: 8 << 20,
    records_max: 1 << 20,
};

/// Rows that are written as JSON.
const JSON_ROWS_MAX: usize = 64;

/// Where a batch has its length and its magic.
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 12;

/// A schema and a format, then a batch. Length and CRC are put right, unless the second byte says
/// otherwise.
pub fn batch(data: &[u8]) {
    let mut input = Reader(data);
    let schema = input.choose(schemas());
    let choices = input.byte();
    let format = [
        BatchFormat::FlussArrow,
        BatchFormat::FlussIndexed,
        BatchFormat::FlussCompacted,
        BatchFormat::FlussArrow,
    ][usize::from(choices & 3)];
    let mut bytes = input.rest().to_vec();
    if choices & 4 == 0 {
        mend(&mut bytes);
    }
    project(&bytes, schema);
    let context = ValidateContext {
        format,
        bucket: BucketId::new(0),
        append_only: choices & 8 == 0,
        record_time_column: None,
        limits: LIMITS,
    };
    let known = Arc::new(schema.clone());
    let lookup = |_: SchemaId| Some(Arc::clone(&known));
    let valid = Validator::new().validate(Bytes::from(bytes), &context, &lookup);
    if let Ok(valid) = valid {
        read_back(&valid.bytes, format, schema);
    }
}

/// What passed is readable, whole and by column, as rows, as JSON, and through a projection.
fn read_back(bytes: &Bytes, format: BatchFormat, schema: &Schema) {
    assert!(stored::crc_holds(format, bytes));
    let batch = LogBatch::parse(bytes).expect("a valid batch parses");
    let mut decoder = Decoder::new(LIMITS.decoded_bytes_max);
    let decoded = decoder
        .decode(&batch, format, schema, None)
        .expect("a valid batch decodes");
    let json = JsonRows::new(&decoded.rows, schema).expect("rows of the schema");
    let mut text = Vec::new();
    for row in 0..decoded.rows.num_rows().min(JSON_ROWS_MAX) {
        text.clear();
        if json.write(row, &mut text).is_err() {
            continue;
        }
        assert!(std::str::from_utf8(&text).is_ok());
    }
    let last = schema.columns.len() - 1;
    decoder
        .decode(&batch, format, schema, Some(&[last]))
        .expect("a column of a valid batch decodes");
    if format == BatchFormat::FlussArrow {
        let projected = project(bytes, schema).expect("a valid batch can be projected");
        // Its CRC is the stored batch's, as in Fluss: clients check none after a projection.
        let projected = LogBatch::parse(&projected.into()).expect("a projection parses");
        let narrow = Schema {
            columns: ends(schema).map(|i| schema.columns[i].clone()).collect(),
            ..schema.clone()
        };
        decoder
            .decode(&projected, format, &narrow, None)
            .expect("a projection of a valid batch decodes");
    }
}

/// The first and the last column.
fn ends(schema: &Schema) -> impl Iterator<Item = usize> {
    let last = schema.columns.len() - 1;
    std::iter::once(0).chain((last > 0).then_some(last))
}

/// The first and the last column of a stored batch, planned from its first bytes, as a log does.
fn project(bytes: &[u8], schema: &Schema) -> Option<Vec<u8>> {
    let fields: Vec<_> = ends(schema).collect();
    let projection = Projection::new(schema, &fields).expect("ascending and in range");
    let mut window = 64;
    loop {
        let prefix = &bytes[..window.min(bytes.len())];
        match projection.plan(prefix, schema.columns.len()).ok()? {
            Planned::NeedMore(need) => {
                assert!(need > prefix.len(), "the plan makes progress");
                if need > bytes.len() {
                    return None;
                }
                window = need;
            }
            Planned::Plan(plan) => {
                let end = bytes.len() as u64;
                if plan.body_ranges.iter().any(|range| range.end > end) {
                    return None;
                }
                let projected = plan.apply(bytes);
                assert_eq!(projected.len(), plan.total_len);
                return Some(projected);
            }
        }
    }
}

/// Puts the length of a batch and its CRC right.
fn mend(bytes: &mut [u8]) {
    if bytes.len() <= MAGIC_AT {
        return;
    }
    let length = (bytes.len() - MAGIC_AT) as u32;
    bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_le_bytes());
    let Ok(magic) = HeaderView::parse(bytes).map(|header| header.magic()) else {
        return;
    };
    let crc_at = magic.crc_at();
    let crc = crc32c::crc32c(&bytes[crc_at + 4..]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// A schema and a comparison, then the statistics of a batch.
pub fn statistics(data: &[u8]) {
    let mut input = Reader(data);
    let schema = input.choose(schemas());
    let column_id = i32::from(input.byte());
    let function = LeafFunction::from_code(i32::from(input.byte() % 13));
    let count = usize::from(input.byte() % 4);
    let literals = (0..count).map(|_| literal(&mut input)).collect();
    let rows = usize::from(input.byte());
    let Some(statistics) = BatchStatistics::parse(input.rest(), schema) else {
        return;
    };
    let leaf = Predicate::Leaf {
        column_id,
        function: function.expect("13 functions"),
        literals,
    };
    let _ = leaf.may_match_statistics(&statistics, rows, schema);
    let both = Predicate::And(vec![leaf.clone(), Predicate::Or(vec![leaf])]);
    let _ = both.may_match_statistics(&statistics, rows, schema);
}

fn literal(input: &mut Reader<'_>) -> Literal {
    match input.byte() % 8 {
        0 => Literal::Null,
        1 => Literal::Boolean(input.byte() & 1 == 1),
        2 => Literal::Int(input.number()),
        3 => Literal::Float(f64::from_bits(input.number() as u64)),
        4 => Literal::String(char::from(input.byte()).to_string()),
        5 => Literal::Decimal(i128::from(input.number()) << (input.byte() % 64)),
        6 => Literal::Timestamp(Timestamp {
            millis: input.number(),
            nanos: input.number() as i32,
        }),
        _ => Literal::Bytes(vec![input.byte()]),
    }
}
