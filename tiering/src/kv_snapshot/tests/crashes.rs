//! The process is killed at each change of the store and of the catalog: what is told of
//! afterwards is whole, and nothing else is left.

use std::ops::Range;

use super::*;

/// Takes snapshots until the fuse burns; the ids of those that were answered.
async fn run(world: &World, index: &mut world::Writing, keys: Range<u32>) -> Vec<i64> {
    let snapshots = world.open().await;
    let mut answered = Vec::new();
    for n in keys {
        index.write(&[format!("{n:03}")]);
        match snapshots.take(tablet(), index.link()).await {
            Ok(taken) => answered.extend(taken.map(|taken| taken.id)),
            Err(_) => break,
        }
    }
    answered
}

#[tokio::test]
async fn a_kill_at_any_change_leaves_whole_snapshots_and_nothing_else() {
    let mut interrupted = 0;
    for changes in 0.. {
        let world = World::new();
        let mut index = world.index("one");
        let before = run(&world, &mut index, 0..2).await;
        assert_eq!(before, [0, 1]);
        // A third and a fourth, which send the first two away; the kill comes somewhere in them.
        let snapshots = world.open().await;
        world.fuse.burn_after(changes);
        let mut answered = Vec::new();
        for n in 2..4 {
            index.write(&[format!("{n:03}")]);
            let taken = snapshots.take(tablet(), index.link()).await;
            answered.extend(taken.ok().flatten().map(|taken| taken.id));
        }
        drop(snapshots);
        let was_killed = world.fuse.is_burnt();
        world.fuse.mend();

        let snapshots = world.open().await;
        snapshots.sweep().await;
        world.check(&snapshots).await;
        let all: Vec<_> = snapshots.all(tablet()).iter().map(|s| s.id).collect();
        let newest = snapshots.newest(tablet()).unwrap();
        assert!(all.len() == 2, "after {changes} changes: {all:?}");
        if let Some(last) = answered.last() {
            assert!(newest.id >= *last, "after {changes} changes: {newest:?}");
        }
        let expected: Vec<_> = (0..newest.log_offset.value())
            .map(|n| format!("{n:03}"))
            .collect();
        assert_eq!(world.restored(&snapshots), expected);
        // And it goes on.
        index.write(&["x"]);
        world.take(&snapshots, &index).await.unwrap();
        world.check(&snapshots).await;
        assert_eq!(world.restored(&snapshots).len(), 5);
        if !was_killed {
            break;
        }
        interrupted += 1;
    }
    assert!(interrupted > 10, "{interrupted}");
}

#[tokio::test]
async fn a_kill_while_a_dropped_table_goes_leaves_nothing_for_the_next_start() {
    for changes in 0.. {
        let world = World::new();
        let mut index = world.index("one");
        run(&world, &mut index, 0..2).await;
        world.catalog().drop_table(tablet().table).unwrap();
        let snapshots = world.open().await;
        world.fuse.burn_after(changes);
        snapshots.sweep().await;
        let was_killed = world.fuse.is_burnt();
        world.fuse.mend();
        let snapshots = world.open().await;
        snapshots.sweep().await;
        assert_eq!(world.objects().await, [OWNER]);
        assert!(world.reload().snapshots().buckets.is_empty());
        if !was_killed {
            break;
        }
    }
}
