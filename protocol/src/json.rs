//! Rows as JSON: what Kafka consumers of a table get as values and keys, and what Kafka producers
//! send ([`JsonReader`]).
//!
//! A row is an object of all columns in order. The mapping of every type is an interface that
//! users build on; it is described, with its reasons, in `docs/formats/json.md`:
//!
//! | type | JSON |
//! |---|---|
//! | BOOLEAN | `true`, `false` |
//! | TINYINT, SMALLINT, INT | number |
//! | BIGINT | number within ±(2⁵³ − 1), string beyond |
//! | FLOAT, DOUBLE | shortest number that reads back the same; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | DECIMAL(p, s) | string with s digits after the point |
//! | CHAR, STRING | string |
//! | BINARY, BYTES | string: base64 with padding |
//! | DATE | `"2026-11-21"` |
//! | TIME(p), TIMESTAMP(p) | `"13:45:30.123"`, `"2026-11-21T13:45:30.123"` |
//! | TIMESTAMP_LTZ(p) | `"2026-11-21T13:45:30.123Z"` |
//! | ARRAY | array |
//! | MAP | object for CHAR and STRING keys, else array of `{"key": …, "value": …}` |
//! | ROW | object |
//! | null | `null` |
//!
//! Rows are written straight from Arrow arrays, without an allocation per row.

mod number;
mod read;
mod text;
mod time;

pub use read::{Fault, JsonReader, JsonValue, ReadError};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    Array, BinaryArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, StringArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::TimeUnit;
use thiserror::Error;

use crate::columnar::time_unit;
use crate::schema::{DataType, Schema, TypeKind};

/// Bytes that the text of one row may take. A compressed list of a few bytes could write gigabytes;
/// what real rows hold is far below, and what Kafka clients fetch as well.
pub const ROW_BYTES_MAX: usize = 64 << 20;

/// The text of a row would take more than [`ROW_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("row takes more than {ROW_BYTES_MAX} bytes as JSON")]
pub struct RowTooLarge;

/// The rows do not have the columns of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("column {column} of the rows is missing or not of the schema's type")]
pub struct JsonError {
    /// The column's name.
    pub column: String,
}

/// Writes the rows of one batch as JSON.
#[derive(Debug)]
pub struct JsonRows<'a>(Fields<'a>);

impl<'a> JsonRows<'a> {
    /// Objects of all columns. `rows` has the columns of `schema`, in order.
    pub fn new(rows: &'a RecordBatch, schema: &Schema) -> Result<Self, JsonError> {
        let columns: Vec<_> = (0..schema.columns.len()).collect();
        JsonRows::of_columns(rows, schema, &columns)
    }

    /// Objects of some columns, by position and in the given order: a record's key is the object
    /// of the bucket-key columns. `rows` has all columns of `schema`.
    pub fn of_columns(
        rows: &'a RecordBatch,
        schema: &Schema,
        columns: &[usize],
    ) -> Result<Self, JsonError> {
        let mut fields = Fields::default();
        for position in columns {
            let column = schema.columns.get(*position).ok_or_else(|| JsonError {
                column: format!("#{position}"),
            })?;
            let wrong = || JsonError {
                column: column.name.clone(),
            };
            let array = rows.columns().get(*position).ok_or_else(wrong)?;
            let values = Column::new(array, &column.data_type).ok_or_else(wrong)?;
            fields.push(&column.name, values);
        }
        Ok(JsonRows(fields))
    }

    /// Appends the JSON text of row `row` to `out`, which may hold [`ROW_BYTES_MAX`] bytes then.
    ///
    /// # Errors
    /// There would be more; what `out` holds is of no use.
    ///
    /// # Panics
    /// When the batch has fewer rows.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), RowTooLarge> {
        self.0.write(row, out);
        if is_too_large(out) {
            Err(RowTooLarge)
        } else {
            Ok(())
        }
    }
}

/// The fields of an object, each with the text that stands before its value.
#[derive(Debug, Default)]
struct Fields<'a>(Vec<(Vec<u8>, Column<'a>)>);

