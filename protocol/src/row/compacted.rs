//! COMPACTED rows, the default form of primary-key tables and of nested rows in them.
//!
//! ```text
//! null bits, (n + 7) / 8 bytes | values of the fields that are not null
//! ```
//!
//! Integers of 4 and 8 bytes, dates and times are varints without zigzag; texts, bytes and nested
//! values stand behind their varint length.

use super::datum::{
    COMPACT_DECIMAL_PRECISION, COMPACT_TIMESTAMP_PRECISION, decimal_to_be, type_name,
};
use super::reader::{self, Budget, Reader};
use super::{Datum, RowError, RowForm, Timestamp, array};
use crate::schema::{DataType, TypeKind};

/// Reads a row with these column types; `out` is cleared first. The row must fill `bytes`.
pub fn read<'a, 't>(
    bytes: &'a [u8],
    types: impl ExactSizeIterator<Item = &'t DataType>,
    out: &mut Vec<Datum<'a>>,
) -> Result<(), RowError> {
    read_nested(bytes, types, &mut Budget::row(), out)
}

pub(super) fn read_nested<'a, 't>(
    bytes: &'a [u8],
    types: impl ExactSizeIterator<Item = &'t DataType>,
    budget: &mut Budget,
    out: &mut Vec<Datum<'a>>,
) -> Result<(), RowError> {
    out.clear();
    let mut reader = Reader::new(bytes);
    let nulls = reader.bytes(types.len().div_ceil(8))?;
    for (i, data_type) in types.enumerate() {
        if reader::bit(nulls, i) {
            if !data_type.nullable {
                return Err(RowError::Null);
            }
            out.push(Datum::Null);
        } else {
            out.push(read_value(&mut reader, data_type, budget)?);
        }
    }
    reader.finish()
}

/// Reads values that stand one behind the other without null bits, as in keys; `out` is cleared
/// first. They must fill `bytes`.
pub(crate) fn read_values<'a, 't>(
    bytes: &'a [u8],
    types: impl Iterator<Item = &'t DataType>,
    out: &mut Vec<Datum<'a>>,
) -> Result<(), RowError> {
    out.clear();
    let mut reader = Reader::new(bytes);
    let mut budget = Budget::row();
    for data_type in types {
        out.push(read_value(&mut reader, data_type, &mut budget)?);
    }
    reader.finish()
}

/// How many bytes such values take at the start of `bytes`.
pub(crate) fn values_len<'t>(
    bytes: &[u8],
    types: impl Iterator<Item = &'t DataType>,
) -> Result<usize, RowError> {
    let mut reader = Reader::new(bytes);
    for data_type in types {
        skip_value(&mut reader, data_type)?;
    }
    Ok(bytes.len() - reader.remaining())
}

pub(super) fn read_value<'a>(
    reader: &mut Reader<'a>,
    data_type: &DataType,
    budget: &mut Budget,
) -> Result<Datum<'a>, RowError> {
    Ok(match &data_type.kind {
        TypeKind::Boolean => Datum::Boolean(reader.u8()? != 0),
        TypeKind::TinyInt => Datum::TinyInt(reader.u8()?.cast_signed()),
        TypeKind::SmallInt => Datum::SmallInt(i16::from_le_bytes(reader.array()?)),
        TypeKind::Int => Datum::Int(reader.varint32()?),
        TypeKind::Date => Datum::Date(reader.varint32()?),
        TypeKind::Time { .. } => Datum::Time(reader.varint32()?),
        TypeKind::BigInt => Datum::BigInt(reader.varint64()?),
        TypeKind::Float => Datum::Float(f32::from_le_bytes(reader.array()?)),
        TypeKind::Double => Datum::Double(f64::from_le_bytes(reader.array()?)),
        TypeKind::Char { .. } | TypeKind::String => {
            Datum::String(reader::text(reader.varint_bytes()?)?)
        }
        TypeKind::Binary { length } => {
            let bytes = reader.varint_bytes()?;
            // A fixed-size column has no other place for it.
            if bytes.len() != *length as usize {
                return Err(RowError::Bounds);
            }
            Datum::Bytes(bytes)
        }
        TypeKind::Bytes => Datum::Bytes(reader.varint_bytes()?),
        TypeKind::Decimal { precision, .. } if *precision <= COMPACT_DECIMAL_PRECISION => {
            Datum::Decimal(i128::from(reader.varint64()?))
        }
        TypeKind::Decimal { .. } => Datum::Decimal(reader::decimal(reader.varint_bytes()?)?),
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
            let millis = reader.varint64()?;
            let compact = *precision <= COMPACT_TIMESTAMP_PRECISION;
            let nanos = if compact { 0 } else { reader.varint32()? };
            Datum::Timestamp(reader::timestamp(millis, nanos)?)
        }
        TypeKind::Array(element) => {
            array::read_array(reader.varint_bytes()?, element, RowForm::Compacted, budget)?
        }
        TypeKind::Map { key, value } => array::read_map(
            reader.varint_bytes()?,
            key,
            value,
            RowForm::Compacted,
            budget,
        )?,
        TypeKind::Row(fields) => {
            budget.take(fields.len())?;
            let mut values = Vec::with_capacity(fields.len());
            let types = fields.iter().map(|f| &f.data_type);
            read_nested(reader.varint_bytes()?, types, budget, &mut values)?;
            Datum::Row(values)
        }
    })
}

