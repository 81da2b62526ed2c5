//! The open tablets of this broker: opened at first use, kept in step with the catalog, cared for
//! in the background.

mod kind;
mod kv;
mod opening;
mod row_numbers;
mod settings;
mod topic;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use protocol::ids::{LeaderEpoch, Offset, TableId, TablePartitionId, TabletId};
use storage::catalog::{Catalog, CatalogView, Table};
use storage::kv::index::IndexUsage;
use storage::kv::tablet::{IndexBackups, KvResources, KvTablet};
use storage::kv::topic::{TopicIndex, TopicIndexes};
use storage::log::{LogContext, LogError, LogThreads};
use storage::tablet::Tablet;
use storage::transcode::Transcoder;
use tokio::sync::Semaphore;

use crate::config::{Config, TopicConfig};
use kv::kv_table_of;
use settings::{log_config, shape_of};

pub use kind::{align_all, follow_policy, is_compacted, new_topic};
pub use kv::{KvTableError, has_default_bucket_key, key_columns, key_encoder};
pub use row_numbers::RowNumbers;
pub use settings::{is_upserted, overrides_of, policies_of, settings_of};

/// A bucket that is open: its tablet, and the table's settings as they were when it was looked up.
#[derive(Clone)]
pub struct OpenBucket {
    /// Log and transcoder.
    pub tablet: Tablet,
    /// The table it belongs to.
    pub table: Arc<Table>,
    /// The table's settings under Kafka's names.
    pub settings: Arc<TopicConfig>,
    /// Its rows by their keys; only of primary-key tables that Fluss clients made.
    pub kv: Option<KvTablet>,
    /// The newest record of each key; only of compacted topics.
    pub topic: Option<TopicIndex>,
}

/// Why a tablet cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TabletError {
    /// There is no such table, partition or bucket: refresh the metadata.
    #[error("no tablet {0}")]
    Unknown(TabletId),
    /// The broker stops.
    #[error("tablet {0} is not opened any more: the broker stops")]
    Closed(TabletId),
    /// Its table was made by another version, or damaged, so that its rows cannot be keyed.
    #[error("table of tablet {tablet} cannot be used: {error}")]
    Keys {
        /// Which.
        tablet: TabletId,
        /// Why.
        error: Arc<KvTableError>,
    },
    /// Its files cannot be opened.
    #[error("cannot open tablet {tablet}: {error}")]
    Open {
        /// Which.
        tablet: TabletId,
        /// Why.
        error: Arc<LogError>,
    },
}

/// Logs that are opened, or closed, at a time: they wait for the disk most of the time, and a disk
/// serves several syncs at once.
const AT_ONCE: usize = 8;

/// What all tablets share.
pub struct TabletResources {
    /// Disk, clocks, buffers and open files.
    pub context: Arc<LogContext>,
    /// Threads of the logs.
    pub threads: Arc<LogThreads>,
    /// Reads frames of one wire as batches of the other, for all tablets.
    pub transcoder: Arc<Transcoder>,
    /// Indexes and threads of primary-key tables.
    pub kv: Arc<KvResources>,
    /// Indexes of compacted topics, and the threads that they follow their logs on.
    pub topics: Arc<TopicIndexes>,
    /// Below it lie the logs.
    pub directory: PathBuf,
    /// The epoch of this start.
    pub epoch: LeaderEpoch,
}

#[derive(Default)]
struct OpenTablets {
    buckets: HashMap<TabletId, Arc<OpenBucket>>,
    /// The broker stops: no more are opened.
    closed: bool,
}

/// The open tablets.
pub struct Tablets {
    resources: TabletResources,
    catalog: Arc<Catalog>,
    config: RwLock<Arc<Config>>,
    open: RwLock<OpenTablets>,
    /// One lock per tablet that is being opened, so that it is opened once.
    opening: Mutex<HashMap<TabletId, Arc<Mutex<()>>>>,
    /// Bounds how many are opened at a time for those who wait.
    opening_turns: Semaphore,
    /// Buckets of dropped tables, whose indexes are closed before their files are deleted.
    discarded: Mutex<Vec<Arc<OpenBucket>>>,
}

