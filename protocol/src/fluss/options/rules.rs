//! The rules that every stored table holds, checked when it is made and when its options change.

use super::super::descriptor::{DescriptorError, SYSTEM_COLUMNS, TableDescriptor};
use super::super::partition::text::is_partition_type;
use super::super::partition::{AutoPartition, time_zone};
use super::aggregation::{check_functions, check_no_functions};
use super::create::{ClusterLimits, KV_FORMAT_VERSION};
use super::{
    ChangelogImage, DeleteBehavior, KvFormat, LogFormat, MergeEngine, StatisticsColumns,
    TABLE_PREFIX, TableConfig, TimeUnit, find, keys,
};
use crate::schema::{Schema, TypeKind};

pub(super) fn table_error(text: impl Into<String>) -> DescriptorError {
    DescriptorError::InvalidTable(text.into())
}

fn config_error(text: impl Into<String>) -> DescriptorError {
    DescriptorError::InvalidConfig(text.into())
}

/// Checks that a complete table holds all rules. Also done after a change of options.
pub(super) fn check_table(
    table: &TableDescriptor,
    limits: &ClusterLimits,
) -> Result<(), DescriptorError> {
    check_options(table)?;
    let config = TableConfig::parse(&table.properties)?;
    check_buckets(table, limits)?;
    check_key_types(table)?;
    check_replicas(&config, limits)?;
    check_formats(table, &config)?;
    check_merge_engine(table, &config)?;
    check_deletes(table, &config)?;
    check_log_retention(&config)?;
    check_partitions(table, &config)?;
    check_system_columns(&table.schema)?;
    check_statistics(table, &config)?;
    check_lake(&config, limits)?;
    check_served(&config)
}

/// Keys are known options, and values can be read.
pub(super) fn check_options(table: &TableDescriptor) -> Result<(), DescriptorError> {
    for (key, value) in &table.properties {
        match find(key) {
            Some(option) => option.check(value)?,
            None if key.starts_with(TABLE_PREFIX) => {
                return Err(config_error(format!(
                    "'{key}' is no table option that this server knows"
                )));
            }
            None => {
                return Err(config_error(format!(
                    "'{key}' is no table option; keys of your own belong to the custom properties"
                )));
            }
        }
    }
    Ok(())
}

fn check_buckets(table: &TableDescriptor, limits: &ClusterLimits) -> Result<(), DescriptorError> {
    let limit = limits.bucket_count_max;
    match table.bucket_count {
        None => Err(table_error("bucket count is not set")),
        Some(count) if count < 1 => Err(table_error(format!("bucket count {count} is below 1"))),
        Some(count) if count > limit => Err(DescriptorError::TooManyBuckets { count, limit }),
        Some(_) => Ok(()),
    }
}

fn check_key_types(table: &TableDescriptor) -> Result<(), DescriptorError> {
    for (what, key) in [
        ("bucket key", &table.bucket_keys),
        ("primary key", &table.schema.primary_key),
    ] {
        for name in key {
            let kind = column_kind(&table.schema, name);
            if matches!(
                kind,
                Some(TypeKind::Array(_) | TypeKind::Map { .. } | TypeKind::Row(_))
            ) {
                return Err(table_error(format!(
                    "{what} column '{name}' is an ARRAY, MAP or ROW"
                )));
            }
        }
    }
    Ok(())
}

fn column_kind<'a>(schema: &'a Schema, name: &str) -> Option<&'a TypeKind> {
    schema
        .columns
        .iter()
        .find(|column| column.name == name)
        .map(|column| &column.data_type.kind)
}

fn check_replicas(config: &TableConfig, limits: &ClusterLimits) -> Result<(), DescriptorError> {
    let key = keys::REPLICATION_FACTOR;
    match config.replication_factor {
        None => Err(config_error(format!("'{key}' is not set"))),
        Some(factor) if factor < 1 => Err(config_error(format!("'{key}' must be greater than 0"))),
        Some(factor) if factor > limits.tablet_servers => Err(DescriptorError::ReplicationFactor {
            factor,
            servers: limits.tablet_servers,
        }),
        Some(_) => Ok(()),
    }
}

