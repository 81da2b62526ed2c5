use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::names::MemberId;
use crate::coordinator::group::request::{Answer, Request};
use crate::coordinator::group::state::GroupState;
use crate::coordinator::group::test_support::{GROUP, Rig, SUBSCRIPTION};

#[test]
fn a_new_dynamic_member_is_sent_away_with_an_id_first() {
    let mut rig = Rig::new(|_| {});
    let reply = rig.join_as(&MemberId::unknown());
    let answer = rig.join_answer(reply);
    assert_eq!(answer.outcome, Err(GroupError::MemberIdRequired));
    assert!(answer.member_id.starts_with("client-"));
    assert_eq!(rig.state(), GroupState::Empty);
}

#[test]
fn a_client_of_an_old_version_is_a_member_at_once() {
    let mut rig = Rig::new(|_| {});
    let mut request = rig.join_request(&MemberId::unknown(), &[("range", SUBSCRIPTION)]);
    request.requires_known_member_id = false;
    let reply = rig.ask(Request::Join(request));
    assert!(rig.is_parked(reply));
    rig.pass(3_000);
    assert_eq!(rig.joined(reply).generation, 1);
}

#[test]
fn the_first_generation_waits_for_the_initial_delay_and_longer_while_members_come() {
    let mut rig = Rig::new(|config| config.initial_rebalance_delay_ms = 3_000);
    let (_, first) = rig.join_new();
    rig.pass(2_000);
    let (_, second) = rig.join_new();
    rig.pass(2_000);
    assert!(rig.is_parked(first) && rig.is_parked(second));
    rig.pass(2_000);
    assert_eq!(rig.joined(first).generation, 1);
    assert_eq!(rig.joined(second).generation, 1);
}

#[test]
fn the_initial_delay_ends_with_the_rebalance_timeout() {
    let mut rig = Rig::new(|config| config.initial_rebalance_delay_ms = 3_000);
    let mut joins = Vec::new();
    // Someone comes every second; the first one's rebalance timeout is 60 s.
    for _ in 0..70 {
        joins.push(rig.join_new().1);
        rig.pass(1_000);
        if !rig.is_parked(joins[0]) {
            break;
        }
    }
    assert!(joins.len() <= 61, "{} joins", joins.len());
}

#[test]
fn only_the_leader_learns_the_members() {
    let mut rig = Rig::new(|_| {});
    let (first, first_reply) = rig.join_new();
    let (second, second_reply) = rig.join_new();
    rig.pass(6_000);
    let leader = rig.joined(first_reply);
    assert_eq!(leader.leader, first);
    let mut ids: Vec<_> = leader.members.iter().map(|m| m.member_id.clone()).collect();
    ids.sort();
    let mut expected = vec![first, second];
    expected.sort();
    assert_eq!(ids, expected);
    assert_eq!(leader.protocol_name.as_deref(), Some("range"));
    assert!(rig.joined(second_reply).members.is_empty());
}

#[test]
fn the_protocol_that_all_support_and_most_prefer_is_chosen() {
    let mut rig = Rig::new(|_| {});
    let mut replies = Vec::new();
    for protocols in [["a", "b", "c"], ["b", "a", "x"], ["b", "a", "y"]] {
        let names: Vec<(&str, &[u8])> = protocols.iter().map(|p| (*p, SUBSCRIPTION)).collect();
        let mut request = rig.join_request(&MemberId::unknown(), &names);
        request.requires_known_member_id = false;
        replies.push(rig.ask(Request::Join(request)));
    }
    rig.pass(6_000);
    for reply in replies {
        assert_eq!(rig.joined(reply).protocol_name.as_deref(), Some("b"));
    }
}

#[test]
fn a_member_without_a_common_protocol_is_refused() {
    let mut rig = Rig::without_delay();
    rig.stable(1);
    let request = rig.join_request(&MemberId::unknown(), &[("other", b"")]);
    let reply = rig.ask(Request::Join(request));
    assert_eq!(rig.join_error(reply), GroupError::InconsistentProtocol);

    let mut request = rig.join_request(&MemberId::unknown(), &[("range", b"")]);
    request.protocol_type = "connect".into();
    let reply = rig.ask(Request::Join(request));
    assert_eq!(rig.join_error(reply), GroupError::InconsistentProtocol);

    assert_eq!(rig.state(), GroupState::Stable);
}

