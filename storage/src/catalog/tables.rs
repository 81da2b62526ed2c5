//! Tables, which are topics: create, alter, drop.

use std::sync::Arc;

use protocol::ids::{SchemaId, TableId, TablePartitionId};
use protocol::schema::{NumberedSchema, Schema};

use super::counters::Counter;
use super::error::{AlterTableError, CreateTableError, DropTableError, WriteError};
use super::model::{
    Dropped, KindChange, MapChanges, NewName, NewTable, Origin, StringMap, Table, TableChanges,
    TopicName,
};
use super::names::{self, RESERVED_TOPICS, SYSTEM_DATABASE, TablePath};
use super::record::{self, DroppedRecord};
use super::store::RecordChange;
use super::view::CatalogView;
use super::{Catalog, cluster_id, row_numbers};

/// Both names of a table that does not exist yet.
struct Names {
    path: TablePath,
    topic: String,
    origin: Origin,
}

impl Catalog {
    /// Says whether [`Catalog::create_table`] would make this table now.
    pub fn check_create_table(&self, new: &NewTable) -> Result<(), CreateTableError> {
        self.plan_names(&self.view(), new).map(|_| ())
    }

    /// Makes a table, which is a topic at once if it has no partition keys, and claims both its
    /// names.
    pub fn create_table(&self, new: NewTable) -> Result<Arc<Table>, CreateTableError> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        let names = self.plan_names(&view, &new)?;
        let (ids, counter_change) = writer.counters.take(Counter::TableId, 1);
        let now_ms = self.env.clock.wall_ms();
        let topic = new
            .partition_keys
            .is_empty()
            .then(|| self.new_topic(names.topic));
        let table = Arc::new(Table {
            id: TableId::new(ids.start),
            fluss_id: TableId::new(ids.start),
            path: names.path,
            topic,
            origin: names.origin,
            kind: new.kind,
            schemas: vec![NumberedSchema {
                id: SchemaId::new(1),
                schema: new.schema,
            }],
            bucket_count: new.bucket_count,
            bucket_count_epoch: 0,
            bucket_keys: new.bucket_keys,
            partition_keys: new.partition_keys,
            properties: new.properties,
            custom_properties: new.custom_properties,
            comment: new.comment,
            kafka_configs: new.kafka_configs,
            created_ms: now_ms,
            modified_ms: now_ms,
        });
        let change = record::put_table(&table).map_err(CreateTableError::Schema)?;
        view.put_table(&table);
        self.publish(&mut writer, &[counter_change, change], view)?;
        Ok(table)
    }

    fn plan_names(&self, view: &CatalogView, new: &NewTable) -> Result<Names, CreateTableError> {
        let names = match &new.name {
            NewName::Topic(topic) => self.names_of_topic(view, topic)?,
            NewName::Path(path) => self.names_of_path(view, path)?,
            NewName::Internal(table) => {
                check_fluss_name(table)?;
                let path = TablePath::new(SYSTEM_DATABASE, table);
                self.names_of_free_path(view, &path, Origin::Internal)?
            }
        };
        // Bucket ids are i32 on both wires.
        if new.bucket_count == 0 || i32::try_from(new.bucket_count).is_err() {
            return Err(CreateTableError::BucketCount(new.bucket_count));
        }
        Ok(names)
    }

    fn names_of_topic(&self, view: &CatalogView, topic: &str) -> Result<Names, CreateTableError> {
        if let Some(owner) = view.topic(topic) {
            let (name, table) = (topic.to_owned(), owner.table.id);
            return Err(CreateTableError::AlreadyExists { name, table });
        }
        names::check_topic_name(topic).map_err(|source| CreateTableError::Name {
            name: topic.to_owned(),
            source,
        })?;
        let candidates = names::table_of_topic(topic, self.default_database(), |database| {
            view.database(database).is_some()
        });
        if RESERVED_TOPICS.contains(&topic) || candidates.first.database == SYSTEM_DATABASE {
            return Err(CreateTableError::Reserved(topic.to_owned()));
        }
        let is_free = |path: &TablePath| view.table_by_path(&path.database, &path.table).is_none();
        let path = match candidates.otherwise {
            Some(otherwise) if !is_free(&candidates.first) => otherwise,
            _ => candidates.first,
        };
        if !is_free(&path) {
            return Err(CreateTableError::Claimed {
                name: topic.to_owned(),
                other_name: path.to_string(),
                owner: path,
            });
        }
        Ok(Names {
            path,
            topic: topic.to_owned(),
            origin: Origin::Kafka,
        })
    }

    fn names_of_path(
        &self,
        view: &CatalogView,
        path: &TablePath,
    ) -> Result<Names, CreateTableError> {
        if view.database(&path.database).is_none() {
            return Err(CreateTableError::UnknownDatabase(path.database.clone()));
        }
        self.check_free(view, path)?;
        check_fluss_name(&path.table)?;
        if path.database == SYSTEM_DATABASE {
            return Err(CreateTableError::Reserved(path.to_string()));
        }
        self.names_of_free_path(view, path, Origin::Fluss)
    }

    /// Partitioned tables go through here too: the topic that they are not is kept free of others
    /// by the rule that maps it to their path.
    fn names_of_free_path(
        &self,
        view: &CatalogView,
        path: &TablePath,
        origin: Origin,
    ) -> Result<Names, CreateTableError> {
        self.check_free(view, path)?;
        let topic = names::topic_of_table(path, self.default_database());
        if let Some(owner) = view.owner_of_topic(&topic) {
            let (name, owner) = (path.to_string(), owner.clone());
            return Err(CreateTableError::Claimed {
                name,
                other_name: topic,
                owner,
            });
        }
        Ok(Names {
            path: path.clone(),
            topic,
            origin,
        })
    }

    fn check_free(&self, view: &CatalogView, path: &TablePath) -> Result<(), CreateTableError> {
        match view.table_by_path(&path.database, &path.table) {
            Some(owner) => {
                let (name, table) = (path.to_string(), owner.id);
                Err(CreateTableError::AlreadyExists { name, table })
            }
            None => Ok(()),
        }
    }

    pub(super) fn new_topic(&self, name: String) -> TopicName {
        TopicName {
            name,
            id: cluster_id::new_uuid(self.env.randomness.as_ref()),
        }
    }

    /// Changes a table as `decide` says when it sees the table as it is: nobody else changes it
    /// meanwhile. `decide` must not call the catalog. Without any change nothing is written.
    pub fn alter_table<E: From<AlterTableError>>(
        &self,
        id: TableId,
        decide: impl FnOnce(&Table) -> Result<TableChanges, E>,
    ) -> Result<Arc<Table>, E> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        let before = view
            .table(id)
            .cloned()
            .ok_or(AlterTableError::Unknown(id))?;
        let changes = decide(&before)?;
        if changes == TableChanges::default() {
            return Ok(before);
        }
        let kind = changes.kind.clone();
        let mut table = changed(&before, changes)?;
        let mut writes = Vec::with_capacity(2);
        if let Some(kind) = kind {
            let (ids, counter_change) = writer.counters.take(Counter::TableId, 1);
            become_another(&mut table, kind, TableId::new(ids.start))?;
            writes.push(counter_change);
        }
        table.modified_ms = self.env.clock.wall_ms();
        let table = Arc::new(table);
        writes.push(record::put_table(&table).map_err(AlterTableError::Schema)?);
        view.put_table(&table);
        self.publish(&mut writer, &writes, view)
            .map_err(AlterTableError::from)?;
        Ok(table)
    }

    /// Drops a table with its partitions. Its tablets are [`CatalogView::dropped`] until
    /// [`Catalog::forget_dropped`] says that their files are gone.
    pub fn drop_table(&self, id: TableId) -> Result<(), DropTableError> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        let table = view.table(id).cloned().ok_or(DropTableError::Unknown(id))?;
        if table.origin == Origin::Internal {
            return Err(DropTableError::Protected(id));
        }
        let mut changes = Vec::new();
        self.remove_table(&table, &mut view, &mut changes);
        Ok(self.publish(&mut writer, &changes, view)?)
    }

    pub(super) fn remove_table(
        &self,
        table: &Table,
        view: &mut CatalogView,
        changes: &mut Vec<RecordChange>,
    ) {
        let partitions: Vec<_> = view.partitions_of(table.id).cloned().collect();
        for partition in partitions {
            self.remove_partition(&partition, view, changes);
        }
        if let Some(topic) = &table.topic {
            let dropped = Dropped {
                table: table.id,
                table_partition: None,
                bucket_count: table.bucket_count,
                topic_id: topic.id,
                dropped_ms: self.env.clock.wall_ms(),
            };
            changes.push(put_dropped(&dropped));
            view.put_dropped(dropped);
        }
        changes.push(RecordChange::Delete {
            key: record::table_key(table.id),
        });
        changes.push(row_numbers::forget(table.id));
        view.remove_table(table);
    }

    /// The files of a dropped table or table partition are deleted.
    pub fn forget_dropped(
        &self,
        table: TableId,
        table_partition: Option<TablePartitionId>,
    ) -> Result<(), WriteError> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        view.remove_dropped((table, table_partition));
        let key = record::dropped_key(table, table_partition);
        self.publish(&mut writer, &[RecordChange::Delete { key }], view)
    }

    /// A copy of the view that the caller, who holds the writer, may change and publish.
    pub(super) fn next_view(&self) -> CatalogView {
        CatalogView::clone(&self.views.borrow())
    }
}

