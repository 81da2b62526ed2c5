//! A member's life through the handlers, in the oldest and the newest version of each message,
//! encoded and decoded as on the wire.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use storage::env::simulated::Simulation;

use super::RequestContext;
use super::context::text;
use super::delete_groups::delete_groups;
use super::describe_groups::describe_groups;
use super::find_coordinator::{Endpoint, find_coordinator};
use super::heartbeat::heartbeat;
use super::join_group::join_group;
use super::leave_group::leave_group;
use super::list_groups::list_groups;
use super::offset_commit::offset_commit;
use super::offset_delete::offset_delete;
use super::offset_fetch::offset_fetch;
use super::sync_group::sync_group;
use crate::coordinator::group::{GroupConfig, GroupCoordinator, MemoryGroupLog};

const GROUP: &str = "g";

fn context(version: i16) -> RequestContext {
    RequestContext {
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        version,
    }
}

/// What the client makes of an answer: fields that its version does not have are lost, and an
/// answer that cannot be written fails here.
fn sent<T: Encodable + Decodable>(answer: T, version: i16) -> T {
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, version).unwrap();
    T::decode(&mut bytes.freeze(), version).unwrap()
}

async fn coordinator() -> GroupCoordinator {
    let config = GroupConfig {
        shard_count: 2,
        initial_rebalance_delay_ms: 0,
        ..GroupConfig::default()
    };
    let log = Arc::new(MemoryGroupLog::new());
    let coordinator =
        GroupCoordinator::start(&Simulation::new(1).env(), config, log, Path::new("/groups"));
    assert!(coordinator.loaded().await);
    coordinator
}

fn group_id() -> GroupId {
    GroupId(text(GROUP))
}

fn topic_name() -> TopicName {
    TopicName(text("t"))
}

fn exists(topic: &str, partition: i32) -> bool {
    topic == "t" && partition < 2
}

async fn join(coordinator: &GroupCoordinator, version: i16, id: &StrBytes) -> JoinGroupResponse {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(&[
            0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 0,
        ]));
    let request = JoinGroupRequest::default()
        .with_group_id(group_id())
        .with_member_id(id.clone())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(if version == 0 { -1 } else { 20_000 })
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    sent(
        join_group(coordinator, &context(version), request).await,
        version,
    )
}

/// Joins and syncs; returns the member's id.
async fn enter(coordinator: &GroupCoordinator, join_version: i16, sync_version: i16) -> StrBytes {
    let mut joined = join(coordinator, join_version, &text("")).await;
    if join_version >= 4 {
        assert_eq!(joined.error_code, 79);
        joined = join(coordinator, join_version, &joined.member_id).await;
    }
    assert_eq!(joined.error_code, 0);
    assert_eq!(joined.generation_id, 1);
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    let id = joined.member_id;
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(id.clone())
        .with_assignment(Bytes::from_static(b"all"));
    let request = SyncGroupRequest::default()
        .with_group_id(group_id())
        .with_generation_id(1)
        .with_member_id(id.clone())
        .with_assignments(vec![assignment]);
    let synced = sent(
        sync_group(coordinator, &context(sync_version), request).await,
        sync_version,
    );
    assert_eq!(
        (synced.error_code, &synced.assignment[..]),
        (0, &b"all"[..])
    );
    id
}

async fn commit(
    coordinator: &GroupCoordinator,
    version: i16,
    id: &StrBytes,
    generation: i32,
) -> Vec<i16> {
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(42)
            .with_committed_metadata(Some(text("note")))
    };
    // Partition 2 does not exist, nor does topic `x`.
    let topics = vec![
        OffsetCommitRequestTopic::default()
            .with_name(topic_name())
            .with_partitions(vec![partition(0), partition(2), partition(1)]),
        OffsetCommitRequestTopic::default()
            .with_name(TopicName(text("x")))
            .with_partitions(vec![partition(0)]),
    ];
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id())
        .with_member_id(id.clone())
        .with_generation_id_or_member_epoch(generation)
        .with_topics(topics);
    let answer = sent(
        offset_commit(coordinator, &context(version), exists, request).await,
        version,
    );
    answer
        .topics
        .iter()
        .flat_map(|t| &t.partitions)
        .map(|p| p.error_code)
        .collect()
}

