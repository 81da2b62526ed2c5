//! Partitions of partitioned tables, which are topics: create, add buckets, drop.

use std::sync::Arc;

use protocol::ids::{TableId, TablePartitionId};

use super::Catalog;
use super::counters::Counter;
use super::error::{AlterPartitionError, CreatePartitionError};
use super::model::{Dropped, TablePartition};
use super::names;
use super::record::{self, PartitionRecord};
use super::store::RecordChange;
use super::tables::put_dropped;
use super::view::CatalogView;

impl Catalog {
    /// Makes a partition with the values of the partition keys, in their order. It gets as many
    /// buckets as the table has now.
    pub fn create_partition(
        &self,
        table: TableId,
        values: Vec<String>,
    ) -> Result<Arc<TablePartition>, CreatePartitionError> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        let owner = view
            .table(table)
            .ok_or(CreatePartitionError::UnknownTable(table))?;
        if !owner.is_partitioned() {
            return Err(CreatePartitionError::NotPartitioned(table));
        }
        let (found, expected) = (values.len(), owner.partition_keys.len());
        if found != expected {
            return Err(CreatePartitionError::ValueCount { found, expected });
        }
        let name = values.join("$");
        if let Some(existing) = view.partition_by_name(table, &name) {
            let partition = existing.id;
            return Err(CreatePartitionError::AlreadyExists {
                table,
                name,
                partition,
            });
        }
        // A `$` inside of a value would make two partitions look like one.
        let is_split = values.iter().any(|value| value.contains('$'));
        let name_checked = if is_split {
            let allowed = "a-z, A-Z, 0-9, _ and -";
            Err(names::NameError::Character {
                character: '$',
                allowed,
            })
        } else {
            names::check_partition_name(&name)
        };
        if let Err(source) = name_checked {
            return Err(CreatePartitionError::Name { name, source });
        }
        let topic = names::topic_of_partition(&owner.path, &name, self.default_database());
        if let Some(owner) = view.owner_of_topic(&topic) {
            let owner = owner.clone();
            return Err(CreatePartitionError::Claimed { name, topic, owner });
        }
        let bucket_count = owner.bucket_count;
        let (ids, counter_change) = writer.counters.take(Counter::PartitionId, 1);
        let now_ms = self.env.clock.wall_ms();
        let partition = Arc::new(TablePartition {
            id: TablePartitionId::new(ids.start),
            table,
            values,
            topic: self.new_topic(topic),
            bucket_count,
            created_ms: now_ms,
            modified_ms: now_ms,
        });
        view.put_partition(&partition);
        self.publish(&mut writer, &[counter_change, put(&partition)], view)?;
        Ok(partition)
    }

    /// Adds buckets to a partition.
    pub fn raise_partition_bucket_count(
        &self,
        id: TablePartitionId,
        bucket_count: u32,
    ) -> Result<Arc<TablePartition>, AlterPartitionError> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        let before = view.partition(id).ok_or(AlterPartitionError::Unknown(id))?;
        let (current, asked) = (before.bucket_count, bucket_count);
        if asked <= current || i32::try_from(asked).is_err() {
            return Err(AlterPartitionError::BucketCount { current, asked });
        }
        let mut partition = TablePartition::clone(before);
        partition.bucket_count = bucket_count;
        partition.modified_ms = self.env.clock.wall_ms();
        let partition = Arc::new(partition);
        view.put_partition(&partition);
        self.publish(&mut writer, &[put(&partition)], view)?;
        Ok(partition)
    }

    /// Drops a partition; its tablets wait for [`Catalog::forget_dropped`].
    pub fn drop_partition(&self, id: TablePartitionId) -> Result<(), AlterPartitionError> {
        let mut writer = self.writer.lock();
        let mut view = self.next_view();
        let partition = view
            .partition(id)
            .cloned()
            .ok_or(AlterPartitionError::Unknown(id))?;
        let mut changes = Vec::new();
        self.remove_partition(&partition, &mut view, &mut changes);
        Ok(self.publish(&mut writer, &changes, view)?)
    }

    pub(super) fn remove_partition(
        &self,
        partition: &TablePartition,
        view: &mut CatalogView,
        changes: &mut Vec<RecordChange>,
    ) {
        let dropped = Dropped {
            table: partition.table,
            table_partition: Some(partition.id),
            bucket_count: partition.bucket_count,
            topic_id: partition.topic.id,
            dropped_ms: self.env.clock.wall_ms(),
        };
        changes.push(put_dropped(&dropped));
        changes.push(RecordChange::Delete {
            key: record::partition_key(partition.id),
        });
        view.put_dropped(dropped);
        view.remove_partition(partition);
    }
}

fn put(partition: &TablePartition) -> RecordChange {
    record::put(
        record::partition_key(partition.id),
        &PartitionRecord::from(partition),
    )
}
