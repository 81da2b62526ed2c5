//! Why the index of a topic does not answer.

use std::sync::Arc;

use protocol::ids::Offset;
use thiserror::Error;

use super::frames::FrameError;
use crate::kv::index::IndexError;
use crate::log::ReadError;

/// Why the index of a topic does not answer. All of it may be better later.
#[derive(Debug, Clone, Error)]
pub enum TopicIndexError {
    /// The index fails, or is damaged and will be made again.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The log cannot be read.
    #[error("log: {0}")]
    Log(#[from] ReadError),
    /// A frame of the log has no records.
    #[error("frame at offset {offset}: {error}")]
    Frame {
        /// First offset of the frame; 0 until it is known.
        offset: Offset,
        /// What is wrong with it.
        error: Arc<FrameError>,
    },
    /// An entry of the index is damaged.
    #[error("an entry of the index is damaged")]
    Entry,
    /// Fewer keys at a time would fit.
    #[error("the answer is larger than {max} bytes")]
    AnswerTooLarge {
        /// Most bytes.
        max: usize,
    },
    /// The cleaner's round is told that the index has what it would read now.
    #[error("the log is being cleaned")]
    BeingCleaned,
    /// The index is not open.
    #[error("the index is not open")]
    Closed,
}

impl TopicIndexError {
    /// Names the frame.
    pub(super) fn at(self, offset: Offset) -> TopicIndexError {
        match self {
            TopicIndexError::Frame { error, .. } => TopicIndexError::Frame { offset, error },
            other => other,
        }
    }
}

impl From<FrameError> for TopicIndexError {
    fn from(error: FrameError) -> Self {
        TopicIndexError::Frame {
            offset: Offset::ZERO,
            error: Arc::new(error),
        }
    }
}
