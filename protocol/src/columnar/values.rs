//! Single values of Arrow arrays.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::TimeUnit;

use super::time_unit;
use crate::row::{Datum, Timestamp};
use crate::schema::{DataType, Schema, TypeKind};

/// A count of units as a timestamp. Seconds beyond the range of milliseconds are cut to it.
fn from_unit(value: i64, unit: TimeUnit) -> Timestamp {
    let (millis, nanos) = match unit {
        TimeUnit::Second => (value.saturating_mul(1000), 0),
        TimeUnit::Millisecond => (value, 0),
        TimeUnit::Microsecond => (value.div_euclid(1000), value.rem_euclid(1000) * 1000),
        TimeUnit::Nanosecond => (value.div_euclid(1_000_000), value.rem_euclid(1_000_000)),
    };
    let nanos = i32::try_from(nanos).expect("less than a million");
    Timestamp { millis, nanos }
}

/// All values of row `row`; `out` is cleared first. `rows` has the columns of `schema`.
pub fn row_at<'a>(rows: &'a RecordBatch, schema: &Schema, row: usize, out: &mut Vec<Datum<'a>>) {
    out.clear();
    for (array, column) in rows.columns().iter().zip(&schema.columns) {
        out.push(datum_at(array, &column.data_type, row));
    }
}

/// The value of row `row` of an array that has the Arrow type of `data_type`.
///
/// # Panics
/// When the array has another type, or fewer rows.
pub fn datum_at<'a>(array: &'a dyn Array, data_type: &DataType, row: usize) -> Datum<'a> {
    if array.is_null(row) {
        return Datum::Null;
    }
    match &data_type.kind {
        TypeKind::Boolean => Datum::Boolean(array.as_boolean().value(row)),
        TypeKind::TinyInt => Datum::TinyInt(array.as_primitive::<Int8Type>().value(row)),
        TypeKind::SmallInt => Datum::SmallInt(array.as_primitive::<Int16Type>().value(row)),
        TypeKind::Int => Datum::Int(array.as_primitive::<Int32Type>().value(row)),
        TypeKind::BigInt => Datum::BigInt(array.as_primitive::<Int64Type>().value(row)),
        TypeKind::Float => Datum::Float(array.as_primitive::<Float32Type>().value(row)),
        TypeKind::Double => Datum::Double(array.as_primitive::<Float64Type>().value(row)),
        TypeKind::Char { .. } | TypeKind::String => {
            Datum::String(array.as_string::<i32>().value(row))
        }
        TypeKind::Binary { .. } => Datum::Bytes(array.as_fixed_size_binary().value(row)),
        TypeKind::Bytes => Datum::Bytes(array.as_binary::<i32>().value(row)),
        TypeKind::Decimal { .. } => {
            Datum::Decimal(array.as_primitive::<Decimal128Type>().value(row))
        }
        TypeKind::Date => Datum::Date(array.as_primitive::<Date32Type>().value(row)),
        TypeKind::Time { precision } => Datum::Time(match time_unit(*precision) {
            TimeUnit::Second => array
                .as_primitive::<Time32SecondType>()
                .value(row)
                .saturating_mul(1000),
            TimeUnit::Millisecond => array.as_primitive::<Time32MillisecondType>().value(row),
            TimeUnit::Microsecond => clamp(
                array
                    .as_primitive::<Time64MicrosecondType>()
                    .value(row)
                    .div_euclid(1000),
            ),
            TimeUnit::Nanosecond => clamp(
                array
                    .as_primitive::<Time64NanosecondType>()
                    .value(row)
                    .div_euclid(1_000_000),
            ),
        }),
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
            let unit = time_unit(*precision);
            Datum::Timestamp(from_unit(timestamp_value(array, unit, row), unit))
        }
        TypeKind::Array(element) => {
            let array = array.as_list::<i32>();
            let range =
                array.value_offsets()[row] as usize..array.value_offsets()[row + 1] as usize;
            Datum::Array(
                range
                    .map(|i| datum_at(array.values(), element, i))
                    .collect(),
            )
        }
        TypeKind::Map { key, value } => {
            let array = array.as_map();
            let range =
                array.value_offsets()[row] as usize..array.value_offsets()[row + 1] as usize;
            let entry = |i| {
                (
                    datum_at(array.keys(), key, i),
                    datum_at(array.values(), value, i),
                )
            };
            Datum::Map(range.map(entry).collect())
        }
        TypeKind::Row(fields) => {
            let array = array.as_struct();
            let columns = array.columns().iter().zip(fields);
            Datum::Row(
                columns
                    .map(|(c, f)| datum_at(c, &f.data_type, row))
                    .collect(),
            )
        }
    }
}

fn clamp(millis: i64) -> i32 {
    i32::try_from(millis).unwrap_or(if millis < 0 { i32::MIN } else { i32::MAX })
}

/// The count of units of row `row` of a timestamp array.
fn timestamp_value(array: &dyn Array, unit: TimeUnit, row: usize) -> i64 {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
    }
}
