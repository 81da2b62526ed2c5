//! One value of a row.

use crate::schema::{DataType, TypeKind};

/// A point in time, as rows keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Milliseconds since 1970-01-01 00:00.
    pub millis: i64,
    /// Nanoseconds after that, 0 to 999,999.
    pub nanos: i32,
}

/// One value, which borrows from the bytes it was read from.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the types")]
pub enum Datum<'a> {
    Null,
    Boolean(bool),
    TinyInt(i8),
    SmallInt(i16),
    Int(i32),
    BigInt(i64),
    Float(f32),
    Double(f64),
    /// CHAR and STRING.
    String(&'a str),
    /// BINARY and BYTES.
    Bytes(&'a [u8]),
    /// The unscaled value; scale and precision are the type's.
    Decimal(i128),
    /// Days since 1970-01-01.
    Date(i32),
    /// Milliseconds of the day.
    Time(i32),
    /// TIMESTAMP and TIMESTAMP_LTZ.
    Timestamp(Timestamp),
    Array(Vec<Datum<'a>>),
    Map(Vec<(Datum<'a>, Datum<'a>)>),
    Row(Vec<Datum<'a>>),
}

impl Datum<'_> {
    /// True for null.
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }

    /// What the value is, for messages.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Datum::Null => "null",
            Datum::Boolean(_) => "boolean",
            Datum::TinyInt(_) => "tinyint",
            Datum::SmallInt(_) => "smallint",
            Datum::Int(_) => "int",
            Datum::BigInt(_) => "bigint",
            Datum::Float(_) => "float",
            Datum::Double(_) => "double",
            Datum::String(_) => "string",
            Datum::Bytes(_) => "bytes",
            Datum::Decimal(_) => "decimal",
            Datum::Date(_) => "date",
            Datum::Time(_) => "time",
            Datum::Timestamp(_) => "timestamp",
            Datum::Array(_) => "array",
            Datum::Map(_) => "map",
            Datum::Row(_) => "row",
        }
    }
}

/// Decimals up to this precision are 64-bit numbers; longer ones are big-endian bytes.
pub const COMPACT_DECIMAL_PRECISION: u8 = 18;
/// Timestamps up to this precision are milliseconds only.
pub const COMPACT_TIMESTAMP_PRECISION: u8 = 3;

/// The unscaled value of big-endian two's complement bytes.
pub(super) fn decimal_from_be(bytes: &[u8]) -> Option<i128> {
    let sign = if *bytes.first()? & 0x80 == 0 {
        0u8
    } else {
        0xff
    };
    let mut all = [sign; 16];
    let start = 16usize.checked_sub(bytes.len())?;
    all[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(all))
}

/// The shortest big-endian two's complement bytes of a value, and how many of the 16 they are
/// (the last ones).
pub(super) fn decimal_to_be(value: i128) -> ([u8; 16], usize) {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xffu8 } else { 0 };
    let mut skip = 0;
    while skip < 15 && bytes[skip] == sign && (bytes[skip + 1] ^ sign) & 0x80 == 0 {
        skip += 1;
    }
    (bytes, 16 - skip)
}

/// Appends the shortest big-endian two's complement bytes of a value.
pub(crate) fn append_decimal(value: i128, out: &mut Vec<u8>) {
    let (bytes, len) = decimal_to_be(value);
    out.extend_from_slice(&bytes[16 - len..]);
}

/// The name of a type for messages.
pub(super) fn type_name(data_type: &DataType) -> String {
    match &data_type.kind {
        TypeKind::Array(_) => "ARRAY".to_owned(),
        TypeKind::Map { .. } => "MAP".to_owned(),
        TypeKind::Row(_) => "ROW".to_owned(),
        kind => format!("{kind:?}").to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_take_the_fewest_bytes() {
        for (value, bytes) in [
            (0i128, &[0u8][..]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-1, &[0xff]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
        ] {
            let (all, len) = decimal_to_be(value);
            assert_eq!(&all[16 - len..], bytes);
            assert_eq!(decimal_from_be(bytes), Some(value));
        }
        for value in [i128::MIN, i128::MAX] {
            let (all, len) = decimal_to_be(value);
            assert_eq!(decimal_from_be(&all[16 - len..]), Some(value));
        }
        assert_eq!(decimal_from_be(&[]), None);
        assert_eq!(decimal_from_be(&[0; 17]), None);
    }
}
