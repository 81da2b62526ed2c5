//! What the server adds to a table that is to be made, and what it refuses.
//!
//! Source of the rules: Fluss `TableDescriptorValidation.java` and `CoordinatorService.java`
//! (`applySystemDefaults`). Differences on purpose: a bucket count below 1 and an unknown time zone
//! are refused, options that this server does not serve are refused rather than ignored, and the
//! zone of partitions by time is stored, as its default is otherwise that of whoever reads it.

use super::super::descriptor::{DescriptorError, TableDescriptor};
use super::rules::{check_options, check_table, table_error};
use super::{DataLakeFormat, DeleteBehavior, OptionError, TableConfig, keys};

/// The encoding of keys that new primary-key tables have.
pub const KV_FORMAT_VERSION: i32 = 2;

/// What a cluster fills in and allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterLimits {
    /// Buckets of a table that names none.
    pub default_bucket_count: i32,
    /// The most buckets of a table or a table partition.
    pub bucket_count_max: i32,
    /// Replicas of a table that names none.
    pub default_replication_factor: i32,
    /// Servers that can hold replicas.
    pub tablet_servers: i32,
    /// The lake's format, if the cluster has a lake; every table records it, as clients hash by it.
    pub datalake_format: Option<DataLakeFormat>,
    /// Tables may be written to the lake.
    pub datalake_enabled: bool,
    /// Tables without a primary key may be made.
    pub allow_log_tables: bool,
    /// Tables with a primary key may be made.
    pub allow_primary_key_tables: bool,
    /// Zone of partitions by time for tables that name none.
    pub time_zone: String,
}

impl Default for ClusterLimits {
    /// One server without a lake, with the defaults of Fluss 1.0.0.
    fn default() -> Self {
        ClusterLimits {
            default_bucket_count: 1,
            bucket_count_max: 4096,
            default_replication_factor: 1,
            tablet_servers: 1,
            datalake_format: None,
            datalake_enabled: false,
            allow_log_tables: true,
            allow_primary_key_tables: true,
            time_zone: "UTC".to_owned(),
        }
    }
}

impl From<OptionError> for DescriptorError {
    fn from(error: OptionError) -> Self {
        DescriptorError::InvalidConfig(error.to_string())
    }
}

/// The table as it is to be stored: checked, with what the client left open filled in.
///
/// # Errors
/// The cluster does not take such a table.
pub fn validate_create(
    table: TableDescriptor,
    limits: &ClusterLimits,
) -> Result<TableDescriptor, DescriptorError> {
    let (allowed, kind) = match table.has_primary_key() {
        true => (limits.allow_primary_key_tables, "primary-key"),
        false => (limits.allow_log_tables, "log"),
    };
    if !allowed {
        return Err(table_error(format!(
            "creation of {kind} tables is disallowed in this cluster"
        )));
    }
    let mut table = table.normalise()?;
    check_options(&table)?;
    fill_in(&mut table, limits)?;
    check_table(&table, limits)?;
    Ok(table)
}

/// Fills in what the request left open.
fn fill_in(table: &mut TableDescriptor, limits: &ClusterLimits) -> Result<(), DescriptorError> {
    let config = TableConfig::parse(&table.properties)?;
    table
        .bucket_count
        .get_or_insert(limits.default_bucket_count);
    let mut fill = |key: &str, value: String| {
        table.properties.entry(key.to_owned()).or_insert(value);
    };
    fill(
        keys::REPLICATION_FACTOR,
        limits.default_replication_factor.to_string(),
    );
    if let Some(format) = limits.datalake_format {
        fill(keys::DATALAKE_FORMAT, format.to_string());
    }
    if config.auto_partition.enabled && table.partition_keys.len() > 1 {
        // Only the time is known ahead, not the values of the other keys.
        fill(keys::AUTO_PARTITION_NUM_PRECREATE, "0".to_owned());
    }
    if !table.schema.primary_key.is_empty() {
        fill(keys::KV_FORMAT_VERSION, KV_FORMAT_VERSION.to_string());
        fill(keys::KV_STANDBY_REPLICA_ENABLED, "true".to_owned());
        if config.merge_engine.is_some() {
            fill(keys::DELETE_BEHAVIOR, DeleteBehavior::Ignore.to_string());
        }
    }
    store_time_zone(table, limits)
}

/// Stores the zone of partitions by time, if the table has none.
pub(super) fn store_time_zone(
    table: &mut TableDescriptor,
    limits: &ClusterLimits,
) -> Result<(), DescriptorError> {
    if table.is_partitioned()
        && TableConfig::parse(&table.properties)?
            .auto_partition
            .enabled
    {
        let zone = || limits.time_zone.clone();
        table
            .properties
            .entry(keys::AUTO_PARTITION_TIME_ZONE.to_owned())
            .or_insert_with(zone);
    }
    Ok(())
}

#[cfg(test)]
#[path = "create_tests.rs"]
pub(super) mod tests;
