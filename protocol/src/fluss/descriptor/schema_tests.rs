use proptest::prelude::*;

use super::super::data_type::tests::data_type;
use super::*;
use crate::fluss::error::ErrorCode;
use crate::schema::RowField;

const GOLDEN: &[u8] = include_bytes!("../golden/schema_all_types.json");

#[track_caller]
fn refused(json: &str, reason: &str) {
    let error = schema_from_json(json.as_bytes()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidTable);
    assert!(error.to_string().contains(reason), "{error}");
}

fn int(name: &str) -> NewColumn {
    NewColumn {
        name: name.into(),
        data_type: DataType::nullable(TypeKind::Int),
        comment: None,
        agg_function: None,
    }
}

fn row(ids: [i32; 2]) -> DataType {
    let field = |name: &str, field_id| RowField {
        name: name.into(),
        data_type: DataType::nullable(TypeKind::Int),
        description: None,
        field_id,
    };
    DataType::nullable(TypeKind::Row(vec![field("x", ids[0]), field("y", ids[1])]))
}

#[test]
fn what_java_writes_is_read_and_written_alike() {
    let schema = schema_from_json(GOLDEN).unwrap();
    assert_eq!(schema.columns.len(), 21);
    assert_eq!(schema.highest_field_id, 25);
    assert_eq!(
        String::from_utf8(schema_to_json(&schema)),
        String::from_utf8(GOLDEN.to_vec())
    );
}

#[test]
fn columns_without_ids_take_their_position() {
    let schema = schema_from_json(
        br#"{"version":1,"columns":[{"name":"a","data_type":{"type":"INTEGER"}},
            {"name":"b","data_type":{"type":"STRING"},"comment":"text"}],"primary_key":["a"]}"#,
    )
    .unwrap();
    assert_eq!(
        schema
            .columns
            .iter()
            .map(|column| column.id)
            .collect::<Vec<_>>(),
        vec![0, 1]
    );
    assert_eq!(schema.highest_field_id, 1);
    assert!(
        !schema.columns[0].data_type.nullable,
        "key columns are not null"
    );
    assert_eq!(schema.columns[1].comment.as_deref(), Some("text"));
}

#[test]
fn nested_fields_without_ids_take_the_next_ones() {
    let schema = schema_from_json(
        br#"{"columns":[{"name":"a","data_type":{"type":"ROW","fields":[
                {"name":"x","field_type":{"type":"INTEGER"}},{"name":"y","field_type":{"type":"INTEGER"},"field_id":7}]},"id":2},
            {"name":"b","data_type":{"type":"INTEGER"},"id":5}]}"#,
    )
    .unwrap();
    assert_eq!(schema.columns[0].data_type, row([8, 7]));
    assert_eq!(schema.highest_field_id, 8);
}

