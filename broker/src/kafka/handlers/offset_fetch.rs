//! OffsetFetch: one group up to version 7, several from version 8 on.

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};

use super::context::{RequestContext, text};
use crate::coordinator::group::{
    CommittedOffset, FetchOffsetsRequest, GroupCoordinator, GroupError, TopicOffsets,
};

/// The first version that asks for several groups.
const SEVERAL_GROUPS: i16 = 8;
/// The first version whose answer has an error of its own; before it each partition carries it.
const ERROR_ON_TOP: i16 = 2;
/// "No offset is committed", as the wire writes it.
const NO_OFFSET: i64 = -1;

type Fetched = Result<Vec<TopicOffsets>, GroupError>;
type Asked = Option<Vec<(crate::coordinator::group::TopicName, Vec<i32>)>>;

/// Reads committed offsets.
pub fn offset_fetch(
    coordinator: &GroupCoordinator,
    context: &RequestContext,
    request: OffsetFetchRequest,
) -> BoxFuture<'static, OffsetFetchResponse> {
    let require_stable = request.require_stable;
    if context.version >= SEVERAL_GROUPS {
        let groups = request
            .groups
            .into_iter()
            .map(|group| fetch_group(coordinator, group, require_stable));
        let groups = join_all(groups);
        return groups
            .map(|groups| OffsetFetchResponse::default().with_groups(groups))
            .boxed();
    }
    let version = context.version;
    let topics: Asked = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| (topic.name.as_str().into(), topic.partition_indexes))
            .collect()
    });
    let fetched = coordinator.fetch_offsets(FetchOffsetsRequest {
        group: request.group_id.as_str().into(),
        topics: topics.clone(),
        require_stable,
    });
    fetched
        .map(move |fetched| respond_one(fetched, topics, version))
        .boxed()
}

fn fetch_group(
    coordinator: &GroupCoordinator,
    group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> BoxFuture<'static, OffsetFetchResponseGroup> {
    let topics = group.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| (topic.name.as_str().into(), topic.partition_indexes))
            .collect()
    });
    let fetched = coordinator.fetch_offsets(FetchOffsetsRequest {
        group: group.group_id.as_str().into(),
        topics,
        require_stable,
    });
    let answer = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
    fetched
        .map(|fetched| match fetched {
            Err(error) => answer.with_error_code(error.code()),
            Ok(topics) => answer.with_topics(topics.into_iter().map(topic).collect()),
        })
        .boxed()
}

fn topic(topic: TopicOffsets) -> OffsetFetchResponseTopics {
    let partition = |(index, outcome): (i32, Result<Option<CommittedOffset>, GroupError>)| {
        let place = Place::of(&outcome);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(place.offset)
            .with_committed_leader_epoch(place.leader_epoch)
            .with_metadata(Some(text(place.metadata)))
            .with_error_code(place.code)
    };
    OffsetFetchResponseTopics::default()
        .with_name(TopicName(text(&topic.topic)))
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}

fn respond_one(fetched: Fetched, asked: Asked, version: i16) -> OffsetFetchResponse {
    let error = fetched.as_ref().err().copied();
    let topics = match fetched {
        Ok(topics) => topics,
        Err(_) if version >= ERROR_ON_TOP => Vec::new(),
        Err(error) => asked
            .unwrap_or_default()
            .into_iter()
            .map(|(topic, partitions)| TopicOffsets {
                topic,
                partitions: partitions
                    .into_iter()
                    .map(|index| (index, Err(error)))
                    .collect(),
            })
            .collect(),
    };
    OffsetFetchResponse::default()
        .with_error_code(error.map_or(0, GroupError::code))
        .with_topics(topics.into_iter().map(topic_of_one).collect())
}

fn topic_of_one(topic: TopicOffsets) -> OffsetFetchResponseTopic {
    let partition = |(index, outcome): (i32, Result<Option<CommittedOffset>, GroupError>)| {
        let place = Place::of(&outcome);
        OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(place.offset)
            .with_committed_leader_epoch(place.leader_epoch)
            .with_metadata(Some(text(place.metadata)))
            .with_error_code(place.code)
    };
    OffsetFetchResponseTopic::default()
        .with_name(TopicName(text(&topic.topic)))
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}

/// A partition's fields, which both forms of the answer have.
struct Place<'a> {
    offset: i64,
    leader_epoch: i32,
    metadata: &'a str,
    code: i16,
}

impl<'a> Place<'a> {
    fn of(outcome: &'a Result<Option<CommittedOffset>, GroupError>) -> Self {
        match outcome {
            Ok(Some(committed)) => Place {
                offset: committed.offset,
                leader_epoch: committed.leader_epoch,
                metadata: &committed.metadata,
                code: 0,
            },
            Ok(None) | Err(_) => Place {
                offset: NO_OFFSET,
                leader_epoch: -1,
                metadata: "",
                code: GroupError::code_of(outcome),
            },
        }
    }
}
