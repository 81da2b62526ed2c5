#![allow(
    clippy::disallowed_methods,
    reason = "looks at the files behind everybody's back"
)]

mod crashes;
mod leased;
mod world;

use std::time::Duration;

use protocol::ids::Offset;

use super::*;
use world::{World, tablet};

#[tokio::test]
async fn a_snapshot_gives_the_index_back_as_it_was() {
    let world = World::new();
    let snapshots = world.open().await;
    let mut index = world.index("one");
    assert_eq!(snapshots.newest(tablet()), None);
    index.write(&["a", "b"]);
    let taken = world.take(&snapshots, &index).await.unwrap();
    assert_eq!((taken.id, taken.log_offset), (0, Offset::new(2)));
    index.write(&["c"]);
    assert_eq!(snapshots.newest(tablet()), Some(taken.clone()));
    assert_eq!(world.restored(&snapshots), ["a", "b"]);
    let completed = snapshots.read(tablet(), 0).await.unwrap();
    assert_eq!(completed.row_count, Some(2));
    assert_eq!(completed.log_offset, taken.log_offset);
    let all: u64 = completed.files().map(|file| file.bytes).sum();
    assert_eq!(all, taken.bytes);
    let unknown = snapshots.read(tablet(), 1).await;
    assert!(matches!(unknown, Err(ReadSnapshotError::NotExist { .. })));
    // Objects are where Fluss has them.
    let objects = world.objects().await;
    let folder = format!("kv/kv/{}-{}/0/", world::TABLE, tablet().table);
    assert!(objects.contains(&format!("{folder}snap-0/_METADATA")));
    let shared = format!("{folder}shared/");
    assert!(objects.iter().any(|object| object.starts_with(&shared)));
}

#[tokio::test]
async fn nothing_is_taken_of_what_did_not_change() {
    let world = World::new();
    let snapshots = world.open().await;
    let mut index = world.index("one");
    index.write(&["a"]);
    assert!(world.take(&snapshots, &index).await.is_some());
    assert_eq!(world.take(&snapshots, &index).await, None);
    let closed = snapshots.take(tablet(), |_| Ok(None)).await.unwrap();
    assert_eq!(closed, None);
    // Also after a restart.
    let snapshots = world.open().await;
    assert_eq!(world.take(&snapshots, &index).await, None);
    assert_eq!(snapshots.all(tablet()).len(), 1);
}

#[tokio::test]
async fn snapshots_of_one_database_share_files_and_those_of_another_do_not() {
    let world = World::new();
    let snapshots = world.open().await;
    let mut index = world.index("one");
    let names = |prefix: &str| {
        (0..2_000)
            .map(|n| format!("{prefix}{n}"))
            .collect::<Vec<_>>()
    };
    index.write(&names("a"));
    let first = world.take(&snapshots, &index).await.unwrap();
    index.write(&["b"]);
    let second = world.take(&snapshots, &index).await.unwrap();
    assert!(second.bytes < first.bytes, "{second:?} {first:?}");
    let shared = |id| {
        let snapshots = Arc::clone(&snapshots);
        async move { snapshots.read(tablet(), id).await.unwrap().shared }
    };
    let (old, new) = (shared(first.id).await, shared(second.id).await);
    assert!(old.iter().any(|file| new.contains(file)), "{old:?} {new:?}");

    // Another database has files of the same names.
    let mut other = world.index("other");
    other.write(&names("z"));
    let third = world.take(&snapshots, &other).await.unwrap();
    let other_files = shared(third.id).await;
    let names_of = |files: &[SnapshotFile]| -> Vec<String> {
        files.iter().map(|file| file.name.clone()).collect()
    };
    let shares_a_name = names_of(&other_files)
        .iter()
        .any(|name| names_of(&new).contains(name));
    assert!(shares_a_name, "else the test shows nothing");
    assert!(other_files.iter().all(|file| !new.contains(file)));
    assert_eq!(world.restored(&snapshots).len(), 2_000);
}

#[tokio::test]
async fn the_newest_are_kept_and_the_files_of_others_go() {
    let world = World::new();
    let snapshots = world.open().await;
    let mut index = world.index("one");
    for n in 0..5 {
        index.write(&[n.to_string()]);
        world.take(&snapshots, &index).await.unwrap();
        world.check(&snapshots).await;
    }
    let ids: Vec<_> = snapshots.all(tablet()).iter().map(|s| s.id).collect();
    assert_eq!(ids, [3, 4]);
    assert_eq!(snapshots.oldest_offset(tablet()), Some(Offset::new(4)));
    assert_eq!(world.restored(&snapshots), ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_dropped_table_leaves_nothing() {
    let world = World::new();
    let snapshots = world.open().await;
    let mut index = world.index("one");
    index.write(&["a"]);
    world.take(&snapshots, &index).await.unwrap();
    world.catalog().drop_table(tablet().table).unwrap();
    snapshots.retire().await;
    assert_eq!(world.objects().await, ["kv/_CLUSTER"]);
    assert!(snapshots.all(tablet()).is_empty());
    let records = world.reload().snapshots();
    assert!(records.buckets.is_empty());
    // What is under way comes to nothing.
    index.write(&["b"]);
    assert_eq!(world.take(&snapshots, &index).await, None);
    assert_eq!(world.objects().await, ["kv/_CLUSTER"]);
}

#[tokio::test]
async fn a_snapshot_that_lost_a_file_is_not_told_of_any_more() {
    let world = World::new();
    let snapshots = world.open().await;
    let mut index = world.index("one");
    for name in ["a", "b"] {
        index.write(&[name]);
        world.take(&snapshots, &index).await.unwrap();
    }
    let newest = snapshots.read(tablet(), 1).await.unwrap();
    world
        .remote
        .delete(&newest.private[0].object)
        .await
        .unwrap();
    snapshots.sweep().await;
    assert_eq!(snapshots.newest(tablet()).map(|s| s.id), Some(0));
    assert_eq!(world.restored(&snapshots), ["a"]);
    world.check(&snapshots).await;
    // All of them, and what they consist of.
    world.wipe().await;
    snapshots.sweep().await;
    assert_eq!(snapshots.newest(tablet()), None);
    index.write(&["c"]);
    let taken = world.take(&snapshots, &index).await.unwrap();
    assert_eq!(taken.id, 2, "ids are not used twice");
    assert_eq!(world.restored(&snapshots), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_store_has_one_owner() {
    let world = World::new();
    drop(world.open().await);
    drop(world.open().await);
    let other = World::of_seed(2);
    let refused = other.open_in(Arc::clone(&world.remote)).await;
    assert!(matches!(refused, Err(OpenSnapshotsError::Owned { .. })));
}

#[tokio::test]
async fn a_store_that_does_not_answer_costs_no_snapshot() {
    let world = World::new();
    let snapshots = world.open().await;
    let mut index = world.index("one");
    for name in ["a", "b"] {
        index.write(&[name]);
        world.take(&snapshots, &index).await.unwrap();
    }
    world.fuse.burn_after(-1);
    snapshots.sweep().await;
    index.write(&["c"]);
    let failed = snapshots.take(tablet(), index.link()).await;
    assert!(
        matches!(failed, Err(TakeSnapshotError::Previous(_))),
        "{failed:?}"
    );
    world.fuse.mend();
    assert_eq!(snapshots.all(tablet()).len(), 2);
    assert!(world.take(&snapshots, &index).await.is_some());
    assert_eq!(world.restored(&snapshots), ["a", "b", "c"]);
    assert!(!world.scratch().join("snapshot").exists());
}
