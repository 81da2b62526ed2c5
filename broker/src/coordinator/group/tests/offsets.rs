use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::names::MemberId;
use crate::coordinator::group::request::{Answer, FetchOffsetsRequest, Request};
use crate::coordinator::group::state::GroupState;
use crate::coordinator::group::test_support::{GROUP, Rig};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[test]
fn a_client_without_membership_commits_and_so_makes_a_group() {
    let mut rig = Rig::without_delay();
    assert_eq!(rig.commit_alone(42), Ok(()));
    let offset = rig.committed_offset().unwrap();
    assert_eq!(
        (offset.offset, offset.leader_epoch, &*offset.metadata),
        (42, 3, "m")
    );
    assert_eq!(rig.state(), GroupState::Empty);
}

#[test]
fn a_commit_is_visible_only_when_it_is_durable() {
    let mut rig = Rig::without_delay();
    rig.hold_writes = true;
    let request = rig.commit_request(&MemberId::unknown(), -1, 7);
    let reply = rig.ask(Request::Commit(request));
    assert!(rig.is_parked(reply));
    assert_eq!(rig.committed(), None);
    let request = rig.fetch_request(true);
    let stable = rig.ask(Request::FetchOffsets(request));
    assert!(rig.is_parked(stable));
    rig.finish_writes(Ok(()));
    assert_eq!(rig.partition_outcome(reply), Ok(()));
    assert_eq!(rig.fetched(stable).unwrap().offset, 7);
    assert_eq!(rig.committed(), Some(7));
}

#[test]
fn a_commit_that_cannot_be_written_is_not_visible() {
    let mut rig = Rig::without_delay();
    rig.commit_alone(1).unwrap();
    rig.hold_writes = true;
    let request = rig.commit_request(&MemberId::unknown(), -1, 2);
    let reply = rig.ask(Request::Commit(request));
    rig.finish_writes(Err(GroupError::NotCoordinator));
    assert_eq!(
        rig.partition_outcome(reply),
        Err(GroupError::NotCoordinator)
    );
    assert_eq!(rig.committed(), Some(1));
}

#[test]
fn only_members_of_the_current_generation_commit() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    assert_eq!(rig.commit(&members[0], 1, 10), Ok(()));
    assert_eq!(
        rig.commit(&members[0], 0, 10),
        Err(GroupError::IllegalGeneration)
    );
    assert_eq!(
        rig.commit(&members[0], 2, 10),
        Err(GroupError::IllegalGeneration)
    );
    assert_eq!(
        rig.commit(&"ghost".into(), 1, 10),
        Err(GroupError::UnknownMember)
    );
    assert_eq!(rig.commit_alone(10), Err(GroupError::UnknownMember));
}

#[test]
fn members_may_commit_while_others_join_but_not_before_they_have_an_assignment() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    rig.join_new();
    assert_eq!(rig.commit(&members[0], 1, 11), Ok(()));
    rig.join_as(&members[0]);
    assert_eq!(rig.state(), GroupState::CompletingRebalance);
    assert_eq!(
        rig.commit(&members[0], 1, 12),
        Err(GroupError::IllegalGeneration)
    );
    assert_eq!(
        rig.commit(&members[0], 2, 12),
        Err(GroupError::RebalanceInProgress)
    );
}

#[test]
fn a_member_of_a_group_that_does_not_exist_is_told_as_its_version_knows() {
    let mut rig = Rig::without_delay();
    assert_eq!(
        rig.commit(&"m".into(), 1, 1),
        Err(GroupError::GroupNotFound)
    );
    let mut request = rig.commit_request(&"m".into(), 1, 1);
    request.knows_group_not_found = false;
    let reply = rig.ask(Request::Commit(request));
    assert_eq!(
        rig.partition_outcome(reply),
        Err(GroupError::IllegalGeneration)
    );
}

