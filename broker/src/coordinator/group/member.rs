//! A member of a group.

use std::sync::Arc;

use bytes::Bytes;

use super::names::{InstanceId, MemberId};
use super::request::{DescribedMember, JoinRequest, JoinedMember, Protocol};
use super::turn::ReplyId;

/// A member of a group.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) instance_id: Option<InstanceId>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// The parked join, while there is one.
    pub(super) awaiting_join: Option<ReplyId>,
    /// The parked sync, while there is one.
    pub(super) awaiting_sync: Option<ReplyId>,
    /// True until its first generation is complete: such a member cannot send heartbeats yet.
    pub(super) is_new: bool,
}

impl Member {
    pub(super) fn from_join(id: MemberId, request: JoinRequest) -> Self {
        Member {
            id,
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
        }
    }

    /// Its metadata for a protocol; empty when it does not support it.
    pub(super) fn metadata(&self, protocol: Option<&Arc<str>>) -> Bytes {
        self.protocols
            .iter()
            .find(|p| Some(&p.name) == protocol)
            .map_or_else(Bytes::new, |p| p.metadata.clone())
    }

    /// A parked request stands for a heartbeat, except for new members: their clients may be gone
    /// without anyone noticing, so they expire.
    pub(super) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    pub(super) fn for_leader(&self, protocol: Option<&Arc<str>>) -> JoinedMember {
        JoinedMember {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            metadata: self.metadata(protocol),
        }
    }

    pub(super) fn describe(&self, protocol: Option<&Arc<str>>) -> DescribedMember {
        DescribedMember {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }
}
