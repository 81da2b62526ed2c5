//! The metrics that are read from the open tablets.

use super::{Metric, gauge};

/// Read from the open tablets when somebody asks; see `tablets.rs`.
pub(in crate::metrics) static OF_TABLETS: TabletMetrics = TabletMetrics {
    size: gauge(
        "kafka_log_log_size",
        &["topic", "partition"],
        "Size of a log, bytes.",
    ),
    log_start: gauge(
        "kafka_log_log_logstartoffset",
        &["topic", "partition"],
        "First offset of a log.",
    ),
    log_end: gauge(
        "kafka_log_log_logendoffset",
        &["topic", "partition"],
        "Next offset of a log.",
    ),
    high_watermark: gauge(
        "vltava_log_high_watermark",
        &["topic", "partition"],
        "Offset up to which a log may be read.",
    ),
    index_lag: gauge(
        "vltava_kv_index_lag",
        &["topic", "partition"],
        "Offsets that a log promises and the index of its rows does not have yet.",
    ),
    open_indexes: gauge("vltava_kv_open_indexes", &[], "Indexes that are open."),
    cache_bytes: gauge(
        "vltava_kv_cache_bytes",
        &[],
        "Memory of the indexes: blocks of their files and write buffers.",
    ),
    write_buffer_bytes: gauge(
        "vltava_kv_write_buffer_bytes",
        &[],
        "Of that memory, what is not on disk yet.",
    ),
    row_cache_bytes: gauge(
        "vltava_kv_row_cache_bytes",
        &[],
        "Memory of rows that are found without asking the indexes' files.",
    ),
    index_disk_bytes: gauge(
        "vltava_kv_index_disk_bytes",
        &[],
        "Bytes of the indexes' files.",
    ),
    compaction_bytes: gauge(
        "vltava_kv_compaction_pending_bytes",
        &[],
        "Bytes that compaction of the indexes has to write.",
    ),
    overlapping_files: gauge(
        "vltava_kv_overlapping_files",
        &[],
        "Most files of one index that every lookup may have to ask.",
    ),
    stopped_indexes: gauge(
        "vltava_kv_stopped_indexes",
        &[],
        "Indexes whose writes wait for compaction.",
    ),
};

/// The metrics of [`OF_TABLETS`].
pub(in crate::metrics) struct TabletMetrics {
    pub(in crate::metrics) size: Metric,
    pub(in crate::metrics) log_start: Metric,
    pub(in crate::metrics) log_end: Metric,
    pub(in crate::metrics) high_watermark: Metric,
    pub(in crate::metrics) index_lag: Metric,
    pub(in crate::metrics) open_indexes: Metric,
    pub(in crate::metrics) cache_bytes: Metric,
    pub(in crate::metrics) write_buffer_bytes: Metric,
    pub(in crate::metrics) row_cache_bytes: Metric,
    pub(in crate::metrics) index_disk_bytes: Metric,
    pub(in crate::metrics) compaction_bytes: Metric,
    pub(in crate::metrics) overlapping_files: Metric,
    pub(in crate::metrics) stopped_indexes: Metric,
}

impl TabletMetrics {
    pub(super) fn all(&self) -> [&Metric; 13] {
        [
            &self.size,
            &self.log_start,
            &self.log_end,
            &self.high_watermark,
            &self.index_lag,
            &self.open_indexes,
            &self.cache_bytes,
            &self.write_buffer_bytes,
            &self.row_cache_bytes,
            &self.index_disk_bytes,
            &self.compaction_bytes,
            &self.overlapping_files,
            &self.stopped_indexes,
        ]
    }
}
