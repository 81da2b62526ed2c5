//! Topics as requests name them: by name, or since Produce 13 and Fetch 13 by id.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use storage::catalog::{CatalogView, Topic};
use uuid::Uuid;

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
