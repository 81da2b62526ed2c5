//! ListOffsets (API 2): the ends of logs, and offsets by record time.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use protocol::ids::{LeaderEpoch, Offset};
use storage::catalog::CatalogView;

use crate::kafka::error;
use crate::kafka::topics::{check_epoch, open_partition};
use crate::kafka::wire::Context;

/// Isolation level read-committed, as the request writes it.
const READ_COMMITTED: i8 = 1;
/// The first version whose answer has the epoch of what was found.
const HAS_EPOCH: i16 = 4;
/// "Unknown", for times, offsets and epochs.
const NONE: i64 = -1;

/// What a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// The end that the reader sees.
    Latest,
    /// The log start; all of the log is local.
    Earliest,
    /// The first record of the largest time (KIP-734).
    LargestTime,
    /// The last offset in the remote log, of which there is none.
    LatestTiered,
    /// The first record of this time or a later one.
    Time(i64),
}

/// A place in a log.
#[derive(Debug, Clone, Copy)]
struct Found {
    time_ms: i64,
    offset: i64,
    epoch: Option<LeaderEpoch>,
}

/// Finds offsets; each partition has its own outcome.
pub async fn handle(context: &Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let view = context.broker().catalog.view();
    let committed_only = request.isolation_level == READ_COMMITTED;
    let mut seen = HashSet::new();
    let mut twice = HashSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let place = (topic.name.clone(), partition.partition_index);
            if !seen.insert(place.clone()) {
                twice.insert(place);
            }
        }
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let index = asked.partition_index;
            let found = match twice.contains(&(topic.name.clone(), index)) {
                true => Err(ResponseError::InvalidRequest),
                false => find(context, &view, &topic.name, asked, committed_only).await,
            };
            partitions.push(answer(context.version, index, found));
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}

fn answer(
    version: i16,
    index: i32,
    found: Result<Found, ResponseError>,
) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse::default().with_partition_index(index);
    match found {
        Ok(found) => {
            // Older versions have no such field.
            let epoch = found.epoch.filter(|_| version >= HAS_EPOCH);
            answer
                .with_timestamp(found.time_ms)
                .with_offset(found.offset)
                .with_leader_epoch(epoch.map_or(-1, LeaderEpoch::value))
        }
        Err(error) => answer
            .with_error_code(error.code())
            .with_timestamp(NONE)
            .with_offset(NONE)
            .with_leader_epoch(-1),
    }
}

/// The meaning of a time; the negative ones came with later versions.
fn wanted(version: i16, timestamp: i64) -> Result<Wanted, ResponseError> {
    match timestamp {
        0.. => Ok(Wanted::Time(timestamp)),
        -1 => Ok(Wanted::Latest),
        -2 => Ok(Wanted::Earliest),
        -3 if version >= 7 => Ok(Wanted::LargestTime),
        -4 if version >= 8 => Ok(Wanted::Earliest),
        -5 if version >= 9 => Ok(Wanted::LatestTiered),
        _ => Err(ResponseError::UnsupportedVersion),
    }
}

async fn find(
    context: &Context,
    view: &CatalogView,
    topic: &str,
    asked: &ListOffsetsPartition,
    committed_only: bool,
) -> Result<Found, ResponseError> {
    let wanted = wanted(context.version, asked.timestamp)?;
    let topic = view
        .topic(topic)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let bucket = open_partition(context.broker(), topic, asked.partition_index).await?;
    check_epoch(context.broker(), asked.current_leader_epoch)?;
    let log = bucket.tablet.log().log();
    let w = bucket.tablet.watermarks();
    let end = match committed_only {
        true => w.last_stable,
        false => w.high_watermark,
    };
    let at = |offset: Offset, epoch| Found {
        time_ms: NONE,
        offset: offset.value(),
        epoch,
    };
    let found = match wanted {
        Wanted::Latest => return Ok(at(end, Some(log.epoch()))),
        Wanted::Earliest => return Ok(at(w.log_start, log.epoch_at(w.log_start))),
        Wanted::LatestTiered => return Ok(at(Offset::new(NONE), None)),
        Wanted::LargestTime => {
            let _turn = context.broker().unpacking.lookup().await;
            bucket
                .tablet
                .offset_of_largest_record_time(committed_only)
                .await
        }
        Wanted::Time(time) => {
            let _turn = context.broker().unpacking.lookup().await;
            bucket
                .tablet
                .offset_for_record_time(time, committed_only)
                .await
        }
    };
    let found = found.map_err(|error| {
        tracing::warn!(table = %topic.table.path, bucket = asked.partition_index, %error, "cannot look for a record by its time");
        error::of_kafka_read(&error)
    })?;
    Ok(match found {
        Some(record) => Found {
            time_ms: record.timestamp_ms,
            offset: record.offset.value(),
            epoch: Some(record.leader_epoch),
        },
        None => at(Offset::new(NONE), None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_times_mean_what_their_version_knows() {
        assert_eq!(wanted(1, -1), Ok(Wanted::Latest));
        assert_eq!(wanted(1, -2), Ok(Wanted::Earliest));
        assert_eq!(wanted(6, -3), Err(ResponseError::UnsupportedVersion));
        assert_eq!(wanted(7, -3), Ok(Wanted::LargestTime));
        assert_eq!(wanted(8, -4), Ok(Wanted::Earliest));
        assert_eq!(wanted(9, -5), Ok(Wanted::LatestTiered));
        assert_eq!(wanted(10, -6), Err(ResponseError::UnsupportedVersion));
        assert_eq!(wanted(10, 0), Ok(Wanted::Time(0)));
    }
}
