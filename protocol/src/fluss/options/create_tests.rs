use super::super::super::error::ErrorCode;
use super::*;

/// A table of columns id INT, dt STRING, day DATE, n BIGINT, list ARRAY<INT>, amount DECIMAL(5, 2)
/// with options (without `table.`).
pub(crate) fn table(
    primary_key: &[&str],
    partition_keys: &[&str],
    options: &[(&str, &str)],
) -> TableDescriptor {
    let columns = r#"{"name":"id","data_type":{"type":"INTEGER"}},{"name":"dt","data_type":{"type":"STRING"}},
        {"name":"day","data_type":{"type":"DATE"}},{"name":"n","data_type":{"type":"BIGINT"}},
        {"name":"list","data_type":{"type":"ARRAY","element_type":{"type":"INTEGER"}}},
        {"name":"amount","data_type":{"type":"DECIMAL","precision":5,"scale":2}}"#;
    let schema = match primary_key {
        [] => format!(r#"{{"columns":[{columns}]}}"#),
        key => format!(r#"{{"columns":[{columns}],"primary_key":{key:?}}}"#),
    };
    let json = format!(
        r#"{{"version":1,"schema":{schema},"partition_key":{partition_keys:?},"properties":{{}},"custom_properties":{{}}}}"#
    );
    let mut table = TableDescriptor::from_json(json.as_bytes()).unwrap();
    let option = |(key, value): &(&str, &str)| (format!("table.{key}"), (*value).to_owned());
    table.properties = options.iter().map(option).collect();
    table
}

fn created(table: TableDescriptor) -> TableDescriptor {
    validate_create(table, &ClusterLimits::default()).unwrap()
}

#[track_caller]
fn refused(table: TableDescriptor, limits: &ClusterLimits, code: ErrorCode, reason: &str) {
    let error = validate_create(table, limits).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(reason), "{error}");
}

/// Refused with 39 by a cluster of defaults.
#[track_caller]
fn bad_config(
    primary_key: &[&str],
    partition_keys: &[&str],
    options: &[(&str, &str)],
    reason: &str,
) {
    let table = table(primary_key, partition_keys, options);
    refused(
        table,
        &ClusterLimits::default(),
        ErrorCode::InvalidConfig,
        reason,
    );
}

/// Refused with 15 by a cluster of defaults.
#[track_caller]
fn bad_table(
    primary_key: &[&str],
    partition_keys: &[&str],
    options: &[(&str, &str)],
    reason: &str,
) {
    let table = table(primary_key, partition_keys, options);
    refused(
        table,
        &ClusterLimits::default(),
        ErrorCode::InvalidTable,
        reason,
    );
}

fn property<'a>(table: &'a TableDescriptor, key: &str) -> Option<&'a str> {
    table.properties.get(key).map(String::as_str)
}

#[test]
fn a_log_table_gets_buckets_and_replicas() {
    let limits = ClusterLimits {
        default_bucket_count: 3,
        ..Default::default()
    };
    let log = validate_create(table(&[], &[], &[]), &limits).unwrap();
    assert_eq!(log.bucket_count, Some(3));
    assert_eq!(
        log.properties,
        [("table.replication.factor".to_owned(), "1".to_owned())].into()
    );
    // What the client chose stays.
    let chosen = TableDescriptor {
        bucket_count: Some(7),
        ..table(&[], &[], &[])
    };
    assert_eq!(
        validate_create(chosen, &limits).unwrap().bucket_count,
        Some(7)
    );
}

#[test]
fn a_primary_key_table_gets_what_clients_hash_by() {
    let keyed = created(table(&["id"], &[], &[]));
    assert_eq!(property(&keyed, keys::KV_FORMAT_VERSION), Some("2"));
    assert_eq!(
        property(&keyed, keys::KV_STANDBY_REPLICA_ENABLED),
        Some("true")
    );
    assert_eq!(property(&keyed, keys::DELETE_BEHAVIOR), None);
    assert_eq!(keyed.bucket_keys, ["id"]);
    let old = created(table(&["id"], &[], &[("kv.format-version", "1")]));
    assert_eq!(property(&old, keys::KV_FORMAT_VERSION), Some("1"));
    let merged = created(table(&["id"], &[], &[("merge-engine", "first_row")]));
    assert_eq!(property(&merged, keys::DELETE_BEHAVIOR), Some("IGNORE"));
}

#[test]
fn every_table_records_the_format_of_the_lake() {
    let limits = ClusterLimits {
        datalake_format: Some(DataLakeFormat::Iceberg),
        ..Default::default()
    };
    let log = validate_create(table(&[], &[], &[]), &limits).unwrap();
    assert_eq!(property(&log, keys::DATALAKE_FORMAT), Some("iceberg"));
}

