//! Metadata (API 3): who leads what, which for one node is always the same. Missing topics are
//! made on the way where both sides want it.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use storage::catalog::{StringMap, Topic, names};
use uuid::Uuid;

use super::context::text;
use crate::config::TopicConfig;
use crate::kafka::error::Refusal;
use crate::kafka::topics::{
    self, CLUSTER_OPERATIONS, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, TopicRef, is_internal,
};
use crate::kafka::wire::Context;

/// From here on topics may be asked for by id alone.
const BY_ID: i16 = 12;

/// Answers with this broker and the topics that are asked for.
pub async fn handle(context: &Context, request: MetadataRequest) -> MetadataResponse {
    let asked = asked_topics(context.version, &request);
    let asked = match asked {
        Ok(asked) => asked,
        Err(names) => return node(context, &request).with_topics(invalid(names)),
    };
    let with_operations = request.include_topic_authorized_operations;
    let broker = context.broker();
    let view = broker.catalog.view();
    let answer = |topic: &Topic| describe(context, topic, with_operations);
    let mut answers = Vec::new();
    match asked {
        None => answers.extend(view.topics().map(|topic| answer(topic))),
        Some(asked) => {
            for topic in asked {
                let found = match topic.resolve(&view) {
                    Err(ResponseError::UnknownTopicOrPartition) => {
                        missing(context, &topic, request.allow_auto_topic_creation).await
                    }
                    found => found,
                };
                answers.push(match found {
                    Ok(found) => answer(&found),
                    Err(error) => refused(&topic, error),
                });
            }
        }
    }
    node(context, &request).with_topics(answers)
}

/// The topics that are asked for, each once; `None` for all. An error has the names of a request
/// that mixes up versions.
fn asked_topics(
    version: i16,
    request: &MetadataRequest,
) -> Result<Option<Vec<TopicRef>>, Vec<Option<TopicName>>> {
    let Some(topics) = &request.topics else {
        return Ok(None);
    };
    // Version 0 has no null.
    if version == 0 && topics.is_empty() {
        return Ok(None);
    }
    let has_id = |id: Uuid| !id.is_nil();
    let wrong = |topic: &kafka_protocol::messages::metadata_request::MetadataRequestTopic| {
        if version < BY_ID {
            topic.name.is_none() || has_id(topic.topic_id)
        } else {
            topic.name.is_none() && !has_id(topic.topic_id)
        }
    };
    if topics.iter().any(wrong) {
        return Err(topics.iter().map(|topic| topic.name.clone()).collect());
    }
    // As in Kafka, one id makes all names count for nothing.
    let by_id = topics.iter().any(|topic| has_id(topic.topic_id));
    let mut seen = HashSet::new();
    let asked = topics.iter().filter_map(|topic| match &topic.name {
        _ if has_id(topic.topic_id) => Some(TopicRef::Id(topic.topic_id)),
        Some(name) if !by_id => Some(TopicRef::Name(name.0.clone())),
        _ => None,
    });
    let asked = asked.filter(|topic| seen.insert(topic.clone()));
    Ok(Some(asked.collect()))
}

