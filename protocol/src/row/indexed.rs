//! INDEXED rows.
//!
//! ```text
//! null bits, (n + 7) / 8 bytes
//! lengths i32 × variable-length columns of the schema; those of the values that are not null come
//!     first, in column order, the rest is 0
//! values of the fields that are not null
//! ```

use super::datum::{
    COMPACT_DECIMAL_PRECISION, COMPACT_TIMESTAMP_PRECISION, decimal_to_be, type_name,
};
use super::reader::{self, Budget, Reader};
use super::{Datum, RowError, RowForm, Timestamp, array};
use crate::schema::{DataType, TypeKind};

/// Reads a row with these column types; `out` is cleared first. The row must fill `bytes`.
pub fn read<'a, 't>(
    bytes: &'a [u8],
    types: impl ExactSizeIterator<Item = &'t DataType> + Clone,
    out: &mut Vec<Datum<'a>>,
) -> Result<(), RowError> {
    read_nested(bytes, types, &mut Budget::row(), out)
}

pub(super) fn read_nested<'a, 't>(
    bytes: &'a [u8],
    types: impl ExactSizeIterator<Item = &'t DataType> + Clone,
    budget: &mut Budget,
    out: &mut Vec<Datum<'a>>,
) -> Result<(), RowError> {
    out.clear();
    let mut reader = Reader::new(bytes);
    let nulls = reader.bytes(types.len().div_ceil(8))?;
    let variable = types.clone().filter(|t| is_variable(&t.kind)).count();
    let mut lengths = Reader::new(reader.bytes(variable * 4)?);
    for (i, data_type) in types.enumerate() {
        if reader::bit(nulls, i) {
            if !data_type.nullable {
                return Err(RowError::Null);
            }
            out.push(Datum::Null);
        } else {
            out.push(read_value(&mut reader, &mut lengths, data_type, budget)?);
        }
    }
    reader.finish()
}

pub(super) fn is_variable(kind: &TypeKind) -> bool {
    match kind {
        TypeKind::String
        | TypeKind::Bytes
        | TypeKind::Array(_)
        | TypeKind::Map { .. }
        | TypeKind::Row(_) => true,
        TypeKind::Decimal { precision, .. } => *precision > COMPACT_DECIMAL_PRECISION,
        _ => false,
    }
}

pub(super) fn read_value<'a>(
    reader: &mut Reader<'a>,
    lengths: &mut Reader<'_>,
    data_type: &DataType,
    budget: &mut Budget,
) -> Result<Datum<'a>, RowError> {
    let variable = if is_variable(&data_type.kind) {
        let len = usize::try_from(lengths.i32()?).map_err(|_| RowError::Bounds)?;
        reader.bytes(len)?
    } else {
        &[]
    };
    Ok(match &data_type.kind {
        TypeKind::Boolean => Datum::Boolean(reader.u8()? != 0),
        TypeKind::TinyInt => Datum::TinyInt(reader.u8()?.cast_signed()),
        TypeKind::SmallInt => Datum::SmallInt(i16::from_le_bytes(reader.array()?)),
        TypeKind::Int => Datum::Int(reader.i32()?),
        TypeKind::Date => Datum::Date(reader.i32()?),
        TypeKind::Time { .. } => Datum::Time(reader.i32()?),
        TypeKind::BigInt => Datum::BigInt(reader.i64()?),
        TypeKind::Float => Datum::Float(f32::from_le_bytes(reader.array()?)),
        TypeKind::Double => Datum::Double(f64::from_le_bytes(reader.array()?)),
        TypeKind::Char { length } => {
            let padded = reader.bytes(*length as usize)?;
            let end = padded
                .iter()
                .rposition(|b| *b != 0)
                .map_or(0, |last| last + 1);
            Datum::String(reader::text(&padded[..end])?)
        }
        TypeKind::String => Datum::String(reader::text(variable)?),
        TypeKind::Binary { length } => Datum::Bytes(reader.bytes(*length as usize)?),
        TypeKind::Bytes => Datum::Bytes(variable),
        TypeKind::Decimal { precision, .. } if *precision <= COMPACT_DECIMAL_PRECISION => {
            Datum::Decimal(i128::from(reader.i64()?))
        }
        TypeKind::Decimal { .. } => Datum::Decimal(reader::decimal(variable)?),
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
            let millis = reader.i64()?;
            let compact = *precision <= COMPACT_TIMESTAMP_PRECISION;
            let nanos = if compact { 0 } else { reader.i32()? };
            Datum::Timestamp(reader::timestamp(millis, nanos)?)
        }
        TypeKind::Array(element) => array::read_array(variable, element, RowForm::Indexed, budget)?,
        TypeKind::Map { key, value } => {
            array::read_map(variable, key, value, RowForm::Indexed, budget)?
        }
        TypeKind::Row(fields) => {
            budget.take(fields.len())?;
            let mut values = Vec::with_capacity(fields.len());
            let types = fields.iter().map(|f| &f.data_type);
            read_nested(variable, types, budget, &mut values)?;
            Datum::Row(values)
        }
    })
}

