//! Gives the index of a bucket back from its newest snapshot.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use protocol::ids::{Offset, TabletId};
use storage::env::OpenMode;
use storage::kv::tablet::{IndexBackups, RestoreError};
use tokio::runtime::Builder;

use super::{KvSnapshots, ReadSnapshotError, SnapshotFile};
use crate::remote::GetError;

/// Bytes that are on their way at a time.
const CHUNK_BYTES: u64 = 8 << 20;

/// Snapshots as backups of indexes, for threads that may wait.
pub struct Restorer {
    snapshots: Arc<KvSnapshots>,
}

impl Restorer {
    /// Backups in the store of these snapshots. Its methods wait, and must not be called where
    /// that is not allowed.
    pub fn new(snapshots: Arc<KvSnapshots>) -> Restorer {
        Restorer { snapshots }
    }
}

impl IndexBackups for Restorer {
    fn newest(&self, tablet: TabletId) -> Option<Offset> {
        Some(self.snapshots.newest(tablet)?.log_offset)
    }

    fn fetch(&self, tablet: TabletId, directory: &Path) -> Result<(), RestoreError> {
        // A runtime of its own: all threads of the process's that may block may be waiting for
        // this very index.
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(not_written)?;
        runtime.block_on(self.snapshots.fetch(tablet, directory))?;
        metrics::counter!("vltava_kv_snapshot_restores_total").increment(1);
        Ok(())
    }
}

impl KvSnapshots {
    /// Waits for the disk where it runs: a thread that may.
    async fn fetch(&self, tablet: TabletId, directory: &Path) -> Result<(), RestoreError> {
        let newest = self.newest(tablet).map_or(-1, |snapshot| snapshot.id);
        let snapshot = self.read(tablet, newest).await.map_err(not_read)?;
        let disk = &self.env.disk;
        disk.create_directories(directory).map_err(not_written)?;
        for file in snapshot.files() {
            self.fetch_file(file, directory).await?;
        }
        disk.sync_directory(directory).map_err(not_written)
    }

    async fn fetch_file(&self, file: &SnapshotFile, directory: &Path) -> Result<(), RestoreError> {
        let path = directory.join(&file.name);
        let target = self.env.disk.open(&path, OpenMode::CreateNew);
        let target = target.map_err(not_written)?;
        let mut at = 0;
        while at < file.bytes {
            let end = file.bytes.min(at + CHUNK_BYTES);
            let chunk = self.store.get_range(&file.object, at..end).await;
            let chunk = chunk.map_err(not_got)?;
            let slices = [IoSlice::new(&chunk)];
            target.write_all_at(&slices, at).map_err(not_written)?;
            at = end;
        }
        target.sync_data().map_err(not_written)
    }
}

fn not_read(error: ReadSnapshotError) -> RestoreError {
    RestoreError(error.into())
}

fn not_got(error: GetError) -> RestoreError {
    RestoreError(error.into())
}

fn not_written(error: std::io::Error) -> RestoreError {
    RestoreError(error.into())
}
