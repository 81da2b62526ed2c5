//! Random batches, refused parts, lost answers and crashes against what every bucket should hold:
//! each record once, in the order in which the producer sent them.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::batch::{BatchFormat, ProducerScheme, SourceBlock};
use protocol::ids::{LeaderEpoch, Offset, SchemaId};
use storage::kv::tablet::KvError;
use storage::log::frame::FrameHeader;
use storage::log::{ProducerKey, Producers, SourcePart, Verdict};

use super::line::{LineError, LineTicket, Lines, Parts, PutFailure};
use super::sequences::{Batch, Sequences};

const BUCKETS: usize = 3;
const IN_FLIGHT_MAX: usize = 5;

#[derive(Debug, Clone)]
enum Op {
    /// A batch of records for these buckets.
    Send(Vec<usize>),
    /// The answers of so many batches arrive, those of all others are lost.
    Settle(usize),
    /// The broker dies; each bucket loses so many parts at most, and none that was acknowledged.
    Crash(Vec<usize>),
    /// The producer begins again with a new epoch.
    Bump,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => vec(0..BUCKETS, 1..5).prop_map(Op::Send),
        3 => (0..=IN_FLIGHT_MAX).prop_map(Op::Settle),
        1 => vec(0..4usize, BUCKETS).prop_map(Op::Crash),
        1 => Just(Op::Bump),
    ];
    vec(op, 1..60)
}

/// A part in a bucket's log, and the numbers of its records.
type Frame = (FrameHeader, Vec<usize>);

#[derive(Default)]
struct World {
    logs: [Vec<Frame>; BUCKETS],
    /// Whether the next parts are refused; afterwards none is.
    refusals: VecDeque<bool>,
    commit_time: i64,
}

impl World {
    fn producers(&self, bucket: usize) -> Producers {
        let mut producers = Producers::default();
        for (header, _) in &self.logs[bucket] {
            producers.note(header);
        }
        producers
    }

    fn put(
        &mut self,
        bucket: usize,
        part: &SourcePart,
        records: Vec<usize>,
    ) -> Result<(), KvError> {
        if self.refusals.pop_front() == Some(true) {
            return Err(KvError::QueueFull { bytes: 1, max: 1 });
        }
        match self.producers(bucket).judge_part(part)? {
            Verdict::Duplicate(_) => {}
            Verdict::Next => {
                self.commit_time += 1;
                let base = Offset::new(self.logs[bucket].len() as i64);
                let header = FrameHeader {
                    format: BatchFormat::FlussArrow,
                    transactional: false,
                    control: false,
                    batch_length: 100,
                    base_offset: base,
                    last_offset: base,
                    leader_epoch: LeaderEpoch::new(0),
                    schema_id: SchemaId::new(1),
                    // Several parts fall into one millisecond.
                    commit_time: self.commit_time / 4,
                    record_time_max: 0,
                    synced_end: Offset::ZERO,
                    source: Some(part.source),
                };
                self.logs[bucket].push((header, records));
            }
        }
        Ok(())
    }
}

struct ModelParts {
    world: Arc<Mutex<World>>,
    source: SourceBlock,
    /// Bucket, first and last sequence, records.
    parts: Vec<(usize, i32, i32, Vec<usize>)>,
}

impl Parts for ModelParts {
    type Taken = ();

    async fn recall(&self) -> Result<Sequences, KvError> {
        tokio::task::yield_now().await;
        let world = self.world.lock();
        let key = ProducerKey::of(&self.source);
        let known = (0..BUCKETS).flat_map(|bucket| world.producers(bucket).entries());
        let known = known.filter(|(found, _)| *found == key);
        Ok(Sequences::recalled(known.map(|(_, entry)| entry)))
    }

    async fn put(self, newest: i32) -> Result<(), PutFailure> {
        let (mut refused, mut taken) = (None, false);
        for (bucket, first_sequence, last_sequence, records) in self.parts {
            tokio::task::yield_now().await;
            let source = SourceBlock {
                first_sequence,
                last_sequence,
                ..self.source
            };
            let part = SourcePart { source, newest };
            match self.world.lock().put(bucket, &part, records) {
                Ok(()) => taken = true,
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            None => Ok(()),
            Some(error) => Err(PutFailure {
                error,
                partly: taken,
            }),
        }
    }
}

/// A batch as its producer keeps it until it is acknowledged.
#[derive(Debug, Clone)]
struct Sent {
    epoch: i16,
    first: i32,
    /// Number of the first record.
    record: usize,
    buckets: Vec<usize>,
}

struct Client {
    world: Arc<Mutex<World>>,
    lines: Lines<(), ModelParts>,
    epoch: i16,
    next_sequence: i32,
    records: usize,
    expected: [Vec<usize>; BUCKETS],
    unacknowledged: VecDeque<Sent>,
    tickets: VecDeque<LineTicket<()>>,
    acknowledged: usize,
}

fn sequence(first: i32, place: usize) -> i32 {
    first.wrapping_add(place as i32) & i32::MAX
}

impl Client {
    fn new(first: i32, refusals: Vec<bool>) -> Client {
        let world = World {
            refusals: refusals.into(),
            ..World::default()
        };
        Client {
            world: Arc::new(Mutex::new(world)),
            lines: Lines::default(),
            epoch: 0,
            next_sequence: first,
            records: 0,
            expected: Default::default(),
            unacknowledged: VecDeque::new(),
            tickets: VecDeque::new(),
            acknowledged: 0,
        }
    }

