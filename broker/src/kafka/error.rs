//! What the core says, as Kafka's error codes: each mapped once, here.

use kafka_protocol::ResponseError;
use storage::log::{AppendError, ReadError};
use storage::tablet::{ConvertError, KafkaReadError};

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
        TabletError::Open { .. } => ResponseError::KafkaStorageError,
    }
}
