//! One round over one log: who knows the newest offsets of its keys.

use protocol::ids::Offset;
use storage::kv::tablet::KvTablet;
use storage::kv::topic::{TopicFormat, TopicSuccessors, TopicTable};
use storage::log::Log;
use storage::log::cleaner::{
    CleanError, Cleaned, KafkaFormat, OffsetMap, RecordFormat, Round, SuccessorsError,
};

use super::Candidate;
use crate::tablets::Tablets;

/// Runs a round. Returns what it did, and how much of the memory for keys was used, 0 to 1.
pub(super) fn run(
    tablets: &Tablets,
    log: &Log,
    candidate: &Candidate,
    map_bytes: usize,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<(Cleaned, f64), CleanError> {
    let end = candidate.backlog.first_uncleanable;
    if let Some(successors) = index_of(tablets, candidate)? {
        // Also because of what it has not followed yet: the log must not lose a tombstone before.
        let done = log.clean(Round {
            end,
            delete_retention_ms: candidate.config.delete_retention_ms,
            successors: &successors,
            format: &mut TopicFormat::default(),
            pace,
        })?;
        return Ok((done, 0.0));
    }
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

/// The index of a compacted topic knows the newest offset of each key. A key that it has a
/// tombstone of may have a value in another bucket, so that the others are opened too.
fn index_of(
    tablets: &Tablets,
    candidate: &Candidate,
) -> Result<Option<TopicSuccessors>, CleanError> {
    let bucket = &candidate.bucket;
    if bucket.topic.is_none() {
        return Ok(None);
    }
    let buckets = tablets.buckets_of_topic(bucket);
    let buckets = buckets.map_err(|error| SuccessorsError(Box::new(error)))?;
    let indexes = buckets.iter().filter_map(|bucket| bucket.topic.clone());
    let table = TopicTable::new(indexes.collect(), bucket.settings.key_owner);
    let id = bucket.tablet.log().log().id();
    let place = usize::try_from(id.bucket.value()).unwrap_or(usize::MAX);
    Ok(table.successors(place))
}