    fn send(&mut self, buckets: Vec<usize>) {
        if self.unacknowledged.len() == IN_FLIGHT_MAX {
            return;
        }
        for (place, bucket) in buckets.iter().enumerate() {
            self.expected[*bucket].push(self.records + place);
        }
        let sent = Sent {
            epoch: self.epoch,
            first: self.next_sequence,
            record: self.records,
            buckets,
        };
        self.records += sent.buckets.len();
        self.next_sequence = sequence(sent.first, sent.buckets.len());
        self.queue(&sent);
        self.unacknowledged.push_back(sent);
    }

    fn queue(&mut self, sent: &Sent) {
        let last = sequence(sent.first, sent.buckets.len() - 1);
        let source = SourceBlock {
            scheme: ProducerScheme::Kafka,
            producer_id: 7,
            producer_epoch: sent.epoch,
            source_partition: 1,
            first_sequence: sent.first,
            last_sequence: last,
        };
        let mut parts: Vec<(usize, i32, i32, Vec<usize>)> = Vec::new();
        for (place, bucket) in sent.buckets.iter().enumerate() {
            let (sequence, record) = (sequence(sent.first, place), sent.record + place);
            match parts.iter_mut().find(|part| part.0 == *bucket) {
                Some((_, _, last, records)) => {
                    *last = sequence;
                    records.push(record);
                }
                None => parts.push((*bucket, sequence, sequence, vec![record])),
            }
        }
        let parts = ModelParts {
            world: Arc::clone(&self.world),
            source,
            parts,
        };
        let batch = Batch {
            producer_id: 7,
            epoch: sent.epoch,
            first: sent.first,
            last,
        };
        self.tickets
            .push_back(self.lines.queue((), batch, parts, 0));
    }

    /// Waits for the oldest answers, and sends again what has none or was refused.
    async fn settle(&mut self, arrive: usize) {
        let mut refused = false;
        for (place, ticket) in std::mem::take(&mut self.tickets).into_iter().enumerate() {
            match ticket.await.expect("an outcome") {
                Ok(()) if place < arrive && !refused => {
                    let sent = self.unacknowledged.pop_front().expect("it was sent");
                    self.acknowledged = sent.record + sent.buckets.len();
                }
                Ok(()) => {}
                Err(LineError::Sequence(_)) => {
                    assert!(refused, "a batch in order was refused");
                }
                Err(LineError::Refused(_) | LineError::Partly(_)) => refused = true,
            }
        }
        for sent in self.unacknowledged.clone() {
            self.queue(&sent);
        }
    }

    /// What is under way is lost with the broker, whatever it did until then.
    async fn crash(&mut self, lost: &[usize]) {
        for _ in 0..lost[0] {
            tokio::task::yield_now().await;
        }
        // The tasks of the old lines go on with a world that nobody sees.
        self.lines = Lines::default();
        self.tickets.clear();
        let mut world = std::mem::take(&mut *self.world.lock());
        for (log, lost) in world.logs.iter_mut().zip(lost) {
            let kept = |frame: &&Frame| frame.1[0] < self.acknowledged;
            let kept = log.iter().take_while(kept).count();
            log.truncate(kept.max(log.len().saturating_sub(*lost)));
        }
        self.world = Arc::new(Mutex::new(world));
        for sent in self.unacknowledged.clone() {
            self.queue(&sent);
        }
    }

    async fn finish(&mut self) {
        while !self.unacknowledged.is_empty() {
            self.settle(IN_FLIGHT_MAX).await;
        }
        let world = self.world.lock();
        for (log, expected) in world.logs.iter().zip(&self.expected) {
            let found: Vec<_> = log
                .iter()
                .flat_map(|(_, records)| records.clone())
                .collect();
            assert_eq!(&found, expected);
        }
    }
}

async fn run(first: i32, refusals: Vec<bool>, ops: Vec<Op>) {
    let mut client = Client::new(first, refusals);
    for op in ops {
        match op {
            Op::Send(buckets) => client.send(buckets),
            Op::Settle(arrive) => client.settle(arrive).await,
            Op::Crash(lost) => client.crash(&lost).await,
            Op::Bump => {
                while !client.unacknowledged.is_empty() {
                    client.settle(IN_FLIGHT_MAX).await;
                }
                client.epoch += 1;
                client.next_sequence = 0;
            }
        }
    }
    client.finish().await;
}

proptest! {
    #[test]
    fn every_record_is_applied_once_and_in_order(
        first in prop_oneof![Just(0), i32::MAX - 20..=i32::MAX],
        refusals in vec(prop::bool::weighted(0.2), 0..80),
        ops in ops(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(run(first, refusals, ops));
    }
}

#[tokio::test]
async fn who_is_silent_is_forgotten_and_known_again_by_the_logs() {
    let mut client = Client::new(0, Vec::new());
    client.send(vec![0, 1]);
    client.settle(1).await;
    assert_eq!(client.lines.count(), 1);
    client.lines.forget(0);
    assert_eq!(client.lines.count(), 1);
    client.lines.forget(1);
    assert_eq!(client.lines.count(), 0);
    client.send(vec![2]);
    client.finish().await;
}
