//! OffsetCommit.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};

use super::context::RequestContext;
use crate::coordinator::group::{
    CommitPartition, CommitRequest, CommitTopic, GroupCoordinator, GroupError, InstanceId,
};

/// From here on clients know that a group may not exist.
const GROUP_NOT_FOUND: i16 = 9;

/// Commits offsets; answers when they are durable. `exists` says which partitions there are: a
/// commit to another one is refused, and would never be removed.
pub fn offset_commit(
    coordinator: &GroupCoordinator,
    context: &RequestContext,
    exists: impl Fn(&str, i32) -> bool,
    request: OffsetCommitRequest,
) -> BoxFuture<'static, OffsetCommitResponse> {
    let mut answer = Answer::default();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let known = answer.start_topic(topic, &exists);
        if !known.partitions.is_empty() {
            topics.push(known);
        }
    }
    if topics.is_empty() {
        return ready(answer.finish(Ok(()))).boxed();
    }
    let committed = coordinator.commit(CommitRequest {
        group: request.group_id.as_str().into(),
        generation: request.generation_id_or_member_epoch,
        member_id: request.member_id.as_str().into(),
        instance_id: request
            .group_instance_id
            .as_ref()
            .map(|id| InstanceId::from(id.as_str())),
        retention_ms: (request.retention_time_ms >= 0).then_some(request.retention_time_ms),
        knows_group_not_found: context.version >= GROUP_NOT_FOUND,
        topics,
    });
    committed
        .map(|outcome| match outcome {
            Err(error) => answer.finish(Err(error)),
            Ok(topics) => {
                let outcomes = topics
                    .into_iter()
                    .flat_map(|topic| topic.partitions)
                    .map(|(_, outcome)| outcome);
                answer.finish_each(outcomes)
            }
        })
        .boxed()
}

/// The answer's topics, in the order of the request. Partitions that were handed to the
/// coordinator have no outcome yet.
#[derive(Default)]
struct Answer(Vec<(TopicName, Vec<Place>)>);

/// A partition, and why it was refused here.
type Place = (i32, Option<GroupError>);

impl Answer {
    fn start_topic(
        &mut self,
        topic: &OffsetCommitRequestTopic,
        exists: &impl Fn(&str, i32) -> bool,
    ) -> CommitTopic {
        let mut known = CommitTopic {
            topic: topic.name.as_str().into(),
            partitions: Vec::new(),
        };
        let mut places = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            if !exists(&topic.name, index) {
                places.push((index, Some(GroupError::UnknownPartition)));
                continue;
            }
            places.push((index, None));
            known.partitions.push(CommitPartition {
                partition: index,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition
                    .committed_metadata
                    .as_ref()
                    .map_or("", |text| text.as_str())
                    .into(),
            });
        }
        self.0.push((topic.name.clone(), places));
        known
    }

    /// All handed over share one outcome.
    fn finish(self, outcome: Result<(), GroupError>) -> OffsetCommitResponse {
        self.finish_each(std::iter::repeat(outcome))
    }

    /// Those handed over have their outcomes, in order.
    fn finish_each(
        self,
        outcomes: impl Iterator<Item = Result<(), GroupError>>,
    ) -> OffsetCommitResponse {
        let mut outcomes = outcomes;
        let mut topics = Vec::with_capacity(self.0.len());
        for (name, places) in self.0 {
            let mut partitions = Vec::with_capacity(places.len());
            for (index, refused) in places {
                let code = match refused {
                    Some(error) => error.code(),
                    None => outcomes
                        .next()
                        .map_or(0, |outcome| GroupError::code_of(&outcome)),
                };
                partitions.push(
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(index)
                        .with_error_code(code),
                );
            }
            topics.push(
                OffsetCommitResponseTopic::default()
                    .with_name(name)
                    .with_partitions(partitions),
            );
        }
        OffsetCommitResponse::default().with_topics(topics)
    }
}