impl Tablets {
    /// No tablet is open yet.
    pub fn new(
        resources: TabletResources,
        catalog: Arc<Catalog>,
        config: Arc<Config>,
    ) -> Arc<Tablets> {
        Arc::new(Tablets {
            resources,
            catalog,
            config: RwLock::new(config),
            open: RwLock::default(),
            opening: Mutex::default(),
            opening_turns: Semaphore::new(AT_ONCE),
            discarded: Mutex::default(),
        })
    }

    /// Where indexes that are lost are looked for. To be called before any tablet is opened.
    pub fn set_backups(&self, backups: Arc<dyn IndexBackups>) {
        self.resources.kv.set_backups(backups);
    }

    /// The epoch under which the tablets append.
    pub fn epoch(&self) -> LeaderEpoch {
        self.resources.epoch
    }

    /// Memory in use by the indexes of all tablets.
    pub fn index_usage(&self) -> IndexUsage {
        self.resources.kv.usage()
    }

    /// The tablet, if it is open.
    pub fn get_open(&self, id: TabletId) -> Option<Arc<OpenBucket>> {
        self.open.read().buckets.get(&id).cloned()
    }

    /// All open tablets.
    pub fn all_open(&self) -> Vec<Arc<OpenBucket>> {
        self.open.read().buckets.values().cloned().collect()
    }

    fn directory_of_tablet(&self, id: TabletId) -> PathBuf {
        directory_of(&self.resources.directory, id.table, id.table_partition)
            .join(id.bucket.value().to_string())
    }

    /// True when the tablet was opened before, now or by an earlier start. Waits for the disk.
    pub fn has_files(&self, id: TabletId) -> bool {
        let directory = self.directory_of_tablet(id);
        // What cannot be looked up is opened, which says why it cannot be.
        self.resources
            .context
            .env
            .disk
            .exists(&directory)
            .unwrap_or(true)
    }

    /// The settings of a table: what was set on the Kafka wire, what its Fluss properties say, and
    /// the broker's defaults.
    pub fn settings_of(&self, table: &Table) -> TopicConfig {
        settings_of(&self.config.read(), table)
    }

    /// Takes a new configuration of the broker.
    pub fn set_config(&self, config: Arc<Config>) {
        *self.config.write() = config;
        self.refresh_all(true);
    }

    /// Brings the open tablets in step with the catalog: new settings and schemas count from now
    /// on, tablets of dropped tables are closed.
    pub fn refresh(&self) {
        self.refresh_all(false);
    }

    fn refresh_all(&self, settings_changed: bool) {
        let mut gone = Vec::new();
        {
            let mut open = self.open.write();
            // Looked at inside the lock: an older view must not come after a newer one.
            let view = self.catalog.view();
            let config = Arc::clone(&self.config.read());
            open.buckets.retain(|id, bucket| {
                let Some(table) = table_of(&view, *id) else {
                    gone.push(Arc::clone(bucket));
                    return false;
                };
                if settings_changed || !Arc::ptr_eq(table, &bucket.table) {
                    *bucket = Arc::new(self.in_step(&config, bucket, table));
                }
                true
            });
        }
        for bucket in gone {
            let log = bucket.tablet.log().log();
            log.abandon();
            self.resources.transcoder.forget(log.id());
            self.discarded.lock().push(bucket);
        }
    }

    /// Deletes the files of dropped tables. Waits for the disk.
    pub fn delete_dropped(&self) {
        self.refresh();
        self.discard_indexes();
        let disk = &self.resources.context.env.disk;
        for dropped in self.catalog.view().dropped() {
            let directory = directory_of(
                &self.resources.directory,
                dropped.table,
                dropped.table_partition,
            );
            let deleted = disk.remove_directory(&directory);
            if let Err(error) = deleted {
                tracing::warn!(path = %directory.display(), %error, "cannot delete a dropped table");
                continue;
            }
            let forgotten = self
                .catalog
                .forget_dropped(dropped.table, dropped.table_partition);
            if let Err(error) = forgotten {
                tracing::warn!(table = %dropped.table, %error, "cannot forget a dropped table");
            }
        }
    }

    /// Closes the indexes of dropped tables: an open one would write into a directory that is being
    /// deleted. Waits for the disk.
    pub(super) fn discard_indexes(&self) {
        let discarded = std::mem::take(&mut *self.discarded.lock());
        for bucket in discarded {
            if let Some(kv) = &bucket.kv {
                kv.discard();
            }
            if let Some(topic) = &bucket.topic {
                topic.discard();
            }
        }
    }

