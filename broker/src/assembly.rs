//! Opens what lies on disk and puts the broker's core on it, cares for it while it runs, and
//! closes it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::buffers::BufferPool;
use storage::catalog::store::StoreError;
use storage::catalog::store::redb::RedbStore;
use storage::catalog::{Catalog, CatalogSettings, CreateTableError, OpenCatalogError, WriteError};
use storage::clock::CommitClock;
use storage::env::Env;
use storage::kv::index::rocks::RocksShared;
use storage::kv::index::{IndexError, IndexStore};
use storage::kv::tablet::KvResources;
use storage::kv::topic::TopicIndexes;
use storage::log::{LogContext, LogThreads, OpenFiles};
use storage::transcode::Transcoder;
use tiering::kv_snapshot::Restorer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerParts};
use crate::cleaning::Cleaning;
use crate::config::{AdvertisedAddress, Config};
use crate::coordinator::group::{GroupConfig, GroupCoordinator};
use crate::coordinator::group_log::TopicGroupLog;
use crate::kv_snapshots::{self, OpenRemoteError};
use crate::machine::memory_bytes;
use crate::metrics::Metrics;
use crate::tablets::{TabletResources, Tablets, align_all};

/// Threads that append. Writing to the page cache is short work; two keep one busy log from
/// holding up all others.
const APPEND_THREADS: usize = 2;
/// Threads that wait for fsync: logs that are synced at the same time.
const SYNC_THREADS: usize = 4;
/// How often it is looked whether recovery would have to read too much in all.
/// How often indexes that are in use look whether they lag behind.
const FOLLOW_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);
const CROWDED_CHECK_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);
/// Unused read buffers that are kept.
const BUFFER_POOL_BYTES: usize = 32 << 20;

