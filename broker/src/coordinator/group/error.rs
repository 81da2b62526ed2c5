//! What a group request can be refused with, and the one place that knows Kafka's codes for it.

use super::log::GroupLogError;

/// Why a group request, or one part of it, was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GroupError {
    /// The shard's state is still being read, or its queue is full: ask again.
    #[error("coordinator is loading")]
    Loading,
    /// The group is being removed, or its log cannot be written now: ask again.
    #[error("coordinator is not available")]
    NotAvailable,
    /// The shard's log is offline, or the broker is stopping: find the coordinator again.
    #[error("not the coordinator")]
    NotCoordinator,
    /// The group id is empty or too long.
    #[error("invalid group id")]
    InvalidGroupId,
    /// The session timeout is outside the limits.
    #[error("session timeout is outside the limits")]
    InvalidSessionTimeout,
    /// The member is not, or no longer, in the group: join again as a new one.
    #[error("unknown member")]
    UnknownMember,
    /// Join again with the id in the answer.
    #[error("member id required")]
    MemberIdRequired,
    /// Another client uses the same instance id: stop.
    #[error("instance id is used by another client")]
    FencedInstance,
    /// The generation is not the current one.
    #[error("illegal generation")]
    IllegalGeneration,
    /// No protocol is shared with the other members, or it is not the group's.
    #[error("inconsistent group protocol")]
    InconsistentProtocol,
    /// Join again.
    #[error("group is rebalancing")]
    RebalanceInProgress,
    /// The group has as many members as it may.
    #[error("group is full")]
    GroupFull,
    /// The group does not exist.
    #[error("group not found")]
    GroupNotFound,
    /// The group has members.
    #[error("group is not empty")]
    NotEmpty,
    /// The group reads the topic.
    #[error("group is subscribed to the topic")]
    SubscribedToTopic,
    /// The metadata beside a committed offset is too long.
    #[error("offset metadata is too large")]
    OffsetMetadataTooLarge,
    /// A transaction decides about this offset.
    #[error("offset commit is not stable")]
    UnstableOffset,
    /// The topic or partition does not exist.
    #[error("unknown topic or partition")]
    UnknownPartition,
    /// The request breaks a limit or contradicts itself.
    #[error("invalid request")]
    InvalidRequest,
    /// Too large for the log, and so not to be retried.
    #[error("group state is too large for the log")]
    TooLargeForLog,
}

impl GroupError {
    /// Kafka's error code.
    pub const fn code(self) -> i16 {
        match self {
            GroupError::TooLargeForLog => -1,
            GroupError::UnknownPartition => 3,
            GroupError::OffsetMetadataTooLarge => 12,
            GroupError::Loading => 14,
            GroupError::NotAvailable => 15,
            GroupError::NotCoordinator => 16,
            GroupError::IllegalGeneration => 22,
            GroupError::InconsistentProtocol => 23,
            GroupError::InvalidGroupId => 24,
            GroupError::UnknownMember => 25,
            GroupError::InvalidSessionTimeout => 26,
            GroupError::RebalanceInProgress => 27,
            GroupError::InvalidRequest => 42,
            GroupError::NotEmpty => 68,
            GroupError::GroupNotFound => 69,
            GroupError::MemberIdRequired => 79,
            GroupError::GroupFull => 81,
            GroupError::FencedInstance => 82,
            GroupError::SubscribedToTopic => 86,
            GroupError::UnstableOffset => 88,
        }
    }

    /// The code of an outcome; 0 for success.
    pub fn code_of<T>(outcome: &Result<T, GroupError>) -> i16 {
        outcome.as_ref().map_or_else(|error| error.code(), |_| 0)
    }
}

impl From<&GroupLogError> for GroupError {
    fn from(error: &GroupLogError) -> Self {
        match error {
            GroupLogError::TryAgain => GroupError::NotAvailable,
            GroupLogError::Offline => GroupError::NotCoordinator,
            GroupLogError::TooLarge => GroupError::TooLargeForLog,
            GroupLogError::Damaged(_) => GroupError::NotCoordinator,
        }
    }
}