#[test]
fn ids_that_do_not_fit_are_refused() {
    let column = |name: &str, id: &str| {
        format!(r#"{{"name":"{name}","data_type":{{"type":"INTEGER"}}{id}}}"#)
    };
    let schema =
        |columns: &[String], rest: &str| format!(r#"{{"columns":[{}]{rest}}}"#, columns.join(","));
    let id = |id: i32| format!(r#","id":{id}"#);
    refused(
        &schema(&[column("a", &id(0)), column("b", "")], ""),
        "either all columns have an id",
    );
    refused(
        &schema(&[column("a", &id(1)), column("b", &id(1))], ""),
        "not unique",
    );
    refused(&schema(&[column("a", &id(-5))], ""), "not negative");
    refused(
        &schema(&[column("a", &id(3))], r#","highest_field_id":2"#),
        "highest_field_id 2",
    );
    let kept =
        schema_from_json(schema(&[column("a", &id(3))], r#","highest_field_id":9"#).as_bytes())
            .unwrap();
    assert_eq!(kept.highest_field_id, 9);
}

#[test]
fn keys_that_do_not_fit_are_refused() {
    let schema = |rest: &str| {
        format!(
            r#"{{"columns":[{{"name":"a","data_type":{{"type":"INTEGER"}}}},
                {{"name":"b","data_type":{{"type":"STRING"}},"agg_function":{{"type":"sum"}}}}]{rest}}}"#
        )
    };
    refused(
        &schema(r#","primary_key":["c"]"#),
        "'c' is not in the schema",
    );
    refused(&schema(r#","primary_key":["a","a"]"#), "'a' twice");
    refused(&schema(r#","primary_key":[]"#), "at least one column");
    refused(
        &schema(r#","primary_key":["b"]"#),
        "cannot have an aggregation function",
    );
    refused(
        &schema(r#","auto_increment_column":["a"]"#),
        "needs a primary-key table",
    );
    refused(
        &schema(r#","primary_key":["a"],"auto_increment_column":["a"]"#),
        "part of the primary key",
    );
    refused(
        &schema(r#","primary_key":["a"],"auto_increment_column":["b"]"#),
        "neither INT nor BIGINT",
    );
    refused(
        &schema(r#","primary_key":["a"],"auto_increment_column":["c"]"#),
        "is not in the schema",
    );
    refused(
        &schema(r#","primary_key":["a"],"auto_increment_column":["a","b"]"#),
        "at most one",
    );
    refused(r#"{"columns":[]}"#, "at least one column");
    refused(r#"{"columns":{}}"#, "failed to parse schema");
    refused(
        r#"{"columns":[{"name":"a","data_type":{"type":"DATE"}},{"name":"a","data_type":{"type":"DATE"}}]}"#,
        "several fields named 'a'",
    );
}

#[test]
fn columns_and_keys_have_a_limit() {
    let column = |at: usize| format!(r#"{{"name":"c{at}","data_type":{{"type":"DATE"}}}}"#);
    let columns = |count| (0..count).map(column).collect::<Vec<_>>().join(",");
    refused(
        &format!(r#"{{"columns":[{}]}}"#, columns(COLUMNS_MAX + 1)),
        "more than 10000",
    );
    let key = (0..=KEY_COLUMNS_MAX)
        .map(|at| format!("\"c{at}\""))
        .collect::<Vec<_>>()
        .join(",");
    refused(
        &format!(r#"{{"columns":[{}],"primary_key":[{key}]}}"#, columns(300)),
        "more than 256",
    );
}

#[test]
fn aggregation_functions_are_read_in_any_case() {
    let read = |name: &str| agg_function(name, BTreeMap::new()).map(|agg| agg.name);
    assert_eq!(read("SUM").as_deref(), Some("sum"));
    assert_eq!(
        read("last-value-ignore-nulls").as_deref(),
        Some("last_value_ignore_nulls")
    );
    assert_eq!(read("median"), None);
}

#[test]
fn added_columns_take_ids_that_were_never_used() {
    let schema = schema_from_json(GOLDEN).unwrap();
    let nested = NewColumn {
        data_type: row([0, 1]),
        ..int("nested")
    };
    let longer = add_columns(&schema, vec![int("one"), nested, int("two")]).unwrap();
    assert_eq!(longer.columns[21].id, 26);
    assert_eq!(longer.columns[22].id, 27);
    assert_eq!(longer.columns[22].data_type, row([28, 29]));
    assert_eq!(longer.columns[23].id, 30);
    assert_eq!(longer.highest_field_id, 30);
    assert_eq!(longer.columns[..21], schema.columns);
}

#[test]
fn added_columns_are_new_and_nullable() {
    let schema = schema_from_json(GOLDEN).unwrap();
    assert!(matches!(
        add_columns(&schema, vec![int("int")]),
        Err(DescriptorError::InvalidAlter(_))
    ));
    assert!(matches!(
        add_columns(&schema, vec![int("x"), int("x")]),
        Err(DescriptorError::InvalidAlter(_))
    ));
    let not_null = NewColumn {
        data_type: DataType::not_null(TypeKind::Int),
        ..int("x")
    };
    assert!(matches!(
        add_columns(&schema, vec![not_null]),
        Err(DescriptorError::Unsupported(_))
    ));
}

proptest! {
    #[test]
    fn every_schema_survives_its_json(
        types in proptest::collection::vec((data_type(), proptest::option::of(".{0,8}")), 1..8),
        keyed in any::<bool>(),
    ) {
        let columns = types
            .into_iter()
            .enumerate()
            .map(|(at, (data_type, comment))| Column {
                name: format!("c{at}"), data_type, comment, id: UNKNOWN_ID, agg_function: None,
            })
            .collect();
        let key = if keyed { vec!["c0".to_owned()] } else { vec![] };
        let schema = build_schema(columns, key, None, None).unwrap();
        prop_assert_eq!(schema_from_json(&schema_to_json(&schema)), Ok(schema));
    }

    #[test]
    fn damaged_schemas_never_panic(at in 0usize..2000, byte in any::<u8>()) {
        let mut json = GOLDEN.to_vec();
        let at = at % json.len();
        json[at] = byte;
        let _ = schema_from_json(&json);
    }
}
