//! Static members (KIP-345): a restarted client takes the place of its predecessor, without a
//! rebalance when nothing changes (KIP-814).

use super::error::GroupError;
use super::names::MemberId;
use super::request::{Answer, JoinAnswer, JoinRequest};
use super::state::{Group, GroupState};
use super::timers::Timer;
use super::turn::{ReplyId, Then, Turn};

impl Group {
    /// Puts a client that joins with a known instance id and no member id in the place of the
    /// member that had the instance id.
    pub(super) fn replace_static(
        &mut self,
        turn: &mut Turn<'_>,
        reply: ReplyId,
        predecessor: &MemberId,
        id: MemberId,
        request: JoinRequest,
    ) {
        // An old client that was the leader, not knowing that it may skip the assignment, is told
        // the old leader's name, and so takes itself for a follower.
        let leader_shown = self
            .leader
            .clone()
            .filter(|_| !request.supports_skipping_assignment);
        self.fence(turn, predecessor);
        self.rename(predecessor, &id);
        self.update(
            &id,
            request.protocols,
            request.rebalance_timeout_ms,
            request.session_timeout_ms,
        );
        self.park_join(turn, &id, reply);
        self.restart_session(turn, &id);
        match self.state {
            GroupState::Stable if self.select_protocol() == self.protocol_name => {
                // The new id must be in the log before the client learns it: otherwise a restart
                // of the broker would fence the client, which is fatal to it.
                let group = self.id.clone();
                match self.to_record() {
                    Ok(record) => {
                        turn.append(
                            vec![record],
                            Then::StaticJoin {
                                group,
                                member_id: id,
                                reply,
                                leader_shown,
                            },
                        );
                    }
                    Err(error) => self.refuse_static(turn, &id, reply, error),
                }
            }
            GroupState::Stable => self.rebalance_or_complete(turn),
            // The leader may be assigning to the predecessor's id just now: all must join again.
            GroupState::CompletingRebalance => self.prepare_rebalance(turn),
            GroupState::PreparingRebalance | GroupState::Empty | GroupState::Dead => {
                self.complete_join_if_all_are_here(turn);
            }
        }
    }

    /// The successor's id is in the log, or could not be written.
    ///
    /// A failed write leaves the successor in place: its client has not learned the id, asks again
    /// without one and replaces it.
    pub(super) fn static_join_stored(
        &mut self,
        turn: &mut Turn<'_>,
        id: &MemberId,
        reply: ReplyId,
        leader_shown: Option<MemberId>,
        outcome: Result<(), GroupError>,
    ) {
        if let Err(error) = outcome {
            return self.refuse_static(turn, id, reply, error);
        }
        // If a rebalance started meanwhile, the parked join takes part in it.
        let waits = self
            .members
            .get(id)
            .is_some_and(|m| m.awaiting_join == Some(reply));
        if self.state != GroupState::Stable || !waits {
            return;
        }
        self.take_join(id);
        let mut joined = self.joined(id);
        match leader_shown {
            Some(leader) => {
                joined.leader = leader;
                joined.members.clear();
            }
            None => joined.skip_assignment = self.is_leader(id),
        }
        turn.answer(
            reply,
            Answer::Join(JoinAnswer {
                member_id: id.clone(),
                outcome: Ok(joined),
            }),
        );
        self.restart_session(turn, id);
    }

    fn refuse_static(
        &mut self,
        turn: &mut Turn<'_>,
        id: &MemberId,
        reply: ReplyId,
        error: GroupError,
    ) {
        if self
            .members
            .get(id)
            .is_some_and(|m| m.awaiting_join == Some(reply))
        {
            self.take_join(id);
            turn.refuse_join(reply, MemberId::unknown(), error);
        }
    }

    /// Sends away whoever waits under the predecessor's id: two clients use one instance id.
    fn fence(&mut self, turn: &mut Turn<'_>, predecessor: &MemberId) {
        turn.timers
            .cancel(&Timer::Session(self.id.clone(), predecessor.clone()));
        if let Some(reply) = self.take_join(predecessor) {
            turn.refuse_join(reply, predecessor.clone(), GroupError::FencedInstance);
        }
        let sync = self
            .members
            .get_mut(predecessor)
            .and_then(|m| m.awaiting_sync.take());
        if let Some(reply) = sync {
            turn.answer_sync(reply, Err(GroupError::FencedInstance));
        }
    }

    fn rename(&mut self, predecessor: &MemberId, id: &MemberId) {
        let Some(mut member) = self.members.remove(predecessor) else {
            return;
        };
        member.id = id.clone();
        member.is_new = false;
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), id.clone());
        }
        if self.is_leader(predecessor) {
            self.leader = Some(id.clone());
        }
        if self.pending_syncs.remove(predecessor) {
            self.pending_syncs.insert(id.clone());
        }
        self.members.insert(id.clone(), member);
    }
}
