//! The open tablets of this broker: opened at first use, kept in step with the catalog, cared for
//! in the background.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use protocol::fluss::options::{ArrowCompression, TableConfig};
use protocol::ids::{LeaderEpoch, Offset, TableId, TablePartitionId, TabletId};
use protocol::raw::is_raw;
use storage::catalog::{Catalog, Origin, Table};
use storage::log::{LogConfig, LogContext, LogError, LogHandle, LogThreads};
use storage::tablet::{ArrowCodec, Columnar, TableShape, Tablet};
use storage::transcode::Transcoder;
use tokio::sync::Semaphore;

use crate::config::{Config, RetentionClock, TopicConfig};

/// A bucket that is open: its tablet, and the table's settings as they were when it was looked up.
#[derive(Clone)]
pub struct OpenBucket {
    /// Log and transcoder.
    pub tablet: Tablet,
    /// The table it belongs to.
    pub table: Arc<Table>,
    /// The table's settings under Kafka's names.
    pub settings: Arc<TopicConfig>,
}

/// Why a tablet cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TabletError {
    /// There is no such table, partition or bucket: refresh the metadata.
    #[error("no tablet {0}")]
    Unknown(TabletId),
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
    /// Below it lie the logs.
    pub directory: PathBuf,
    /// The epoch of this start.
    pub epoch: LeaderEpoch,
}

/// The open tablets.
pub struct Tablets {
    resources: TabletResources,
    catalog: Arc<Catalog>,
    config: RwLock<Arc<Config>>,
    open: RwLock<HashMap<TabletId, Arc<OpenBucket>>>,
    /// One lock per tablet that is being opened, so that it is opened once.
    opening: Mutex<HashMap<TabletId, Arc<Mutex<()>>>>,
    /// Bounds how many are opened at a time for those who wait.
    opening_turns: Semaphore,
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
        })
    }

    /// The epoch under which the tablets append.
    pub fn epoch(&self) -> LeaderEpoch {
        self.resources.epoch
    }

    /// The tablet, if it is open.
    pub fn get_open(&self, id: TabletId) -> Option<Arc<OpenBucket>> {
        self.open.read().get(&id).cloned()
    }

    /// All open tablets.
    pub fn all_open(&self) -> Vec<Arc<OpenBucket>> {
        self.open.read().values().cloned().collect()
    }

    /// The tablet; opens it when it is not.
    pub async fn get(self: &Arc<Self>, id: TabletId) -> Result<Arc<OpenBucket>, TabletError> {
        if let Some(bucket) = self.get_open(id) {
            return Ok(bucket);
        }
        // Nobody closes the semaphore.
        let _turn = self.opening_turns.acquire().await;
        if let Some(bucket) = self.get_open(id) {
            return Ok(bucket);
        }
        let tablets = Arc::clone(self);
        match tokio::task::spawn_blocking(move || tablets.open_now(id)).await {
            Ok(result) => result,
            // The runtime is going down.
            Err(_) => Err(TabletError::Unknown(id)),
        }
    }

    /// As [`Tablets::get`], waiting for the disk.
    pub fn open_now(&self, id: TabletId) -> Result<Arc<OpenBucket>, TabletError> {
        let turn = Arc::clone(self.opening.lock().entry(id).or_default());
        let _turn = turn.lock();
        let result = match self.get_open(id) {
            Some(bucket) => Ok(bucket),
            None => self.open_in_turn(id),
        };
        self.opening.lock().remove(&id);
        result
    }

    fn open_in_turn(&self, id: TabletId) -> Result<Arc<OpenBucket>, TabletError> {
        let view = self.catalog.view();
        let table = view.table(id.table).filter(|_| view.has_tablet(id));
        let table = table.ok_or(TabletError::Unknown(id))?;
        let r = &self.resources;
        let settings = Arc::new(self.settings_of(table));
        let log = LogHandle::open(
            Arc::clone(&r.context),
            Arc::clone(&r.threads),
            id,
            self.directory_of_tablet(id),
            log_config(&self.config.read(), &settings, table),
            r.epoch,
        )
        .map_err(|error| {
            tracing::error!(tablet = %id, table = %table.path, %error, "cannot open a log");
            TabletError::Open {
                tablet: id,
                error: Arc::new(error),
            }
        })?;
        let tablet = Tablet::new(log, shape_of(table, &settings), r.transcoder.clone());
        let bucket = Arc::new(OpenBucket {
            tablet,
            table: Arc::clone(table),
            settings,
        });
        self.open.write().insert(id, Arc::clone(&bucket));
        let is_newest = |now: &Arc<Table>| Arc::ptr_eq(now, table);
        if self.catalog.view().table(id.table).is_some_and(is_newest) {
            return Ok(bucket);
        }
        // It was altered or dropped while its log was opened, and was not here to be told.
        self.refresh();
        self.get_open(id).ok_or(TabletError::Unknown(id))
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
            // Locked while the catalog is looked at: the newest table is the last one taken.
            let view = self.catalog.view();
            let config = Arc::clone(&self.config.read());
            open.retain(|id, bucket| {
                let table = view.table(id.table).filter(|_| view.has_tablet(*id));
                let Some(table) = table else {
                    gone.push(Arc::clone(bucket));
                    return false;
                };
                if settings_changed || !Arc::ptr_eq(table, &bucket.table) {
                    let settings = Arc::new(settings_of(&config, table));
                    bucket
                        .tablet
                        .log()
                        .log()
                        .set_config(log_config(&config, &settings, table));
                    bucket.tablet.set_shape(shape_of(table, &settings));
                    *bucket = Arc::new(OpenBucket {
                        tablet: bucket.tablet.clone(),
                        table: Arc::clone(table),
                        settings,
                    });
                }
                true
            });
        }
        for bucket in gone {
            let log = bucket.tablet.log().log();
            log.abandon();
            self.resources.transcoder.forget(log.id());
        }
    }

    /// Deletes the files of dropped tables. Waits for the disk.
    pub fn delete_dropped(&self) {
        self.refresh();
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

    /// Opens every tablet that has files, so that damage is reported and retention counts from the
    /// start on. Waits for the disk.
    pub fn open_existing(&self) {
        let ids: Vec<TabletId> = self.catalog.view().tablets().collect();
        on_threads(ids, |id| {
            if self.has_files(id) {
                // An error was logged where it happened; clients are told when they come.
                let _ = self.open_now(id);
            }
        });
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

    /// Writes a checkpoint of every log that was written to since its last one, and forgets
    /// producers that fell silent. Waits for the disk.
    pub fn checkpoint(&self) {
        for bucket in self.all_open() {
            let log = bucket.tablet.log().log();
            log.expire_producers();
            if let Err(error) = log.checkpoint_if_changed() {
                tracing::warn!(table = %bucket.table.path, tablet = %log.id(), %error, "checkpoint failed");
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

    /// Closes every log: syncs, writes a checkpoint. Waits for the disk.
    pub fn close(&self) {
        let buckets: Vec<_> = self
            .open
            .write()
            .drain()
            .map(|(_, bucket)| bucket)
            .collect();
        on_threads(buckets, |bucket| {
            if let Err(error) = bucket.tablet.log().close() {
                tracing::warn!(table = %bucket.table.path, %error, "a log was not closed cleanly");
            }
        });
    }
}

/// Does `work` for all items, on a few threads at once, and waits for them.
fn on_threads<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let count = items.len().min(AT_ONCE);
    let items = Mutex::new(items.into_iter());
    let next = || items.lock().next();
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                while let Some(item) = next() {
                    work(item);
                }
            });
        }
    });
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

