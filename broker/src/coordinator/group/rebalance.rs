//! The rebalance: from the first reason for one to a complete generation.

use bytes::Bytes;

use super::error::GroupError;
use super::names::MemberId;
use super::state::{Group, GroupState, InitialDelay};
use super::timers::Timer;
use super::turn::{Then, Turn};

impl Group {
    /// Starts a rebalance, or sees whether the running one is complete.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => {
                self.prepare_rebalance(turn);
            }
            GroupState::PreparingRebalance | GroupState::Dead => {
                self.complete_join_if_all_are_here(turn)
            }
        }
    }

    /// Starts a rebalance.
    pub(super) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.state == GroupState::CompletingRebalance {
            self.send_away_waiting_syncs(turn, GroupError::RebalanceInProgress);
        }
        self.storing_assignment = false;
        self.pending_syncs.clear();
        turn.timers.cancel(&Timer::Sync(self.id.clone()));
        let is_initial = self.state == GroupState::Empty;
        self.enter(turn, GroupState::PreparingRebalance);
        tracing::debug!(group = %self.id, generation = self.generation, members = self.members.len(), "rebalance starts");
        if is_initial {
            let delay_ms = i64::from(turn.config.initial_rebalance_delay_ms);
            let remaining_ms = (self.rebalance_timeout_ms() - delay_ms).max(0);
            self.initial_delay = Some(InitialDelay {
                delay_ms,
                remaining_ms,
                member_added: false,
            });
            turn.schedule(Timer::Join(self.id.clone()), delay_ms);
        } else if self.all_have_joined() {
            self.complete_join(turn);
        } else {
            turn.schedule(Timer::Join(self.id.clone()), self.rebalance_timeout_ms());
        }
    }

    /// Completes the generation when nobody is missing. The first generation of an empty group
    /// waits for its delay instead.
    pub(super) fn complete_join_if_all_are_here(&mut self, turn: &mut Turn<'_>) {
        let waits = self.state != GroupState::PreparingRebalance || self.initial_delay.is_some();
        if !waits && self.all_have_joined() {
            self.complete_join(turn);
        }
    }

    /// The wait for members to join is over.
    pub(super) fn join_timer_fired(&mut self, turn: &mut Turn<'_>) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        if let Some(delay) = &mut self.initial_delay
            && delay.member_added
            && delay.remaining_ms > 0
        {
            let next_ms = i64::from(turn.config.initial_rebalance_delay_ms).min(delay.remaining_ms);
            delay.remaining_ms = (delay.remaining_ms - delay.delay_ms).max(0);
            delay.delay_ms = next_ms;
            delay.member_added = false;
            return turn.schedule(Timer::Join(self.id.clone()), next_ms);
        }
        self.complete_join(turn);
    }

    /// Completes the generation with those who joined.
    pub(super) fn complete_join(&mut self, turn: &mut Turn<'_>) {
        turn.timers.cancel(&Timer::Join(self.id.clone()));
        self.initial_delay = None;
        // Static members stay until their session ends: they are expected back.
        let missing: Vec<MemberId> = self
            .members
            .values()
            .filter(|m| m.awaiting_join.is_none() && m.instance_id.is_none())
            .map(|m| m.id.clone())
            .collect();
        for id in &missing {
            self.remove(turn, id);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only silent static members are left. Their sessions will end.
            return turn.schedule(Timer::Join(self.id.clone()), self.rebalance_timeout_ms());
        }
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.pending_syncs.clear();
        self.storing_assignment = false;
        if self.members.is_empty() {
            self.become_empty(turn);
        } else {
            self.begin_generation(turn);
        }
    }

    /// A leader that did not rejoin gives way to a member that did.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |id: &MemberId| {
            self.members
                .get(id)
                .is_some_and(|m| m.awaiting_join.is_some())
        };
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self
            .members
            .values()
            .find(|m| m.awaiting_join.is_some())
            .map(|m| m.id.clone());
        if joined.is_some() {
            self.leader = joined;
            return true;
        }
        false
    }

    fn become_empty(&mut self, turn: &mut Turn<'_>) {
        self.protocol_name = None;
        self.leader = None;
        self.subscribed_topics = self.compute_subscribed_topics();
        self.enter(turn, GroupState::Empty);
        // If this is lost, the last generation comes back after a restart and its members expire.
        match self.to_record() {
            Ok(record) => turn.append(vec![record], Then::Nothing),
            Err(error) => tracing::warn!(group = %self.id, %error, "empty group was not stored"),
        }
    }

    fn begin_generation(&mut self, turn: &mut Turn<'_>) {
        self.protocol_name = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        self.enter(turn, GroupState::CompletingRebalance);
        tracing::debug!(group = %self.id, generation = self.generation, members = self.members.len(), "generation joined");
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(reply) = self.take_join(&id) {
                self.answer_joined(turn, reply, &id);
            }
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.restart_session(turn, &id);
            self.pending_syncs.insert(id);
        }
        turn.schedule(Timer::Sync(self.id.clone()), self.rebalance_timeout_ms());
    }

    /// The wait for members to sync is over: who did not is out.
    pub(super) fn sync_timer_fired(&mut self, turn: &mut Turn<'_>) {
        let syncing = matches!(
            self.state,
            GroupState::CompletingRebalance | GroupState::Stable
        );
        if !syncing || self.pending_syncs.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.pending_syncs) {
            self.remove(turn, &id);
        }
        self.prepare_rebalance(turn);
    }

    /// A member, or one that was given an id, was silent for too long.
    pub(super) fn session_timer_fired(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        if self.pending_joins.contains(id) {
            self.remove(turn, id);
            return self.complete_join_if_all_are_here(turn);
        }
        match self.members.get(id) {
            None => return,
            // The session starts anew when the parked request is answered.
            Some(member) if member.has_satisfied_heartbeat() => return,
            Some(_) => {}
        }
        tracing::info!(group = %self.id, member = %id, "member expired");
        turn.tally.expired_members += 1;
        self.remove(turn, id);
        self.rebalance_or_complete(turn);
    }

    /// Takes assignments back and answers all parked syncs with an error.
    pub(super) fn send_away_waiting_syncs(&mut self, turn: &mut Turn<'_>, error: GroupError) {
        let mut answered = Vec::new();
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(reply) = member.awaiting_sync.take() {
                turn.answer_sync(reply, Err(error));
                answered.push(member.id.clone());
            }
        }
        for id in answered {
            self.restart_session(turn, &id);
        }
    }
}
