//! The catalog: databases, tables and topics with both their names, and the counters of the
//! cluster. Durable before a change is answered.
//!
//! [`Catalog`] is the one writer over a [`store::CatalogStore`]; readers take a [`CatalogView`],
//! which is cheap to get and never changes. [`Catalog::subscribe`] tells of every new view: the
//! broker opens and removes tablets by it.
//!
//! *Invariant*: no two tables ever have the same name on either wire, and a table keeps both names
//! for as long as it lives. *Invariant*: changes wait for the disk: call them where blocking is
//! allowed. Reading never waits.

mod cluster_id;
mod counters;
mod databases;
mod error;
mod kv_snapshots;
mod model;
pub mod names;
mod partitions;
mod producer_offsets;
mod record;
mod row_numbers;
mod settings;
pub mod store;
mod tables;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::ids::{LeaderEpoch, TableId};
use tokio::sync::watch;

use crate::env::Env;
use counters::{Counter, Counters};
pub use error::{
    AlterDatabaseError, AlterPartitionError, AlterTableError, CreateDatabaseError,
    CreatePartitionError, CreateTableError, DropDatabaseError, DropTableError, OpenCatalogError,
    ProducerOffsetsError, TakeRowNumbersError, WriteError,
};
pub use kv_snapshots::{BucketSnapshots, SnapshotEntry, SnapshotLease, SnapshotRecords};
pub use model::{
    Database, Dropped, KindChange, MapChanges, NewName, NewTable, Origin, StringMap, Table,
    TableChanges, TableKind, TablePartition, Topic, TopicName,
};
pub use names::{NameError, TablePath};
pub use producer_offsets::ProducerOffsets;
use record::{DatabaseRecord, DroppedRecord, MetaRecord, PartitionRecord, TableRecord};
pub use settings::SettingScope;
use store::{CatalogStore, RecordChange, StoreError};
pub use view::CatalogView;

/// The version of everything in a data directory. Raised when an older program must not open what
/// a newer one wrote.
pub const DATA_FORMAT: u32 = 1;

/// Producer ids that one durable write reserves. A restart leaves out the rest of a block.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// What the catalog is told by the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogSettings {
    /// The database of topics whose name does not name one.
    pub default_database: String,
}

impl Default for CatalogSettings {
    fn default() -> Self {
        CatalogSettings {
            default_database: names::KAFKA_DATABASE.to_owned(),
        }
    }
}

/// The one writer of the catalog. Shared by reference; its methods may be called from any thread.
pub struct Catalog {
    env: Env,
    settings: CatalogSettings,
    cluster_id: String,
    writer: Mutex<Writer>,
    views: watch::Sender<Arc<CatalogView>>,
}

struct Writer {
    /// None once the catalog is closed.
    store: Option<Box<dyn CatalogStore>>,
    counters: Counters,
    /// Producer ids that are reserved and not handed out.
    producer_ids: Range<i64>,
    /// The first number that no row has, of tables that count their rows' numbers.
    row_numbers: HashMap<TableId, i64>,
    /// What jobs of Fluss clients left, by their names.
    producer_offsets: BTreeMap<String, ProducerOffsets>,
    snapshots: SnapshotRecords,
    /// Set by a failed commit: what the store holds is not known any more.
    is_offline: bool,
}

impl Catalog {
    /// Reads the catalog, or makes a new one in an empty store.
    pub fn open(
        store: Box<dyn CatalogStore>,
        env: Env,
        settings: CatalogSettings,
    ) -> Result<Self, OpenCatalogError> {
        let default_database = &settings.default_database;
        names::check_fluss_name(default_database).map_err(|source| {
            OpenCatalogError::DefaultDatabase {
                name: default_database.clone(),
                source,
            }
        })?;
        let Loaded {
            meta,
            counters,
            row_numbers,
            producer_offsets,
            snapshots,
            mut view,
        } = Loaded::from_store(store.as_ref())?;
        let mut first_changes = Vec::new();
        let meta = meta.unwrap_or_else(|| {
            let cluster_id = cluster_id::new(env.randomness.as_ref());
            let meta = MetaRecord {
                data_format: DATA_FORMAT,
                cluster_id,
            };
            first_changes.push(record::put(record::META_KEY.to_owned(), &meta));
            meta
        });
        for name in databases::protected(default_database) {
            if view.database(name).is_none() {
                let database = databases::new_database(name, env.clock.wall_ms());
                let key = record::database_key(name);
                first_changes.push(record::put(key, &DatabaseRecord::from(&database)));
                view.put_database(database);
            }
        }
        if !first_changes.is_empty() {
            store.commit(&first_changes)?;
        }
        let writer = Writer {
            store: Some(store),
            counters,
            producer_ids: 0..0,
            row_numbers,
            producer_offsets,
            snapshots,
            is_offline: false,
        };
        Ok(Catalog {
            env,
            settings,
            cluster_id: meta.cluster_id,
            writer: Mutex::new(writer),
            views: watch::Sender::new(Arc::new(view)),
        })
    }

