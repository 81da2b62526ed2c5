//! Binary arrays and maps, which hold ARRAY and MAP values in every row form.
//!
//! ```text
//! array:  count i32 | null bits, (n + 31) / 32 × 4 bytes | n elements | padding to 8 | variable part
//! map:    bytes of the key array i32 | key array | value array
//! ```
//!
//! Elements of up to 8 bytes stand in place; others are slots as in [`super::aligned`], with
//! offsets from the start of the array.

use super::aligned::{read_slot, write_slot};
use super::datum::type_name;
use super::reader::{self, Budget, Reader};
use super::{Datum, RowError, RowForm};
use crate::schema::{DataType, TypeKind};

fn element_size(kind: &TypeKind) -> usize {
    match kind {
        TypeKind::Boolean | TypeKind::TinyInt => 1,
        TypeKind::SmallInt => 2,
        TypeKind::Int | TypeKind::Float | TypeKind::Date | TypeKind::Time { .. } => 4,
        _ => 8,
    }
}

/// Where the elements start.
fn elements_at(count: usize) -> usize {
    4 + count.div_ceil(32) * 4
}

pub(super) fn read_array<'a>(
    bytes: &'a [u8],
    element: &DataType,
    form: RowForm,
    budget: &mut Budget,
) -> Result<Datum<'a>, RowError> {
    Ok(Datum::Array(read_elements(bytes, element, form, budget)?))
}

fn read_elements<'a>(
    bytes: &'a [u8],
    element: &DataType,
    form: RowForm,
    budget: &mut Budget,
) -> Result<Vec<Datum<'a>>, RowError> {
    let count = usize::try_from(Reader::new(bytes).i32()?).map_err(|_| RowError::Bounds)?;
    budget.take(count)?;
    let size = element_size(&element.kind);
    let start = elements_at(count);
    let elements = bytes
        .get(start..start + count * size)
        .ok_or(RowError::Cut)?;
    let nulls = &bytes[4..start];
    let mut values = Vec::with_capacity(count);
    for (i, slot) in elements.chunks_exact(size).enumerate() {
        if reader::bit(nulls, i) {
            if !element.nullable {
                return Err(RowError::Null);
            }
            values.push(Datum::Null);
        } else {
            values.push(read_slot(bytes, slot, element, form, budget)?);
        }
    }
    Ok(values)
}

pub(super) fn read_map<'a>(
    bytes: &'a [u8],
    key: &DataType,
    value: &DataType,
    form: RowForm,
    budget: &mut Budget,
) -> Result<Datum<'a>, RowError> {
    let mut reader = Reader::new(bytes);
    let keys = usize::try_from(reader.i32()?).map_err(|_| RowError::Bounds)?;
    let keys = read_elements(reader.bytes(keys)?, key, form, budget)?;
    let values = reader.bytes(reader.remaining())?;
    let values = read_elements(values, value, form, budget)?;
    if keys.len() != values.len() {
        return Err(RowError::Bounds);
    }
    if keys.iter().any(Datum::is_null) {
        return Err(RowError::Null);
    }
    Ok(Datum::Map(keys.into_iter().zip(values).collect()))
}

pub(super) fn write_array(
    values: &[Datum<'_>],
    element: &DataType,
    form: RowForm,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    write_elements(values.iter(), element, form, out)
}

fn write_elements<'v, 'd: 'v>(
    values: impl ExactSizeIterator<Item = &'v Datum<'d>>,
    element: &DataType,
    form: RowForm,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    let origin = out.len();
    let count = values.len();
    let size = element_size(&element.kind);
    out.extend_from_slice(
        &i32::try_from(count)
            .map_err(|_| RowError::Elements)?
            .to_le_bytes(),
    );
    let start = elements_at(count);
    out.resize(origin + (start + count * size).next_multiple_of(8), 0);
    for (i, value) in values.enumerate() {
        if value.is_null() {
            if !element.nullable {
                return Err(RowError::Null);
            }
            out[origin + 4 + i / 8] |= 1 << (i % 8);
        } else {
            let slot =
                write_slot(value, element, form, origin, out)?.ok_or_else(|| RowError::Type {
                    expected: type_name(element),
                    found: value.kind_name(),
                })?;
            let at = origin + start + i * size;
            out[at..at + size].copy_from_slice(&slot[..size]);
        }
    }
    Ok(())
}

pub(super) fn write_map(
    entries: &[(Datum<'_>, Datum<'_>)],
    key: &DataType,
    value: &DataType,
    form: RowForm,
    out: &mut Vec<u8>,
) -> Result<(), RowError> {
    if entries.iter().any(|(k, _)| k.is_null()) {
        return Err(RowError::Null);
    }
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    write_elements(entries.iter().map(|(k, _)| k), key, form, out)?;
    let len = i32::try_from(out.len() - length_at - 4).map_err(|_| RowError::Bounds)?;
    out[length_at..length_at + 4].copy_from_slice(&len.to_le_bytes());
    write_elements(entries.iter().map(|(_, v)| v), value, form, out)
}
