//! Batches of one writer against buckets that refuse some of them: whatever its client takes for
//! written is in every bucket, once and in order.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::batch::{BatchFormat, UnassignedBatch};
use protocol::fluss::key::KeyEncoder;
use protocol::fluss::kv_batch::{KvBatchBuilder, KvRecord};
use protocol::kafka::partitioner::KeyPartitioner;

use super::*;
use crate::kv::topic::{UpsertSpec, kafka_batches};
use crate::log::frame::FrameHeader;
use crate::log::{AppendError, Producers, Verdict};

const BUCKETS: usize = 3;
const IN_FLIGHT_MAX: usize = 5;

/// What a try of a batch meets.
#[derive(Debug, Clone, Copy)]
enum Try {
    /// These buckets have no room for it.
    Refused([bool; BUCKETS]),
    /// It is refused before any bucket is asked.
    Unasked,
    /// All is well but for the answer, which is lost.
    Unanswered,
}

const WELL: Try = Try::Refused([false; BUCKETS]);

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Written,
    Busy,
    OutOfOrder,
    None,
}

/// The sequences of the batches in each log.
#[derive(Default)]
struct Buckets {
    logs: [Vec<i32>; BUCKETS],
    known: [Producers; BUCKETS],
}

/// A batch with a row for some bucket, as each bucket gets it.
fn batches(sequence: i32, latest_schema: SchemaId) -> Vec<Option<UnassignedBatch>> {
    let schema = raw_schema(true);
    let key = format!("k{sequence}");
    let mut encoded = Vec::new();
    let types = std::iter::once(&schema.columns[0].data_type);
    KeyEncoder::Compacted
        .encode(&[Datum::Bytes(key.as_bytes())], types, &mut encoded)
        .unwrap();
    let mut builder = KvBatchBuilder::new(SCHEMA, Some((7, sequence)));
    builder.append(KvRecord {
        key: &encoded,
        row: None,
    });
    let spec = UpsertSpec {
        schemas: vec![SCHEMA],
        latest_schema,
        partitioner: KeyPartitioner::Murmur2,
        asked_bucket: 1,
        bucket_count: BUCKETS as i32,
        now_ms: TIME,
        bytes_max: 1 << 20,
        batch_bytes_max: 1 << 20,
    };
    kafka_batches(builder.finish(), &spec).unwrap()
}

impl Buckets {
    fn offer(&mut self, bucket: usize, batch: &UnassignedBatch) -> Result<(), AppendError> {
        let source = batch.source.unwrap();
        match self.known[bucket].judge(&source)? {
            Verdict::Duplicate(_) => {}
            Verdict::Next => {
                let offset = Offset::new(self.logs[bucket].len() as i64);
                self.known[bucket].note(&FrameHeader {
                    format: BatchFormat::Kafka,
                    transactional: false,
                    control: false,
                    batch_length: 100,
                    base_offset: offset,
                    last_offset: offset,
                    leader_epoch: LeaderEpoch::new(0),
                    schema_id: SCHEMA,
                    commit_time: TIME,
                    record_time_max: TIME,
                    synced_end: Offset::ZERO,
                    source: Some(source),
                });
                self.logs[bucket].push(source.first_sequence);
            }
        }
        Ok(())
    }

    fn put(&mut self, sequence: i32, meets: Try) -> Answer {
        let busy = match meets {
            Try::Refused(busy) => busy,
            Try::Unasked => return Answer::Busy,
            Try::Unanswered => [false; BUCKETS],
        };
        let mut answer = Answer::Written;
        for (bucket, batch) in batches(sequence, SCHEMA).iter().enumerate() {
            if busy[bucket] {
                answer = Answer::Busy;
            } else if let Err(error) = self.offer(bucket, batch.as_ref().unwrap()) {
                assert!(matches!(error, AppendError::OutOfOrderSequence { .. }));
                answer = Answer::OutOfOrder;
            }
        }
        match meets {
            Try::Unanswered => Answer::None,
            _ => answer,
        }
    }
}

