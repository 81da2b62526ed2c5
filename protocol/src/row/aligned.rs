//! Aligned rows: the values of batch statistics, and Paimon's keys.
//!
//! ```text
//! header byte and null bits, (n + 63 + 8) / 64 × 8 bytes: field i is bit i + 8
//! n slots of 8 bytes
//! variable part, each entry padded to 8
//! ```
//!
//! A slot holds a value of up to 8 bytes, or bytes of up to 7 with `0x80 | length` in its last
//! byte, or `offset << 32 | length` of an entry of the variable part. Offsets count from the start
//! of the row.

use super::datum::{
    COMPACT_DECIMAL_PRECISION, COMPACT_TIMESTAMP_PRECISION, decimal_to_be, type_name,
};
use super::reader::{self, Budget};
use super::{Datum, RowError, RowForm, Timestamp, array, compacted, indexed};
use crate::schema::{DataType, TypeKind};

/// Bytes that stand in the slot itself.
const INLINE_MAX: usize = 7;

fn slots_at(count: usize) -> usize {
    (count + 8).div_ceil(64) * 8
}

/// Reads a row with these column types; `out` is cleared first.
pub fn read<'a, 't>(
    bytes: &'a [u8],
    types: impl ExactSizeIterator<Item = &'t DataType>,
    out: &mut Vec<Datum<'a>>,
) -> Result<(), RowError> {
    read_nested(bytes, types, &mut Budget::row(), out)
}

fn read_nested<'a, 't>(
    bytes: &'a [u8],
    types: impl ExactSizeIterator<Item = &'t DataType>,
    budget: &mut Budget,
    out: &mut Vec<Datum<'a>>,
) -> Result<(), RowError> {
    out.clear();
    let start = slots_at(types.len());
    let slots = bytes
        .get(start..start + types.len() * 8)
        .ok_or(RowError::Cut)?;
    for (i, (data_type, slot)) in types.zip(slots.chunks_exact(8)).enumerate() {
        if reader::bit(bytes, i + 8) {
            out.push(Datum::Null);
        } else {
            out.push(read_slot(bytes, slot, data_type, RowForm::Aligned, budget)?);
        }
    }
    Ok(())
}

/// The value of a slot or array element: at least as many bytes as its type takes in place.
pub(super) fn read_slot<'a>(
    origin: &'a [u8],
    slot: &'a [u8],
    data_type: &DataType,
    form: RowForm,
    budget: &mut Budget,
) -> Result<Datum<'a>, RowError> {
    Ok(match &data_type.kind {
        TypeKind::Boolean => Datum::Boolean(slot[0] != 0),
        TypeKind::TinyInt => Datum::TinyInt(slot[0].cast_signed()),
        TypeKind::SmallInt => Datum::SmallInt(i16::from_le_bytes(first(slot)?)),
        TypeKind::Int => Datum::Int(i32::from_le_bytes(first(slot)?)),
        TypeKind::Date => Datum::Date(i32::from_le_bytes(first(slot)?)),
        TypeKind::Time { .. } => Datum::Time(i32::from_le_bytes(first(slot)?)),
        TypeKind::BigInt => Datum::BigInt(i64::from_le_bytes(first(slot)?)),
        TypeKind::Float => Datum::Float(f32::from_le_bytes(first(slot)?)),
        TypeKind::Double => Datum::Double(f64::from_le_bytes(first(slot)?)),
        TypeKind::Char { .. } | TypeKind::String => {
            Datum::String(reader::text(slot_bytes(origin, slot)?)?)
        }
        TypeKind::Binary { length } => {
            let bytes = slot_bytes(origin, slot)?;
            if bytes.len() != *length as usize {
                return Err(RowError::Bounds);
            }
            Datum::Bytes(bytes)
        }
        TypeKind::Bytes => Datum::Bytes(slot_bytes(origin, slot)?),
        TypeKind::Decimal { precision, .. } if *precision <= COMPACT_DECIMAL_PRECISION => {
            Datum::Decimal(i128::from(i64::from_le_bytes(first(slot)?)))
        }
        TypeKind::Decimal { .. } => Datum::Decimal(reader::decimal(part(origin, slot)?)?),
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
            if *precision <= COMPACT_TIMESTAMP_PRECISION {
                Datum::Timestamp(reader::timestamp(i64::from_le_bytes(first(slot)?), 0)?)
            } else {
                let (offset, nanos) = offset_and_length(slot)?;
                let millis = origin.get(offset..).ok_or(RowError::Bounds)?;
                let nanos = i32::try_from(nanos).map_err(|_| RowError::Bounds)?;
                Datum::Timestamp(reader::timestamp(
                    i64::from_le_bytes(first(millis)?),
                    nanos,
                )?)
            }
        }
        TypeKind::Array(element) => array::read_array(part(origin, slot)?, element, form, budget)?,
        TypeKind::Map { key, value } => {
            array::read_map(part(origin, slot)?, key, value, form, budget)?
        }
        TypeKind::Row(fields) => {
            budget.take(fields.len())?;
            let types = fields.iter().map(|f| &f.data_type);
            let bytes = part(origin, slot)?;
            let mut values = Vec::with_capacity(fields.len());
            match form {
                RowForm::Compacted => compacted::read_nested(bytes, types, budget, &mut values)?,
                RowForm::Indexed => indexed::read_nested(bytes, types, budget, &mut values)?,
                RowForm::Aligned => read_nested(bytes, types, budget, &mut values)?,
            }
            Datum::Row(values)
        }
    })
}

