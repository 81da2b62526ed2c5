//! The catalog's records as bytes.
//!
//! ```text
//!  byte 0      version: 1
//!  bytes 1..5  CRC-32C, little endian, of the key followed by the payload
//!  bytes 5..   payload: JSON
//! ```
//!
//! Keys: `meta`, `counter/<name>`, `database/<name>`, `table/<id>`, `partition/<id>`,
//! `dropped/<table>` and `dropped/<table>/<partition>`, `row-numbers/<table>`, `settings/all` and
//! `settings/<node>`, `producer-offsets/<name>`, `kv-snapshots/<table>/<bucket>`, `kv-snapshots/<table>/<partition>/<bucket>`,
//! `kv-lease/<lease>`. Fields are only ever added, with a default; a change of meaning is a new
//! version. The page is `docs/formats/catalog.md`.

use protocol::fluss::descriptor::{schema_from_json, schema_to_json};
use protocol::ids::{SchemaId, TableId, TablePartitionId};
use protocol::schema::NumberedSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::{
    Database, Dropped, Origin, StringMap, Table, TableKind, TablePartition, TopicName,
};
use super::names::TablePath;
use super::store::RecordChange;

const VERSION: u8 = 1;
const HEADER_LENGTH: usize = 5;

pub(super) const META_KEY: &str = "meta";
pub(super) const COUNTER_PREFIX: &str = "counter/";
pub(super) const DATABASE_PREFIX: &str = "database/";
pub(super) const TABLE_PREFIX: &str = "table/";
pub(super) const PARTITION_PREFIX: &str = "partition/";
pub(super) const DROPPED_PREFIX: &str = "dropped/";
pub(super) const ROW_NUMBERS_PREFIX: &str = "row-numbers/";
pub(super) const SETTINGS_PREFIX: &str = "settings/";
pub(super) const PRODUCER_OFFSETS_PREFIX: &str = "producer-offsets/";
pub(super) const KV_SNAPSHOTS_PREFIX: &str = "kv-snapshots/";
pub(super) const KV_LEASE_PREFIX: &str = "kv-lease/";

