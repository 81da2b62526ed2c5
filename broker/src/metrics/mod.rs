//! What the broker counts, and how it is read.
//!
//! The [`table`] names every metric. The requests, connections and process figures are counted
//! through [`Metrics`]; storage and coordinators count by name with the macros of the crate
//! `metrics`, which reach the same place once [`Metrics::install`] was called.

mod process;
pub mod table;
pub(crate) mod tablets;

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::net::{DroppedMeters, NetworkMeters};
use process::ProcessMeters;
use table::{Metric, MetricKind, WireMetrics};

/// All meters of a broker. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

/// How often what histograms have collected is added up, so that it does not grow unread.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

const METADATA: Metadata<'static> = Metadata::new("vltava", Level::INFO, None);

impl Metrics {
    /// Meters that nobody else counts in.
    pub fn new() -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for metric in table::all() {
            if let MetricKind::Histogram(buckets) = metric.kind {
                let matcher = Matcher::Full(metric.name.to_owned());
                builder = builder.set_buckets_for_metric(matcher, buckets)?;
            }
        }
        let recorder = Arc::new(builder.build_recorder());
        for metric in table::all() {
            let (name, help) = (metric.name.into(), metric.help.into());
            match metric.kind {
                MetricKind::Counter => recorder.describe_counter(name, None, help),
                MetricKind::Gauge => recorder.describe_gauge(name, None, help),
                MetricKind::Histogram(_) => recorder.describe_histogram(name, None, help),
            }
        }
        let metrics = Self {
            handle: recorder.handle(),
            recorder,
        };
        metrics
            .gauge(&table::BUILD, &[("version", env!("CARGO_PKG_VERSION"))])
            .set(1.0);
        Ok(metrics)
    }

    /// Makes the macros of `metrics` count here; false when another one of the process was first.
    pub fn install(&self) -> bool {
        metrics::set_global_recorder(Arc::clone(&self.recorder)).is_ok()
    }

    /// The meters of one API.
    pub fn api(&self, wire: &'static WireMetrics, request: &'static str) -> Arc<ApiMeter> {
        let labels = [("request", request)];
        Arc::new(ApiMeter {
            requests: self.counter(&wire.requests, &labels),
            bytes_in: self.counter(&wire.bytes_in, &labels),
            bytes_out: self.counter(&wire.bytes_out, &labels),
            time: self.histogram(&wire.time, &labels),
            errors: Some((self.clone(), &wire.errors, request)),
        })
    }

    /// The meters of the connections of one wire.
    pub fn network(&self, wire: &'static str) -> NetworkMeters {
        let labels = [("wire", wire)];
        NetworkMeters {
            connections: self.gauge(&table::CONNECTIONS, &labels),
            accepted: self.counter(&table::ACCEPTED, &labels),
            refused: self.counter(&table::REFUSED, &labels),
            dropped: DroppedMeters {
                frame_length: self.dropped(wire, "frame_length"),
                frame_timeout: self.dropped(wire, "frame_timeout"),
                write_timeout: self.dropped(wire, "write_timeout"),
                idle: self.dropped(wire, "idle"),
                bad_request: self.dropped(wire, "bad_request"),
            },
            bytes_in: self.counter(&table::RECEIVED, &labels),
            bytes_out: self.counter(&table::SENT, &labels),
        }
    }

    fn dropped(&self, wire: &'static str, reason: &'static str) -> Counter {
        self.counter(&table::DROPPED, &[("wire", wire), ("reason", reason)])
    }

    /// The meter of the free memory of answers to fetches.
    pub fn fetch_memory_free(&self) -> Gauge {
        self.gauge(&table::FETCH_MEMORY_FREE, &[])
    }

    /// The meter of the free memory for batches that are decompressed to be checked.
    pub fn unpacking_memory_free(&self) -> Gauge {
        self.gauge(&table::UNPACKING_MEMORY_FREE, &[])
    }

    /// The meter of scans of primary-key tables.
    pub fn kv_scans(&self) -> Gauge {
        self.gauge(&table::KV_SCANS, &[])
    }

    /// The meter of the free request memory.
    pub fn request_memory_free(&self) -> Gauge {
        self.gauge(&table::REQUEST_MEMORY_FREE, &[])
    }

    /// The meter of panics.
    pub fn panics(&self) -> Counter {
        self.counter(&table::PANICS, &[])
    }

    /// All metrics in the text form of Prometheus.
    pub fn render(&self) -> String {
        ProcessMeters::new(self).read();
        self.handle.render()
    }

    /// Adds up what histograms have collected. Call it every [`UPKEEP_INTERVAL`].
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    fn counter(&self, metric: &Metric, labels: &[(&'static str, &'static str)]) -> Counter {
        self.recorder
            .register_counter(&key(metric, labels), &METADATA)
    }

    fn gauge(&self, metric: &Metric, labels: &[(&'static str, &'static str)]) -> Gauge {
        self.recorder
            .register_gauge(&key(metric, labels), &METADATA)
    }

    fn histogram(&self, metric: &Metric, labels: &[(&'static str, &'static str)]) -> Histogram {
        self.recorder
            .register_histogram(&key(metric, labels), &METADATA)
    }
}

