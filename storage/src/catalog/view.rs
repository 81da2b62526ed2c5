//! The catalog at one moment, for readers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use protocol::ids::{TableId, TablePartitionId, TabletId};
use uuid::Uuid;

use super::model::{Database, Dropped, StringMap, Table, TablePartition, Topic};
use super::names::TablePath;
use super::settings::SettingScope;

type Partitions = BTreeMap<Arc<str>, Arc<TablePartition>>;

#[derive(Debug, Clone)]
struct DatabaseEntry {
    database: Arc<Database>,
    tables: Arc<BTreeMap<Arc<str>, Arc<Table>>>,
}

#[derive(Debug, Clone)]
struct TableEntry {
    table: Arc<Table>,
    partitions: Arc<Partitions>,
}

/// All databases, tables, partitions and topics at one moment. It never changes: a commit makes a
/// new one, which shares with this one what stayed the same.
#[derive(Debug, Clone, Default)]
pub struct CatalogView {
    version: u64,
    databases: BTreeMap<Arc<str>, DatabaseEntry>,
    tables: HashMap<TableId, TableEntry>,
    /// Tables by their numbers on the Fluss wire.
    fluss_ids: HashMap<TableId, TableId>,
    partitions: HashMap<TablePartitionId, Arc<TablePartition>>,
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    topic_ids: HashMap<Uuid, Arc<Topic>>,
    dropped: BTreeMap<(TableId, Option<TablePartitionId>), Dropped>,
    settings: BTreeMap<SettingScope, Arc<StringMap>>,
}

