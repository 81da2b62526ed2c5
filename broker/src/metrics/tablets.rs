//! What is told of each open tablet, and of all indexes together: read when somebody asks, so that
//! a tablet that is gone is told of no more.

use std::fmt::Write;

use protocol::ids::TabletId;
use storage::catalog::CatalogView;
use storage::kv::index::IndexPressure;

use super::table::{Metric, OF_TABLETS};
use crate::tablets::{OpenBucket, Tablets};

/// Appends the metrics of all open tablets, in the text form of Prometheus.
pub(crate) fn render(tablets: &Tablets, view: &CatalogView, out: &mut String) {
    let mut buckets = tablets.all_open();
    buckets.sort_by_key(|bucket| bucket.tablet.log().log().id());
    let labels: Vec<String> = buckets.iter().map(|b| labels_of(b, view)).collect();
    let each = |out: &mut String, metric: &Metric, value: &dyn Fn(&OpenBucket) -> Option<i64>| {
        begin(out, metric);
        for (bucket, labels) in buckets.iter().zip(&labels) {
            if let Some(value) = value(bucket) {
                // Writing to a text does not fail.
                let _ = writeln!(out, "{}{{{labels}}} {value}", metric.name);
            }
        }
    };
    let m = &OF_TABLETS;
    each(out, &m.size, &|b| {
        i64::try_from(b.tablet.log().log().size_bytes()).ok()
    });
    each(out, &m.log_start, &|b| {
        Some(b.tablet.watermarks().log_start.value())
    });
    each(out, &m.log_end, &|b| {
        Some(b.tablet.watermarks().log_end.value())
    });
    each(out, &m.high_watermark, &|b| {
        Some(b.tablet.watermarks().high_watermark.value())
    });
    each(out, &m.index_lag, &|b| match (&b.kv, &b.topic) {
        (Some(kv), _) => kv.lag(),
        (None, topic) => topic.as_ref()?.lag(),
    });
    let indexes = buckets.iter().filter_map(|b| match (&b.kv, &b.topic) {
        (Some(kv), _) => kv.index_if_open(),
        (None, topic) => topic.as_ref()?.index_if_open(),
    });
    let pressures: Vec<IndexPressure> = indexes.map(|index| index.pressure()).collect();
    let sum = |of: fn(&IndexPressure) -> u64| pressures.iter().map(of).sum::<u64>();
    let usage = tablets.index_usage();
    let most = |of: fn(&IndexPressure) -> u64| pressures.iter().map(of).max().unwrap_or(0);
    for (metric, value) in [
        (&m.open_indexes, pressures.len() as u64),
        (&m.cache_bytes, usage.cache_bytes as u64),
        (&m.write_buffer_bytes, usage.write_buffers_bytes as u64),
        (&m.row_cache_bytes, usage.row_cache_bytes),
        (&m.index_disk_bytes, sum(|p| p.disk_bytes)),
        (&m.compaction_bytes, sum(|p| p.compaction_bytes)),
        (&m.overlapping_files, most(|p| p.overlapping_files)),
        (&m.stopped_indexes, sum(|p| u64::from(p.writes_stopped))),
    ] {
        begin(out, metric);
        let _ = writeln!(out, "{} {value}", metric.name);
    }
}

fn begin(out: &mut String, metric: &Metric) {
    let name = metric.name;
    let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} gauge", metric.help);
}

/// Topic and partition of a bucket.
fn labels_of(bucket: &OpenBucket, view: &CatalogView) -> String {
    let id = bucket.tablet.log().log().id();
    let topic = topic_of(id, bucket, view);
    let mut labels = String::from("topic=\"");
    for c in topic.chars() {
        match c {
            '\\' | '"' => labels.extend(['\\', c]),
            '\n' => labels.push_str("\\n"),
            c => labels.push(c),
        }
    }
    let _ = write!(labels, "\",partition=\"{}\"", id.bucket.value());
    labels
}

fn topic_of(id: TabletId, bucket: &OpenBucket, view: &CatalogView) -> String {
    let of_partition = id
        .table_partition
        .and_then(|partition| view.partition(partition))
        .map(|partition| partition.topic.name.clone());
    let of_table = || Some(bucket.table.topic.as_ref()?.name.clone());
    of_partition
        .or_else(of_table)
        .unwrap_or_else(|| bucket.table.path.to_string())
}
