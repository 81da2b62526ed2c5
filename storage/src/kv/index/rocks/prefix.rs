//! Prefixes of keys, so that lookups by the leading key columns are spared the files that have no
//! such rows.
//!
//! Keys of tables with prefix lookups are values one behind the other, whose lengths follow from
//! their types and first bytes. RocksDB asks a plain function for the prefix of a key, without
//! data beside it; so there is one function for each pair of kinds of lengths, and columns behind
//! the second do not count: their rows are told apart by the scan.

use protocol::row::datum::{COMPACT_DECIMAL_PRECISION, COMPACT_TIMESTAMP_PRECISION};
use protocol::schema::{DataType, TypeKind};
use rocksdb::SliceTransform;

// How the length of a value is found. The numbers are part of the extractor's name in files.
/// There is no such column.
const NONE: u8 = 0;
const ONE: u8 = 1;
const TWO: u8 = 2;
const FOUR: u8 = 3;
const EIGHT: u8 = 4;
/// The last byte is the first without its highest bit.
const VARINT: u8 = 5;
const TWO_VARINTS: u8 = 6;
/// A varint says how many bytes follow it.
const COUNTED: u8 = 7;

/// The longest varint.
const VARINT_LEN_MAX: usize = 10;

fn kind_of(data_type: &DataType) -> u8 {
    match &data_type.kind {
        TypeKind::Boolean | TypeKind::TinyInt => ONE,
        TypeKind::SmallInt => TWO,
        TypeKind::Float => FOUR,
        TypeKind::Double => EIGHT,
        TypeKind::Int | TypeKind::Date | TypeKind::Time { .. } | TypeKind::BigInt => VARINT,
        TypeKind::Decimal { precision, .. } if *precision <= COMPACT_DECIMAL_PRECISION => VARINT,
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
            if *precision <= COMPACT_TIMESTAMP_PRECISION {
                VARINT
            } else {
                TWO_VARINTS
            }
        }
        TypeKind::Char { .. }
        | TypeKind::String
        | TypeKind::Binary { .. }
        | TypeKind::Bytes
        | TypeKind::Decimal { .. }
        | TypeKind::Array(_)
        | TypeKind::Map { .. }
        | TypeKind::Row(_) => COUNTED,
    }
}

fn varint_len(bytes: &[u8]) -> Option<usize> {
    let last = bytes
        .iter()
        .take(VARINT_LEN_MAX)
        .position(|b| b & 0x80 == 0)?;
    Some(last + 1)
}

/// The length of a value at the start of these bytes, none when it is cut.
fn value_len<const KIND: u8>(bytes: &[u8]) -> Option<usize> {
    let len = match KIND {
        ONE => 1,
        TWO => 2,
        FOUR => 4,
        EIGHT => 8,
        VARINT => varint_len(bytes)?,
        TWO_VARINTS => {
            let first = varint_len(bytes)?;
            first + varint_len(&bytes[first..])?
        }
        COUNTED => {
            let head = varint_len(bytes)?;
            let digits = bytes[..head].iter().rev();
            let count = digits.fold(0u128, |n, b| n << 7 | u128::from(b & 0x7f));
            head.checked_add(usize::try_from(count).ok()?)?
        }
        _ => 0,
    };
    (len <= bytes.len()).then_some(len)
}

fn prefix_len<const FIRST: u8, const SECOND: u8>(key: &[u8]) -> Option<usize> {
    let first = value_len::<FIRST>(key)?;
    Some(first + value_len::<SECOND>(&key[first..])?)
}

fn transform<const FIRST: u8, const SECOND: u8>(key: &[u8]) -> &[u8] {
    // RocksDB asks for keys of the domain only.
    &key[..prefix_len::<FIRST, SECOND>(key).unwrap_or(key.len())]
}

fn in_domain<const FIRST: u8, const SECOND: u8>(key: &[u8]) -> bool {
    prefix_len::<FIRST, SECOND>(key).is_some()
}

type Functions = (fn(&[u8]) -> &[u8], fn(&[u8]) -> bool);