    /// Moves a log's start, as DeleteRecords asks: durable when this returns, and what was made of
    /// the deleted records is forgotten too. Returns the start. Waits for the disk.
    pub fn delete_before(&self, bucket: &OpenBucket, offset: Offset) -> Result<Offset, LogError> {
        let log = bucket.tablet.log().log();
        let start = log.delete_before(offset)?;
        self.resources.transcoder.forget_below(log.id(), start);
        Ok(start)
    }

    /// Removes what retention no longer wants, and has the transcoder follow. Waits for the disk.
    pub fn enforce_retention(&self) {
        self.remove_expired();
        for bucket in self.all_open() {
            bucket.tablet.tend();
        }
    }

    fn remove_expired(&self) {
        for bucket in self.all_open() {
            if !bucket.settings.deletes {
                continue;
            }
            let log = bucket.tablet.log().log();
            match log.enforce_retention() {
                Ok(removed) if removed.segments > 0 => {
                    let log_start = log.watermarks().log_start;
                    self.resources.transcoder.forget_below(log.id(), log_start);
                    tracing::info!(
                        table = %bucket.table.path,
                        tablet = %log.id(),
                        segments = removed.segments,
                        bytes = removed.bytes,
                        %log_start,
                        "removed segments by retention"
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(table = %bucket.table.path, tablet = %log.id(), %error, "retention failed");
                }
            }
        }
    }

    /// Writes a checkpoint of every log that was written to since its last one, and the indexes that
    /// are far behind; forgets producers that fell silent. Waits for the disk.
    pub fn checkpoint(&self) {
        for bucket in self.all_open() {
            let log = bucket.tablet.log().log();
            log.expire_producers();
            if let Err(error) = log.checkpoint_if_changed() {
                tracing::warn!(table = %bucket.table.path, tablet = %log.id(), %error, "checkpoint failed");
            }
            if let Some(kv) = &bucket.kv {
                kv.tend();
            }
        }
    }

    /// True when recovery would have to read much in all.
    pub fn recovery_is_crowded(&self) -> bool {
        self.resources.context.recovery_debt.is_crowded()
    }

    /// Writes a checkpoint of every log behind whose last one too much lies. Waits for the disk.
    pub fn checkpoint_due(&self) {
        for bucket in self.all_open() {
            let log = bucket.tablet.log().log();
            if log.checkpoint_is_due()
                && let Err(error) = log.checkpoint()
            {
                tracing::warn!(table = %bucket.table.path, tablet = %log.id(), %error, "checkpoint failed");
            }
        }
    }

    /// Has the indexes that are in use follow their logs. Waits for nothing.
    pub fn follow_topics(&self) {
        for bucket in self.open.read().buckets.values() {
            if let Some(topic) = &bucket.topic {
                topic.tend();
            }
        }
    }

    /// An open bucket with the settings and schemas of this state of its table.
    fn in_step(&self, config: &Config, bucket: &OpenBucket, table: &Arc<Table>) -> OpenBucket {
        let tablet = &bucket.tablet;
        let settings = Arc::new(settings_of(config, table));
        let log = tablet.log().log();
        log.set_config(log_config(config, &settings, table));
        let shape = shape_of(table, &settings);
        if let Some(kv) = &bucket.kv {
            match kv_table_of(table, &shape, &self.catalog) {
                Ok(altered) => kv.set_table(altered),
                Err(error) => {
                    tracing::error!(table = %table.path, %error, "cannot follow a change of a table");
                }
            }
        }
        tablet.set_shape(shape);
        OpenBucket {
            tablet: tablet.clone(),
            table: Arc::clone(table),
            settings,
            kv: bucket.kv.clone(),
            topic: self.topic_in_step(bucket, table),
        }
    }
}

/// The table of a tablet that exists.
fn table_of(view: &CatalogView, id: TabletId) -> Option<&Arc<Table>> {
    view.table(id.table).filter(|_| view.has_tablet(id))
}

/// Where the tablets of a table or table partition lie.
fn directory_of(
    logs: &std::path::Path,
    table: TableId,
    table_partition: Option<TablePartitionId>,
) -> PathBuf {
    let directory = logs.join(table.to_string());
    match table_partition {
        Some(partition) => directory.join(format!("p{partition}")),
        None => directory,
    }
}
