//! What the core says, as Kafka's error codes: each mapped once, here.

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use protocol::fluss::kv_batch::KvBatchError;
use storage::catalog::{
    AlterPartitionError, AlterTableError, CreateTableError, DropTableError, WriteError,
};
use storage::kv::tablet::{InvalidPut, KvError};
use storage::kv::writer::PutError;
use storage::log::{AppendError, ReadError};
use storage::tablet::{ConvertError, KafkaReadError};

use crate::config::{ConfigError, TopicConfigError};
use crate::kafka::upserts::LineError;
use crate::tablets::TabletError;

/// The code of a failed append.
pub fn of_append(error: &AppendError) -> ResponseError {
    match error {
        AppendError::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
        AppendError::FencedProducer { .. } => ResponseError::InvalidProducerEpoch,
        AppendError::WrongScheme { .. } => ResponseError::InvalidProducerIdMapping,
        AppendError::FencedLeader { .. } => ResponseError::NotLeaderOrFollower,
        AppendError::DiskFull | AppendError::Io(_) | AppendError::Offline(_) => {
            ResponseError::KafkaStorageError
        }
        // Clients retry it, which is all that helps.
        AppendError::QueueFull => ResponseError::RequestTimedOut,
        AppendError::OffsetsExhausted => ResponseError::InvalidRecord,
    }
}

/// The code of an upsert that not all buckets took.
pub fn of_line(error: &LineError) -> ResponseError {
    match error {
        LineError::Sequence(error) => of_append(error),
        LineError::Refused(error) => of_kv(error),
        // Clients retry it, and take the batch for one that may be written.
        LineError::Partly(_) => ResponseError::NotEnoughReplicasAfterAppend,
    }
}

/// The code of rows that a bucket did not take.
pub fn of_kv(error: &KvError) -> ResponseError {
    match error {
        // The table was altered this moment: the client's retry finds the new schema.
        KvError::Plan(_) | KvError::Closed => ResponseError::NotLeaderOrFollower,
        // Clients retry it, which is all that helps.
        _ if error.is_too_busy() => ResponseError::RequestTimedOut,
        KvError::Put(PutError::Full(_)) => ResponseError::MessageTooLarge,
        KvError::Put(PutError::Index(_) | PutError::Stored { .. }) => {
            ResponseError::KafkaStorageError
        }
        KvError::Put(_) => ResponseError::InvalidRecord,
        KvError::Append(error) => of_append(error),
        _ => ResponseError::KafkaStorageError,
    }
}

/// The code of rows that their table cannot take.
pub fn of_invalid_put(error: &InvalidPut) -> ResponseError {
    match error {
        InvalidPut::Batch(KvBatchError::TooLarge { .. }) => ResponseError::MessageTooLarge,
        _ => ResponseError::InvalidRecord,
    }
}

/// The code of a failed read.
pub fn of_read(error: &ReadError) -> ResponseError {
    match error {
        ReadError::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
        ReadError::Corrupt(_) | ReadError::Io(_) => ResponseError::KafkaStorageError,
        ReadError::Closed => ResponseError::NotLeaderOrFollower,
    }
}

/// The code of a failed read through a tablet.
pub fn of_kafka_read(error: &KafkaReadError) -> ResponseError {
    match error {
        KafkaReadError::Log(error) => of_read(error),
        // The table was altered this moment: the client's retry finds the new schema.
        KafkaReadError::Convert(ConvertError::UnknownSchema { .. }) => {
            ResponseError::NotLeaderOrFollower
        }
        KafkaReadError::Convert(_) => ResponseError::KafkaStorageError,
    }
}

/// The code of a tablet that cannot be used.
pub fn of_tablet(error: &TabletError) -> ResponseError {
    match error {
        TabletError::Unknown(_) => ResponseError::UnknownTopicOrPartition,
        TabletError::Closed(_) => ResponseError::NotLeaderOrFollower,
        TabletError::Keys { .. } | TabletError::Open { .. } => ResponseError::KafkaStorageError,
    }
}

/// A refusal of an administrator's request: the code, and words for whoever reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub error: ResponseError,
    /// The words.
    pub message: String,
}

impl Refusal {
    /// A refusal with these words.
    pub fn new(error: ResponseError, message: impl Into<String>) -> Refusal {
        let message = message.into();
        Refusal { error, message }
    }

    /// The code on the wire.
    pub fn code(&self) -> i16 {
        self.error.code()
    }

    /// The words on the wire.
    pub fn text(&self) -> Option<StrBytes> {
        Some(StrBytes::from_string(self.message.clone()))
    }
}

impl From<&TopicConfigError> for Refusal {
    fn from(error: &TopicConfigError) -> Refusal {
        Refusal::new(ResponseError::InvalidConfig, error.to_string())
    }
}

impl From<&ConfigError> for Refusal {
    fn from(error: &ConfigError) -> Refusal {
        let code = match error {
            ConfigError::NotDynamic { .. } => ResponseError::InvalidRequest,
            _ => ResponseError::InvalidConfig,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<&CreateTableError> for Refusal {
    fn from(error: &CreateTableError) -> Refusal {
        let (code, message) = match error {
            CreateTableError::AlreadyExists { name, .. } => (
                ResponseError::TopicAlreadyExists,
                format!("Topic '{name}' already exists."),
            ),
            CreateTableError::Claimed { .. } => {
                (ResponseError::TopicAlreadyExists, error.to_string())
            }
            CreateTableError::Name { source, .. } => (
                ResponseError::InvalidTopicException,
                format!("Topic name is invalid: {source}"),
            ),
            CreateTableError::Reserved(_) | CreateTableError::UnknownDatabase(_) => {
                (ResponseError::InvalidTopicException, error.to_string())
            }
            CreateTableError::BucketCount(_) => {
                (ResponseError::InvalidPartitions, error.to_string())
            }
            CreateTableError::Schema(_) => (ResponseError::InvalidConfig, error.to_string()),
            CreateTableError::Write(error) => return Refusal::from(error),
        };
        Refusal::new(code, message)
    }
}

impl From<&WriteError> for Refusal {
    fn from(error: &WriteError) -> Refusal {
        Refusal::new(ResponseError::KafkaStorageError, error.to_string())
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Refusal {
        Refusal::from(&error)
    }
}

impl From<AlterTableError> for Refusal {
    fn from(error: AlterTableError) -> Refusal {
        let code = match &error {
            AlterTableError::Unknown(_) => ResponseError::UnknownTopicOrPartition,
            AlterTableError::BucketCount { .. } => ResponseError::InvalidPartitions,
            AlterTableError::Kind(_) => ResponseError::PolicyViolation,
            AlterTableError::TooManySchemas(_) | AlterTableError::Schema(_) => {
                ResponseError::InvalidConfig
            }
            AlterTableError::Write(error) => return Refusal::from(error),
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<&DropTableError> for Refusal {
    fn from(error: &DropTableError) -> Refusal {
        let code = match error {
            DropTableError::Unknown(_) => ResponseError::UnknownTopicOrPartition,
            DropTableError::Protected(_) => ResponseError::InvalidTopicException,
            DropTableError::Write(error) => return Refusal::from(error),
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<&AlterPartitionError> for Refusal {
    fn from(error: &AlterPartitionError) -> Refusal {
        let code = match error {
            AlterPartitionError::Unknown(_) => ResponseError::UnknownTopicOrPartition,
            AlterPartitionError::BucketCount { .. } => ResponseError::InvalidPartitions,
            AlterPartitionError::Write(error) => return Refusal::from(error),
        };
        Refusal::new(code, error.to_string())
    }
}
