//! Topics as requests name them: by name, or since Produce 13 and Fetch 13 by id.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use protocol::raw::raw_schema;
use storage::catalog::{CatalogView, NewName, NewTable, Origin, StringMap, Topic, names};
use uuid::Uuid;

use super::error::{self, Refusal};
use crate::broker::Broker;
use crate::config::TopicConfig;
use crate::tablets::{OpenBucket, new_topic};

/// A topic as a client named it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// By its name.
    Name(StrBytes),
    /// By its id.
    Id(Uuid),
}

impl TopicRef {
    /// The reference of a request that has one of both, by its version.
    pub fn new(by_id: bool, name: &TopicName, id: Uuid) -> TopicRef {
        if by_id {
            TopicRef::Id(id)
        } else {
            TopicRef::Name(name.0.clone())
        }
    }

    /// The topic, or the code that says that there is none.
    pub fn resolve(&self, view: &CatalogView) -> Result<Arc<Topic>, ResponseError> {
        match self {
            TopicRef::Name(name) => view
                .topic(name)
                .cloned()
                .ok_or(ResponseError::UnknownTopicOrPartition),
            TopicRef::Id(id) => view
                .topic_by_id(*id)
                .cloned()
                .ok_or(ResponseError::UnknownTopicId),
        }
    }

    /// The name to answer with; empty for a topic that was named by id.
    pub fn name(&self) -> TopicName {
        match self {
            TopicRef::Name(name) => TopicName(name.clone()),
            TopicRef::Id(_) => TopicName::default(),
        }
    }

    /// The id to answer with; zero for a topic that was named by name.
    pub fn id(&self) -> Uuid {
        match self {
            TopicRef::Name(_) => Uuid::nil(),
            TopicRef::Id(id) => *id,
        }
    }
}

/// What anyone may do with a topic while there is no authorizer: read, write, create, delete,
/// alter, describe, describe configs, alter configs, as a bit field of Kafka's operations.
pub const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// The same for the cluster: create, alter, describe, cluster action, describe configs, alter
/// configs, idempotent write.
pub const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// "Not asked for" in a field of operations.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// True for topics that belong to the broker.
pub fn is_internal(topic: &Topic) -> bool {
    topic.table.origin == Origin::Internal
}

/// Checks the name of a topic that is to be made (`Topic.validate`, and KAFKA-2337: names that
/// differ in `.` and `_` alone have one name in metrics).
pub fn check_new_name(view: &CatalogView, name: &str) -> Result<(), Refusal> {
    if view.topic(name).is_some() {
        let message = format!("Topic '{name}' already exists.");
        return Err(Refusal::new(ResponseError::TopicAlreadyExists, message));
    }
    names::check_topic_name(name).map_err(|error| {
        let message = format!("Topic name is invalid: {error}");
        Refusal::new(ResponseError::InvalidTopicException, message)
    })?;
    if !name.contains(['.', '_']) {
        return Ok(());
    }
    let same = |a: &str, b: &str| {
        let unified = |c: u8| if c == b'.' { b'_' } else { c };
        a.len() == b.len() && a.bytes().map(unified).eq(b.bytes().map(unified))
    };
    match view.topics().find(|topic| same(&topic.topic().name, name)) {
        Some(other) => {
            let other = &other.topic().name;
            let message = format!("Topic '{name}' collides with existing topic: {other}");
            Err(Refusal::new(ResponseError::InvalidTopicException, message))
        }
        None => Ok(()),
    }
}

/// Makes a topic whose name and settings have been checked.
pub async fn create(
    broker: &Arc<Broker>,
    name: &str,
    partitions: u32,
    configs: StringMap,
) -> Result<Arc<Topic>, Refusal> {
    let settings = TopicConfig::new(&broker.config(), &configs);
    let settings = settings.map_err(|error| Refusal::from(&error))?;
    let new = new_topic(name, partitions, configs, &settings);
    let table = blocking(broker, move |broker| {
        broker
            .catalog
            .create_table(new)
            .map_err(|error| Refusal::from(&error))
    })
    .await?;
    tracing::info!(topic = name, table = %table.path, partitions, "created a topic");
    Ok(Arc::new(Topic {
        table,
        partition: None,
    }))
}

/// Says whether [`create`] would make this topic now.
pub fn check_create(broker: &Broker, name: &str, partitions: u32) -> Result<(), Refusal> {
    let name = NewName::Topic(name.to_owned());
    let new = NewTable::log(name, raw_schema(false), partitions);
    let checked = broker.catalog.check_create_table(&new);
    checked.map_err(|error| Refusal::from(&error))
}

/// Runs what waits for the disk where it may.
pub async fn blocking<T: Send + 'static>(
    broker: &Arc<Broker>,
    job: impl FnOnce(&Arc<Broker>) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let broker = Arc::clone(broker);
    match tokio::task::spawn_blocking(move || job(&broker)).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            // It goes on to the connection, which answers it.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Refusal::new(
                ResponseError::BrokerNotAvailable,
                "the broker stops",
            )),
        },
    }
}

/// The open bucket of a partition.
pub async fn open_partition(
    broker: &Arc<Broker>,
    topic: &Topic,
    partition: i32,
) -> Result<Arc<OpenBucket>, ResponseError> {
    let id = topic
        .tablet(partition)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let bucket = broker.tablets.get(id).await;
    bucket.map_err(|error| error::of_tablet(&error))
}

/// Compares the epoch that a client believes in with the broker's; -1 believes in none (KIP-320).
pub fn check_epoch(broker: &Broker, believed: i32) -> Result<(), ResponseError> {
    let current = broker.tablets.epoch().value();
    match believed {
        ..0 => Ok(()),
        epoch if epoch < current => Err(ResponseError::FencedLeaderEpoch),
        epoch if epoch > current => Err(ResponseError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}
