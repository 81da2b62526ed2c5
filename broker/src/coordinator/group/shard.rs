//! The state machine of one shard: all its groups and their timers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::config::GroupConfig;
use super::error::GroupError;
use super::names::GroupId;
use super::offset_requests::nothing_committed;
use super::request::{
    Answer, CommitRequest, FetchOffsetsRequest, JoinRequest, LeaveOutcome, LeaveRequest, Request,
};
use super::state::{Group, GroupState};
use super::timers::{Timer, Timers};
use super::turn::{Action, Now, ReplyId, Tally, Then, Turn};

/// Kafka's key schema gives the group id an i16 length.
const GROUP_ID_BYTES_MAX: usize = i16::MAX as usize;

pub(super) type Groups = BTreeMap<GroupId, Group>;

/// All groups of one shard.
///
/// Every call is one turn: something happened at a given time, and the actions that follow are
/// returned in the order in which they must be done. Nothing here waits or reads a clock, so a
/// test can play any sequence of events.
pub struct ShardState {
    config: Arc<GroupConfig>,
    groups: Groups,
    timers: Timers,
    tally: Tally,
}

impl ShardState {
    /// A shard without groups. [`ShardState::loaded`] must be called before it is used.
    pub fn new(config: Arc<GroupConfig>) -> Self {
        ShardState {
            config,
            groups: Groups::new(),
            timers: Timers::default(),
            tally: Tally::default(),
        }
    }

    /// Handles a request. Its answer is among the actions of this turn or of a later one.
    pub fn handle(&mut self, now: Now, reply: ReplyId, request: Request) -> Vec<Action> {
        self.with_turn(now, |groups, turn| dispatch(groups, turn, reply, request))
    }

    /// Takes the outcome of a write. Writes must come back in the order in which they were asked
    /// for.
    pub fn appended(
        &mut self,
        now: Now,
        then: Then,
        outcome: Result<(), GroupError>,
    ) -> Vec<Action> {
        self.with_turn(now, |groups, turn| follow(groups, turn, then, outcome))
    }

    /// When [`ShardState::advance`] has something to do. May be early.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next_deadline()
    }

    /// Lets one timer fire that is due, if any is; to be called until it returns `None`.
    pub fn advance(&mut self, now: Now) -> Option<Vec<Action>> {
        let timer = self.timers.pop(now.monotonic)?;
        Some(self.with_turn(now, |groups, turn| fire(groups, turn, timer)))
    }

    /// Answers all parked requests, because the shard is handed over or the broker stops.
    pub fn stop(&mut self, now: Now) -> Vec<Action> {
        self.with_turn(now, |groups, turn| {
            for group in groups.values_mut() {
                group.answer_all_waiting(turn, GroupError::NotCoordinator);
            }
        })
    }

    /// Takes the figures since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    pub(super) fn with_turn(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut Groups, &mut Turn<'_>),
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut turn = Turn {
            now,
            config: &self.config,
            timers: &mut self.timers,
            actions: &mut actions,
            tally: &mut self.tally,
        };
        work(&mut self.groups, &mut turn);
        actions
    }

    #[cfg(test)]
    pub(super) fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }
}

fn dispatch(groups: &mut Groups, turn: &mut Turn<'_>, reply: ReplyId, request: Request) {
    match request {
        Request::Join(request) => join(groups, turn, reply, request),
        Request::Sync(request) => match groups.get_mut(&request.group) {
            Some(group) => group.sync(turn, reply, request),
            None => turn.answer_sync(reply, Err(missing(&request.group))),
        },
        Request::Heartbeat(request) => {
            let outcome = match groups.get_mut(&request.group) {
                Some(group) => group.heartbeat(turn, &request),
                None => Err(missing(&request.group)),
            };
            turn.answer(reply, Answer::Heartbeat(outcome));
        }
        Request::Leave(request) => match groups.get_mut(&request.group) {
            Some(group) => group.leave(turn, reply, request),
            None => turn.answer(reply, Answer::Leave(leave_missing(request))),
        },
        Request::Commit(request) => commit(groups, turn, reply, request),
        Request::FetchOffsets(request) => fetch_offsets(groups, turn, reply, request),
        Request::DeleteOffsets(request) => match groups.get_mut(&request.group) {
            Some(group) => group.delete_offsets(turn, reply, request),
            None => {
                let error = check_group_id(&request.group)
                    .err()
                    .unwrap_or(GroupError::GroupNotFound);
                turn.answer(reply, Answer::Partitions(Err(error)));
            }
        },
        Request::DeleteGroup(id) => match groups.get_mut(&id) {
            Some(group) => group.delete(turn, reply),
            None => turn.answer(reply, Answer::Deleted(Err(GroupError::GroupNotFound))),
        },
        Request::Describe(id) => {
            let group = groups
                .get(&id)
                .filter(|group| group.state != GroupState::Dead);
            turn.answer(reply, Answer::Described(group.map(Group::describe)));
        }
        Request::List => turn.answer(
            reply,
            Answer::Listed(groups.values().map(Group::listed).collect()),
        ),
        Request::ForgetTopics(topics) => {
            for group in groups.values_mut() {
                group.forget_topics(turn, &topics);
            }
            turn.append(Vec::new(), Then::Answer(reply, Answer::Forgotten));
        }
    }
}

fn join(groups: &mut Groups, turn: &mut Turn<'_>, reply: ReplyId, request: JoinRequest) {
    if let Err(error) = check_group_id(&request.group).and_then(|()| request.check(turn.config)) {
        return turn.refuse_join(reply, request.member_id, error);
    }
    let id = request.group.clone();
    if let Some(group) = groups.get_mut(&id) {
        return group.join(turn, reply, request);
    }
    if !request.member_id.is_unknown() {
        return turn.refuse_join(reply, request.member_id, GroupError::UnknownMember);
    }
    match new_group(groups, turn, id) {
        Ok(group) => group.join(turn, reply, request),
        Err(error) => turn.refuse_join(reply, request.member_id, error),
    }
}

