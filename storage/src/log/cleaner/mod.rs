//! The cleaner: of each key of a compacted log the newest record stays, older ones go.
//!
//! A round ([`Log::clean`]) walks the closed segments from the log's start, asks who knows the
//! newest offset of each key ([`Successors`]), writes what stays into new segments, small
//! neighbours together, and puts them in the place of the old ones (`swap.rs`). What a batch is,
//! a [`RecordFormat`] knows. When a round is worth it, `backlog.rs` says.
//!
//! *Invariant*: offsets never change; a batch that loses records keeps its offsets, and what lost
//! all of them leaves a gap. *Invariant*: a record goes only when a record of the same key with a
//! higher offset is durable, decided and in the reach of the round. *Invariant*: memory does not
//! grow with the number of keys.
//!
//! [`Log::clean`]: super::Log::clean

mod backlog;
mod format;
mod frames;
mod kafka;
mod offset_map;
mod output;
mod rewrite;
mod round;
mod rows;
mod state;
mod successors;
mod swap;
#[cfg(test)]
mod tests;
mod together;
mod window;

pub use backlog::{Backlog, CompactionConfig};
pub use format::{Fate, Judged, KeyedRecord, RecordFormat, Rewrite, RewriteError, UnreadableBatch};
pub use kafka::KafkaFormat;
pub use offset_map::OffsetMap;
pub use round::{CleanError, Cleaned, Round};
pub use rows::RowBatches;
pub(super) use state::CleanState;
pub use successors::{Successors, SuccessorsError};
pub(super) use together::{decided as decided_swaps, finish as finish_swaps};
