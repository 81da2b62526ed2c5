//! The table of the broker's metrics: name, kind, labels, help.
//!
//! Names are Kafka's or Fluss's, as their Prometheus exporters spell them, where they have the
//! metric; else they begin with `vltava_`. Other crates count by these names with the macros of
//! `metrics`; a name that is not listed here has no help text and no place on the dashboard.

mod of_tablets;

pub(super) use of_tablets::OF_TABLETS;

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// The name, as Prometheus sees it.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values in buckets with these upper ends.
    Histogram(&'static [f64]),
}

/// Milliseconds, from what a page cache answers to what a long poll waits.
const MILLISECONDS: &[f64] = &[
    0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0,
    5_000.0, 10_000.0, 30_000.0,
];

/// Small counts, by powers of two.
const COUNTS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0,
];

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        labels,
        help,
    }
}

const fn histogram(
    name: &'static str,
    buckets: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: MetricKind::Histogram(buckets),
        labels,
        help,
    }
}

/// What is counted for each API of a wire.
#[derive(Debug)]
pub struct WireMetrics {
    pub(super) requests: Metric,
    pub(super) errors: Metric,
    pub(super) bytes_in: Metric,
    pub(super) bytes_out: Metric,
    pub(super) time: Metric,
}

/// The APIs of the Kafka wire.
pub static KAFKA: WireMetrics = WireMetrics {
    requests: counter(
        "kafka_network_requestmetrics_requests_total",
        &["request"],
        "Requests answered.",
    ),
    errors: counter(
        "kafka_network_requestmetrics_errors_total",
        &["request", "error"],
        "Errors answered.",
    ),
    bytes_in: counter(
        "kafka_network_requestmetrics_request_bytes_total",
        &["request"],
        "Bytes of requests.",
    ),
    bytes_out: counter(
        "kafka_network_requestmetrics_response_bytes_total",
        &["request"],
        "Bytes of answers.",
    ),
    time: histogram(
        "kafka_network_requestmetrics_total_time_ms",
        MILLISECONDS,
        &["request"],
        "Time from a whole request to its answer, milliseconds.",
    ),
};

/// The APIs of the Fluss wire.
pub static FLUSS: WireMetrics = WireMetrics {
    requests: counter(
        "fluss_tabletserver_request_requests_total",
        &["request"],
        "Requests answered.",
    ),
    errors: counter(
        "fluss_tabletserver_request_errors_total",
        &["request", "error"],
        "Errors answered.",
    ),
    bytes_in: counter(
        "fluss_tabletserver_request_request_bytes_total",
        &["request"],
        "Bytes of requests.",
    ),
    bytes_out: counter(
        "fluss_tabletserver_request_response_bytes_total",
        &["request"],
        "Bytes of answers.",
    ),
    time: histogram(
        "fluss_tabletserver_request_total_time_ms",
        MILLISECONDS,
        &["request"],
        "Time from a whole request to its answer, milliseconds.",
    ),
};

/// What is counted for the connections of a wire.
pub(super) static CONNECTIONS: Metric =
    gauge("vltava_network_connections", &["wire"], "Open connections.");
pub(super) static ACCEPTED: Metric = counter(
    "vltava_network_accepted_total",
    &["wire"],
    "Connections accepted.",
);
pub(super) static REFUSED: Metric = counter(
    "vltava_network_refused_total",
    &["wire"],
    "Connections closed at once because of a limit.",
);
pub(super) static DROPPED: Metric = counter(
    "vltava_network_dropped_total",
    &["wire", "reason"],
    "Connections dropped for what the client did: frame_length, frame_timeout, write_timeout, \
     idle, bad_request.",
);
pub(super) static RECEIVED: Metric = counter(
    "vltava_network_received_bytes_total",
    &["wire"],
    "Bytes received.",
);
pub(super) static SENT: Metric =
    counter("vltava_network_sent_bytes_total", &["wire"], "Bytes sent.");
pub(super) static REQUEST_MEMORY_FREE: Metric = gauge(
    "vltava_network_request_memory_free_bytes",
    &[],
    "Bytes of requests that may still come into the process.",
);
pub(super) static FETCH_MEMORY_FREE: Metric = gauge(
    "vltava_network_fetch_memory_free_bytes",
    &[],
    "Bytes of answers to fetches that may still be in the process.",
);
pub(super) static UNPACKING_MEMORY_FREE: Metric = gauge(
    "vltava_network_unpacking_memory_free_bytes",
    &[],
    "Bytes that produced batches may still be decompressed to at one time.",
);
pub(super) static KV_SCANS: Metric = gauge(
    "vltava_kv_scans",
    &[],
    "Scans of the rows of primary-key tables that are under way.",
);
pub(super) static PANICS: Metric = counter(
    "vltava_panics_total",
    &[],
    "Panics, most of them in the handling of one request.",
);
pub(super) static BUILD: Metric = gauge(
    "vltava_build_info",
    &["version"],
    "Always 1; its label says what runs.",
);