fn first<const N: usize>(bytes: &[u8]) -> Result<[u8; N], RowError> {
    bytes.first_chunk().copied().ok_or(RowError::Cut)
}

fn offset_and_length(slot: &[u8]) -> Result<(usize, u32), RowError> {
    let slot = u64::from_le_bytes(first(slot)?);
    Ok(((slot >> 32) as usize, slot as u32))
}

/// The entry of the variable part that a slot points to.
fn part<'a>(origin: &'a [u8], slot: &[u8]) -> Result<&'a [u8], RowError> {
    let (offset, len) = offset_and_length(slot)?;
    let end = offset.checked_add(len as usize).ok_or(RowError::Bounds)?;
    origin.get(offset..end).ok_or(RowError::Bounds)
}

/// Bytes that stand in the slot or in the variable part.
fn slot_bytes<'a>(origin: &'a [u8], slot: &'a [u8]) -> Result<&'a [u8], RowError> {
    let mark = slot[7];
    if mark & 0x80 == 0 {
        return part(origin, slot);
    }
    slot.get(..usize::from(mark & 0x7f))
        .filter(|b| b.len() <= INLINE_MAX)
        .ok_or(RowError::Bounds)
}

/// Appends a row of these values to `out`, with 0 as header byte.
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
    let origin = out.len();
    let start = origin + slots_at(values.len());
    out.resize(start + values.len() * 8, 0);
    for (i, (value, data_type)) in values.iter().zip(types).enumerate() {
        if value.is_null() {
            out[origin + (i + 8) / 8] |= 1 << (i % 8);
        } else {
            let slot =
                write_slot(value, data_type, RowForm::Aligned, origin, out)?.ok_or_else(|| {
                    RowError::Type {
                        expected: type_name(data_type),
                        found: value.kind_name(),
                    }
                })?;
            out[start + i * 8..start + i * 8 + 8].copy_from_slice(&slot);
        }
    }
    Ok(())
}

