//! What somebody reads is kept.

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

async fn ids(snapshots: &KvSnapshots) -> Vec<i64> {
    snapshots.all(tablet()).iter().map(|s| s.id).collect()
}

async fn take_more(world: &World, snapshots: &KvSnapshots, index: &mut world::Writing) {
    for name in ["x", "y"] {
        let name = format!("{name}{}", snapshots.newest(tablet()).map_or(0, |s| s.id));
        index.write(&[name]);
        world.take(snapshots, index).await.unwrap();
    }
}

#[tokio::test]
async fn a_leased_snapshot_is_kept_until_it_is_released_also_over_a_restart() {
    let world = World::new();
    let snapshots = world.open().await;
    let mut index = world.index("one");
    index.write(&["a"]);
    world.take(&snapshots, &index).await.unwrap();
    let wanted = [(tablet(), 0), (tablet(), 7)];
    let gone = snapshots.acquire("job", HOUR, &wanted).await.unwrap();
    assert_eq!(gone, [(tablet(), 7)]);
    take_more(&world, &snapshots, &mut index).await;
    take_more(&world, &snapshots, &mut index).await;
    assert_eq!(ids(&snapshots).await, [0, 3, 4]);
    assert_eq!(snapshots.oldest_offset(tablet()), Some(Offset::new(1)));
    world.check(&snapshots).await;
    let snapshots = world.open().await;
    snapshots.retire().await;
    assert_eq!(ids(&snapshots).await, [0, 3, 4]);
    snapshots.release("job", &[tablet()]).await.unwrap();
    assert!(snapshots.records.read().leases.is_empty());
    snapshots.retire().await;
    assert_eq!(ids(&snapshots).await, [3, 4]);
    world.check(&snapshots).await;
    let gone = snapshots
        .acquire("late", HOUR, &[(tablet(), 0)])
        .await
        .unwrap();
    assert_eq!(gone, [(tablet(), 0)]);
    assert!(world.reload().snapshots().leases.is_empty());
}

#[tokio::test]
async fn a_lease_ends_when_its_time_is_over_or_it_is_dropped() {
    let world = World::new();
    let snapshots = world.open().await;
    let mut index = world.index("one");
    index.write(&["a"]);
    world.take(&snapshots, &index).await.unwrap();
    let wanted = [(tablet(), 0)];
    snapshots.acquire("one", HOUR, &wanted).await.unwrap();
    snapshots.acquire("two", 3 * HOUR, &wanted).await.unwrap();
    snapshots.acquire("three", HOUR, &wanted).await.unwrap();
    take_more(&world, &snapshots, &mut index).await;
    world.simulation.clock.advance(HOUR / 2);
    // Renewed.
    snapshots.acquire("one", HOUR, &[]).await.unwrap();
    world.simulation.clock.advance(HOUR);
    let leases = || -> Vec<String> {
        let records = snapshots.records.read();
        records.leases.keys().cloned().collect()
    };
    snapshots.expire_leases().await;
    assert_eq!(leases(), ["one", "two"]);
    world.simulation.clock.advance(Duration::from_millis(1));
    snapshots.expire_leases().await;
    assert_eq!(leases(), ["two"]);
    snapshots.retire().await;
    assert_eq!(ids(&snapshots).await, [0, 1, 2]);
    snapshots.drop_lease("two").await.unwrap();
    snapshots.drop_lease("two").await.unwrap();
    snapshots.release("two", &[tablet()]).await.unwrap();
    snapshots.retire().await;
    assert_eq!(ids(&snapshots).await, [1, 2]);
}

#[tokio::test]
async fn a_lease_that_is_prolonged_while_others_expire_stays() {
    let world = World::new();
    let snapshots = world.open().await;
    let mut index = world.index("one");
    index.write(&["a"]);
    world.take(&snapshots, &index).await.unwrap();
    snapshots
        .acquire("job", HOUR, &[(tablet(), 0)])
        .await
        .unwrap();
    world.simulation.clock.advance(2 * HOUR);
    // Both wait for their turn, the client first.
    let turn = snapshots.changing.lock().await;
    let (gone, (), ()) = tokio::join!(
        snapshots.acquire("job", HOUR, &[]),
        snapshots.expire_leases(),
        async { drop(turn) },
    );
    assert_eq!(gone.unwrap(), []);
    assert!(snapshots.records.read().leases.contains_key("job"));
}

#[tokio::test]
async fn leases_have_bounds() {
    let world = World::new();
    let snapshots = world.open().await;
    let long = "x".repeat(leases::ID_BYTES_MAX + 1);
    let refused = snapshots.acquire(&long, HOUR, &[]).await;
    assert!(matches!(refused, Err(LeaseError::Id(_))), "{refused:?}");
    // Nothing was leased, so nothing is kept.
    snapshots.acquire("idle", HOUR, &[]).await.unwrap();
    assert!(snapshots.records.read().leases.is_empty());
    {
        let lease = storage::catalog::SnapshotLease {
            expires_ms: 0,
            snapshots: [(tablet(), 0)].into(),
        };
        let many = (0..leases::LEASES_MAX).map(|n| (n.to_string(), lease.clone()));
        snapshots.records.write().leases.extend(many);
    }
    let refused = snapshots.acquire("one more", HOUR, &[(tablet(), 0)]).await;
    assert!(matches!(refused, Err(LeaseError::TooMany)), "{refused:?}");
    assert!(snapshots.acquire("7", HOUR, &[]).await.is_ok());
}
