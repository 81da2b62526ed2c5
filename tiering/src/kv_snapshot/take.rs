//! Makes a snapshot.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use protocol::ids::TabletId;
use storage::catalog::{BucketSnapshots, SnapshotEntry, SnapshotLease};
use storage::env::DirectoryEntry;
use storage::kv::tablet::{KvSnapshot, SnapshotError};

use super::{
    BucketFolder, CompletedSnapshot, KvSnapshots, SnapshotFile, TakeSnapshotError, blocking,
};

/// The one snapshot that is on its way.
const SCRATCH: &str = "snapshot";
/// Files that later snapshots of the same database have as they are.
const SHARED_ENDING: &str = ".sst";

impl KvSnapshots {
    /// Makes a snapshot of a bucket, whose files `link` makes appear in a directory
    /// ([`storage::kv::tablet::KvTablet::link_files`]), and lets the oldest go that nobody needs.
    /// None when the index is not open or has not changed since the last one.
    ///
    /// # Errors
    /// There is none. What was copied of it goes with the next sweep.
    pub async fn take(
        &self,
        tablet: TabletId,
        link: impl FnOnce(&Path) -> Result<Option<KvSnapshot>, SnapshotError> + Send + 'static,
    ) -> Result<Option<SnapshotEntry>, TakeSnapshotError> {
        let Some(folder) = BucketFolder::of(&self.catalog.view(), tablet) else {
            return Ok(None);
        };
        let folder = folder?;
        let _one = self.working.lock().await;
        let scratch = self.config.scratch.join(SCRATCH);
        let taken = self.take_in(tablet, &folder, &scratch, link).await;
        let disk = Arc::clone(&self.env.disk);
        blocking(move || disk.remove_directory(&scratch)).await?;
        let entry = taken?;
        if entry.is_some()
            && let Err(error) = self.sweep_bucket(tablet).await
        {
            tracing::warn!(%tablet, %error, "old snapshots still take space");
        }
        Ok(entry)
    }

    async fn take_in(
        &self,
        tablet: TabletId,
        folder: &BucketFolder,
        scratch: &Path,
        link: impl FnOnce(&Path) -> Result<Option<KvSnapshot>, SnapshotError> + Send + 'static,
    ) -> Result<Option<SnapshotEntry>, TakeSnapshotError> {
        let linked = {
            let (disk, parent) = (Arc::clone(&self.env.disk), self.config.scratch.clone());
            let scratch = scratch.to_owned();
            blocking(move || {
                disk.create_directories(&parent)?;
                disk.remove_directory(&scratch)?;
                let Some(snapshot) = link(&scratch)? else {
                    return Ok::<_, TakeSnapshotError>(None);
                };
                Ok(Some((snapshot, disk.list(&scratch)?)))
            })
            .await?
        };
        let Some((snapshot, files)) = linked else {
            return Ok(None);
        };
        let newest = self.newest(tablet);
        if newest.as_ref().is_some_and(|newest| {
            newest.log_offset == snapshot.files.state.applied
                && newest.database == snapshot.files.database
        }) {
            return Ok(None);
        }
        // Before its first file is there, so that what a crash leaves of it is found.
        self.change_bucket(tablet, |records| {
            let is_known = records.buckets.contains_key(&tablet);
            (!is_known).then(|| BucketSnapshots {
                directory: folder.path().as_str().to_owned(),
                next_id: 0,
                snapshots: Vec::new(),
            })
        })
        .await?;
        let id = self.records.read().buckets.get(&tablet).map(|b| b.next_id);
        let id = id.unwrap_or_default();
        let basis = match newest.filter(|n| n.database == snapshot.files.database) {
            Some(newest) => self.read_in(folder, newest.id).await?.shared,
            None => Vec::new(),
        };
        let completed = self
            .upload(tablet, id, folder, scratch, &snapshot, files, basis)
            .await?;
        let entry = SnapshotEntry {
            id,
            log_offset: completed.log_offset,
            database: snapshot.files.database,
            bytes: completed.incremental_bytes,
        };
        let retained = self.config.retained;
        let added = entry.clone();
        self.change_bucket(tablet, |records| {
            let mut bucket = records.buckets.get(&tablet)?.clone();
            bucket.next_id = id + 1;
            bucket.snapshots.push(added);
            retire(&mut bucket, tablet, retained, records.leases.values());
            Some(bucket)
        })
        .await?;
        metrics::counter!("vltava_kv_snapshots_total").increment(1);
        metrics::counter!("vltava_kv_snapshot_bytes_total").increment(entry.bytes);
        Ok(Some(entry))
    }

    /// Copies what the store does not have, and writes down what the snapshot consists of.
    #[allow(clippy::too_many_arguments, reason = "a snapshot has as many sides")]
    async fn upload(
        &self,
        tablet: TabletId,
        id: i64,
        folder: &BucketFolder,
        scratch: &Path,
        snapshot: &KvSnapshot,
        files: Vec<DirectoryEntry>,
        basis: Vec<SnapshotFile>,
    ) -> Result<CompletedSnapshot, TakeSnapshotError> {
        let basis: HashMap<_, _> = basis.into_iter().map(|f| (f.name.clone(), f)).collect();
        let random = self.env.randomness.as_ref();
        let (mut shared, mut private, mut new) = (Vec::new(), Vec::new(), Vec::new());
        for file in files.into_iter().filter(|file| !file.is_directory) {
            let is_shared = file.name.ends_with(SHARED_ENDING);
            let known = basis.get(&file.name).filter(|f| f.bytes == file.length);
            if let Some(known) = known.filter(|_| is_shared) {
                shared.push(known.clone());
                continue;
            }
            let object = match is_shared {
                true => folder.new_shared(random),
                false => folder.new_private(id, random),
            };
            let file = SnapshotFile {
                name: file.name,
                object,
                bytes: file.length,
            };
            new.push((file.object.clone(), scratch.join(&file.name), file.bytes));
            match is_shared {
                true => shared.push(file),
                false => private.push(file),
            }
        }
        let incremental_bytes = new.iter().map(|(_, _, bytes)| bytes).sum();
        let transfers = new.into_iter().map(|(object, file, _): (_, PathBuf, _)| {
            let store = Arc::clone(&self.store);
            async move { store.put_file(&object, &file).await }
        });
        stream::iter(transfers)
            .buffer_unordered(self.config.transfers.max(1))
            .try_collect::<()>()
            .await?;
        let completed = CompletedSnapshot {
            tablet,
            id,
            shared,
            private,
            incremental_bytes,
            log_offset: snapshot.files.state.applied,
            row_count: snapshot.files.state.row_count,
            ids: snapshot.ids,
        };
        let json = Bytes::from(completed.to_json(&self.config.uri, folder));
        self.store.put(&folder.metadata(id), vec![json]).await?;
        Ok(completed)
    }
}

/// Leaves the newest snapshots of a bucket, and those that somebody reads. True when one goes.
pub(super) fn retire<'l>(
    bucket: &mut BucketSnapshots,
    tablet: TabletId,
    retained: usize,
    leases: impl Iterator<Item = &'l SnapshotLease>,
) -> bool {
    let leased: Vec<i64> = leases
        .filter_map(|lease| lease.snapshots.get(&tablet).copied())
        .collect();
    let before = bucket.snapshots.len();
    let mut surplus = before.saturating_sub(retained);
    bucket.snapshots.retain(|snapshot| {
        let is_old = surplus > 0;
        surplus = surplus.saturating_sub(1);
        !is_old || leased.contains(&snapshot.id)
    });
    bucket.snapshots.len() < before
}