    /// The catalog as it is now.
    pub fn view(&self) -> Arc<CatalogView> {
        self.views.borrow().clone()
    }

    /// Tells of every new view. Views that follow each other quickly may be seen as one.
    pub fn subscribe(&self) -> watch::Receiver<Arc<CatalogView>> {
        self.views.subscribe()
    }

    /// The cluster's id, in the form of Kafka's: 22 characters of base64.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The database of topics whose name does not name one.
    pub fn default_database(&self) -> &str {
        &self.settings.default_database
    }

    /// Raises the broker epoch, durably. Called once per start, before any log is opened; the
    /// first epoch is 1.
    pub fn raise_broker_epoch(&self) -> Result<LeaderEpoch, WriteError> {
        let mut writer = self.writer.lock();
        let epoch = writer.counters.get(Counter::BrokerEpoch) + 1;
        let epoch = i32::try_from(epoch).expect("a broker does not start two billion times");
        self.commit(
            &mut writer,
            &[counters::change(Counter::BrokerEpoch, i64::from(epoch))],
        )?;
        writer.counters.set(Counter::BrokerEpoch, i64::from(epoch));
        Ok(LeaderEpoch::new(epoch))
    }

    /// The epoch of the last start; 0 before the first one.
    pub fn broker_epoch(&self) -> LeaderEpoch {
        let epoch = self.writer.lock().counters.get(Counter::BrokerEpoch);
        LeaderEpoch::new(i32::try_from(epoch).expect("epochs are raised as i32"))
    }

    /// A producer id (Fluss: writer id) that nobody has. One call in a thousand waits for the
    /// disk.
    pub fn next_producer_id(&self) -> Result<i64, WriteError> {
        let mut writer = self.writer.lock();
        if let Some(id) = writer.producer_ids.next() {
            return Ok(id);
        }
        let (mut block, change) = writer.counters.take(Counter::ProducerId, PRODUCER_ID_BLOCK);
        self.commit(&mut writer, &[change])?;
        let id = block.next().expect("a block is not empty");
        writer.producer_ids = block;
        Ok(id)
    }

    /// A commit time, epoch milliseconds, that is at least as large as every one that was handed
    /// out before the last start. 0 at first.
    pub fn commit_time_floor_ms(&self) -> i64 {
        self.writer.lock().counters.get(Counter::CommitTimeFloor)
    }

    /// Promises, durably, that commit times after the next start are not below `floor_ms`. The
    /// commit clock raises it ahead of the times that it hands out. A lower floor than the one
    /// that is stored changes nothing.
    pub fn raise_commit_time_floor_ms(&self, floor_ms: i64) -> Result<(), WriteError> {
        let mut writer = self.writer.lock();
        if floor_ms <= writer.counters.get(Counter::CommitTimeFloor) {
            return Ok(());
        }
        self.commit(
            &mut writer,
            &[counters::change(Counter::CommitTimeFloor, floor_ms)],
        )?;
        writer.counters.set(Counter::CommitTimeFloor, floor_ms);
        Ok(())
    }

    /// Gives the store back, whoever still holds the catalog: it may be opened again when this
    /// returns. No more changes are taken.
    pub fn close(&self) {
        self.writer.lock().store = None;
    }

    fn commit(&self, writer: &mut Writer, changes: &[RecordChange]) -> Result<(), WriteError> {
        let store = writer.store.as_ref().filter(|_| !writer.is_offline);
        let store = store.ok_or(WriteError::Offline)?;
        store.commit(changes).map_err(|error| match error {
            StoreError::Full(error) => WriteError::Full(error),
            error => {
                writer.is_offline = true;
                WriteError::Store(error)
            }
        })
    }

    /// Commits and shows the new view to everyone.
    fn publish(
        &self,
        writer: &mut Writer,
        changes: &[RecordChange],
        mut view: CatalogView,
    ) -> Result<(), WriteError> {
        self.commit(writer, changes)?;
        view.next_version();
        self.views.send_replace(Arc::new(view));
        Ok(())
    }
}

/// What a store holds.
#[derive(Default)]
struct Loaded {
    meta: Option<MetaRecord>,
    counters: Counters,
    row_numbers: HashMap<TableId, i64>,
    producer_offsets: BTreeMap<String, ProducerOffsets>,
    snapshots: SnapshotRecords,
    view: CatalogView,
}

