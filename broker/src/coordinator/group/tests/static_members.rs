use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::names::MemberId;
use crate::coordinator::group::request::{Answer, HeartbeatRequest, Request};
use crate::coordinator::group::state::GroupState;
use crate::coordinator::group::test_support::{GROUP, Rig, SUBSCRIPTION};
use crate::coordinator::group::turn::ReplyId;

/// A stable group of the static members `a` and `b`; returns their member ids, the leader first.
fn stable_pair(rig: &mut Rig) -> Vec<MemberId> {
    let replies = [rig.join_static("a"), rig.join_static("b")];
    rig.pass(6_000);
    let ids = replies.map(|reply| rig.join_answer(reply).member_id.clone());
    rig.assign(&ids)
}

fn join_with(
    rig: &mut Rig,
    instance: &str,
    change: impl FnOnce(&mut crate::coordinator::group::JoinRequest),
) -> ReplyId {
    let mut request = rig.join_request(&MemberId::unknown(), &[("range", SUBSCRIPTION)]);
    request.instance_id = Some(instance.into());
    change(&mut request);
    rig.ask(Request::Join(request))
}

fn heartbeat(rig: &mut Rig, id: &MemberId, instance: &str) -> Result<(), GroupError> {
    let request = HeartbeatRequest {
        group: GROUP.into(),
        generation: rig.generation(),
        member_id: id.clone(),
        instance_id: Some(instance.into()),
    };
    let reply = rig.ask(Request::Heartbeat(request));
    match rig.answer(reply) {
        Some(Answer::Heartbeat(outcome)) => *outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_static_member_is_not_sent_away_for_an_id() {
    let mut rig = Rig::new(|_| {});
    let reply = rig.join_static("a");
    rig.pass(3_000);
    assert!(rig.join_answer(reply).member_id.starts_with("a-"));
    assert_eq!(rig.joined(reply).generation, 1);
}

#[test]
fn a_restarted_follower_comes_back_without_a_rebalance() {
    let mut rig = Rig::new(|_| {});
    let members = stable_pair(&mut rig);
    let reply = rig.join_static("b");
    let answer = rig.join_answer(reply).clone();
    assert_ne!(answer.member_id, members[1]);
    let joined = answer.outcome.unwrap();
    assert_eq!(joined.generation, 1);
    assert!(!joined.skip_assignment);
    assert_eq!(rig.state(), GroupState::Stable);
    let synced = rig.sync(&answer.member_id, &[]);
    assert_eq!(rig.synced(synced), Ok(members[1].to_string()));
    assert_eq!(
        heartbeat(&mut rig, &members[1], "b"),
        Err(GroupError::FencedInstance)
    );
    assert_eq!(heartbeat(&mut rig, &answer.member_id, "b"), Ok(()));
}

#[test]
fn a_restarted_leader_skips_the_assignment() {
    let mut rig = Rig::new(|_| {});
    let members = stable_pair(&mut rig);
    let reply = rig.join_static("a");
    let joined = rig.joined(reply);
    assert_eq!(joined.leader, rig.join_answer(reply).member_id);
    assert!(joined.skip_assignment);
    assert_eq!(joined.members.len(), 2);
    let id = joined.leader;
    let synced = rig.sync(&id, &[]);
    assert_eq!(rig.synced(synced), Ok(members[0].to_string()));
}

#[test]
fn a_restarted_leader_of_an_old_version_takes_itself_for_a_follower() {
    let mut rig = Rig::new(|_| {});
    let members = stable_pair(&mut rig);
    let reply = join_with(&mut rig, "a", |r| r.supports_skipping_assignment = false);
    let joined = rig.joined(reply);
    assert_eq!(joined.leader, members[0]);
    assert!(joined.members.is_empty() && !joined.skip_assignment);
}

#[test]
fn the_successors_id_is_in_the_log_before_it_is_told() {
    let mut rig = Rig::new(|_| {});
    stable_pair(&mut rig);
    rig.hold_writes = true;
    let reply = rig.join_static("b");
    assert!(rig.is_parked(reply));
    rig.finish_writes(Ok(()));
    rig.hold_writes = false;
    let id = rig.join_answer(reply).member_id.clone();
    rig.restart();
    assert_eq!(heartbeat(&mut rig, &id, "b"), Ok(()));
}

#[test]
fn a_successor_that_cannot_be_stored_is_asked_to_come_again() {
    let mut rig = Rig::new(|_| {});
    stable_pair(&mut rig);
    rig.hold_writes = true;
    let reply = rig.join_static("b");
    rig.finish_writes(Err(GroupError::NotAvailable));
    assert_eq!(rig.join_error(reply), GroupError::NotAvailable);
    rig.hold_writes = false;
    let reply = rig.join_static("b");
    assert!(rig.join_answer(reply).outcome.is_ok());
}

#[test]
fn a_successor_caught_by_a_rebalance_takes_part_in_it() {
    let mut rig = Rig::new(|_| {});
    let members = stable_pair(&mut rig);
    rig.hold_writes = true;
    let reply = rig.join_static("b");
    rig.join_new();
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
    rig.finish_writes(Ok(()));
    assert!(rig.is_parked(reply));
    let leader = rig.join_as(&members[0]);
    assert_eq!(rig.joined(reply).generation, 2);
    assert_eq!(rig.joined(leader).members.len(), 3);
}

#[test]
fn a_successor_that_changes_the_protocol_starts_a_rebalance() {
    let mut rig = Rig::new(|_| {});
    let both: [(&str, &[u8]); 2] = [("range", SUBSCRIPTION), ("sticky", SUBSCRIPTION)];
    let mut ids = Vec::new();
    for instance in ["a", "b"] {
        let mut request = rig.join_request(&MemberId::unknown(), &both);
        request.instance_id = Some(instance.into());
        ids.push(rig.ask(Request::Join(request)));
    }
    rig.pass(6_000);
    let ids: Vec<MemberId> = ids
        .iter()
        .map(|reply| rig.join_answer(*reply).member_id.clone())
        .collect();
    rig.assign(&ids);
    let mut request = rig.join_request(&MemberId::unknown(), &both[1..]);
    request.instance_id = Some("b".into());
    let reply = rig.ask(Request::Join(request));
    assert!(rig.is_parked(reply));
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_successor_during_the_assignment_starts_a_rebalance() {
    let mut rig = Rig::new(|_| {});
    rig.join_static("a");
    rig.join_static("b");
    rig.pass(6_000);
    assert_eq!(rig.state(), GroupState::CompletingRebalance);
    rig.join_static("b");
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn two_clients_with_one_instance_id_fence_each_other() {
    let mut rig = Rig::new(|_| {});
    let first = rig.join_static("a");
    let second = rig.join_static("a");
    assert_eq!(rig.join_error(first), GroupError::FencedInstance);
    rig.pass(3_000);
    assert_eq!(rig.joined(second).generation, 1);
}

#[test]
fn a_static_member_may_miss_a_rebalance_until_its_session_ends() {
    let mut rig = Rig::new(|_| {});
    let members = stable_pair(&mut rig);
    let (_, newcomer) = rig.join_new();
    let leader = rig.join_as(&members[0]);
    // Its session, 10 s, is shorter than the rebalance timeout: it is out.
    rig.pass(10_000);
    assert_eq!(rig.joined(leader).members.len(), 2);
    assert_eq!(rig.joined(newcomer).generation, 2);
}

#[test]
fn an_administrator_removes_a_member_by_its_instance() {
    let mut rig = Rig::new(|_| {});
    stable_pair(&mut rig);
    let nobody = MemberId::unknown();
    let outcomes = rig.leave(&[(&nobody, Some("b")), (&nobody, Some("x"))]);
    assert_eq!(outcomes, [Ok(()), Err(GroupError::UnknownMember)]);
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn leaving_with_a_predecessors_id_is_fenced() {
    let mut rig = Rig::new(|_| {});
    let members = stable_pair(&mut rig);
    rig.join_static("b");
    assert_eq!(
        rig.leave(&[(&members[1], Some("b"))]),
        [Err(GroupError::FencedInstance)]
    );
}
