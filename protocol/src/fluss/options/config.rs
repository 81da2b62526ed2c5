//! The options of a table as typed values.

use std::time::Duration;

use super::{
    ArrowCompression, ChangelogImage, DataLakeFormat, DeleteBehavior, KvFormat, LogFormat,
    MergeEngine, OptionError, Properties, TimeUnit, boolean, find, java_number, keys,
    parse_duration,
};

/// All options of a table, defaults filled in. Keys that are no options are passed over: answers
/// to clients carry the lake's settings among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableConfig {
    /// Replicas; unset only before creation.
    pub replication_factor: Option<i32>,
    /// Layout of log batches.
    pub log_format: LogFormat,
    /// Codec of Arrow batches that the server writes.
    pub arrow_compression: ArrowCompression,
    /// Level of ZSTD.
    pub zstd_level: i32,
    /// Layout of rows in the index.
    pub kv_format: KvFormat,
    /// Encoding of keys; unset in tables of older servers, which is 1.
    pub kv_format_version: Option<i32>,
    /// Layout of values in snapshots.
    pub kv_value_layout_version: Option<i32>,
    /// Without meaning on one server.
    pub kv_standby_replica: Option<bool>,
    /// Expiry of rows.
    pub kv_ttl: Option<Duration>,
    /// Partitions by time.
    pub auto_partition: AutoPartitionConfig,
    /// Age at which segments go; zero keeps them for ever.
    pub log_ttl: Duration,
    /// Segments kept locally beside the remote log.
    pub log_local_segments: i32,
    /// Age at which segments go locally.
    pub log_local_ttl: Option<Duration>,
    /// Written to the lake.
    pub datalake_enabled: bool,
    /// Expired partitions are looked up in the lake.
    pub datalake_historical_partition: bool,
    /// Format of the lake; also set when the lake is not enabled.
    pub datalake_format: Option<DataLakeFormat>,
    /// Name of the database in the lake, where it differs.
    pub datalake_database: Option<String>,
    /// Name of the table in the lake, where it differs.
    pub datalake_table: Option<String>,
    /// How far the lake may lag behind.
    pub datalake_freshness: Duration,
    /// Compact while writing.
    pub datalake_auto_compaction: bool,
    /// Expire snapshots while writing.
    pub datalake_auto_expire_snapshot: bool,
    /// Unset: the new row wins.
    pub merge_engine: Option<MergeEngine>,
    /// Column of [`MergeEngine::Versioned`].
    pub version_column: Option<String>,
    /// Unset: deletes are allowed.
    pub delete_behavior: Option<DeleteBehavior>,
    /// Numbers that a bucket takes at once.
    pub auto_increment_cache_size: i64,
    /// What a changelog holds.
    pub changelog_image: ChangelogImage,
    /// Statistics in log batches.
    pub statistics: StatisticsColumns,
}

/// The `table.auto-partition.*` options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoPartitionConfig {
    /// Partitions are created and dropped by time.
    pub enabled: bool,
    /// The time column; unset with one partition key.
    pub key: Option<String>,
    /// The time that a partition spans.
    pub time_unit: TimeUnit,
    /// Pattern of values; unset: the digits of the unit.
    pub time_format: Option<String>,
    /// Name of the zone; unset in tables of older servers.
    pub time_zone: Option<String>,
    /// Partitions from now on, the current one included.
    pub num_precreate: i32,
    /// Past partitions to keep; negative keeps all.
    pub num_retention: i32,
}

/// Which columns have statistics in log batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatisticsColumns {
    /// None.
    Disabled,
    /// Every column of a type that supports it.
    All,
    /// These.
    Named(Vec<String>),
}