fn check_formats(table: &TableDescriptor, config: &TableConfig) -> Result<(), DescriptorError> {
    let compacted = table.has_primary_key() && config.kv_format == KvFormat::Compacted;
    if compacted && config.log_format == LogFormat::Indexed {
        return Err(config_error(
            "a primary-key table of kv format COMPACTED needs log format ARROW or COMPACTED",
        ));
    }
    if !(1..=22).contains(&config.zstd_level) {
        return Err(config_error(format!(
            "ZSTD level {} is not between 1 and 22",
            config.zstd_level
        )));
    }
    if config
        .kv_format_version
        .is_some_and(|version| version > KV_FORMAT_VERSION)
    {
        return Err(config_error(format!(
            "'{}' is at most {KV_FORMAT_VERSION}",
            keys::KV_FORMAT_VERSION
        )));
    }
    Ok(())
}

fn check_merge_engine(
    table: &TableDescriptor,
    config: &TableConfig,
) -> Result<(), DescriptorError> {
    if config.merge_engine != Some(MergeEngine::Aggregation) {
        check_no_functions(&table.schema).map_err(config_error)?;
    }
    let Some(engine) = config.merge_engine else {
        return Ok(());
    };
    if !table.has_primary_key() {
        return Err(config_error("merge engines are for primary-key tables"));
    }
    match engine {
        MergeEngine::FirstRow => Ok(()),
        MergeEngine::Versioned => check_version_column(&table.schema, config),
        MergeEngine::Aggregation if config.changelog_image == ChangelogImage::Wal => {
            Err(config_error(format!(
                "merge engine {engine} needs '{}' FULL",
                keys::CHANGELOG_IMAGE
            )))
        }
        MergeEngine::Aggregation => check_functions(&table.schema).map_err(config_error),
    }
}

fn check_version_column(schema: &Schema, config: &TableConfig) -> Result<(), DescriptorError> {
    let key = keys::MERGE_ENGINE_VERSION_COLUMN;
    let Some(name) = &config.version_column else {
        return Err(config_error(format!(
            "merge engine VERSIONED needs '{key}'"
        )));
    };
    match column_kind(schema, name) {
        None => Err(config_error(format!(
            "version column '{name}' is not in the schema"
        ))),
        Some(
            TypeKind::Int
            | TypeKind::BigInt
            | TypeKind::Timestamp { .. }
            | TypeKind::TimestampLtz { .. },
        ) => Ok(()),
        Some(_) => Err(config_error(format!(
            "version column '{name}' is neither INT, BIGINT, TIMESTAMP nor TIMESTAMP_LTZ"
        ))),
    }
}

fn check_deletes(table: &TableDescriptor, config: &TableConfig) -> Result<(), DescriptorError> {
    let key = keys::DELETE_BEHAVIOR;
    match (config.delete_behavior, config.merge_engine) {
        (Some(_), _) if !table.has_primary_key() => {
            Err(config_error(format!("'{key}' is for primary-key tables")))
        }
        (
            Some(DeleteBehavior::Allow),
            Some(engine @ (MergeEngine::FirstRow | MergeEngine::Versioned)),
        ) => Err(config_error(format!(
            "merge engine {engine} needs '{key}' IGNORE or DISABLE"
        ))),
        _ => Ok(()),
    }
}

fn check_log_retention(config: &TableConfig) -> Result<(), DescriptorError> {
    if config.log_local_segments < 1 {
        return Err(config_error(format!(
            "'{}' must be greater than 0",
            keys::LOG_TIERED_LOCAL_SEGMENTS
        )));
    }
    match config.log_local_ttl {
        Some(local) if !config.log_ttl.is_zero() && local > config.log_ttl => {
            Err(config_error(format!(
                "'{}' must not be longer than '{}'",
                keys::LOG_LOCAL_TTL,
                keys::LOG_TTL
            )))
        }
        _ => Ok(()),
    }
}

fn check_partitions(table: &TableDescriptor, config: &TableConfig) -> Result<(), DescriptorError> {
    let auto = &config.auto_partition;
    if let Some(zone) = auto
        .time_zone
        .as_deref()
        .filter(|zone| time_zone(zone).is_none())
    {
        return Err(config_error(format!("time zone '{zone}' is unknown")));
    }
    if !table.is_partitioned() {
        return match auto.enabled {
            true => Err(config_error(format!(
                "'{}' needs partition keys",
                keys::AUTO_PARTITION_ENABLED
            ))),
            false => Ok(()),
        };
    }
    for name in &table.partition_keys {
        if !column_kind(&table.schema, name).is_some_and(is_partition_type) {
            return Err(table_error(format!(
                "partition key '{name}' has a type that makes no partitions"
            )));
        }
    }
    if auto.enabled && table.partition_keys.len() > 1 {
        if auto.key.is_none() {
            return Err(table_error(format!(
                "several partition keys need '{}'",
                keys::AUTO_PARTITION_KEY
            )));
        }
        if auto.num_precreate > 0 {
            return Err(table_error(format!(
                "several partition keys need '{}' 0",
                keys::AUTO_PARTITION_NUM_PRECREATE
            )));
        }
    }
    // The zone was checked above, so any zone will do here.
    AutoPartition::new(auto, &table.partition_keys, "UTC").map_err(table_error)?;
    if auto.enabled {
        check_date_key(table, config)
    } else {
        Ok(())
    }
}