#[test]
fn metadata_above_the_limit_refuses_its_partition_only() {
    let mut rig = Rig::new(|config| config.offset_metadata_max = 4);
    let mut request = rig.commit_request(&MemberId::unknown(), -1, 1);
    let mut large = request.topics[0].partitions[0].clone();
    large.partition = 1;
    large.metadata = "fives".into();
    // Four UTF-16 units, more bytes.
    request.topics[0].partitions[0].metadata = "žluť".into();
    request.topics[0].partitions.push(large);
    let reply = rig.ask(Request::Commit(request));
    let Some(Answer::Partitions(Ok(topics))) = rig.answer(reply) else {
        panic!()
    };
    assert_eq!(
        topics[0].partitions,
        [(0, Ok(())), (1, Err(GroupError::OffsetMetadataTooLarge))]
    );
    assert_eq!(rig.committed(), Some(1));
}

#[test]
fn offsets_that_nobody_committed_are_absent_without_error() {
    let mut rig = Rig::without_delay();
    assert_eq!(rig.committed(), None);
    let request = FetchOffsetsRequest {
        group: GROUP.into(),
        topics: None,
        require_stable: false,
    };
    let reply = rig.ask(Request::FetchOffsets(request.clone()));
    assert_eq!(rig.answer(reply), Some(&Answer::Offsets(Ok(Vec::new()))));
    rig.commit_alone(5).unwrap();
    let reply = rig.ask(Request::FetchOffsets(request));
    assert_eq!(rig.fetched(reply).unwrap().offset, 5);
}

#[test]
fn offsets_of_topics_that_the_group_reads_cannot_be_deleted() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    rig.commit(&members[0], 1, 5).unwrap();
    assert_eq!(rig.delete_offset("t"), Err(GroupError::SubscribedToTopic));
    assert_eq!(rig.delete_offset("other"), Ok(()));
    rig.leave(&[(&members[0], None)]);
    assert_eq!(rig.delete_offset("t"), Ok(()));
    assert_eq!(rig.committed(), None);
}

#[test]
fn offsets_of_other_kinds_of_group_can_be_deleted_only_when_it_is_empty() {
    let mut rig = Rig::without_delay();
    let mut request = rig.join_request(&MemberId::unknown(), &[("p", b"")]);
    request.protocol_type = "connect".into();
    request.requires_known_member_id = false;
    rig.ask(Request::Join(request));
    assert_eq!(rig.delete_offset("t"), Err(GroupError::NotEmpty));
}

#[test]
fn deleting_offsets_of_no_group_is_refused() {
    let mut rig = Rig::without_delay();
    assert_eq!(rig.delete_offset("t"), Err(GroupError::GroupNotFound));
}

#[test]
fn only_empty_groups_can_be_deleted_and_their_offsets_go_with_them() {
    let mut rig = Rig::without_delay();
    assert_eq!(rig.delete_group(), Err(GroupError::GroupNotFound));
    let members = rig.stable(1);
    rig.commit(&members[0], 1, 5).unwrap();
    assert_eq!(rig.delete_group(), Err(GroupError::NotEmpty));
    rig.leave(&[(&members[0], None)]);
    assert_eq!(rig.delete_group(), Ok(()));
    assert_eq!(rig.committed(), None);
    rig.restart();
    assert_eq!(rig.delete_group(), Err(GroupError::GroupNotFound));
    assert_eq!(rig.committed(), None);
}

#[test]
fn a_group_that_is_being_deleted_takes_nothing_new() {
    let mut rig = Rig::without_delay();
    rig.commit_alone(5).unwrap();
    rig.hold_writes = true;
    let reply = rig.ask(Request::DeleteGroup(GROUP.into()));
    assert_eq!(rig.state(), GroupState::Dead);
    assert_eq!(rig.commit_alone(6), Err(GroupError::NotAvailable));
    let join = rig.join_as(&MemberId::unknown());
    assert_eq!(rig.join_error(join), GroupError::NotAvailable);
    rig.finish_writes(Err(GroupError::NotAvailable));
    assert_eq!(
        rig.answer(reply),
        Some(&Answer::Deleted(Err(GroupError::NotAvailable)))
    );
    // It lives on.
    assert_eq!(rig.state(), GroupState::Empty);
    assert_eq!(rig.committed(), Some(5));
}

#[test]
fn a_deletion_covers_commits_that_are_still_being_written() {
    let mut rig = Rig::without_delay();
    rig.hold_writes = true;
    let request = rig.commit_request(&MemberId::unknown(), -1, 5);
    rig.ask(Request::Commit(request));
    rig.ask(Request::DeleteGroup(GROUP.into()));
    rig.finish_writes(Ok(()));
    rig.hold_writes = false;
    rig.restart();
    assert_eq!(rig.committed(), None);
}

