//! What the broker counts, and how it is read.

use std::time::Duration;

use metrics::{Counter, Histogram};

/// The meters of one API of one wire.
#[derive(Clone)]
pub struct ApiMeter {
    requests: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    time: Histogram,
}

impl ApiMeter {
    /// Meters that count nothing.
    pub fn none() -> Self {
        Self {
            requests: Counter::noop(),
            bytes_in: Counter::noop(),
            bytes_out: Counter::noop(),
            time: Histogram::noop(),
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
}
