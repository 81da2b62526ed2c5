use std::collections::BTreeMap;
use std::time::Duration;

use protocol::batch::{BatchFormat, UnassignedBatch};
use protocol::fluss::batch::{BatchSpec, Changes, build_arrow};
use protocol::fluss::buffer_codec::Compressor;
use protocol::kafka::batch::BatchView;
use protocol::kafka::validate::Scratch;
use protocol::raw::{RawBatchBuilder, RawColumns};

use super::*;
use crate::kv::topic::{TopicFormat, TopicIndexError};
use crate::log::ReadRange;
use crate::log::cleaner::{Cleaned, Round};

/// Rows as a Fluss client appended them before the topic was compacted.
fn arrow_batch(rows: &[(Option<&str>, &str)]) -> UnassignedBatch {
    let mut builder = RawBatchBuilder::new(RawColumns::ALL, false);
    for (key, value) in rows {
        let key = key.map(str::as_bytes);
        builder
            .append(key, Some(value.as_bytes()), TIME, std::iter::empty())
            .unwrap();
    }
    let bytes = build_arrow(
        &BatchSpec::new(SchemaId::new(1)),
        Changes::AppendOnly,
        &builder.finish(),
        &mut Compressor::new(None),
    );
    let count = rows.len() as i32;
    UnassignedBatch {
        bytes: bytes.unwrap().into(),
        format: BatchFormat::FlussArrow,
        schema_id: SchemaId::new(1),
        record_count: count,
        last_offset_delta: count - 1,
        record_time_max: -1,
        transactional: false,
        control: false,
        source: None,
    }
}

