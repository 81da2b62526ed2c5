//! Makes snapshots of the indexes of primary-key tables in the background, and ends leases.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::ids::Offset;
use storage::catalog::Catalog;
use storage::env::Env;
use tiering::kv_snapshot::{KvSnapshots, KvSnapshotsConfig, OpenSnapshotsError};
use tiering::remote::{ObjectRemoteStore, OpenLocalDirectoryError};

use crate::broker::Broker;
use crate::config::Config;
use crate::tablets::OpenBucket;

/// For files on their way, below the data directory: on the disk of the indexes.
const SCRATCH: &str = "snapshots";

/// Why there is no place for snapshots.
#[derive(Debug, thiserror::Error)]
pub enum OpenRemoteError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] OpenLocalDirectoryError),
    /// What is in it cannot be used.
    #[error("remote directory {}", path.display())]
    Snapshots {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: OpenSnapshotsError,
    },
    /// Its name cannot be told.
    #[error("cannot tell where the remote directory is")]
    Name(#[source] io::Error),
}

/// The snapshots in the configured directory. Waits for the disk.
pub async fn open(
    config: &Config,
    env: &Env,
    catalog: Arc<Catalog>,
) -> Result<Arc<KvSnapshots>, OpenRemoteError> {
    let settings = config.snapshots();
    let directory = settings.directory;
    // Clients have another working directory.
    let absolute = std::path::absolute(&directory).map_err(OpenRemoteError::Name)?;
    let randomness = Arc::clone(&env.randomness);
    let root = directory.clone();
    let store =
        tokio::task::spawn_blocking(move || ObjectRemoteStore::local_directory(&root, randomness));
    let store = store
        .await
        .map_err(|e| OpenRemoteError::Name(io::Error::other(e)))??;
    let uri = absolute.display().to_string();
    let config = KvSnapshotsConfig {
        retained: settings.retained,
        transfers: settings.transfers,
        scratch: config.storage().data_dir.join(SCRATCH),
        uri: format!("file://{}", uri.trim_end_matches('/')),
    };
    let opened = KvSnapshots::open(Arc::new(store), catalog, env.clone(), config).await;
    opened.map_err(|source| OpenRemoteError::Snapshots {
        path: directory,
        source,
    })
}

/// Makes snapshots, round after round, after it has removed what an earlier start left: all of them,
/// but for leased ones, where none are to be made any more.
pub async fn keep(broker: Arc<Broker>) {
    broker.snapshots.sweep().await;
    let interval = broker.config().snapshots().interval;
    if interval == Duration::ZERO {
        broker.snapshots.retire().await;
        return;
    }
    let mut ticks = crate::assembly::ticks(interval);
    loop {
        ticks.tick().await;
        broker.snapshots.retire().await;
        for bucket in broker.tablets.all_open() {
            take(&broker.snapshots, &bucket).await;
        }
    }
}

/// Ends leases, and lets the snapshots go that only they kept.
pub async fn keep_leases(broker: Arc<Broker>) {
    let mut ticks = crate::assembly::ticks(broker.config().snapshots().lease_check_interval);
    loop {
        ticks.tick().await;
        broker.snapshots.expire_leases().await;
        broker.snapshots.retire().await;
    }
}

/// Makes a snapshot of a bucket that has changed since its last one.
async fn take(snapshots: &KvSnapshots, bucket: &OpenBucket) {
    let Some(kv) = bucket.kv.clone() else {
        return;
    };
    let id = bucket.tablet.log().log().id();
    let taken = snapshots.newest(id).map(|newest| newest.log_offset);
    match kv.applied() {
        Some(applied) if applied > Offset::ZERO && taken != Some(applied) => {}
        _ => return,
    }
    match snapshots
        .take(id, move |directory| kv.link_files(directory))
        .await
    {
        Ok(Some(snapshot)) => {
            let path = &bucket.table.path;
            let (number, bytes, offset) = (snapshot.id, snapshot.bytes, snapshot.log_offset);
            tracing::debug!(table = %path, tablet = %id, number, %offset, bytes, "made a snapshot");
        }
        Ok(None) => {}
        Err(error) => {
            metrics::counter!("vltava_kv_snapshot_failures_total").increment(1);
            let error: &dyn std::error::Error = &error;
            tracing::warn!(table = %bucket.table.path, tablet = %id, error, "cannot make a snapshot");
        }
    }
}
