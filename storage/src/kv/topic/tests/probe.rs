use std::time::Duration;

use protocol::fluss::value::Value;
use protocol::kafka::partitioner::KeyPartitioner;

use super::*;
use crate::kv::scan::first_rows;

impl World {
    fn wait_ms(&self, ms: u64) {
        self.simulation.clock.advance(Duration::from_millis(ms));
    }

    async fn put_at(&self, bucket: usize, record_time: i64, value: &str) {
        let mut batch = BatchBuilder::new(BatchOptions::default());
        batch.append(0, record_time, Some(b"k"), Some(value.as_bytes()), []);
        self.append(bucket, batch).await;
    }
}

#[tokio::test]
async fn the_newest_of_all_buckets_counts_and_shows_once() {
    let world = World::new(3);
    world.put(0, "a", Some("old")).await;
    world.put(1, "gone", Some("old")).await;
    world.wait_ms(10);
    world.put(2, "a", Some("new")).await;
    world.put(0, "gone", None).await;
    assert_eq!(world.value(Owner::Probe, "a").await.as_deref(), Some("new"));
    assert_eq!(world.value(Owner::Probe, "gone").await, None);
    assert_eq!(world.rows(Owner::Probe, 0).await, []);
    assert_eq!(world.rows(Owner::Probe, 1).await, []);
    let shown = [("a".to_owned(), "new".to_owned())];
    assert_eq!(world.rows(Owner::Probe, 2).await, shown);

    world.wait_ms(10);
    world.put(1, "gone", Some("back")).await;
    let found = world.value(Owner::Probe, "gone").await;
    assert_eq!(found.as_deref(), Some("back"));
    world.buckets[0]
        .log()
        .log()
        .delete_before(Offset::new(1))
        .unwrap();
    assert_eq!(world.value(Owner::Probe, "a").await.as_deref(), Some("new"));
}

#[tokio::test]
async fn of_one_commit_time_the_later_record_counts_and_then_the_lower_bucket() {
    let world = World::new(3);
    world.put_at(0, 100, "earlier").await;
    world.put_at(1, 200, "later").await;
    world.put_at(2, 200, "higher bucket").await;
    let found = world.value(Owner::Probe, "k").await;
    assert_eq!(found.as_deref(), Some("later"));
    assert_eq!(world.rows(Owner::Probe, 0).await, []);
    assert_eq!(world.rows(Owner::Probe, 1).await.len(), 1);
    assert_eq!(world.rows(Owner::Probe, 2).await, []);
}

#[tokio::test]
async fn a_known_function_asks_one_bucket_only() {
    let world = World::new(4);
    let functions = [
        KeyPartitioner::Murmur2,
        KeyPartitioner::Crc32,
        KeyPartitioner::Fnv1a,
    ];
    for function in functions {
        let owner = Owner::Known(function);
        let own = function.partition(b"key", 4).unwrap() as usize;
        let other = (own + 1) % 4;
        world.put(own, "key", Some("own")).await;
        world.wait_ms(10);
        world.put(other, "key", Some("astray")).await;
        assert_eq!(world.value(owner, "key").await.as_deref(), Some("own"));
        assert_eq!(world.rows(owner, own).await.len(), 1);
        assert_eq!(world.rows(owner, other).await, []);
    }
    // librdkafka sends an empty key anywhere.
    world.put(3, "", Some("v")).await;
    let owner = Owner::Known(KeyPartitioner::Crc32);
    assert_eq!(world.value(owner, "").await.as_deref(), Some("v"));
    let of_empty = |rows: Vec<(String, String)>| rows.iter().any(|(key, _)| key.is_empty());
    assert!(of_empty(world.rows(owner, 3).await));
}

#[tokio::test]
async fn many_rows_are_limited_by_count_and_size() {
    let world = World::new(2);
    for number in 0..1000 {
        let key = format!("k{number:04}");
        world.put(0, &key, Some("0")).await;
        if number % 2 == 0 {
            world.wait_ms(1);
            world.put(1, &key, Some("1")).await;
        }
    }
    let table = world.table(Owner::Probe);
    let rows = table.rows(0).await.unwrap();
    let first = |rows_max, bytes_max| {
        let found = first_rows(&rows, ValueLayout::Plain, rows_max, bytes_max, Err);
        found.unwrap()
    };
    let values = |batch: &[u8]| {
        let values = read_value_batch(batch).unwrap();
        let key = |value: Value<'_>| {
            let mut plain = Vec::new();
            value.write(&mut plain);
            row(&plain).0
        };
        values.into_iter().map(key).collect::<Vec<_>>()
    };
    let ten = values(&first(10, 1 << 20).unwrap());
    assert_eq!((ten.len(), ten[0].as_str()), (10, "k0001"));
    let all = first(usize::MAX, usize::MAX).unwrap();
    assert_eq!(values(&all).len(), 500);
    assert_eq!(first(usize::MAX, all.len() - 1), Err(all.len()));
    assert!(values(&first(0, 1).unwrap()).is_empty());
    assert_eq!(world.rows(Owner::Probe, 1).await.len(), 500);
}
