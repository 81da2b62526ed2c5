use proptest::prelude::*;
use protocol::kafka::batch::{BatchView, total_length};

use super::*;
use crate::log::ReadError;
use crate::tablet::{KafkaBatches, KafkaRead, KafkaReadError};

fn from(at: i64) -> KafkaRead {
    KafkaRead {
        offset: offset(at),
        bytes_max: 1 << 20,
        at_least_one: true,
        committed_only: false,
    }
}

/// Splits chunks into batches.
fn batches(answer: &KafkaBatches) -> Vec<Bytes> {
    let mut found = Vec::new();
    for chunk in &answer.chunks {
        let mut rest = chunk.clone();
        while !rest.is_empty() {
            let length = total_length(&rest).unwrap();
            found.push(rest.split_to(length));
        }
    }
    found
}

#[tokio::test]
async fn kafka_frames_come_as_they_were_sent_with_their_assigned_fields() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    let sent = [
        kafka_batch(&[1, 2], 10),
        kafka_batch(&[3], 40_000),
        kafka_batch(&[4], 5),
    ];
    for batch in &sent {
        world.append(batch.clone()).await;
    }
    let answer = world.tablet.read_kafka(from(1)).await.unwrap();
    let found = batches(&answer);
    assert_eq!(answer.next_offset, offset(4));
    assert_eq!(answer.bytes, found.iter().map(Bytes::len).sum::<usize>());
    assert_eq!(found.len(), 3, "the batch that holds the offset is whole");
    for ((batch, sent), base) in found.iter().zip(&sent).zip([0, 2, 3]) {
        let view = BatchView::parse(batch).unwrap();
        assert_eq!((view.base_offset(), view.leader_epoch()), (base, 7));
        assert_eq!(batch[16..], sent.bytes[16..]);
        assert!(view.crc_is_valid());
    }
}

#[tokio::test]
async fn a_tail_reader_needs_one_small_read_and_an_idle_one_none() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    for _ in 0..300 {
        world.append(kafka_batch(&[1], 1000)).await;
    }
    let (answer, reads, bytes) = world.reads(world.tablet.read_kafka(from(299))).await;
    assert_eq!(answer.unwrap().next_offset, offset(300));
    assert_eq!(reads, 1);
    assert!(bytes < 8 << 10, "{bytes} bytes read for one batch");
    let (answer, reads, _) = world.reads(world.tablet.read_kafka(from(300))).await;
    assert!(answer.unwrap().chunks.is_empty());
    assert_eq!(reads, 0);
}

#[tokio::test]
async fn what_is_not_durable_yet_is_not_read() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    world.append(kafka_batch(&[1], 10)).await;
    world.append_unsynced(kafka_batch(&[2, 3], 10));
    let answer = world.tablet.read_kafka(from(0)).await.unwrap();
    assert_eq!(answer.next_offset, offset(1));
    assert_eq!(answer.watermarks.log_end, offset(3));
    let answer = world.tablet.read_kafka(from(2)).await.unwrap();
    assert!(answer.chunks.is_empty());
    world.tablet.log().log().sync().unwrap();
    let answer = world.tablet.read_kafka(from(2)).await.unwrap();
    assert_eq!(answer.next_offset, offset(3));
}

#[tokio::test]
async fn offsets_outside_of_the_log_are_refused() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    world.append(kafka_batch(&[1, 2, 3], 10)).await;
    world.tablet.log().log().delete_before(offset(2)).unwrap();
    for at in [1, 4] {
        let error = world.tablet.read_kafka(from(at)).await.unwrap_err();
        let KafkaReadError::Log(ReadError::OutOfRange {
            log_start, log_end, ..
        }) = error
        else {
            panic!("{error}");
        };
        assert_eq!((log_start, log_end), (offset(2), offset(3)));
    }
    assert_eq!(world.tablet.row_count(), 1);
}

#[tokio::test]
async fn the_first_batch_may_be_larger_than_the_limit_and_only_if_asked_for() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    world.append(kafka_batch(&[1], 3_000_000)).await;
    world.append(kafka_batch(&[2], 10)).await;
    let mut read = from(0);
    read.bytes_max = 100;
    let answer = world.tablet.read_kafka(read).await.unwrap();
    assert_eq!(answer.next_offset, offset(1));
    assert_eq!(batches(&answer).len(), 1);
    read.at_least_one = false;
    let answer = world.tablet.read_kafka(read).await.unwrap();
    assert!(answer.chunks.is_empty());
    assert_eq!(answer.next_offset, offset(0));
}

