//! OffsetDelete.

use std::collections::HashMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, TopicName};

use super::context::{RequestContext, text};
use crate::coordinator::group::{DeleteOffsetsRequest, GroupCoordinator, GroupError, TopicOutcome};

/// Removes committed offsets of partitions that exist and that the group does not read.
pub fn offset_delete(
    coordinator: &GroupCoordinator,
    _context: &RequestContext,
    exists: impl Fn(&str, i32) -> bool,
    request: OffsetDeleteRequest,
) -> BoxFuture<'static, OffsetDeleteResponse> {
    let mut unknown: HashMap<String, Vec<i32>> = HashMap::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name = topic.name.as_str();
        let indexes = topic.partitions.iter().map(|p| p.partition_index);
        let (known, missing): (Vec<i32>, Vec<i32>) =
            indexes.partition(|index| exists(name, *index));
        if !missing.is_empty() {
            unknown.entry(name.to_owned()).or_default().extend(missing);
        }
        topics.push((name.into(), known));
    }
    let deleted = coordinator.delete_offsets(DeleteOffsetsRequest {
        group: request.group_id.as_str().into(),
        topics,
    });
    deleted
        .map(move |outcome| match outcome {
            Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
            Ok(topics) => {
                let topics = topics
                    .into_iter()
                    .map(|outcome| topic(outcome, &mut unknown))
                    .collect();
                OffsetDeleteResponse::default().with_topics(topics)
            }
        })
        .boxed()
}

fn topic(
    outcome: TopicOutcome,
    unknown: &mut HashMap<String, Vec<i32>>,
) -> OffsetDeleteResponseTopic {
    let missing = unknown.remove(&*outcome.topic).unwrap_or_default();
    let missing = missing
        .into_iter()
        .map(|index| (index, Err(GroupError::UnknownPartition)));
    let partition = |(index, outcome): (i32, Result<(), GroupError>)| {
        OffsetDeleteResponsePartition::default()
            .with_partition_index(index)
            .with_error_code(GroupError::code_of(&outcome))
    };
    OffsetDeleteResponseTopic::default()
        .with_name(TopicName(text(&outcome.topic)))
        .with_partitions(
            outcome
                .partitions
                .into_iter()
                .chain(missing)
                .map(partition)
                .collect(),
        )
}