/// What a table sets itself, under Kafka's names: what was set on the Kafka wire, and what its
/// Fluss properties say.
pub fn overrides_of(table: &Table) -> BTreeMap<String, String> {
    let mut overrides = table.kafka_configs.clone();
    for (property, value) in &table.properties {
        if let Some((name, value)) = TopicConfig::setting_of_property(property, value) {
            overrides.entry(name.to_owned()).or_insert(value);
        }
    }
    overrides
}

/// The settings of a table under Kafka's names.
pub fn settings_of(config: &Config, table: &Table) -> TopicConfig {
    let overrides = overrides_of(table);
    TopicConfig::new(config, &overrides).unwrap_or_else(|error| {
        // They were checked when they were set; an older version may have known other ones.
        tracing::warn!(table = %table.path, %error, "settings of a table do not hold, taking the defaults");
        TopicConfig::new(config, &BTreeMap::new())
            .expect("a topic without settings of its own has the broker's, which were checked")
    })
}

fn log_config(config: &Config, settings: &TopicConfig, table: &Table) -> LogConfig {
    let clock = match table.origin {
        Origin::Fluss => RetentionClock::CommitTime,
        Origin::Kafka | Origin::Internal => RetentionClock::RecordTime,
    };
    settings.log(clock, &config.producers())
}

/// The schemas and formats of a table.
fn shape_of(table: &Table, settings: &TopicConfig) -> Arc<TableShape> {
    let latest = table.schema();
    let schemas = table
        .schemas
        .iter()
        .map(|s| (s.id, Arc::new(s.schema.clone())))
        .collect();
    let raw = is_raw(&latest.schema);
    // They were checked at creation; where a later version reads them differently, its defaults
    // are as good as any.
    let options = TableConfig::parse(&table.properties).unwrap_or_else(|error| {
        tracing::warn!(table = %table.path, %error, "options of a table do not hold, taking the defaults");
        TableConfig::parse(&BTreeMap::new()).expect("every option has a default")
    });
    let made_here = table.origin != Origin::Fluss;
    Arc::new(TableShape {
        schemas,
        latest: latest.id,
        raw,
        log_format: options.log_format,
        arrow_codec: match options.arrow_compression {
            ArrowCompression::None => ArrowCodec::None,
            ArrowCompression::Lz4Frame => ArrowCodec::Lz4,
            ArrowCompression::Zstd => ArrowCodec::Zstd(options.zstd_level),
        },
        columnar: match settings.columnar {
            crate::config::Columnar::Off => Columnar::Off,
            crate::config::Columnar::Lazy => Columnar::Lazy,
            crate::config::Columnar::Eager => Columnar::Eager,
        },
        key_columns: if made_here {
            vec!["key".to_owned()]
        } else {
            table.bucket_keys.clone()
        },
        statistics: options.statistics,
    })
}