fn key(metric: &Metric, labels: &[(&'static str, &'static str)]) -> Key {
    debug_assert!(labels.iter().map(|(name, _)| name).eq(metric.labels));
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| Label::from_static_parts(name, value))
        .collect();
    Key::from_parts(metric.name, labels)
}

/// The meters of one API of one wire.
pub struct ApiMeter {
    requests: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    time: Histogram,
    errors: Option<(Metrics, &'static Metric, &'static str)>,
}

impl ApiMeter {
    /// Meters that count nothing.
    pub fn none() -> Self {
        Self {
            requests: Counter::noop(),
            bytes_in: Counter::noop(),
            bytes_out: Counter::noop(),
            time: Histogram::noop(),
            errors: None,
        }
    }

    /// Counts an answered request: its frame's length, its answer's length, and the time from one
    /// to the other.
    pub fn answered(&self, bytes_in: usize, bytes_out: usize, time: Duration) {
        self.requests.increment(1);
        self.bytes_in.increment(bytes_in as u64);
        self.bytes_out.increment(bytes_out as u64);
        self.time.record(time.as_secs_f64() * 1000.0);
    }

    /// Counts errors in an answer, by the wire's name of the error.
    pub fn failed(&self, error: &'static str, count: u64) {
        if let Some((metrics, metric, request)) = &self.errors {
            metrics
                .counter(metric, &[("request", request), ("error", error)])
                .increment(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown_with_help_and_buckets() {
        let metrics = Metrics::new().expect("the table is sound");
        let api = metrics.api(&table::KAFKA, "Produce");
        api.answered(100, 20, Duration::from_micros(300));
        api.failed("NOT_LEADER_OR_FOLLOWER", 2);
        let text = metrics.render();
        for line in [
            "# HELP kafka_network_requestmetrics_requests_total Requests answered.",
            "kafka_network_requestmetrics_requests_total{request=\"Produce\"} 1",
            "kafka_network_requestmetrics_response_bytes_total{request=\"Produce\"} 20",
            "kafka_network_requestmetrics_errors_total{request=\"Produce\",error=\"NOT_LEADER_OR_FOLLOWER\"} 2",
            "kafka_network_requestmetrics_total_time_ms_bucket{request=\"Produce\",le=\"0.2\"} 0",
            "kafka_network_requestmetrics_total_time_ms_bucket{request=\"Produce\",le=\"0.5\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
    }

    #[test]
    fn two_brokers_of_one_process_count_apart() {
        let (first, second) = (
            Metrics::new().expect("sound"),
            Metrics::new().expect("sound"),
        );
        first.network("kafka").accepted.increment(3);
        assert!(
            first
                .render()
                .contains("vltava_network_accepted_total{wire=\"kafka\"} 3")
        );
        assert!(!second.render().contains("vltava_network_accepted_total"));
    }
}
