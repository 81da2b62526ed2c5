//! JoinGroup: who may come in, and when that starts a rebalance.

use super::config::GroupConfig;
use super::error::GroupError;
use super::member::Member;
use super::names::MemberId;
use super::request::{Answer, JoinAnswer, JoinRequest};
use super::state::{Group, GroupState};
use super::timers::Timer;
use super::turn::{ReplyId, Turn};

impl JoinRequest {
    /// Checks what can be judged without the group.
    ///
    /// # Errors
    /// When a timeout is outside the limits or the metadata is too large.
    pub(super) fn check(&self, config: &GroupConfig) -> Result<(), GroupError> {
        let limits = config.session_timeout_min_ms..=config.session_timeout_max_ms;
        if !u32::try_from(self.session_timeout_ms).is_ok_and(|ms| limits.contains(&ms)) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        let bytes: usize = self
            .protocols
            .iter()
            .map(|p| p.name.len() + p.metadata.len())
            .sum();
        let repeated = self
            .protocols
            .iter()
            .enumerate()
            .any(|(i, p)| self.protocols[..i].iter().any(|other| other.name == p.name));
        if bytes > config.member_metadata_bytes_max || repeated {
            return Err(GroupError::InvalidRequest);
        }
        Ok(())
    }
}

impl Group {
    /// Handles a join.
    pub(super) fn join(&mut self, turn: &mut Turn<'_>, reply: ReplyId, request: JoinRequest) {
        if self.state == GroupState::Dead {
            // It is being removed; when the client comes back there will be room for a new one.
            turn.refuse_join(reply, request.member_id, GroupError::NotAvailable);
        } else if !self.has_room_for(turn.config, &request.member_id) {
            self.remove(turn, &request.member_id);
            turn.refuse_join(reply, MemberId::unknown(), GroupError::GroupFull);
            // The one that is turned away may be the last for whom the others waited.
            self.complete_join_if_all_are_here(turn);
        } else if !self.supports(&request.protocol_type, &request.protocols) {
            turn.refuse_join(reply, request.member_id, GroupError::InconsistentProtocol);
        } else if request.member_id.is_unknown() {
            self.join_new(turn, reply, request);
        } else {
            self.join_known(turn, reply, request);
        }
    }

    /// While members rejoin, those who already wait are counted rather than all members: if the
    /// limit was lowered, the last to rejoin are turned away.
    fn has_room_for(&self, config: &GroupConfig, id: &MemberId) -> bool {
        let member = self.members.get(id);
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                member.is_some_and(|m| m.awaiting_join.is_some())
                    || self.awaiting_join_count() < config.group_size_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.members.len() < config.group_size_max
            }
        }
    }

    fn join_new(&mut self, turn: &mut Turn<'_>, reply: ReplyId, request: JoinRequest) {
        let prefix = request.instance_id.as_deref().unwrap_or(&request.client_id);
        let id = MemberId::from(format!("{prefix}-{}", request.fresh_id));
        if let Some(instance) = &request.instance_id {
            match self.static_members.get(instance).cloned() {
                Some(predecessor) => self.replace_static(turn, reply, &predecessor, id, request),
                None => self.add_then_rebalance(turn, reply, id, request),
            }
        } else if request.requires_known_member_id {
            self.send_away_with_id(turn, reply, id, &request);
        } else {
            self.add_then_rebalance(turn, reply, id, request);
        }
    }

    /// KIP-394: a client learns its id before it becomes a member, so that a client that never
    /// sees the answer leaves no member behind.
    fn send_away_with_id(
        &mut self,
        turn: &mut Turn<'_>,
        reply: ReplyId,
        id: MemberId,
        request: &JoinRequest,
    ) {
        if self.pending_joins.len() >= turn.config.pending_members_max {
            return turn.refuse_join(reply, MemberId::unknown(), GroupError::GroupFull);
        }
        turn.schedule(
            Timer::Session(self.id.clone(), id.clone()),
            i64::from(request.session_timeout_ms),
        );
        self.pending_joins.insert(id.clone());
        turn.refuse_join(reply, id, GroupError::MemberIdRequired);
    }

    fn add_then_rebalance(
        &mut self,
        turn: &mut Turn<'_>,
        reply: ReplyId,
        id: MemberId,
        request: JoinRequest,
    ) {
        if let Some(delay) = &mut self.initial_delay {
            delay.member_added = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        self.add(Member::from_join(id.clone(), request), Some(reply));
        // It cannot send heartbeats before it has an answer, and a lost connection goes unnoticed
        // while the join is parked.
        let timeout_ms = i64::from(turn.config.new_member_join_timeout_ms);
        turn.schedule(Timer::Session(self.id.clone(), id), timeout_ms);
        self.rebalance_or_complete(turn);
    }

    fn join_known(&mut self, turn: &mut Turn<'_>, reply: ReplyId, request: JoinRequest) {
        let id = request.member_id.clone();
        if self.pending_joins.contains(&id) {
            if request.instance_id.is_some() {
                return turn.refuse_join(reply, id, GroupError::UnknownMember);
            }
            return self.add_then_rebalance(turn, reply, id, request);
        }
        if let Err(error) = self.check_member(&id, request.instance_id.as_ref()) {
            return turn.refuse_join(reply, id, error);
        }
        let unchanged = self
            .members
            .get(&id)
            .is_some_and(|m| m.protocols == request.protocols);
        match self.state {
            GroupState::PreparingRebalance => self.rejoin(turn, reply, request),
            // The answer to its first join was lost, most likely: the generation stands.
            GroupState::CompletingRebalance if unchanged => self.answer_joined(turn, reply, &id),
            // A leader rejoins to have a rebalance, for instance because partitions were added.
            GroupState::Stable if unchanged && !self.is_leader(&id) => {
                self.answer_joined(turn, reply, &id)
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.rejoin(turn, reply, request)
            }
            GroupState::Empty | GroupState::Dead => {
                turn.refuse_join(reply, id, GroupError::UnknownMember);
            }
        }
    }

    fn rejoin(&mut self, turn: &mut Turn<'_>, reply: ReplyId, request: JoinRequest) {
        let id = request.member_id;
        self.update(
            &id,
            request.protocols,
            request.rebalance_timeout_ms,
            request.session_timeout_ms,
        );
        self.park_join(turn, &id, reply);
        self.rebalance_or_complete(turn);
    }

    /// Answers a join with the current generation.
    pub(super) fn answer_joined(&self, turn: &mut Turn<'_>, reply: ReplyId, id: &MemberId) {
        let answer = JoinAnswer {
            member_id: id.clone(),
            outcome: Ok(self.joined(id)),
        };
        turn.answer(reply, Answer::Join(answer));
    }
}
