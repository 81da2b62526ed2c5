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
    if let Some(policies) = policies_of(table) {
        let own = overrides.get(CLEANUP_POLICY);
        if !own.is_some_and(|own| policies.contains(&own.as_str())) {
            overrides.insert(CLEANUP_POLICY.to_owned(), policies[0].to_owned());
        }
    }
    overrides
}

/// The cleanup policies that a table may have which no Kafka client made, first the one that it has
/// unless another is set: its kind decides, not the broker's policy. Of an upserted table rows would
/// go with segments that retention cuts, for the log is what the index is made from; of an internal
/// log the newest record of a key counts. A log table may also keep its rows for ever, as the empty
/// policy says.
pub fn policies_of(table: &Table) -> Option<&'static [&'static str]> {
    match (table.origin, table.kind) {
        (Origin::Kafka, _) => None,
        (Origin::Fluss, TableKind::Log) => Some(&["delete", ""]),
        (Origin::Fluss, TableKind::PrimaryKey) | (Origin::Internal, _) => Some(&["compact"]),
    }
}

/// The settings of a table under Kafka's names.
pub fn settings_of(config: &Config, table: &Table) -> TopicConfig {
    let mut overrides = overrides_of(table);
    TopicConfig::new(config, &overrides).unwrap_or_else(|error| {
        // They were checked when they were set; an older version may have known other ones.
        tracing::warn!(table = %table.path, %error, "settings of a table do not hold, taking the defaults");
        // The policy stays where the kind decides: rows that are kept for ever are not cut because
        // another setting does not hold.
        overrides.retain(|name, _| name == CLEANUP_POLICY && policies_of(table).is_some());
        TopicConfig::new(config, &overrides)
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

#[cfg(test)]
mod tests {
    use protocol::ids::TableId;
    use storage::catalog::TablePath;

    use super::*;

    fn log_table(configs: &[(&str, &str)]) -> Table {
        let configs = configs.iter();
        Table {
            id: TableId::new(1),
            fluss_id: TableId::new(1),
            path: TablePath::new("fluss", "log"),
            topic: None,
            origin: Origin::Fluss,
            kind: TableKind::Log,
            schemas: Vec::new(),
            bucket_count: 1,
            bucket_count_epoch: 0,
            bucket_keys: Vec::new(),
            partition_keys: Vec::new(),
            properties: BTreeMap::new(),
            custom_properties: BTreeMap::new(),
            comment: None,
            kafka_configs: configs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            created_ms: 0,
            modified_ms: 0,
        }
    }

    #[test]
    fn rows_that_are_kept_for_ever_stay_when_another_setting_does_not_hold() {
        let deletes = |configs| settings_of(&Config::default(), &log_table(configs)).deletes;
        assert!(deletes(&[("retention.ms", "unfit")]));
        assert!(!deletes(&[("retention.ms", "unfit"), (CLEANUP_POLICY, "")]));
        // Of an older version, which took it.
        assert!(deletes(&[(CLEANUP_POLICY, "compact")]));
    }
}
