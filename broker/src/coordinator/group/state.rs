//! A group: its members, their generation and what they agreed on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::error::GroupError;
use super::member::Member;
use super::names::{GroupId, InstanceId, MemberId, TopicName};
use super::offsets::Offsets;
use super::request::{Answer, DescribedGroup, Joined, ListedGroup, Protocol, Synced};
use super::subscription;
use super::timers::Timer;
use super::turn::{ReplyId, Turn};

/// Where a group is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// No members; offsets may be kept.
    Empty,
    /// Members are (re-)joining.
    PreparingRebalance,
    /// All joined; the leader is assigning.
    CompletingRebalance,
    /// Everyone has an assignment.
    Stable,
    /// Being removed.
    Dead,
}

impl GroupState {
    /// How many states there are.
    pub const COUNT: usize = 5;

    /// All states, in the order of [`GroupState::index`].
    pub const ALL: [GroupState; Self::COUNT] = [
        GroupState::Empty,
        GroupState::PreparingRebalance,
        GroupState::CompletingRebalance,
        GroupState::Stable,
        GroupState::Dead,
    ];

    /// From 0, for tables.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Kafka's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }

    fn may_follow(self, previous: GroupState) -> bool {
        use GroupState::{CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};
        match self {
            // A removal that failed brings an empty group back.
            Empty => matches!(previous, PreparingRebalance | Dead),
            PreparingRebalance => matches!(previous, Empty | CompletingRebalance | Stable),
            CompletingRebalance => previous == PreparingRebalance,
            Stable => previous == CompletingRebalance,
            Dead => true,
        }
    }
}

/// How far the first rebalance of an empty group may still be put off.
#[derive(Debug, Clone, Copy)]
pub(super) struct InitialDelay {
    pub(super) delay_ms: i64,
    pub(super) remaining_ms: i64,
    /// Somebody came since the delay was set.
    pub(super) member_added: bool,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) state: GroupState,
    pub(super) previous: GroupState,
    /// When it entered its state, epoch milliseconds; unknown for old records.
    pub(super) state_time_ms: Option<i64>,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol_name: Option<Arc<str>>,
    pub(super) leader: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) static_members: HashMap<InstanceId, MemberId>,
    /// Ids handed out whose members have not come back.
    pub(super) pending_joins: BTreeSet<MemberId>,
    /// Members of this generation that have not synced.
    pub(super) pending_syncs: BTreeSet<MemberId>,
    pub(super) initial_delay: Option<InitialDelay>,
    /// The leader's assignment of this generation is on its way to the log.
    pub(super) storing_assignment: bool,
    /// Topics that a `consumer` group reads; unknown when its metadata cannot be read.
    pub(super) subscribed_topics: Option<BTreeSet<TopicName>>,
    pub(super) offsets: Offsets,
    awaiting_join_count: usize,
    /// How many members support each protocol.
    protocol_support: HashMap<Arc<str>, usize>,
}

impl Group {
    /// A group without members.
    pub(super) fn new(id: GroupId, turn: &mut Turn<'_>) -> Self {
        turn.tally.groups[GroupState::Empty.index()] += 1;
        Group {
            id,
            state: GroupState::Empty,
            previous: GroupState::Dead,
            state_time_ms: Some(turn.now.wall_ms),
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            initial_delay: None,
            storing_assignment: false,
            subscribed_topics: None,
            offsets: Offsets::default(),
            awaiting_join_count: 0,
            protocol_support: HashMap::new(),
        }
    }

    /// Enters a state.
    pub(super) fn enter(&mut self, turn: &mut Turn<'_>, state: GroupState) {
        assert!(
            state.may_follow(self.state),
            "{:?} after {:?}",
            state,
            self.state
        );
        self.note_state(turn, state);
        self.state_time_ms = Some(turn.now.wall_ms);
    }

    /// Sets the state as the log has it.
    pub(super) fn note_state(&mut self, turn: &mut Turn<'_>, state: GroupState) {
        turn.tally.groups[self.state.index()] -= 1;
        turn.tally.groups[state.index()] += 1;
        self.previous = self.state;
        self.state = state;
    }

    pub(super) fn is_leader(&self, member: &MemberId) -> bool {
        self.leader.as_ref() == Some(member)
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(subscription::CONSUMER)
    }

