use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::kv::topic::TopicIndexError;

const BUCKETS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Key number and value number; none deletes.
    Put(usize, u8, Option<u8>),
    Wait,
    /// A bucket is read.
    Follow(usize),
    Flush(usize),
    /// The process is killed: an index loses what is not on its disk.
    Reopen(usize),
    /// Records are deleted: so many.
    Delete(usize, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let bucket = 0..BUCKETS;
    prop_oneof![
        12 => (bucket.clone(), 0..6u8, prop::option::weighted(0.7, any::<u8>()))
            .prop_map(|(bucket, key, value)| Step::Put(bucket, key, value)),
        2 => Just(Step::Wait),
        2 => bucket.clone().prop_map(Step::Follow),
        1 => bucket.clone().prop_map(Step::Flush),
        1 => bucket.clone().prop_map(Step::Reopen),
        1 => (bucket, 1..4i64).prop_map(|(bucket, count)| Step::Delete(bucket, count)),
    ]
}

/// All records of a bucket: key, commit time, value. Record times are all the same.
type Records = Vec<(u8, u64, Option<u8>)>;

#[derive(Default)]
struct Model {
    now: u64,
    buckets: [Records; BUCKETS],
    deleted: [usize; BUCKETS],
}

impl Model {
    /// The value of each key, and the bucket that has it.
    fn values(&self) -> BTreeMap<u8, (usize, u8)> {
        let mut newest: BTreeMap<u8, (u64, usize, Option<u8>)> = BTreeMap::new();
        for (bucket, records) in self.buckets.iter().enumerate() {
            let mut last: BTreeMap<u8, (u64, Option<u8>)> = BTreeMap::new();
            for (key, time, value) in &records[self.deleted[bucket]..] {
                last.insert(*key, (*time, *value));
            }
            for (key, (time, value)) in last {
                if newest.get(&key).is_none_or(|(best, ..)| time > *best) {
                    newest.insert(key, (time, bucket, value));
                }
            }
        }
        let live = newest
            .into_iter()
            .filter_map(|(key, (_, bucket, value))| Some((key, (bucket, value?))));
        live.collect()
    }
}

async fn run(steps: &[Step]) {
    let mut world = World::new(BUCKETS as i32);
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Put(bucket, key, value) => {
                let text = value.map(|value| value.to_string());
                world.put(*bucket, &key.to_string(), text.as_deref()).await;
                model.buckets[*bucket].push((*key, model.now, *value));
            }
            Step::Wait => {
                world.simulation.clock.advance(Duration::from_millis(5));
                model.now += 1;
            }
            Step::Follow(bucket) => world.buckets[*bucket].follow().await.unwrap(),
            Step::Flush(bucket) => match world.buckets[*bucket].flush() {
                Ok(()) | Err(TopicIndexError::Closed) => {}
                Err(error) => panic!("{error}"),
            },
            Step::Reopen(bucket) => world.reopen_index(*bucket, 1),
            Step::Delete(bucket, count) => {
                let log = world.buckets[*bucket].log().clone();
                let w = log.log().watermarks();
                let start = log.log().delete_before(w.log_start + *count).unwrap();
                model.deleted[*bucket] = usize::try_from(start.value()).unwrap();
            }
        }
    }
    let values = model.values();
    for key in 0..6u8 {
        let found = world.value(Owner::Probe, &key.to_string()).await;
        let expected = values.get(&key).map(|(_, value)| value.to_string());
        assert_eq!(found, expected, "key {key}");
    }
    for bucket in 0..BUCKETS {
        let of_bucket = values.iter().filter(|(_, (owner, _))| *owner == bucket);
        let expected: Vec<_> = of_bucket
            .map(|(key, (_, value))| (key.to_string(), value.to_string()))
            .collect();
        assert_eq!(world.rows(Owner::Probe, bucket).await, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn lookups_and_rows_are_those_of_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(&steps));
    }
}
