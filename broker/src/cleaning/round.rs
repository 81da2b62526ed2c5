//! One round over one log: who knows the newest offsets of its keys.

use storage::log::Log;
use storage::log::cleaner::{CleanError, Cleaned, KafkaFormat, OffsetMap, Round};

use super::Candidate;

/// Runs a round. Returns what it did, and how much of the memory for keys was used, 0 to 1.
pub(super) fn run(
    log: &Log,
    candidate: &Candidate,
    map_bytes: usize,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<(Cleaned, f64), CleanError> {
    let backlog = &candidate.backlog;
    let mut format = KafkaFormat::default();
    // What is clean has one record of each key already: the dirty part says which of them goes.
    let map = OffsetMap::of_log(
        log,
        backlog.first_dirty,
        backlog.first_uncleanable,
        map_bytes,
        &mut format,
        pace,
    )?;
    let done = log.clean(Round {
        end: backlog.first_uncleanable,
        delete_retention_ms: candidate.config.delete_retention_ms,
        successors: &map,
        format: &mut format,
        pace,
    })?;
    Ok((done, map.utilization()))
}
