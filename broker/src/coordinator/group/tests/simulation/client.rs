//! A consumer as far as the coordinator sees one.

use std::time::Duration;

use crate::coordinator::group::names::{InstanceId, MemberId};
use crate::coordinator::group::turn::ReplyId;

pub(super) enum Phase {
    /// Has to join.
    Out,
    Joining(ReplyId),
    Syncing(ReplyId),
    /// Reads the offsets of its partitions.
    Fetching(ReplyId),
    /// Consumes.
    Member,
    /// Another client has its instance id.
    Fenced,
}

pub(super) struct Client {
    pub(super) id: MemberId,
    pub(super) instance: Option<InstanceId>,
    pub(super) generation: i32,
    pub(super) phase: Phase,
    pub(super) partitions: Vec<i32>,
    /// Does nothing until then.
    pub(super) frozen_until: Duration,
    pub(super) next_heartbeat: Duration,
    /// A commit on its way and its number.
    pub(super) committing: Option<(ReplyId, u64)>,
}

impl Client {
    pub(super) fn new(instance: Option<InstanceId>) -> Self {
        Client {
            id: MemberId::unknown(),
            instance,
            generation: -1,
            phase: Phase::Out,
            partitions: Vec::new(),
            frozen_until: Duration::ZERO,
            next_heartbeat: Duration::ZERO,
            committing: None,
        }
    }

    /// Gives everything up and joins again; as a new member when its id is not known any more.
    pub(super) fn start_over(&mut self, forget_id: bool) {
        self.phase = Phase::Out;
        self.partitions.clear();
        if forget_id {
            self.id = MemberId::unknown();
        }
    }

    /// What it is called in an assignment: a static member's successor is the same owner.
    pub(super) fn name(&self) -> String {
        self.instance
            .as_ref()
            .map_or_else(|| self.id.to_string(), ToString::to_string)
    }
}