/// Makes a missing topic where the client allows it and the configuration says so.
async fn missing(
    context: &Context,
    topic: &TopicRef,
    allowed: bool,
) -> Result<Arc<Topic>, ResponseError> {
    let TopicRef::Name(name) = topic else {
        return Err(ResponseError::UnknownTopicId);
    };
    names::check_topic_name(name).map_err(|_| ResponseError::InvalidTopicException)?;
    let broker = context.broker();
    let config = broker.config();
    let creation = config.topic_creation();
    if !allowed || !creation.auto_create || names::RESERVED_TOPICS.contains(&name.as_str()) {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    let view = broker.catalog.view();
    let none = StringMap::new();
    let checked = topics::check_new_name(&view, name)
        .and_then(|()| TopicConfig::new(&config, &none).map_err(|error| Refusal::from(&error)));
    let created = match checked {
        Ok(_) => topics::create(broker, name, creation.partitions_default, none).await,
        Err(refusal) => Err(refusal),
    };
    match created {
        Ok(topic) => Ok(topic),
        // Somebody else was faster.
        Err(refusal) if refusal.error == ResponseError::TopicAlreadyExists => {
            let found = broker.catalog.view().topic(name).cloned();
            found.ok_or(ResponseError::InvalidTopicException)
        }
        Err(refusal) => {
            tracing::info!(topic = name.as_str(), error = ?refusal.error, cause = refusal.message, "did not create a topic");
            Err(refusal.error)
        }
    }
}

fn node(context: &Context, request: &MetadataRequest) -> MetadataResponse {
    let broker = context.broker();
    let endpoint = broker.endpoint_for(&context.peer);
    let node = MetadataResponseBroker::default()
        .with_node_id(broker.node_id.into())
        .with_host(text(&endpoint.host))
        .with_port(i32::from(endpoint.port))
        .with_rack(broker.config().rack().as_deref().map(text));
    let operations = match request.include_cluster_authorized_operations {
        true => CLUSTER_OPERATIONS,
        false => OPERATIONS_NOT_ASKED,
    };
    MetadataResponse::default()
        .with_brokers(vec![node])
        .with_cluster_id(Some(text(broker.catalog.cluster_id())))
        .with_controller_id(broker.node_id.into())
        .with_cluster_authorized_operations(operations)
}

fn describe(context: &Context, topic: &Topic, with_operations: bool) -> MetadataResponseTopic {
    let broker = context.broker();
    let epoch = broker.tablets.epoch().value();
    let node = broker.node_id.into();
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(node)
            .with_leader_epoch(epoch)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
    };
    let partitions = topic.tablets().map(|id| partition(id.bucket.value()));
    let name = topic.topic();
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&name.name))))
        .with_topic_id(name.id)
        .with_is_internal(is_internal(topic))
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(match with_operations {
            true => TOPIC_OPERATIONS,
            false => OPERATIONS_NOT_ASKED,
        })
}

fn refused(topic: &TopicRef, error: ResponseError) -> MetadataResponseTopic {
    let name = match topic {
        TopicRef::Name(_) => Some(topic.name()),
        TopicRef::Id(_) => None,
    };
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_name(name)
        .with_topic_id(topic.id())
}

fn invalid(names: Vec<Option<TopicName>>) -> Vec<MetadataResponseTopic> {
    let answer = |name: Option<TopicName>| {
        MetadataResponseTopic::default()
            .with_error_code(ResponseError::InvalidRequest.code())
            .with_name(Some(name.unwrap_or_default()))
    };
    names.into_iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;

    fn asking(topics: &[(Option<&str>, u128)]) -> MetadataRequest {
        let topic = |(name, id): &(Option<&str>, u128)| {
            MetadataRequestTopic::default()
                .with_name(name.map(|name| TopicName(text(name))))
                .with_topic_id(Uuid::from_u128(*id))
        };
        MetadataRequest::default().with_topics(Some(topics.iter().map(topic).collect()))
    }

    #[test]
    fn an_empty_list_is_all_topics_in_version_0_only() {
        assert_eq!(asked_topics(0, &asking(&[])), Ok(None));
        assert_eq!(asked_topics(1, &asking(&[])), Ok(Some(Vec::new())));
        let all = MetadataRequest::default().with_topics(None);
        assert_eq!(asked_topics(1, &all), Ok(None));
    }

    #[test]
    fn topics_are_asked_by_name_or_by_id_and_answered_once() {
        let names = asking(&[(Some("a"), 0), (Some("b"), 0), (Some("a"), 0)]);
        let name = |name: &str| TopicRef::Name(text(name));
        assert_eq!(
            asked_topics(9, &names),
            Ok(Some(vec![name("a"), name("b")]))
        );
        let mixed = asking(&[(Some("a"), 0), (None, 7)]);
        let id = TopicRef::Id(Uuid::from_u128(7));
        assert_eq!(asked_topics(12, &mixed), Ok(Some(vec![id])));
    }

    #[test]
    fn ids_before_version_12_and_topics_without_either_are_refused() {
        assert!(asked_topics(11, &asking(&[(Some("a"), 7)])).is_err());
        assert!(asked_topics(10, &asking(&[(None, 0)])).is_err());
        assert!(asked_topics(13, &asking(&[(None, 0)])).is_err());
    }
}