/// Why what lies on disk cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A directory cannot be made.
    #[error("cannot use {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The catalog's file cannot be opened.
    #[error("cannot open the catalog")]
    Store(#[from] StoreError),
    /// The catalog cannot be read.
    #[error("cannot read the catalog")]
    Catalog(#[from] OpenCatalogError),
    /// The catalog cannot be written.
    #[error("cannot write the catalog")]
    Write(#[from] WriteError),
    /// The log of consumer groups cannot be made.
    #[error("cannot make the log of consumer groups")]
    GroupLog(#[from] CreateTableError),
    /// Memory and threads of indexes cannot be made.
    #[error("cannot make what the indexes of tables share")]
    Index(#[from] IndexError),
    /// There is no place for snapshots.
    #[error("cannot use the remote directory")]
    Remote(#[from] OpenRemoteError),
    /// Threads cannot be started.
    #[error("cannot start a thread")]
    Thread(#[from] io::Error),
}

/// An open broker.
pub struct Assembly {
    /// Its core.
    pub broker: Arc<Broker>,
    commit_clock: Arc<CommitClock>,
    cleaning: Arc<Cleaning>,
    care: Vec<JoinHandle<()>>,
}

/// What the blocking half of opening gives.
struct Opened {
    catalog: Arc<Catalog>,
    tablets: Arc<Tablets>,
    commit_clock: Arc<CommitClock>,
    group_log: TopicGroupLog,
}

impl Assembly {
    /// Opens everything below the data directory. Logs are opened at their first use, or soon
    /// after, in the background.
    pub async fn open(
        config: Arc<Config>,
        env: Env,
        metrics: Metrics,
        advertised: BTreeMap<String, AdvertisedAddress>,
        stopping: CancellationToken,
    ) -> Result<Assembly, AssembleError> {
        let opened = {
            let (config, env) = (Arc::clone(&config), env.clone());
            let open = tokio::task::spawn_blocking(move || open(&config, &env));
            open.await.map_err(io::Error::other)??
        };
        let Opened {
            catalog,
            tablets,
            commit_clock,
            group_log,
        } = opened;
        let snapshots = kv_snapshots::open(&config, &env, Arc::clone(&catalog)).await?;
        tablets.set_backups(Arc::new(Restorer::new(Arc::clone(&snapshots))));
        let mut group_config = GroupConfig::from(&config.groups());
        group_config.shard_count = group_log.shard_count(&catalog);
        let groups = GroupCoordinator::start(
            &env,
            group_config,
            Arc::new(group_log),
            &config.storage().data_dir.join("groups"),
        );
        let broker = Broker::new(BrokerParts {
            env,
            catalog,
            tablets,
            groups,
            snapshots,
            metrics,
            config,
            advertised,
            stopping,
        });
        // The broker's policy may be another one than at the last start.
        let aligned = Arc::clone(&broker);
        let align = move || align_all(&aligned.catalog, &aligned.config());
        run("following the cleanup policy", align).await;
        let cleaning = Cleaning::new(Arc::clone(&broker));
        let mut care = vec![
            tokio::spawn(open_logs(Arc::clone(&broker))),
            tokio::spawn(enforce_retention(Arc::clone(&broker))),
            tokio::spawn(follow_topics(Arc::clone(&broker))),
            tokio::spawn(kv_snapshots::keep(Arc::clone(&broker))),
            tokio::spawn(kv_snapshots::keep_leases(Arc::clone(&broker))),
            tokio::spawn(checkpoint(Arc::clone(&broker), Arc::clone(&commit_clock))),
        ];
        for _ in 0..broker.config().cleaner().threads {
            care.push(tokio::spawn(clean(
                Arc::clone(&broker),
                Arc::clone(&cleaning),
            )));
        }
        Ok(Assembly {
            broker,
            commit_clock,
            cleaning,
            care,
        })
    }

    /// Stops the coordinators and closes all logs. No request may be under way any more, but for
    /// batches that nobody waits for: they are refused.
    pub async fn close(self) {
        for task in &self.care {
            task.abort();
        }
        self.cleaning.stop();
        self.broker.groups.stop().await;
        let broker = Arc::clone(&self.broker);
        let newest = self.commit_clock.newest();
        let closed = tokio::task::spawn_blocking(move || {
            broker.tablets.close();
            let recorded = broker.catalog.raise_commit_time_floor_ms(newest);
            // Tasks that are being ended may hold the broker for longer.
            broker.catalog.close();
            recorded
        });
        match closed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot record the newest commit time"),
            Err(error) => tracing::error!(%error, "closing failed"),
        }
    }
}

fn open(config: &Config, env: &Env) -> Result<Opened, AssembleError> {
    let data = config.storage().data_dir;
    let [catalog_directory, logs] = ["catalog", "logs"].map(|name| data.join(name));
    for directory in [&catalog_directory, &logs] {
        make_directory(env, directory)?;
    }
    make_durable(env, &data)?;
    let store = RedbStore::open(env.disk.as_ref(), &catalog_directory)?;
    let settings = CatalogSettings {
        default_database: config.topic_creation().kafka_database,
    };
    let catalog = Arc::new(Catalog::open(Box::new(store), env.clone(), settings)?);
    let epoch = catalog.raise_broker_epoch()?;
    let commit_clock = CommitClock::new(Arc::clone(&env.clock), catalog.commit_time_floor_ms());
    let storage = config.storage();
    let context = Arc::new(LogContext {
        env: env.clone(),
        commit_clock: Arc::clone(&commit_clock),
        files: OpenFiles::new(storage.open_files_max),
        buffers: BufferPool::new(BUFFER_POOL_BYTES),
        recovery_debt: Arc::default(),
    });
    let indexes = config.indexes(memory_bytes());
    let rocks: Arc<dyn IndexStore> = Arc::new(RocksShared::new(indexes.rocks)?);
    let resources = TabletResources {
        context,
        threads: LogThreads::start(APPEND_THREADS, SYNC_THREADS, storage.append_queue_bytes)?,
        transcoder: Transcoder::start(&config.transcoder())?,
        kv: KvResources::start(Arc::clone(&rocks), indexes.threads, indexes.limits)?,
        topics: TopicIndexes::start(rocks, indexes.topic_threads)?,
        directory: logs,
        epoch,
    };
    let tablets = Tablets::new(resources, Arc::clone(&catalog), Arc::new(config.clone()));
    // A drop that the last start did not finish.
    tablets.delete_dropped();
    let group_log = TopicGroupLog::open(
        &catalog,
        Arc::clone(&tablets),
        Arc::clone(&env.clock),
        config.groups().log_partitions,
        config.groups().log_segment_bytes,
    )?;
    Ok(Opened {
        catalog,
        tablets,
        commit_clock,
        group_log,
    })
}

fn make_directory(env: &Env, path: &Path) -> Result<(), AssembleError> {
    env.disk
        .create_directories(path)
        .map_err(directory_error(path))
}

/// Makes the names in a directory, and its own, durable.
fn make_durable(env: &Env, path: &Path) -> Result<(), AssembleError> {
    env.disk
        .sync_directory(path)
        .map_err(directory_error(path))?;
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => env
            .disk
            .sync_directory(parent)
            .map_err(directory_error(parent)),
        None => Ok(()),
    }
}

fn directory_error(path: &Path) -> impl FnOnce(io::Error) -> AssembleError {
    let path = path.to_path_buf();
    move |source| AssembleError::Directory { path, source }
}

/// Opens the logs that nobody has asked for yet, so that damage is reported and retention reaches
/// all of them.
async fn open_logs(broker: Arc<Broker>) {
    let tablets = Arc::clone(&broker.tablets);
    run("opening the logs", move || tablets.open_existing()).await;
}

/// Keeps indexes near the ends of their logs, so that a lookup has little to wait for.
async fn follow_topics(broker: Arc<Broker>) {
    let mut ticks = ticks(FOLLOW_INTERVAL);
    loop {
        ticks.tick().await;
        broker.tablets.follow_topics();
    }
}

async fn enforce_retention(broker: Arc<Broker>) {
    let mut ticks = ticks(broker.config().storage().retention_check_interval);
    loop {
        ticks.tick().await;
        let tablets = Arc::clone(&broker.tablets);
        run("retention", move || tablets.enforce_retention()).await;
    }
}

/// One thread of the cleaner.
async fn clean(broker: Arc<Broker>, cleaning: Arc<Cleaning>) {
    loop {
        tokio::time::sleep(broker.config().cleaner().backoff).await;
        loop {
            let cleaning = Arc::clone(&cleaning);
            match tokio::task::spawn_blocking(move || cleaning.clean_next()).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::error!(%error, "cleaning failed");
                    break;
                }
            }
        }
    }
}

async fn checkpoint(broker: Arc<Broker>, clock: Arc<CommitClock>) {
    let interval = broker.config().storage().checkpoint_interval;
    let mut next = tokio::time::Instant::now() + interval;
    let mut ticks = ticks(interval.min(CROWDED_CHECK_INTERVAL));
    loop {
        ticks.tick().await;
        if tokio::time::Instant::now() < next {
            // Logs that fell idle with much behind their checkpoints ask for none themselves.
            if broker.tablets.recovery_is_crowded() {
                let broker = Arc::clone(&broker);
                run("checkpoint", move || broker.tablets.checkpoint_due()).await;
            }
            continue;
        }
        next = tokio::time::Instant::now() + interval;
        let (broker, newest) = (Arc::clone(&broker), clock.newest());
        run("checkpoint", move || {
            broker.tablets.checkpoint();
            broker.forget_upserts();
            if let Err(error) = broker.catalog.raise_commit_time_floor_ms(newest) {
                tracing::warn!(%error, "cannot record the newest commit time");
            }
        })
        .await;
    }
}

/// Ticks from one interval on; when a round takes longer, the next waits its interval.
pub(crate) fn ticks(interval: std::time::Duration) -> tokio::time::Interval {
    let interval = interval.max(std::time::Duration::from_millis(1));
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// Runs a round of care where it may wait for the disk. A panic ends the round, not the care.
async fn run(what: &'static str, round: impl FnOnce() + Send + 'static) {
    if let Err(error) = tokio::task::spawn_blocking(round).await {
        tracing::error!(%error, "{what} failed");
    }
}
