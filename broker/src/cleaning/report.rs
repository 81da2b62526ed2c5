//! What the cleaner tells: a line for each round, and metrics under Kafka's names.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::ids::TabletId;
use storage::log::cleaner::Cleaned;

use crate::tablets::OpenBucket;

const PERCENT: f64 = 100.0;

/// All logs were looked at.
pub(super) fn looked(dirtiest: f64, overdue_ms: i64, uncleanable: &BTreeMap<TabletId, u64>) {
    metrics::gauge!("kafka_log_logcleanermanager_max_dirty_percent").set(dirtiest * PERCENT);
    metrics::gauge!("kafka_log_logcleaner_max_compaction_delay_secs")
        .set((overdue_ms / 1000) as f64);
    metrics::gauge!("kafka_log_logcleanermanager_uncleanable_partitions_count")
        .set(uncleanable.len() as f64);
    metrics::gauge!("kafka_log_logcleanermanager_uncleanable_bytes")
        .set(uncleanable.values().sum::<u64>() as f64);
}

/// A log was cleaned.
pub(super) fn cleaned(bucket: &OpenBucket, done: &Cleaned, map_utilization: f64, took: Duration) {
    let seconds = took.as_secs_f64();
    let recopied = match done.bytes_read {
        0 => 0.0,
        read => done.bytes_left as f64 / read as f64,
    };
    metrics::gauge!("kafka_log_logcleaner_cleaner_recopy_percent").set(recopied * PERCENT);
    metrics::gauge!("kafka_log_logcleaner_max_clean_time_secs").set(seconds);
    metrics::gauge!("kafka_log_logcleaner_max_buffer_utilization_percent")
        .set(map_utilization * PERCENT);
    let removed = done.records_read - done.records_left;
    metrics::counter!("vltava_cleaner_rounds_total").increment(1);
    metrics::counter!("vltava_cleaner_read_bytes_total").increment(done.bytes_read);
    metrics::counter!("vltava_cleaner_written_bytes_total").increment(done.bytes_written);
    metrics::counter!("vltava_cleaner_removed_records_total").increment(removed);
    let log = bucket.tablet.log().log();
    tracing::info!(
        table = %bucket.table.path,
        tablet = %log.id(),
        end = %done.end,
        complete = done.complete,
        segments = done.segments_read,
        segments_left = done.segments_left,
        bytes = done.bytes_read,
        bytes_left = done.bytes_left,
        records = done.records_read,
        records_left = done.records_left,
        tombstones_removed = done.tombstones_removed,
        seconds,
        "cleaned a log"
    );
}
