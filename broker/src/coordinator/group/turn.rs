//! One turn of a shard's state machine: what it is given and what it asks for in return.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::config::GroupConfig;
use super::error::GroupError;
use super::log::LogRecord;
use super::names::{GroupId, MemberId};
use super::offsets::OffsetChange;
use super::request::{Answer, FetchOffsetsRequest, JoinAnswer, Synced};
use super::state::GroupState;
use super::timers::{Timer, Timers};

/// The time of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Never steps back; deadlines are in it.
    pub monotonic: Duration,
    /// Epoch milliseconds, for what is stored.
    pub wall_ms: i64,
}

/// Names a request that waits for its answer. Chosen by the caller, unique among those waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyId(pub u64);

/// What the state machine asks for. To be done in order.
#[derive(Debug)]
pub enum Action {
    /// Answer a request.
    Answer(ReplyId, Answer),
    /// Append to the log, and bring `then` back when that is durable.
    Append(Write),
}

/// Records for the log and what follows them.
#[derive(Debug)]
pub struct Write {
    /// What to append; may be empty, then the write only waits for those before it.
    pub records: Vec<LogRecord>,
    /// To be handed back with the outcome, in the order of the writes.
    pub then: Then,
}

/// What follows when a write is durable, or has failed.
#[derive(Debug)]
pub enum Then {
    /// Nothing depends on it; a failure is logged.
    Nothing,
    /// Answer; used where the answer must not overtake earlier writes.
    Answer(ReplyId, Answer),
    /// The leader's assignment is stored: hand it out.
    Stabilise {
        /// The group.
        group: GroupId,
        /// The generation it was made for.
        generation: i32,
        /// What each member gets.
        assignments: BTreeMap<MemberId, Bytes>,
    },
    /// A restarted static member took the place of its predecessor: let it in.
    StaticJoin {
        /// The group.
        group: GroupId,
        /// The new member id.
        member_id: MemberId,
        /// The join to answer.
        reply: ReplyId,
        /// The leader to name, where it is not the group's: an old client that was the leader
        /// must not think that it has to assign.
        leader_shown: Option<MemberId>,
    },
    /// Committed or removed offsets become visible.
    Offsets {
        /// The group.
        group: GroupId,
        /// What changes.
        changes: Vec<OffsetChange>,
        /// Who is answered.
        reply: Option<(ReplyId, Answer)>,
    },
    /// The group is gone.
    Removed {
        /// The group.
        group: GroupId,
        /// Who is answered.
        reply: Option<ReplyId>,
    },
    /// Read offsets, now that all earlier commits are settled.
    FetchOffsets(ReplyId, FetchOffsetsRequest),
}

/// Figures of a shard since the last look; the task around it hands them to the metrics.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Change of the number of groups in each state, indexed by [`GroupState::index`].
    pub groups: [i64; GroupState::COUNT],
    /// Generations whose assignment was handed out.
    pub rebalances: u64,
    /// Members that were silent for too long.
    pub expired_members: u64,
    /// Partitions whose offset was committed.
    pub commits: u64,
    /// Offsets removed on request.
    pub deletions: u64,
    /// Offsets removed by retention.
    pub expirations: u64,
}

/// What a group may use during a turn.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) config: &'a GroupConfig,
    pub(super) timers: &'a mut Timers,
    pub(super) actions: &'a mut Vec<Action>,
    pub(super) tally: &'a mut Tally,
}

impl Turn<'_> {
    pub(super) fn answer(&mut self, reply: ReplyId, answer: Answer) {
        self.actions.push(Action::Answer(reply, answer));
    }

    pub(super) fn refuse_join(&mut self, reply: ReplyId, member_id: MemberId, error: GroupError) {
        self.answer(
            reply,
            Answer::Join(JoinAnswer {
                member_id,
                outcome: Err(error),
            }),
        );
    }

    pub(super) fn answer_sync(&mut self, reply: ReplyId, outcome: Result<Synced, GroupError>) {
        self.answer(reply, Answer::Sync(outcome));
    }

    pub(super) fn append(&mut self, records: Vec<LogRecord>, then: Then) {
        self.actions.push(Action::Append(Write { records, then }));
    }

    /// Sets a timer that many milliseconds from now. Negative ones are due at once.
    pub(super) fn schedule(&mut self, timer: Timer, after_ms: i64) {
        let after = Duration::from_millis(u64::try_from(after_ms).unwrap_or(0));
        self.timers
            .schedule(timer, self.now.monotonic.saturating_add(after));
    }
}