#[tokio::test]
async fn a_member_lives_and_leaves_in_the_oldest_versions() {
    let coordinator = coordinator().await;
    let id = enter(&coordinator, 0, 0).await;
    assert_eq!(commit(&coordinator, 2, &id, 1).await, [0, 3, 0, 3]);
    let request = OffsetFetchRequest::default()
        .with_group_id(group_id())
        .with_topics(Some(vec![
            OffsetFetchRequestTopic::default()
                .with_name(topic_name())
                .with_partition_indexes(vec![0, 2]),
        ]));
    let fetched = sent(offset_fetch(&coordinator, &context(1), request).await, 1);
    let partitions = &fetched.topics[0].partitions;
    assert_eq!(
        (
            partitions[0].committed_offset,
            partitions[0].metadata.as_deref()
        ),
        (42, Some("note"))
    );
    assert_eq!(
        (partitions[1].committed_offset, partitions[1].error_code),
        (-1, 0)
    );

    let leave = |id: &StrBytes| {
        LeaveGroupRequest::default()
            .with_group_id(group_id())
            .with_member_id(id.clone())
    };
    assert_eq!(
        sent(
            leave_group(&coordinator, &context(0), leave(&text("ghost"))).await,
            0
        )
        .error_code,
        25
    );
    assert_eq!(
        sent(leave_group(&coordinator, &context(0), leave(&id)).await, 0).error_code,
        0
    );
}

#[tokio::test]
async fn a_member_lives_and_leaves_in_the_newest_versions() {
    let coordinator = coordinator().await;
    let id = enter(&coordinator, 9, 5).await;
    assert!(id.starts_with("client-"));
    assert_eq!(commit(&coordinator, 9, &id, 1).await, [0, 3, 0, 3]);
    assert_eq!(commit(&coordinator, 9, &id, 7).await, [22, 3, 22, 3]);

    let groups = vec![
        OffsetFetchRequestGroup::default()
            .with_group_id(group_id())
            .with_topics(None),
        OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text("none")))
            .with_topics(Some(vec![
                OffsetFetchRequestTopics::default()
                    .with_name(topic_name())
                    .with_partition_indexes(vec![0]),
            ])),
    ];
    let request = OffsetFetchRequest::default()
        .with_groups(groups)
        .with_require_stable(true);
    let fetched = sent(offset_fetch(&coordinator, &context(9), request).await, 9);
    assert_eq!(fetched.groups[0].topics[0].partitions.len(), 2);
    assert_eq!(
        fetched.groups[1].topics[0].partitions[0].committed_offset,
        -1
    );

    let request = |generation| {
        HeartbeatRequest::default()
            .with_group_id(group_id())
            .with_generation_id(generation)
            .with_member_id(id.clone())
    };
    assert_eq!(
        heartbeat(&coordinator, &context(4), request(1))
            .await
            .error_code,
        0
    );
    assert_eq!(
        heartbeat(&coordinator, &context(4), request(2))
            .await
            .error_code,
        22
    );

    let members = vec![
        MemberIdentity::default().with_member_id(id.clone()),
        MemberIdentity::default().with_member_id(text("ghost")),
    ];
    let request = LeaveGroupRequest::default()
        .with_group_id(group_id())
        .with_members(members);
    let left = sent(leave_group(&coordinator, &context(5), request).await, 5);
    assert_eq!(
        left.members
            .iter()
            .map(|m| m.error_code)
            .collect::<Vec<_>>(),
        [0, 25]
    );
}

#[tokio::test]
async fn a_refused_join_can_be_written_in_every_version() {
    let coordinator = coordinator().await;
    for version in 0..=9 {
        let answer = join(&coordinator, version, &text("ghost")).await;
        assert_eq!(answer.error_code, 25, "version {version}");
        assert_eq!(answer.generation_id, -1);
    }
}

