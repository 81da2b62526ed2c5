//! The coordinator's figures.

use super::state::GroupState;
use super::turn::Tally;

/// Adds what a shard counted.
pub(super) fn publish(tally: &Tally) {
    for state in GroupState::ALL {
        let change = tally.groups[state.index()];
        if change != 0 {
            metrics::gauge!("vltava_groups", "state" => state.name()).increment(change as f64);
        }
    }
    add("vltava_group_rebalances_total", tally.rebalances);
    add("vltava_group_expired_members_total", tally.expired_members);
    add("vltava_group_offset_commits_total", tally.commits);
    add("vltava_group_offset_deletions_total", tally.deletions);
    add("vltava_group_offset_expirations_total", tally.expirations);
}

fn add(name: &'static str, count: u64) {
    if count > 0 {
        metrics::counter!(name).increment(count);
    }
}
