//! Producers of several client libraries that write to a primary-key table, whose offset they are not told.
//!
//! A producer is started as `UPSERTER LIBRARY TOPIC COUNT`. It sends `COUNT` records with the keys `{"id":0}`, `{"id":1}` …
//! and the values `{"n":0}`, `{"n":1}` …, idempotently, to partition 0, waits until all are acknowledged, and prints
//! `offset I OFFSET` for each: what its library shows for the offset -1 of the answer.

mod producer;
mod table;

pub use producer::{Library, offsets};
pub use table::Table;

use std::time::Duration;

/// Longer than any answer takes on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(60);
