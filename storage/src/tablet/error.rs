//! What can go wrong when a tablet is read, per operation, and what the caller can do.

use std::sync::Arc;

use protocol::ids::{Offset, SchemaId};

use crate::log::ReadError;

/// Why frames of one wire could not be read as batches of the other.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConvertError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The frame names a schema that the table does not have: the reader's view of the table is
    /// older than the log; trying again helps.
    #[error("offset {offset} has unknown schema id {schema_id}")]
    UnknownSchema {
        /// Where.
        offset: Offset,
        /// The schema id of the frame.
        schema_id: SchemaId,
    },
    /// A batch that was valid when it was appended cannot be decoded or encoded: the log is
    /// damaged there.
    #[error("the batch at offset {offset} cannot be converted: {error}")]
    Batch {
        /// First offset of the batch.
        offset: Offset,
        /// What does not hold.
        error: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl ConvertError {
    /// For `map_err`: adds where the batch lies.
    pub fn at<E: std::error::Error + Send + Sync + 'static>(
        offset: Offset,
    ) -> impl FnOnce(E) -> ConvertError {
        move |error| ConvertError::Batch {
            offset,
            error: Arc::new(error),
        }
    }
}

/// Why Kafka batches could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KafkaReadError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A batch of the other wire could not be shown.
    #[error(transparent)]
    Convert(ConvertError),
}

impl From<ConvertError> for KafkaReadError {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Log(error) => KafkaReadError::Log(error),
            other => KafkaReadError::Convert(other),
        }
    }
}

/// Why Fluss batches could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FlussReadError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The projection is not one of this table: the request is wrong (error 34).
    #[error(transparent)]
    InvalidProjection(#[from] InvalidProjection),
    /// A batch of the other wire could not be shown, or a stored one not be projected.
    #[error(transparent)]
    Convert(ConvertError),
}

impl From<ConvertError> for FlussReadError {
    fn from(error: ConvertError) -> Self {
        match error {
            ConvertError::Log(error) => FlussReadError::Log(error),
            other => FlussReadError::Convert(other),
        }
    }
}

/// What is wrong with a projection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProjection {
    /// Only Arrow batches have columns to select.
    #[error("a projection needs the log format ARROW")]
    NotArrow,
    /// The positions are empty, not strictly ascending, or beyond the newest columns.
    #[error("projected fields {fields:?} are not ascending positions of {columns} columns")]
    Fields {
        /// The positions.
        fields: Box<[usize]>,
        /// Columns of the newest schema.
        columns: usize,
    },
}
