//! Bytes that fluss-rs received in answers to fetches, from the client's own metrics: the same measure for every server.

use crate::error::Outcome;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counter, for reading.
#[derive(Clone, Default)]
pub struct Received(Arc<AtomicU64>);

impl Received {
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Installs the recorder of the process.
pub fn install() -> Outcome<Received> {
    let received = Received::default();
    metrics::set_global_recorder(FetchedBytes(received.clone()))
        .map_err(|_| "another recorder is installed")?;
    Ok(received)
}

/// A recorder that keeps one counter.
struct FetchedBytes(Received);

impl Recorder for FetchedBytes {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let of_fetches = key.labels().any(|label| label.value() == "fetch_log");
        if key.name() == "fluss.client.bytes_received.total" && of_fetches {
            Counter::from_arc(Arc::clone(&self.0.0))
        } else {
            Counter::noop()
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