#[test]
fn a_join_without_protocols_is_refused() {
    let mut rig = Rig::without_delay();
    let request = rig.join_request(&MemberId::unknown(), &[]);
    let reply = rig.ask(Request::Join(request));
    assert_eq!(rig.join_error(reply), GroupError::InconsistentProtocol);
}

#[test]
fn session_timeouts_outside_the_limits_are_refused() {
    let mut rig = Rig::without_delay();
    for timeout in [-1, 0, 5_999, 1_800_001] {
        let mut request = rig.join_request(&MemberId::unknown(), &[("range", b"")]);
        request.session_timeout_ms = timeout;
        let reply = rig.ask(Request::Join(request));
        assert_eq!(
            rig.join_error(reply),
            GroupError::InvalidSessionTimeout,
            "{timeout}"
        );
    }
}

#[test]
fn an_empty_group_id_is_refused() {
    let mut rig = Rig::without_delay();
    let mut request = rig.join_request(&MemberId::unknown(), &[("range", b"")]);
    request.group = "".into();
    let reply = rig.ask(Request::Join(request));
    assert_eq!(rig.join_error(reply), GroupError::InvalidGroupId);
}

#[test]
fn metadata_above_the_limit_is_refused() {
    let mut rig = Rig::new(|config| config.member_metadata_bytes_max = 100);
    let request = rig.join_request(&MemberId::unknown(), &[("range", &[0; 96])]);
    let reply = rig.ask(Request::Join(request));
    assert_eq!(rig.join_error(reply), GroupError::InvalidRequest);
}

#[test]
fn unknown_members_of_known_and_unknown_groups_are_told_so() {
    let mut rig = Rig::without_delay();
    let reply = rig.join_as(&"ghost".into());
    assert_eq!(rig.join_error(reply), GroupError::UnknownMember);
    rig.stable(1);
    let reply = rig.join_as(&"ghost".into());
    assert_eq!(rig.join_error(reply), GroupError::UnknownMember);
}

#[test]
fn a_full_group_turns_members_away() {
    let mut rig = Rig::new(|config| config.group_size_max = 2);
    let members = rig.stable(2);
    let reply = rig.join_as(&MemberId::unknown());
    assert_eq!(rig.join_error(reply), GroupError::GroupFull);
    // Who is in may rejoin.
    let reply = rig.join_as(&members[0]);
    assert!(rig.is_parked(reply));
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn while_members_rejoin_the_last_ones_above_the_limit_are_turned_away() {
    let mut rig = Rig::new(|_| {});
    let members = rig.stable(3);
    rig.config = std::sync::Arc::new(super::super::GroupConfig {
        group_size_max: 2,
        ..(*rig.config).clone()
    });
    rig.restart();
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
    let first = rig.join_as(&members[0]);
    let second = rig.join_as(&members[1]);
    let third = rig.join_as(&members[2]);
    assert_eq!(rig.join_error(third), GroupError::GroupFull);
    // The two others do not wait for the one that was turned away.
    assert!(rig.joined(first).generation == 2 && rig.joined(second).generation == 2);
}

#[test]
fn ids_handed_out_are_limited() {
    let mut rig = Rig::new(|config| config.pending_members_max = 2);
    for _ in 0..2 {
        let reply = rig.join_as(&MemberId::unknown());
        assert_eq!(rig.join_error(reply), GroupError::MemberIdRequired);
    }
    let reply = rig.join_as(&MemberId::unknown());
    assert_eq!(rig.join_error(reply), GroupError::GroupFull);
}

#[test]
fn groups_are_limited() {
    let mut rig = Rig::new(|config| config.groups_per_shard_max = 1);
    rig.stable(1);
    let mut request = rig.join_request(&MemberId::unknown(), &[("range", b"")]);
    request.group = "another".into();
    let reply = rig.ask(Request::Join(request));
    assert_eq!(rig.join_error(reply), GroupError::NotAvailable);
}

#[test]
fn a_joining_member_starts_a_rebalance_that_waits_for_the_others() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    let (newcomer, new_reply) = rig.join_new();
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
    assert_eq!(
        rig.heartbeat(&members[0], 1),
        Err(GroupError::RebalanceInProgress)
    );
    assert!(rig.is_parked(new_reply));
    let old_reply = rig.join_as(&members[0]);
    assert_eq!(rig.joined(new_reply).generation, 2);
    assert_eq!(rig.joined(old_reply).leader, members[0]);
    rig.assign(&[members[0].clone(), newcomer]);
}

