//! Compacted topics as tables: an index beside each bucket's log.
//!
//! ```text
//! Kafka producer ──► log, as ever ──► index: key ─► offset, times, row or tombstone
//!                                        ▲
//! lookup: wait until it has what is visible now, then ask it
//! ```
//!
//! The log stays as it is; nothing waits for the index but who asks it ([`TopicIndex::follow`]). So
//! a record that was acknowledged is found by the next lookup, also after a crash.
//!
//! Kafka producers choose buckets with hashes of their own, so a key may be in several buckets: the
//! newest of its records is its value ([`TopicTable`]).
//!
//! *Invariant*: an index never has an offset at or above the log's last stable one. *Invariant*:
//! tombstones stay in it until the cleaner removed them from the log.

mod entry;
mod error;
mod format;
mod frames;
mod index;
mod rows;
mod shared;
mod successors;
mod table;
mod upserts;

pub use error::TopicIndexError;
pub use format::TopicFormat;
pub use frames::FrameError;
pub use index::TopicIndex;
pub use rows::TopicRows;
pub use shared::{TopicIndexSpec, TopicIndexes};
pub use successors::TopicSuccessors;
pub use table::{Owner, TopicTable};
pub use upserts::{InvalidUpsert, UpsertSpec, kafka_batches, raw_key};

#[cfg(test)]
mod tests;
