//! Groups and offsets as records of the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::kafka::offsets_log::{
    GroupValue, MemberValue, OffsetValue, TooLong, encode_group_key, encode_offset_key,
};

use super::error::GroupError;
use super::log::LogRecord;
use super::member::Member;
use super::names::{GroupId, MemberId, TopicName};
use super::offsets::{CommittedOffset, OffsetChange};
use super::state::Group;

impl From<TooLong> for GroupError {
    fn from(_: TooLong) -> Self {
        GroupError::TooLargeForLog
    }
}

impl Group {
    /// The group with the assignments that its members have.
    pub(super) fn to_record(&self) -> Result<LogRecord, GroupError> {
        self.record(|member| member.assignment.clone())
    }

    /// The group with assignments that its members do not have yet.
    pub(super) fn to_record_with(
        &self,
        assignments: &BTreeMap<MemberId, Bytes>,
    ) -> Result<LogRecord, GroupError> {
        self.record(|member| assignments.get(&member.id).cloned().unwrap_or_default())
    }

    fn record(&self, assignment: impl Fn(&Member) -> Bytes) -> Result<LogRecord, GroupError> {
        let members = self
            .members
            .values()
            .map(|member| MemberValue {
                member_id: member.id.to_string(),
                group_instance_id: member.instance_id.as_ref().map(ToString::to_string),
                client_id: member.client_id.to_string(),
                client_host: member.client_host.to_string(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                subscription: member.metadata(self.protocol_name.as_ref()),
                assignment: assignment(member),
            })
            .collect();
        let value = GroupValue {
            protocol_type: self.protocol_type.as_deref().unwrap_or_default().to_owned(),
            generation: self.generation,
            protocol: self.protocol_name.as_deref().map(str::to_owned),
            leader: self.leader.as_ref().map(ToString::to_string),
            state_time_ms: self.state_time_ms.unwrap_or(-1),
            members,
        };
        Ok(LogRecord {
            key: encode_group_key(&self.id)?,
            value: Some(value.encode()?),
        })
    }
}

/// A committed offset, or its tombstone.
pub(super) fn offset_record(
    group: &GroupId,
    change: &OffsetChange,
) -> Result<LogRecord, GroupError> {
    let value = change
        .value
        .as_ref()
        .map(|offset| to_value(offset).encode())
        .transpose()?;
    Ok(LogRecord {
        key: encode_offset_key(group, &change.topic, change.partition)?,
        value,
    })
}

/// The tombstone of an offset. Nothing for names that could not have been written.
pub(super) fn offset_tombstone(
    group: &GroupId,
    topic: &TopicName,
    partition: i32,
) -> Option<LogRecord> {
    let key = encode_offset_key(group, topic, partition).ok()?;
    Some(LogRecord { key, value: None })
}

/// The tombstone of a group. Nothing for an id that could not have been written.
pub(super) fn group_tombstone(group: &GroupId) -> Option<LogRecord> {
    Some(LogRecord {
        key: encode_group_key(group).ok()?,
        value: None,
    })
}

fn to_value(offset: &CommittedOffset) -> OffsetValue {
    OffsetValue {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.to_string(),
        commit_time_ms: offset.commit_time_ms,
        expire_time_ms: offset.expire_time_ms.unwrap_or(-1),
    }
}

/// A committed offset as the log has it.
pub(super) fn from_value(value: OffsetValue) -> CommittedOffset {
    CommittedOffset {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata.into(),
        commit_time_ms: value.commit_time_ms,
        expire_time_ms: (value.expire_time_ms >= 0).then_some(value.expire_time_ms),
    }
}
