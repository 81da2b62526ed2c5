//! Random types and values for property tests, and the row of the test vectors.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Datum, Timestamp};
use crate::schema::{DataType, RowField, TypeKind};

/// [`vector_row`] as a COMPACTED row of the Java client.
pub(crate) const COMPACTED_VECTOR: &str = "000101ffffffff0fac020d68c3a96c6c6f2077c3b6726c64d2090bfefa91f0c959bbc21d2087fbd095ffbc31fbd095\
     ffbc31c0ea1b0378797afeff000000000000f83f";

/// [`vector_row`] as an INDEXED row of the Java client.
pub(crate) const INDEXED_VECTOR: &str = "00010d0000000b0000000000000001ffffffff2c0100000000000068c3a96c6c6f2077c3b6726c64d204000000000000\
     fefa91f0c959bbc21d20877b68e5cf8b0100007b68e5cf8b01000040f5060078797afeff000000000000f83f";

/// The types and values of the test vectors.
pub(crate) fn vector_row() -> (Vec<DataType>, Vec<Datum<'static>>) {
    let time = |nanos| {
        Datum::Timestamp(Timestamp {
            millis: 1_700_000_000_123,
            nanos,
        })
    };
    let row = [
        (TypeKind::Boolean, Datum::Boolean(true)),
        (TypeKind::Int, Datum::Int(-1)),
        (TypeKind::BigInt, Datum::BigInt(300)),
        (TypeKind::String, Datum::String("héllo wörld")),
        (
            TypeKind::Decimal {
                precision: 10,
                scale: 2,
            },
            Datum::Decimal(1234),
        ),
        (
            TypeKind::Decimal {
                precision: 25,
                scale: 2,
            },
            Datum::Decimal(-1_234_567_890_123_456_789_012_345),
        ),
        (TypeKind::Timestamp { precision: 3 }, time(0)),
        (TypeKind::Timestamp { precision: 6 }, time(456_000)),
        (TypeKind::Bytes, Datum::Null),
        (TypeKind::Char { length: 3 }, Datum::String("xyz")),
        (TypeKind::SmallInt, Datum::SmallInt(-2)),
        (TypeKind::Double, Datum::Double(1.5)),
    ];
    row.into_iter()
        .map(|(kind, value)| (DataType::nullable(kind), value))
        .unzip()
}

/// A value that owns its texts and bytes.
#[derive(Debug, Clone)]
pub(crate) enum Owned {
    Plain(Datum<'static>),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Owned>),
    Map(Vec<(Owned, Owned)>),
    Row(Vec<Owned>),
}

impl Owned {
    /// The value that borrows from it.
    pub(crate) fn datum(&self) -> Datum<'_> {
        match self {
            Owned::Plain(value) => value.clone(),
            Owned::Text(text) => Datum::String(text),
            Owned::Bytes(bytes) => Datum::Bytes(bytes),
            Owned::Array(values) => Datum::Array(values.iter().map(Owned::datum).collect()),
            Owned::Map(entries) => Datum::Map(
                entries
                    .iter()
                    .map(|(k, v)| (k.datum(), v.datum()))
                    .collect(),
            ),
            Owned::Row(values) => Datum::Row(values.iter().map(Owned::datum).collect()),
        }
    }
}

fn nullable(kind: impl Strategy<Value = TypeKind>) -> impl Strategy<Value = DataType> {
    (kind, any::<bool>()).prop_map(|(kind, nullable)| DataType { kind, nullable })
}

fn scalar() -> impl Strategy<Value = TypeKind> {
    prop_oneof![
        Just(TypeKind::Boolean),
        Just(TypeKind::TinyInt),
        Just(TypeKind::SmallInt),
        Just(TypeKind::Int),
        Just(TypeKind::BigInt),
        Just(TypeKind::Float),
        Just(TypeKind::Double),
        (1u32..20).prop_map(|length| TypeKind::Char { length }),
        Just(TypeKind::String),
        (1u32..12).prop_map(|length| TypeKind::Binary { length }),
        Just(TypeKind::Bytes),
        (1u8..=38).prop_flat_map(|precision| {
            (0..=precision).prop_map(move |scale| TypeKind::Decimal { precision, scale })
        }),
        Just(TypeKind::Date),
        (0u8..=9).prop_map(|precision| TypeKind::Time { precision }),
        (0u8..=9).prop_map(|precision| TypeKind::Timestamp { precision }),
        (0u8..=9).prop_map(|precision| TypeKind::TimestampLtz { precision }),
    ]
}

/// Any type, nested ones included.
pub(crate) fn data_type() -> impl Strategy<Value = DataType> {
    nullable(scalar()).prop_recursive(3, 12, 4, |inner| {
        nullable(prop_oneof![
            inner.clone().prop_map(|t| TypeKind::Array(Box::new(t))),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| TypeKind::Map {
                key: Box::new(DataType {
                    nullable: false,
                    ..key
                }),
                value: Box::new(value),
            }),
            vec(inner, 1..4).prop_map(|types| {
                TypeKind::Row(
                    (0..)
                        .zip(types)
                        .map(|(i, data_type)| RowField {
                            name: format!("f{i}"),
                            data_type,
                            description: None,
                            field_id: i,
                        })
                        .collect(),
                )
            }),
        ])
    })
}