/// A client that does not use membership makes a group by committing to it.
fn commit(groups: &mut Groups, turn: &mut Turn<'_>, reply: ReplyId, request: CommitRequest) {
    let id = request.group.clone();
    if let Some(group) = groups.get_mut(&id) {
        return group.commit(turn, reply, request);
    }
    let group = if id.len() > GROUP_ID_BYTES_MAX {
        Err(GroupError::InvalidGroupId)
    } else if request.generation < 0 {
        new_group(groups, turn, id)
    } else if request.knows_group_not_found {
        Err(GroupError::GroupNotFound)
    } else {
        Err(GroupError::IllegalGeneration)
    };
    match group {
        Ok(group) => group.commit(turn, reply, request),
        Err(error) => turn.answer(reply, Answer::Partitions(Err(error))),
    }
}

fn fetch_offsets(
    groups: &mut Groups,
    turn: &mut Turn<'_>,
    reply: ReplyId,
    request: FetchOffsetsRequest,
) {
    match groups.get(&request.group) {
        // The client must not start below a commit that is on its way.
        Some(group) if request.require_stable && group.offsets.is_writing_any() => {
            turn.append(Vec::new(), Then::FetchOffsets(reply, request));
        }
        Some(group) => turn.answer(reply, Answer::Offsets(Ok(group.fetch_offsets(&request)))),
        None => turn.answer(reply, Answer::Offsets(Ok(nothing_committed(&request)))),
    }
}

fn new_group<'a>(
    groups: &'a mut Groups,
    turn: &mut Turn<'_>,
    id: GroupId,
) -> Result<&'a mut Group, GroupError> {
    if groups.len() >= turn.config.groups_per_shard_max {
        tracing::warn!(group = %id, limit = turn.config.groups_per_shard_max, "too many groups");
        return Err(GroupError::NotAvailable);
    }
    let group = Group::new(id.clone(), turn);
    Ok(groups.entry(id).or_insert(group))
}

fn leave_missing(request: LeaveRequest) -> Result<Vec<LeaveOutcome>, GroupError> {
    check_group_id(&request.group)?;
    let unknown = |(member_id, instance_id)| LeaveOutcome {
        member_id,
        instance_id,
        outcome: Err(GroupError::UnknownMember),
    };
    Ok(request.members.into_iter().map(unknown).collect())
}

fn check_group_id(id: &GroupId) -> Result<(), GroupError> {
    if (1..=GROUP_ID_BYTES_MAX).contains(&id.len()) {
        Ok(())
    } else {
        Err(GroupError::InvalidGroupId)
    }
}

/// Why a member's request finds no group.
fn missing(id: &GroupId) -> GroupError {
    check_group_id(id)
        .err()
        .unwrap_or(GroupError::UnknownMember)
}

fn follow(groups: &mut Groups, turn: &mut Turn<'_>, then: Then, outcome: Result<(), GroupError>) {
    match then {
        Then::Nothing => {}
        Then::Answer(reply, answer) => turn.answer(reply, answer),
        Then::Stabilise {
            group,
            generation,
            assignments,
        } => {
            if let Some(group) = groups.get_mut(&group) {
                group.assignment_stored(turn, generation, assignments, outcome);
            }
        }
        Then::StaticJoin {
            group,
            member_id,
            reply,
            leader_shown,
        } => {
            if let Some(group) = groups.get_mut(&group) {
                group.static_join_stored(turn, &member_id, reply, leader_shown, outcome);
            }
        }
        Then::Offsets {
            group,
            changes,
            reply,
        } => {
            if let Some(group) = groups.get_mut(&group) {
                group.offsets.finish(changes, outcome.is_ok());
            }
            if let Some((reply, answer)) = reply {
                turn.answer(
                    reply,
                    outcome.map_or_else(|error| Answer::Partitions(Err(error)), |()| answer),
                );
            }
        }
        Then::Removed { group, reply } => {
            match outcome {
                Ok(()) => {
                    if let Some(group) = groups.remove(&group) {
                        turn.tally.groups[group.state.index()] -= 1;
                    }
                }
                Err(_) => {
                    if let Some(group) = groups.get_mut(&group) {
                        group.enter(turn, GroupState::Empty);
                    }
                }
            }
            if let Some(reply) = reply {
                turn.answer(reply, Answer::Deleted(outcome));
            }
        }
        Then::FetchOffsets(reply, request) => {
            let offsets = match groups.get(&request.group) {
                Some(group) => group.fetch_offsets(&request),
                None => nothing_committed(&request),
            };
            turn.answer(reply, Answer::Offsets(Ok(offsets)));
        }
    }
}

fn fire(groups: &mut Groups, turn: &mut Turn<'_>, timer: Timer) {
    match timer {
        Timer::Session(group, member) => with(groups, &group, |group| {
            group.session_timer_fired(turn, &member)
        }),
        Timer::Join(group) => with(groups, &group, |group| group.join_timer_fired(turn)),
        Timer::Sync(group) => with(groups, &group, |group| group.sync_timer_fired(turn)),
        Timer::Sweep => {
            for group in groups.values_mut() {
                group.sweep(turn);
            }
            let interval_ms = i64::from(turn.config.offsets_retention_check_interval_ms);
            turn.schedule(Timer::Sweep, interval_ms);
        }
    }
}

fn with(groups: &mut Groups, id: &GroupId, work: impl FnOnce(&mut Group)) {
    if let Some(group) = groups.get_mut(id) {
        work(group);
    }
}