pub(super) static CPU_SECONDS: Metric = counter(
    "process_cpu_seconds_total",
    &[],
    "Processor time used, seconds.",
);
pub(super) static RESIDENT_BYTES: Metric =
    gauge("process_resident_memory_bytes", &[], "Resident memory.");
pub(super) static OPEN_FILES: Metric = gauge("process_open_fds", &[], "Open file descriptors.");
pub(super) static MAX_FILES: Metric =
    gauge("process_max_fds", &[], "Limit of open file descriptors.");
pub(super) static THREADS: Metric = gauge("process_threads", &[], "Threads.");

/// Counted elsewhere, with the macros of `metrics`, under these names.
static BY_NAME: &[Metric] = &[
    histogram(
        "kafka_log_logflushstats_logflushrateandtimems",
        MILLISECONDS,
        &[],
        "Time of a sync, milliseconds.",
    ),
    histogram(
        "vltava_flush_batches",
        COUNTS,
        &[],
        "Batches that one sync made durable.",
    ),
    gauge(
        "kafka_log_logcleanermanager_max_dirty_percent",
        &[],
        "Dirty part of the dirtiest compacted log, percent.",
    ),
    gauge(
        "kafka_log_logcleaner_max_compaction_delay_secs",
        &[],
        "How long the oldest record waits to be compacted beyond max.compaction.lag.ms, seconds.",
    ),
    gauge(
        "kafka_log_logcleanermanager_uncleanable_partitions_count",
        &[],
        "Logs that are not cleaned because of a batch that cannot be read.",
    ),
    gauge(
        "kafka_log_logcleanermanager_uncleanable_bytes",
        &[],
        "Bytes of these logs.",
    ),
    gauge(
        "kafka_log_logcleaner_cleaner_recopy_percent",
        &[],
        "Bytes that the last round of the cleaner left, of those it read, percent.",
    ),
    gauge(
        "kafka_log_logcleaner_max_clean_time_secs",
        &[],
        "Time of the last round of the cleaner, seconds.",
    ),
    gauge(
        "kafka_log_logcleaner_max_buffer_utilization_percent",
        &[],
        "Used part of the last round's memory for keys, percent.",
    ),
    counter("vltava_cleaner_rounds_total", &[], "Rounds of the cleaner."),
    counter(
        "vltava_cleaner_read_bytes_total",
        &[],
        "Bytes of segments that the cleaner walked.",
    ),
    counter(
        "vltava_cleaner_written_bytes_total",
        &[],
        "Bytes of segments that the cleaner wrote.",
    ),
    counter(
        "vltava_cleaner_removed_records_total",
        &[],
        "Records that the cleaner removed.",
    ),
    counter(
        "vltava_transcoder_spans_total",
        &["direction"],
        "Spans transcoded.",
    ),
    counter(
        "vltava_transcoder_bytes_total",
        &["direction"],
        "Bytes that transcoding made.",
    ),
    counter(
        "vltava_transcoder_cache_hits_total",
        &[],
        "Reads that found their span in memory.",
    ),
    counter(
        "vltava_transcoder_cache_misses_total",
        &[],
        "Reads that had to transcode or load.",
    ),
    counter(
        "vltava_transcoder_read_bytes_total",
        &["direction"],
        "Bytes of frames that were transcoded.",
    ),
    gauge(
        "vltava_transcoder_cache_bytes",
        &[],
        "Bytes of transcoded spans in memory.",
    ),
    counter(
        "vltava_transcoder_lossy_header_keys_total",
        &[],
        "Record header keys that were not UTF-8 and are shown with replacement characters.",
    ),
    gauge(
        "vltava_transcoder_derived_bytes",
        &[],
        "Bytes of columnar copies on disk, those that are being made included.",
    ),
    counter(
        "vltava_transcoder_derived_built_total",
        &[],
        "Columnar copies made.",
    ),
    counter(
        "vltava_transcoder_derived_damaged_total",
        &[],
        "Columnar copies that did not hold and were removed.",
    ),
    counter(
        "vltava_fluss_pruned_bytes_total",
        &[],
        "Bytes that readers of some columns were spared.",
    ),
    counter(
        "vltava_kv_put_records_total",
        &[],
        "Upserts and deletes of primary-key tables that were taken in.",
    ),
    histogram(
        "vltava_log_append_group_size",
        COUNTS,
        &[],
        "Appends that were written to a log together.",
    ),
    histogram(
        "vltava_kv_put_group_size",
        COUNTS,
        &[],
        "Batches of rows that were merged into a bucket together.",
    ),
    counter(
        "vltava_kv_index_rebuilds_total",
        &[],
        "Indexes that were made again from their logs.",
    ),
    counter(
        "vltava_kv_replayed_records_total",
        &[],
        "Changes that were read from logs to bring indexes up to date.",
    ),
    counter(
        "vltava_kv_row_cache_hits_total",
        &[],
        "Keys whose rows were in the cache of rows, for lookups and for merges.",
    ),
    counter(
        "vltava_kv_row_cache_misses_total",
        &[],
        "Keys that the cache of rows did not have, so that an index was asked.",
    ),
    counter(
        "vltava_kv_lookups_from_memory_total",
        &[],
        "Lookups of one or several keys that no disk was asked for.",
    ),
    counter(
        "vltava_kv_lookups_from_disk_total",
        &[],
        "Lookups of one or several keys that had to wait for a disk.",
    ),
    counter(
        "vltava_transcoder_rows_too_large_total",
        &[],
        "Rows that are not shown to Kafka clients because they are too large.",
    ),
    counter(
        "vltava_upsert_records_total",
        &[],
        "Records of Kafka producers that were put into primary-key tables.",
    ),
    counter(
        "vltava_upsert_parts_total",
        &[],
        "Parts of such records' batches, one or more for each bucket with a row.",
    ),
    counter(
        "vltava_upsert_failures_total",
        &["outcome"],
        "Such batches that not all buckets took, by what became of them: out of sequence, refused \
         by all buckets, or written partly and to be sent again.",
    ),
    gauge(
        "vltava_upsert_producers",
        &[],
        "Idempotent Kafka producers of primary-key tables that are known, each once for each \
         partition that it addresses.",
    ),
    counter("vltava_kv_lookup_keys_total", &[], "Keys looked up."),
    counter(
        "vltava_kv_lookup_missing_total",
        &[],
        "Keys looked up that had no row.",
    ),
    counter(
        "vltava_kv_prefix_lookups_total",
        &[],
        "Prefixes of keys looked up.",
    ),
    counter(
        "vltava_topic_index_records_total",
        &[],
        "Records that indexes of compacted topics took in.",
    ),
    gauge(
        "fluss_coordinator_num_kv_snapshots",
        &[],
        "Snapshots of indexes in the remote directory.",
    ),
    gauge(
        "fluss_coordinator_all_kv_snapshot_size",
        &[],
        "Bytes of these snapshots.",
    ),
    gauge(
        "fluss_coordinator_kv_snapshot_lease_count",
        &[],
        "Leases of snapshots.",
    ),
    gauge(
        "fluss_coordinator_leased_kv_snapshot_count",
        &[],
        "Snapshots that are leased, once for each lease.",
    ),
    counter(
        "vltava_kv_snapshots_total",
        &[],
        "Snapshots made of indexes.",
    ),
    counter(
        "vltava_kv_snapshot_bytes_total",
        &[],
        "Bytes of their files that no snapshot had before.",
    ),
    counter(
        "vltava_kv_snapshot_failures_total",
        &[],
        "Snapshots that could not be made.",
    ),
    counter(
        "vltava_kv_snapshot_restores_total",
        &[],
        "Lost indexes that were taken from a snapshot.",
    ),
    gauge("vltava_groups", &["state"], "Consumer groups."),
    counter(
        "vltava_group_rebalances_total",
        &[],
        "Rebalances of consumer groups.",
    ),
    counter(
        "vltava_group_expired_members_total",
        &[],
        "Members whose session ran out.",
    ),
    counter(
        "vltava_group_offset_commits_total",
        &[],
        "Offsets committed.",
    ),
    counter(
        "vltava_group_offset_deletions_total",
        &[],
        "Offsets deleted by clients.",
    ),
    counter(
        "vltava_group_offset_expirations_total",
        &[],
        "Offsets that expired.",
    ),
];

/// All metrics.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    let wires = [&KAFKA, &FLUSS].into_iter().flat_map(|wire| {
        [
            &wire.requests,
            &wire.errors,
            &wire.bytes_in,
            &wire.bytes_out,
            &wire.time,
        ]
    });
    let own = [
        &CONNECTIONS,
        &ACCEPTED,
        &REFUSED,
        &DROPPED,
        &RECEIVED,
        &SENT,
        &REQUEST_MEMORY_FREE,
        &FETCH_MEMORY_FREE,
        &UNPACKING_MEMORY_FREE,
        &KV_SCANS,
        &PANICS,
        &BUILD,
        &CPU_SECONDS,
        &RESIDENT_BYTES,
        &OPEN_FILES,
        &MAX_FILES,
        &THREADS,
    ];
    let of_tablets = OF_TABLETS.all();
    wires.chain(own).chain(of_tablets).chain(BY_NAME)
}

#[cfg(test)]
mod tests;
