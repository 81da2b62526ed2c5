//! What all indexes of a process share: memory, background threads, and the rate of compaction.

use std::sync::Arc;

use protocol::schema::DataType;
use rocksdb::{Cache, Env, InfoLogger, LogLevel, Options, WriteBufferManager};

use super::options;
use super::row_cache::{IndexRows, RowCache};
use crate::kv::index::{IndexError, IndexUsage};

/// The bounds of all indexes together. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RocksConfig {
    /// Blocks of files, their indexes and filters, and the write buffers count against this.
    pub cache_bytes_max: usize,
    /// Rows that are found without asking the files; 0 for none. Besides the above.
    pub row_cache_bytes_max: usize,
    /// Of the cache of blocks, what was written and is not on disk. The bucket that writes next flushes when it
    /// is passed.
    pub write_buffers_bytes_max: usize,
    /// The same for one bucket.
    pub write_buffer_bytes_max: usize,
    /// Threads that flush and compact.
    pub background_threads: u16,
    /// Bytes a second that flushes and compactions write; none does not slow them down.
    pub compaction_bytes_per_second_max: Option<u64>,
    /// Files that one bucket keeps open.
    pub files_open_max: u16,
}

impl Default for RocksConfig {
    fn default() -> Self {
        RocksConfig {
            cache_bytes_max: 512 << 20,
            row_cache_bytes_max: 256 << 20,
            write_buffers_bytes_max: 128 << 20,
            write_buffer_bytes_max: 64 << 20,
            background_threads: 2,
            compaction_bytes_per_second_max: Some(64 << 20),
            files_open_max: 256,
        }
    }
}

/// What all indexes share. Indexes keep it alive.
pub struct RocksShared {
    config: RocksConfig,
    cache: Cache,
    write_buffers: WriteBufferManager,
    row_cache: Option<Arc<RowCache>>,
    /// Each open index has one of these.
    open: Arc<()>,
    /// Copies of it share the rate limiter and the logger.
    database: Options,
}

impl RocksShared {
    /// With this many overlapping files, writes of a bucket are slowed down.
    pub const SLOWDOWN_FILES: u64 = options::SLOWDOWN_FILES as u64;

    /// Makes cache and threads.
    ///
    /// # Errors
    /// The machine refuses.
    pub fn new(config: RocksConfig) -> Result<Self, IndexError> {
        // Blocks of any size; finding one takes no lock and moves no list.
        let cache = Cache::new_hyper_clock_cache(config.cache_bytes_max, 0);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            config.write_buffers_bytes_max,
            false,
            cache.clone(),
        );
        let mut env = Env::new().map_err(|e| IndexError::Failed(e.into_string()))?;
        let threads = i32::from(config.background_threads.max(1));
        env.set_low_priority_background_threads(threads);
        env.set_high_priority_background_threads(threads.div_euclid(2).max(1));
        let mut database = options::database(&config);
        database.set_env(&env);
        database.set_write_buffer_manager(&write_buffers);
        database.set_log_level(LogLevel::Warn);
        database.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, log));
        Ok(RocksShared {
            row_cache: RowCache::new(config.row_cache_bytes_max),
            open: Arc::new(()),
            config,
            cache,
            write_buffers,
            database,
        })
    }

    /// Memory in use by all indexes.
    pub fn usage(&self) -> IndexUsage {
        IndexUsage {
            cache_bytes: self.cache.get_usage(),
            write_buffers_bytes: self.write_buffers.get_usage(),
            row_cache_bytes: self.row_cache.as_ref().map_or(0, |rows| rows.bytes()),
        }
    }

    pub(super) fn rows_in_memory(&self) -> Option<IndexRows> {
        self.row_cache.as_ref().map(IndexRows::new)
    }

    /// To be kept by an index while it is open.
    pub(super) fn count_open(&self) -> Arc<()> {
        Arc::clone(&self.open)
    }

    pub(super) fn database(&self) -> Options {
        self.database.clone()
    }

    pub(super) fn rows(&self, prefix: &[DataType]) -> Result<Options, rocksdb::Error> {
        let others = Arc::strong_count(&self.open) - 1;
        options::rows(&self.config, &self.cache, prefix, others)
    }

    pub(super) fn ours(&self) -> Options {
        options::ours(&self.config, &self.cache)
    }
}

fn log(level: LogLevel, message: &str) {
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::error!(message, "rocksdb"),
        LogLevel::Warn => tracing::warn!(message, "rocksdb"),
        LogLevel::Debug | LogLevel::Info | LogLevel::Header => tracing::debug!(message, "rocksdb"),
    }
}
