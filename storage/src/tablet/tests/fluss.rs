use protocol::fluss::batch::{Batches, LogBatch, build_empty};

use super::*;
use crate::tablet::{FlussBatches, FlussRead};

pub(super) fn from(at: i64) -> FlussRead {
    FlussRead {
        offset: offset(at),
        bytes_max: 1 << 20,
        at_least_one: true,
        projection: None,
        filter: None,
    }
}

pub(super) fn batches(answer: &FlussBatches) -> Vec<LogBatch> {
    assert_eq!(
        answer.bytes,
        answer.chunks.iter().map(Bytes::len).sum::<usize>()
    );
    Batches::new(answer.chunks.concat().into())
        .map(Result::unwrap)
        .collect()
}

#[tokio::test]
async fn fluss_frames_come_as_they_were_sent_with_offset_and_commit_time() {
    let world = World::new(arrow_table(), LogConfig::default());
    let sent = [
        arrow_batch(&rows(0, 3, 10)),
        arrow_batch(&rows(3, 2, 30_000)),
    ];
    let mut appended = Vec::new();
    for batch in &sent {
        appended.push(world.append(batch.clone()).await);
    }
    let answer = world.tablet.read_fluss(from(2)).await.unwrap();
    let found = batches(&answer);
    assert_eq!(found.len(), 2);
    for ((batch, sent), appended) in found.iter().zip(&sent).zip(&appended) {
        assert_eq!(batch.header().base_offset(), appended.base_offset.value());
        assert_eq!(batch.header().commit_time_ms(), appended.commit_time);
        assert_eq!(batch.bytes()[21..], sent.bytes[21..]);
        assert!(batch.crc_holds());
    }
    assert_eq!(answer.next_offset, offset(5));
    assert_eq!(answer.filtered_end_offset, None);
}

#[tokio::test]
async fn answers_end_at_batch_boundaries_within_the_limit() {
    let world = World::new(arrow_table(), LogConfig::default());
    let batch = arrow_batch(&rows(0, 1, 100));
    let length = batch.bytes.len();
    for _ in 0..10 {
        world.append(batch.clone()).await;
    }
    let mut read = from(0);
    read.bytes_max = 3 * length + length / 2;
    let answer = world.tablet.read_fluss(read.clone()).await.unwrap();
    assert_eq!(batches(&answer).len(), 3);
    assert_eq!(answer.bytes, 3 * length);
    read.bytes_max = length - 1;
    let answer = world.tablet.read_fluss(read.clone()).await.unwrap();
    assert_eq!(batches(&answer).len(), 1);
    read.at_least_one = false;
    let answer = world.tablet.read_fluss(read).await.unwrap();
    assert_eq!(batches(&answer).len(), 0);
}

#[tokio::test]
async fn kafka_frames_go_through_the_transcoder() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    world.append(kafka_batch(&[1, 2], 10)).await;
    world.append(kafka_batch(&[3], 10)).await;
    for _ in 0..2 {
        let answer = world.tablet.read_fluss(from(1)).await.unwrap();
        assert_eq!(answer.chunks.concat(), b"[0-1][2-2]");
    }
    // Once the tablet knows what to expect, it reads little itself.
    let (_, _, bytes) = world.reads(world.tablet.read_fluss(from(3))).await;
    assert_eq!(bytes, 0);
}

#[tokio::test]
async fn a_batch_without_rows_is_returned_because_it_takes_an_offset() {
    let world = World::new(arrow_table(), LogConfig::default());
    let empty = build_empty(&BatchSpec::new(SCHEMA), true).unwrap();
    world
        .append(fluss_batch(empty, 0, BatchFormat::FlussArrow))
        .await;
    let answer = world.tablet.read_fluss(from(0)).await.unwrap();
    assert_eq!(batches(&answer).len(), 1);
    assert_eq!(answer.next_offset, offset(1));
}

#[tokio::test]
async fn the_last_rows_begin_with_the_batch_that_holds_the_first_of_them() {
    let world = World::new(arrow_table(), LogConfig::default());
    for first in [0, 4, 8] {
        world.append(arrow_batch(&rows(first, 4, 5))).await;
    }
    for (limit, base) in [(1, 8), (4, 8), (5, 4), (100, 0), (i64::MAX, 0)] {
        let answer = world.tablet.read_last_rows(limit, 1 << 20).await.unwrap();
        let found = batches(&answer);
        assert_eq!(found[0].header().base_offset(), base, "limit {limit}");
        assert_eq!(answer.next_offset, offset(12));
    }
    world.tablet.log().log().delete_before(offset(6)).unwrap();
    let answer = world.tablet.read_last_rows(100, 1 << 20).await.unwrap();
    assert_eq!(batches(&answer)[0].header().base_offset(), 4);
    let answer = world.tablet.read_last_rows(0, 1 << 20).await.unwrap();
    assert!(answer.chunks.is_empty());
    assert_eq!(world.tablet.row_count(), 6);
}

#[tokio::test]
async fn an_altered_table_shows_its_new_shape() {
    let world = World::new(arrow_table(), LogConfig::default());
    let mut shape = arrow_table();
    shape.latest = SchemaId::new(2);
    shape
        .schemas
        .insert(SchemaId::new(2), Arc::new(three_columns()));
    world.tablet.set_shape(Arc::new(shape));
    assert_eq!(world.tablet.clone().shape().latest, SchemaId::new(2));
}
