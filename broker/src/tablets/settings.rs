//! What a table's settings and schemas are to its tablets.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::fluss::options::{ArrowCompression, TableConfig};
use protocol::raw::is_raw;
use storage::catalog::{Origin, Table, TableKind};
use storage::log::LogConfig;
use storage::log::cleaner::CompactionConfig;
use storage::tablet::{ArrowCodec, Columnar, TableShape};

use super::kind::is_compacted;
use crate::config::{CLEANUP_POLICY, Config, RetentionClock, TopicConfig};

/// What a table sets itself, under Kafka's names: what was set on the Kafka wire, what its Fluss
/// properties say, and the cleanup policy that it has because of its kind.
pub fn overrides_of(table: &Table) -> BTreeMap<String, String> {
    let mut overrides = table.kafka_configs.clone();
    for (property, value) in &table.properties {
        if let Some((name, value)) = TopicConfig::setting_of_property(property, value) {
            overrides.entry(name.to_owned()).or_insert(value);
        }
    }
    if let Some(policy) = fixed_policy(table) {
        overrides.insert(CLEANUP_POLICY.to_owned(), policy.to_owned());
    }
    overrides
}

/// The cleanup policy of a table that no Kafka client made: its kind has it, neither the broker's
/// policy nor anybody's wish. Of an upserted table rows would go with segments that retention cuts,
/// for the log is what the index is made from; of an internal log the newest record of a key counts.
pub fn fixed_policy(table: &Table) -> Option<&'static str> {
    match (table.origin, table.kind) {
        (Origin::Kafka, _) => None,
        (Origin::Fluss, TableKind::Log) => Some("delete"),
        (Origin::Fluss, TableKind::PrimaryKey) | (Origin::Internal, _) => Some("compact"),
    }
}

/// The settings of a table under Kafka's names.
pub fn settings_of(config: &Config, table: &Table) -> TopicConfig {
    TopicConfig::new(config, &overrides_of(table)).unwrap_or_else(|error| {
        // They were checked when they were set; an older version may have known other ones.
        tracing::warn!(table = %table.path, %error, "settings of a table do not hold, taking the defaults");
        let policy = fixed_policy(table).map(|policy| (CLEANUP_POLICY, policy));
        let policy = policy.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        TopicConfig::new(config, &policy.collect())
            .expect("a topic without settings of its own has the broker's, which were checked")
    })
}

/// True for a primary-key table that Fluss clients made: its log is a changelog.
pub fn is_upserted(table: &Table) -> bool {
    (table.origin, table.kind) == (Origin::Fluss, TableKind::PrimaryKey)
}

pub(super) fn log_config(config: &Config, settings: &TopicConfig, table: &Table) -> LogConfig {
    let clock = match table.origin {
        Origin::Fluss => RetentionClock::CommitTime,
        Origin::Kafka | Origin::Internal => RetentionClock::RecordTime,
    };
    let mut log = settings.log(clock, &config.producers());
    if table.origin == Origin::Internal {
        log.compaction = Some(internal_compaction());
    } else if is_upserted(table) {
        // The changelog is exact for `table.log.ttl`; what is older is compacted, not cut.
        log.compaction = settings.retention_ms.map(|ttl| CompactionConfig {
            lag_min_ms: ttl,
            lag_max_ms: None,
            delete_retention_ms: 0,
            ..settings.compaction
        });
    } else if !is_compacted(table) {
        // The cleaner asks the index of a topic: there is none before it is a table with a key.
        log.compaction = None;
    }
    log
}

/// Of internal logs the newest record of each key counts. Their coordinator replays them from its
/// checkpoint on, whose state a tombstone above it may have to correct: tombstones go with the log
/// start alone, which follows the checkpoint.
fn internal_compaction() -> CompactionConfig {
    CompactionConfig {
        dirty_ratio_min: 0.5,
        lag_min_ms: 0,
        lag_max_ms: None,
        delete_retention_ms: i64::MAX,
    }
}

/// The schemas and formats of a table.
pub(super) fn shape_of(table: &Table, settings: &TopicConfig) -> Arc<TableShape> {
    let latest = table.schema();
    let schemas = table
        .schemas
        .iter()
        .map(|s| (s.id, Arc::new(s.schema.clone())))
        .collect();
    let raw = is_raw(&latest.schema);
    // They were checked at creation; where a later version reads them differently, its defaults
    // are as good as any.
    let options = TableConfig::parse(&table.properties).unwrap_or_else(|error| {
        tracing::warn!(table = %table.path, %error, "options of a table do not hold, taking the defaults");
        TableConfig::parse(&BTreeMap::new()).expect("every option has a default")
    });
    let made_here = table.origin != Origin::Fluss;
    Arc::new(TableShape {
        schemas,
        latest: latest.id,
        raw,
        log_format: options.log_format,
        arrow_codec: match options.arrow_compression {
            ArrowCompression::None => ArrowCodec::None,
            ArrowCompression::Lz4Frame => ArrowCodec::Lz4,
            ArrowCompression::Zstd => ArrowCodec::Zstd(options.zstd_level),
        },
        columnar: match settings.columnar {
            crate::config::Columnar::Off => Columnar::Off,
            crate::config::Columnar::Lazy => Columnar::Lazy,
            crate::config::Columnar::Eager => Columnar::Eager,
        },
        key_columns: if made_here {
            vec!["key".to_owned()]
        } else if is_upserted(table) {
            latest.schema.primary_key.clone()
        } else {
            table.bucket_keys.clone()
        },
        statistics: options.statistics,
    })
}
