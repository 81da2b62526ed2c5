//! Indexes that turn out damaged.

use protocol::fluss::value::ValueLayout;
use protocol::ids::Offset;

use super::*;
use crate::kv::open_index::OpenIndex;
use crate::kv::scan::first_rows;
use crate::kv::topic::TopicIndexError;

impl World {
    /// Puts nonsense in the place of a key's entry.
    fn damage_entry(&self, bucket: usize, key: &str) -> Arc<OpenIndex> {
        let index = self.buckets[bucket].opened().unwrap();
        let mut batch = index.start();
        batch.put(key.as_bytes(), b"\xff");
        batch.commit(index.state()).unwrap();
        index
    }

    async fn with_rows(count: i32) -> World {
        let world = World::new(1);
        for number in 0..count {
            world.put(0, &format!("k{number}"), Some("v")).await;
        }
        world.buckets[0].follow().await.unwrap();
        world
    }
}

#[tokio::test]
async fn a_damaged_entry_has_the_index_made_again() {
    let world = World::with_rows(5).await;
    drop(world.damage_entry(0, "k3"));
    let table = world.table(Owner::Probe);
    let failed = table
        .lookup(vec![Bytes::from_static(b"k3")], usize::MAX)
        .await;
    assert!(matches!(failed, Err(TopicIndexError::Entry)), "{failed:?}");
    assert_eq!(world.value(Owner::Probe, "k3").await.as_deref(), Some("v"));
    drop(world.damage_entry(0, "k3"));
    // Of a scan.
    let rows = table.rows(0).await.unwrap();
    let found = first_rows(&rows, ValueLayout::Plain, 9, 1 << 20, Err);
    assert!(found.is_err());
    drop(rows);
    assert_eq!(world.rows(Owner::Probe, 0).await.len(), 5);
}

#[tokio::test]
async fn who_was_in_the_middle_of_a_step_does_not_take_a_lost_index_for_an_open_one() {
    let world = World::with_rows(5).await;
    let own = &world.buckets[0];
    let lost = world.damage_entry(0, "k3");
    let _ = own.checked(&lost, TopicIndexError::Entry);
    assert!(own.index_if_open().is_none() && own.lag().is_none());
    // The last that a worker says of it.
    assert!(!own.say_applied(&lost, Offset::new(5)));
    assert_eq!(own.lag(), None);
    drop(lost);
    assert_eq!(world.value(Owner::Probe, "k3").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn an_index_that_took_the_place_of_a_damaged_one_is_not_lost_with_it() {
    let world = World::with_rows(5).await;
    let own = &world.buckets[0];
    let lost = world.damage_entry(0, "k3");
    let _ = own.checked(&lost, TopicIndexError::Entry);
    // Its files are free once nobody has it.
    let lost = {
        let weak = Arc::downgrade(&lost);
        drop(lost);
        weak
    };
    own.follow().await.unwrap();
    assert!(lost.upgrade().is_none());
    let fresh = own.opened().unwrap();
    let other = World::with_rows(1).await;
    let stale = other.buckets[0].opened().unwrap();
    let _ = own.checked(&stale, TopicIndexError::Entry);
    assert!(Arc::ptr_eq(&fresh, &own.opened().unwrap()));
}
