//! One round over one log: who knows the newest offsets of its keys.

use protocol::ids::Offset;
use storage::kv::tablet::KvTablet;
use storage::log::Log;
use storage::log::cleaner::{
    CleanError, Cleaned, KafkaFormat, OffsetMap, RecordFormat, Round, SuccessorsError,
};

use super::Candidate;

/// Runs a round. Returns what it did, and how much of the memory for keys was used, 0 to 1.
pub(super) fn run(
    log: &Log,
    candidate: &Candidate,
    map_bytes: usize,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<(Cleaned, f64), CleanError> {
    let end = candidate.backlog.first_uncleanable;
    match &candidate.bucket.kv {
        Some(kv) => {
            let (flushed_end, mut format) = changelog(kv)?;
            by_map(
                log,
                candidate,
                end.min(flushed_end),
                &mut format,
                map_bytes,
                pace,
            )
        }
        None => by_map(
            log,
            candidate,
            end,
            &mut KafkaFormat::default(),
            map_bytes,
            pace,
        ),
    }
}

/// A changelog may be compacted as far as its index is on disk: what the index would replay has to
/// be as it was.
fn changelog(kv: &KvTablet) -> Result<(Offset, impl RecordFormat + use<>), SuccessorsError> {
    let end = kv
        .flushed_end()
        .map_err(|error| SuccessorsError(Box::new(error)))?;
    let format = kv
        .changelog_format()
        .map_err(|error| SuccessorsError(Box::new(error)))?;
    Ok((end, format))
}

fn by_map(
    log: &Log,
    candidate: &Candidate,
    end: Offset,
    format: &mut dyn RecordFormat,
    map_bytes: usize,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<(Cleaned, f64), CleanError> {
    // What is clean has one record of each key already: the dirty part says which of them goes.
    let map = OffsetMap::of_log(
        log,
        candidate.backlog.first_dirty,
        end,
        map_bytes,
        format,
        pace,
    )?;
    let done = log.clean(Round {
        end,
        delete_retention_ms: candidate.config.delete_retention_ms,
        successors: &map,
        format,
        pace,
    })?;
    Ok((done, map.utilization()))
}
