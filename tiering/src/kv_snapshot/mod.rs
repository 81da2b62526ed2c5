//! Snapshots of the indexes of primary-key tables in the remote store: clients read them instead of
//! a whole changelog, and an index that is lost is taken from them.
//!
//! ```text
//! take:    link the index's files ─► copy those that are new ─► _METADATA ─► record in the catalog
//! retire:  record without the snapshot ─► remove what no recorded one has
//! start:   remove what no recorded one has; forget recorded ones that have lost files
//! ```
//!
//! A snapshot exists when the catalog says so. All its files were there before, and go afterwards: a
//! crash leaves files without a snapshot, never a snapshot without files.
//!
//! | file | what |
//! |---|---|
//! | `layout.rs`, `metadata.rs` | where objects are and what `_METADATA` says, as Fluss has it |
//! | `take.rs` | makes a snapshot |
//! | `sweep.rs` | removes what is not needed |
//! | `leases.rs` | keeps what somebody reads |
//! | `restore.rs` | gives an index back |
//!
//! *Invariant*: objects of a bucket are written and removed by one task at a time (`working`);
//! records change one at a time (`changing`), which is never held while objects travel.

mod error;
mod layout;
mod leases;
mod metadata;
mod restore;
mod sweep;
mod take;
#[cfg(test)]
mod tests;

pub use error::{LeaseError, OpenSnapshotsError, ReadSnapshotError, SweepError, TakeSnapshotError};
pub use layout::BucketFolder;
pub use metadata::{CompletedSnapshot, InvalidMetadata, SnapshotFile};
pub use restore::Restorer;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use protocol::ids::{Offset, TabletId};
use storage::catalog::{BucketSnapshots, Catalog, SnapshotEntry, SnapshotRecords, WriteError};
use storage::env::Env;
use tokio::sync::Mutex;

use crate::remote::{GetError, ObjectPath, PutIfAbsentError, RemoteStore};

/// Says whose snapshots a store has: two clusters in one store would remove each other's files.
const OWNER: &str = "kv/_CLUSTER";
/// The largest `_METADATA`: a hundred thousand files.
const METADATA_BYTES_MAX: u64 = 64 << 20;

/// How snapshots are made and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvSnapshotsConfig {
    /// The newest ones of a bucket that are kept (`kv.snapshot.num-retained`); 0 where none are
    /// made any more.
    pub retained: usize,
    /// Files of a snapshot that travel at a time (`kv.snapshot.transfer-thread-num`).
    pub transfers: usize,
    /// A directory on the disk of the indexes, for files on their way. What is in it goes.
    pub scratch: PathBuf,
    /// What clients put before the path of an object to reach it, without the last slash.
    pub uri: String,
}

/// All snapshots of a broker.
pub struct KvSnapshots {
    store: Arc<dyn RemoteStore>,
    catalog: Arc<Catalog>,
    env: Env,
    config: KvSnapshotsConfig,
    /// What the catalog has.
    records: RwLock<SnapshotRecords>,
    changing: Mutex<()>,
    working: Mutex<()>,
}

impl KvSnapshots {
    /// The snapshots that the catalog knows, in this store.
    ///
    /// # Errors
    /// The store has those of another cluster, or does not answer.
    pub async fn open(
        store: Arc<dyn RemoteStore>,
        catalog: Arc<Catalog>,
        env: Env,
        config: KvSnapshotsConfig,
    ) -> Result<Arc<Self>, OpenSnapshotsError> {
        claim(store.as_ref(), catalog.cluster_id()).await?;
        let snapshots = KvSnapshots {
            store,
            records: RwLock::new(catalog.snapshots()),
            catalog,
            env,
            config,
            changing: Mutex::default(),
            working: Mutex::default(),
        };
        snapshots.count();
        Ok(Arc::new(snapshots))
    }

    /// The newest snapshot of a bucket.
    pub fn newest(&self, tablet: TabletId) -> Option<SnapshotEntry> {
        let records = self.records.read();
        records.buckets.get(&tablet)?.snapshots.last().cloned()
    }

    /// All snapshots of a bucket, the oldest first.
    pub fn all(&self, tablet: TabletId) -> Vec<SnapshotEntry> {
        let records = self.records.read();
        let bucket = records.buckets.get(&tablet);
        bucket.map_or(Vec::new(), |bucket| bucket.snapshots.clone())
    }

