//! What the catalog knows: databases, tables, table partitions and the topics that they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::ids::{BucketId, SchemaId, TableId, TablePartitionId, TabletId};
use protocol::schema::{NumberedSchema, Schema};
use uuid::Uuid;

use super::names::TablePath;

/// Free strings by name, in the order of their names.
pub type StringMap = BTreeMap<String, String>;

/// A database of the Fluss wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Free text.
    pub comment: Option<String>,
    /// What users keep with it.
    pub custom_properties: StringMap,
    /// When it was made, epoch milliseconds.
    pub created_ms: i64,
    /// When it was last changed, epoch milliseconds.
    pub modified_ms: i64,
}

/// Who made a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A Kafka client: its buckets are Kafka partitions, chosen by producers.
    Kafka,
    /// A Fluss client: Fluss's bucket function rules.
    Fluss,
    /// The broker: read-only for clients.
    Internal,
}

/// Whether a table has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableKind {
    /// Append-only.
    Log,
    /// The latest value per key.
    PrimaryKey,
}

/// A name on the Kafka wire, with its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicName {
    /// The name.
    pub name: String,
    /// The topic id, never used twice.
    pub id: Uuid,
}

/// A table, which is a topic when it has no partition keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its number; one that is dropped and made again has a new one.
    pub id: TableId,
    /// Its number on the Fluss wire: another one than `id`, under which its tablets lie, once the
    /// table got a key or lost it.
    pub fluss_id: TableId,
    /// Its name on the Fluss wire.
    pub path: TablePath,
    /// Its name on the Kafka wire; none for a partitioned table, whose partitions are topics.
    pub topic: Option<TopicName>,
    /// Who made it.
    pub origin: Origin,
    /// Whether it has a key.
    pub kind: TableKind,
    /// All its schemas in the order of their ids; at least one.
    pub schemas: Vec<NumberedSchema>,
    /// Buckets, from 0 on. For a partitioned table: of partitions made from now on.
    pub bucket_count: u32,
    /// How often the bucket count was changed.
    pub bucket_count_epoch: u32,
    /// Columns that choose a row's bucket; may be empty.
    pub bucket_keys: Vec<String>,
    /// Columns whose values make a table partition; empty for a table without partitions.
    pub partition_keys: Vec<String>,
    /// Fluss's `table.*` options.
    pub properties: StringMap,
    /// Other properties.
    pub custom_properties: StringMap,
    /// Free text.
    pub comment: Option<String>,
    /// Topic configs that were set on the Kafka wire.
    pub kafka_configs: StringMap,
    /// When it was made, epoch milliseconds.
    pub created_ms: i64,
    /// When it was last changed, epoch milliseconds.
    pub modified_ms: i64,
}

impl Table {
    /// True when the table has partition keys.
    pub fn is_partitioned(&self) -> bool {
        !self.partition_keys.is_empty()
    }

    /// The schema that is valid for new batches.
    pub fn schema(&self) -> &NumberedSchema {
        self.schemas
            .last()
            .expect("a table has at least one schema")
    }

    /// The schema of an id.
    pub fn schema_of(&self, id: SchemaId) -> Option<&Schema> {
        self.schemas
            .iter()
            .find(|numbered| numbered.id == id)
            .map(|numbered| &numbered.schema)
    }
}

/// A partition of a partitioned table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePartition {
    /// Its number, unique over all tables.
    pub id: TablePartitionId,
    /// Its table.
    pub table: TableId,
    /// Its values in the order of the table's partition keys.
    pub values: Vec<String>,
    /// Its name on the Kafka wire.
    pub topic: TopicName,
    /// Buckets, from 0 on.
    pub bucket_count: u32,
    /// When it was made, epoch milliseconds.
    pub created_ms: i64,
    /// When it was last changed, epoch milliseconds.
    pub modified_ms: i64,
}

impl TablePartition {
    /// Its name on the Fluss wire: the values joined by `$`.
    pub fn name(&self) -> String {
        self.values.join("$")
    }
}

