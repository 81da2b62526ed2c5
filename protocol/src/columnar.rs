//! Schemas as Arrow schemas, and batches and rows as Arrow arrays.
//!
//! | Fluss | Arrow |
//! |---|---|
//! | BOOLEAN, TINYINT … BIGINT, FLOAT, DOUBLE | Boolean, Int8 … Int64, Float32, Float64 |
//! | CHAR, STRING | Utf8 |
//! | BINARY(n), BYTES | FixedSizeBinary(n), Binary |
//! | DECIMAL(p, s) | Decimal128(p, s) |
//! | DATE | Date32 |
//! | TIME(p) | Time32 or Time64 of p's unit |
//! | TIMESTAMP(p), TIMESTAMP_LTZ(p) | Timestamp of p's unit; LTZ with zone UTC |
//! | ARRAY, MAP, ROW | List, Map, Struct |
//!
//! The unit is seconds for p = 0, milliseconds for 1 to 3, microseconds for 4 to 6, nanoseconds for
//! 7 to 9. Facts: Fluss log format, ARROW; `ArrowUtils.java`.

mod decode;
mod message;
mod rows;
mod values;

pub use decode::{ChangeTypes, DECODED_BYTES_MAX, DecodeError, DecodedBatch, Decoder};
pub(crate) use decode::{record_count, split_change_types};
pub use message::ColumnError;
pub use rows::{RowsBuilder, RowsError};
pub use values::{datum_at, row_at};

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{ArrowError, TimeUnit};
use arrow_schema::{DataType as ArrowType, Field, Fields, Schema as ArrowSchema, SchemaRef};

use crate::schema::{DataType, Schema, TypeKind};

/// The time zone of TIMESTAMP_LTZ columns.
const UTC: &str = "UTC";

/// The unit in which a time of this precision (digits of the second's fraction) is stored.
pub fn time_unit(precision: u8) -> TimeUnit {
    match precision {
        0 => TimeUnit::Second,
        1..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

/// The Arrow type of a column.
pub fn arrow_type(data_type: &DataType) -> ArrowType {
    match &data_type.kind {
        TypeKind::Boolean => ArrowType::Boolean,
        TypeKind::TinyInt => ArrowType::Int8,
        TypeKind::SmallInt => ArrowType::Int16,
        TypeKind::Int => ArrowType::Int32,
        TypeKind::BigInt => ArrowType::Int64,
        TypeKind::Float => ArrowType::Float32,
        TypeKind::Double => ArrowType::Float64,
        TypeKind::Char { .. } | TypeKind::String => ArrowType::Utf8,
        TypeKind::Binary { length } => {
            ArrowType::FixedSizeBinary(i32::try_from(*length).unwrap_or(i32::MAX))
        }
        TypeKind::Bytes => ArrowType::Binary,
        TypeKind::Decimal { precision, scale } => {
            ArrowType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(i8::MAX))
        }
        TypeKind::Date => ArrowType::Date32,
        TypeKind::Time { precision } => match time_unit(*precision) {
            unit @ (TimeUnit::Second | TimeUnit::Millisecond) => ArrowType::Time32(unit),
            unit => ArrowType::Time64(unit),
        },
        TypeKind::Timestamp { precision } => ArrowType::Timestamp(time_unit(*precision), None),
        TypeKind::TimestampLtz { precision } => {
            ArrowType::Timestamp(time_unit(*precision), Some(UTC.into()))
        }
        TypeKind::Array(element) => ArrowType::List(Arc::new(arrow_field("element", element))),
        TypeKind::Map { key, value } => {
            let entries = Fields::from(vec![
                // A key is never null, whatever the key's type says.
                arrow_field("key", key).with_nullable(false),
                arrow_field("value", value),
            ]);
            let entries = Field::new("entries", ArrowType::Struct(entries), false);
            ArrowType::Map(Arc::new(entries), false)
        }
        TypeKind::Row(fields) => ArrowType::Struct(
            fields
                .iter()
                .map(|f| arrow_field(&f.name, &f.data_type))
                .collect(),
        ),
    }
}

/// An Arrow field of this name and type.
pub fn arrow_field(name: &str, data_type: &DataType) -> Field {
    Field::new(name, arrow_type(data_type), data_type.nullable)
}

/// The Arrow schema of a table.
pub fn arrow_schema(schema: &Schema) -> SchemaRef {
    let fields: Fields = schema
        .columns
        .iter()
        .map(|c| arrow_field(&c.name, &c.data_type))
        .collect();
    Arc::new(ArrowSchema::new(fields))
}

/// The Arrow schema of some columns of a table, by position.
///
/// # Panics
/// When a position is beyond the columns.
pub fn projected_arrow_schema(schema: &Schema, columns: &[usize]) -> SchemaRef {
    let field = |i: &usize| arrow_field(&schema.columns[*i].name, &schema.columns[*i].data_type);
    Arc::new(ArrowSchema::new(
        columns.iter().map(field).collect::<Fields>(),
    ))
}

/// Rows of an older schema as rows of a newer one: columns are matched by id, missing ones are
/// null. `rows` has all columns of `from`.
///
/// Columns are only ever added as nullable, so an error means that the schemas are not versions
/// of one table.
pub fn pad(rows: &RecordBatch, from: &Schema, to: &Schema) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = to
        .columns
        .iter()
        .map(
            |column| match from.columns.iter().position(|c| c.id == column.id) {
                Some(i) => rows.column(i).clone(),
                None => new_null_array(&arrow_type(&column.data_type), rows.num_rows()),
            },
        )
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(arrow_schema(to), columns, &options)
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, Int32Array};

    use super::*;
    use crate::fluss::vectors;

    #[test]
    fn rows_of_an_older_schema_get_nulls_for_newer_columns() {
        let from = vectors::schema(&[("a", DataType::not_null(TypeKind::Int))]);
        let to = vectors::schema(&[
            ("a", DataType::not_null(TypeKind::Int)),
            (
                "b",
                DataType::nullable(TypeKind::Array(Box::new(DataType::nullable(TypeKind::Int)))),
            ),
        ]);
        let a = Arc::new(Int32Array::from(vec![1, 2, 3]));
        let rows = RecordBatch::try_new(arrow_schema(&from), vec![a]).unwrap();
        let padded = pad(&rows, &from, &to).unwrap();
        assert_eq!(padded.schema(), arrow_schema(&to));
        assert_eq!(padded.column(1).null_count(), 3);
        assert_eq!(padded.column(0), rows.column(0));
    }

    #[test]
    fn times_take_the_unit_of_their_precision() {
        let kind = |precision| arrow_type(&DataType::nullable(TypeKind::Time { precision }));
        assert_eq!(kind(0), ArrowType::Time32(TimeUnit::Second));
        assert_eq!(kind(1), ArrowType::Time32(TimeUnit::Millisecond));
        assert_eq!(kind(4), ArrowType::Time64(TimeUnit::Microsecond));
        assert_eq!(kind(9), ArrowType::Time64(TimeUnit::Nanosecond));
    }
}