/// Writers format a DATE themselves, so the server's values must look the same.
fn check_date_key(table: &TableDescriptor, config: &TableConfig) -> Result<(), DescriptorError> {
    let auto = &config.auto_partition;
    let name = auto.key.as_ref().unwrap_or(&table.partition_keys[0]);
    if column_kind(&table.schema, name) != Some(&TypeKind::Date) {
        return Ok(());
    }
    if auto.time_unit != TimeUnit::Day {
        return Err(table_error(format!(
            "DATE column '{name}' needs '{}' DAY",
            keys::AUTO_PARTITION_TIME_UNIT
        )));
    }
    if auto.time_format.as_deref() != Some("yyyy-MM-dd") {
        let key = keys::AUTO_PARTITION_TIME_FORMAT;
        return Err(table_error(format!(
            "DATE column '{name}' needs '{key}' yyyy-MM-dd"
        )));
    }
    Ok(())
}

/// Columns do not have the names of those that the server and the lake add.
pub(super) fn check_system_columns(schema: &Schema) -> Result<(), DescriptorError> {
    let reserved = |name: &&String| SYSTEM_COLUMNS.contains(&name.as_str());
    match schema
        .columns
        .iter()
        .map(|column| &column.name)
        .find(reserved)
    {
        Some(name) => Err(table_error(format!(
            "column name '{name}' is reserved for the system"
        ))),
        None => Ok(()),
    }
}

fn check_statistics(table: &TableDescriptor, config: &TableConfig) -> Result<(), DescriptorError> {
    let key = keys::STATISTICS_COLUMNS;
    if config.statistics == StatisticsColumns::Disabled {
        return Ok(());
    }
    if table.has_primary_key() {
        return Err(config_error(format!(
            "'{key}' is for tables without a primary key"
        )));
    }
    let StatisticsColumns::Named(names) = &config.statistics else {
        return Ok(());
    };
    if names.is_empty() {
        return Err(config_error(format!("'{key}' names no column")));
    }
    for name in names {
        match column_kind(&table.schema, name) {
            None => {
                return Err(config_error(format!(
                    "'{key}' names '{name}', which is not in the schema"
                )));
            }
            Some(
                TypeKind::Binary { .. }
                | TypeKind::Bytes
                | TypeKind::Array(_)
                | TypeKind::Map { .. }
                | TypeKind::Row(_),
            ) => {
                return Err(config_error(format!(
                    "'{key}' names '{name}', whose type has no statistics"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn check_lake(config: &TableConfig, limits: &ClusterLimits) -> Result<(), DescriptorError> {
    if !config.datalake_enabled {
        return Ok(());
    }
    let key = keys::DATALAKE_ENABLED;
    let Some(cluster) = limits.datalake_format.filter(|_| limits.datalake_enabled) else {
        return Err(table_error(format!(
            "'{key}' is set, but this cluster has no lake"
        )));
    };
    match config.datalake_format {
        Some(format) if format != cluster => Err(config_error(format!(
            "'{}' is {format}, but the lake of this cluster is {cluster}",
            keys::DATALAKE_FORMAT
        ))),
        _ => Ok(()),
    }
}

/// Options that change what clients may rely on are refused until they have an effect.
fn check_served(config: &TableConfig) -> Result<(), DescriptorError> {
    let unserved = [
        (
            keys::DATALAKE_HISTORICAL_PARTITION_ENABLED,
            config.datalake_historical_partition,
        ),
        (keys::KV_TTL, config.kv_ttl.is_some()),
        (
            keys::KV_VALUE_LAYOUT_VERSION,
            config
                .kv_value_layout_version
                .is_some_and(|version| version > 1),
        ),
    ];
    match unserved.iter().find(|(_, set)| *set) {
        Some((key, _)) => Err(config_error(format!(
            "'{key}' is not supported by this server"
        ))),
        None => Ok(()),
    }
}
