//! The coordinator with its tasks, its log and its checkpoints.

use std::path::Path;
use std::sync::Arc;

use storage::env::OpenMode;
use storage::env::simulated::Simulation;

use crate::coordinator::group::{
    CommitPartition, CommitRequest, CommitTopic, FetchOffsetsRequest, GroupConfig,
    GroupCoordinator, GroupError, GroupLog, GroupLogError, GroupState, HeartbeatRequest,
    JoinRequest, LogRecord, MemberId, MemoryGroupLog, Protocol, ShardId, SyncRequest,
};

const DIRECTORY: &str = "/groups";

fn config() -> GroupConfig {
    GroupConfig {
        shard_count: 4,
        initial_rebalance_delay_ms: 0,
        ..GroupConfig::default()
    }
}

async fn start(
    simulation: &Simulation,
    config: GroupConfig,
    log: &MemoryGroupLog,
) -> GroupCoordinator {
    let coordinator = GroupCoordinator::start(
        &simulation.env(),
        config,
        Arc::new(log.clone()),
        Path::new(DIRECTORY),
    );
    assert!(coordinator.loaded().await);
    coordinator
}

fn commit(group: &str, offset: i64) -> CommitRequest {
    CommitRequest {
        group: group.into(),
        generation: -1,
        member_id: MemberId::unknown(),
        instance_id: None,
        retention_ms: None,
        knows_group_not_found: true,
        topics: vec![CommitTopic {
            topic: "t".into(),
            partitions: vec![CommitPartition {
                partition: 0,
                offset,
                leader_epoch: -1,
                metadata: "".into(),
            }],
        }],
    }
}

async fn committed(coordinator: &GroupCoordinator, group: &str) -> Option<i64> {
    let request = FetchOffsetsRequest {
        group: group.into(),
        topics: Some(vec![("t".into(), vec![0])]),
        require_stable: true,
    };
    let topics = coordinator.fetch_offsets(request).await.unwrap();
    topics[0].partitions[0]
        .1
        .as_ref()
        .unwrap()
        .as_ref()
        .map(|offset| offset.offset)
}

fn join(coordinator: &GroupCoordinator, group: &str, id: MemberId) -> JoinRequest {
    JoinRequest {
        group: group.into(),
        member_id: id,
        instance_id: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: vec![0, 0, 0, 0, 0, 0].into(),
        }],
        requires_known_member_id: true,
        supports_skipping_assignment: true,
        fresh_id: coordinator.fresh_id(),
    }
}

/// Joins and syncs one member; returns its id.
async fn one_member(coordinator: &GroupCoordinator, group: &str) -> MemberId {
    let first = coordinator
        .join(join(coordinator, group, MemberId::unknown()))
        .await;
    assert_eq!(first.outcome, Err(GroupError::MemberIdRequired));
    let id = first.member_id;
    let joined = coordinator
        .join(join(coordinator, group, id.clone()))
        .await
        .outcome
        .unwrap();
    let synced = coordinator
        .sync(SyncRequest {
            group: group.into(),
            generation: joined.generation,
            member_id: id.clone(),
            instance_id: None,
            protocol_type: None,
            protocol_name: None,
            assignments: vec![(id.clone(), "mine".into())],
        })
        .await
        .unwrap();
    assert_eq!(&synced.assignment[..], b"mine");
    id
}

#[tokio::test]
async fn a_member_joins_syncs_commits_and_is_still_in_after_a_restart() {
    let simulation = Simulation::new(1);
    let log = MemoryGroupLog::new();
    let coordinator = start(&simulation, config(), &log).await;
    let id = one_member(&coordinator, "g").await;
    let mut request = commit("g", 42);
    request.generation = 1;
    request.member_id = id.clone();
    coordinator.commit(request).await.unwrap();
    coordinator.stop().await;
    assert_eq!(
        coordinator.commit(commit("g", 1)).await,
        Err(GroupError::NotCoordinator)
    );

    let coordinator = start(&simulation, config(), &log).await;
    assert_eq!(committed(&coordinator, "g").await, Some(42));
    let heartbeat = HeartbeatRequest {
        group: "g".into(),
        generation: 1,
        member_id: id,
        instance_id: None,
    };
    assert_eq!(coordinator.heartbeat(heartbeat).await, Ok(()));
}

#[tokio::test]
async fn groups_of_all_shards_are_listed() {
    let coordinator = start(&Simulation::new(2), config(), &MemoryGroupLog::new()).await;
    for group in ["a", "b", "c", "d", "e"] {
        coordinator.commit(commit(group, 1)).await.unwrap();
    }
    let mut groups = coordinator.list().await.unwrap();
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    assert_eq!(groups.len(), 5);
    assert!(groups.iter().all(|g| g.state == GroupState::Empty));
    let shards: std::collections::BTreeSet<ShardId> = groups
        .iter()
        .map(|g| coordinator.shard_of(&g.group))
        .collect();
    assert!(shards.len() > 1);
}