/// What the Kafka wire calls a topic: a table, or a partition of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The table.
    pub table: Arc<Table>,
    /// The table partition, when the table has partitions.
    pub partition: Option<Arc<TablePartition>>,
}

impl Topic {
    /// Name and id.
    pub fn topic(&self) -> &TopicName {
        match &self.partition {
            Some(partition) => &partition.topic,
            None => self
                .table
                .topic
                .as_ref()
                .expect("a table without partitions is a topic"),
        }
    }

    /// How many buckets it has; Kafka's partition count.
    pub fn bucket_count(&self) -> u32 {
        self.partition
            .as_ref()
            .map_or(self.table.bucket_count, |p| p.bucket_count)
    }

    /// The tablet of a bucket, if there is such a bucket.
    pub fn tablet(&self, bucket: i32) -> Option<TabletId> {
        let exists = u32::try_from(bucket).is_ok_and(|bucket| bucket < self.bucket_count());
        exists.then(|| TabletId {
            table: self.table.id,
            table_partition: self.partition.as_ref().map(|p| p.id),
            bucket: BucketId::new(bucket),
        })
    }

    /// All its tablets.
    pub fn tablets(&self) -> impl Iterator<Item = TabletId> + '_ {
        (0..).map_while(|bucket| self.tablet(bucket))
    }
}

/// Tablets whose table is gone and whose files may still be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The table.
    pub table: TableId,
    /// The table partition, for partitioned tables.
    pub table_partition: Option<TablePartitionId>,
    /// How many buckets there were.
    pub bucket_count: u32,
    /// The topic's id.
    pub topic_id: Uuid,
    /// When it was dropped, epoch milliseconds.
    pub dropped_ms: i64,
}

/// How a new table is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewName {
    /// By a Kafka client.
    Topic(String),
    /// By a Fluss client.
    Path(TablePath),
    /// By the broker, for itself: the table's name in the system database.
    Internal(String),
}

/// A table that is to be made. What is not a name has been validated by the wire that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of `Table`")]
pub struct NewTable {
    pub name: NewName,
    pub kind: TableKind,
    pub schema: Schema,
    pub bucket_count: u32,
    pub bucket_keys: Vec<String>,
    pub partition_keys: Vec<String>,
    pub properties: StringMap,
    pub custom_properties: StringMap,
    pub comment: Option<String>,
    pub kafka_configs: StringMap,
}

impl NewTable {
    /// A log table with nothing but columns and buckets.
    pub fn log(name: NewName, schema: Schema, bucket_count: u32) -> Self {
        NewTable {
            name,
            kind: TableKind::Log,
            schema,
            bucket_count,
            bucket_keys: Vec::new(),
            partition_keys: Vec::new(),
            properties: StringMap::new(),
            custom_properties: StringMap::new(),
            comment: None,
            kafka_configs: StringMap::new(),
        }
    }
}

/// What changes of a map of strings: `None` removes the key.
pub type MapChanges = BTreeMap<String, Option<String>>;

/// What changes of a table; what is left at its default stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableChanges {
    /// Fluss's `table.*` options.
    pub properties: MapChanges,
    /// Other properties.
    pub custom_properties: MapChanges,
    /// The comment; `Some(None)` removes it.
    pub comment: Option<Option<String>>,
    /// Topic configs of the Kafka wire.
    pub kafka_configs: MapChanges,
    /// A schema with new columns, which gets the next schema id.
    pub schema: Option<Schema>,
    /// A larger number of buckets. Of a partitioned table: for partitions made later.
    pub bucket_count: Option<u32>,
    /// The table gets a key, or loses it. Only tables that Kafka clients made.
    pub kind: Option<KindChange>,
}

/// A log table becomes a primary-key table, or the other way round. Names, topic id and tablets
/// stay. To Fluss clients it is another table under the old name: it gets a new number, which makes
/// them look it up again, and the next schema id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindChange {
    /// What it becomes.
    pub kind: TableKind,
    /// Its schema from now on, with or without primary key.
    pub schema: Schema,
    /// Columns that choose a row's bucket.
    pub bucket_keys: Vec<String>,
}
