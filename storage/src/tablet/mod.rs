//! A tablet: what both wires call to append to a bucket and to read it.
//!
//! A reader gets batches of its own wire, whatever wire wrote them: frames of its format leave as
//! they are stored (`kafka_read.rs`, `fluss_read.rs`), runs of the other format go through
//! [`OtherWire`]. Offsets are the same either way.
//!
//! *Invariant*: nothing at or above the high watermark is returned, and nothing undecided to whom
//! reads committed records only; Fluss readers always do.

mod answer;
mod columns;
mod error;
mod fluss_read;
mod kafka_read;
mod last_rows;
mod other_wire;
mod out;
mod shape;
#[cfg(test)]
mod tests;
mod times;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use parking_lot::RwLock;
use protocol::fluss::predicate::Predicate;
use protocol::ids::{LeaderEpoch, Offset};

pub use error::{ConvertError, FlussReadError, InvalidProjection, KafkaReadError};
pub use other_wire::{Converted, OtherWire};
pub use shape::{ArrowCodec, Columnar, TableShape};

use crate::log::{Append, AppendTicket, DataSignal, LogHandle, Until, Watermarks};

/// A cheap handle of a bucket's log, its table's shape and the transcoder.
#[derive(Clone)]
pub struct Tablet {
    inner: Arc<Inner>,
}

struct Inner {
    log: LogHandle,
    shape: RwLock<Arc<TableShape>>,
    other: Arc<dyn OtherWire>,
    /// The last Kafka read began in Fluss frames: the next one looks before it reads much.
    kafka_meets_fluss: AtomicBool,
    /// The last Fluss read began in Kafka frames.
    fluss_meets_kafka: AtomicBool,
}

/// What a Kafka fetch wants of a tablet.
#[derive(Debug, Clone, Copy)]
pub struct KafkaRead {
    /// First record wanted; the batch that holds it is returned whole.
    pub offset: Offset,
    /// Bytes of batches wanted at most.
    pub bytes_max: usize,
    /// Return the first batch even when it is larger than `bytes_max`.
    pub at_least_one: bool,
    /// Stop at the last stable offset (isolation level read-committed) instead of the high
    /// watermark.
    pub committed_only: bool,
}

/// Kafka record batches.
#[derive(Debug, Clone)]
pub struct KafkaBatches {
    /// Whole batches with their assigned fields, in order; a chunk may hold several.
    pub chunks: Vec<Bytes>,
    /// Their length.
    pub bytes: usize,
    /// Offset after the last batch, or the offset asked for when there is none.
    pub next_offset: Offset,
    /// The offsets of the log, taken before it was read.
    pub watermarks: Watermarks,
}

/// What a Fluss fetch wants of a tablet.
#[derive(Debug, Clone)]
pub struct FlussRead {
    /// First record wanted; the batch that holds it is returned whole.
    pub offset: Offset,
    /// Bytes of batches wanted at most, projected ones where there is a projection.
    pub bytes_max: usize,
    /// Return the first batch even when it is larger than `bytes_max`.
    pub at_least_one: bool,
    /// Positions of the wanted columns, strictly ascending; all columns without.
    pub projection: Option<Arc<[usize]>>,
    /// Leaves out Arrow batches whose statistics show that no row matches.
    pub filter: Option<Arc<Predicate>>,
}

/// Fluss log batches.
#[derive(Debug, Clone)]
pub struct FlussBatches {
    /// Whole batches with their assigned fields, in order; a chunk may hold several.
    pub chunks: Vec<Bytes>,
    /// Their length.
    pub bytes: usize,
    /// Offset after the last batch that was returned or left out, or the offset asked for when
    /// there is none.
    pub next_offset: Offset,
    /// Set when the last batches, or all, were left out by the filter: where the reader goes on.
    pub filtered_end_offset: Option<Offset>,
    /// The offsets of the log, taken before it was read. What Fluss calls the high watermark is
    /// [`Watermarks::last_stable`].
    pub watermarks: Watermarks,
}

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordAt {
    /// Its record time, epoch milliseconds.
    pub timestamp_ms: i64,
    /// Its offset.
    pub offset: Offset,
    /// The epoch it was appended under.
    pub leader_epoch: LeaderEpoch,
}

impl Tablet {
    /// A tablet of an open log.
    pub fn new(log: LogHandle, shape: Arc<TableShape>, other: Arc<dyn OtherWire>) -> Tablet {
        Tablet {
            inner: Arc::new(Inner {
                log,
                shape: RwLock::new(shape),
                other,
                kafka_meets_fluss: AtomicBool::new(false),
                fluss_meets_kafka: AtomicBool::new(false),
            }),
        }
    }

    /// Its log, for everything that is not reading.
    pub fn log(&self) -> &LogHandle {
        &self.inner.log
    }

    /// What its table looks like now.
    pub fn shape(&self) -> Arc<TableShape> {
        Arc::clone(&self.inner.shape.read())
    }

    /// The table was altered; reads that have begun finish with the old shape.
    pub fn set_shape(&self, shape: Arc<TableShape>) {
        *self.inner.shape.write() = shape;
    }

    /// Queues an append; see [`LogHandle::append`].
    pub fn append(&self, append: Append, until: Until) -> AppendTicket {
        self.inner.log.append(append, until)
    }

    /// The offsets between which it can be read.
    pub fn watermarks(&self) -> Watermarks {
        self.inner.log.log().watermarks()
    }

    /// Takes care of what the transcoder keeps of it; see [`OtherWire::tend`].
    pub fn tend(&self) {
        self.inner.other.tend(&self.inner.log, &self.shape());
    }

    /// Registers a fetch to be woken when there is something new; see
    /// [`LogHandle::wait_for_data`].
    pub fn wait_for_data(&self, signal: &Arc<DataSignal>) {
        self.inner.log.wait_for_data(signal);
    }

    /// Records that readers see, as table statistics count them: the offsets below the last
    /// stable one.
    pub fn row_count(&self) -> i64 {
        let w = self.watermarks();
        (other_wire::committed_end(&w) - w.log_start).max(0)
    }
}