#[test]
fn partitions_by_time_store_their_zone() {
    let limits = ClusterLimits {
        time_zone: "Europe/Prague".into(),
        ..Default::default()
    };
    let auto = [("auto-partition.enabled", "true")];
    let one = validate_create(table(&[], &["dt"], &auto), &limits).unwrap();
    assert_eq!(
        property(&one, keys::AUTO_PARTITION_TIME_ZONE),
        Some("Europe/Prague")
    );
    assert_eq!(property(&one, keys::AUTO_PARTITION_NUM_PRECREATE), None);
    let auto = [
        ("auto-partition.enabled", "true"),
        ("auto-partition.key", "dt"),
    ];
    let two = validate_create(table(&[], &["id", "dt"], &auto), &limits).unwrap();
    assert_eq!(
        property(&two, keys::AUTO_PARTITION_NUM_PRECREATE),
        Some("0")
    );
}

#[test]
fn keys_and_values_of_options_are_checked() {
    bad_config(
        &[],
        &[],
        &[("log.tll", "7 d")],
        "'table.log.tll' is no table option that this server knows",
    );
    bad_config(
        &[],
        &[],
        &[("log.ttl", "week")],
        "does not begin with a number",
    );
    bad_config(&[], &[], &[("log.format", "parquet")], "is none of ARROW");
    let mut own = table(&[], &[], &[]);
    own.properties.insert("owner".into(), "me".into());
    refused(
        own,
        &ClusterLimits::default(),
        ErrorCode::InvalidConfig,
        "custom properties",
    );
}

#[test]
fn buckets_have_a_range() {
    let with = |count| TableDescriptor {
        bucket_count: Some(count),
        ..table(&[], &[], &[])
    };
    let limits = ClusterLimits {
        bucket_count_max: 8,
        ..Default::default()
    };
    assert!(validate_create(with(8), &limits).is_ok());
    refused(
        with(9),
        &limits,
        ErrorCode::BucketMaxNum,
        "bucket count 9 exceeds the limit of 8",
    );
    refused(with(0), &limits, ErrorCode::InvalidTable, "below 1");
}

#[test]
fn replicas_need_servers() {
    let limits = ClusterLimits::default();
    let with = |factor| table(&[], &[], &[("replication.factor", factor)]);
    refused(
        with("0"),
        &limits,
        ErrorCode::InvalidConfig,
        "greater than 0",
    );
    refused(
        with("2"),
        &limits,
        ErrorCode::InvalidReplicationFactor,
        "2 is larger",
    );
}

#[test]
fn nested_columns_are_no_keys() {
    bad_table(&["list"], &[], &[], "column 'list' is an ARRAY, MAP or ROW");
    let mut by_list = table(&[], &[], &[]);
    by_list.bucket_keys = vec!["list".into()];
    refused(
        by_list,
        &ClusterLimits::default(),
        ErrorCode::InvalidTable,
        "bucket key column 'list'",
    );
}

#[test]
fn formats_must_go_together() {
    bad_config(
        &["id"],
        &[],
        &[("log.format", "INDEXED")],
        "needs log format ARROW or COMPACTED",
    );
    created(table(
        &["id"],
        &[],
        &[("log.format", "INDEXED"), ("kv.format", "INDEXED")],
    ));
    created(table(&[], &[], &[("log.format", "INDEXED")]));
    bad_config(
        &[],
        &[],
        &[("log.arrow.compression.zstd.level", "23")],
        "level 23",
    );
    bad_config(&["id"], &[], &[("kv.format-version", "3")], "at most 2");
}

#[test]
fn merge_engines_have_their_conditions() {
    bad_config(
        &[],
        &[],
        &[("merge-engine", "first_row")],
        "for primary-key tables",
    );
    bad_config(
        &["id"],
        &[],
        &[("merge-engine", "versioned")],
        "needs 'table.merge-engine.versioned.ver-column'",
    );
    let versioned = |column| {
        [
            ("merge-engine", "versioned"),
            ("merge-engine.versioned.ver-column", column),
        ]
    };
    bad_config(&["id"], &[], &versioned("x"), "'x' is not in the schema");
    bad_config(&["id"], &[], &versioned("dt"), "neither INT, BIGINT");
    created(table(&["id"], &[], &versioned("n")));
    let wal = [("merge-engine", "aggregation"), ("changelog.image", "wal")];
    bad_config(&["id"], &[], &wal, "needs 'table.changelog.image' FULL");
    for (engine, allowed) in [("first_row", false), ("aggregation", true)] {
        let options = [("merge-engine", engine), ("delete.behavior", "allow")];
        assert_eq!(
            validate_create(table(&["id"], &[], &options), &ClusterLimits::default()).is_ok(),
            allowed
        );
    }
    bad_config(
        &[],
        &[],
        &[("delete.behavior", "ignore")],
        "for primary-key tables",
    );
}

#[test]
fn aggregation_functions_need_their_engine() {
    let mut sum = table(&["id"], &[], &[]);
    let function = crate::schema::AggFunction {
        name: "sum".into(),
        parameters: Default::default(),
    };
    sum.schema.columns[3].agg_function = Some(function.clone());
    refused(
        sum.clone(),
        &ClusterLimits::default(),
        ErrorCode::InvalidConfig,
        "needs merge engine 'aggregation'",
    );
    sum.properties
        .insert(keys::MERGE_ENGINE.into(), "aggregation".into());
    created(sum.clone());
    sum.schema.columns[1].agg_function = Some(function);
    refused(
        sum,
        &ClusterLimits::default(),
        ErrorCode::InvalidConfig,
        "column 'dt' 'sum' does not take",
    );
}

