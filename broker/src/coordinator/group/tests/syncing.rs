use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::request::Request;
use crate::coordinator::group::state::GroupState;
use crate::coordinator::group::test_support::Rig;

#[test]
fn members_wait_for_the_leaders_assignment() {
    let mut rig = Rig::new(|_| {});
    let (leader, _) = rig.join_new();
    let (follower, _) = rig.join_new();
    rig.pass(6_000);
    let waits = rig.sync(&follower, &[]);
    assert!(rig.is_parked(waits));
    let leads = rig.sync(&leader, &[(&leader, "L"), (&follower, "F")]);
    assert_eq!(rig.synced(waits), Ok("F".into()));
    assert_eq!(rig.synced(leads), Ok("L".into()));
    assert_eq!(rig.state(), GroupState::Stable);
    // Who comes late is answered at once.
    let again = rig.sync(&follower, &[]);
    assert_eq!(rig.synced(again), Ok("F".into()));
}

#[test]
fn no_assignment_is_handed_out_before_it_is_durable() {
    let mut rig = Rig::without_delay();
    let (leader, _) = rig.join_new();
    rig.hold_writes = true;
    let reply = rig.sync(&leader, &[(&leader, "L")]);
    assert!(rig.is_parked(reply));
    assert_eq!(rig.state(), GroupState::CompletingRebalance);
    assert_eq!(
        rig.commit(&leader, 1, 5),
        Err(GroupError::RebalanceInProgress)
    );
    rig.finish_writes(Ok(()));
    assert_eq!(rig.synced(reply), Ok("L".into()));
}

#[test]
fn a_leader_that_syncs_twice_writes_one_assignment() {
    let mut rig = Rig::without_delay();
    let (leader, _) = rig.join_new();
    rig.hold_writes = true;
    let first = rig.sync(&leader, &[(&leader, "one")]);
    let second = rig.sync(&leader, &[(&leader, "two")]);
    assert_eq!(rig.held.len(), 1);
    rig.finish_writes(Ok(()));
    assert_eq!(rig.synced(first), Err(GroupError::RebalanceInProgress));
    assert_eq!(rig.synced(second), Ok("one".into()));
}

#[test]
fn an_assignment_that_cannot_be_written_sends_all_back_to_join() {
    let mut rig = Rig::without_delay();
    let (leader, _) = rig.join_new();
    rig.hold_writes = true;
    let reply = rig.sync(&leader, &[(&leader, "L")]);
    rig.finish_writes(Err(GroupError::NotAvailable));
    assert_eq!(rig.synced(reply), Err(GroupError::NotAvailable));
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn an_assignment_that_a_rebalance_overtook_is_not_handed_out() {
    let mut rig = Rig::without_delay();
    let (leader, _) = rig.join_new();
    rig.hold_writes = true;
    let old = rig.sync(&leader, &[(&leader, "old")]);
    let (newcomer, _) = rig.join_new();
    assert_eq!(rig.synced(old), Err(GroupError::RebalanceInProgress));
    rig.finish_writes(Ok(()));
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
    rig.hold_writes = false;
    rig.join_as(&leader);
    let new = rig.sync(&leader, &[(&leader, "new"), (&newcomer, "n")]);
    assert_eq!(rig.synced(new), Ok("new".into()));
}

#[test]
fn members_that_the_leader_forgot_get_nothing() {
    let mut rig = Rig::new(|_| {});
    let (leader, _) = rig.join_new();
    let (follower, _) = rig.join_new();
    rig.pass(6_000);
    let forgotten = rig.sync(&follower, &[]);
    rig.sync(&leader, &[(&leader, "L"), (&"invented".into(), "X")]);
    assert_eq!(rig.synced(forgotten), Ok(String::new()));
}

#[test]
fn a_sync_must_fit_the_group() {
    let mut rig = Rig::without_delay();
    let (leader, _) = rig.join_new();
    let good = rig.sync_request(&leader, &[]);
    let mut cases = Vec::new();
    let mut request = good.clone();
    request.generation = 0;
    cases.push((request, GroupError::IllegalGeneration));
    let mut request = good.clone();
    request.member_id = "ghost".into();
    cases.push((request, GroupError::UnknownMember));
    let mut request = good.clone();
    request.group = "none".into();
    cases.push((request, GroupError::UnknownMember));
    let mut request = good.clone();
    request.group = "".into();
    cases.push((request, GroupError::InvalidGroupId));
    let mut request = good.clone();
    request.protocol_name = Some("other".into());
    cases.push((request, GroupError::InconsistentProtocol));
    let mut request = good.clone();
    request.protocol_type = Some("connect".into());
    cases.push((request, GroupError::InconsistentProtocol));
    let mut request = good.clone();
    request.instance_id = Some("i".into());
    cases.push((request, GroupError::UnknownMember));
    for (request, error) in cases {
        let reply = rig.ask(Request::Sync(request));
        assert_eq!(rig.synced(reply), Err(error));
    }
    // Clients before version 5 do not say what they take the protocol for.
    let mut request = good;
    request.protocol_type = None;
    request.protocol_name = None;
    let reply = rig.ask(Request::Sync(request));
    assert!(rig.synced(reply).is_ok());
}

#[test]
fn a_sync_during_a_rebalance_is_sent_back_to_join() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    rig.join_new();
    let reply = rig.sync(&members[0], &[]);
    assert_eq!(rig.synced(reply), Err(GroupError::RebalanceInProgress));
}

#[test]
fn members_that_do_not_sync_in_time_are_out() {
    let mut rig = Rig::new(|_| {});
    let (leader, _) = rig.join_new();
    let (silent, _) = rig.join_new();
    rig.pass(6_000);
    rig.sync(&leader, &[]);
    // It sends heartbeats, so its session stands.
    for _ in 0..20 {
        rig.pass(3_000);
        let _ = rig.heartbeat(&leader, 1);
        let _ = rig.heartbeat(&silent, 1);
    }
    assert_eq!(rig.heartbeat(&silent, 1), Err(GroupError::UnknownMember));
    assert_eq!(
        rig.heartbeat(&leader, 1),
        Err(GroupError::RebalanceInProgress)
    );
}

#[test]
fn assignments_above_the_limit_are_refused() {
    let mut rig = Rig::new(|config| {
        config.initial_rebalance_delay_ms = 0;
        config.assignment_bytes_max = 3;
    });
    let (leader, _) = rig.join_new();
    let reply = rig.sync(&leader, &[(&leader, "four")]);
    assert_eq!(rig.synced(reply), Err(GroupError::InvalidRequest));
}
