use super::super::super::error::ErrorCode;
use super::super::super::messages::{PbDropColumn, PbModifyBucketCount, PbTablePath};
use super::super::DataLakeFormat;
use super::super::create::{tests::table, validate_create};
use super::*;

fn limits() -> ClusterLimits {
    ClusterLimits::default()
}

fn existing(primary_key: &[&str], options: &[(&str, &str)]) -> TableDescriptor {
    validate_create(table(primary_key, &[], options), &limits()).unwrap()
}

fn request() -> AlterTableRequest {
    AlterTableRequest {
        table_path: PbTablePath {
            database_name: "db".into(),
            table_name: "t".into(),
        },
        ..Default::default()
    }
}

fn set(key: &str, value: &str) -> PbAlterConfig {
    PbAlterConfig {
        config_key: key.into(),
        config_value: Some(value.into()),
        op_type: OP_SET,
    }
}

fn reset(key: &str) -> PbAlterConfig {
    PbAlterConfig {
        config_key: key.into(),
        config_value: None,
        op_type: OP_DELETE,
    }
}

fn add(name: &str, data_type: &'static str) -> PbAddColumn {
    PbAddColumn {
        column_name: name.into(),
        data_type_json: data_type.as_bytes().into(),
        ..Default::default()
    }
}

fn options(
    table: &TableDescriptor,
    changes: Vec<PbAlterConfig>,
) -> Result<Altered, DescriptorError> {
    let request = AlterTableRequest {
        config_changes: changes,
        ..request()
    };
    apply_alter(table, TableAlteration::from_request(&request)?, &limits())
}

fn columns(table: &TableDescriptor, columns: Vec<PbAddColumn>) -> Result<Altered, DescriptorError> {
    let request = AlterTableRequest {
        add_columns: columns,
        ..request()
    };
    apply_alter(table, TableAlteration::from_request(&request)?, &limits())
}

#[track_caller]
fn refused(result: Result<Altered, DescriptorError>, code: ErrorCode, reason: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(reason), "{error}");
}

#[test]
fn options_are_set_and_reset() {
    let table = existing(&[], &[("log.ttl", "1 d")]);
    let Ok(Altered::Options(set)) = options(
        &table,
        vec![set("table.log.ttl", "2 d"), set("owner", "me")],
    ) else {
        panic!()
    };
    assert_eq!(set.properties["table.log.ttl"], "2 d");
    assert_eq!(set.custom_properties["owner"], "me");
    let Ok(Altered::Options(back)) = options(&set, vec![reset("table.log.ttl"), reset("owner")])
    else {
        panic!()
    };
    assert!(!back.properties.contains_key("table.log.ttl"));
    assert!(back.custom_properties.is_empty());
}

#[test]
fn what_is_so_already_changes_nothing() {
    let table = existing(&[], &[("log.ttl", "1 d")]);
    assert_eq!(
        options(&table, vec![set("table.log.ttl", "1 d")]),
        Ok(Altered::Unchanged)
    );
    assert_eq!(
        options(&table, vec![reset("nothing")]),
        Ok(Altered::Unchanged)
    );
    assert_eq!(options(&table, vec![]), Ok(Altered::Unchanged));
}

#[test]
fn only_some_options_may_change() {
    let table = existing(&[], &[]);
    let change = |key: &str, value: &str| options(&table, vec![set(key, value)]);
    refused(
        change("table.log.format", "INDEXED"),
        ErrorCode::InvalidAlterTable,
        "cannot be changed",
    );
    refused(
        change("table.no.option", "1"),
        ErrorCode::InvalidAlterTable,
        "cannot be changed",
    );
    refused(
        change("table.kv.standby-replica.enabled", "true"),
        ErrorCode::InvalidAlterTable,
        "primary-key",
    );
    refused(
        change("table.log.ttl", "week"),
        ErrorCode::InvalidConfig,
        "table.log.ttl",
    );
    refused(
        change("table.auto-partition.enabled", "true"),
        ErrorCode::InvalidConfig,
        "needs partition keys",
    );
    let append = PbAlterConfig {
        op_type: 2,
        ..set("table.log.ttl", "1 d")
    };
    refused(
        options(&table, vec![append]),
        ErrorCode::UnknownServerError,
        "operation 2",
    );
    let empty = PbAlterConfig {
        config_value: None,
        ..set("table.log.ttl", "")
    };
    refused(
        options(&table, vec![empty]),
        ErrorCode::InvalidAlterTable,
        "no value",
    );
}

