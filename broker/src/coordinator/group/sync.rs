//! SyncGroup: the leader's assignment goes to the log, then to the members.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::error::GroupError;
use super::names::MemberId;
use super::request::SyncRequest;
use super::state::{Group, GroupState};
use super::timers::Timer;
use super::turn::{ReplyId, Then, Turn};

impl Group {
    /// Handles a sync.
    pub(super) fn sync(&mut self, turn: &mut Turn<'_>, reply: ReplyId, request: SyncRequest) {
        if let Err(error) = self.check_sync(turn, &request) {
            return turn.answer_sync(reply, Err(error));
        }
        let id = &request.member_id;
        match self.state {
            GroupState::PreparingRebalance => {
                turn.answer_sync(reply, Err(GroupError::RebalanceInProgress));
            }
            GroupState::CompletingRebalance => {
                self.note_synced(turn, id);
                self.park_sync(turn, id, reply);
                if self.is_leader(id) && !self.storing_assignment {
                    self.store_assignment(turn, request);
                }
            }
            GroupState::Stable => {
                self.note_synced(turn, id);
                let assignment = self
                    .members
                    .get(id)
                    .map_or_else(Bytes::new, |m| m.assignment.clone());
                turn.answer_sync(reply, Ok(self.synced(assignment)));
            }
            GroupState::Empty | GroupState::Dead => {
                turn.answer_sync(reply, Err(GroupError::UnknownMember));
            }
        }
    }

    fn check_sync(&self, turn: &Turn<'_>, request: &SyncRequest) -> Result<(), GroupError> {
        self.check_generation(
            &request.member_id,
            request.instance_id.as_ref(),
            request.generation,
        )?;
        let differs = |theirs: &Option<_>, ours: &Option<_>| {
            theirs.is_some() && ours.is_some() && theirs != ours
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        let bytes: usize = request
            .assignments
            .iter()
            .map(|(_, bytes)| bytes.len())
            .sum();
        if bytes > turn.config.assignment_bytes_max {
            return Err(GroupError::InvalidRequest);
        }
        Ok(())
    }

    fn note_synced(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        self.pending_syncs.remove(id);
        if self.pending_syncs.is_empty() {
            turn.timers.cancel(&Timer::Sync(self.id.clone()));
        }
    }

    /// Parks a sync. An older one of the same member is sent away: its client has given it up.
    fn park_sync(&mut self, turn: &mut Turn<'_>, id: &MemberId, reply: ReplyId) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if let Some(older) = member.awaiting_sync.replace(reply) {
            turn.answer_sync(older, Err(GroupError::RebalanceInProgress));
        }
    }

    /// Members that the leader forgot get nothing; those it invented are left out.
    fn store_assignment(&mut self, turn: &mut Turn<'_>, request: SyncRequest) {
        let mut assignments: BTreeMap<MemberId, Bytes> = self
            .members
            .keys()
            .map(|id| (id.clone(), Bytes::new()))
            .collect();
        for (id, assignment) in request.assignments {
            if let Some(place) = assignments.get_mut(&id) {
                *place = assignment;
            }
        }
        match self.to_record_with(&assignments) {
            Ok(record) => {
                self.storing_assignment = true;
                let then = Then::Stabilise {
                    group: self.id.clone(),
                    generation: self.generation,
                    assignments,
                };
                turn.append(vec![record], then);
            }
            Err(error) => {
                self.assignment_stored(turn, request.generation, BTreeMap::new(), Err(error))
            }
        }
    }

    /// The assignment is in the log, or could not be written.
    pub(super) fn assignment_stored(
        &mut self,
        turn: &mut Turn<'_>,
        generation: i32,
        mut assignments: BTreeMap<MemberId, Bytes>,
        outcome: Result<(), GroupError>,
    ) {
        // A rebalance that started meanwhile makes the assignment void.
        if self.state != GroupState::CompletingRebalance || self.generation != generation {
            return;
        }
        if let Err(error) = outcome {
            self.send_away_waiting_syncs(turn, error);
            return self.prepare_rebalance(turn);
        }
        self.storing_assignment = false;
        for member in self.members.values_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
        }
        self.enter(turn, GroupState::Stable);
        turn.tally.rebalances += 1;
        let waiting: Vec<(MemberId, ReplyId, Bytes)> = self
            .members
            .values_mut()
            .filter_map(|m| Some((m.id.clone(), m.awaiting_sync.take()?, m.assignment.clone())))
            .collect();
        for (id, reply, assignment) in waiting {
            turn.answer_sync(reply, Ok(self.synced(assignment)));
            self.restart_session(turn, &id);
        }
    }
}