    /// Adds a member, whose join is parked when `reply` is given.
    pub(super) fn add(&mut self, mut member: Member, reply: Option<ReplyId>) {
        if let Some(instance) = &member.instance_id {
            self.static_members
                .insert(instance.clone(), member.id.clone());
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.pending_joins.remove(&member.id);
        self.count_protocols(&member.protocols);
        self.awaiting_join_count += usize::from(reply.is_some());
        member.awaiting_join = reply;
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member or a pending member out. Its parked requests are answered as unknown, so
    /// that a client that is alive joins again.
    pub(super) fn remove(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        turn.timers
            .cancel(&Timer::Session(self.id.clone(), id.clone()));
        self.pending_joins.remove(id);
        self.pending_syncs.remove(id);
        let Some(member) = self.members.remove(id) else {
            return;
        };
        if let Some(reply) = member.awaiting_join {
            self.awaiting_join_count -= 1;
            turn.refuse_join(reply, MemberId::unknown(), GroupError::UnknownMember);
        }
        if let Some(reply) = member.awaiting_sync {
            turn.answer_sync(reply, Err(GroupError::UnknownMember));
        }
        self.uncount_protocols(&member.protocols);
        if let Some(instance) = &member.instance_id {
            self.static_members.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Parks a join. An older join of the same member is sent away: its client has given it up.
    pub(super) fn park_join(&mut self, turn: &mut Turn<'_>, id: &MemberId, reply: ReplyId) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        match member.awaiting_join.replace(reply) {
            Some(older) => turn.refuse_join(older, id.clone(), GroupError::RebalanceInProgress),
            None => self.awaiting_join_count += 1,
        }
    }

    /// Takes the parked join of a member.
    pub(super) fn take_join(&mut self, id: &MemberId) -> Option<ReplyId> {
        let reply = self.members.get_mut(id)?.awaiting_join.take();
        self.awaiting_join_count -= usize::from(reply.is_some());
        reply
    }

    /// Replaces what a member supports and its timeouts.
    pub(super) fn update(
        &mut self,
        id: &MemberId,
        protocols: Vec<Protocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
    ) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        member.session_timeout_ms = session_timeout_ms;
        let old = std::mem::replace(&mut member.protocols, protocols.clone());
        self.uncount_protocols(&old);
        self.count_protocols(&protocols);
    }

    pub(super) fn all_have_joined(&self) -> bool {
        self.awaiting_join_count == self.members.len() && self.pending_joins.is_empty()
    }

    pub(super) fn awaiting_join_count(&self) -> usize {
        self.awaiting_join_count
    }

    /// The longest rebalance timeout of its members.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.members
            .values()
            .map(|m| i64::from(m.rebalance_timeout_ms))
            .max()
            .unwrap_or(0)
    }

    /// The rule for requests that name a member: the instance id must be known and must be this
    /// member's, and the member must exist.
    pub(super) fn check_member(
        &self,
        id: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(GroupError::UnknownMember),
                Some(current) if current != id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) {
            Ok(())
        } else {
            Err(GroupError::UnknownMember)
        }
    }

    /// As [`Group::check_member`], and the generation must be the current one.
    pub(super) fn check_generation(
        &self,
        id: &MemberId,
        instance: Option<&InstanceId>,
        generation: i32,
    ) -> Result<(), GroupError> {
        if self.state == GroupState::Dead {
            return Err(GroupError::NotAvailable);
        }
        self.check_member(id, instance)?;
        if generation == self.generation {
            Ok(())
        } else {
            Err(GroupError::IllegalGeneration)
        }
    }

    /// True when a member with these protocols finds one that all others support too.
    pub(super) fn supports(&self, protocol_type: &Arc<str>, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let everyone = self.members.len();
        self.protocol_type.as_ref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|p| self.protocol_support.get(&p.name).copied().unwrap_or(0) == everyone)
    }

    /// The protocol that all support and most prefer; ties go to the first by name.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let everyone = self.members.len();
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member
                .protocols
                .iter()
                .find(|p| self.protocol_support.get(&p.name) == Some(&everyone))?;
            *votes.entry(&vote.name).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| name.clone())
    }

    /// The topics that the members' metadata names, for `consumer` groups.
    pub(super) fn compute_subscribed_topics(&self) -> Option<BTreeSet<TopicName>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(Some(self.protocol_name.as_ref()?));
            subscription::add_topics(&metadata, &mut topics)?;
        }
        Some(topics)
    }

    /// True when the group reads the topic, or may read it.
    pub(super) fn is_subscribed_to(&self, topic: &TopicName) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// The current generation as a member's join is answered.
    pub(super) fn joined(&self, member: &MemberId) -> Joined {
        let members = if self.is_leader(member) {
            self.members
                .values()
                .map(|m| m.for_leader(self.protocol_name.as_ref()))
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_else(MemberId::unknown),
            skip_assignment: false,
            members,
        }
    }

    pub(super) fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment,
        }
    }

    /// Starts the session of a member anew.
    pub(super) fn restart_session(&self, turn: &mut Turn<'_>, id: &MemberId) {
        if let Some(member) = self.members.get(id) {
            let timer = Timer::Session(self.id.clone(), id.clone());
            turn.schedule(timer, i64::from(member.session_timeout_ms));
        }
    }

    /// Answers everyone who waits, because the shard stops.
    pub(super) fn answer_all_waiting(&mut self, turn: &mut Turn<'_>, error: GroupError) {
        for member in self.members.values_mut() {
            if let Some(reply) = member.awaiting_join.take() {
                turn.refuse_join(reply, member.id.clone(), error);
            }
            if let Some(reply) = member.awaiting_sync.take() {
                turn.answer(reply, Answer::Sync(Err(error)));
            }
        }
        self.awaiting_join_count = 0;
    }

    pub(super) fn describe(&self) -> DescribedGroup {
        let protocol = self
            .protocol_name
            .as_ref()
            .filter(|_| self.state == GroupState::Stable);
        DescribedGroup {
            state: self.state,
            protocol_type: self.protocol_type.clone(),
            protocol_name: protocol.cloned(),
            members: self
                .members
                .values()
                .map(|m| m.describe(protocol))
                .collect(),
        }
    }

    pub(super) fn listed(&self) -> ListedGroup {
        ListedGroup {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone(),
            state: self.state,
        }
    }

    fn count_protocols(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            *self
                .protocol_support
                .entry(protocol.name.clone())
                .or_default() += 1;
        }
    }

    fn uncount_protocols(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            if let Some(count) = self.protocol_support.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.protocol_support.remove(&protocol.name);
                }
            }
        }
    }
}