impl CatalogView {
    /// One more for each commit since the start.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A database by its name.
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.get(name).map(|entry| &entry.database)
    }

    /// All databases in the order of their names.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.databases.values().map(|entry| &entry.database)
    }

    /// A table by its id.
    pub fn table(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id).map(|entry| &entry.table)
    }

    /// A table by its number on the Fluss wire.
    pub fn table_of_fluss(&self, fluss_id: TableId) -> Option<&Arc<Table>> {
        self.table(*self.fluss_ids.get(&fluss_id)?)
    }

    /// A table by its name on the Fluss wire.
    pub fn table_by_path(&self, database: &str, table: &str) -> Option<&Arc<Table>> {
        self.databases.get(database)?.tables.get(table)
    }

    /// All tables, in no order.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values().map(|entry| &entry.table)
    }

    /// The tables of a database in the order of their names; `None` when there is no such database.
    pub fn tables_of(&self, database: &str) -> Option<impl Iterator<Item = &Arc<Table>>> {
        Some(self.databases.get(database)?.tables.values())
    }

    /// A table partition by its id.
    pub fn partition(&self, id: TablePartitionId) -> Option<&Arc<TablePartition>> {
        self.partitions.get(&id)
    }

    /// A table partition by its name: the values joined by `$`.
    pub fn partition_by_name(&self, table: TableId, name: &str) -> Option<&Arc<TablePartition>> {
        self.tables.get(&table)?.partitions.get(name)
    }

    /// The partitions of a table in the order of their names; empty for an unknown table.
    pub fn partitions_of(&self, table: TableId) -> impl Iterator<Item = &Arc<TablePartition>> {
        self.tables
            .get(&table)
            .into_iter()
            .flat_map(|entry| entry.partitions.values())
    }

    /// A topic by its name on the Kafka wire.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// A topic by its id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topic_ids.get(&id)
    }

    /// All topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// All tablets that there should be.
    pub fn tablets(&self) -> impl Iterator<Item = TabletId> + '_ {
        self.topics.values().flat_map(|topic| topic.tablets())
    }

    /// True when the tablet's table, table partition and bucket exist.
    pub fn has_tablet(&self, tablet: TabletId) -> bool {
        let bucket_count = match tablet.table_partition {
            Some(id) => self
                .partition(id)
                .filter(|p| p.table == tablet.table)
                .map(|p| p.bucket_count),
            None => self
                .table(tablet.table)
                .filter(|t| !t.is_partitioned())
                .map(|t| t.bucket_count),
        };
        let bucket = u32::try_from(tablet.bucket.value());
        bucket_count.is_some_and(|count| bucket.is_ok_and(|bucket| bucket < count))
    }

    /// What was dropped and has not been reported as deleted.
    pub fn dropped(&self) -> impl Iterator<Item = &Dropped> {
        self.dropped.values()
    }

    /// What clients have set for brokers while they ran.
    pub fn settings(&self, scope: SettingScope) -> &StringMap {
        static NONE: StringMap = StringMap::new();
        self.settings.get(&scope).map_or(&NONE, |map| map)
    }

    pub(super) fn put_settings(&mut self, scope: SettingScope, settings: StringMap) {
        match settings.is_empty() {
            true => self.settings.remove(&scope),
            false => self.settings.insert(scope, Arc::new(settings)),
        };
    }

    /// Path of the table that a topic name belongs to.
    pub(super) fn owner_of_topic(&self, name: &str) -> Option<&TablePath> {
        self.topics.get(name).map(|topic| &topic.table.path)
    }

    pub(super) fn next_version(&mut self) {
        self.version += 1;
    }

    pub(super) fn put_database(&mut self, database: Database) {
        let name: Arc<str> = database.name.as_str().into();
        let database = Arc::new(database);
        let tables = self
            .databases
            .get(&name)
            .map(|e| Arc::clone(&e.tables))
            .unwrap_or_default();
        self.databases
            .insert(name, DatabaseEntry { database, tables });
    }

    pub(super) fn remove_database(&mut self, name: &str) {
        self.databases.remove(name);
    }

    /// Puts a table whose database is there; false when it is not.
    pub(super) fn put_table(&mut self, table: &Arc<Table>) -> bool {
        let Some(database) = self.databases.get_mut(table.path.database.as_str()) else {
            return false;
        };
        Arc::make_mut(&mut database.tables).insert(table.path.table.as_str().into(), table.clone());
        let partitions = self
            .tables
            .get(&table.id)
            .map(|e| Arc::clone(&e.partitions))
            .unwrap_or_default();
        for partition in partitions.values() {
            self.put_topic(Topic {
                table: table.clone(),
                partition: Some(partition.clone()),
            });
        }
        if !table.is_partitioned() {
            self.put_topic(Topic {
                table: table.clone(),
                partition: None,
            });
        }
        let entry = TableEntry {
            table: table.clone(),
            partitions,
        };
        if let Some(before) = self.tables.insert(table.id, entry) {
            self.fluss_ids.remove(&before.table.fluss_id);
        }
        self.fluss_ids.insert(table.fluss_id, table.id);
        true
    }

    /// Removes a table whose partitions are gone.
    pub(super) fn remove_table(&mut self, table: &Table) {
        if let Some(database) = self.databases.get_mut(table.path.database.as_str()) {
            Arc::make_mut(&mut database.tables).remove(table.path.table.as_str());
        }
        self.tables.remove(&table.id);
        self.fluss_ids.remove(&table.fluss_id);
        if let Some(topic) = &table.topic {
            self.topics.remove(topic.name.as_str());
            self.topic_ids.remove(&topic.id);
        }
    }

    /// Puts a partition whose table is there; false when it is not.
    pub(super) fn put_partition(&mut self, partition: &Arc<TablePartition>) -> bool {
        let Some(entry) = self.tables.get_mut(&partition.table) else {
            return false;
        };
        let partitions = Arc::make_mut(&mut entry.partitions);
        partitions.insert(partition.name().into(), partition.clone());
        let table = entry.table.clone();
        self.partitions.insert(partition.id, partition.clone());
        self.put_topic(Topic {
            table,
            partition: Some(partition.clone()),
        });
        true
    }

    pub(super) fn remove_partition(&mut self, partition: &TablePartition) {
        if let Some(entry) = self.tables.get_mut(&partition.table) {
            Arc::make_mut(&mut entry.partitions).remove(partition.name().as_str());
        }
        self.partitions.remove(&partition.id);
        self.topics.remove(partition.topic.name.as_str());
        self.topic_ids.remove(&partition.topic.id);
    }

    fn put_topic(&mut self, topic: Topic) {
        let topic = Arc::new(topic);
        self.topic_ids.insert(topic.topic().id, topic.clone());
        self.topics
            .insert(topic.topic().name.as_str().into(), topic);
    }

    pub(super) fn put_dropped(&mut self, dropped: Dropped) {
        self.dropped
            .insert((dropped.table, dropped.table_partition), dropped);
    }

    pub(super) fn remove_dropped(&mut self, key: (TableId, Option<TablePartitionId>)) {
        self.dropped.remove(&key);
    }
}
