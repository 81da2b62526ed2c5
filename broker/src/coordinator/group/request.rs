//! What clients ask of the coordinator and what they are answered, free of any wire version.

use std::sync::Arc;

use bytes::Bytes;

use super::error::GroupError;
use super::names::{GroupId, InstanceId, MemberId, TopicName};
use super::offsets::CommittedOffset;
use super::state::GroupState;

/// A request to one group.
#[derive(Debug, Clone)]
pub enum Request {
    /// JoinGroup.
    Join(JoinRequest),
    /// SyncGroup.
    Sync(SyncRequest),
    /// Heartbeat.
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup.
    Leave(LeaveRequest),
    /// OffsetCommit.
    Commit(CommitRequest),
    /// OffsetFetch.
    FetchOffsets(FetchOffsetsRequest),
    /// OffsetDelete.
    DeleteOffsets(DeleteOffsetsRequest),
    /// DeleteGroups, for one group.
    DeleteGroup(GroupId),
    /// DescribeGroups, for one group.
    Describe(GroupId),
    /// ListGroups: all groups of the shard.
    List,
    /// Topics were dropped: forget their offsets.
    ForgetTopics(Arc<[TopicName]>),
}

/// An answer, of the kind of its request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To a join.
    Join(JoinAnswer),
    /// To a sync.
    Sync(Result<Synced, GroupError>),
    /// To a heartbeat.
    Heartbeat(Result<(), GroupError>),
    /// To a leave.
    Leave(Result<Vec<LeaveOutcome>, GroupError>),
    /// To a commit or a deletion of offsets.
    Partitions(Result<Vec<TopicOutcome>, GroupError>),
    /// To a fetch of offsets.
    Offsets(Result<Vec<TopicOffsets>, GroupError>),
    /// To a group's deletion.
    Deleted(Result<(), GroupError>),
    /// To a describe; nothing for a group that does not exist.
    Described(Option<DescribedGroup>),
    /// To a list.
    Listed(Vec<ListedGroup>),
    /// To the notice of dropped topics.
    Forgotten,
}

/// An assignment protocol that a member supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Its name (`range`, `cooperative-sticky`, …).
    pub name: Arc<str>,
    /// The member's metadata for it; opaque except for the topics in `consumer` groups.
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The group.
    pub group: GroupId,
    /// The member's id; unknown for a first join.
    pub member_id: MemberId,
    /// Set by static members (KIP-345).
    pub instance_id: Option<InstanceId>,
    /// Client id of the connection.
    pub client_id: Arc<str>,
    /// Address of the connection.
    pub client_host: Arc<str>,
    /// Session timeout, milliseconds.
    pub session_timeout_ms: i32,
    /// Rebalance timeout, milliseconds.
    pub rebalance_timeout_ms: i32,
    /// The kind of group (`consumer`, `connect`, …).
    pub protocol_type: Arc<str>,
    /// In order of preference.
    pub protocols: Vec<Protocol>,
    /// The client expects to be sent away once to come back with its id (KIP-394).
    pub requires_known_member_id: bool,
    /// The client can be told to skip the assignment (KIP-814).
    pub supports_skipping_assignment: bool,
    /// Makes the id of a new member unique. Drawn by the caller, so that the state machine stays
    /// free of randomness.
    pub fresh_id: String,
}

/// Answers a join.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinAnswer {
    /// The member's id, also beside [`GroupError::MemberIdRequired`].
    pub member_id: MemberId,
    /// The generation that was joined.
    pub outcome: Result<Joined, GroupError>,
}

/// A joined generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// Its number.
    pub generation: i32,
    /// The kind of group.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol.
    pub protocol_name: Option<Arc<str>>,
    /// Who assigns.
    pub leader: MemberId,
    /// The leader must not assign again.
    pub skip_assignment: bool,
    /// All members, for the leader only.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: MemberId,
    /// Its instance id.
    pub instance_id: Option<InstanceId>,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// The group.
    pub group: GroupId,
    /// The generation that was joined.
    pub generation: i32,
    /// The member.
    pub member_id: MemberId,
    /// Its instance id.
    pub instance_id: Option<InstanceId>,
    /// What the member takes for the kind of group.
    pub protocol_type: Option<Arc<str>>,
    /// What the member takes for the chosen protocol.
    pub protocol_name: Option<Arc<str>>,
    /// From the leader: what each member gets.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// Answers a sync.
