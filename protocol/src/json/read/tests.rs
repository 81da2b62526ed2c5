//! What is written reads back, and what is refused says which column.

use proptest::prelude::*;

use super::*;
use crate::columnar::{RowsBuilder, arrow_schema};
use crate::fluss::options::KvFormat;
use crate::fluss::vectors;
use crate::json::JsonRows;
use crate::row::{Datum, RowLayout, Timestamp, strategy};
use crate::schema::RowField;

fn schema(columns: &[(&str, TypeKind)]) -> Schema {
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, kind)| (*name, DataType::nullable(kind.clone())))
        .collect();
    vectors::schema(&columns)
}

/// Reads a value of a column of this type.
fn value(kind: TypeKind, json: &str) -> Result<JsonValue<'static>, ReadError> {
    let text = format!("{{\"c\":{json}}}");
    let mut out = Vec::new();
    JsonReader::new(&schema(&[("c", kind)])).read(text.as_bytes(), &mut out)?;
    Ok(owned(out.remove(0).expect("the column is there")))
}

fn owned(value: JsonValue<'_>) -> JsonValue<'static> {
    match value {
        JsonValue::Plain(value) => JsonValue::Plain(value),
        JsonValue::Text(text) => JsonValue::Text(text.into_owned().into()),
        JsonValue::Bytes(bytes) => JsonValue::Bytes(bytes),
        JsonValue::Array(values) => JsonValue::Array(values.into_iter().map(owned).collect()),
        JsonValue::Map(entries) => JsonValue::Map(
            entries
                .into_iter()
                .map(|(k, v)| (owned(k), owned(v)))
                .collect(),
        ),
        JsonValue::Row(values) => JsonValue::Row(values.into_iter().map(owned).collect()),
    }
}

fn fault(kind: TypeKind, json: &str) -> Fault {
    match value(kind.clone(), json) {
        Err(ReadError::Column { column, fault }) if column == "c" => fault,
        other => panic!("{kind:?} {json}: {other:?}"),
    }
}

const DECIMAL: TypeKind = TypeKind::Decimal {
    precision: 10,
    scale: 2,
};

fn map(key: TypeKind, value: TypeKind) -> TypeKind {
    TypeKind::Map {
        key: Box::new(DataType::not_null(key)),
        value: Box::new(DataType::nullable(value)),
    }
}

fn row(fields: &[(&str, DataType)]) -> TypeKind {
    let field = |(name, data_type): &(&str, DataType)| RowField {
        name: (*name).to_owned(),
        data_type: data_type.clone(),
        description: None,
        field_id: -1,
    };
    TypeKind::Row(fields.iter().map(field).collect())
}

#[test]
fn what_means_the_same_is_read_too() {
    let instant = Datum::Timestamp(Timestamp {
        millis: 1_700_000_000_500,
        nanos: 0,
    });
    for (kind, json, expected) in [
        (TypeKind::BigInt, "\"17\"", Datum::BigInt(17)),
        (
            TypeKind::BigInt,
            "9007199254740993",
            Datum::BigInt(9_007_199_254_740_993),
        ),
        (DECIMAL, "12.3", Datum::Decimal(1230)),
        (DECIMAL, "\"12\"", Datum::Decimal(1200)),
        (DECIMAL, "-7", Datum::Decimal(-700)),
        (TypeKind::Float, "1", Datum::Float(1.0)),
        (TypeKind::Double, "-1.5E+3", Datum::Double(-1500.0)),
        (
            TypeKind::TimestampLtz { precision: 3 },
            "\"2023-11-15T00:13:20.5+02:00\"",
            instant,
        ),
        (TypeKind::Date, " null ", Datum::Null),
    ] {
        assert_eq!(value(kind, json), Ok(JsonValue::Plain(expected)), "{json}");
    }
    let text = value(TypeKind::String, "\"\\u00e9\\n\"");
    assert_eq!(text, Ok(JsonValue::Text("é\n".into())));
}

#[test]
fn a_value_that_is_none_of_its_type_names_the_column() {
    for (kind, json, expected) in [
        (TypeKind::Int, "1.0", "has '1.0', which is no INT"),
        (TypeKind::Int, "1e2", "has '1e2', which is no INT"),
        (TypeKind::TinyInt, "128", "has '128', which is no TINYINT"),
        (TypeKind::Int, "\"1\"", "of type INT is a string"),
        (TypeKind::BigInt, "\"+1\"", "has '+1', which is no BIGINT"),
        (TypeKind::Boolean, "1", "of type BOOLEAN is a number"),
        (TypeKind::String, "true", "of type STRING is a boolean"),
        (TypeKind::Float, "1e39", "has '1e39', which is no FLOAT"),
        (TypeKind::Double, "1e309", "has '1e309', which is no DOUBLE"),
        (TypeKind::Double, "\"1.5\"", "has '1.5', which is no DOUBLE"),
        (
            TypeKind::Char { length: 2 },
            "\"abc\"",
            "has 'abc', which is no CHAR of its length",
        ),
        (
            TypeKind::Binary { length: 2 },
            "\"Zg==\"",
            "has 'Zg==', which is no BINARY of its length",
        ),
        (TypeKind::Bytes, "\"Zg\"", "has 'Zg', which is no BYTES"),
        (
            TypeKind::Timestamp { precision: 3 },
            "\"2023-11-14T22:13:20Z\"",
            "has '2023-11-14T22:13:20Z', which is no TIMESTAMP of its precision",
        ),
        (TypeKind::Int, "[1]", "of type INT is an array"),
        (
            map(TypeKind::Int, TypeKind::Int),
            "{}",
            "of type MAP is an object",
        ),
        (
            map(TypeKind::Int, TypeKind::Int),
            "[{\"value\":1}]",
            "lacks 'key', which must not be null",
        ),
        (
            row(&[("x", DataType::nullable(TypeKind::Int))]),
            "{\"y\":1}",
            "has the field 'y', which its type lacks",
        ),
        (
            row(&[("x", DataType::not_null(TypeKind::Int))]),
            "{}",
            "lacks 'x', which must not be null",
        ),
        (
            row(&[("x", DataType::nullable(TypeKind::Int))]),
            "{\"x\":1,\"x\":1}",
            "has 'x' twice",
        ),
        (
            TypeKind::Array(Box::new(DataType::not_null(TypeKind::Int))),
            "[1,null]",
            "must not be null",
        ),
    ] {
        assert_eq!(fault(kind, json).to_string(), expected, "{json}");
    }
    let long = format!("\"{}\"", "é".repeat(100));
    let shown = fault(TypeKind::Date, &long).to_string();
    assert!(shown.len() < 100, "{shown}");
}

#[test]
fn columns_come_in_any_order_and_may_be_missing() {
    let reader = JsonReader::new(&schema(&[
        ("a", TypeKind::Int),
        ("b", TypeKind::String),
        ("c", TypeKind::Int),
    ]));
    let mut out = Vec::new();
    reader
        .read(b" { \"c\" : 3 , \"a\" : null } ", &mut out)
        .unwrap();
    let int = |v| Some(JsonValue::Plain(Datum::Int(v)));
    assert_eq!(out, [Some(JsonValue::NULL), None, int(3)]);
    reader.read(b"{}", &mut out).unwrap();
    assert_eq!(out, [None, None, None]);
}

#[test]
fn what_is_no_object_of_the_columns_is_refused() {
    let reader = JsonReader::of_columns(
        &schema(&[("a", TypeKind::Int), ("b", TypeKind::Int)]),
        [1, 7],
    );
    let refused = |json: &[u8]| reader.read(json, &mut Vec::new()).unwrap_err().to_string();
    for (json, expected) in [
        (
            &b"{\"b\":1,\"a\":1}"[..],
            "has the field 'a', which is no column",
        ),
        (b"{\"b\":1,\"b\":1}", "column 'b' has 'b' twice"),
        (b"[1]", "is not a JSON object"),
        (b"\"x\"", "is not a JSON object"),
        (b"", "is not JSON: expected an object at byte 0"),
        (b"\0", "is not JSON: expected an object at byte 0"),
        (
            b"{\"b\":1",
            "is not JSON: expected a comma or the end at byte 6",
        ),
        (b"{\"b\":1,}", "is not JSON: expected a string at byte 7"),
        (
            b"{\"b\":1} x",
            "is not JSON: expected nothing more at byte 8",
        ),
        (b"{\"b\":nul}", "is not JSON: expected null at byte 5"),
        (b"{\"b\":\xff}", "is not JSON: expected UTF-8 at byte 5"),
        (
            b"{\"b\":01}",
            "is not JSON: expected a comma or the end at byte 6",
        ),
    ] {
        assert_eq!(refused(json), expected, "{}", String::from_utf8_lossy(json));
    }
}

#[test]
fn a_row_of_too_many_values_is_refused() {
    let array = TypeKind::Array(Box::new(DataType::nullable(TypeKind::Int)));
    let json = format!("[{}1]", "1,".repeat(ELEMENTS_MAX));
    assert_eq!(fault(array, &json), Fault::Elements);
}

#[test]
fn nan_and_the_infinities_read_back() {
    let number = |json| match value(TypeKind::Float, json) {
        Ok(JsonValue::Plain(Datum::Float(number))) => number,
        other => panic!("{other:?}"),
    };
    assert!(number("\"NaN\"").is_nan());
    assert_eq!(number("\"Infinity\""), f32::INFINITY);
    assert_eq!(number("\"-Infinity\""), f32::NEG_INFINITY);
}

proptest! {
    #[test]
    fn what_is_written_reads_back((types, values) in strategy::rows()) {
        let names: Vec<_> = (0..types.len()).map(|i| format!("c{i}")).collect();
        let columns: Vec<_> = names.iter().map(String::as_str).zip(types.clone()).collect();
        let schema = vectors::schema(&columns);
        let reader = JsonReader::new(&schema);
        let layout = RowLayout::of(KvFormat::Compacted, &schema);
        let mut builder = RowsBuilder::new(types, 1 << 20);
        let rows: Vec<Vec<_>> =
            values.iter().map(|row| row.iter().map(strategy::Owned::datum).collect()).collect();
        for row in &rows {
            builder.append(row.iter()).unwrap();
        }
        let batch =
            arrow_array::RecordBatch::try_new(arrow_schema(&schema), builder.finish().unwrap());
        let batch = batch.unwrap();
        let writer = JsonRows::new(&batch, &schema).unwrap();
        for (i, row) in rows.iter().enumerate() {
            let (mut text, mut read) = (Vec::new(), Vec::new());
            writer.write(i, &mut text).unwrap();
            reader.read(&text, &mut read).unwrap();
            let read: Vec<_> = read.iter().map(|v| v.as_ref().unwrap().datum()).collect();
            prop_assert_eq!(&read, row);
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            layout.write(row, &mut expected).unwrap();
            layout.write(&read, &mut found).unwrap();
            prop_assert_eq!(expected, found);
        }
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]{},:\"a-c0-9.nul]{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let reader = JsonReader::new(&schema(&[
            ("a", row(&[("b", DataType::nullable(map(TypeKind::String, TypeKind::Date)))])),
            ("b", map(TypeKind::Int, DECIMAL)),
            ("c", TypeKind::Array(Box::new(DataType::nullable(TypeKind::Bytes)))),
        ]));
        let _ = reader.read(text.as_bytes(), &mut Vec::new());
        let _ = reader.read(&bytes, &mut Vec::new());
    }
}
