//! Rows to Arrow arrays.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, MapArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer};
use arrow_schema::{ArrowError, DataType as ArrowType, Fields, TimeUnit};
use thiserror::Error;

use super::{arrow_field, arrow_type, time_unit};
use crate::row::{Datum, Timestamp};
use crate::schema::{DataType, TypeKind};

/// Why a row cannot be appended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RowsError {
    #[error("row has {found} values for {expected} columns")]
    Width { expected: usize, found: usize },
    #[error("a {found} does not fit the column's type")]
    Type { found: &'static str },
    #[error("null in a column that forbids it")]
    Null,
    #[error("time is out of the range of its unit")]
    Time,
    #[error("rows take more than {0} bytes")]
    TooLarge(usize),
}

/// Makes columns of rows. After an error the builder must be dropped.
#[derive(Debug)]
pub struct RowsBuilder {
    columns: Vec<ColumnBuilder>,
    left: usize,
    bytes_max: usize,
    rows: usize,
}

/// What every value is counted with, whatever its type: the widest fixed one.
const VALUE_BYTES: usize = 16;

impl RowsBuilder {
    /// A builder of these columns that takes about `bytes_max` bytes of values.
    pub fn new(types: impl IntoIterator<Item = DataType>, bytes_max: usize) -> Self {
        // Offsets are 32 bits wide.
        let bytes_max = bytes_max.min(i32::MAX as usize);
        let columns = types.into_iter().map(ColumnBuilder::new).collect();
        RowsBuilder {
            columns,
            left: bytes_max,
            bytes_max,
            rows: 0,
        }
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True before the first row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Appends a row: one value per column.
    pub fn append<'v, 'd: 'v>(
        &mut self,
        row: impl ExactSizeIterator<Item = &'v Datum<'d>>,
    ) -> Result<(), RowsError> {
        if row.len() != self.columns.len() {
            return Err(RowsError::Width {
                expected: self.columns.len(),
                found: row.len(),
            });
        }
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.append(value, &mut self.left).map_err(|e| match e {
                RowsError::TooLarge(_) => RowsError::TooLarge(self.bytes_max),
                e => e,
            })?;
        }
        self.rows += 1;
        Ok(())
    }

    /// The columns.
    pub fn finish(self) -> Result<Vec<ArrayRef>, ArrowError> {
        self.columns
            .into_iter()
            .map(ColumnBuilder::finish)
            .collect()
    }
}

#[derive(Debug)]
struct ColumnBuilder {
    data_type: DataType,
    nulls: NullBufferBuilder,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I128(Vec<i128>),
    Variable {
        offsets: Vec<i32>,
        data: Vec<u8>,
    },
    Fixed {
        width: usize,
        data: Vec<u8>,
    },
    List {
        offsets: Vec<i32>,
        len: i32,
        element: Box<ColumnBuilder>,
    },
    Map {
        offsets: Vec<i32>,
        len: i32,
        key: Box<ColumnBuilder>,
        value: Box<ColumnBuilder>,
    },
    Row(Vec<ColumnBuilder>),
}

impl ColumnBuilder {
    fn new(data_type: DataType) -> Self {
        let nested = |t: &DataType| Box::new(ColumnBuilder::new(t.clone()));
        let values = match &data_type.kind {
            TypeKind::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            TypeKind::TinyInt => Values::I8(Vec::new()),
            TypeKind::SmallInt => Values::I16(Vec::new()),
            TypeKind::Int | TypeKind::Date => Values::I32(Vec::new()),
            TypeKind::BigInt | TypeKind::Timestamp { .. } | TypeKind::TimestampLtz { .. } => {
                Values::I64(Vec::new())
            }
            TypeKind::Time { precision } => match time_unit(*precision) {
                TimeUnit::Second | TimeUnit::Millisecond => Values::I32(Vec::new()),
                TimeUnit::Microsecond | TimeUnit::Nanosecond => Values::I64(Vec::new()),
            },
            TypeKind::Float => Values::F32(Vec::new()),
            TypeKind::Double => Values::F64(Vec::new()),
            TypeKind::Decimal { .. } => Values::I128(Vec::new()),
            TypeKind::Char { .. } | TypeKind::String | TypeKind::Bytes => Values::Variable {
                offsets: vec![0],
                data: Vec::new(),
            },
            TypeKind::Binary { length } => Values::Fixed {
                width: *length as usize,
                data: Vec::new(),
            },
            TypeKind::Array(element) => Values::List {
                offsets: vec![0],
                len: 0,
                element: nested(element),
            },
            TypeKind::Map { key, value } => Values::Map {
                offsets: vec![0],
                len: 0,
                key: nested(key),
                value: nested(value),
            },
            TypeKind::Row(fields) => {
                Values::Row(fields.iter().map(|f| *nested(&f.data_type)).collect())
            }
        };
        ColumnBuilder {
            data_type,
            nulls: NullBufferBuilder::new(0),
            values,
        }
    }

