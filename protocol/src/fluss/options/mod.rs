//! The `table.*` options: one table of them, their typed values, and the rules by which a table
//! may be made ([`validate_create`]) and changed ([`apply_alter`]).
//!
//! Source: Fluss `config/ConfigOptions.java`; defaults were read out of the client jar of 1.0.0.

mod aggregation;
mod alter;
mod choices;
mod config;
mod create;
mod rules;
mod units;

use std::collections::BTreeMap;

use thiserror::Error;

pub use aggregation::check_function;
pub use alter::{Altered, OptionChange, TableAlteration, apply_alter};
pub use choices::{
    ArrowCompression, ChangelogImage, DataLakeFormat, DeleteBehavior, KvFormat, LogFormat,
    MergeEngine, TimeUnit,
};
pub use config::{AutoPartitionConfig, StatisticsColumns, TableConfig};
pub use create::{ClusterLimits, KV_FORMAT_VERSION, validate_create};
pub use units::{UnitError, format_duration, parse_bytes, parse_duration};

/// Options of the server begin so; other keys are the user's own.
pub const TABLE_PREFIX: &str = "table.";

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableOption {
    /// Its key.
    pub key: &'static str,
    /// What its values are.
    pub kind: OptionKind,
    /// The value when it is not set, as text; `None` when its absence means something.
    pub default: Option<&'static str>,
    /// May be changed after creation.
    pub alterable: bool,
    /// The first version of Fluss whose clients know it.
    pub since: Since,
    /// What it does.
    pub doc: &'static str,
}

/// What values of an option are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// A 32-bit number.
    Int,
    /// A 64-bit number.
    Long,
    /// `true` or `false`.
    Bool,
    /// Any text.
    Text,
    /// A number and a unit of time.
    Duration,
    /// One of these texts, in any case.
    Choice(&'static [&'static str]),
}

/// A version line of Fluss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Since {
    /// 0.9 or before.
    V0_9,
    /// 1.0.
    V1_0,
}

/// A value does not fit its option.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("value '{value}' of option '{key}' {reason}")]
pub struct OptionError {
    /// The option.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What is wrong.
    pub reason: String,
}

/// The row of a key, if it is a known option.
pub fn find(key: &str) -> Option<&'static TableOption> {
    TABLE_OPTIONS.iter().find(|option| option.key == key)
}

impl TableOption {
    /// Checks that a value can be read.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(&self, value: &str) -> Result<(), OptionError> {
        let reason = match self.kind {
            OptionKind::Int => java_number::<i32>(value).err(),
            OptionKind::Long => java_number::<i64>(value).err(),
            OptionKind::Bool => boolean(value).err(),
            OptionKind::Text => None,
            OptionKind::Duration => parse_duration(value).err().map(|error| error.to_string()),
            OptionKind::Choice(texts) => {
                let known = texts.iter().any(|text| text.eq_ignore_ascii_case(value));
                (!known).then(|| format!("is none of {}", texts.join(", ")))
            }
        };
        match reason {
            Some(reason) => Err(OptionError {
                key: self.key.into(),
                value: value.into(),
                reason,
            }),
            None => Ok(()),
        }
    }
}

/// A number as Java's parser takes it: ASCII digits with an optional sign, no blanks.
fn java_number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| "is no number, or too large".to_owned())
}