/// Passes over one value that is not null. Its length is checked, its content is not.
pub(super) fn skip_value(
    reader: &mut Reader<'_>,
    lengths: &mut Reader<'_>,
    data_type: &DataType,
) -> Result<(), RowError> {
    let len = match &data_type.kind {
        kind if is_variable(kind) => {
            usize::try_from(lengths.i32()?).map_err(|_| RowError::Bounds)?
        }
        TypeKind::Boolean | TypeKind::TinyInt => 1,
        TypeKind::SmallInt => 2,
        TypeKind::Int | TypeKind::Date | TypeKind::Time { .. } | TypeKind::Float => 4,
        TypeKind::Char { length } | TypeKind::Binary { length } => *length as usize,
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision }
            if *precision > COMPACT_TIMESTAMP_PRECISION =>
        {
            12
        }
        _ => 8,
    };
    reader.bytes(len).map(drop)
}

/// Appends a row of these values to `out`.
pub fn write<'t>(
    values: &[Datum<'_>],
    types: impl ExactSizeIterator<Item = &'t DataType> + Clone,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    if values.len() != types.len() {
        return Err(RowError::Width {
            expected: types.len(),
            found: values.len(),
        });
    }
    let start = out.len();
    let variable = types.clone().filter(|t| is_variable(&t.kind)).count();
    let mut length_at = start + values.len().div_ceil(8);
    out.resize(length_at + variable * 4, 0);
    for (i, (value, data_type)) in values.iter().zip(types).enumerate() {
        if value.is_null() {
            if !data_type.nullable {
                return Err(RowError::Null);
            }
            out[start + i / 8] |= 1 << (i % 8);
            continue;
        }
        let value_at = out.len();
        write_value(value, data_type, out)?;
        if is_variable(&data_type.kind) {
            let len = i32::try_from(out.len() - value_at).map_err(|_| RowError::Bounds)?;
            out[length_at..length_at + 4].copy_from_slice(&len.to_le_bytes());
            length_at += 4;
        }
    }
    Ok(())
}

/// Appends one value that is not null; its length, where it has one, is the caller's to write.
pub(super) fn write_value(
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
        | (TypeKind::Time { .. }, Datum::Time(v)) => out.extend_from_slice(&v.to_le_bytes()),
        (TypeKind::BigInt, Datum::BigInt(v)) => out.extend_from_slice(&v.to_le_bytes()),
        (TypeKind::Float, Datum::Float(v)) => out.extend_from_slice(&v.to_le_bytes()),
        (TypeKind::Double, Datum::Double(v)) => out.extend_from_slice(&v.to_le_bytes()),
        (TypeKind::Char { length }, Datum::String(v)) => {
            let padding = (*length as usize)
                .checked_sub(v.len())
                .ok_or(RowError::Bounds)?;
            out.extend_from_slice(v.as_bytes());
            out.resize(out.len() + padding, 0);
        }
        (TypeKind::String, Datum::String(v)) => out.extend_from_slice(v.as_bytes()),
        (TypeKind::Binary { length }, Datum::Bytes(v)) => {
            let padding = (*length as usize)
                .checked_sub(v.len())
                .ok_or(RowError::Bounds)?;
            out.extend_from_slice(v);
            out.resize(out.len() + padding, 0);
        }
        (TypeKind::Bytes, Datum::Bytes(v)) => out.extend_from_slice(v),
        (TypeKind::Decimal { precision, .. }, Datum::Decimal(v)) => {
            if *precision <= COMPACT_DECIMAL_PRECISION {
                let v = i64::try_from(*v).map_err(|_| RowError::Decimal(16))?;
                out.extend_from_slice(&v.to_le_bytes());
            } else {
                let (bytes, len) = decimal_to_be(*v);
                out.extend_from_slice(&bytes[16 - len..]);
            }
        }
        (
            TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision },
            Datum::Timestamp(Timestamp { millis, nanos }),
        ) => {
            out.extend_from_slice(&millis.to_le_bytes());
            if *precision > COMPACT_TIMESTAMP_PRECISION {
                out.extend_from_slice(&nanos.to_le_bytes());
            }
        }
        (TypeKind::Array(element), Datum::Array(values)) => {
            array::write_array(values, element, RowForm::Indexed, out)?;
        }
        (TypeKind::Map { key, value }, Datum::Map(entries)) => {
            array::write_map(entries, key, value, RowForm::Indexed, out)?;
        }
        (TypeKind::Row(fields), Datum::Row(values)) => {
            write(values, fields.iter().map(|f| &f.data_type), out)?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fluss::vectors::hex;
    use crate::row::strategy;

    #[test]
    fn the_row_of_the_java_client_reads_and_writes_back() {
        let bytes = hex(strategy::INDEXED_VECTOR);
        let (types, values) = strategy::vector_row();
        let mut read_back = Vec::new();
        read(&bytes, types.iter(), &mut read_back).unwrap();
        assert_eq!(read_back, values);
        let mut written = Vec::new();
        write(&values, types.iter(), &mut written).unwrap();
        assert_eq!(written, bytes);
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