impl World {
    async fn append_arrow(&self, bucket: usize, rows: &[(Option<&str>, &str)]) {
        let append = Append {
            batches: vec![arrow_batch(rows)],
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        let log = self.buckets[bucket].log();
        log.append(append, Until::Durable).await.unwrap().unwrap();
    }

    fn clean(&self, bucket: usize, delete_retention_ms: i64) -> Cleaned {
        let log = self.buckets[bucket].log().log();
        log.roll_active().unwrap();
        let end = log.watermarks().high_watermark;
        let successors = self.successors(Owner::Probe, bucket);
        log.clean(Round {
            end,
            delete_retention_ms,
            successors: &successors,
            format: &mut TopicFormat::default(),
            pace: &mut |_| true,
        })
        .unwrap()
    }

    /// Offsets and keys of the Kafka records in a log, and how many frames of Fluss are left.
    fn records(&self, bucket: usize) -> (Vec<(i64, Option<String>)>, usize) {
        let log = self.buckets[bucket].log().log();
        let end = log.watermarks().high_watermark;
        let (mut records, mut fluss) = (Vec::new(), 0);
        let mut offset = log.watermarks().log_start;
        let mut scratch = Scratch::new();
        while offset < end {
            let range = ReadRange {
                offset,
                end,
                bytes_max: 1 << 20,
                at_least_one: true,
            };
            let run = log.read_run(range, true).unwrap().unwrap();
            for (header, batch) in run.frames() {
                if header.format.is_fluss() {
                    fluss += 1;
                    continue;
                }
                let view = BatchView::parse(batch).unwrap();
                for record in scratch.records(&view, 1 << 20).unwrap() {
                    let record = record.unwrap();
                    let key = record
                        .key
                        .map(|key| String::from_utf8(key.to_vec()).unwrap());
                    let at = header.base_offset + i64::from(record.offset_delta);
                    records.push((at.value(), key));
                }
            }
            let Some(next) = run.next_offset() else {
                break;
            };
            offset = next;
        }
        (records, fluss)
    }
}

#[tokio::test]
async fn the_cleaner_leaves_what_lookups_find() {
    let mut world = World::new(1);
    let mut model = BTreeMap::new();
    for round in 0..30 {
        for key in 0..20 {
            let value = (key % 5 != round % 5).then(|| format!("{round}"));
            let name = format!("k{key:02}");
            world.put(0, &name, value.as_deref()).await;
            model.insert(name, value);
        }
    }
    world.simulation.clock.advance(Duration::from_millis(5));
    let done = world.clean(0, 1000);
    assert_eq!((done.records_left, done.complete), (20, true));
    // Tombstones go once their time is over, from the log and from the index.
    world.simulation.clock.advance(Duration::from_millis(5000));
    let deleted = model.values().filter(|value| value.is_none()).count() as u64;
    assert_eq!(world.clean(0, 1000).tombstones_removed, deleted);
    {
        let index = world.buckets[0].opened().unwrap();
        let mut entries = 0;
        let mut count = |_: &[u8], _: &[u8]| {
            entries += 1;
            std::ops::ControlFlow::Continue(())
        };
        index.view().unwrap().scan(None, &mut count).unwrap();
        assert_eq!(entries, 20 - deleted);
    }
    for table in [1, 9] {
        world.reopen_index(0, table);
        for (key, value) in &model {
            assert_eq!(world.value(Owner::Probe, key).await, *value, "{key}");
        }
    }
}

#[tokio::test]
async fn an_index_that_is_behind_misses_no_tombstone() {
    let mut world = World::new(1);
    world.put(0, "a", Some("v")).await;
    world.buckets[0].follow().await.unwrap();
    world.buckets[0].flush().unwrap();
    world.put(0, "a", None).await;
    world.reopen_index(0, 1);
    world.clean(0, 1000);
    assert!(world.buckets[0].index_if_open().is_none(), "not needed yet");
    world.simulation.clock.advance(Duration::from_millis(5000));
    assert_eq!(world.clean(0, 1000).tombstones_removed, 1);
    world.reopen_index(0, 1);
    assert_eq!(world.value(Owner::Probe, "a").await, None);
}

#[tokio::test]
async fn an_index_that_is_lost_during_a_round_is_made_again_when_the_round_is_over() {
    let world = World::new(1);
    world.put(0, "a", Some("v")).await;
    world.put(0, "a", None).await;
    world.put(0, "b", Some("v")).await;
    world.clean(0, 1000);
    world.simulation.clock.advance(Duration::from_millis(5000));
    let own = &world.buckets[0];
    let log = own.log().log();
    let mut losses = 0;
    let done = log.clean(Round {
        end: log.watermarks().high_watermark,
        delete_retention_ms: 1000,
        successors: &world.successors(Owner::Probe, 0),
        format: &mut TopicFormat::default(),
        pace: &mut |_| {
            // It has been asked whether it has the tombstone.
            if let Ok(index) = own.opened() {
                let _ = own.checked(&index, TopicIndexError::Entry);
                losses += 1;
            }
            // What it read now would not go together with what the round is about to leave.
            assert!(matches!(
                own.follow_now(),
                Err(TopicIndexError::BeingCleaned)
            ));
            assert!(matches!(own.flush(), Err(TopicIndexError::Closed)));
            true
        },
    });
    assert_eq!(losses, 1);
    drop(done);
    assert_eq!(world.value(Owner::Probe, "a").await, None);
    assert_eq!(world.value(Owner::Probe, "b").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn rows_of_fluss_clients_are_cleaned_like_records() {
    let world = World::new(1);
    let rows = [
        (Some("a"), "1"),
        (None, "nobody's"),
        (Some("b"), "1"),
        (Some("c"), "1"),
    ];
    world.append_arrow(0, &rows).await;
    world
        .append_arrow(0, &[(Some("d"), "1"), (Some("e"), "1")])
        .await;
    world.put(0, "b", Some("2")).await;
    let done = world.clean(0, 1000);
    assert!(done.complete);
    let key = |key: &str| Some(key.to_owned());
    let (records, fluss) = world.records(0);
    assert_eq!(records, [(0, key("a")), (3, key("c")), (6, key("b"))]);
    assert_eq!(fluss, 1, "nothing of the second batch goes");
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "1"), ("d", "1"), ("e", "1")] {
        assert_eq!(world.value(Owner::Probe, key).await.as_deref(), Some(value));
    }
}