#[test]
fn dropped_topics_lose_their_offsets() {
    let mut rig = Rig::without_delay();
    rig.commit_alone(5).unwrap();
    let reply = rig.ask(Request::ForgetTopics(vec!["t".into()].into()));
    assert_eq!(rig.answer(reply), Some(&Answer::Forgotten));
    assert_eq!(rig.committed(), None);
    rig.restart();
    assert_eq!(rig.committed(), None);
}

#[test]
fn offsets_of_a_group_without_membership_expire_after_their_commit() {
    let mut rig = Rig::without_delay();
    rig.commit_alone(5).unwrap();
    rig.pass(6 * DAY_MS);
    rig.commit_alone(6).unwrap();
    rig.pass(6 * DAY_MS);
    assert_eq!(rig.committed(), Some(6));
    rig.pass(DAY_MS + 600_000);
    assert_eq!(rig.committed(), None);
    assert!(
        rig.shard.group(GROUP).is_none(),
        "the group goes with its last offset"
    );
}

#[test]
fn offsets_of_an_abandoned_group_expire_after_it_became_empty() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    rig.commit(&members[0], 1, 5).unwrap();
    // The member stays for ten days without a commit.
    for _ in 0..(10 * DAY_MS / 9_000) {
        rig.pass(9_000);
        rig.heartbeat(&members[0], 1).unwrap();
    }
    assert_eq!(rig.committed(), Some(5));
    rig.leave(&[(&members[0], None)]);
    rig.pass(6 * DAY_MS);
    assert_eq!(rig.committed(), Some(5));
    rig.pass(DAY_MS + 600_000);
    assert_eq!(rig.committed(), None);
}

#[test]
fn an_offset_that_was_reset_in_an_empty_group_counts_from_its_reset() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    rig.commit(&members[0], 1, 5).unwrap();
    rig.leave(&[(&members[0], None)]);
    rig.pass(6 * DAY_MS);
    rig.commit_alone(0).unwrap();
    rig.pass(2 * DAY_MS);
    assert_eq!(rig.committed(), Some(0));
}

#[test]
fn a_stable_group_keeps_what_it_reads_and_loses_what_it_no_longer_reads() {
    let mut rig = Rig::without_delay();
    let mut request = rig.commit_request(&MemberId::unknown(), -1, 1);
    request.topics[0].topic = "gone".into();
    rig.ask(Request::Commit(request));
    rig.commit_alone(2).unwrap();
    let members = rig.stable(1);
    for _ in 0..(8 * DAY_MS / 9_000) {
        rig.pass(9_000);
        rig.heartbeat(&members[0], 1).unwrap();
    }
    assert_eq!(rig.committed(), Some(2));
    let request = FetchOffsetsRequest {
        group: GROUP.into(),
        topics: None,
        require_stable: false,
    };
    let reply = rig.ask(Request::FetchOffsets(request));
    let Some(Answer::Offsets(Ok(topics))) = rig.answer(reply) else {
        panic!()
    };
    assert_eq!(topics.len(), 1);
}

#[test]
fn a_commit_may_name_its_own_retention() {
    let mut rig = Rig::without_delay();
    let mut request = rig.commit_request(&MemberId::unknown(), -1, 1);
    request.retention_ms = Some(1_000);
    rig.ask(Request::Commit(request));
    rig.pass(500_000);
    assert_eq!(rig.committed(), Some(1));
    rig.restart();
    rig.pass(600_000);
    assert_eq!(rig.committed(), None);
}

#[test]
fn a_group_that_waits_for_a_member_it_gave_an_id_is_not_swept_away() {
    let mut rig = Rig::new(|config| config.offsets_retention_check_interval_ms = 1_000);
    let reply = rig.join_as(&MemberId::unknown());
    rig.pass(5_000);
    assert!(rig.shard.group(GROUP).is_some());
    let id = rig.join_answer(reply).member_id.clone();
    let reply = rig.join_as(&id);
    assert!(rig.is_parked(reply));
}