#[test]
fn members_that_do_not_rejoin_in_time_are_out() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(2);
    let generation = rig.generation();
    let (_, reply) = rig.join_new();
    let rejoined = rig.join_as(&members[1]);
    // The missing one goes on with heartbeats only.
    for _ in 0..20 {
        rig.pass(3_000);
        let _ = rig.heartbeat(&members[0], generation);
    }
    assert_eq!(rig.joined(reply).generation, generation + 1);
    assert_eq!(rig.joined(rejoined).generation, generation + 1);
    assert_eq!(
        rig.heartbeat(&members[0], generation),
        Err(GroupError::UnknownMember)
    );
}

#[test]
fn a_leader_that_does_not_rejoin_gives_way() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(2);
    let (_, reply) = rig.join_new();
    let rejoined = rig.join_as(&members[1]);
    rig.pass(10_000);
    let leader = rig.joined(rejoined).leader;
    assert_ne!(leader, members[0]);
    assert_eq!(rig.joined(reply).leader, leader);
}

#[test]
fn a_follower_that_rejoins_unchanged_gets_the_generation_that_stands() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(2);
    let generation = rig.generation();
    let reply = rig.join_as(&members[1]);
    assert_eq!(rig.joined(reply).generation, generation);
    assert_eq!(rig.state(), GroupState::Stable);
}

#[test]
fn a_follower_with_new_metadata_and_any_leader_start_a_rebalance() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(2);
    let request = rig.join_request(&members[1], &[("range", b"changed")]);
    rig.ask(Request::Join(request));
    assert_eq!(rig.state(), GroupState::PreparingRebalance);

    let mut rig = Rig::without_delay();
    let members = rig.stable(2);
    rig.join_as(&members[0]);
    assert_eq!(rig.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_lost_join_answer_can_be_asked_for_again() {
    let mut rig = Rig::without_delay();
    let (id, reply) = rig.join_new();
    let first = rig.joined(reply);
    assert_eq!(rig.state(), GroupState::CompletingRebalance);
    let again = rig.join_as(&id);
    assert_eq!(rig.joined(again), first);
    assert_eq!(rig.state(), GroupState::CompletingRebalance);
}

#[test]
fn a_repeated_join_takes_the_place_of_the_parked_one() {
    let mut rig = Rig::new(|_| {});
    let (id, first) = rig.join_new();
    let second = rig.join_as(&id);
    assert_eq!(rig.join_error(first), GroupError::RebalanceInProgress);
    assert!(rig.is_parked(second));
    rig.pass(3_000);
    assert_eq!(rig.joined(second).generation, 1);
}

#[test]
fn the_other_kinds_of_group_work_alike() {
    let mut rig = Rig::without_delay();
    let mut request = rig.join_request(&MemberId::unknown(), &[("default", b"opaque")]);
    request.protocol_type = "connect".into();
    request.requires_known_member_id = false;
    let reply = rig.ask(Request::Join(request));
    assert_eq!(rig.joined(reply).protocol_type.as_deref(), Some("connect"));
}

#[test]
fn a_group_can_be_listed_and_described() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    let reply = rig.ask(Request::List);
    let Some(Answer::Listed(groups)) = rig.answer(reply) else {
        panic!()
    };
    assert_eq!(&*groups[0].group, GROUP);
    assert_eq!(groups[0].state.name(), "Stable");

    let reply = rig.ask(Request::Describe(GROUP.into()));
    let Some(Answer::Described(Some(group))) = rig.answer(reply) else {
        panic!()
    };
    assert_eq!(group.protocol_name.as_deref(), Some("range"));
    assert_eq!(group.members[0].member_id, members[0]);
    assert_eq!(&group.members[0].metadata[..], SUBSCRIPTION);
    assert_eq!(&group.members[0].assignment[..], members[0].as_bytes());

    let reply = rig.ask(Request::Describe("none".into()));
    assert_eq!(rig.answer(reply), Some(&Answer::Described(None)));
}
