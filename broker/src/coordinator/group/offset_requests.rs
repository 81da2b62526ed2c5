//! OffsetCommit, OffsetFetch, OffsetDelete, and the ways in which offsets go by themselves.

use super::error::GroupError;
use super::log::LogRecord;
use super::names::TopicName;
use super::offsets::{CommittedOffset, OffsetChange};
use super::records;
use super::request::{
    Answer, CommitPartition, CommitRequest, DeleteOffsetsRequest, FetchOffsetsRequest,
    TopicOffsets, TopicOutcome,
};
use super::state::{Group, GroupState};
use super::turn::{ReplyId, Then, Turn};

/// Kafka's schema gives the metadata an i16 length.
const METADATA_BYTES_MAX: usize = i16::MAX as usize;

impl Group {
    /// Handles a commit.
    pub(super) fn commit(&mut self, turn: &mut Turn<'_>, reply: ReplyId, request: CommitRequest) {
        if let Err(error) = self.check_commit(&request) {
            return turn.answer(reply, Answer::Partitions(Err(error)));
        }
        if matches!(
            self.state,
            GroupState::Stable | GroupState::PreparingRebalance
        ) {
            self.restart_session(turn, &request.member_id);
        }
        let expire_time_ms = request
            .retention_ms
            .map(|retention| turn.now.wall_ms.saturating_add(retention));
        let mut changes = Vec::new();
        let mut outcomes = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for commit in topic.partitions {
                let partition = commit.partition;
                let outcome = check_metadata(turn, &commit).map(|()| {
                    changes.push(OffsetChange {
                        topic: topic.topic.clone(),
                        partition,
                        value: Some(CommittedOffset {
                            offset: commit.offset,
                            leader_epoch: commit.leader_epoch,
                            metadata: commit.metadata,
                            commit_time_ms: turn.now.wall_ms,
                            expire_time_ms,
                        }),
                    });
                });
                partitions.push((partition, outcome));
            }
            outcomes.push(TopicOutcome {
                topic: topic.topic,
                partitions,
            });
        }
        turn.tally.commits += changes.len() as u64;
        self.write_offsets(
            turn,
            changes,
            Some((reply, Answer::Partitions(Ok(outcomes)))),
        );
    }

    /// Who may commit: the members of the current generation, and anyone while the group is empty.
    fn check_commit(&self, request: &CommitRequest) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::NotAvailable);
        }
        if request.generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        let is_member = request.generation >= 0
            || !request.member_id.is_unknown()
            || request.instance_id.is_some();
        if !is_member {
            return Err(GroupError::UnknownMember);
        }
        self.check_generation(
            &request.member_id,
            request.instance_id.as_ref(),
            request.generation,
        )?;
        // The member knows the new generation but cannot have its assignment.
        if self.state == GroupState::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Handles a fetch of offsets, at once.
    pub(super) fn fetch_offsets(&self, request: &FetchOffsetsRequest) -> Vec<TopicOffsets> {
        if self.state == GroupState::Dead {
            return nothing_committed(request);
        }
        match &request.topics {
            None => self
                .offsets
                .topics()
                .map(|(topic, offsets)| TopicOffsets {
                    topic: topic.clone(),
                    partitions: offsets
                        .iter()
                        .map(|(p, offset)| (*p, Ok(Some(offset.clone()))))
                        .collect(),
                })
                .collect(),
            Some(topics) => topics
                .iter()
                .map(|(topic, partitions)| TopicOffsets {
                    topic: topic.clone(),
                    partitions: partitions
                        .iter()
                        .map(|p| (*p, Ok(self.offsets.get(topic, *p).cloned())))
                        .collect(),
                })
                .collect(),
        }
    }

    /// Handles a deletion of offsets.
    pub(super) fn delete_offsets(
        &mut self,
        turn: &mut Turn<'_>,
        reply: ReplyId,
        request: DeleteOffsetsRequest,
    ) {
        let refused = match self.state {
            GroupState::Dead => Some(GroupError::GroupNotFound),
            GroupState::Empty => None,
            // Who reads what is only known of `consumer` groups.
            _ if !self.uses_consumer_protocol() => Some(GroupError::NotEmpty),
            _ => None,
        };
        if let Some(error) = refused {
            return turn.answer(reply, Answer::Partitions(Err(error)));
        }
        let mut changes = Vec::new();
        let mut outcomes = Vec::with_capacity(request.topics.len());
        for (topic, partitions) in request.topics {
            let outcome = if self.is_subscribed_to(&topic) {
                Err(GroupError::SubscribedToTopic)
            } else {
                Ok(())
            };
            if outcome.is_ok() {
                changes.extend(partitions.iter().filter_map(|p| self.removal(&topic, *p)));
            }
            let partitions = partitions.into_iter().map(|p| (p, outcome)).collect();
            outcomes.push(TopicOutcome { topic, partitions });
        }
        turn.tally.deletions += changes.len() as u64;
        self.write_offsets(
            turn,
            changes,
            Some((reply, Answer::Partitions(Ok(outcomes)))),
        );
    }

    /// Removes the offsets of topics that were dropped.
    pub(super) fn forget_topics(&mut self, turn: &mut Turn<'_>, topics: &[TopicName]) {
        if self.state == GroupState::Dead {
            return;
        }
        let changes: Vec<OffsetChange> = self
            .offsets
            .partitions()
            .into_iter()
            .filter(|(topic, _)| topics.contains(topic))
            .map(|(topic, partition)| OffsetChange {
                topic,
                partition,
                value: None,
            })
            .collect();
        if !changes.is_empty() {
            turn.tally.deletions += changes.len() as u64;
            self.write_offsets(turn, changes, None);
        }
    }

    /// Removes what has expired; then the group, when it is empty and nothing is left.
    pub(super) fn sweep(&mut self, turn: &mut Turn<'_>) {
        if self.state == GroupState::Dead || self.offsets.is_writing_any() {
            return;
        }
        let mut changes = Vec::new();
        let mut kept = 0u64;
        for (topic, offsets) in self.offsets.topics() {
            for (partition, offset) in offsets {
                if self.is_expired(turn, topic, offset) {
                    changes.push(OffsetChange {
                        topic: topic.clone(),
                        partition: *partition,
                        value: None,
                    });
                } else {
                    kept += 1;
                }
            }
        }
        turn.tally.expirations += changes.len() as u64;
        if kept == 0 && self.state == GroupState::Empty && self.pending_joins.is_empty() {
            self.start_removal(turn, None);
        } else if !changes.is_empty() {
            self.write_offsets(turn, changes, None);
        }
    }

    /// KIP-211. A group without members loses its offsets a retention after it became empty; a
    /// stable `consumer` group those of topics that it no longer reads, a retention after the
    /// commit; a group that only stores offsets a retention after the commit. An offset that was
    /// committed later (an administrator's reset) counts from its commit.
    fn is_expired(&self, turn: &Turn<'_>, topic: &TopicName, offset: &CommittedOffset) -> bool {
        let has_rule = self.protocol_type.is_none()
            || self.state == GroupState::Empty
            || (self.state == GroupState::Stable && self.subscribed_topics.is_some());
        let is_read = self.state != GroupState::Empty && self.is_subscribed_to(topic);
        if !has_rule || is_read {
            return false;
        }
        if let Some(expire_time_ms) = offset.expire_time_ms {
            return turn.now.wall_ms >= expire_time_ms;
        }
        let since_ms = match self.state_time_ms {
            Some(empty_since_ms)
                if self.protocol_type.is_some() && self.state == GroupState::Empty =>
            {
                empty_since_ms.max(offset.commit_time_ms)
            }
            _ => offset.commit_time_ms,
        };
        turn.now.wall_ms.saturating_sub(since_ms) >= turn.config.offsets_retention_ms
    }

    /// Handles a deletion of the group.
    pub(super) fn delete(&mut self, turn: &mut Turn<'_>, reply: ReplyId) {
        let refused = match self.state {
            GroupState::Empty => return self.start_removal(turn, Some(reply)),
            GroupState::Dead => GroupError::GroupNotFound,
            _ => GroupError::NotEmpty,
        };
        turn.answer(reply, Answer::Deleted(Err(refused)));
    }

    /// Writes tombstones of the group and its offsets. Until they are durable the group is dead,
    /// so that nothing is added that they would take away again.
    fn start_removal(&mut self, turn: &mut Turn<'_>, reply: Option<ReplyId>) {
        let mut tombstones: Vec<LogRecord> = Vec::new();
        for (topic, partition) in self.offsets.partitions() {
            tombstones.extend(records::offset_tombstone(&self.id, &topic, partition));
        }
        tombstones.extend(records::group_tombstone(&self.id));
        self.enter(turn, GroupState::Dead);
        turn.append(
            tombstones,
            Then::Removed {
                group: self.id.clone(),
                reply,
            },
        );
    }

    /// Writes changes; they are visible, and `reply` is answered, once they are durable.
    fn write_offsets(
        &mut self,
        turn: &mut Turn<'_>,
        changes: Vec<OffsetChange>,
        reply: Option<(ReplyId, Answer)>,
    ) {
        let written: Result<Vec<LogRecord>, GroupError> = changes
            .iter()
            .map(|change| records::offset_record(&self.id, change))
            .collect();
        match (written, reply) {
            (Ok(written), reply) => {
                self.offsets.begin(&changes);
                turn.append(
                    written,
                    Then::Offsets {
                        group: self.id.clone(),
                        changes,
                        reply,
                    },
                );
            }
            (Err(error), Some((reply, _))) => turn.answer(reply, Answer::Partitions(Err(error))),
            (Err(error), None) => {
                tracing::warn!(group = %self.id, %error, "offsets were not removed")
            }
        }
    }

    fn removal(&self, topic: &TopicName, partition: i32) -> Option<OffsetChange> {
        let exists = self.offsets.get(topic, partition).is_some()
            || self.offsets.is_writing(topic, partition);
        exists.then(|| OffsetChange {
            topic: topic.clone(),
            partition,
            value: None,
        })
    }
}

fn check_metadata(turn: &Turn<'_>, commit: &CommitPartition) -> Result<(), GroupError> {
    let length = commit.metadata.len();
    let limit = turn.config.offset_metadata_max;
    // A string has at most as many UTF-16 units as bytes: counting them is rarely needed.
    let too_long = length > METADATA_BYTES_MAX
        || (length > limit && commit.metadata.encode_utf16().count() > limit);
    if too_long {
        Err(GroupError::OffsetMetadataTooLarge)
    } else {
        Ok(())
    }
}

/// The answer for a group that does not exist: no error, and no offsets.
pub(super) fn nothing_committed(request: &FetchOffsetsRequest) -> Vec<TopicOffsets> {
    let topics = request.topics.as_deref().unwrap_or_default();
    topics
        .iter()
        .map(|(topic, partitions)| TopicOffsets {
            topic: topic.clone(),
            partitions: partitions.iter().map(|p| (*p, Ok(None))).collect(),
        })
        .collect()
}