#[tokio::test]
async fn groups_are_listed_by_state_and_type() {
    let coordinator = coordinator().await;
    enter(&coordinator, 9, 5).await;
    let count = async |states: &[&str], types: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| text(name)).collect();
        let request = ListGroupsRequest::default()
            .with_states_filter(names(states))
            .with_types_filter(names(types));
        let listed = sent(list_groups(&coordinator, &context(5), request).await, 5);
        if let Some(group) = listed.groups.first() {
            assert_eq!(
                (
                    &*group.group_state,
                    &*group.group_type,
                    &*group.protocol_type
                ),
                ("Stable", "classic", "consumer")
            );
        }
        listed.groups.len()
    };
    assert_eq!(count(&[], &[]).await, 1);
    assert_eq!(count(&["stable "], &["Classic"]).await, 1);
    assert_eq!(count(&["Empty"], &[]).await, 0);
    assert_eq!(count(&[], &["consumer"]).await, 0);
}

#[tokio::test]
async fn groups_are_described_and_missing_ones_as_the_version_has_it() {
    let coordinator = coordinator().await;
    let id = enter(&coordinator, 9, 5).await;
    for version in [0, 6] {
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![group_id(), GroupId(text("none"))])
            .with_include_authorized_operations(version >= 3);
        let described = sent(
            describe_groups(&coordinator, &context(version), request).await,
            version,
        );
        let group = &described.groups[0];
        assert_eq!(
            (&*group.group_state, &*group.protocol_data),
            ("Stable", "range")
        );
        assert_eq!(group.members[0].member_id, id);
        assert_eq!(&group.members[0].member_assignment[..], b"all");
        assert_eq!(&*group.members[0].client_host, "/127.0.0.1");
        assert_eq!(
            group.authorized_operations,
            if version >= 3 { 3_400 } else { i32::MIN }
        );
        let none = &described.groups[1];
        assert_eq!(&*none.group_state, "Dead");
        assert_eq!(none.error_code, if version >= 6 { 69 } else { 0 });
    }
}

#[tokio::test]
async fn offsets_and_groups_are_deleted_where_that_is_allowed() {
    let coordinator = coordinator().await;
    assert_eq!(commit(&coordinator, 9, &text(""), -1).await, [0, 3, 0, 3]);
    let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(topic_name())
        .with_partitions(vec![partition(0), partition(5)]);
    let request = OffsetDeleteRequest::default()
        .with_group_id(group_id())
        .with_topics(vec![topic]);
    let deleted = sent(
        offset_delete(&coordinator, &context(0), exists, request.clone()).await,
        0,
    );
    let codes: Vec<_> = deleted.topics[0]
        .partitions
        .iter()
        .map(|p| (p.partition_index, p.error_code))
        .collect();
    assert_eq!(codes, [(0, 0), (5, 3)]);

    let request =
        DeleteGroupsRequest::default().with_groups_names(vec![group_id(), GroupId(text("none"))]);
    let deleted = sent(delete_groups(&coordinator, &context(2), request).await, 2);
    assert_eq!(
        deleted
            .results
            .iter()
            .map(|r| r.error_code)
            .collect::<Vec<_>>(),
        [0, 69]
    );
}

#[test]
fn this_broker_is_the_coordinator_of_groups_and_of_nothing_else() {
    let endpoint = Endpoint {
        node_id: 1,
        host: "here".into(),
        port: 9092,
    };
    let request = FindCoordinatorRequest::default().with_key(text("g"));
    let found = sent(find_coordinator(&endpoint, &context(0), request), 0);
    assert_eq!(
        (found.error_code, found.node_id.0, &*found.host, found.port),
        (0, 1, "here", 9092)
    );

    let request =
        FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g"), text("h")]);
    let found = sent(find_coordinator(&endpoint, &context(6), request), 6);
    assert_eq!(found.coordinators.len(), 2);
    assert_eq!(&*found.coordinators[1].key, "h");
    assert_eq!(found.coordinators[1].port, 9092);

    let request = FindCoordinatorRequest::default()
        .with_key_type(1)
        .with_key(text("transaction"));
    let found = sent(find_coordinator(&endpoint, &context(3), request), 3);
    assert_eq!((found.error_code, found.node_id.0), (35, -1));
}