/// Passes over one value that is not null. Its length is checked, its content is not.
pub(super) fn skip_value(reader: &mut Reader<'_>, data_type: &DataType) -> Result<(), RowError> {
    match &data_type.kind {
        TypeKind::Boolean | TypeKind::TinyInt => reader.bytes(1).map(drop),
        TypeKind::SmallInt => reader.bytes(2).map(drop),
        TypeKind::Int | TypeKind::Date | TypeKind::Time { .. } => reader.varint32().map(drop),
        TypeKind::BigInt => reader.varint64().map(drop),
        TypeKind::Float => reader.bytes(4).map(drop),
        TypeKind::Double => reader.bytes(8).map(drop),
        TypeKind::Decimal { precision, .. } if *precision <= COMPACT_DECIMAL_PRECISION => {
            reader.varint64().map(drop)
        }
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
            reader.varint64()?;
            if *precision > COMPACT_TIMESTAMP_PRECISION {
                reader.varint32()?;
            }
            Ok(())
        }
        TypeKind::Char { .. }
        | TypeKind::String
        | TypeKind::Binary { .. }
        | TypeKind::Bytes
        | TypeKind::Decimal { .. }
        | TypeKind::Array(_)
        | TypeKind::Map { .. }
        | TypeKind::Row(_) => reader.varint_bytes().map(drop),
    }
}

/// Appends a row of these values to `out`.
pub fn write<'t>(
    values: &[Datum<'_>],
    types: impl ExactSizeIterator<Item = &'t DataType>,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    if values.len() != types.len() {
        return Err(RowError::Width {
            expected: types.len(),
            found: values.len(),
        });
    }
    let start = out.len();
    out.resize(start + values.len().div_ceil(8), 0);
    for (i, (value, data_type)) in values.iter().zip(types).enumerate() {
        if value.is_null() {
            if !data_type.nullable {
                return Err(RowError::Null);
            }
            out[start + i / 8] |= 1 << (i % 8);
        } else {
            write_value(value, data_type, out)?;
        }
    }
    Ok(())
}

