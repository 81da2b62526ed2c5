//! A shard's state from its log.

use std::sync::Arc;

use bytes::Bytes;
use protocol::kafka::offsets_log::{DecodeError, GroupValue, Key, MemberValue, OffsetValue};

use super::log::LogRecord;
use super::member::Member;
use super::names::{GroupId, InstanceId, MemberId, TopicName};
use super::offsets::OffsetChange;
use super::records;
use super::request::Protocol;
use super::shard::ShardState;
use super::state::{Group, GroupState};
use super::timers::Timer;
use super::turn::{Action, Now, Turn};

impl ShardState {
    /// Applies one record of the log. To be called for all records in order, before
    /// [`ShardState::loaded`].
    ///
    /// # Errors
    /// When the record cannot be read. Records of kinds that this broker does not have are passed
    /// over.
    pub fn replay(&mut self, now: Now, record: &LogRecord) -> Result<(), DecodeError> {
        match Key::decode(&record.key)? {
            Key::Offset(key) => {
                let value = record
                    .value
                    .as_deref()
                    .map(OffsetValue::decode)
                    .transpose()?;
                let change = OffsetChange {
                    topic: TopicName::from(key.topic),
                    partition: key.partition,
                    value: value.map(records::from_value),
                };
                self.replay_offset(now, GroupId::from(key.group), change);
            }
            Key::Group(id) => {
                let value = record
                    .value
                    .as_deref()
                    .map(GroupValue::decode)
                    .transpose()?;
                self.replay_group(now, GroupId::from(id), value);
            }
            Key::Other(_) => {}
        }
        Ok(())
    }

    /// Starts the sessions of all members. To be called once, after the last record.
    pub fn loaded(&mut self, now: Now) -> Vec<Action> {
        self.with_turn(now, |groups, turn| {
            for group in groups.values_mut() {
                let ids: Vec<MemberId> = group.members.keys().cloned().collect();
                for id in &ids {
                    group.restart_session(turn, id);
                }
                if ids.len() > turn.config.group_size_max {
                    // The limit was lowered: the rebalance turns the last ones away.
                    group.prepare_rebalance(turn);
                }
            }
            let interval_ms = i64::from(turn.config.offsets_retention_check_interval_ms);
            turn.schedule(Timer::Sweep, interval_ms);
        })
    }

    fn replay_offset(&mut self, now: Now, id: GroupId, change: OffsetChange) {
        self.with_turn(now, |groups, turn| {
            if let Some(group) = groups.get_mut(&id) {
                group.offsets.apply(change);
            } else if change.value.is_some() {
                // A group that only stores offsets has no record of its own.
                let mut group = Group::new(id.clone(), turn);
                group.offsets.apply(change);
                groups.insert(id, group);
            }
        });
    }

    fn replay_group(&mut self, now: Now, id: GroupId, value: Option<GroupValue>) {
        self.with_turn(now, |groups, turn| {
            let before = groups.remove(&id);
            let mut group = Group::new(id.clone(), turn);
            if let Some(before) = before {
                turn.tally.groups[before.state.index()] -= 1;
                group.offsets = before.offsets;
            }
            match value {
                Some(value) => group.restore(turn, value),
                // Offsets that outlive their group are kept: they have tombstones of their own.
                None if group.offsets.is_empty() => {
                    turn.tally.groups[GroupState::Empty.index()] -= 1;
                    return;
                }
                None => {}
            }
            groups.insert(id, group);
        });
    }
}

impl Group {
    fn restore(&mut self, turn: &mut Turn<'_>, value: GroupValue) {
        self.generation = value.generation;
        self.protocol_type = (!value.protocol_type.is_empty()).then(|| value.protocol_type.into());
        self.protocol_name = value.protocol.map(Arc::from);
        self.state_time_ms = (value.state_time_ms >= 0).then_some(value.state_time_ms);
        if !value.members.is_empty() {
            self.note_state(turn, GroupState::Stable);
        }
        let protocol = self.protocol_name.clone().unwrap_or_else(|| Arc::from(""));
        for member in value.members {
            self.add(restore_member(&protocol, member), None);
        }
        if let Some(leader) = value.leader.map(MemberId::from) {
            self.leader = Some(leader)
                .filter(|id| self.members.contains_key(id))
                .or(self.leader.take());
        }
        self.subscribed_topics = self.compute_subscribed_topics();
    }
}

fn restore_member(protocol: &Arc<str>, value: MemberValue) -> Member {
    let metadata: Bytes = value.subscription;
    Member {
        id: MemberId::from(value.member_id),
        instance_id: value.group_instance_id.map(InstanceId::from),
        client_id: value.client_id.into(),
        client_host: value.client_host.into(),
        // Version 0 had no rebalance timeout.
        rebalance_timeout_ms: if value.rebalance_timeout_ms < 0 {
            value.session_timeout_ms
        } else {
            value.rebalance_timeout_ms
        },
        session_timeout_ms: value.session_timeout_ms,
        protocols: vec![Protocol {
            name: protocol.clone(),
            metadata,
        }],
        assignment: value.assignment,
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    }
}
