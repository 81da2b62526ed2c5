//! CreateTopics (API 19). The order of the checks is the controller's, because tools show the
//! first one that fails.

use std::collections::{BTreeSet, HashMap};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use storage::catalog::StringMap;
use uuid::Uuid;

use super::context::text;
use crate::config::{Config, TopicConfig};
use crate::kafka::error::Refusal;
use crate::kafka::topics;
use crate::kafka::wire::Context;

/// A topic that passed the checks.
#[derive(Debug, PartialEq)]
struct Planned {
    partitions: u32,
    configs: StringMap,
}

/// Makes topics, one after the other; each has its own outcome.
pub async fn handle(context: &Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut counts: HashMap<_, u32> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    let mut seen = BTreeSet::new();
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        if !seen.insert(topic.name.clone()) {
            continue;
        }
        let duplicate = counts.get(&topic.name).is_some_and(|count| *count > 1);
        let outcome = match duplicate {
            true => Err(invalid_request("Duplicate topic name.")),
            false => create(context, topic, request.validate_only).await,
        };
        results.push(match outcome {
            Ok((id, planned)) => made(context, topic, id, planned),
            Err(refusal) => refused(topic, &refusal),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

async fn create(
    context: &Context,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<(Uuid, Planned), Refusal> {
    let broker = context.broker();
    let config = broker.config();
    topics::check_new_name(&broker.catalog.view(), &topic.name)?;
    let planned = plan(topic, &config, broker.node_id)?;
    if validate_only {
        let name = topic.name.as_str();
        topics::check_create(broker, name, planned.partitions)?;
        return Ok((Uuid::nil(), planned));
    }
    let configs = planned.configs.clone();
    let made = topics::create(broker, &topic.name, planned.partitions, configs).await?;
    Ok((made.topic().id, planned))
}

/// Checks all but the name.
fn plan(topic: &CreatableTopic, config: &Config, node_id: i32) -> Result<Planned, Refusal> {
    let mut configs = StringMap::new();
    for entry in &topic.configs {
        let Some(value) = &entry.value else {
            let name = entry.name.as_str();
            let message = format!("Null value not supported for topic configs: {name}");
            return Err(Refusal::new(ResponseError::InvalidConfig, message));
        };
        configs.insert(entry.name.to_string(), value.to_string());
    }
    TopicConfig::new(config, &configs).map_err(|error| Refusal::from(&error))?;
    let partitions = if topic.assignments.is_empty() {
        counted(topic, config)?
    } else {
        assigned(topic, node_id)?
    };
    let creation = config.topic_creation();
    if partitions as usize > creation.partitions_max {
        let message = format!(
            "{partitions} partitions are more than the {} that this broker allows for a topic",
            creation.partitions_max
        );
        return Err(Refusal::new(ResponseError::PolicyViolation, message));
    }
    Ok(Planned {
        partitions,
        configs,
    })
}

fn counted(topic: &CreatableTopic, config: &Config) -> Result<u32, Refusal> {
    match topic.replication_factor {
        1 | -1 => {}
        ..=0 => {
            return Err(Refusal::new(
                ResponseError::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
        factor => {
            let message = format!(
                "Unable to replicate the partition {factor} time(s): The target replication \
                 factor of {factor} cannot be reached because only 1 broker(s) are registered."
            );
            let code = ResponseError::InvalidReplicationFactor;
            return Err(Refusal::new(code, message));
        }
    }
    match (topic.num_partitions, u32::try_from(topic.num_partitions)) {
        (-1, _) => Ok(config.topic_creation().partitions_default),
        (_, Ok(count @ 1..)) => Ok(count),
        _ => Err(Refusal::new(
            ResponseError::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        )),
    }
}

fn assigned(topic: &CreatableTopic, node_id: i32) -> Result<u32, Refusal> {
    let manual = "A manual partition assignment was specified, but";
    if topic.replication_factor != -1 {
        let message = format!("{manual} replication factor was not set to -1.");
        return Err(invalid_request(&message));
    }
    if topic.num_partitions != -1 {
        return Err(invalid_request(&format!(
            "{manual} numPartitions was not set to -1."
        )));
    }
    let mut indexes = BTreeSet::new();
    for assignment in &topic.assignments {
        check_assignment(assignment, node_id)?;
        if !indexes.insert(assignment.partition_index) {
            let index = assignment.partition_index;
            let message = format!("Found multiple manual partition assignments for {index}");
            return Err(invalid_assignment(message));
        }
    }
    if !indexes.iter().copied().eq((0..).take(indexes.len())) {
        return Err(invalid_assignment(
            "partitions should be a consecutive 0-based integer sequence".into(),
        ));
    }
    // A request has a bound, and so has this.
    u32::try_from(indexes.len()).map_err(|_| invalid_assignment("too many partitions".into()))
}

fn check_assignment(assignment: &CreatableReplicaAssignment, node_id: i32) -> Result<(), Refusal> {
    let brokers: Vec<i32> = assignment.broker_ids.iter().map(|id| id.0).collect();
    check_replicas(&brokers, node_id)
}

/// Checks the brokers that a partition is assigned to: this one, once.
pub(super) fn check_replicas(brokers: &[i32], node_id: i32) -> Result<(), Refusal> {
    let manual = "The manual partition assignment includes";
    if brokers.is_empty() {
        return Err(invalid_assignment(format!(
            "{manual} an empty replica list."
        )));
    }
    if let Some(other) = brokers.iter().find(|id| **id != node_id) {
        return Err(invalid_assignment(format!(
            "{manual} broker {other}, but no such broker is registered."
        )));
    }
    if brokers.len() > 1 {
        return Err(invalid_assignment(format!(
            "{manual} the broker {node_id} more than once."
        )));
    }
    Ok(())
}

fn invalid_request(message: &str) -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, message)
}

fn invalid_assignment(message: String) -> Refusal {
    Refusal::new(ResponseError::InvalidReplicaAssignment, message)
}

fn made(
    context: &Context,
    topic: &CreatableTopic,
    id: Uuid,
    planned: Planned,
) -> CreatableTopicResult {
    let described = context.broker().config().describe_topic(&planned.configs);
    let configs = described.into_iter().map(|entry| {
        CreatableTopicConfigs::default()
            .with_name(text(entry.name))
            .with_value(entry.value.as_deref().map(text))
            .with_read_only(false)
            .with_config_source(entry.source.code())
            .with_is_sensitive(entry.secret)
    });
    CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_topic_id(id)
        .with_error_message(None)
        .with_num_partitions(i32::try_from(planned.partitions).unwrap_or(i32::MAX))
        .with_replication_factor(1)
        .with_configs(Some(configs.collect()))
}

fn refused(topic: &CreatableTopic, refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_code(refusal.code())
        .with_error_message(refusal.text())
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;

    fn topic(partitions: i32, replicas: i16) -> CreatableTopic {
        CreatableTopic::default()
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
    }

    fn error(topic: &CreatableTopic) -> ResponseError {
        plan(topic, &Config::default(), 7).unwrap_err().error
    }

    fn assignment(index: i32, brokers: &[i32]) -> CreatableReplicaAssignment {
        CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(brokers.iter().map(|id| (*id).into()).collect())
    }

    #[test]
    fn there_is_one_replica() {
        let config = Config::default();
        assert_eq!(plan(&topic(3, 1), &config, 7).unwrap().partitions, 3);
        assert_eq!(plan(&topic(3, -1), &config, 7).unwrap().partitions, 3);
        for factor in [0, 2, -2] {
            assert_eq!(
                error(&topic(3, factor)),
                ResponseError::InvalidReplicationFactor
            );
        }
    }

    #[test]
    fn partitions_are_counted_or_the_default() {
        let config = Config::with([("num.partitions", "4")]).unwrap();
        assert_eq!(plan(&topic(-1, 1), &config, 7).unwrap().partitions, 4);
        for count in [0, -2] {
            assert_eq!(error(&topic(count, 1)), ResponseError::InvalidPartitions);
        }
        assert_eq!(error(&topic(i32::MAX, 1)), ResponseError::PolicyViolation);
    }

    #[test]
    fn an_assignment_names_this_broker_once_for_each_partition() {
        let config = Config::default();
        let with = |assignments: Vec<_>| topic(-1, -1).with_assignments(assignments);
        let good = with(vec![assignment(1, &[7]), assignment(0, &[7])]);
        assert_eq!(plan(&good, &config, 7).unwrap().partitions, 2);
        for bad in [
            vec![assignment(0, &[8])],
            vec![assignment(0, &[])],
            vec![assignment(0, &[7, 7])],
            vec![assignment(1, &[7])],
            vec![assignment(0, &[7]), assignment(0, &[7])],
        ] {
            assert_eq!(error(&with(bad)), ResponseError::InvalidReplicaAssignment);
        }
        let both = with(vec![assignment(0, &[7])]);
        assert_eq!(
            error(&both.clone().with_num_partitions(1)),
            ResponseError::InvalidRequest
        );
        assert_eq!(
            error(&both.with_replication_factor(1)),
            ResponseError::InvalidRequest
        );
    }

    #[test]
    fn settings_are_checked_first() {
        let with = |name: &str, value: Option<&str>| {
            let config = CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(value.map(text));
            topic(0, 0).with_configs(vec![config])
        };
        assert_eq!(
            error(&with("no.such", Some("1"))),
            ResponseError::InvalidConfig
        );
        assert_eq!(
            error(&with("retention.ms", Some("x"))),
            ResponseError::InvalidConfig
        );
        assert_eq!(
            error(&with("retention.ms", None)),
            ResponseError::InvalidConfig
        );
        let unknown = with("cleanup.policy", Some("compacted"));
        assert_eq!(error(&unknown), ResponseError::InvalidConfig);
    }
}
