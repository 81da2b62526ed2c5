//! The mapping of every type, and that the documentation shows it.

use arrow_array::RecordBatch;
use proptest::prelude::*;

use super::*;
use crate::columnar::{RowsBuilder, arrow_schema};
use crate::fluss::vectors;
use crate::row::{Datum, Timestamp, strategy};
use crate::schema::RowField;

const DOCUMENTATION: &str = include_str!("../../../docs/formats/json.md");

fn json(columns: &[(&str, DataType)], values: &[Datum<'_>]) -> String {
    let schema = vectors::schema(columns);
    let rows = rows(&schema, &[values.to_vec()]);
    let mut out = Vec::new();
    JsonRows::new(&rows, &schema)
        .unwrap()
        .write(0, &mut out)
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn rows(schema: &Schema, rows: &[Vec<Datum<'_>>]) -> RecordBatch {
    let types = schema.columns.iter().map(|c| c.data_type.clone());
    let mut builder = RowsBuilder::new(types, 1 << 20);
    for row in rows {
        builder.append(row.iter()).unwrap();
    }
    RecordBatch::try_new(arrow_schema(schema), builder.finish().unwrap()).unwrap()
}

fn row_type(fields: &[(&str, TypeKind)]) -> TypeKind {
    let field = |(name, kind): &(&str, TypeKind)| RowField {
        name: (*name).to_owned(),
        data_type: DataType::nullable(kind.clone()),
        description: None,
        field_id: -1,
    };
    TypeKind::Row(fields.iter().map(field).collect())
}

fn map(key: TypeKind, value: TypeKind) -> TypeKind {
    TypeKind::Map {
        key: Box::new(DataType::not_null(key)),
        value: Box::new(DataType::nullable(value)),
    }
}

#[test]
fn every_type_is_written_as_documented() {
    let time = |nanos| {
        Datum::Timestamp(Timestamp {
            millis: 1_700_000_000_123,
            nanos,
        })
    };
    let examples = [
        (TypeKind::Boolean, Datum::Boolean(true), "true"),
        (TypeKind::TinyInt, Datum::TinyInt(-8), "-8"),
        (TypeKind::SmallInt, Datum::SmallInt(300), "300"),
        (TypeKind::Int, Datum::Int(-70_000), "-70000"),
        (
            TypeKind::BigInt,
            Datum::BigInt(1_700_000_000_123),
            "1700000000123",
        ),
        (
            TypeKind::BigInt,
            Datum::BigInt(9_007_199_254_740_993),
            r#""9007199254740993""#,
        ),
        (TypeKind::Float, Datum::Float(0.1), "0.1"),
        (TypeKind::Double, Datum::Double(1.5e-9), "1.5e-9"),
        (TypeKind::Double, Datum::Double(f64::NAN), r#""NaN""#),
        (
            TypeKind::Double,
            Datum::Double(f64::NEG_INFINITY),
            r#""-Infinity""#,
        ),
        (
            TypeKind::Decimal {
                precision: 10,
                scale: 2,
            },
            Datum::Decimal(1230),
            r#""12.30""#,
        ),
        (
            TypeKind::Char { length: 3 },
            Datum::String("xyz"),
            r#""xyz""#,
        ),
        (
            TypeKind::String,
            Datum::String("a \"b\"\n"),
            r#""a \"b\"\n""#,
        ),
        (
            TypeKind::Binary { length: 2 },
            Datum::Bytes(&[0xfb, 0xff]),
            r#""+/8=""#,
        ),
        (TypeKind::Bytes, Datum::Bytes(b"foo"), r#""Zm9v""#),
        (TypeKind::Date, Datum::Date(19_675), r#""2023-11-14""#),
        (
            TypeKind::Time { precision: 0 },
            Datum::Time(3_723_000),
            r#""01:02:03""#,
        ),
        (
            TypeKind::Time { precision: 3 },
            Datum::Time(3_723_004),
            r#""01:02:03.004""#,
        ),
        (
            TypeKind::Timestamp { precision: 3 },
            time(0),
            r#""2023-11-14T22:13:20.123""#,
        ),
        (
            TypeKind::Timestamp { precision: 6 },
            time(456_000),
            r#""2023-11-14T22:13:20.123456""#,
        ),
        (
            TypeKind::TimestampLtz { precision: 3 },
            time(0),
            r#""2023-11-14T22:13:20.123Z""#,
        ),
        (
            TypeKind::Array(Box::new(DataType::nullable(TypeKind::Int))),
            Datum::Array(vec![Datum::Int(1), Datum::Null, Datum::Int(3)]),
            "[1,null,3]",
        ),
        (
            map(TypeKind::String, TypeKind::Int),
            Datum::Map(vec![
                (Datum::String("a"), Datum::Int(1)),
                (Datum::String("b"), Datum::Null),
            ]),
            r#"{"a":1,"b":null}"#,
        ),
        (
            map(TypeKind::Int, TypeKind::String),
            Datum::Map(vec![(Datum::Int(1), Datum::String("a"))]),
            r#"[{"key":1,"value":"a"}]"#,
        ),
        (
            row_type(&[("x", TypeKind::Int), ("y", TypeKind::String)]),
            Datum::Row(vec![Datum::Int(1), Datum::Null]),
            r#"{"x":1,"y":null}"#,
        ),
        (TypeKind::Int, Datum::Null, "null"),
    ];
    for (kind, value, expected) in examples {
        let found = json(&[("c", DataType::nullable(kind.clone()))], &[value]);
        assert_eq!(found, format!("{{\"c\":{expected}}}"), "{kind:?}");
        assert!(
            DOCUMENTATION.contains(&format!("`{expected}`")),
            "docs/formats/json.md does not show {expected} for {kind:?}"
        );
    }
}

#[test]
fn a_row_is_an_object_of_its_columns_in_order() {
    let columns = [
        ("id", DataType::not_null(TypeKind::BigInt)),
        ("na\"me", DataType::nullable(TypeKind::String)),
        (
            "price",
            DataType::nullable(TypeKind::Decimal {
                precision: 10,
                scale: 2,
            }),
        ),
    ];
    let values = [Datum::BigInt(17), Datum::Null, Datum::Decimal(-5)];
    assert_eq!(
        json(&columns, &values),
        r#"{"id":17,"na\"me":null,"price":"-0.05"}"#
    );
}

#[test]
fn a_key_is_the_object_of_its_columns() {
    let schema = vectors::schema(&[
        ("a", DataType::not_null(TypeKind::Int)),
        ("b", DataType::not_null(TypeKind::String)),
        ("c", DataType::not_null(TypeKind::Int)),
    ]);
    let rows = rows(
        &schema,
        &[vec![Datum::Int(1), Datum::String("x"), Datum::Int(2)]],
    );
    let mut out = Vec::new();
    JsonRows::of_columns(&rows, &schema, &[2, 1])
        .unwrap()
        .write(0, &mut out)
        .unwrap();
    assert_eq!(out, br#"{"c":2,"b":"x"}"#);
    let missing = JsonRows::of_columns(&rows, &schema, &[3]);
    assert_eq!(
        missing.unwrap_err(),
        JsonError {
            column: "#3".to_owned()
        }
    );
}

#[test]
fn rows_of_another_schema_are_refused() {
    let schema = vectors::int_and_string();
    let mut other = schema.clone();
    other.columns.swap(0, 1);
    let rows = rows(&schema, &[vec![Datum::Int(1), Datum::Null]]);
    assert_eq!(
        JsonRows::new(&rows, &other).unwrap_err(),
        JsonError {
            column: "b".to_owned()
        }
    );
}

proptest! {
    #[test]
    fn every_row_is_json_with_all_columns((types, values) in strategy::rows()) {
        let names: Vec<_> = (0..types.len()).map(|i| format!("c{i}")).collect();
        let columns: Vec<_> = names.iter().map(String::as_str).zip(types).collect();
        let schema = vectors::schema(&columns);
        let values: Vec<Vec<_>> =
            values.iter().map(|row| row.iter().map(strategy::Owned::datum).collect()).collect();
        let rows = rows(&schema, &values);
        let json = JsonRows::new(&rows, &schema).unwrap();
        let mut out = Vec::new();
        for (i, row) in values.iter().enumerate() {
            out.clear();
            json.write(i, &mut out).unwrap();
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(object.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
            for (value, found) in row.iter().zip(object.values()) {
                prop_assert_eq!(value.is_null(), found.is_null());
                match value {
                    Datum::String(text) => prop_assert_eq!(found.as_str(), Some(*text)),
                    Datum::Int(v) => prop_assert_eq!(found.as_i64(), Some(i64::from(*v))),
                    Datum::Array(v) => {
                        prop_assert_eq!(found.as_array().map(Vec::len), Some(v.len()));
                    }
                    _ => {}
                }
            }
        }
    }
}