fn functions(first: u8, second: u8) -> Functions {
    macro_rules! by_second {
        ($first:literal) => {
            match second {
                ONE => (transform::<$first, ONE>, in_domain::<$first, ONE>),
                TWO => (transform::<$first, TWO>, in_domain::<$first, TWO>),
                FOUR => (transform::<$first, FOUR>, in_domain::<$first, FOUR>),
                EIGHT => (transform::<$first, EIGHT>, in_domain::<$first, EIGHT>),
                VARINT => (transform::<$first, VARINT>, in_domain::<$first, VARINT>),
                TWO_VARINTS => (
                    transform::<$first, TWO_VARINTS>,
                    in_domain::<$first, TWO_VARINTS>,
                ),
                COUNTED => (transform::<$first, COUNTED>, in_domain::<$first, COUNTED>),
                _ => (transform::<$first, NONE>, in_domain::<$first, NONE>),
            }
        };
    }
    match first {
        ONE => by_second!(1),
        TWO => by_second!(2),
        FOUR => by_second!(3),
        EIGHT => by_second!(4),
        VARINT => by_second!(5),
        TWO_VARINTS => by_second!(6),
        _ => by_second!(7),
    }
}

/// The kinds of the columns that make the prefix.
fn kinds(types: &[DataType]) -> Option<(u8, u8)> {
    let second = types.get(1).map_or(NONE, kind_of);
    Some((kind_of(types.first()?), second))
}

/// Whether bytes begin with the columns that make the prefix; none without any.
pub(super) fn domain(types: &[DataType]) -> Option<fn(&[u8]) -> bool> {
    let (first, second) = kinds(types)?;
    Some(functions(first, second).1)
}

/// How RocksDB finds the prefix of keys that begin with columns of these types; none without any.
pub(super) fn extractor(types: &[DataType]) -> Option<SliceTransform> {
    let (first, second) = kinds(types)?;
    let (transform, in_domain) = functions(first, second);
    let name = format!("vltava.prefix.{first}.{second}");
    Some(SliceTransform::create(&name, transform, Some(in_domain)))
}

#[cfg(test)]
mod tests {
    use protocol::fluss::key::KeyEncoder;
    use protocol::row::{Datum, Timestamp};

    use super::*;

    #[test]
    fn prefixes_are_the_first_two_columns() {
        let time = Timestamp {
            millis: -1,
            nanos: 999_999,
        };
        let decimal = |precision| TypeKind::Decimal {
            precision,
            scale: 2,
        };
        let values = [
            (TypeKind::Boolean, Datum::Boolean(true)),
            (TypeKind::TinyInt, Datum::TinyInt(-1)),
            (TypeKind::SmallInt, Datum::SmallInt(-1)),
            (TypeKind::Int, Datum::Int(-5)),
            (TypeKind::BigInt, Datum::BigInt(1 << 40)),
            (TypeKind::Float, Datum::Float(1.5)),
            (TypeKind::Double, Datum::Double(1.5)),
            (TypeKind::String, Datum::String(&"long ".repeat(40))),
            (TypeKind::Bytes, Datum::Bytes(b"")),
            (decimal(18), Datum::Decimal(-7)),
            (decimal(38), Datum::Decimal(-7)),
            (TypeKind::Date, Datum::Date(1)),
            (
                TypeKind::Timestamp { precision: 3 },
                Datum::Timestamp(Timestamp { nanos: 0, ..time }),
            ),
            (
                TypeKind::TimestampLtz { precision: 6 },
                Datum::Timestamp(time),
            ),
        ];
        let types: Vec<_> = values
            .iter()
            .map(|(kind, _)| DataType::not_null(kind.clone()))
            .collect();
        for (i, first) in values.iter().enumerate() {
            for (j, second) in values.iter().enumerate() {
                let (types, row) = (
                    [&types[i], &types[j], &types[3]],
                    [first.1.clone(), second.1.clone(), Datum::Int(77)],
                );
                let mut key = Vec::new();
                let encoder = KeyEncoder::Compacted;
                encoder.encode(&row, types.into_iter(), &mut key).unwrap();
                for columns in [1, 2] {
                    let len = encoder.prefix_len(&key, types[..columns].iter().copied());
                    let second = if columns == 2 {
                        kind_of(types[1])
                    } else {
                        NONE
                    };
                    let (transform, in_domain) = functions(kind_of(types[0]), second);
                    assert!(in_domain(&key));
                    assert_eq!(transform(&key).len(), len.unwrap(), "{:?}", types[0]);
                    // The prefix itself is of the domain, shorter keys are not.
                    assert_eq!(transform(transform(&key)), transform(&key));
                    assert!(!in_domain(&key[..len.unwrap() - 1]));
                }
            }
        }
    }

    #[test]
    fn a_length_that_no_key_has_is_none() {
        let hostile = [0xff; 12];
        assert_eq!(value_len::<COUNTED>(&hostile), None);
        assert_eq!(
            value_len::<COUNTED>(b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
            None
        );
    }
}