/// The slot of a value, after its entry of the variable part (if it needs one) was appended to
/// `out`. `None` when value and type do not fit.
pub(super) fn write_slot(
    value: &Datum<'_>,
    data_type: &DataType,
    form: RowForm,
    origin: usize,
    out: &mut Vec<u8>,
) -> Result<Option<[u8; 8]>, RowError> {
    let start = out.len();
    let pointer = |low: usize| -> Result<[u8; 8], RowError> {
        let offset = u32::try_from(start - origin).map_err(|_| RowError::Bounds)?;
        let low = u32::try_from(low).map_err(|_| RowError::Bounds)?;
        Ok((u64::from(offset) << 32 | u64::from(low)).to_le_bytes())
    };
    let slot = match (&data_type.kind, value) {
        (TypeKind::Boolean, Datum::Boolean(v)) => widen(&[u8::from(*v)]),
        (TypeKind::TinyInt, Datum::TinyInt(v)) => widen(&v.to_le_bytes()),
        (TypeKind::SmallInt, Datum::SmallInt(v)) => widen(&v.to_le_bytes()),
        (TypeKind::Int, Datum::Int(v))
        | (TypeKind::Date, Datum::Date(v))
        | (TypeKind::Time { .. }, Datum::Time(v)) => widen(&v.to_le_bytes()),
        (TypeKind::BigInt, Datum::BigInt(v)) => v.to_le_bytes(),
        (TypeKind::Float, Datum::Float(v)) => widen(&v.to_le_bytes()),
        (TypeKind::Double, Datum::Double(v)) => v.to_le_bytes(),
        (TypeKind::Char { .. } | TypeKind::String, Datum::String(v)) => {
            bytes_slot(v.as_bytes(), pointer, out)?
        }
        (TypeKind::Binary { .. } | TypeKind::Bytes, Datum::Bytes(v)) => {
            bytes_slot(v, pointer, out)?
        }
        (TypeKind::Decimal { precision, .. }, Datum::Decimal(v)) => {
            if *precision <= COMPACT_DECIMAL_PRECISION {
                i64::try_from(*v)
                    .map_err(|_| RowError::Decimal(16))?
                    .to_le_bytes()
            } else {
                let (bytes, len) = decimal_to_be(*v);
                out.extend_from_slice(&bytes[16 - len..]);
                out.resize(start + 16, 0);
                pointer(len)?
            }
        }
        (
            TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision },
            Datum::Timestamp(Timestamp { millis, nanos }),
        ) => {
            if *precision <= COMPACT_TIMESTAMP_PRECISION {
                millis.to_le_bytes()
            } else {
                out.extend_from_slice(&millis.to_le_bytes());
                pointer(usize::try_from(*nanos).map_err(|_| RowError::Nanos(*nanos))?)?
            }
        }
        (TypeKind::Array(element), Datum::Array(values)) => {
            array::write_array(values, element, form, out)?;
            pad(start, pointer, out)?
        }
        (TypeKind::Map { key, value }, Datum::Map(entries)) => {
            array::write_map(entries, key, value, form, out)?;
            pad(start, pointer, out)?
        }
        (TypeKind::Row(fields), Datum::Row(values)) => {
            let types = fields.iter().map(|f| &f.data_type);
            match form {
                RowForm::Compacted => compacted::write(values, types, out)?,
                RowForm::Indexed => indexed::write(values, types, out)?,
                RowForm::Aligned => write(values, types, out)?,
            }
            pad(start, pointer, out)?
        }
        _ => return Ok(None),
    };
    Ok(Some(slot))
}

fn widen(bytes: &[u8]) -> [u8; 8] {
    let mut slot = [0; 8];
    slot[..bytes.len()].copy_from_slice(bytes);
    slot
}

fn bytes_slot(
    bytes: &[u8],
    pointer: impl Fn(usize) -> Result<[u8; 8], RowError>,
    out: &mut Vec<u8>,
) -> Result<[u8; 8], RowError> {
    if bytes.len() <= INLINE_MAX {
        let mut slot = widen(bytes);
        slot[7] = 0x80 | bytes.len() as u8;
        return Ok(slot);
    }
    let start = out.len();
    out.extend_from_slice(bytes);
    pad(start, pointer, out)
}

/// Pads the entry that starts at `start` to 8 bytes; its slot names the length without padding.
fn pad(
    start: usize,
    pointer: impl Fn(usize) -> Result<[u8; 8], RowError>,
    out: &mut Vec<u8>,
) -> Result<[u8; 8], RowError> {
    let len = out.len() - start;
    out.resize(start + len.next_multiple_of(8), 0);
    pointer(len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::strategy;

    #[test]
    fn short_bytes_stand_in_the_slot() {
        let types = [
            DataType::nullable(TypeKind::String),
            DataType::nullable(TypeKind::String),
        ];
        let values = [Datum::String("seven77"), Datum::String("eight888")];
        let mut bytes = Vec::new();
        write(&values, types.iter(), &mut bytes).unwrap();
        assert_eq!(bytes.len(), 8 + 16 + 8);
        assert_eq!(&bytes[8..16], b"seven77\x87");
        assert_eq!(&bytes[16..24], [8, 0, 0, 0, 24, 0, 0, 0]);
        let mut back = Vec::new();
        read(&bytes, types.iter(), &mut back).unwrap();
        assert_eq!(back, values);
    }

    proptest! {
        #[test]
        fn rows_round_trip((types, values) in strategy::row()) {
            let values: Vec<_> = values.iter().map(strategy::Owned::datum).collect();
            let mut bytes = vec![0xee; 3];
            write(&values, types.iter(), &mut bytes).unwrap();
            let mut back = Vec::new();
            read(&bytes[3..], types.iter(), &mut back).unwrap();
            prop_assert_eq!(back, values);
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            types in proptest::collection::vec(strategy::data_type(), 1..6),
            bytes in proptest::collection::vec(any::<u8>(), 0..160),
        ) {
            let _ = read(&bytes, types.iter(), &mut Vec::new());
        }
    }
}