impl TableConfig {
    /// Reads the options of a table.
    ///
    /// # Errors
    /// A value does not fit its option.
    pub fn parse(properties: &Properties) -> Result<Self, OptionError> {
        let options = Reader { properties };
        Ok(TableConfig {
            replication_factor: options.int(keys::REPLICATION_FACTOR)?,
            log_format: options
                .choice(keys::LOG_FORMAT, LogFormat::from_text)?
                .unwrap_or(LogFormat::Arrow),
            arrow_compression: options
                .choice(
                    keys::LOG_ARROW_COMPRESSION_TYPE,
                    ArrowCompression::from_text,
                )?
                .unwrap_or(ArrowCompression::Zstd),
            zstd_level: options
                .int(keys::LOG_ARROW_COMPRESSION_ZSTD_LEVEL)?
                .unwrap_or(3),
            kv_format: options
                .choice(keys::KV_FORMAT, KvFormat::from_text)?
                .unwrap_or(KvFormat::Compacted),
            kv_format_version: options.int(keys::KV_FORMAT_VERSION)?,
            kv_value_layout_version: options.int(keys::KV_VALUE_LAYOUT_VERSION)?,
            kv_standby_replica: options.bool(keys::KV_STANDBY_REPLICA_ENABLED)?,
            kv_ttl: options.duration(keys::KV_TTL)?,
            auto_partition: AutoPartitionConfig {
                enabled: options.bool(keys::AUTO_PARTITION_ENABLED)?.unwrap_or(false),
                key: options
                    .text(keys::AUTO_PARTITION_KEY)
                    .filter(|key| !key.trim().is_empty()),
                time_unit: options
                    .choice(keys::AUTO_PARTITION_TIME_UNIT, TimeUnit::from_text)?
                    .unwrap_or(TimeUnit::Day),
                time_format: options.text(keys::AUTO_PARTITION_TIME_FORMAT),
                time_zone: options.text(keys::AUTO_PARTITION_TIME_ZONE),
                num_precreate: options
                    .int(keys::AUTO_PARTITION_NUM_PRECREATE)?
                    .unwrap_or(2),
                num_retention: options
                    .int(keys::AUTO_PARTITION_NUM_RETENTION)?
                    .unwrap_or(7),
            },
            log_ttl: options
                .duration(keys::LOG_TTL)?
                .unwrap_or(Duration::from_secs(7 * 86_400)),
            log_local_segments: options.int(keys::LOG_TIERED_LOCAL_SEGMENTS)?.unwrap_or(2),
            log_local_ttl: options.duration(keys::LOG_LOCAL_TTL)?,
            datalake_enabled: options.bool(keys::DATALAKE_ENABLED)?.unwrap_or(false),
            datalake_historical_partition: options
                .bool(keys::DATALAKE_HISTORICAL_PARTITION_ENABLED)?
                .unwrap_or(false),
            datalake_format: options.choice(keys::DATALAKE_FORMAT, DataLakeFormat::from_text)?,
            datalake_database: options.text(keys::DATALAKE_DATABASE_NAME),
            datalake_table: options.text(keys::DATALAKE_TABLE_NAME),
            datalake_freshness: options
                .duration(keys::DATALAKE_FRESHNESS)?
                .unwrap_or(Duration::from_secs(180)),
            datalake_auto_compaction: options
                .bool(keys::DATALAKE_AUTO_COMPACTION)?
                .unwrap_or(false),
            datalake_auto_expire_snapshot: options
                .bool(keys::DATALAKE_AUTO_EXPIRE_SNAPSHOT)?
                .unwrap_or(false),
            merge_engine: options.choice(keys::MERGE_ENGINE, MergeEngine::from_text)?,
            version_column: options.text(keys::MERGE_ENGINE_VERSION_COLUMN),
            delete_behavior: options.choice(keys::DELETE_BEHAVIOR, DeleteBehavior::from_text)?,
            auto_increment_cache_size: options
                .long(keys::AUTO_INCREMENT_CACHE_SIZE)?
                .unwrap_or(100_000),
            changelog_image: options
                .choice(keys::CHANGELOG_IMAGE, ChangelogImage::from_text)?
                .unwrap_or(ChangelogImage::Full),
            statistics: statistics(options.text(keys::STATISTICS_COLUMNS)),
        })
    }
}

fn statistics(value: Option<String>) -> StatisticsColumns {
    match value.as_deref().map(str::trim) {
        None => StatisticsColumns::Disabled,
        Some("*") => StatisticsColumns::All,
        Some(list) => StatisticsColumns::Named(
            list.split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        ),
    }
}

struct Reader<'a> {
    properties: &'a Properties,
}

impl Reader<'_> {
    fn text(&self, key: &str) -> Option<String> {
        self.properties.get(key).cloned()
    }

    fn read<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, OptionError> {
        let Some(value) = self.properties.get(key) else {
            return Ok(None);
        };
        match read(value) {
            Ok(value) => Ok(Some(value)),
            Err(reason) => Err(OptionError {
                key: key.into(),
                value: value.clone(),
                reason,
            }),
        }
    }

    fn int(&self, key: &str) -> Result<Option<i32>, OptionError> {
        self.read(key, java_number)
    }

    fn long(&self, key: &str) -> Result<Option<i64>, OptionError> {
        self.read(key, java_number)
    }

    fn bool(&self, key: &str) -> Result<Option<bool>, OptionError> {
        self.read(key, boolean)
    }

    fn duration(&self, key: &str) -> Result<Option<Duration>, OptionError> {
        self.read(key, |value| {
            parse_duration(value).map_err(|error| error.to_string())
        })
    }

    fn choice<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, OptionError> {
        let Some(value) = self.properties.get(key) else {
            return Ok(None);
        };
        match (read(value), find(key)) {
            (None, Some(option)) => option.check(value).map(|()| None),
            (chosen, _) => Ok(chosen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::TABLE_OPTIONS;
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<TableConfig, OptionError> {
        TableConfig::parse(
            &pairs
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
        )
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let spelled = TABLE_OPTIONS
            .iter()
            .filter_map(|option| Some((option.key, option.default?)))
            .filter(|(key, _)| *key != keys::DELETE_BEHAVIOR)
            .collect::<Vec<_>>();
        assert_eq!(parse(&[]), parse(&spelled));
    }

    #[test]
    fn values_are_typed() {
        let config = parse(&[
            (keys::LOG_FORMAT, "indexed"),
            (keys::LOG_TTL, "0 ms"),
            (keys::MERGE_ENGINE, "first_row"),
            (keys::STATISTICS_COLUMNS, " a, b,,"),
            (keys::AUTO_PARTITION_KEY, "  "),
            ("table.datalake.paimon.warehouse", "/tmp"),
        ])
        .unwrap();
        assert_eq!(config.log_format, LogFormat::Indexed);
        assert_eq!(config.log_ttl, Duration::ZERO);
        assert_eq!(config.merge_engine, Some(MergeEngine::FirstRow));
        assert_eq!(
            config.statistics,
            StatisticsColumns::Named(vec!["a".into(), "b".into()])
        );
        assert_eq!(config.auto_partition.key, None);
        assert_eq!(
            parse(&[(keys::STATISTICS_COLUMNS, "*")])
                .unwrap()
                .statistics,
            StatisticsColumns::All
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_named() {
        let error = parse(&[(keys::MERGE_ENGINE, "last")]).unwrap_err();
        assert_eq!(error.key, keys::MERGE_ENGINE);
        let error = parse(&[(keys::LOG_TTL, "7")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "value '7' of option 'table.log.ttl' has no unit, such as ms, s, min, h or d"
        );
    }
}
