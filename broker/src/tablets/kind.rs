//! Topics that Kafka clients made: log tables, or with `cleanup.policy=compact` tables with a key.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::raw::raw_schema;
use storage::catalog::{
    AlterTableError, Catalog, KindChange, MapChanges, NewName, NewTable, Origin, StringMap, Table,
    TableChanges, TableKind,
};

use super::settings::settings_of;
use crate::config::{Config, TopicConfig};

/// The column that a compacted topic has its key in.
const KEY_COLUMN: &str = "key";
/// What Fluss clients are told of a compacted topic: a record is an upsert without its old row, and
/// how keys are encoded.
const PROPERTIES: [(&str, &str); 2] = [
    ("table.changelog.image", "WAL"),
    ("table.kv.format-version", "2"),
];

/// The table of a topic that is to be made with these settings.
pub fn new_topic(
    name: &str,
    partitions: u32,
    configs: StringMap,
    settings: &TopicConfig,
) -> NewTable {
    let compacts = settings.compacts;
    let name = NewName::Topic(name.to_owned());
    let mut new = NewTable::log(name, raw_schema(compacts), partitions);
    new.kafka_configs = configs;
    if compacts {
        new.kind = TableKind::PrimaryKey;
        new.bucket_keys = vec![KEY_COLUMN.to_owned()];
        let properties = PROPERTIES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        new.properties = BTreeMap::from(properties);
    }
    new
}

/// True for a topic that is compacted: a Kafka client made it, and its rows are found by key.
pub fn is_compacted(table: &Table) -> bool {
    (table.origin, table.kind) == (Origin::Kafka, TableKind::PrimaryKey)
}

/// Adds to `changes` what makes a topic the table that these settings want.
pub fn follow_policy(table: &Table, settings: &TopicConfig, changes: &mut TableChanges) {
    if table.origin != Origin::Kafka || is_compacted(table) == settings.compacts {
        return;
    }
    let compacts = settings.compacts;
    changes.kind = Some(KindChange {
        kind: match compacts {
            true => TableKind::PrimaryKey,
            false => TableKind::Log,
        },
        schema: raw_schema(compacts),
        bucket_keys: match compacts {
            true => vec![KEY_COLUMN.to_owned()],
            false => Vec::new(),
        },
    });
    let properties = PROPERTIES.map(|(name, value)| {
        let value = compacts.then(|| value.to_owned());
        (name.to_owned(), value)
    });
    changes.properties.extend(MapChanges::from(properties));
}

/// Makes every topic the table that its settings want: those that have no policy of their own follow
/// the broker's. Waits for the disk.
pub fn align_all(catalog: &Catalog, config: &Config) {
    let view = catalog.view();
    let astray: Vec<Arc<Table>> = view
        .tables()
        .filter(|table| wants_other_kind(config, table))
        .cloned()
        .collect();
    for table in astray {
        let decide = |table: &Table| {
            let mut changes = TableChanges::default();
            follow_policy(table, &settings_of(config, table), &mut changes);
            Ok::<_, AlterTableError>(changes)
        };
        match catalog.alter_table(table.id, decide) {
            Ok(altered) => {
                tracing::info!(table = %altered.path, kind = ?altered.kind, "a topic follows the broker's cleanup policy");
            }
            Err(error) => {
                tracing::warn!(table = %table.path, %error, "a topic cannot follow the broker's cleanup policy");
            }
        }
    }
}

fn wants_other_kind(config: &Config, table: &Table) -> bool {
    table.origin == Origin::Kafka && is_compacted(table) != settings_of(config, table).compacts
}
