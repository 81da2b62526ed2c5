//! OffsetForLeaderEpoch (API 23, KIP-320): where a consumer's log and ours part.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use protocol::ids::LeaderEpoch;
use storage::catalog::CatalogView;
use storage::log::Log;

use crate::kafka::topics::{check_epoch, open_partition};
use crate::kafka::wire::Context;

/// "Unknown", for epochs and offsets.
const NONE: i32 = -1;

/// Tells where epochs end.
pub async fn handle(
    context: &Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let view = context.broker().catalog.view();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            let found = find(context, &view, &topic.topic, asked).await;
            partitions.push(match found {
                Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
                Err(error) => answer
                    .with_error_code(error.code())
                    .with_leader_epoch(NONE)
                    .with_end_offset(i64::from(NONE)),
            });
        }
        topics.push(
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic)
                .with_partitions(partitions),
        );
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

async fn find(
    context: &Context,
    view: &CatalogView,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ResponseError> {
    let topic = view
        .topic(topic)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let bucket = open_partition(context.broker(), topic, asked.partition).await?;
    check_epoch(context.broker(), asked.current_leader_epoch)?;
    Ok(end_of(bucket.tablet.log().log(), asked.leader_epoch))
}

/// The epoch that the log knows at or below `epoch`, and where it ended. An epoch that wrote
/// nothing yet ends at the high watermark, one that is to come is unknown, and one before all
/// others ends where the log begins.
fn end_of(log: &Log, epoch: i32) -> (i32, i64) {
    let unknown = (NONE, i64::from(NONE));
    let w = log.watermarks();
    let asked = LeaderEpoch::new(epoch);
    if epoch < 0 || asked > log.epoch() {
        return unknown;
    }
    if asked == log.epoch() {
        return (epoch, w.high_watermark.value());
    }
    match (log.end_of_epoch(asked), log.epoch_at(w.log_start)) {
        (Some((found, end)), _) => (found.value(), end.value()),
        (None, Some(_)) => (epoch, w.log_start.value()),
        // Nothing is left of the log: all that was ended where the present epoch begins.
        (None, None) => (epoch, w.high_watermark.value()),
    }
}
