//! DescribeTopicPartitions (API 75, KIP-966): topics page by page.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};
use storage::catalog::{CatalogView, Topic, names};

use super::context::text;
use crate::kafka::topics::{TOPIC_OPERATIONS, is_internal};
use crate::kafka::wire::Context;

/// Where the next page begins.
type Place = (String, i32);

/// A topic of a page: its partitions from one index up to another, or none when it is unknown.
#[derive(Debug, PartialEq)]
struct Part {
    name: String,
    topic: Option<(Arc<Topic>, i32, i32)>,
}

/// Describes topics in the order of their names, up to a number of partitions.
pub async fn handle(
    context: &Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let broker = context.broker();
    let view = broker.catalog.view();
    let max = broker.config().fetch().described_partitions_max;
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let limit = limit.min(max).max(1);
    let begin = match &request.cursor {
        Some(cursor) if cursor.partition_index < 0 => {
            return refuse_all(&request);
        }
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index),
        None => (String::new(), 0),
    };
    let asked: BTreeSet<String> = request
        .topics
        .iter()
        .map(|topic| topic.name.to_string())
        .collect();
    let (parts, next) = page(&view, &asked, begin, limit);
    let topics = parts.into_iter().map(|part| describe(context, part));
    let cursor = next.map(|(name, index)| {
        Cursor::default()
            .with_topic_name(TopicName(text(&name)))
            .with_partition_index(index)
    });
    DescribeTopicPartitionsResponse::default()
        .with_topics(topics.collect())
        .with_next_cursor(cursor)
}

/// One page; all topics when none is asked for.
fn page(
    view: &CatalogView,
    asked: &BTreeSet<String>,
    (begin, first): Place,
    limit: usize,
) -> (Vec<Part>, Option<Place>) {
    let all: BTreeSet<String>;
    let names = if asked.is_empty() {
        all = view
            .topics()
            .map(|topic| topic.topic().name.clone())
            .collect();
        &all
    } else {
        asked
    };
    let mut left = i32::try_from(limit).unwrap_or(i32::MAX);
    let mut parts = Vec::new();
    for name in names.range(begin.clone()..) {
        if left == 0 {
            return (parts, Some((name.clone(), 0)));
        }
        let from = if *name == begin { first } else { 0 };
        let Some(topic) = view.topic(name) else {
            let name = name.clone();
            parts.push(Part { name, topic: None });
            continue;
        };
        let count = i32::try_from(topic.bucket_count()).unwrap_or(i32::MAX);
        let to = count.min(from.saturating_add(left)).max(from);
        left -= to - from;
        parts.push(Part {
            name: name.clone(),
            topic: Some((Arc::clone(topic), from, to)),
        });
        if to < count {
            return (parts, Some((name.clone(), to)));
        }
    }
    (parts, None)
}

fn describe(context: &Context, part: Part) -> DescribeTopicPartitionsResponseTopic {
    let answer = DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(&part.name))))
        .with_topic_authorized_operations(TOPIC_OPERATIONS);
    let Some((topic, from, to)) = part.topic else {
        let error = match names::check_topic_name(&part.name) {
            Ok(()) => ResponseError::UnknownTopicOrPartition,
            Err(_) => ResponseError::InvalidTopicException,
        };
        return answer.with_error_code(error.code());
    };
    let broker = context.broker();
    let epoch = broker.tablets.epoch().value();
    let node = broker.node_id.into();
    let partition = |index| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(node)
            .with_leader_epoch(epoch)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    };
    answer
        .with_topic_id(topic.topic().id)
        .with_is_internal(is_internal(&topic))
        .with_partitions((from..to).map(partition).collect())
}

/// The answer has no place for an error of the whole request but its topics.
fn refuse_all(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(topic.name.clone()))
            .with_error_code(ResponseError::InvalidRequest.code())
    });
    DescribeTopicPartitionsResponse::default()
        .with_topics(topics.collect())
        .with_next_cursor(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::raw::raw_schema;
    use storage::catalog::store::memory::MemoryStore;
    use storage::catalog::{Catalog, CatalogSettings, NewName, NewTable};
    use storage::env::simulated::Simulation;

    fn view() -> Arc<CatalogView> {
        let store = Box::new(MemoryStore::new([]));
        let env = Simulation::new(1).env();
        let catalog = Catalog::open(store, env, CatalogSettings::default()).unwrap();
        for (name, count) in [("a", 2), ("b", 3), ("c", 1)] {
            let name = NewName::Topic(name.to_owned());
            let new = NewTable::log(name, raw_schema(false), count);
            catalog.create_table(new).unwrap();
        }
        catalog.view()
    }

    fn shown(asked: &[&str], begin: (&str, i32), limit: usize) -> String {
        let asked = asked.iter().map(|name| (*name).to_owned()).collect();
        let (parts, next) = page(&view(), &asked, (begin.0.to_owned(), begin.1), limit);
        let part = |part: &Part| match &part.topic {
            Some((_, from, to)) => format!("{}[{from}..{to}] ", part.name),
            None => format!("{}? ", part.name),
        };
        let parts: String = parts.iter().map(part).collect();
        match next {
            Some((name, index)) => format!("{parts}> {name}:{index}"),
            None => parts,
        }
    }

    #[test]
    fn pages_follow_each_other_through_all_topics() {
        assert_eq!(shown(&[], ("", 0), 3), "a[0..2] b[0..1] > b:1");
        assert_eq!(shown(&[], ("b", 1), 2), "b[1..3] > c:0");
        assert_eq!(shown(&[], ("c", 0), 2), "c[0..1] ");
        assert_eq!(shown(&[], ("", 0), 2), "a[0..2] > b:0");
        assert_eq!(shown(&[], ("", 0), 100), "a[0..2] b[0..3] c[0..1] ");
    }

    #[test]
    fn asked_topics_come_in_order_with_the_unknown_ones() {
        assert_eq!(shown(&["c", "x", "a"], ("", 0), 9), "a[0..2] c[0..1] x? ");
        assert_eq!(shown(&["c", "a"], ("b", 7), 9), "c[0..1] ");
        assert_eq!(shown(&["a"], ("a", 9), 9), "a[9..9] ");
    }
}
