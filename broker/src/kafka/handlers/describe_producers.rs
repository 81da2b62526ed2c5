//! DescribeProducers (API 61, KIP-664): what partitions remember of their producers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use protocol::batch::ProducerScheme;
use storage::catalog::CatalogView;

use super::context::text;
use super::delete_topics::error_text;
use crate::kafka::topics::open_partition;
use crate::kafka::wire::Context;

/// "None": no transaction is open, no coordinator wrote here.
const NONE: i32 = -1;

/// Lists the producers of partitions.
pub async fn handle(
    context: &Context,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let view = context.broker().catalog.view();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            let answer = PartitionResponse::default()
                .with_partition_index(index)
                .with_error_message(None);
            partitions.push(match producers(context, &view, &topic.name, index).await {
                Ok(producers) => answer.with_active_producers(producers),
                Err(error) => answer
                    .with_error_code(error.code())
                    .with_error_message(Some(text(error_text(error)))),
            });
        }
        topics.push(
            TopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    DescribeProducersResponse::default().with_topics(topics)
}

async fn producers(
    context: &Context,
    view: &CatalogView,
    topic: &str,
    index: i32,
) -> Result<Vec<ProducerState>, ResponseError> {
    let topic = view
        .topic(topic)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let bucket = open_partition(context.broker(), topic, index).await?;
    let known = bucket.tablet.log().log().producers().into_iter();
    // Writers of the Fluss wire are numbered in the same way, but their batches are not.
    let known = known.filter(|(_, entry)| entry.scheme == ProducerScheme::Kafka);
    let shown = known.map(|(key, entry)| {
        let last = entry.last();
        ProducerState::default()
            .with_producer_id(key.producer_id.into())
            .with_producer_epoch(i32::from(entry.epoch))
            .with_last_sequence(last.last_sequence)
            .with_last_timestamp(last.commit_time)
            .with_coordinator_epoch(NONE)
            .with_current_txn_start_offset(i64::from(NONE))
    });
    Ok(shown.collect())
}
