//! Which snapshots of indexes there are in the remote store, and who needs them: a snapshot exists
//! when its record does. Its files were there before, and go afterwards.

use std::collections::BTreeMap;

use protocol::ids::{BucketId, Offset, TableId, TablePartitionId, TabletId};
use serde::{Deserialize, Serialize};

use super::Catalog;
use super::error::WriteError;
use super::record::{self, KV_LEASE_PREFIX, KV_SNAPSHOTS_PREFIX};
use super::store::RecordChange;

/// The snapshots of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSnapshots {
    /// Where in the remote store the bucket's files are. It stays when a table is dropped, so that
    /// they are still found.
    pub directory: String,
    /// The id of the next snapshot; ids are not used twice.
    pub next_id: i64,
    /// Those that there are, the newest last.
    pub snapshots: Vec<SnapshotEntry>,
}

/// A snapshot that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEntry {
    /// Its number, ascending in the bucket.
    pub id: i64,
    /// It has the changes of all lower offsets.
    #[serde(with = "offset")]
    pub log_offset: Offset,
    /// The database whose files it has: the next snapshot of the same one shares them.
    pub database: String,
    /// Bytes of those of its files that no earlier snapshot had.
    pub bytes: u64,
}

/// Snapshots that somebody reads, so that they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotLease {
    /// When it ends by itself, epoch milliseconds.
    pub expires_ms: i64,
    /// The snapshot of each bucket.
    pub snapshots: BTreeMap<TabletId, i64>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotRecords {
    /// Snapshots by bucket, those of dropped tables included until their files are gone.
    pub buckets: BTreeMap<TabletId, BucketSnapshots>,
    /// Leases by their ids, which clients choose.
    pub leases: BTreeMap<String, SnapshotLease>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BucketRecord {
    table: TableId,
    #[serde(default)]
    table_partition: Option<TablePartitionId>,
    bucket: BucketId,
    directory: String,
    next_id: i64,
    snapshots: Vec<SnapshotEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeaseRecord {
    id: String,
    expires_ms: i64,
    snapshots: Vec<LeasedRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeasedRecord {
    table: TableId,
    #[serde(default)]
    table_partition: Option<TablePartitionId>,
    bucket: BucketId,
    snapshot: i64,
}

mod offset {
    use protocol::ids::Offset;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(offset: &Offset, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(offset.value())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Offset, D::Error> {
        i64::deserialize(from).map(Offset::new)
    }
}

impl SnapshotRecords {
    /// Reads the record of a bucket or of a lease; the reason, when it is damaged.
    pub(super) fn load(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        if key.starts_with(KV_LEASE_PREFIX) {
            let LeaseRecord {
                id,
                expires_ms,
                snapshots,
            } = record::read(key, value)?;
            let leased = snapshots.into_iter().map(|leased| {
                let tablet = tablet(leased.table, leased.table_partition, leased.bucket);
                (tablet, leased.snapshot)
            });
            let snapshots = leased.collect();
            let lease = SnapshotLease {
                expires_ms,
                snapshots,
            };
            self.leases.insert(id, lease);
            return Ok(());
        }
        let stored: BucketRecord = record::read(key, value)?;
        let is_sorted = stored.snapshots.is_sorted_by(|a, b| a.id < b.id);
        if !is_sorted
            || stored
                .snapshots
                .last()
                .is_some_and(|last| last.id >= stored.next_id)
        {
            return Err("its snapshots are out of order".to_owned());
        }
        let bucket = BucketSnapshots {
            directory: stored.directory,
            next_id: stored.next_id,
            snapshots: stored.snapshots,
        };
        let tablet = tablet(stored.table, stored.table_partition, stored.bucket);
        self.buckets.insert(tablet, bucket);
        Ok(())
    }
}

impl Catalog {
    /// All snapshots and leases.
    pub fn snapshots(&self) -> SnapshotRecords {
        self.writer.lock().snapshots.clone()
    }

    /// Sets the snapshots of a bucket, durably; none forgets the bucket. Waits for the disk.
    ///
    /// # Errors
    /// The disk refuses; nothing is changed, as far as this process knows.
    pub fn put_snapshots(
        &self,
        tablet: TabletId,
        bucket: Option<&BucketSnapshots>,
    ) -> Result<(), WriteError> {
        let mut writer = self.writer.lock();
        let key = bucket_key(tablet);
        let change = match bucket {
            None => RecordChange::Delete { key },
            Some(bucket) => {
                let record = BucketRecord {
                    table: tablet.table,
                    table_partition: tablet.table_partition,
                    bucket: tablet.bucket,
                    directory: bucket.directory.clone(),
                    next_id: bucket.next_id,
                    snapshots: bucket.snapshots.clone(),
                };
                record::put(key, &record)
            }
        };
        self.commit(&mut writer, &[change])?;
        match bucket {
            None => writer.snapshots.buckets.remove(&tablet),
            Some(bucket) => writer.snapshots.buckets.insert(tablet, bucket.clone()),
        };
        Ok(())
    }

    /// Sets a lease, durably; none forgets it. Waits for the disk.
    ///
    /// # Errors
    /// The disk refuses; nothing is changed, as far as this process knows.
    pub fn put_snapshot_lease(
        &self,
        id: &str,
        lease: Option<&SnapshotLease>,
    ) -> Result<(), WriteError> {
        let mut writer = self.writer.lock();
        let key = format!("{KV_LEASE_PREFIX}{id}");
        let change = match lease {
            None => RecordChange::Delete { key },
            Some(lease) => {
                let leased = lease
                    .snapshots
                    .iter()
                    .map(|(tablet, snapshot)| LeasedRecord {
                        table: tablet.table,
                        table_partition: tablet.table_partition,
                        bucket: tablet.bucket,
                        snapshot: *snapshot,
                    });
                let record = LeaseRecord {
                    id: id.to_owned(),
                    expires_ms: lease.expires_ms,
                    snapshots: leased.collect(),
                };
                record::put(key, &record)
            }
        };
        self.commit(&mut writer, &[change])?;
        match lease {
            None => writer.snapshots.leases.remove(id),
            Some(lease) => writer.snapshots.leases.insert(id.to_owned(), lease.clone()),
        };
        Ok(())
    }
}

fn tablet(table: TableId, table_partition: Option<TablePartitionId>, bucket: BucketId) -> TabletId {
    TabletId {
        table,
        table_partition,
        bucket,
    }
}

fn bucket_key(tablet: TabletId) -> String {
    let TabletId { table, bucket, .. } = tablet;
    match tablet.table_partition {
        Some(partition) => format!("{KV_SNAPSHOTS_PREFIX}{table}/{partition}/{bucket}"),
        None => format!("{KV_SNAPSHOTS_PREFIX}{table}/{bucket}"),
    }
}