/// Appends one value that is not null, without null bits: also how keys are encoded.
pub(crate) fn write_value(
    value: &Datum<'_>,
    data_type: &DataType,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    match (&data_type.kind, value) {
        (TypeKind::Boolean, Datum::Boolean(v)) => out.push(u8::from(*v)),
        (TypeKind::TinyInt, Datum::TinyInt(v)) => out.push(v.cast_unsigned()),
        (TypeKind::SmallInt, Datum::SmallInt(v)) => out.extend_from_slice(&v.to_le_bytes()),
        (TypeKind::Int, Datum::Int(v))
        | (TypeKind::Date, Datum::Date(v))
        | (TypeKind::Time { .. }, Datum::Time(v)) => write_varint32(*v, out),
        (TypeKind::BigInt, Datum::BigInt(v)) => write_varint64(*v, out),
        (TypeKind::Float, Datum::Float(v)) => out.extend_from_slice(&v.to_le_bytes()),
        (TypeKind::Double, Datum::Double(v)) => out.extend_from_slice(&v.to_le_bytes()),
        (TypeKind::Char { .. } | TypeKind::String, Datum::String(v)) => {
            write_bytes(v.as_bytes(), out);
        }
        (TypeKind::Binary { .. } | TypeKind::Bytes, Datum::Bytes(v)) => write_bytes(v, out),
        (TypeKind::Decimal { precision, .. }, Datum::Decimal(v)) => {
            if *precision <= COMPACT_DECIMAL_PRECISION {
                let v = i64::try_from(*v).map_err(|_| RowError::Decimal(16))?;
                write_varint64(v, out);
            } else {
                let (bytes, len) = decimal_to_be(*v);
                write_bytes(&bytes[16 - len..], out);
            }
        }
        (
            TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision },
            Datum::Timestamp(Timestamp { millis, nanos }),
        ) => {
            write_varint64(*millis, out);
            if *precision > COMPACT_TIMESTAMP_PRECISION {
                write_varint32(*nanos, out);
            }
        }
        (TypeKind::Array(element), Datum::Array(values)) => {
            let mut nested = Vec::new();
            array::write_array(values, element, RowForm::Compacted, &mut nested)?;
            write_bytes(&nested, out);
        }
        (TypeKind::Map { key, value }, Datum::Map(entries)) => {
            let mut nested = Vec::new();
            array::write_map(entries, key, value, RowForm::Compacted, &mut nested)?;
            write_bytes(&nested, out);
        }
        (TypeKind::Row(fields), Datum::Row(values)) => {
            let mut nested = Vec::new();
            write(values, fields.iter().map(|f| &f.data_type), &mut nested)?;
            write_bytes(&nested, out);
        }
        _ => {
            return Err(RowError::Type {
                expected: type_name(data_type),
                found: value.kind_name(),
            });
        }
    }
    Ok(())
}

/// Appends the bits of an int32, 7 per byte, low ones first.
pub(crate) fn write_varint32(value: i32, out: &mut Vec<u8>) {
    write_varint(u64::from(value.cast_unsigned()), out);
}

fn write_varint64(value: i64, out: &mut Vec<u8>) {
    write_varint(value.cast_unsigned(), out);
}

fn write_varint(mut bits: u64, out: &mut Vec<u8>) {
    while bits >= 0x80 {
        out.push((bits & 0x7f) as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fluss::vectors::hex;
    use crate::row::strategy;

    #[test]
    fn the_row_of_the_java_client_reads_and_writes_back() {
        let bytes = hex(strategy::COMPACTED_VECTOR);
        let (types, values) = strategy::vector_row();
        let mut read_back = Vec::new();
        read(&bytes, types.iter(), &mut read_back).unwrap();
        assert_eq!(read_back, values);
        let mut written = Vec::new();
        write(&values, types.iter(), &mut written).unwrap();
        assert_eq!(written, bytes);
    }

    #[test]
    fn null_in_a_not_null_column_is_refused() {
        let types = [DataType::not_null(TypeKind::Int)];
        assert_eq!(
            read(&[1], types.iter(), &mut Vec::new()),
            Err(RowError::Null)
        );
        assert_eq!(
            write(&[Datum::Null], types.iter(), &mut Vec::new()),
            Err(RowError::Null)
        );
    }

    #[test]
    fn bytes_after_the_row_are_refused() {
        let types = [DataType::not_null(TypeKind::Int)];
        assert_eq!(
            read(&[0, 5, 9], types.iter(), &mut Vec::new()),
            Err(RowError::Trailing(1))
        );
    }

    proptest! {
        #[test]
        fn rows_round_trip((types, values) in strategy::row()) {
            let values: Vec<_> = values.iter().map(strategy::Owned::datum).collect();
            let mut bytes = Vec::new();
            write(&values, types.iter(), &mut bytes).unwrap();
            let mut back = Vec::new();
            read(&bytes, types.iter(), &mut back).unwrap();
            prop_assert_eq!(back, values);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            types in proptest::collection::vec(strategy::data_type(), 1..6),
            bytes in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let _ = read(&bytes, types.iter(), &mut Vec::new());
        }
    }
}