#[derive(Debug, Clone, PartialEq)]
pub struct Synced {
    /// The kind of group.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol.
    pub protocol_name: Option<Arc<str>>,
    /// What the member gets.
    pub assignment: Bytes,
}

/// Heartbeat.
#[derive(Debug, Clone)]
pub struct HeartbeatRequest {
    /// The group.
    pub group: GroupId,
    /// The generation.
    pub generation: i32,
    /// The member.
    pub member_id: MemberId,
    /// Its instance id.
    pub instance_id: Option<InstanceId>,
}

/// LeaveGroup.
#[derive(Debug, Clone)]
pub struct LeaveRequest {
    /// The group.
    pub group: GroupId,
    /// Who leaves: a member id, an instance id (removal by an administrator), or both.
    pub members: Vec<(MemberId, Option<InstanceId>)>,
}

/// What became of one member of a leave.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaveOutcome {
    /// As asked.
    pub member_id: MemberId,
    /// As asked.
    pub instance_id: Option<InstanceId>,
    /// Whether it left.
    pub outcome: Result<(), GroupError>,
}

/// OffsetCommit.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The group.
    pub group: GroupId,
    /// The generation; negative for clients that do not use membership.
    pub generation: i32,
    /// The member; unknown for clients that do not use membership.
    pub member_id: MemberId,
    /// Its instance id.
    pub instance_id: Option<InstanceId>,
    /// How long to keep the offsets, milliseconds; the broker's retention when absent.
    pub retention_ms: Option<i64>,
    /// The client knows [`GroupError::GroupNotFound`] (version 9).
    pub knows_group_not_found: bool,
    /// What to commit.
    pub topics: Vec<CommitTopic>,
}

/// A topic of a commit.
#[derive(Debug, Clone)]
pub struct CommitTopic {
    /// The topic.
    pub topic: TopicName,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// A partition of a commit.
#[derive(Debug, Clone)]
pub struct CommitPartition {
    /// The partition.
    pub partition: i32,
    /// The offset to read next.
    pub offset: i64,
    /// Leader epoch of the last record read; -1 when the client gave none.
    pub leader_epoch: i32,
    /// Kept beside it.
    pub metadata: Arc<str>,
}

/// What became of the partitions of one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicOutcome {
    /// The topic.
    pub topic: TopicName,
    /// Partition and outcome, in the order of the request.
    pub partitions: Vec<(i32, Result<(), GroupError>)>,
}

/// OffsetFetch.
#[derive(Debug, Clone)]
pub struct FetchOffsetsRequest {
    /// The group.
    pub group: GroupId,
    /// The partitions; all that have offsets when absent.
    pub topics: Option<Vec<(TopicName, Vec<i32>)>>,
    /// Wait for commits that are being written, and refuse offsets that a transaction decides.
    pub require_stable: bool,
}

/// The offsets of one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicOffsets {
    /// The topic.
    pub topic: TopicName,
    /// Partition and offset; nothing where none is committed.
    pub partitions: Vec<(i32, Result<Option<CommittedOffset>, GroupError>)>,
}

/// OffsetDelete.
#[derive(Debug, Clone)]
pub struct DeleteOffsetsRequest {
    /// The group.
    pub group: GroupId,
    /// The partitions.
    pub topics: Vec<(TopicName, Vec<i32>)>,
}

/// A group as ListGroups shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedGroup {
    /// The group.
    pub group: GroupId,
    /// The kind of group; empty when it only stores offsets.
    pub protocol_type: Option<Arc<str>>,
    /// Its state.
    pub state: GroupState,
}

/// A group as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedGroup {
    /// Its state.
    pub state: GroupState,
    /// The kind of group.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol; only of a stable group.
    pub protocol_name: Option<Arc<str>>,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: MemberId,
    /// Its instance id.
    pub instance_id: Option<InstanceId>,
    /// Client id of its last join.
    pub client_id: Arc<str>,
    /// Address of its last join.
    pub client_host: Arc<str>,
    /// Its metadata for the chosen protocol; only of a stable group.
    pub metadata: Bytes,
    /// What it was assigned.
    pub assignment: Bytes,
}