    /// The changelog of a bucket from here on goes with one of its snapshots: who reads it needs
    /// every change since. None without snapshots.
    pub fn oldest_offset(&self, tablet: TabletId) -> Option<Offset> {
        let records = self.records.read();
        let bucket = records.buckets.get(&tablet)?;
        bucket.snapshots.iter().map(|s| s.log_offset).min()
    }

    /// What a snapshot consists of.
    ///
    /// # Errors
    /// There is none, or the store does not give it.
    pub async fn read(
        &self,
        tablet: TabletId,
        id: i64,
    ) -> Result<CompletedSnapshot, ReadSnapshotError> {
        let folder = {
            let records = self.records.read();
            let bucket = records.buckets.get(&tablet);
            let bucket = bucket.filter(|b| b.snapshots.iter().any(|s| s.id == id));
            let bucket = bucket.ok_or(ReadSnapshotError::NotExist { tablet, id })?;
            BucketFolder::parse(&bucket.directory)?
        };
        self.read_in(&folder, id).await
    }

    /// Where clients find an object.
    pub fn uri_of(&self, object: &ObjectPath) -> String {
        format!("{}/{object}", self.config.uri)
    }

    async fn read_in(
        &self,
        folder: &BucketFolder,
        id: i64,
    ) -> Result<CompletedSnapshot, ReadSnapshotError> {
        let object = folder.metadata(id);
        let length = self.store.head(&object).await?.length;
        if length > METADATA_BYTES_MAX {
            return Err(ReadSnapshotError::TooLarge { object, length });
        }
        let bytes = self.store.get_range(&object, 0..length).await?;
        CompletedSnapshot::from_json(&bytes, folder)
            .map_err(|source| ReadSnapshotError::Invalid { object, source })
    }

    /// Changes the record of a bucket, durably, to what `change` makes of it; none leaves it as it
    /// is. `change` sees the leases, and none is made meanwhile.
    async fn change_bucket(
        &self,
        tablet: TabletId,
        change: impl FnOnce(&SnapshotRecords) -> Option<BucketSnapshots>,
    ) -> Result<(), WriteError> {
        let _turn = self.changing.lock().await;
        let Some(bucket) = change(&self.records.read()) else {
            return Ok(());
        };
        let catalog = Arc::clone(&self.catalog);
        let written = bucket.clone();
        blocking(move || catalog.put_snapshots(tablet, Some(&written))).await?;
        self.records.write().buckets.insert(tablet, bucket);
        self.count();
        Ok(())
    }

    async fn forget_bucket(&self, tablet: TabletId) -> Result<(), WriteError> {
        let _turn = self.changing.lock().await;
        let catalog = Arc::clone(&self.catalog);
        blocking(move || catalog.put_snapshots(tablet, None)).await?;
        self.records.write().buckets.remove(&tablet);
        self.count();
        Ok(())
    }

    fn count(&self) {
        let records = self.records.read();
        let all = || records.buckets.values().flat_map(|b| &b.snapshots);
        metrics::gauge!("fluss_coordinator_num_kv_snapshots").set(all().count() as f64);
        let bytes: u64 = all().map(|snapshot| snapshot.bytes).sum();
        metrics::gauge!("fluss_coordinator_all_kv_snapshot_size").set(bytes as f64);
        metrics::gauge!("fluss_coordinator_kv_snapshot_lease_count")
            .set(records.leases.len() as f64);
        let leased: usize = records.leases.values().map(|l| l.snapshots.len()).sum();
        metrics::gauge!("fluss_coordinator_leased_kv_snapshot_count").set(leased as f64);
    }
}

/// Writes down whose the store is, or finds that it is ours.
async fn claim(store: &dyn RemoteStore, cluster_id: &str) -> Result<(), OpenSnapshotsError> {
    let object = ObjectPath::parse(OWNER).expect("a legal path");
    let content = Bytes::copy_from_slice(cluster_id.as_bytes());
    match store.put_if_absent(&object, vec![content]).await {
        Ok(()) => return Ok(()),
        Err(PutIfAbsentError::AlreadyExists(_)) => {}
        Err(PutIfAbsentError::Remote(error)) => return Err(GetError::Remote(error).into()),
    }
    let length = store.head(&object).await?.length.min(1 << 10);
    let found = store.get_range(&object, 0..length).await?;
    if found == cluster_id.as_bytes() {
        return Ok(());
    }
    Err(OpenSnapshotsError::Owned {
        owner: String::from_utf8_lossy(&found).into_owned(),
        ours: cluster_id.to_owned(),
    })
}

/// Runs what waits for the disk where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime goes down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