fn boolean(value: &str) -> Result<bool, String> {
    match value {
        _ if value.eq_ignore_ascii_case("true") => Ok(true),
        _ if value.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

/// Options by key, as descriptors hold them.
pub type Properties = BTreeMap<String, String>;

/// Names of keys, for rules and for those who write them.
#[allow(missing_docs, reason = "see the table of options")]
pub mod keys {
    pub const REPLICATION_FACTOR: &str = "table.replication.factor";
    pub const LOG_FORMAT: &str = "table.log.format";
    pub const LOG_ARROW_COMPRESSION_TYPE: &str = "table.log.arrow.compression.type";
    pub const LOG_ARROW_COMPRESSION_ZSTD_LEVEL: &str = "table.log.arrow.compression.zstd.level";
    pub const KV_FORMAT: &str = "table.kv.format";
    pub const KV_FORMAT_VERSION: &str = "table.kv.format-version";
    pub const KV_VALUE_LAYOUT_VERSION: &str = "table.kv.value-layout-version";
    pub const KV_STANDBY_REPLICA_ENABLED: &str = "table.kv.standby-replica.enabled";
    pub const KV_TTL: &str = "table.kv.ttl";
    pub const KV_TTL_TIME_COLUMN: &str = "table.kv.ttl.time-column";
    pub const AUTO_PARTITION_ENABLED: &str = "table.auto-partition.enabled";
    pub const AUTO_PARTITION_KEY: &str = "table.auto-partition.key";
    pub const AUTO_PARTITION_TIME_UNIT: &str = "table.auto-partition.time-unit";
    pub const AUTO_PARTITION_TIME_FORMAT: &str = "table.auto-partition.time-format";
    pub const AUTO_PARTITION_TIME_ZONE: &str = "table.auto-partition.time-zone";
    pub const AUTO_PARTITION_NUM_PRECREATE: &str = "table.auto-partition.num-precreate";
    pub const AUTO_PARTITION_NUM_RETENTION: &str = "table.auto-partition.num-retention";
    pub const LOG_TTL: &str = "table.log.ttl";
    pub const LOG_TIERED_LOCAL_SEGMENTS: &str = "table.log.tiered.local-segments";
    pub const LOG_LOCAL_TTL: &str = "table.log.local-ttl";
    pub const DATALAKE_ENABLED: &str = "table.datalake.enabled";
    pub const DATALAKE_HISTORICAL_PARTITION_ENABLED: &str =
        "table.datalake.historical-partition.enabled";
    pub const DATALAKE_FORMAT: &str = "table.datalake.format";
    pub const DATALAKE_DATABASE_NAME: &str = "table.datalake.database-name";
    pub const DATALAKE_TABLE_NAME: &str = "table.datalake.table-name";
    pub const DATALAKE_FRESHNESS: &str = "table.datalake.freshness";
    pub const DATALAKE_AUTO_COMPACTION: &str = "table.datalake.auto-compaction";
    pub const DATALAKE_AUTO_EXPIRE_SNAPSHOT: &str = "table.datalake.auto-expire-snapshot";
    pub const MERGE_ENGINE: &str = "table.merge-engine";
    pub const MERGE_ENGINE_VERSION_COLUMN: &str = "table.merge-engine.versioned.ver-column";
    pub const DELETE_BEHAVIOR: &str = "table.delete.behavior";
    pub const AUTO_INCREMENT_CACHE_SIZE: &str = "table.auto-increment.cache-size";
    pub const CHANGELOG_IMAGE: &str = "table.changelog.image";
    pub const STATISTICS_COLUMNS: &str = "table.statistics.columns";
}

const fn row(
    key: &'static str,
    kind: OptionKind,
    default: Option<&'static str>,
    alterable: bool,
    since: Since,
    doc: &'static str,
) -> TableOption {
    TableOption {
        key,
        kind,
        default,
        alterable,
        since,
        doc,
    }
}

use OptionKind::{Bool, Choice, Duration, Int, Long, Text};
use Since::{V0_9, V1_0};

/// All options that a table may have.
#[rustfmt::skip]
pub static TABLE_OPTIONS: &[TableOption] = &[
    row(keys::REPLICATION_FACTOR, Int, None, false, V0_9, "Replicas of each bucket; filled in at creation."),
    row(keys::LOG_FORMAT, Choice(LogFormat::TEXTS), Some("ARROW"), false, V0_9, "Layout of log batches."),
    row(keys::LOG_ARROW_COMPRESSION_TYPE, Choice(ArrowCompression::TEXTS), Some("ZSTD"), false, V0_9, "Codec that writers of Arrow batches use."),
    row(keys::LOG_ARROW_COMPRESSION_ZSTD_LEVEL, Int, Some("3"), false, V0_9, "Level of ZSTD, 1 to 22."),
    row(keys::KV_FORMAT, Choice(KvFormat::TEXTS), Some("COMPACTED"), false, V0_9, "Layout of rows in the index of a primary-key table."),
    row(keys::KV_FORMAT_VERSION, Int, None, false, V0_9, "Chooses the encoding of keys; filled in at creation with 2."),
    row(keys::KV_VALUE_LAYOUT_VERSION, Int, None, false, V1_0, "Layout of values in snapshots; not served."),
    row(keys::KV_STANDBY_REPLICA_ENABLED, Bool, None, true, V1_0, "Keeps a warm replica of an index; without meaning on one server."),
    row(keys::KV_TTL, Duration, None, false, V1_0, "Expiry of rows in an index; not served."),
    row(keys::KV_TTL_TIME_COLUMN, Text, None, false, V1_0, "Column that rows expire by; not served."),
    row(keys::AUTO_PARTITION_ENABLED, Bool, Some("false"), true, V0_9, "Creates and drops partitions by time."),
    row(keys::AUTO_PARTITION_KEY, Text, None, false, V0_9, "The time column, needed with several partition keys."),
    row(keys::AUTO_PARTITION_TIME_UNIT, Choice(TimeUnit::TEXTS), Some("DAY"), false, V0_9, "The time that one partition spans."),
    row(keys::AUTO_PARTITION_TIME_FORMAT, Text, None, false, V1_0, "Pattern of partition values; by default the digits of the unit."),
    row(keys::AUTO_PARTITION_TIME_ZONE, Text, None, false, V0_9, "Zone of partition values; filled in at creation with the server's."),
    row(keys::AUTO_PARTITION_NUM_PRECREATE, Int, Some("2"), true, V0_9, "Partitions that exist from now on, the current one included."),
    row(keys::AUTO_PARTITION_NUM_RETENTION, Int, Some("7"), true, V0_9, "Past partitions that are kept; negative keeps all."),
    row(keys::LOG_TTL, Duration, Some("7 d"), true, V0_9, "Age at which log segments go; 0 keeps them."),
    row(keys::LOG_TIERED_LOCAL_SEGMENTS, Int, Some("2"), true, V0_9, "Segments kept locally after they were copied to the remote log."),
    row(keys::LOG_LOCAL_TTL, Duration, None, true, V1_0, "Age at which segments that are in the remote log go locally."),
    row(keys::DATALAKE_ENABLED, Bool, Some("false"), true, V0_9, "Writes the table to the lake."),
    row(keys::DATALAKE_HISTORICAL_PARTITION_ENABLED, Bool, Some("false"), true, V1_0, "Looks up expired partitions in the lake; not served."),
    row(keys::DATALAKE_FORMAT, Choice(DataLakeFormat::TEXTS), None, false, V0_9, "Table format of the lake; filled in at creation with the cluster's."),
    row(keys::DATALAKE_DATABASE_NAME, Text, None, true, V1_0, "Name of the database in the lake."),
    row(keys::DATALAKE_TABLE_NAME, Text, None, true, V1_0, "Name of the table in the lake."),
    row(keys::DATALAKE_FRESHNESS, Duration, Some("3 min"), true, V0_9, "How far the lake may lag behind."),
    row(keys::DATALAKE_AUTO_COMPACTION, Bool, Some("false"), true, V0_9, "Compacts the lake table while writing to it."),
    row(keys::DATALAKE_AUTO_EXPIRE_SNAPSHOT, Bool, Some("false"), false, V0_9, "Expires snapshots of the lake table while writing to it."),
    row(keys::MERGE_ENGINE, Choice(MergeEngine::TEXTS), None, false, V0_9, "How an upsert meets an existing row; by default the new row wins."),
    row(keys::MERGE_ENGINE_VERSION_COLUMN, Text, None, false, V0_9, "Column that merge engine VERSIONED compares."),
    row(keys::DELETE_BEHAVIOR, Choice(DeleteBehavior::TEXTS), Some("ALLOW"), false, V0_9, "What a delete does."),
    row(keys::AUTO_INCREMENT_CACHE_SIZE, Long, Some("100000"), false, V0_9, "Numbers that a bucket takes at once for its auto-increment column."),
    row(keys::CHANGELOG_IMAGE, Choice(ChangelogImage::TEXTS), Some("FULL"), false, V0_9, "What the changelog of an upsert holds."),
    row(keys::STATISTICS_COLUMNS, Text, None, true, V1_0, "Columns whose statistics writers put into batches: * or a list."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_defaults_fit() {
        assert_eq!(
            TABLE_OPTIONS.len(),
            34,
            "as many as in the client jar of 1.0.0"
        );
        for (at, option) in TABLE_OPTIONS.iter().enumerate() {
            assert!(option.key.starts_with(TABLE_PREFIX));
            assert!(
                TABLE_OPTIONS[..at]
                    .iter()
                    .all(|other| other.key != option.key),
                "{}",
                option.key
            );
            if let Some(default) = option.default {
                assert_eq!(option.check(default), Ok(()), "{}", option.key);
            }
        }
        assert_eq!(
            TABLE_OPTIONS
                .iter()
                .filter(|option| option.alterable)
                .count(),
            14
        );
    }

    #[test]
    fn values_must_fit_their_kind() {
        let check = |key: &str, value: &str| find(key).unwrap().check(value);
        assert!(check(keys::REPLICATION_FACTOR, "3").is_ok());
        assert!(check(keys::REPLICATION_FACTOR, "three").is_err());
        assert!(check(keys::REPLICATION_FACTOR, " 3").is_err());
        assert!(check(keys::REPLICATION_FACTOR, "3000000000").is_err());
        assert!(check(keys::AUTO_INCREMENT_CACHE_SIZE, "3000000000").is_ok());
        assert!(check(keys::DATALAKE_ENABLED, "TRUE").is_ok());
        assert!(check(keys::DATALAKE_ENABLED, "yes").is_err());
        assert!(check(keys::LOG_TTL, "7").is_err());
        let error = check(keys::LOG_FORMAT, "parquet").unwrap_err();
        assert_eq!(
            error.to_string(),
            "value 'parquet' of option 'table.log.format' is none of ARROW, INDEXED, COMPACTED"
        );
    }
}
