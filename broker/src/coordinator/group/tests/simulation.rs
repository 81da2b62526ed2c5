//! Many members in one group, with everything that goes wrong, from a seed: members join, leave,
//! die, freeze past their session and go on with what they knew; writes are slow and fail; the
//! coordinator restarts from its log.

mod client;
mod world;

use world::World;

/// Seeds of a normal test run.
const SEEDS: u64 = 300;
const STEPS: usize = 400;

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
}

#[test]
fn members_never_share_a_partition_and_commits_never_go_back() {
    for seed in 0..SEEDS {
        run(seed);
    }
}