/// A value of the type, null included where it is allowed. Values are exact in every form: no
/// digits of a second beyond the precision, no NaN.
pub(crate) fn value(data_type: &DataType) -> BoxedStrategy<Owned> {
    let plain = value_of_kind(&data_type.kind);
    if data_type.nullable {
        prop_oneof![1 => Just(Owned::Plain(Datum::Null)), 4 => plain].boxed()
    } else {
        plain
    }
}

fn value_of_kind(kind: &TypeKind) -> BoxedStrategy<Owned> {
    let plain = Owned::Plain;
    match kind {
        TypeKind::Boolean => any::<bool>()
            .prop_map(move |v| plain(Datum::Boolean(v)))
            .boxed(),
        TypeKind::TinyInt => any::<i8>()
            .prop_map(move |v| plain(Datum::TinyInt(v)))
            .boxed(),
        TypeKind::SmallInt => any::<i16>()
            .prop_map(move |v| plain(Datum::SmallInt(v)))
            .boxed(),
        TypeKind::Int => any::<i32>().prop_map(move |v| plain(Datum::Int(v))).boxed(),
        TypeKind::BigInt => any::<i64>()
            .prop_map(move |v| plain(Datum::BigInt(v)))
            .boxed(),
        TypeKind::Float => any::<f32>()
            .prop_filter("NaN is not equal to itself", |v| !v.is_nan())
            .prop_map(move |v| plain(Datum::Float(v)))
            .boxed(),
        TypeKind::Double => any::<f64>()
            .prop_filter("NaN is not equal to itself", |v| !v.is_nan())
            .prop_map(move |v| plain(Datum::Double(v)))
            .boxed(),
        TypeKind::Char { length } => vec(b'a'..=b'z', 0..=*length as usize)
            .prop_map(|v| Owned::Text(String::from_utf8(v).unwrap()))
            .boxed(),
        TypeKind::String => vec(any::<char>(), 0..12)
            .prop_map(|v| Owned::Text(v.into_iter().collect()))
            .boxed(),
        TypeKind::Binary { length } => vec(any::<u8>(), *length as usize)
            .prop_map(Owned::Bytes)
            .boxed(),
        TypeKind::Bytes => vec(any::<u8>(), 0..20).prop_map(Owned::Bytes).boxed(),
        TypeKind::Decimal { precision, .. } => {
            let limit = 10i128.pow(u32::from(*precision)) - 1;
            (-limit..=limit)
                .prop_map(move |v| plain(Datum::Decimal(v)))
                .boxed()
        }
        TypeKind::Date => any::<i32>()
            .prop_map(move |v| plain(Datum::Date(v)))
            .boxed(),
        TypeKind::Time { precision } => {
            let step = if *precision == 0 { 1000 } else { 1 };
            (0..86_400_000 / step)
                .prop_map(move |v| plain(Datum::Time(v * step)))
                .boxed()
        }
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
            let (millis, nanos) = match precision {
                0 => (1000, 0),
                1..=3 => (1, 0),
                4..=6 => (1, 1000),
                _ => (1, 1),
            };
            let range = 9_000_000_000_000i64 / millis;
            (-range..range, 0..1_000_000i32)
                .prop_map(move |(m, n)| {
                    let nanos = if nanos == 0 { 0 } else { n / nanos * nanos };
                    plain(Datum::Timestamp(Timestamp {
                        millis: m * millis,
                        nanos,
                    }))
                })
                .boxed()
        }
        TypeKind::Array(element) => vec(value(element), 0..5).prop_map(Owned::Array).boxed(),
        TypeKind::Map { key, value: v } => vec((value(key), value(v)), 0..5)
            .prop_map(Owned::Map)
            .boxed(),
        TypeKind::Row(fields) => fields
            .iter()
            .map(|f| value(&f.data_type))
            .collect::<Vec<_>>()
            .prop_map(Owned::Row)
            .boxed(),
    }
}

/// Column types and one row of them.
pub(crate) fn row() -> impl Strategy<Value = (Vec<DataType>, Vec<Owned>)> {
    vec(data_type(), 1..7).prop_flat_map(|types| {
        let values: Vec<_> = types.iter().map(value).collect();
        (Just(types), values)
    })
}

/// Column types and some rows of them.
pub(crate) fn rows() -> impl Strategy<Value = (Vec<DataType>, Vec<Vec<Owned>>)> {
    vec(data_type(), 1..6).prop_flat_map(|types| {
        let row: Vec<_> = types.iter().map(value).collect();
        (Just(types), vec(row, 1..9))
    })
}
