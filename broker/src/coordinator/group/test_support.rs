//! A shard in a test's hands: a manual clock, a log that finishes writes when told to, and answers
//! kept for the test to look at.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::config::GroupConfig;
use super::error::GroupError;
use super::log::LogRecord;
use super::names::{InstanceId, MemberId, TopicName};
use super::offsets::CommittedOffset;
use super::request::*;
use super::shard::ShardState;
use super::state::GroupState;
use super::turn::{Action, Now, ReplyId, Then, Write};

pub(super) const GROUP: &str = "g";

pub(super) struct Rig {
    pub(super) shard: ShardState,
    pub(super) config: Arc<GroupConfig>,
    pub(super) now: Now,
    /// Durable records.
    pub(super) log: Vec<LogRecord>,
    pub(super) held: VecDeque<Write>,
    /// When true, writes wait for [`Rig::finish_writes`].
    pub(super) hold_writes: bool,
    answers: HashMap<ReplyId, Answer>,
    next_reply: u64,
    next_id: u64,
}

impl Rig {
    pub(super) fn new(change: impl FnOnce(&mut GroupConfig)) -> Self {
        let mut config = GroupConfig::default();
        change(&mut config);
        let now = Now {
            monotonic: Duration::ZERO,
            wall_ms: 1_000_000_000_000,
        };
        let config = Arc::new(config);
        let mut shard = ShardState::new(config.clone());
        shard.loaded(now);
        Rig {
            shard,
            config,
            now,
            log: Vec::new(),
            held: VecDeque::new(),
            hold_writes: false,
            answers: HashMap::new(),
            next_reply: 0,
            next_id: 0,
        }
    }

    /// A rig whose groups do not wait for more members.
    pub(super) fn without_delay() -> Self {
        Rig::new(|config| config.initial_rebalance_delay_ms = 0)
    }

    /// Throws the state away and makes it again from the log.
    pub(super) fn restart(&mut self) {
        self.held.clear();
        self.answers.clear();
        self.shard = ShardState::new(self.config.clone());
        for record in &self.log {
            self.shard.replay(self.now, record).unwrap();
        }
        let actions = self.shard.loaded(self.now);
        self.perform(actions);
    }

    pub(super) fn ask(&mut self, request: Request) -> ReplyId {
        let reply = ReplyId(self.next_reply);
        self.next_reply += 1;
        let actions = self.shard.handle(self.now, reply, request);
        self.perform(actions);
        self.fire();
        reply
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.monotonic + Duration::from_millis(ms);
        while let Some(at) = self.shard.next_deadline()
            && at <= end
        {
            self.set_time(at.max(self.now.monotonic));
            self.fire();
        }
        self.set_time(end);
    }

    fn set_time(&mut self, at: Duration) {
        let passed = at - self.now.monotonic;
        self.now.monotonic = at;
        self.now.wall_ms += i64::try_from(passed.as_millis()).unwrap();
    }