    fn append(&mut self, value: &Datum<'_>, left: &mut usize) -> Result<(), RowsError> {
        let extra = match value {
            Datum::String(v) => v.len(),
            Datum::Bytes(v) => v.len(),
            _ => 0,
        };
        *left = left
            .checked_sub(VALUE_BYTES + extra)
            .ok_or(RowsError::TooLarge(0))?;
        if value.is_null() {
            if !self.data_type.nullable {
                return Err(RowsError::Null);
            }
            self.nulls.append_null();
            return self.append_hole(left);
        }
        self.nulls.append_non_null();
        match (&mut self.values, value) {
            (Values::Boolean(to), Datum::Boolean(v)) => to.append(*v),
            (Values::I8(to), Datum::TinyInt(v)) => to.push(*v),
            (Values::I16(to), Datum::SmallInt(v)) => to.push(*v),
            (Values::I32(to), Datum::Int(v) | Datum::Date(v)) => to.push(*v),
            (Values::I64(to), Datum::BigInt(v)) => to.push(*v),
            (Values::F32(to), Datum::Float(v)) => to.push(*v),
            (Values::F64(to), Datum::Double(v)) => to.push(*v),
            (Values::I128(to), Datum::Decimal(v)) => to.push(*v),
            (Values::I32(to), Datum::Time(v)) => {
                let seconds = matches!(self.data_type.kind, TypeKind::Time { precision: 0 });
                to.push(if seconds { v.div_euclid(1000) } else { *v });
            }
            (Values::I64(to), Datum::Time(v)) => {
                let TypeKind::Time { precision } = self.data_type.kind else {
                    return Err(RowsError::Type {
                        found: value.kind_name(),
                    });
                };
                let micros = i64::from(*v) * 1000;
                to.push(match time_unit(precision) {
                    TimeUnit::Nanosecond => micros * 1000,
                    _ => micros,
                });
            }
            (Values::I64(to), Datum::Timestamp(v)) => {
                let (TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision }) =
                    self.data_type.kind
                else {
                    return Err(RowsError::Type {
                        found: value.kind_name(),
                    });
                };
                to.push(in_unit(*v, time_unit(precision)).ok_or(RowsError::Time)?);
            }
            (Values::Variable { offsets, data }, Datum::String(v)) => {
                append_bytes(offsets, data, v.as_bytes())?;
            }
            (Values::Variable { offsets, data }, Datum::Bytes(v)) => {
                append_bytes(offsets, data, v)?;
            }
            (Values::Fixed { width, data }, Datum::Bytes(v)) if v.len() == *width => {
                data.extend_from_slice(v);
            }
            (
                Values::List {
                    offsets,
                    len,
                    element,
                },
                Datum::Array(values),
            ) => {
                for value in values {
                    element.append(value, left)?;
                }
                *len = add(*len, values.len())?;
                offsets.push(*len);
            }
            (
                Values::Map {
                    offsets,
                    len,
                    key,
                    value,
                },
                Datum::Map(entries),
            ) => {
                for (k, v) in entries {
                    if k.is_null() {
                        return Err(RowsError::Null);
                    }
                    key.append(k, left)?;
                    value.append(v, left)?;
                }
                *len = add(*len, entries.len())?;
                offsets.push(*len);
            }
            (Values::Row(fields), Datum::Row(values)) if fields.len() == values.len() => {
                for (field, value) in fields.iter_mut().zip(values) {
                    field.append(value, left)?;
                }
            }
            _ => {
                return Err(RowsError::Type {
                    found: value.kind_name(),
                });
            }
        }
        Ok(())
    }

    /// What stands in the values under a null.
    fn append_hole(&mut self, left: &mut usize) -> Result<(), RowsError> {
        match &mut self.values {
            Values::Boolean(to) => to.append(false),
            Values::I8(to) => to.push(0),
            Values::I16(to) => to.push(0),
            Values::I32(to) => to.push(0),
            Values::I64(to) => to.push(0),
            Values::F32(to) => to.push(0.0),
            Values::F64(to) => to.push(0.0),
            Values::I128(to) => to.push(0),
            Values::Variable { offsets, .. }
            | Values::List { offsets, .. }
            | Values::Map { offsets, .. } => {
                let last = offsets[offsets.len() - 1];
                offsets.push(last);
            }
            Values::Fixed { width, data } => {
                *left = left.checked_sub(*width).ok_or(RowsError::TooLarge(0))?;
                data.resize(data.len() + *width, 0);
            }
            Values::Row(fields) => {
                // The fields of a null row are null, also those that are declared not null.
                for field in fields {
                    *left = left
                        .checked_sub(VALUE_BYTES)
                        .ok_or(RowsError::TooLarge(0))?;
                    field.nulls.append_null();
                    field.append_hole(left)?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let arrow = arrow_type(&self.data_type);
        let len = self.nulls.len();
        let nulls = self.nulls.finish();
        Ok(match self.values {
            Values::Boolean(mut bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::I8(v) => primitive::<Int8Type>(v, nulls, arrow)?,
            Values::I16(v) => primitive::<Int16Type>(v, nulls, arrow)?,
            Values::F32(v) => primitive::<Float32Type>(v, nulls, arrow)?,
            Values::F64(v) => primitive::<Float64Type>(v, nulls, arrow)?,
            Values::I128(v) => primitive::<Decimal128Type>(v, nulls, arrow)?,
            Values::I32(v) => match arrow {
                ArrowType::Date32 => primitive::<Date32Type>(v, nulls, arrow)?,
                ArrowType::Time32(TimeUnit::Second) => {
                    primitive::<Time32SecondType>(v, nulls, arrow)?
                }
                ArrowType::Time32(_) => primitive::<Time32MillisecondType>(v, nulls, arrow)?,
                _ => primitive::<Int32Type>(v, nulls, arrow)?,
            },
            Values::I64(v) => match &arrow {
                ArrowType::Time64(TimeUnit::Microsecond) => {
                    primitive::<Time64MicrosecondType>(v, nulls, arrow)?
                }
                ArrowType::Time64(_) => primitive::<Time64NanosecondType>(v, nulls, arrow)?,
                ArrowType::Timestamp(unit, _) => match unit {
                    TimeUnit::Second => primitive::<TimestampSecondType>(v, nulls, arrow)?,
                    TimeUnit::Millisecond => {
                        primitive::<TimestampMillisecondType>(v, nulls, arrow)?
                    }
                    TimeUnit::Microsecond => {
                        primitive::<TimestampMicrosecondType>(v, nulls, arrow)?
                    }
                    TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(v, nulls, arrow)?,
                },
                _ => primitive::<Int64Type>(v, nulls, arrow)?,
            },
            Values::Variable { offsets, data } => {
                let offsets = OffsetBuffer::new(offsets.into());
                let data = Buffer::from_vec(data);
                match arrow {
                    ArrowType::Utf8 => Arc::new(StringArray::try_new(offsets, data, nulls)?),
                    _ => Arc::new(BinaryArray::try_new(offsets, data, nulls)?),
                }
            }
            Values::Fixed { width, data } => {
                let width = i32::try_from(width).unwrap_or(i32::MAX);
                let data = Buffer::from_vec(data);
                Arc::new(FixedSizeBinaryArray::try_new(width, data, nulls)?)
            }
            Values::List {
                offsets, element, ..
            } => {
                let field = Arc::new(arrow_field("element", &element.data_type));
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(ListArray::try_new(
                    field,
                    offsets,
                    element.finish()?,
                    nulls,
                )?)
            }
            Values::Map {
                offsets,
                key,
                value,
                ..
            } => {
                let ArrowType::Map(field, ordered) = arrow else {
                    unreachable!("a map builder is made for map types only");
                };
                let ArrowType::Struct(fields) = field.data_type().clone() else {
                    unreachable!("the entries of a map are structs");
                };
                let offsets = OffsetBuffer::new(offsets.into());
                let arrays = vec![key.finish()?, value.finish()?];
                let entries = StructArray::try_new(fields, arrays, None)?;
                Arc::new(MapArray::try_new(field, offsets, entries, nulls, ordered)?)
            }
            Values::Row(columns) => {
                let fields: Fields = match arrow {
                    ArrowType::Struct(fields) => fields,
                    _ => Fields::empty(),
                };
                let arrays = columns
                    .into_iter()
                    .map(ColumnBuilder::finish)
                    .collect::<Result<_, _>>()?;
                Arc::new(StructArray::try_new_with_length(
                    fields, arrays, nulls, len,
                )?)
            }
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    nulls: Option<NullBuffer>,
    arrow_type: ArrowType,
) -> Result<ArrayRef, ArrowError> {
    let array = PrimitiveArray::<T>::try_new(values.into(), nulls)?;
    Ok(Arc::new(array.with_data_type(arrow_type)))
}

fn append_bytes(offsets: &mut Vec<i32>, data: &mut Vec<u8>, v: &[u8]) -> Result<(), RowsError> {
    data.extend_from_slice(v);
    offsets.push(i32::try_from(data.len()).map_err(|_| RowsError::TooLarge(0))?);
    Ok(())
}

fn add(len: i32, more: usize) -> Result<i32, RowsError> {
    i32::try_from(more)
        .ok()
        .and_then(|m| len.checked_add(m))
        .ok_or(RowsError::TooLarge(0))
}

/// A timestamp as a count of units; finer digits are cut off downwards.
fn in_unit(time: Timestamp, unit: TimeUnit) -> Option<i64> {
    let nanos = i64::from(time.nanos);
    match unit {
        TimeUnit::Second => Some(time.millis.div_euclid(1000)),
        TimeUnit::Millisecond => Some(time.millis),
        TimeUnit::Microsecond => time.millis.checked_mul(1000)?.checked_add(nanos / 1000),
        TimeUnit::Nanosecond => time.millis.checked_mul(1_000_000)?.checked_add(nanos),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use arrow_array::Array;

    use super::*;
    use crate::columnar::datum_at;
    use crate::row::strategy;

    proptest! {
        #[test]
        fn rows_become_columns_and_rows_again((types, rows) in strategy::rows()) {
            let mut builder = RowsBuilder::new(types.clone(), 1 << 20);
            for row in &rows {
                let row: Vec<_> = row.iter().map(strategy::Owned::datum).collect();
                builder.append(row.iter()).unwrap();
            }
            prop_assert_eq!(builder.len(), rows.len());
            let columns = builder.finish().unwrap();
            for (i, row) in rows.iter().enumerate() {
                for ((array, data_type), value) in columns.iter().zip(&types).zip(row) {
                    prop_assert_eq!(array.data_type(), &arrow_type(data_type));
                    prop_assert_eq!(datum_at(array, data_type, i), value.datum());
                }
            }
        }
    }

    #[test]
    fn the_limit_counts_values_and_bytes() {
        let mut builder = RowsBuilder::new([DataType::nullable(TypeKind::String)], 100);
        builder
            .append([Datum::String("0123456789")].iter())
            .unwrap();
        let long = "x".repeat(90);
        let refused = builder.append([Datum::String(&long)].iter());
        assert_eq!(refused, Err(RowsError::TooLarge(100)));
    }

    #[test]
    fn a_time_that_its_unit_cannot_hold_is_refused() {
        let kind = TypeKind::Timestamp { precision: 9 };
        let mut builder = RowsBuilder::new([DataType::nullable(kind)], 1000);
        let time = Datum::Timestamp(Timestamp {
            millis: i64::MAX / 1000,
            nanos: 0,
        });
        assert_eq!(builder.append([time].iter()), Err(RowsError::Time));
    }
}
