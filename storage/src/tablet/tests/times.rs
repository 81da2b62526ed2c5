use std::time::Duration;

use arrow_array::Array;
use protocol::kafka::batch::TimestampType;
use protocol::raw::{RawBatchBuilder, RawColumns};

use super::*;
use crate::tablet::RecordAt;

fn found(timestamp_ms: i64, at: i64) -> Option<RecordAt> {
    Some(RecordAt {
        timestamp_ms,
        offset: offset(at),
        leader_epoch: LeaderEpoch::new(7),
    })
}

#[tokio::test]
async fn the_exact_kafka_record_is_found_by_its_time() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    world.append(kafka_batch(&[100, 300, 200], 10)).await;
    world.append(kafka_batch(&[250, 400], 10)).await;
    for (time, expected) in [
        (0, found(100, 0)),
        (101, found(300, 1)),
        (300, found(300, 1)),
        (301, found(400, 4)),
        (401, None),
    ] {
        let at = world.tablet.offset_for_record_time(time, false).await;
        assert_eq!(at.unwrap(), expected, "time {time}");
    }
    let largest = world.tablet.offset_of_largest_record_time(true).await;
    assert_eq!(largest.unwrap(), found(400, 4));
}

#[tokio::test]
async fn deleted_records_are_not_found_by_their_time() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    world.append(kafka_batch(&[900, 100, 500], 10)).await;
    world.append(kafka_batch(&[300], 10)).await;
    world.append(kafka_batch(&[600, 700], 10)).await;
    let log = world.tablet.log().log();
    log.delete_before(offset(1)).unwrap();
    let at = |time| world.tablet.offset_for_record_time(time, false);
    assert_eq!(at(0).await.unwrap(), found(100, 1));
    assert_eq!(at(501).await.unwrap(), found(600, 4));
    assert_eq!(at(701).await.unwrap(), None, "900 was deleted");
    log.delete_before(offset(3)).unwrap();
    let largest = world.tablet.offset_of_largest_record_time(false).await;
    assert_eq!(largest.unwrap(), found(700, 5));
}

#[tokio::test]
async fn records_that_are_not_visible_yet_are_not_found_by_their_time() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    world.append(kafka_batch(&[100], 10)).await;
    world.append_unsynced(kafka_batch(&[900], 10));
    let at = world.tablet.offset_for_record_time(500, false).await;
    assert_eq!(at.unwrap(), None);
    let largest = world.tablet.offset_of_largest_record_time(false).await;
    assert_eq!(largest.unwrap(), found(100, 0));
    world.tablet.log().log().sync().unwrap();
    let largest = world.tablet.offset_of_largest_record_time(false).await;
    assert_eq!(largest.unwrap(), found(900, 1));
}

#[tokio::test]
async fn an_empty_log_has_no_record_at_any_time() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    let tablet = &world.tablet;
    assert_eq!(tablet.offset_for_record_time(0, true).await.unwrap(), None);
    assert_eq!(
        tablet.offset_of_largest_record_time(true).await.unwrap(),
        None
    );
    assert_eq!(tablet.offset_for_commit_time(0).await.unwrap(), None);
}

#[tokio::test]
async fn records_of_a_stamped_topic_have_the_time_of_their_append() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    let append = Append {
        batches: vec![kafka_batch(&[1, 2, 3], 10)],
        expected_epoch: None,
        stamp_log_append_time: true,
    };
    let appended = world.tablet.append(append, Until::Durable).await;
    let time = appended.unwrap().unwrap().commit_time;
    let at = world.tablet.offset_for_record_time(50, false).await;
    assert_eq!(at.unwrap(), found(time, 0));
    let stored = world.tablet.log().log().read_run(
        ReadRange {
            offset: offset(0),
            end: offset(3),
            bytes_max: 1000,
            at_least_one: true,
        },
        true,
    );
    let run = stored.unwrap().unwrap();
    let (_, batch) = run.frames().next().unwrap();
    let view = protocol::kafka::batch::BatchView::parse(batch).unwrap();
    assert_eq!(view.timestamp_type(), TimestampType::LogAppendTime);
}

#[tokio::test]
async fn rows_have_their_commit_time_and_in_raw_tables_their_own() {
    let world = World::new(arrow_table(), LogConfig::default());
    let appended = world.append(arrow_batch(&rows(0, 3, 10))).await;
    let at = world.tablet.offset_for_record_time(5, false).await;
    assert_eq!(at.unwrap(), found(appended.commit_time, 0));

    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    let mut builder = RawBatchBuilder::new(RawColumns::ALL, false);
    for time in [100, 300, 200] {
        builder
            .append(None, Some(b"v"), time, std::iter::empty())
            .unwrap();
    }
    let rows = builder.finish();
    assert_eq!(rows.column(0).null_count(), 3);
    let mut batch = arrow_batch(&rows);
    batch.record_time_max = 300;
    world.append(batch).await;
    let at = world.tablet.offset_for_record_time(101, false).await;
    assert_eq!(at.unwrap(), found(300, 1));
    let largest = world.tablet.offset_of_largest_record_time(false).await;
    assert_eq!(largest.unwrap(), found(300, 1));
}

#[tokio::test]
async fn the_first_batch_that_was_committed_at_a_time_is_found() {
    let config = LogConfig {
        segment_bytes_max: 1000,
        ..LogConfig::default()
    };
    let world = World::new(arrow_table(), config);
    let mut commits = Vec::new();
    for first in 0..8 {
        world.simulation.clock.advance(Duration::from_secs(10));
        let appended = world.append(arrow_batch(&rows(first, 2, 20))).await;
        commits.push((appended.commit_time, appended.base_offset));
    }
    let at = |time| world.tablet.offset_for_commit_time(time);
    for (time, base) in &commits {
        assert_eq!(at(*time).await.unwrap(), Some(*base));
        assert_eq!(at(*time - 9_999).await.unwrap(), Some(*base));
    }
    assert_eq!(at(commits[7].0 + 1).await.unwrap(), None);
    world.tablet.log().log().delete_before(offset(3)).unwrap();
    assert_eq!(at(0).await.unwrap(), Some(offset(3)));
}
