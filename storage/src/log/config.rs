//! The settings of one log, as values.

use super::cleaner::CompactionConfig;

/// When an append counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// After an fdatasync: the high watermark follows the synced end.
    Fsync,
    /// After the write to the page cache: the high watermark follows the log end. A power loss
    /// loses what the operating system had not written back.
    PageCache,
}

/// The settings of one log. Times are milliseconds; `None` means without limit.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// A segment is rolled before a batch that would make it longer (`segment.bytes`). At most
    /// [`SEGMENT_BYTES_LIMIT`]; a single larger batch still gets a segment of its own.
    pub segment_bytes_max: u64,
    /// A segment is rolled when its first batch is older than this (`segment.ms`).
    pub segment_ms_max: Option<i64>,
    /// Bytes of log between two entries of the sparse index (`index.interval.bytes`).
    pub index_interval_bytes: u32,
    /// What an acknowledgement promises.
    pub flush_mode: FlushMode,
    /// Segments whose newest record time is older are removed (`retention.ms`).
    pub retention_ms: Option<i64>,
    /// Oldest segments are removed while the log is longer than this (`retention.bytes`).
    pub retention_bytes: Option<u64>,
    /// Segments whose newest commit time is older are removed (`table.log.ttl`).
    pub ttl_ms: Option<i64>,
    /// How old records are compacted, if they are (`cleanup.policy=compact`).
    pub compaction: Option<CompactionConfig>,
    /// Kafka producers that wrote nothing for so long are forgotten (`producer.id.expiration.ms`).
    pub kafka_producer_expiry_ms: i64,
    /// Fluss writers that wrote nothing for so long are forgotten
    /// (`server.writer-id.expiration-time`).
    pub fluss_writer_expiry_ms: i64,
    /// Bytes behind the last checkpoint after which the log is synced and the next one written, in
    /// the background: recovery after a crash begins there.
    pub checkpoint_bytes: u64,
}

/// Positions in a segment fit 32 bits with room for one largest batch.
pub const SEGMENT_BYTES_LIMIT: u64 = 2 << 30;

impl Default for LogConfig {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        LogConfig {
            segment_bytes_max: 1 << 30,
            segment_ms_max: Some(7 * DAY_MS),
            index_interval_bytes: 4096,
            flush_mode: FlushMode::Fsync,
            retention_ms: Some(7 * DAY_MS),
            retention_bytes: None,
            ttl_ms: None,
            compaction: None,
            kafka_producer_expiry_ms: DAY_MS,
            fluss_writer_expiry_ms: 7 * DAY_MS,
            checkpoint_bytes: 64 << 20,
        }
    }
}
