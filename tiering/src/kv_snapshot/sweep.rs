//! Removes the objects that no snapshot has: left by a crash, by an attempt that failed, by
//! snapshots that went, and by dropped tables.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt;
use protocol::ids::TabletId;
use storage::catalog::SnapshotEntry;

use super::take::retire;
use super::{BucketFolder, KvSnapshots, SweepError};
use crate::remote::ObjectPath;

impl KvSnapshots {
    /// Looks at all buckets, as a start does: removes what no snapshot has, and forgets snapshots
    /// that have lost files. Failures are logged; a later start tries again.
    pub async fn sweep(&self) {
        self.remove_dropped().await;
        let _one = self.working.lock().await;
        let disk = std::sync::Arc::clone(&self.env.disk);
        let scratch = self.config.scratch.clone();
        if let Err(error) = super::blocking(move || disk.remove_directory(&scratch)).await {
            tracing::warn!(%error, "cannot remove files that were on their way");
        }
        let tablets: Vec<_> = self.records.read().buckets.keys().copied().collect();
        for tablet in tablets {
            if let Err(error) = self.sweep_bucket(tablet).await {
                tracing::warn!(%tablet, %error, "files without a snapshot still take space");
            }
        }
    }

    /// Lets snapshots go that are neither among the newest nor read by anybody any more, and those
    /// of dropped tables. Failures are logged.
    pub async fn retire(&self) {
        self.remove_dropped().await;
        let retained = self.config.retained;
        let crowded: Vec<_> = {
            let records = self.records.read();
            let buckets = records.buckets.iter();
            let crowded = buckets.filter(|(_, bucket)| bucket.snapshots.len() > retained);
            crowded.map(|(tablet, _)| *tablet).collect()
        };
        for tablet in crowded {
            let _one = self.working.lock().await;
            let mut any = false;
            let retired = self
                .change_bucket(tablet, |records| {
                    let mut bucket = records.buckets.get(&tablet)?.clone();
                    any = retire(&mut bucket, tablet, retained, records.leases.values());
                    any.then_some(bucket)
                })
                .await;
            let swept = match retired {
                Ok(()) if any => self.sweep_bucket(tablet).await,
                Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = swept {
                tracing::warn!(%tablet, %error, "old snapshots still take space");
            }
        }
    }

    async fn remove_dropped(&self) {
        let view = self.catalog.view();
        let dropped: Vec<_> = {
            let records = self.records.read();
            let tablets = records.buckets.keys().copied();
            tablets.filter(|tablet| !view.has_tablet(*tablet)).collect()
        };
        for tablet in dropped {
            let _one = self.working.lock().await;
            if let Err(error) = self.remove_bucket(tablet).await {
                tracing::warn!(%tablet, %error, "snapshots of a dropped table still take space");
            }
        }
    }

    /// Forgets the snapshots of a bucket, then removes them, then forgets the bucket.
    async fn remove_bucket(&self, tablet: TabletId) -> Result<(), SweepError> {
        self.change_bucket(tablet, |records| {
            let mut bucket = records.buckets.get(&tablet)?.clone();
            let any = !bucket.snapshots.is_empty();
            bucket.snapshots.clear();
            any.then_some(bucket)
        })
        .await?;
        self.sweep_bucket(tablet).await?;
        Ok(self.forget_bucket(tablet).await?)
    }

    /// To be called by who has the turn to work.
    pub(super) async fn sweep_bucket(&self, tablet: TabletId) -> Result<(), SweepError> {
        let (folder, snapshots) = {
            let records = self.records.read();
            let Some(bucket) = records.buckets.get(&tablet) else {
                return Ok(());
            };
            let folder = BucketFolder::parse(&bucket.directory)?;
            (folder, bucket.snapshots.clone())
        };
        let listed = self.store.list(Some(folder.path()));
        let there: HashMap<ObjectPath, u64> = listed
            .map_ok(|info| (info.path, info.length))
            .try_collect()
            .await?;
        let mut needed = HashSet::new();
        let mut lost = Vec::new();
        for SnapshotEntry { id, .. } in snapshots {
            match self.read_in(&folder, id).await {
                Ok(snapshot) => {
                    let missing = snapshot
                        .files()
                        .find(|file| there.get(&file.object) != Some(&file.bytes));
                    if let Some(file) = missing {
                        let object = &file.object;
                        tracing::error!(%tablet, snapshot = id, %object, "a snapshot has lost a file");
                        lost.push(id);
                        continue;
                    }
                    needed.insert(folder.metadata(id));
                    needed.extend(snapshot.files().map(|file| file.object.clone()));
                }
                Err(error) if error.is_final() => {
                    tracing::error!(%tablet, snapshot = id, %error, "a snapshot is lost");
                    lost.push(id);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !lost.is_empty() {
            self.change_bucket(tablet, |records| {
                let mut bucket = records.buckets.get(&tablet)?.clone();
                bucket.snapshots.retain(|s| !lost.contains(&s.id));
                Some(bucket)
            })
            .await?;
        }
        let mut removed = 0;
        for object in there.keys().filter(|object| !needed.contains(object)) {
            self.store.delete(object).await?;
            removed += 1;
        }
        if removed > 0 {
            tracing::debug!(%tablet, removed, "removed files that no snapshot has");
        }
        Ok(())
    }
}
