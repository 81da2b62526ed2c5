//! CreatePartitions (API 37).

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use storage::catalog::{Origin, TableChanges};

use super::create_topics::check_replicas;
use super::delete_topics::error_text;
use crate::kafka::error::Refusal;
use crate::kafka::topics;
use crate::kafka::wire::Context;

/// Adds partitions to topics; each has its own outcome.
pub async fn handle(
    context: &Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut counts: HashMap<_, u32> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let outcome = match counts.remove(&topic.name) {
            None => continue,
            Some(1) => grow(context, topic, request.validate_only).await,
            Some(_) => Err(Refusal::new(
                ResponseError::InvalidRequest,
                "Duplicate topic name.",
            )),
        };
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        results.push(match outcome {
            Ok(()) => result.with_error_message(None),
            Err(refusal) => result
                .with_error_code(refusal.code())
                .with_error_message(refusal.text()),
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn grow(
    context: &Context,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    let broker = context.broker();
    let unknown = ResponseError::UnknownTopicOrPartition;
    let found = broker.catalog.view().topic(&asked.name).cloned();
    let topic = found.ok_or_else(|| Refusal::new(unknown, error_text(unknown)))?;
    match topic.table.origin {
        Origin::Kafka => {}
        Origin::Internal => {
            let message = format!("{} belongs to the broker", asked.name.as_str());
            let code = ResponseError::InvalidTopicException;
            return Err(Refusal::new(code, message));
        }
        // Its rows are spread by the bucket count: only who writes with Fluss can change it.
        Origin::Fluss => {
            let message = format!(
                "{} is the Fluss table {}: change its buckets on the Fluss wire",
                asked.name.as_str(),
                topic.table.path
            );
            return Err(Refusal::new(ResponseError::InvalidPartitions, message));
        }
    }
    let max = broker.config().topic_creation().partitions_max;
    let count = check(asked, topic.bucket_count(), max, broker.node_id)?;
    if validate_only {
        return Ok(());
    }
    let table = topic.table.id;
    topics::blocking(broker, move |broker| {
        let changes = TableChanges {
            bucket_count: Some(count),
            ..TableChanges::default()
        };
        let altered = broker
            .catalog
            .alter_table(table, |_| Ok::<_, Refusal>(changes));
        broker.tablets.refresh();
        altered.map(|_| ())
    })
    .await?;
    tracing::info!(
        topic = asked.name.as_str(),
        partitions = count,
        "added partitions"
    );
    Ok(())
}

/// The new count, which must be larger than the current one and fit the assignments.
fn check(
    asked: &CreatePartitionsTopic,
    current: u32,
    max: usize,
    node_id: i32,
) -> Result<u32, Refusal> {
    let invalid = |message| Err(Refusal::new(ResponseError::InvalidPartitions, message));
    let count = u32::try_from(asked.count).unwrap_or(0);
    if count == current {
        return invalid(format!("Topic already has {current} partition(s)."));
    }
    if count < current {
        return invalid(format!(
            "The topic {} currently has {current} partition(s); {} would not be an increase.",
            asked.name.as_str(),
            asked.count
        ));
    }
    if count as usize > max {
        return invalid(format!(
            "{count} partitions are more than the {max} that this broker allows for a topic"
        ));
    }
    if let Some(assignments) = &asked.assignments {
        let added = (count - current) as usize;
        if assignments.len() != added {
            let message = format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) \
                 were specified.",
                assignments.len()
            );
            let code = ResponseError::InvalidReplicaAssignment;
            return Err(Refusal::new(code, message));
        }
        for assignment in assignments {
            let brokers: Vec<i32> = assignment.broker_ids.iter().map(|id| id.0).collect();
            check_replicas(&brokers, node_id)?;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::create_partitions_request::CreatePartitionsAssignment;

    fn asked(count: i32, brokers: Option<&[i32]>) -> CreatePartitionsTopic {
        let assignment =
            |id: &i32| CreatePartitionsAssignment::default().with_broker_ids(vec![(*id).into()]);
        CreatePartitionsTopic::default()
            .with_count(count)
            .with_assignments(brokers.map(|ids| ids.iter().map(assignment).collect()))
    }

    fn error(asked: &CreatePartitionsTopic) -> ResponseError {
        check(asked, 3, 10, 7).unwrap_err().error
    }

    #[test]
    fn partitions_are_only_added() {
        assert_eq!(check(&asked(4, None), 3, 10, 7), Ok(4));
        for count in [3, 2, 0, -1, 11] {
            assert_eq!(error(&asked(count, None)), ResponseError::InvalidPartitions);
        }
    }

    #[test]
    fn each_added_partition_is_assigned_to_this_broker() {
        assert_eq!(check(&asked(5, Some(&[7, 7])), 3, 10, 7), Ok(5));
        for brokers in [&[7][..], &[7, 8], &[7, 7, 7]] {
            let refused = error(&asked(5, Some(brokers)));
            assert_eq!(refused, ResponseError::InvalidReplicaAssignment);
        }
    }
}
