//! One round over one log: who knows the newest offsets of its keys.

use protocol::ids::Offset;
use storage::kv::tablet::KvTablet;
use storage::kv::topic::{TopicFormat, TopicSuccessors, TopicTable};
use storage::log::Log;
use storage::log::cleaner::{
    CleanError, Cleaned, KafkaFormat, OffsetMap, RecordFormat, Round, Successors, SuccessorsError,
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
    if candidate.bucket.topic.is_some() {
        let format = &mut TopicFormat::default();
        let map = map_of(log, candidate, end, format, map_bytes, pace)?;
        let used = map.utilization();
        let successors = of_topic(tablets, candidate, map)?;
        let done = clean(log, candidate, end, &successors, format, pace)?;
        return Ok((done, used));
    }
    let (done, map) = match &candidate.bucket.kv {
        Some(kv) => {
            let (flushed_end, mut format) = changelog(kv)?;
            let end = end.min(flushed_end);
            let map = map_of(log, candidate, end, &mut format, map_bytes, pace)?;
            let successors = kv.successors(&map);
            let done = clean(log, candidate, end, &successors, &mut format, pace)?;
            (done, map)
        }
        None => {
            let format = &mut KafkaFormat::default();
            let map = map_of(log, candidate, end, format, map_bytes, pace)?;
            let done = clean(log, candidate, end, &map, format, pace)?;
            (done, map)
        }
    };
    Ok((done, map.utilization()))
}

fn clean(
    log: &Log,
    candidate: &Candidate,
    end: Offset,
    successors: &dyn Successors,
    format: &mut dyn RecordFormat,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<Cleaned, CleanError> {
    log.clean(Round {
        end,
        delete_retention_ms: candidate.config.delete_retention_ms,
        successors,
        format,
        pace,
    })
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

/// What is clean has one record of each key already: the dirty part says which of them goes.
fn map_of(
    log: &Log,
    candidate: &Candidate,
    end: Offset,
    format: &mut dyn RecordFormat,
    map_bytes: usize,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<OffsetMap, CleanError> {
    let from = candidate.backlog.first_dirty;
    OffsetMap::of_log(log, from, end, map_bytes, format, pace)
}

/// A tombstone goes when the index of its topic has it. A key that it says to have none of may have
/// a value in another bucket, so that the indexes of the others are asked too.
fn of_topic(
    tablets: &Tablets,
    candidate: &Candidate,
    map: OffsetMap,
) -> Result<TopicSuccessors, CleanError> {
    let bucket = &candidate.bucket;
    let failed = |error| CleanError::Successors(SuccessorsError(error));
    let buckets = tablets.buckets_of_topic(bucket);
    let buckets = buckets.map_err(|error| failed(Box::new(error)))?;
    let indexes = buckets.iter().filter_map(|bucket| bucket.topic.clone());
    let table = TopicTable::new(indexes.collect(), bucket.settings.key_owner);
    let id = bucket.tablet.log().log().id();
    let place = usize::try_from(id.bucket.value()).unwrap_or(usize::MAX);
    let successors = table.successors(place, map);
    successors.ok_or_else(|| failed("the bucket is not one of its topic's".into()))
}
