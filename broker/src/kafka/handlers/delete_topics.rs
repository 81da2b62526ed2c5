//! DeleteTopics (API 20), by name or, since version 6, by id.

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use storage::catalog::Topic;
use uuid::Uuid;

use super::context::text;
use crate::kafka::error::Refusal;
use crate::kafka::topics::{self, TopicRef, is_internal};
use crate::kafka::wire::Context;

/// The first version that names topics by id.
const BY_ID: i16 = 6;
/// The first version that has a code for "deletion is switched off".
const KNOWS_DISABLED: i16 = 3;

/// A topic as the request names it.
type Asked = (Option<TopicName>, Uuid);

/// Drops topics, one after the other, with what groups have committed for them.
pub async fn handle(context: &Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let asked: Vec<Asked> = if context.version >= BY_ID {
        let topics = request.topics.into_iter();
        topics.map(|t| (t.name, t.topic_id)).collect()
    } else {
        let names = request.topic_names.into_iter();
        names.map(|name| (Some(name), Uuid::nil())).collect()
    };
    let mut counts: HashMap<Asked, u32> = HashMap::new();
    for topic in &asked {
        *counts.entry(topic.clone()).or_default() += 1;
    }
    let enabled = context.broker().config().topic_creation().delete_enabled;
    let mut responses = Vec::with_capacity(asked.len());
    let mut dropped = Vec::new();
    for topic in asked {
        // Each once, though it was named twice.
        let Some(count) = counts.remove(&topic) else {
            continue;
        };
        let outcome = match reference(&topic, count) {
            Err(refusal) => Err(refusal),
            Ok(_) if !enabled => Err(disabled(context.version)),
            Ok(reference) => delete(context, &reference).await,
        };
        responses.push(match outcome {
            Ok(found) => {
                let name = found.topic();
                dropped.push(name.name.clone());
                DeletableTopicResult::default()
                    .with_name(Some(TopicName(text(&name.name))))
                    .with_topic_id(name.id)
                    .with_error_message(None)
            }
            Err(refusal) => DeletableTopicResult::default()
                .with_name(topic.0)
                .with_topic_id(topic.1)
                .with_error_code(refusal.code())
                .with_error_message(refusal.text()),
        });
    }
    if !dropped.is_empty() {
        clean_up(context, dropped);
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

/// What remains to be done once the topics are gone; nobody waits for it.
fn clean_up(context: &Context, dropped: Vec<String>) {
    let broker = Arc::clone(context.broker());
    tokio::spawn(async move {
        let topics = dropped.iter().map(|name| name.as_str().into()).collect();
        if let Err(error) = broker.groups.forget_topics(topics).await {
            // Offsets of a topic that is gone expire by themselves.
            tracing::warn!(?dropped, %error, "committed offsets of dropped topics stay");
        }
        let deleted = topics::blocking(&broker, |broker| {
            broker.tablets.delete_dropped();
            Ok(())
        });
        // It logs its own errors; when the broker stops, its next start deletes.
        let _ = deleted.await;
    });
}

fn reference((name, id): &Asked, count: u32) -> Result<TopicRef, Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ResponseError::InvalidRequest, message));
    match (name, id.is_nil()) {
        (Some(_), false) => invalid("You may not specify both topic name and topic id."),
        (None, true) => invalid("Neither topic name nor id were specified."),
        (Some(_), true) if count > 1 => invalid("Duplicate topic name."),
        (None, false) if count > 1 => invalid("Duplicate topic id."),
        (Some(name), true) => Ok(TopicRef::Name(name.0.clone())),
        (None, false) => Ok(TopicRef::Id(*id)),
    }
}

fn disabled(version: i16) -> Refusal {
    let error = match version {
        ..KNOWS_DISABLED => ResponseError::InvalidRequest,
        _ => ResponseError::TopicDeletionDisabled,
    };
    Refusal::new(error, "Topic deletion is disabled.")
}

async fn delete(context: &Context, reference: &TopicRef) -> Result<Arc<Topic>, Refusal> {
    let broker = context.broker();
    let found = reference.resolve(&broker.catalog.view());
    let topic = found.map_err(|error| Refusal::new(error, error_text(error)))?;
    if is_internal(&topic) {
        let message = format!("{} belongs to the broker", topic.topic().name);
        let code = ResponseError::InvalidTopicException;
        return Err(Refusal::new(code, message));
    }
    let dropping = Arc::clone(&topic);
    topics::blocking(broker, move |broker| {
        let dropped = match &dropping.partition {
            None => {
                let dropped = broker.catalog.drop_table(dropping.table.id);
                dropped.map_err(|error| Refusal::from(&error))
            }
            Some(partition) => {
                let dropped = broker.catalog.drop_partition(partition.id);
                dropped.map_err(|error| Refusal::from(&error))
            }
        };
        broker.tablets.refresh();
        dropped
    })
    .await?;
    tracing::info!(topic = topic.topic().name, table = %topic.table.path, client = %context.peer.address, "deleted a topic");
    Ok(topic)
}

/// Kafka's own words for an unknown topic.
pub(super) fn error_text(error: ResponseError) -> &'static str {
    match error {
        ResponseError::UnknownTopicId => "This server does not host this topic ID.",
        _ => "This server does not host this topic-partition.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_in_exactly_one_way_and_once() {
        let name = || Some(TopicName(text("t")));
        let id = Uuid::from_u128(7);
        assert!(matches!(
            reference(&(name(), Uuid::nil()), 1),
            Ok(TopicRef::Name(_))
        ));
        assert!(matches!(reference(&(None, id), 1), Ok(TopicRef::Id(_))));
        for (asked, count) in [
            ((name(), id), 1),
            ((None, Uuid::nil()), 1),
            ((name(), Uuid::nil()), 2),
            ((None, id), 2),
        ] {
            let refusal = reference(&asked, count).unwrap_err();
            assert_eq!(refusal.error, ResponseError::InvalidRequest);
        }
    }

    #[test]
    fn old_versions_have_no_code_for_disabled() {
        assert_eq!(disabled(1).error, ResponseError::InvalidRequest);
        assert_eq!(disabled(3).error, ResponseError::TopicDeletionDisabled);
    }
}
