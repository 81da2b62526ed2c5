//! The JSON form of a table, and how its keys must fit together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::schema::{KEY_COLUMNS_MAX, SchemaJson, check_count};
use super::{DescriptorError, invalid, read_json, write_json};
use crate::schema::Schema;

const VERSION: i32 = 1;

/// A table as clients describe it. After [`TableDescriptor::normalise`], which reading does:
///
/// - partition keys are columns, and part of the primary key if there is one;
/// - bucket keys are columns, none of them a partition key; those of a primary-key table are part
///   of the primary key, by default all of it but the partition keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDescriptor {
    /// Columns and primary key.
    pub schema: Schema,
    /// Free text.
    pub comment: Option<String>,
    /// Columns whose values make a table partition; empty for a table without partitions.
    pub partition_keys: Vec<String>,
    /// Columns whose values choose the bucket; empty when the writer chooses.
    pub bucket_keys: Vec<String>,
    /// Buckets of the table or of each partition; unset until the server fills it in.
    pub bucket_count: Option<i32>,
    /// Options of the server, `table.*`.
    pub properties: BTreeMap<String, String>,
    /// Free keys of the user.
    pub custom_properties: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TableJson {
    #[serde(default)]
    version: i32,
    schema: SchemaJson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default)]
    partition_key: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket_key: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket_count: Option<i32>,
    #[serde(default, deserialize_with = "super::text::map")]
    properties: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "super::text::map")]
    custom_properties: BTreeMap<String, String>,
}

impl TableDescriptor {
    /// Reads and normalises a table.
    ///
    /// # Errors
    /// The JSON is no table, or its parts do not fit together.
    pub fn from_json(json: &[u8]) -> Result<Self, DescriptorError> {
        let json: TableJson = read_json(json, "table descriptor")?;
        let table = TableDescriptor {
            schema: json.schema.into_schema()?,
            comment: json.comment,
            partition_keys: json.partition_key,
            bucket_keys: json.bucket_key.unwrap_or_default(),
            bucket_count: json.bucket_count,
            properties: json.properties,
            custom_properties: json.custom_properties,
        };
        table.normalise()
    }

    /// Writes the table.
    pub fn to_json(&self) -> Vec<u8> {
        let distributed = self.bucket_count.is_some() || !self.bucket_keys.is_empty();
        write_json(&TableJson {
            version: VERSION,
            schema: SchemaJson::from(&self.schema),
            comment: self.comment.clone(),
            partition_key: self.partition_keys.clone(),
            bucket_key: distributed.then(|| self.bucket_keys.clone()),
            bucket_count: self.bucket_count,
            properties: self.properties.clone(),
            custom_properties: self.custom_properties.clone(),
        })
    }

    /// Checks the keys and fills in the bucket keys of a primary-key table.
    ///
    /// # Errors
    /// The keys do not fit together.
    pub fn normalise(mut self) -> Result<Self, DescriptorError> {
        for (what, keys) in [
            ("partition", &self.partition_keys),
            ("bucket", &self.bucket_keys),
        ] {
            check_count(&format!("{what} keys"), keys.len(), KEY_COLUMNS_MAX)?;
            for (at, name) in keys.iter().enumerate() {
                if self.schema.position(name).is_none() {
                    return Err(invalid(format!("{what} key '{name}' is not in the schema")));
                }
                if keys[..at].contains(name) {
                    return Err(invalid(format!("{what} key '{name}' stands twice")));
                }
            }
        }
        if let Some(name) = self
            .bucket_keys
            .iter()
            .find(|name| self.partition_keys.contains(name))
        {
            return Err(invalid(format!("bucket key '{name}' is a partition key")));
        }
        if !self.has_primary_key() {
            return Ok(self);
        }
        let primary_key = &self.schema.primary_key;
        for (what, keys) in [
            ("partition", &self.partition_keys),
            ("bucket", &self.bucket_keys),
        ] {
            if let Some(name) = keys.iter().find(|name| !primary_key.contains(name)) {
                return Err(invalid(format!(
                    "{what} key '{name}' of a primary-key table is not in the primary key {primary_key:?}"
                )));
            }
        }
        if self.bucket_keys.is_empty() {
            self.bucket_keys = self.physical_primary_key();
        }
        if self.bucket_keys.is_empty() {
            return Err(invalid(
                "the primary key has no columns but the partition keys",
            ));
        }
        Ok(self)
    }

    /// True for a primary-key table.
    pub fn has_primary_key(&self) -> bool {
        !self.schema.primary_key.is_empty()
    }

    /// True when the table has partitions.
    pub fn is_partitioned(&self) -> bool {
        !self.partition_keys.is_empty()
    }