/// A client as those of Fluss 1.0: `Sender.handleWriteBatchException` has the rules.
#[derive(Default)]
struct Client {
    buckets: Buckets,
    next: i32,
    waiting: VecDeque<i32>,
    last_acknowledged: Option<i32>,
}

impl Client {
    fn send(&mut self) {
        if self.waiting.len() < IN_FLIGHT_MAX {
            self.waiting.push_back(self.next);
            self.next += 1;
        }
    }

    /// All batches that wait go out, before the first answer comes.
    fn round(&mut self, tries: &mut impl Iterator<Item = Try>) {
        let sent = self.waiting.iter().copied();
        let answers: Vec<(i32, Answer)> = sent
            .map(|sequence| {
                let meets = tries.next().unwrap_or(WELL);
                (sequence, self.buckets.put(sequence, meets))
            })
            .collect();
        for (sequence, answer) in answers {
            let last = self.last_acknowledged;
            let is_done = match answer {
                Answer::Written => {
                    self.last_acknowledged = last.max(Some(sequence));
                    true
                }
                Answer::OutOfOrder if last.is_some_and(|last| sequence <= last) => true,
                Answer::OutOfOrder => {
                    assert_ne!(sequence, last.unwrap_or(-1) + 1, "a client gives up");
                    false
                }
                Answer::Busy | Answer::None => false,
            };
            if is_done {
                self.waiting.retain(|waiting| *waiting != sequence);
            }
        }
    }

    fn finish(&mut self) {
        while !self.waiting.is_empty() {
            self.round(&mut std::iter::empty());
        }
        let sent: Vec<i32> = (0..self.next).collect();
        for log in &self.buckets.logs {
            assert_eq!(*log, sent);
        }
    }
}

#[test]
fn a_bucket_that_refused_the_first_batch_of_a_writer_does_not_begin_with_the_second() {
    let mut client = Client::default();
    client.send();
    client.send();
    let first = Try::Refused([false, false, true]);
    client.round(&mut [first, WELL].into_iter());
    assert_eq!(client.last_acknowledged, None);
    assert_eq!(client.buckets.logs, [vec![0, 1], vec![0, 1], vec![]]);
    client.finish();
}

#[test]
fn what_was_written_before_the_topic_became_another_table_is_no_repetition() {
    let mut buckets = Buckets::default();
    assert_eq!(buckets.put(0, WELL), Answer::Written);
    let later = SchemaId::new(SCHEMA.value() + 2);
    for (bucket, batch) in batches(0, later).iter().enumerate() {
        buckets.offer(bucket, batch.as_ref().unwrap()).unwrap();
    }
    assert_eq!(buckets.logs[0], [0, 0]);
    // Somebody who still writes to the table that it was.
    let fenced = buckets.offer(0, batches(1, SCHEMA)[0].as_ref().unwrap());
    assert!(matches!(fenced, Err(AppendError::FencedProducer { .. })));
}

#[derive(Debug, Clone)]
enum Op {
    Send,
    Round(Vec<Try>),
}

fn op() -> impl Strategy<Value = Op> {
    let meets = prop_oneof![
        4 => prop::array::uniform3(prop::bool::weighted(0.3)).prop_map(Try::Refused),
        1 => Just(Try::Unasked),
        1 => Just(Try::Unanswered),
    ];
    prop_oneof![
        3 => Just(Op::Send),
        1 => vec(meets, 0..6).prop_map(Op::Round),
    ]
}

proptest! {
    #[test]
    fn every_bucket_has_every_batch_once_and_in_order(ops in vec(op(), 1..60)) {
        let mut client = Client::default();
        for op in ops {
            match op {
                Op::Send => client.send(),
                Op::Round(tries) => client.round(&mut tries.into_iter()),
            }
        }
        client.finish();
    }
}