#[test]
fn local_retention_stays_below_the_whole() {
    bad_config(
        &[],
        &[],
        &[("log.tiered.local-segments", "0")],
        "greater than 0",
    );
    bad_config(
        &[],
        &[],
        &[("log.ttl", "1 d"), ("log.local-ttl", "2 d")],
        "must not be longer",
    );
    created(table(
        &[],
        &[],
        &[("log.ttl", "0 d"), ("log.local-ttl", "2 d")],
    ));
}

#[test]
fn partitions_by_time_have_their_conditions() {
    let on = ("auto-partition.enabled", "true");
    bad_config(&[], &[], &[on], "needs partition keys");
    bad_config(
        &[],
        &["dt"],
        &[on, ("auto-partition.time-zone", "Mars")],
        "'Mars' is unknown",
    );
    bad_table(&[], &["amount"], &[], "a type that makes no partitions");
    bad_table(&[], &["list"], &[], "a type that makes no partitions");
    bad_table(&[], &["id", "dt"], &[on], "need 'table.auto-partition.key'");
    bad_table(
        &[],
        &["id", "dt"],
        &[on, ("auto-partition.key", "n")],
        "'n' is no partition key",
    );
    let ahead = [
        on,
        ("auto-partition.key", "dt"),
        ("auto-partition.num-precreate", "1"),
    ];
    bad_table(&[], &["id", "dt"], &ahead, "num-precreate' 0");
    bad_table(
        &[],
        &["dt"],
        &[on, ("auto-partition.time-format", "dd-MM-yyyy")],
        "exactly the fields of DAY",
    );
    bad_table(
        &[],
        &["day"],
        &[on, ("auto-partition.time-unit", "month")],
        "needs 'table.auto-partition.time-unit' DAY",
    );
    bad_table(&[], &["day"], &[on], "yyyy-MM-dd");
    created(table(
        &[],
        &["day"],
        &[on, ("auto-partition.time-format", "yyyy-MM-dd")],
    ));
}

#[test]
fn names_of_system_columns_are_reserved() {
    let mut named = table(&[], &[], &[]);
    named.schema.columns[3].name = "__offset".into();
    refused(
        named,
        &ClusterLimits::default(),
        ErrorCode::InvalidTable,
        "'__offset' is reserved",
    );
}

#[test]
fn statistics_are_for_columns_that_have_them() {
    let stats = |columns| [("statistics.columns", columns)];
    created(table(&[], &[], &stats("*")));
    created(table(&[], &[], &stats("id, dt,day")));
    bad_config(&["id"], &[], &stats("*"), "without a primary key");
    bad_config(&[], &[], &stats(" , "), "names no column");
    bad_config(&[], &[], &stats("x"), "not in the schema");
    bad_config(&[], &[], &stats("list"), "has no statistics");
}

#[test]
fn the_lake_must_be_there_and_fit() {
    let on = ("datalake.enabled", "true");
    bad_table(&[], &[], &[on], "this cluster has no lake");
    let limits = ClusterLimits {
        datalake_format: Some(DataLakeFormat::Paimon),
        datalake_enabled: true,
        ..Default::default()
    };
    assert!(validate_create(table(&[], &[], &[on]), &limits).is_ok());
    let iceberg = table(&[], &[], &[on, ("datalake.format", "iceberg")]);
    refused(
        iceberg,
        &limits,
        ErrorCode::InvalidConfig,
        "the lake of this cluster is paimon",
    );
}

#[test]
fn what_is_not_served_is_refused() {
    bad_config(
        &["id"],
        &[],
        &[("datalake.historical-partition.enabled", "true")],
        "not supported",
    );
    bad_config(&["id"], &[], &[("kv.ttl", "1 d")], "not supported");
    created(table(
        &["id"],
        &[],
        &[("datalake.historical-partition.enabled", "false")],
    ));
}

#[test]
fn a_cluster_may_disallow_kinds_of_tables() {
    let limits = ClusterLimits {
        allow_primary_key_tables: false,
        ..Default::default()
    };
    refused(
        table(&["id"], &[], &[]),
        &limits,
        ErrorCode::InvalidTable,
        "primary-key tables is disallowed",
    );
    assert!(validate_create(table(&[], &[], &[]), &limits).is_ok());
    let limits = ClusterLimits {
        allow_log_tables: false,
        ..Default::default()
    };
    refused(
        table(&[], &[], &[]),
        &limits,
        ErrorCode::InvalidTable,
        "log tables is disallowed",
    );
}

#[test]
fn a_table_that_was_created_can_be_created_again() {
    let auto = [
        ("auto-partition.enabled", "true"),
        ("merge-engine", "first_row"),
    ];
    let once = created(table(&["id", "dt"], &["dt"], &auto));
    assert_eq!(created(once.clone()), once);
}