impl<'a> Fields<'a> {
    fn push(&mut self, name: &str, column: Column<'a>) {
        let mut before = vec![if self.0.is_empty() { b'{' } else { b',' }];
        text::write_string(name, &mut before);
        before.push(b':');
        self.0.push((before, column));
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            out.push(b'{');
        }
        for (before, column) in &self.0 {
            out.extend_from_slice(before);
            column.write(row, out);
        }
        out.push(b'}');
    }
}

/// A column with its type found out once, not per value.
#[derive(Debug)]
struct Column<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    Boolean(&'a BooleanArray),
    TinyInt(&'a [i8]),
    SmallInt(&'a [i16]),
    Int(&'a [i32]),
    BigInt(&'a [i64]),
    Float(&'a [f32]),
    Double(&'a [f64]),
    Decimal(&'a [i128], u8),
    String(&'a StringArray),
    Bytes(&'a BinaryArray),
    FixedBytes(&'a FixedSizeBinaryArray),
    Date(&'a [i32]),
    Time32(&'a [i32], TimeUnit),
    Time64(&'a [i64], TimeUnit),
    Timestamp(&'a [i64], TimeUnit, &'static str),
    Array(&'a [i32], Box<Column<'a>>),
    TextMap(&'a [i32], &'a StringArray, Box<Column<'a>>),
    Map(&'a [i32], Box<Column<'a>>, Box<Column<'a>>),
    Row(Fields<'a>),
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array) -> Option<&[T::Native]> {
    Some(array.as_primitive_opt::<T>()?.values())
}

impl<'a> Column<'a> {
    fn new(array: &'a dyn Array, data_type: &DataType) -> Option<Self> {
        let nested = |array, data_type| Some(Box::new(Column::new(array, data_type)?));
        let values = match &data_type.kind {
            TypeKind::Boolean => Values::Boolean(array.as_boolean_opt()?),
            TypeKind::TinyInt => Values::TinyInt(primitive::<Int8Type>(array)?),
            TypeKind::SmallInt => Values::SmallInt(primitive::<Int16Type>(array)?),
            TypeKind::Int => Values::Int(primitive::<Int32Type>(array)?),
            TypeKind::BigInt => Values::BigInt(primitive::<Int64Type>(array)?),
            TypeKind::Float => Values::Float(primitive::<Float32Type>(array)?),
            TypeKind::Double => Values::Double(primitive::<Float64Type>(array)?),
            TypeKind::Decimal { scale, .. } => {
                Values::Decimal(primitive::<Decimal128Type>(array)?, *scale)
            }
            TypeKind::Char { .. } | TypeKind::String => Values::String(array.as_string_opt()?),
            TypeKind::Bytes => Values::Bytes(array.as_binary_opt()?),
            TypeKind::Binary { .. } => Values::FixedBytes(array.as_fixed_size_binary_opt()?),
            TypeKind::Date => Values::Date(primitive::<Date32Type>(array)?),
            TypeKind::Time { precision } => {
                let unit = time_unit(*precision);
                match unit {
                    TimeUnit::Second => Values::Time32(primitive::<Time32SecondType>(array)?, unit),
                    TimeUnit::Millisecond => {
                        Values::Time32(primitive::<Time32MillisecondType>(array)?, unit)
                    }
                    TimeUnit::Microsecond => {
                        Values::Time64(primitive::<Time64MicrosecondType>(array)?, unit)
                    }
                    TimeUnit::Nanosecond => {
                        Values::Time64(primitive::<Time64NanosecondType>(array)?, unit)
                    }
                }
            }
            TypeKind::Timestamp { precision } => timestamps(array, *precision, "")?,
            TypeKind::TimestampLtz { precision } => timestamps(array, *precision, "Z")?,
            TypeKind::Array(element) => {
                let array = array.as_list_opt::<i32>()?;
                Values::Array(array.value_offsets(), nested(array.values(), element)?)
            }
            TypeKind::Map { key, value } => {
                let array = array.as_map_opt()?;
                let (offsets, keys) = (array.value_offsets(), array.keys());
                let values = nested(array.values(), value)?;
                match &key.kind {
                    TypeKind::Char { .. } | TypeKind::String => {
                        Values::TextMap(offsets, keys.as_string_opt()?, values)
                    }
                    _ => Values::Map(offsets, nested(keys, key)?, values),
                }
            }
            TypeKind::Row(types) => {
                let array = array.as_struct_opt()?;
                if array.num_columns() != types.len() {
                    return None;
                }
                let mut fields = Fields::default();
                for (field, array) in types.iter().zip(array.columns()) {
                    fields.push(&field.name, Column::new(array, &field.data_type)?);
                }
                Values::Row(fields)
            }
        };
        Some(Column {
            nulls: array.nulls(),
            values,
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.values {
            Values::Boolean(v) => {
                out.extend_from_slice(if v.value(row) { b"true" } else { b"false" });
            }
            Values::TinyInt(v) => number::write_int(v[row].into(), out),
            Values::SmallInt(v) => number::write_int(v[row].into(), out),
            Values::Int(v) => number::write_int(v[row].into(), out),
            Values::BigInt(v) => number::write_bigint(v[row], out),
            Values::Float(v) => number::write_float(v[row], out),
            Values::Double(v) => number::write_double(v[row], out),
            Values::Decimal(v, scale) => number::write_decimal(v[row], *scale, out),
            Values::String(v) => text::write_string(v.value(row), out),
            Values::Bytes(v) => text::write_base64(v.value(row), out),
            Values::FixedBytes(v) => text::write_base64(v.value(row), out),
            Values::Date(v) => time::write_date(v[row], out),
            Values::Time32(v, unit) => time::write_time(v[row].into(), *unit, out),
            Values::Time64(v, unit) => time::write_time(v[row], *unit, out),
            Values::Timestamp(v, unit, zone) => time::write_timestamp(v[row], *unit, zone, out),
            Values::Array(offsets, element) => {
                write_list(offsets, row, out, |i, out| element.write(i, out));
            }
            Values::TextMap(offsets, keys, values) => {
                out.push(b'{');
                for (n, i) in span(offsets, row).enumerate() {
                    if is_too_large(out) {
                        return;
                    }
                    if n > 0 {
                        out.push(b',');
                    }
                    text::write_string(keys.value(i), out);
                    out.push(b':');
                    values.write(i, out);
                }
                out.push(b'}');
            }
            Values::Map(offsets, keys, values) => {
                write_list(offsets, row, out, |i, out| {
                    out.extend_from_slice(b"{\"key\":");
                    keys.write(i, out);
                    out.extend_from_slice(b",\"value\":");
                    values.write(i, out);
                    out.push(b'}');
                });
            }
            Values::Row(fields) => fields.write(row, out),
        }
    }
}

fn timestamps<'a>(array: &'a dyn Array, precision: u8, zone: &'static str) -> Option<Values<'a>> {
    let unit = time_unit(precision);
    let values = match unit {
        TimeUnit::Second => primitive::<TimestampSecondType>(array)?,
        TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(array)?,
        TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(array)?,
        TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(array)?,
    };
    Some(Values::Timestamp(values, unit, zone))
}

fn is_too_large(out: &[u8]) -> bool {
    out.len() > ROW_BYTES_MAX
}

/// The positions of the nested values of a row.
fn span(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let at = |i: usize| usize::try_from(offsets[i]).expect("offset buffers hold no negative ones");
    at(row)..at(row + 1)
}

fn write_list(offsets: &[i32], row: usize, out: &mut Vec<u8>, f: impl Fn(usize, &mut Vec<u8>)) {
    out.push(b'[');
    for (n, i) in span(offsets, row).enumerate() {
        // Lists alone multiply: everything else is as large as its bytes and its names.
        if is_too_large(out) {
            return;
        }
        if n > 0 {
            out.push(b',');
        }
        f(i, out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests;