#[test]
fn the_lake_may_be_joined_only_with_its_hash() {
    let with_lake = ClusterLimits {
        datalake_format: Some(DataLakeFormat::Paimon),
        datalake_enabled: true,
        ..limits()
    };
    let enable = || {
        TableAlteration::Options(vec![OptionChange::Set {
            key: keys::DATALAKE_ENABLED.into(),
            value: "true".into(),
        }])
    };
    // Made without a lake: free buckets may join it, keyed ones may not.
    let Ok(Altered::Options(joined)) = apply_alter(&existing(&[], &[]), enable(), &with_lake)
    else {
        panic!()
    };
    assert_eq!(joined.properties[keys::DATALAKE_FORMAT], "paimon");
    let keyed = existing(&["id"], &[]);
    refused(
        apply_alter(&keyed, enable(), &with_lake),
        ErrorCode::InvalidAlterTable,
        "before the cluster",
    );
    refused(
        apply_alter(&existing(&[], &[]), enable(), &limits()),
        ErrorCode::InvalidAlterTable,
        "no lake",
    );
    // Made with one.
    let keyed = validate_create(table(&["id"], &[], &[]), &with_lake).unwrap();
    assert!(matches!(
        apply_alter(&keyed, enable(), &with_lake),
        Ok(Altered::Options(_))
    ));
}

#[test]
fn columns_are_added_at_the_end() {
    let table = existing(&["id"], &[]);
    let added = columns(
        &table,
        vec![
            add("x", r#"{"type":"STRING"}"#),
            add("y", r#"{"type":"DATE"}"#),
        ],
    );
    let Ok(Altered::Schema(longer)) = added else {
        panic!()
    };
    assert_eq!(longer.schema.columns.len(), 8);
    assert_eq!(longer.schema.columns[7].id, 7);
    assert_eq!(
        (longer.properties, longer.bucket_keys),
        (table.properties, table.bucket_keys)
    );
}

#[test]
fn other_columns_are_refused() {
    let table = existing(&[], &[]);
    let date = r#"{"type":"DATE"}"#;
    refused(
        columns(&table, vec![add("id", date)]),
        ErrorCode::InvalidAlterTable,
        "already exists",
    );
    refused(
        columns(&table, vec![add("__bucket", date)]),
        ErrorCode::InvalidTable,
        "reserved",
    );
    refused(
        columns(
            &table,
            vec![add("x", r#"{"type":"DATE","nullable":false}"#)],
        ),
        ErrorCode::UnknownServerError,
        "must be nullable",
    );
    let first = PbAddColumn {
        column_position_type: 1,
        ..add("x", date)
    };
    refused(
        columns(&table, vec![first]),
        ErrorCode::UnknownServerError,
        "at the end",
    );
    let sum = PbAddColumn {
        agg_function_type: Some("sum".into()),
        ..add("x", r#"{"type":"BIGINT"}"#)
    };
    refused(
        columns(&table, vec![sum.clone()]),
        ErrorCode::InvalidConfig,
        "merge engine",
    );
    let aggregated = existing(&["id"], &[("merge-engine", "aggregation")]);
    assert!(matches!(
        columns(&aggregated, vec![sum]),
        Ok(Altered::Schema(_))
    ));
    let median = PbAddColumn {
        agg_function_type: Some("median".into()),
        ..add("x", date)
    };
    refused(
        columns(&aggregated, vec![median]),
        ErrorCode::InvalidConfig,
        "'median' is unknown",
    );
}

#[test]
fn a_request_has_one_kind_of_change() {
    let read =
        |request: &AlterTableRequest| TableAlteration::from_request(request).unwrap_err().code();
    let both = AlterTableRequest {
        config_changes: vec![set("a", "b")],
        add_columns: vec![add("x", r#"{"type":"DATE"}"#)],
        ..request()
    };
    assert_eq!(read(&both), ErrorCode::InvalidAlterTable);
    let buckets = AlterTableRequest {
        modify_bucket_count: Some(PbModifyBucketCount {
            new_bucket_count: 5,
        }),
        ..request()
    };
    assert_eq!(read(&buckets), ErrorCode::InvalidAlterTable);
    let drop = AlterTableRequest {
        drop_columns: vec![PbDropColumn {
            column_name: "id".into(),
        }],
        ..request()
    };
    assert_eq!(read(&drop), ErrorCode::UnknownServerError);
}