#[tokio::test]
async fn frames_of_fluss_go_through_the_transcoder_and_others_do_not() {
    let world = World::new(TableShape::raw(SCHEMA, false), LogConfig::default());
    world.append(kafka_batch(&[1], 10)).await;
    world.append(arrow_batch(&rows(0, 3, 10))).await;
    world.append(arrow_batch(&rows(0, 2, 10))).await;
    world.append(kafka_batch(&[2], 10)).await;
    // The second round knows that Fluss frames are to be met.
    for _ in 0..2 {
        let answer = world.tablet.read_kafka(from(0)).await.unwrap();
        assert_eq!(answer.next_offset, offset(7));
        assert_eq!(&answer.chunks[1][..], b"[1-3]");
        assert_eq!(&answer.chunks[2][..], b"[4-5]");
        assert_eq!(answer.chunks.len(), 4);
        let answer = world.tablet.read_kafka(from(2)).await.unwrap();
        assert_eq!(&answer.chunks[0][..], b"[1-3]");
    }
    let calls = world.other.calls.lock();
    assert!(calls.iter().all(|range| range.end == offset(7)));
}

#[tokio::test]
async fn a_read_that_must_wait_for_the_disk_gives_the_same() {
    let config = LogConfig {
        segment_bytes_max: 2_000,
        ..LogConfig::default()
    };
    let world = World::new(TableShape::raw(SCHEMA, false), config);
    for _ in 0..20 {
        world.append(kafka_batch(&[1], 600)).await;
    }
    let cached = world.tablet.read_kafka(from(3)).await.unwrap();
    world.simulation.disk.pretend_uncached(true);
    world.tablet.log().log().unload_indexes();
    let waited = world.tablet.read_kafka(from(3)).await.unwrap();
    assert_eq!(cached.chunks.concat(), waited.chunks.concat());
    assert_eq!(waited.next_offset, offset(20));
}

/// What a frame looks like to a Kafka reader.
#[derive(Debug, Clone)]
enum Written {
    Kafka { records: usize, value_bytes: usize },
    Fluss { rows: usize },
}

fn written() -> impl Strategy<Value = Written> {
    prop_oneof![
        (1usize..4, prop_oneof![0usize..200, 10_000usize..40_000]).prop_map(
            |(records, value_bytes)| Written::Kafka {
                records,
                value_bytes
            }
        ),
        (1usize..4).prop_map(|rows| Written::Fluss { rows }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_offset_is_read_back_as_it_was_appended(
        frames in proptest::collection::vec(written(), 1..25),
        segment_bytes_max in 200u64..200_000,
        starts in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..100_000, any::<bool>()), 1..8),
    ) {
        runtime().block_on(async {
            let config = LogConfig { segment_bytes_max, index_interval_bytes: 500, ..LogConfig::default() };
            let world = World::new(TableShape::raw(SCHEMA, false), config);
            *world.other.length.lock() = 150;
            // By last offset: what a reader is to get.
            let mut expected: Vec<(i64, Bytes)> = Vec::new();
            for frame in &frames {
                let batch = match frame {
                    Written::Kafka { records, value_bytes } => kafka_batch(&vec![5; *records], *value_bytes),
                    Written::Fluss { rows: count } => arrow_batch(&rows(0, *count, 20)),
                };
                let appended = world.append(batch.clone()).await;
                let (base, last) = (appended.base_offset.value(), appended.last_offset.value());
                let bytes = if batch.format == BatchFormat::Kafka {
                    let mut bytes = batch.bytes.to_vec();
                    bytes[..8].copy_from_slice(&base.to_be_bytes());
                    bytes[12..16].copy_from_slice(&7i32.to_be_bytes());
                    bytes
                } else {
                    world.other.show(base, last)
                };
                expected.push((last, bytes.into()));
            }
            let end = expected.last().unwrap().0 + 1;
            for (start, bytes_max, at_least_one) in starts {
                let start = start.index(end as usize) as i64;
                let read = KafkaRead { offset: offset(start), bytes_max, at_least_one, committed_only: true };
                let answer = world.tablet.read_kafka(read).await.unwrap();
                let first = expected.partition_point(|(last, _)| *last < start);
                let count = expected.partition_point(|(last, _)| *last < answer.next_offset.value()) - first;
                let wanted: Vec<_> = expected[first..first + count].iter().map(|(_, b)| b.to_vec()).collect();
                prop_assert_eq!(answer.chunks.concat(), wanted.concat());
                prop_assert_eq!(answer.bytes, wanted.concat().len());
                prop_assert!(answer.bytes <= bytes_max || at_least_one && count == 1);
                prop_assert!(count >= 1 || !at_least_one);
                // It stopped because the next frame did not fit, as stored or as shown.
                if let Some(next) = expected.get(first + count) {
                    let stored = match &frames[first + count] {
                        Written::Fluss { .. } => 1000,
                        Written::Kafka { .. } => next.1.len(),
                    };
                    prop_assert!(answer.bytes + stored > bytes_max);
                }
            }
            Ok(())
        })?;
    }
}
