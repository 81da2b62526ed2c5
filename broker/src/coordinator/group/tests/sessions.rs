use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::names::MemberId;
use crate::coordinator::group::request::{Answer, LeaveRequest, Request};
use crate::coordinator::group::state::GroupState;
use crate::coordinator::group::test_support::Rig;

#[test]
fn a_silent_member_expires_and_the_others_rebalance() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(2);
    let generation = rig.generation();
    for _ in 0..4 {
        rig.pass(3_000);
        let _ = rig.heartbeat(&members[0], generation);
    }
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
    assert_eq!(
        rig.heartbeat(&members[1], generation),
        Err(GroupError::UnknownMember)
    );
    let reply = rig.join_as(&members[0]);
    assert_eq!(rig.joined(reply).members.len(), 1);
}

#[test]
fn heartbeats_keep_a_member_in() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    for _ in 0..20 {
        rig.pass(9_000);
        assert_eq!(rig.heartbeat(&members[0], 1), Ok(()));
    }
}

#[test]
fn commits_keep_a_member_in() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    for offset in 0..5 {
        rig.pass(9_000);
        assert_eq!(rig.commit(&members[0], 1, offset), Ok(()));
    }
}

#[test]
fn a_heartbeat_must_fit_the_group() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    assert_eq!(
        rig.heartbeat(&members[0], 0),
        Err(GroupError::IllegalGeneration)
    );
    assert_eq!(
        rig.heartbeat(&members[0], 2),
        Err(GroupError::IllegalGeneration)
    );
    assert_eq!(
        rig.heartbeat(&"ghost".into(), 1),
        Err(GroupError::UnknownMember)
    );
}

#[test]
fn an_id_that_nobody_comes_back_with_expires() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    let pending = rig.join_as(&MemberId::unknown());
    let id = rig.join_answer(pending).member_id.clone();
    // A rebalance waits for it as for a member.
    let rejoined = rig.join_as(&members[0]);
    assert!(rig.is_parked(rejoined));
    rig.pass(10_000);
    assert_eq!(rig.joined(rejoined).generation, 2);
    let late = rig.join_as(&id);
    assert_eq!(rig.join_error(late), GroupError::UnknownMember);
}

#[test]
fn a_new_member_whose_join_stays_parked_too_long_must_ask_again() {
    let mut rig = Rig::new(|config| {
        config.initial_rebalance_delay_ms = 0;
        config.new_member_join_timeout_ms = 5_000;
    });
    let members = rig.stable(1);
    let (_, reply) = rig.join_new();
    for _ in 0..2 {
        rig.pass(2_500);
        let _ = rig.heartbeat(&members[0], 1);
    }
    assert_eq!(rig.join_error(reply), GroupError::UnknownMember);
}

#[test]
fn a_parked_member_does_not_expire_once_it_is_not_new() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(2);
    let generation = rig.generation();
    let reply = rig.join_as(&members[0]);
    for _ in 0..10 {
        rig.pass(4_000);
        let _ = rig.heartbeat(&members[1], generation);
    }
    assert!(rig.is_parked(reply));
    rig.join_as(&members[1]);
    assert_eq!(rig.joined(reply).members.len(), 2);
}

#[test]
fn a_group_whose_last_member_expires_is_empty_and_that_is_stored() {
    let mut rig = Rig::without_delay();
    rig.stable(1);
    let records = rig.log.len();
    rig.pass(10_000);
    assert_eq!(rig.state(), GroupState::Empty);
    assert_eq!(rig.generation(), 2);
    assert_eq!(rig.log.len(), records + 1);
}

#[test]
fn leaving_is_noticed_at_once() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(2);
    assert_eq!(rig.leave(&[(&members[1], None)]), [Ok(())]);
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
    assert_eq!(rig.leave(&[(&members[0], None)]), [Ok(())]);
    assert_eq!(rig.state(), GroupState::Empty);
}

#[test]
fn several_members_leave_in_one_request_each_with_its_outcome() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(2);
    let ghost = MemberId::from("ghost");
    let outcomes = rig.leave(&[(&members[0], None), (&ghost, None), (&members[1], None)]);
    assert_eq!(outcomes, [Ok(()), Err(GroupError::UnknownMember), Ok(())]);
    assert_eq!(rig.state(), GroupState::Empty);
}

#[test]
fn a_leave_of_nobody_known_changes_nothing() {
    let mut rig = Rig::without_delay();
    rig.stable(1);
    assert_eq!(
        rig.leave(&[(&"ghost".into(), None)]),
        [Err(GroupError::UnknownMember)]
    );
    assert_eq!(rig.state(), GroupState::Stable);
}

#[test]
fn a_leaving_id_that_was_only_handed_out_frees_the_others() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    let pending = rig.join_as(&MemberId::unknown());
    let id = rig.join_answer(pending).member_id.clone();
    let rejoined = rig.join_as(&members[0]);
    assert!(rig.is_parked(rejoined));
    assert_eq!(rig.leave(&[(&id, None)]), [Ok(())]);
    assert_eq!(rig.joined(rejoined).generation, 2);
}

#[test]
fn leaving_with_a_parked_join_answers_it() {
    let mut rig = Rig::new(|_| {});
    let (id, reply) = rig.join_new();
    assert_eq!(rig.leave(&[(&id, None)]), [Ok(())]);
    assert_eq!(rig.join_error(reply), GroupError::UnknownMember);
    rig.pass(3_000);
    assert_eq!(rig.state(), GroupState::Empty);
}

#[test]
fn the_answer_to_the_last_leave_waits_for_its_record() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    rig.hold_writes = true;
    let request = LeaveRequest {
        group: "g".into(),
        members: vec![(members[0].clone(), None)],
    };
    let reply = rig.ask(Request::Leave(request));
    assert!(rig.is_parked(reply));
    rig.finish_writes(Ok(()));
    assert!(matches!(rig.answer(reply), Some(Answer::Leave(Ok(_)))));
}

#[test]
fn leaving_a_group_that_does_not_exist_is_answered_per_member() {
    let mut rig = Rig::without_delay();
    assert_eq!(
        rig.leave(&[(&"m".into(), None)]),
        [Err(GroupError::UnknownMember)]
    );
}

#[test]
fn stopping_answers_everyone_who_waits() {
    let mut rig = Rig::new(|_| {});
    let (_, reply) = rig.join_new();
    let actions = rig.shard.stop(rig.now);
    assert_eq!(actions.len(), 1);
    assert!(rig.is_parked(reply));
}
