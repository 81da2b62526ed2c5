//! A table of the catalog as Fluss describes it.

use std::time::Duration;

use protocol::fluss::descriptor::TableDescriptor;
use protocol::fluss::options::{format_duration, keys};
use storage::catalog::{MapChanges, Origin, StringMap, Table};

use crate::tablets::Tablets;

/// The custom property that shows the table's name on the Kafka wire. It is made when a table is
/// described and never stored, so that a copied description claims nothing.
pub const TOPIC_PROPERTY: &str = "vltava.topic";

/// The table as it was made or altered: what rules are applied to.
pub fn stored_descriptor(table: &Table) -> TableDescriptor {
    TableDescriptor {
        schema: table.schema().schema.clone(),
        comment: table.comment.clone(),
        partition_keys: table.partition_keys.clone(),
        bucket_keys: table.bucket_keys.clone(),
        bucket_count: Some(i32::try_from(table.bucket_count).unwrap_or(i32::MAX)),
        properties: table.properties.clone(),
        custom_properties: table.custom_properties.clone(),
    }
}

/// The table as clients see it: a topic of Kafka clients has its settings under Fluss's names, and
/// every topic shows its name.
pub fn shown_descriptor(table: &Table, tablets: &Tablets) -> TableDescriptor {
    let mut shown = stored_descriptor(table);
    if table.origin != Origin::Fluss {
        let settings = tablets.settings_of(table);
        let age = settings.retention_ms.filter(|_| settings.deletes);
        let age = age.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
        let mut fill = |key: &str, value: String| {
            shown.properties.entry(key.to_owned()).or_insert(value);
        };
        fill(keys::REPLICATION_FACTOR, "1".to_owned());
        fill(keys::LOG_TTL, format_duration(Duration::from_millis(age)));
    }
    if let Some(topic) = &table.topic {
        shown
            .custom_properties
            .insert(TOPIC_PROPERTY.to_owned(), topic.name.clone());
    }
    shown
}

/// What leads from one map to another.
pub fn changes(before: &StringMap, after: &StringMap) -> MapChanges {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), None));
    let set = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value));
    let set = set.map(|(key, value)| (key.clone(), Some(value.clone())));
    gone.chain(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_what_was_set_and_what_is_gone() {
        let map = |pairs: &[(&str, &str)]| -> StringMap {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let found = changes(
            &map(&[("a", "1"), ("b", "2"), ("c", "3")]),
            &map(&[("a", "1"), ("b", "9"), ("d", "4")]),
        );
        let expected: MapChanges = [("b", Some("9")), ("c", None), ("d", Some("4"))]
            .map(|(k, v)| (k.to_owned(), v.map(str::to_owned)))
            .into();
        assert_eq!(found, expected);
    }
}
