//! Producers of several client libraries, each with its own choice of partitions, fill one compacted topic, and clients of
//! the Fluss wire look its keys up.

pub mod lookups;
pub mod topic;

use std::time::Duration;

/// Longer than any answer takes on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(60);