#[tokio::test]
async fn checkpoints_bound_the_log_that_a_start_reads() {
    let simulation = Simulation::new(3);
    let log = MemoryGroupLog::new();
    let small = || GroupConfig {
        checkpoint_records: 10,
        ..config()
    };
    let coordinator = start(&simulation, small(), &log).await;
    for offset in 0..200 {
        coordinator.commit(commit("g", offset)).await.unwrap();
    }
    coordinator.stop().await;
    assert!(
        log.record_count() < 200,
        "{} records are left",
        log.record_count()
    );
    let coordinator = start(&simulation, small(), &log).await;
    assert_eq!(committed(&coordinator, "g").await, Some(199));
}

#[tokio::test]
async fn a_damaged_checkpoint_costs_replay_and_nothing_else() {
    let simulation = Simulation::new(4);
    let log = MemoryGroupLog::new();
    for round in 0..4 {
        let coordinator = start(&simulation, config(), &log).await;
        coordinator.commit(commit("g", round)).await.unwrap();
        coordinator
            .commit(commit(&format!("only-{round}"), round))
            .await
            .unwrap();
        coordinator.stop().await;
    }
    let disk = simulation.env().disk;
    let mut damaged = 0;
    for shard in disk.list(Path::new(DIRECTORY)).unwrap() {
        let directory = Path::new(DIRECTORY).join(&shard.name);
        let files = disk.list(&directory).unwrap();
        assert!(files.len() <= 2, "{files:?}");
        let newest = directory.join(&files.last().unwrap().name);
        let file = disk.open(&newest, OpenMode::ReadWrite).unwrap();
        file.write_all_at(&[std::io::IoSlice::new(b"!")], 20)
            .unwrap();
        damaged += 1;
    }
    assert!(damaged > 0);
    let coordinator = start(&simulation, config(), &log).await;
    assert_eq!(committed(&coordinator, "g").await, Some(3));
    for round in 0..4 {
        assert_eq!(
            committed(&coordinator, &format!("only-{round}")).await,
            Some(round)
        );
    }
}

#[tokio::test]
async fn what_is_appended_after_a_lost_tail_is_found_again() {
    let simulation = Simulation::new(5);
    let log = MemoryGroupLog::new();
    let coordinator = start(&simulation, config(), &log).await;
    for offset in 0..20 {
        coordinator.commit(commit("g", offset)).await.unwrap();
    }
    coordinator.stop().await;
    // The log lost everything; the checkpoint, which was synced, did not.
    let log = MemoryGroupLog::new();
    let coordinator = start(&simulation, config(), &log).await;
    assert_eq!(committed(&coordinator, "g").await, Some(19));
    coordinator.commit(commit("g", 20)).await.unwrap();
    drop(coordinator);
    let coordinator = start(&simulation, config(), &log).await;
    assert_eq!(committed(&coordinator, "g").await, Some(20));
}

#[tokio::test]
async fn a_shard_whose_log_cannot_be_read_serves_nothing() {
    let log = MemoryGroupLog::new();
    let record = LogRecord {
        key: vec![0, 1, 0].into(),
        value: None,
    };
    for shard in 0..4 {
        log.append(ShardId(shard), vec![record.clone()])
            .await
            .unwrap();
    }
    let simulation = Simulation::new(6);
    let coordinator = GroupCoordinator::start(
        &simulation.env(),
        config(),
        Arc::new(log),
        Path::new(DIRECTORY),
    );
    assert!(!coordinator.loaded().await);
    assert_eq!(
        coordinator.commit(commit("g", 1)).await,
        Err(GroupError::NotCoordinator)
    );
}

#[tokio::test]
async fn a_log_that_cannot_write_is_told_to_the_client_and_changes_nothing() {
    let log = MemoryGroupLog::new();
    let coordinator = start(&Simulation::new(7), config(), &log).await;
    coordinator.commit(commit("g", 1)).await.unwrap();
    for (failure, error) in [
        (GroupLogError::TryAgain, GroupError::NotAvailable),
        (GroupLogError::Offline, GroupError::NotCoordinator),
        (GroupLogError::TooLarge, GroupError::TooLargeForLog),
    ] {
        log.fail_with(Some(failure));
        assert_eq!(coordinator.commit(commit("g", 2)).await, Err(error));
        log.fail_with(None);
    }
    assert_eq!(committed(&coordinator, "g").await, Some(1));
}

#[tokio::test]
async fn stopping_answers_a_parked_join() {
    let slow = GroupConfig {
        initial_rebalance_delay_ms: 60_000,
        ..config()
    };
    let coordinator = start(&Simulation::new(8), slow, &MemoryGroupLog::new()).await;
    let mut request = join(&coordinator, "g", MemberId::unknown());
    request.requires_known_member_id = false;
    let parked = coordinator.join(request);
    coordinator.stop().await;
    assert_eq!(parked.await.outcome, Err(GroupError::NotCoordinator));
}

#[tokio::test]
async fn member_ids_have_the_form_of_random_uuids() {
    let coordinator = start(&Simulation::new(9), config(), &MemoryGroupLog::new()).await;
    let id = coordinator.fresh_id();
    assert_eq!(id.len(), 36);
    assert_eq!(id.as_bytes()[14], b'4');
    assert_ne!(id, coordinator.fresh_id());
}