/// What is set once, when the cluster is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MetaRecord {
    pub(super) data_format: u32,
    pub(super) cluster_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DatabaseRecord {
    name: String,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    custom_properties: StringMap,
    created_ms: i64,
    modified_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct TopicRecord {
    name: String,
    #[serde(with = "uuid_text")]
    id: Uuid,
}

#[derive(Debug, Serialize, Deserialize)]
struct SchemaRecord {
    id: SchemaId,
    /// Fluss's schema JSON.
    schema: serde_json::Value,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TableRecord {
    id: TableId,
    /// Absent while it is `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fluss_id: Option<TableId>,
    database: String,
    name: String,
    #[serde(default)]
    topic: Option<TopicRecord>,
    origin: String,
    kind: String,
    schemas: Vec<SchemaRecord>,
    bucket_count: u32,
    #[serde(default)]
    bucket_count_epoch: u32,
    #[serde(default)]
    bucket_keys: Vec<String>,
    #[serde(default)]
    partition_keys: Vec<String>,
    #[serde(default)]
    properties: StringMap,
    #[serde(default)]
    custom_properties: StringMap,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    kafka_configs: StringMap,
    created_ms: i64,
    modified_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PartitionRecord {
    id: TablePartitionId,
    table: TableId,
    values: Vec<String>,
    topic: TopicRecord,
    bucket_count: u32,
    created_ms: i64,
    modified_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DroppedRecord {
    table: TableId,
    #[serde(default)]
    table_partition: Option<TablePartitionId>,
    bucket_count: u32,
    #[serde(with = "uuid_text")]
    topic_id: Uuid,
    dropped_ms: i64,
}

/// The hyphenated form.
mod uuid_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&id.hyphenated())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        Uuid::parse_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// The change that stores a record.
pub(super) fn put(key: String, record: &impl Serialize) -> RecordChange {
    let payload = serde_json::to_vec(record).expect("records have string keys and no own errors");
    let mut value = Vec::with_capacity(HEADER_LENGTH + payload.len());
    value.push(VERSION);
    value.extend_from_slice(&crc(&key, &payload).to_le_bytes());
    value.extend_from_slice(&payload);
    RecordChange::Put { key, value }
}

/// The change that stores a table; the reason, when it could not be read back as it is. Refusing
/// such a table now is better than a catalog that does not open later.
pub(super) fn put_table(table: &Table) -> Result<RecordChange, String> {
    let record = TableRecord::from(table);
    let change = put(table_key(table.id), &record);
    if Table::try_from(record)? != *table {
        return Err("the schema is not in its normal form".to_owned());
    }
    Ok(change)
}

/// Reads a record; the reason, when it is damaged or of another version.
pub(super) fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, String> {
    let Some((header, payload)) = value.split_first_chunk::<HEADER_LENGTH>() else {
        return Err(format!("{} bytes are too few", value.len()));
    };
    let [version, crc_stored @ ..] = *header;
    if version != VERSION {
        return Err(format!(
            "record version {version}, this program reads {VERSION}"
        ));
    }
    let (stored, found) = (u32::from_le_bytes(crc_stored), crc(key, payload));
    if stored != found {
        return Err(format!("checksum {found:08x} instead of {stored:08x}"));
    }
    serde_json::from_slice(payload).map_err(|error| error.to_string())
}

/// Covers the key as well: a record under another's key is damage.
fn crc(key: &str, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), payload)
}

pub(super) fn database_key(name: &str) -> String {
    format!("{DATABASE_PREFIX}{name}")
}

pub(super) fn table_key(id: TableId) -> String {
    format!("{TABLE_PREFIX}{id}")
}

pub(super) fn partition_key(id: TablePartitionId) -> String {
    format!("{PARTITION_PREFIX}{id}")
}

pub(super) fn dropped_key(table: TableId, partition: Option<TablePartitionId>) -> String {
    match partition {
        Some(partition) => format!("{DROPPED_PREFIX}{table}/{partition}"),
        None => format!("{DROPPED_PREFIX}{table}"),
    }
}

impl From<&TopicName> for TopicRecord {
    fn from(topic: &TopicName) -> Self {
        TopicRecord {
            name: topic.name.clone(),
            id: topic.id,
        }
    }
}

impl From<TopicRecord> for TopicName {
    fn from(record: TopicRecord) -> Self {
        TopicName {
            name: record.name,
            id: record.id,
        }
    }
}

impl From<&Database> for DatabaseRecord {
    fn from(database: &Database) -> Self {
        DatabaseRecord {
            name: database.name.clone(),
            comment: database.comment.clone(),
            custom_properties: database.custom_properties.clone(),
            created_ms: database.created_ms,
            modified_ms: database.modified_ms,
        }
    }
}

impl From<DatabaseRecord> for Database {
    fn from(record: DatabaseRecord) -> Self {
        Database {
            name: record.name,
            comment: record.comment,
            custom_properties: record.custom_properties,
            created_ms: record.created_ms,
            modified_ms: record.modified_ms,
        }
    }
}

impl From<&NumberedSchema> for SchemaRecord {
    fn from(numbered: &NumberedSchema) -> Self {
        let schema = serde_json::from_slice(&schema_to_json(&numbered.schema))
            .expect("what was written as JSON is JSON");
        SchemaRecord {
            id: numbered.id,
            schema,
        }
    }
}

impl TryFrom<SchemaRecord> for NumberedSchema {
    type Error = String;

    fn try_from(record: SchemaRecord) -> Result<Self, String> {
        let json = record.schema.to_string();
        let schema = schema_from_json(json.as_bytes())
            .map_err(|error| format!("schema {}: {error}", record.id))?;
        Ok(NumberedSchema {
            id: record.id,
            schema,
        })
    }
}

impl From<&Table> for TableRecord {
    fn from(table: &Table) -> Self {
        TableRecord {
            id: table.id,
            fluss_id: (table.fluss_id != table.id).then_some(table.fluss_id),
            database: table.path.database.clone(),
            name: table.path.table.clone(),
            topic: table.topic.as_ref().map(TopicRecord::from),
            origin: match table.origin {
                Origin::Kafka => "kafka",
                Origin::Fluss => "fluss",
                Origin::Internal => "internal",
            }
            .to_owned(),
            kind: match table.kind {
                TableKind::Log => "log",
                TableKind::PrimaryKey => "primary-key",
            }
            .to_owned(),
            schemas: table.schemas.iter().map(SchemaRecord::from).collect(),
            bucket_count: table.bucket_count,
            bucket_count_epoch: table.bucket_count_epoch,
            bucket_keys: table.bucket_keys.clone(),
            partition_keys: table.partition_keys.clone(),
            properties: table.properties.clone(),
            custom_properties: table.custom_properties.clone(),
            comment: table.comment.clone(),
            kafka_configs: table.kafka_configs.clone(),
            created_ms: table.created_ms,
            modified_ms: table.modified_ms,
        }
    }
}

impl TryFrom<TableRecord> for Table {
    type Error = String;

    fn try_from(record: TableRecord) -> Result<Self, String> {
        let schemas = record
            .schemas
            .into_iter()
            .map(NumberedSchema::try_from)
            .collect::<Result<Vec<_>, String>>()?;
        if schemas.is_empty() || !schemas.is_sorted_by(|a, b| a.id < b.id) {
            return Err("schemas are missing or out of order".to_owned());
        }
        if record.topic.is_some() != record.partition_keys.is_empty() {
            return Err("a table is a topic or has partition keys".to_owned());
        }
        Ok(Table {
            id: record.id,
            fluss_id: record.fluss_id.unwrap_or(record.id),
            path: TablePath::new(record.database, record.name),
            topic: record.topic.map(TopicName::from),
            origin: match record.origin.as_str() {
                "kafka" => Origin::Kafka,
                "fluss" => Origin::Fluss,
                "internal" => Origin::Internal,
                other => return Err(format!("origin {other:?}")),
            },
            kind: match record.kind.as_str() {
                "log" => TableKind::Log,
                "primary-key" => TableKind::PrimaryKey,
                other => return Err(format!("kind {other:?}")),
            },
            schemas,
            bucket_count: record.bucket_count,
            bucket_count_epoch: record.bucket_count_epoch,
            bucket_keys: record.bucket_keys,
            partition_keys: record.partition_keys,
            properties: record.properties,
            custom_properties: record.custom_properties,
            comment: record.comment,
            kafka_configs: record.kafka_configs,
            created_ms: record.created_ms,
            modified_ms: record.modified_ms,
        })
    }
}

impl From<&TablePartition> for PartitionRecord {
    fn from(partition: &TablePartition) -> Self {
        PartitionRecord {
            id: partition.id,
            table: partition.table,
            values: partition.values.clone(),
            topic: TopicRecord::from(&partition.topic),
            bucket_count: partition.bucket_count,
            created_ms: partition.created_ms,
            modified_ms: partition.modified_ms,
        }
    }
}

impl From<PartitionRecord> for TablePartition {
    fn from(record: PartitionRecord) -> Self {
        TablePartition {
            id: record.id,
            table: record.table,
            values: record.values,
            topic: record.topic.into(),
            bucket_count: record.bucket_count,
            created_ms: record.created_ms,
            modified_ms: record.modified_ms,
        }
    }
}

impl From<&Dropped> for DroppedRecord {
    fn from(dropped: &Dropped) -> Self {
        DroppedRecord {
            table: dropped.table,
            table_partition: dropped.table_partition,
            bucket_count: dropped.bucket_count,
            topic_id: dropped.topic_id,
            dropped_ms: dropped.dropped_ms,
        }
    }
}

impl From<DroppedRecord> for Dropped {
    fn from(record: DroppedRecord) -> Self {
        Dropped {
            table: record.table,
            table_partition: record.table_partition,
            bucket_count: record.bucket_count,
            topic_id: record.topic_id,
            dropped_ms: record.dropped_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(change: RecordChange) -> Vec<u8> {
        match change {
            RecordChange::Put { value, .. } => value,
            RecordChange::Delete { .. } => panic!("not a put"),
        }
    }

    #[test]
    fn a_record_is_read_back_and_every_flipped_bit_is_seen() {
        let record = MetaRecord {
            data_format: 1,
            cluster_id: "abc".to_owned(),
        };
        let bytes = value(put(META_KEY.to_owned(), &record));
        assert_eq!(read::<MetaRecord>(META_KEY, &bytes), Ok(record));
        assert!(read::<MetaRecord>("metb", &bytes).is_err());
        for position in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[position / 8] ^= 1 << (position % 8);
            assert!(
                read::<MetaRecord>(META_KEY, &damaged).is_err(),
                "bit {position}"
            );
        }
        for length in 0..bytes.len() {
            assert!(read::<MetaRecord>(META_KEY, &bytes[..length]).is_err());
        }
    }
}