    /// The primary key without the partition keys: what tells rows of one partition apart.
    pub fn physical_primary_key(&self) -> Vec<String> {
        let in_bucket = |name: &&String| !self.partition_keys.contains(name);
        self.schema
            .primary_key
            .iter()
            .filter(in_bucket)
            .cloned()
            .collect()
    }

    /// True when the bucket follows from the whole primary key, or is free in a log table.
    pub fn has_default_bucket_keys(&self) -> bool {
        self.bucket_keys == self.physical_primary_key()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fluss::error::ErrorCode;

    /// A table of columns a, b, c with the rest of its JSON.
    fn table(schema: &str, rest: &str) -> Result<TableDescriptor, DescriptorError> {
        let column =
            |name: &str| format!(r#"{{"name":"{name}","data_type":{{"type":"INTEGER"}}}}"#);
        let columns = ["a", "b", "c"].map(column).join(",");
        let json = format!(
            r#"{{"version":1,"schema":{{"columns":[{columns}]{schema}}},{rest}"properties":{{}},"custom_properties":{{}}}}"#
        );
        TableDescriptor::from_json(json.as_bytes())
    }

    #[track_caller]
    fn refused(schema: &str, rest: &str, reason: &str) {
        let error = table(schema, rest).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidTable);
        assert!(error.to_string().contains(reason), "{error}");
    }

    #[test]
    fn what_java_writes_is_read_and_written_alike() {
        for golden in [
            &include_bytes!("../golden/table_plain.json")[..],
            include_bytes!("../golden/table_log_all_types.json"),
        ] {
            let written = TableDescriptor::from_json(golden).unwrap().to_json();
            assert_eq!(
                String::from_utf8(written),
                String::from_utf8(golden.to_vec())
            );
        }
        // Java keeps properties in no order.
        let golden = include_bytes!("../golden/table_pk_partitioned.json");
        let table = TableDescriptor::from_json(golden).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&table.to_json()).unwrap();
        assert_eq!(
            written,
            serde_json::from_slice::<serde_json::Value>(golden).unwrap()
        );
        assert_eq!(table.physical_primary_key(), ["id"]);
        assert!(table.has_default_bucket_keys());
    }

    #[test]
    fn a_primary_key_table_is_distributed_by_its_key() {
        let log = table("", "").unwrap();
        assert!(log.bucket_keys.is_empty() && log.has_default_bucket_keys());
        let keyed = table(r#","primary_key":["a","b"]"#, r#""partition_key":["b"],"#).unwrap();
        assert_eq!(keyed.bucket_keys, ["a"]);
        let chosen = table(
            r#","primary_key":["a","b"]"#,
            r#""bucket_key":["b"],"bucket_count":4,"#,
        )
        .unwrap();
        assert_eq!(
            (chosen.bucket_keys.as_slice(), chosen.bucket_count),
            (&["b".to_owned()][..], Some(4))
        );
        assert!(!chosen.has_default_bucket_keys());
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        refused(
            "",
            r#""partition_key":["x"],"#,
            "partition key 'x' is not in the schema",
        );
        refused("", r#""partition_key":["a","a"],"#, "'a' stands twice");
        refused(
            "",
            r#""bucket_key":["x"],"#,
            "bucket key 'x' is not in the schema",
        );
        refused(
            "",
            r#""partition_key":["a"],"bucket_key":["a"],"#,
            "is a partition key",
        );
        refused(
            r#","primary_key":["a"]"#,
            r#""partition_key":["b"],"#,
            "is not in the primary key",
        );
        refused(
            r#","primary_key":["a"]"#,
            r#""bucket_key":["b"],"#,
            "is not in the primary key",
        );
        refused(
            r#","primary_key":["a"]"#,
            r#""partition_key":["a"],"#,
            "no columns but the partition keys",
        );
        refused(
            "",
            r#""bucket_count":"many","#,
            "failed to parse table descriptor",
        );
    }

    #[test]
    fn texts_that_are_too_large_are_refused_unread() {
        let json = vec![b' '; super::super::JSON_BYTES_MAX + 1];
        assert!(matches!(
            TableDescriptor::from_json(&json),
            Err(DescriptorError::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn damaged_tables_never_panic(at in 0usize..2000, byte in any::<u8>()) {
            let mut json = include_bytes!("../golden/table_pk_partitioned.json").to_vec();
            let at = at % json.len();
            json[at] = byte;
            let _ = TableDescriptor::from_json(&json);
        }

        #[test]
        fn tables_survive_their_json(
            count in proptest::option::of(1i32..5000),
            properties in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..4),
            comment in proptest::option::of(".{0,20}"),
        ) {
            let table = TableDescriptor {
                bucket_count: count, comment, properties: properties.clone(), custom_properties: properties,
                ..table(r#","primary_key":["a","b"]"#, r#""partition_key":["b"],"#).unwrap()
            };
            prop_assert_eq!(TableDescriptor::from_json(&table.to_json()), Ok(table));
        }
    }
}