    fn fire(&mut self) {
        while let Some(actions) = self.shard.advance(self.now) {
            self.perform(actions);
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Answer(reply, answer) => {
                    let before = self.answers.insert(reply, answer);
                    assert_eq!(before, None, "two answers to one request");
                }
                Action::Append(write) => self.held.push_back(write),
            }
        }
        if !self.hold_writes {
            self.finish_writes(Ok(()));
        }
    }

    /// Ends all writes that wait.
    pub(super) fn finish_writes(&mut self, outcome: Result<(), GroupError>) {
        while let Some(Write { records, then }) = self.held.pop_front() {
            self.finish(records, then, outcome);
        }
    }

    /// Ends the oldest write, if any waits.
    pub(super) fn finish_one_write(&mut self, outcome: Result<(), GroupError>) {
        if let Some(Write { records, then }) = self.held.pop_front() {
            self.finish(records, then, outcome);
        }
    }

    fn finish(&mut self, records: Vec<LogRecord>, then: Then, outcome: Result<(), GroupError>) {
        if outcome.is_ok() {
            self.log.extend(records);
        }
        let actions = self.shard.appended(self.now, then, outcome);
        self.perform(actions);
    }

    /// The answer to a request, when there is one.
    pub(super) fn answer(&self, reply: ReplyId) -> Option<&Answer> {
        self.answers.get(&reply)
    }

    pub(super) fn is_parked(&self, reply: ReplyId) -> bool {
        !self.answers.contains_key(&reply)
    }

    pub(super) fn state(&self) -> GroupState {
        self.shard.group(GROUP).unwrap().state
    }

    pub(super) fn generation(&self) -> i32 {
        self.shard.group(GROUP).unwrap().generation
    }

    pub(super) fn join_request(
        &mut self,
        id: &MemberId,
        protocols: &[(&str, &[u8])],
    ) -> JoinRequest {
        self.next_id += 1;
        JoinRequest {
            group: GROUP.into(),
            member_id: id.clone(),
            instance_id: None,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: protocols
                .iter()
                .map(|(name, metadata)| Protocol {
                    name: (*name).into(),
                    metadata: Bytes::copy_from_slice(metadata),
                })
                .collect(),
            requires_known_member_id: true,
            supports_skipping_assignment: true,
            fresh_id: self.next_id.to_string(),
        }
    }

    /// A join under an id, with the `range` protocol and a subscription to topic `t`.
    pub(super) fn join_as(&mut self, id: &MemberId) -> ReplyId {
        let request = self.join_request(id, &[("range", SUBSCRIPTION)]);
        self.ask(Request::Join(request))
    }

    /// The first join of a dynamic member: asks for an id and comes back with it.
    pub(super) fn join_new(&mut self) -> (MemberId, ReplyId) {
        let reply = self.join_as(&MemberId::unknown());
        let id = self.join_answer(reply).member_id.clone();
        assert_eq!(
            self.join_answer(reply).outcome,
            Err(GroupError::MemberIdRequired)
        );
        let reply = self.join_as(&id);
        (id, reply)
    }

    pub(super) fn join_static(&mut self, instance: &str) -> ReplyId {
        let mut request = self.join_request(&MemberId::unknown(), &[("range", SUBSCRIPTION)]);
        request.instance_id = Some(instance.into());
        self.ask(Request::Join(request))
    }

    pub(super) fn join_answer(&self, reply: ReplyId) -> &JoinAnswer {
        match self.answer(reply) {
            Some(Answer::Join(answer)) => answer,
            other => panic!("no join answer: {other:?}"),
        }
    }

    pub(super) fn joined(&self, reply: ReplyId) -> Joined {
        self.join_answer(reply).outcome.clone().unwrap()
    }

    pub(super) fn join_error(&self, reply: ReplyId) -> GroupError {
        self.join_answer(reply).outcome.clone().unwrap_err()
    }

    pub(super) fn sync_request(
        &self,
        id: &MemberId,
        assignments: &[(&MemberId, &str)],
    ) -> SyncRequest {
        SyncRequest {
            group: GROUP.into(),
            generation: self.generation(),
            member_id: id.clone(),
            instance_id: None,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: assignments
                .iter()
                .map(|(id, text)| ((*id).clone(), Bytes::copy_from_slice(text.as_bytes())))
                .collect(),
        }
    }

    pub(super) fn sync(&mut self, id: &MemberId, assignments: &[(&MemberId, &str)]) -> ReplyId {
        let request = self.sync_request(id, assignments);
        self.ask(Request::Sync(request))
    }

    pub(super) fn synced(&self, reply: ReplyId) -> Result<String, GroupError> {
        match self.answer(reply) {
            Some(Answer::Sync(Ok(synced))) => {
                Ok(String::from_utf8(synced.assignment.to_vec()).unwrap())
            }
            Some(Answer::Sync(Err(error))) => Err(*error),
            other => panic!("no sync answer: {other:?}"),
        }
    }

    /// A stable group of that many dynamic members, the leader first.
    pub(super) fn stable(&mut self, count: usize) -> Vec<MemberId> {
        let joins: Vec<(MemberId, ReplyId)> = (0..count).map(|_| self.join_new()).collect();
        self.settle(joins)
    }

    /// Lets a rebalance come to its end, with an assignment for each member.
    pub(super) fn settle(&mut self, joins: Vec<(MemberId, ReplyId)>) -> Vec<MemberId> {
        // The delay is prolonged once, by whoever came after the first.
        self.pass(2 * u64::from(self.config.initial_rebalance_delay_ms));
        let members: Vec<MemberId> = joins.iter().map(|(id, _)| id.clone()).collect();
        // With no delay the first member is alone in the first generation: the others rejoin it.
        for _ in 0..3 {
            let complete = self.state() == GroupState::CompletingRebalance;
            if complete && self.shard.group(GROUP).unwrap().members.len() == members.len() {
                break;
            }
            for id in &members {
                self.join_as(id);
            }
        }
        self.assign(&members)
    }

    /// Syncs all members of a joined generation; each gets its own id as assignment.
    pub(super) fn assign(&mut self, members: &[MemberId]) -> Vec<MemberId> {
        let leader = self.shard.group(GROUP).unwrap().leader.clone().unwrap();
        let assignments: Vec<(&MemberId, &str)> = members.iter().map(|id| (id, &**id)).collect();
        self.sync(&leader, &assignments);
        for id in members {
            self.sync(id, &[]);
        }
        assert_eq!(self.state(), GroupState::Stable);
        let mut ordered = vec![leader.clone()];
        ordered.extend(members.iter().filter(|id| **id != leader).cloned());
        ordered
    }

    pub(super) fn heartbeat(&mut self, id: &MemberId, generation: i32) -> Result<(), GroupError> {
        let request = HeartbeatRequest {
            group: GROUP.into(),
            generation,
            member_id: id.clone(),
            instance_id: None,
        };
        let reply = self.ask(Request::Heartbeat(request));
        match self.answer(reply) {
            Some(Answer::Heartbeat(outcome)) => *outcome,
            other => panic!("no heartbeat answer: {other:?}"),
        }
    }

    pub(super) fn leave(
        &mut self,
        members: &[(&MemberId, Option<&str>)],
    ) -> Vec<Result<(), GroupError>> {
        let request = LeaveRequest {
            group: GROUP.into(),
            members: members
                .iter()
                .map(|(id, instance)| ((*id).clone(), instance.map(InstanceId::from)))
                .collect(),
        };
        let reply = self.ask(Request::Leave(request));
        match self.answer(reply) {
            Some(Answer::Leave(Ok(outcomes))) => outcomes.iter().map(|o| o.outcome).collect(),
            other => panic!("no leave answer: {other:?}"),
        }
    }

    pub(super) fn commit_request(
        &self,
        id: &MemberId,
        generation: i32,
        offset: i64,
    ) -> CommitRequest {
        CommitRequest {
            group: GROUP.into(),
            generation,
            member_id: id.clone(),
            instance_id: None,
            retention_ms: None,
            knows_group_not_found: true,
            topics: vec![CommitTopic {
                topic: "t".into(),
                partitions: vec![CommitPartition {
                    partition: 0,
                    offset,
                    leader_epoch: 3,
                    metadata: "m".into(),
                }],
            }],
        }
    }

    pub(super) fn commit(
        &mut self,
        id: &MemberId,
        generation: i32,
        offset: i64,
    ) -> Result<(), GroupError> {
        let request = self.commit_request(id, generation, offset);
        let reply = self.ask(Request::Commit(request));
        self.partition_outcome(reply)
    }

    /// A commit of a client that does not use membership.
    pub(super) fn commit_alone(&mut self, offset: i64) -> Result<(), GroupError> {
        self.commit(&MemberId::unknown(), -1, offset)
    }

    pub(super) fn partition_outcome(&self, reply: ReplyId) -> Result<(), GroupError> {
        match self.answer(reply) {
            Some(Answer::Partitions(Ok(topics))) => topics[0].partitions[0].1,
            Some(Answer::Partitions(Err(error))) => Err(*error),
            other => panic!("no answer about partitions: {other:?}"),
        }
    }

    pub(super) fn fetch_request(&self, require_stable: bool) -> FetchOffsetsRequest {
        FetchOffsetsRequest {
            group: GROUP.into(),
            topics: Some(vec![(TopicName::from("t"), vec![0])]),
            require_stable,
        }
    }

    /// The offset of partition 0 of topic `t`.
    pub(super) fn committed(&mut self) -> Option<i64> {
        self.committed_offset().map(|offset| offset.offset)
    }

    pub(super) fn committed_offset(&mut self) -> Option<CommittedOffset> {
        let request = self.fetch_request(false);
        let reply = self.ask(Request::FetchOffsets(request));
        self.fetched(reply)
    }

    pub(super) fn fetched(&self, reply: ReplyId) -> Option<CommittedOffset> {
        match self.answer(reply) {
            Some(Answer::Offsets(Ok(topics))) => topics[0].partitions[0].1.clone().unwrap(),
            other => panic!("no offsets: {other:?}"),
        }
    }

    pub(super) fn delete_group(&mut self) -> Result<(), GroupError> {
        let reply = self.ask(Request::DeleteGroup(GROUP.into()));
        match self.answer(reply) {
            Some(Answer::Deleted(outcome)) => *outcome,
            other => panic!("no answer to a deletion: {other:?}"),
        }
    }

    pub(super) fn delete_offset(&mut self, topic: &str) -> Result<(), GroupError> {
        let request = DeleteOffsetsRequest {
            group: GROUP.into(),
            topics: vec![(topic.into(), vec![0])],
        };
        let reply = self.ask(Request::DeleteOffsets(request));
        self.partition_outcome(reply)
    }
}

/// Version 0, one topic, `t`.
pub(super) const SUBSCRIPTION: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 0];
