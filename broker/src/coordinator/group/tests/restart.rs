use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::state::GroupState;
use crate::coordinator::group::test_support::Rig;

#[test]
fn a_stable_group_goes_on_after_a_restart() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(2);
    let generation = rig.generation();
    rig.commit(&members[0], generation, 77).unwrap();
    rig.restart();
    assert_eq!(rig.state(), GroupState::Stable);
    assert_eq!(rig.committed(), Some(77));
    for id in &members {
        assert_eq!(rig.heartbeat(id, generation), Ok(()));
    }
    let reply = rig.sync(&members[1], &[]);
    assert_eq!(rig.synced(reply), Ok(members[1].to_string()));
    assert_eq!(
        rig.shard.group("g").unwrap().leader.as_ref(),
        Some(&members[0])
    );
}

#[test]
fn members_that_do_not_come_back_after_a_restart_expire() {
    let mut rig = Rig::without_delay();
    rig.stable(1);
    rig.restart();
    rig.pass(10_000);
    assert_eq!(rig.state(), GroupState::Empty);
}

#[test]
fn a_rebalance_cut_by_a_restart_starts_over_from_the_stored_generation() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    rig.join_new();
    rig.join_as(&members[0]);
    assert_eq!(rig.state(), GroupState::CompletingRebalance);
    rig.restart();
    assert_eq!((rig.state(), rig.generation()), (GroupState::Stable, 1));
    assert_eq!(
        rig.heartbeat(&members[0], 2),
        Err(GroupError::IllegalGeneration)
    );
    let reply = rig.join_as(&members[0]);
    assert_eq!(rig.joined(reply).generation, 2);
}

#[test]
fn an_empty_group_keeps_its_generation_and_offsets() {
    let mut rig = Rig::without_delay();
    let members = rig.stable(1);
    rig.commit(&members[0], 1, 5).unwrap();
    rig.leave(&[(&members[0], None)]);
    rig.restart();
    assert_eq!((rig.state(), rig.generation()), (GroupState::Empty, 2));
    assert_eq!(rig.committed(), Some(5));
}

#[test]
fn the_count_of_groups_by_state_survives_every_path() {
    let mut rig = Rig::without_delay();
    let mut counts = [0i64; GroupState::COUNT];
    let mut add = |rig: &mut Rig| {
        for (total, change) in counts.iter_mut().zip(rig.shard.take_tally().groups) {
            *total += change;
        }
        counts
    };
    let members = rig.stable(2);
    assert_eq!(add(&mut rig)[GroupState::Stable.index()], 1);
    rig.leave(&[(&members[0], None), (&members[1], None)]);
    assert_eq!(add(&mut rig), [1, 0, 0, 0, 0]);
    rig.delete_group().unwrap();
    assert_eq!(add(&mut rig), [0; GroupState::COUNT]);
    rig.commit_alone(3).unwrap();
    rig.stable(1);
    add(&mut rig);
    rig.restart();
    assert_eq!(rig.shard.take_tally().groups, [0, 0, 0, 1, 0]);
}
