//! LeaveGroup: members go, by themselves or removed by an administrator.

use super::error::GroupError;
use super::names::{InstanceId, MemberId};
use super::request::{Answer, LeaveOutcome, LeaveRequest};
use super::state::{Group, GroupState};
use super::turn::{ReplyId, Then, Turn};

impl Group {
    /// Handles a leave.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>, reply: ReplyId, request: LeaveRequest) {
        if self.state == GroupState::Dead {
            return turn.answer(reply, Answer::Leave(Err(GroupError::NotAvailable)));
        }
        let members_before = self.members.len();
        let mut outcomes = Vec::new();
        for (member_id, instance_id) in request.members {
            let outcome = self
                .leaving_member(&member_id, instance_id.as_ref())
                .map(|id| self.remove(turn, &id));
            outcomes.push(LeaveOutcome {
                member_id,
                instance_id,
                outcome,
            });
        }
        if self.members.len() < members_before {
            self.rebalance_or_complete(turn);
        } else {
            // Only ids without members went; the others may have waited for them.
            self.complete_join_if_all_are_here(turn);
        }
        // The group may have become empty: the answer must not overtake that record.
        turn.append(Vec::new(), Then::Answer(reply, Answer::Leave(Ok(outcomes))));
    }

    /// An administrator names only the instance.
    fn leaving_member(
        &self,
        id: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<MemberId, GroupError> {
        if id.is_unknown() {
            let known = instance.and_then(|instance| self.static_members.get(instance));
            return known.cloned().ok_or(GroupError::UnknownMember);
        }
        if !self.pending_joins.contains(id) {
            self.check_member(id, instance)?;
        }
        Ok(id.clone())
    }
}