impl Loaded {
    fn from_store(store: &dyn CatalogStore) -> Result<Self, OpenCatalogError> {
        let records = store.load()?;
        let mut loaded = Loaded::default();
        // Tables need their database, partitions their table. `meta` is first of all, so that a
        // record of another format is told as that.
        for pass in [
            record::META_KEY,
            record::COUNTER_PREFIX,
            record::DATABASE_PREFIX,
            record::TABLE_PREFIX,
            record::PARTITION_PREFIX,
            record::DROPPED_PREFIX,
            record::ROW_NUMBERS_PREFIX,
            record::SETTINGS_PREFIX,
            record::PRODUCER_OFFSETS_PREFIX,
            record::KV_SNAPSHOTS_PREFIX,
            record::KV_LEASE_PREFIX,
        ] {
            for (key, value) in records.iter().filter(|(key, _)| key.starts_with(pass)) {
                loaded
                    .record(pass, key, value)
                    .map_err(|reason| OpenCatalogError::Corrupt {
                        key: key.clone(),
                        reason,
                    })?;
            }
            match &loaded.meta {
                Some(meta) if meta.data_format != DATA_FORMAT => {
                    let (found, supported) = (meta.data_format, DATA_FORMAT);
                    return Err(OpenCatalogError::DataFormat { found, supported });
                }
                None if !records.is_empty() => {
                    let (key, reason) = (record::META_KEY.to_owned(), "missing".to_owned());
                    return Err(OpenCatalogError::Corrupt { key, reason });
                }
                _ => {}
            }
        }
        Ok(loaded)
    }

    fn record(&mut self, pass: &str, key: &str, value: &[u8]) -> Result<(), String> {
        match pass {
            record::META_KEY => self.meta = Some(record::read(key, value)?),
            record::COUNTER_PREFIX => self.counters.load(key, value)?,
            record::DATABASE_PREFIX => {
                self.view
                    .put_database(record::read::<DatabaseRecord>(key, value)?.into());
            }
            record::TABLE_PREFIX => {
                let table = Table::try_from(record::read::<TableRecord>(key, value)?)?;
                self.check_names(&table)?;
                if !self.view.put_table(&Arc::new(table)) {
                    return Err("its database is missing".to_owned());
                }
            }
            record::PARTITION_PREFIX => {
                let partition: TablePartition = record::read::<PartitionRecord>(key, value)?.into();
                if self.view.topic(&partition.topic.name).is_some() {
                    return Err(format!("topic {:?} has two owners", partition.topic.name));
                }
                self.check_next(Counter::PartitionId, partition.id.value())?;
                if !self.view.put_partition(&Arc::new(partition)) {
                    return Err("its table is missing".to_owned());
                }
            }
            record::ROW_NUMBERS_PREFIX => {
                let (table, next) = row_numbers::read(key, value)?;
                if self.view.table(table).is_none() {
                    return Err("its table is missing".to_owned());
                }
                self.row_numbers.insert(table, next);
            }
            record::KV_SNAPSHOTS_PREFIX | record::KV_LEASE_PREFIX => {
                self.snapshots.load(key, value)?;
            }
            record::SETTINGS_PREFIX => {
                let scope = SettingScope::of_key(key).ok_or("no broker has this id")?;
                self.view.put_settings(scope, record::read(key, value)?);
            }
            record::PRODUCER_OFFSETS_PREFIX => {
                let (producer, offsets) = producer_offsets::read(key, value)?;
                self.producer_offsets.insert(producer, offsets);
            }
            _ => self
                .view
                .put_dropped(record::read::<DroppedRecord>(key, value)?.into()),
        }
        Ok(())
    }

    /// What was made sure of when the table was made must still be so.
    fn check_names(&self, table: &Table) -> Result<(), String> {
        if self
            .view
            .table_by_path(&table.path.database, &table.path.table)
            .is_some()
        {
            return Err(format!("path {} has two owners", table.path));
        }
        if let Some(topic) = &table.topic
            && self.view.topic(&topic.name).is_some()
        {
            return Err(format!("topic {:?} has two owners", topic.name));
        }
        if self.view.table_of_fluss(table.fluss_id).is_some() {
            return Err(format!("number {} has two owners", table.fluss_id));
        }
        self.check_next(Counter::TableId, table.id.value())?;
        self.check_next(Counter::TableId, table.fluss_id.value())
    }

    fn check_next(&self, counter: Counter, id: i64) -> Result<(), String> {
        let next = self.counters.get(counter);
        if id >= next {
            Err(format!("id {id} is not below the counter {next}"))
        } else {
            Ok(())
        }
    }
}