pub(super) fn put_dropped(dropped: &Dropped) -> RecordChange {
    let key = record::dropped_key(dropped.table, dropped.table_partition);
    record::put(key, &DroppedRecord::from(dropped))
}

fn check_fluss_name(name: &str) -> Result<(), CreateTableError> {
    names::check_fluss_name(name).map_err(|source| CreateTableError::Name {
        name: name.to_owned(),
        source,
    })
}

fn changed(before: &Table, changes: TableChanges) -> Result<Table, AlterTableError> {
    let mut table = before.clone();
    apply_map(&mut table.properties, changes.properties);
    apply_map(&mut table.custom_properties, changes.custom_properties);
    apply_map(&mut table.kafka_configs, changes.kafka_configs);
    if let Some(comment) = changes.comment {
        table.comment = comment;
    }
    if let Some(schema) = changes.schema {
        add_schema(&mut table, schema)?;
    }
    if let Some(asked) = changes.bucket_count {
        let current = before.bucket_count;
        if asked <= current || i32::try_from(asked).is_err() {
            return Err(AlterTableError::BucketCount { current, asked });
        }
        table.bucket_count = asked;
        table.bucket_count_epoch += 1;
    }
    Ok(table)
}

fn add_schema(table: &mut Table, schema: Schema) -> Result<(), AlterTableError> {
    let last = table.schema().id.value();
    let id = last
        .checked_add(1)
        .ok_or(AlterTableError::TooManySchemas(table.id))?;
    table.schemas.push(NumberedSchema {
        id: SchemaId::new(id),
        schema,
    });
    Ok(())
}

/// The older schemas stay: frames name them.
fn become_another(
    table: &mut Table,
    change: KindChange,
    fluss_id: TableId,
) -> Result<(), AlterTableError> {
    if table.origin != Origin::Kafka {
        return Err(AlterTableError::Kind(table.id));
    }
    add_schema(table, change.schema)?;
    table.kind = change.kind;
    table.bucket_keys = change.bucket_keys;
    table.fluss_id = fluss_id;
    Ok(())
}

pub(super) fn apply_map(map: &mut StringMap, changes: MapChanges) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}
