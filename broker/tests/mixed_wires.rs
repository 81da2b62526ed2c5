//! Both wires write to one log and read it, beside a plain model: every offset and every field is
//! compared, through retries of both kinds of producers, all codecs, empty batches and restarts.
//!
//! `VLTAVA_MODEL_SEEDS` sets the number of seeds (default 6), `VLTAVA_MODEL_SEED` runs one.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

mod common;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use common::TestBroker;
use common::fluss::{Client, fetch, path};
use common::kafka_peer::Kafka;
use common::records::{Row, fluss_batch, kafka_batch, of_fluss, of_kafka};
use protocol::fluss::arrow_message::BufferCodec;
use protocol::fluss::descriptor::TableDescriptor;
use protocol::fluss::messages::{InitWriterRequest, PbTablePath};
use protocol::kafka::builder::BatchProducer;
use protocol::kafka::compression::Codec;
use protocol::raw::raw_schema;
use storage::env::Randomness;
use storage::env::simulated::SeededRandomness;

const STEPS: usize = 60;
/// Brokers know the last five batches of a producer again.
const REMEMBERED: usize = 5;
/// Answers without progress below the high watermark after which a reader is stuck.
const EMPTY_ANSWERS_MAX: usize = 20;

/// A batch that an idempotent producer may send again, and the offset it has.
struct Remembered {
    bytes: Bytes,
    base: i64,
}

/// An idempotent producer of one wire.
#[derive(Default)]
struct Producer {
    id: Option<(i64, i16)>,
    sequence: i32,
    newest: VecDeque<Remembered>,
}

/// One log with what should be in it.
struct Subject {
    topic: String,
    table: i64,
    rows: BTreeMap<i64, Row>,
    /// The offset that comes next: empty batches take offsets without a record.
    next: i64,
    kafka: Producer,
    fluss: Producer,
}

/// Connections to the broker's present life.
struct Clients {
    kafka: Kafka,
    fluss: Client,
}

impl Clients {
    async fn connect(broker: &TestBroker) -> Clients {
        Clients {
            kafka: Kafka::connect(broker.kafka()).await.expect("connected"),
            fluss: Client::connect(broker.fluss()).await,
        }
    }

    /// Sends a Kafka batch: its base offset.
    async fn produce_kafka(&mut self, topic: &str, batch: Bytes) -> i64 {
        let sent = self.kafka.send_batch(topic, 0, batch).await;
        sent.expect("sent");
        let answer = self.kafka.acknowledged().await.expect("an answer");
        answer.unwrap_or_else(|code| panic!("{topic}: error {code}"))
    }

    /// Sends a Fluss batch: its base offset.
    async fn produce_fluss(&mut self, table: i64, batch: Bytes) -> i64 {
        let answer = self.fluss.produce(table, 0, batch).await;
        assert_eq!(answer.error_code, None, "{answer:?}");
        answer.base_offset.expect("an offset")
    }
}

impl Subject {
    /// A topic that a Kafka client made.
    async fn topic(clients: &mut Clients) -> Subject {
        let topic = "events".to_owned();
        let created = clients.kafka.create_topic(&topic, 1).await;
        created.expect("created");
        let path = PbTablePath {
            database_name: "kafka".into(),
            table_name: topic.clone(),
        };
        let table = clients.fluss.table_info(&path).await.table_id;
        Subject::new(topic, table)
    }

    /// A table of the raw schema that a Fluss client made.
    async fn table(clients: &mut Clients) -> Subject {
        let descriptor = TableDescriptor {
            schema: raw_schema(false),
            comment: None,
            partition_keys: Vec::new(),
            bucket_keys: Vec::new(),
            bucket_count: Some(1),
            properties: Default::default(),
            custom_properties: Default::default(),
        };
        let path = path("rows");
        let table = clients.fluss.create_table(&path, &descriptor).await;
        Subject::new("fluss.rows".to_owned(), table)
    }

    fn new(topic: String, table: i64) -> Subject {
        Subject {
            topic,
            table,
            rows: BTreeMap::new(),
            next: 0,
            kafka: Producer::default(),
            fluss: Producer::default(),
        }
    }

    fn take(&mut self, rows: Vec<Row>) {
        // An empty batch takes an offset, too.
        let end = self.next + (rows.len() as i64).max(1);
        self.rows.extend((self.next..).zip(rows));
        self.next = end;
    }

    async fn write_kafka(&mut self, clients: &mut Clients, random: &SeededRandomness) {
        let rows = rows(1 + random.below(8), random);
        let codec = Codec::ALL[random.below(5) as usize];
        let idempotent = random.once_in(2);
        let mut producer = None;
        if idempotent {
            if self.kafka.id.is_none() {
                self.kafka.id = Some(clients.kafka.producer_id().await.expect("an id"));
            }
            producer = self.kafka.id.map(|(id, epoch)| BatchProducer {
                id,
                epoch,
                base_sequence: self.kafka.sequence,
            });
            self.kafka.sequence += rows.len() as i32;
        }
        let bytes = kafka_batch(&rows, codec, producer);
        let base = clients.produce_kafka(&self.topic, bytes.clone()).await;
        assert_eq!(base, self.next, "{}", self.topic);
        self.take(rows);
        if idempotent {
            self.kafka.remember(bytes, base);
        }
    }

    async fn write_fluss(&mut self, clients: &mut Clients, random: &SeededRandomness) {
        let count = if random.once_in(6) {
            0
        } else {
            1 + random.below(8)
        };
        let rows = rows(count, random);
        let codecs = [None, Some(BufferCodec::Lz4Frame), Some(BufferCodec::Zstd)];
        let codec = codecs[random.below(3) as usize];
        let idempotent = random.once_in(2);
        let mut writer = None;
        if idempotent {
            if self.fluss.id.is_none() {
                let answer = clients.fluss.ask(InitWriterRequest::default()).await;
                self.fluss.id = Some((answer.expect("an id").writer_id, 0));
            }
            writer = self.fluss.id.map(|(id, _)| (id, self.fluss.sequence));
            self.fluss.sequence += 1;
        }
        let bytes = fluss_batch(&rows, codec, writer);
        let base = clients.produce_fluss(self.table, bytes.clone()).await;
        assert_eq!(base, self.next, "{}", self.topic);
        self.take(rows);
        if idempotent {
            self.fluss.remember(bytes, base);
        }
    }

    /// A producer that missed an answer sends its batch again and learns the old offset.
    async fn write_again(&mut self, clients: &mut Clients, random: &SeededRandomness) {
        if let Some(batch) = self.kafka.any(random) {
            let base = clients
                .produce_kafka(&self.topic, batch.bytes.clone())
                .await;
            assert_eq!(base, batch.base, "{}: a repeated Kafka batch", self.topic);
        }
        if let Some(batch) = self.fluss.any(random) {
            let base = clients.produce_fluss(self.table, batch.bytes.clone()).await;
            assert_eq!(base, batch.base, "{}: a repeated Fluss batch", self.topic);
        }
    }

    /// Reads from an offset to the end over both wires and compares with the model.
    async fn compare(&self, clients: &mut Clients, from: i64, seed: u64) {
        let wanted: Vec<_> = self.rows.range(from..).collect();
        let about = format!("seed {seed}, {} from {from}", self.topic);
        for wire in ["Kafka", "Fluss"] {
            let (mut found, mut at, mut empty) = (Vec::new(), from, 0);
            while at < self.next {
                let (rows, next, watermark) = match wire {
                    "Kafka" => clients.read_kafka(&self.topic, at).await,
                    _ => clients.read_fluss(self.table, at).await,
                };
                assert_eq!(watermark, self.next, "{about} on {wire}: the end");
                found.extend(rows);
                empty = if next > at { 0 } else { empty + 1 };
                assert!(
                    empty < EMPTY_ANSWERS_MAX,
                    "{about} on {wire}: stuck at {at} of {watermark}"
                );
                at = next;
            }
            let offsets = |rows: &[(i64, Row)]| rows.iter().map(|(o, _)| *o).collect::<Vec<_>>();
            let wanted_offsets: Vec<_> = wanted.iter().map(|(offset, _)| **offset).collect();
            assert_eq!(offsets(&found), wanted_offsets, "{about} on {wire}");
            for ((offset, row), (_, wanted)) in found.iter().zip(&wanted) {
                assert_eq!(row, *wanted, "{about} on {wire}: offset {offset}");
            }
        }
    }
}

impl Clients {
    async fn read_kafka(&mut self, topic: &str, from: i64) -> (Vec<(i64, Row)>, i64, i64) {
        let answer = self.kafka.fetch(topic, 0, from, 0).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.error, 0, "{topic} at {from}");
        let (rows, next) = of_kafka(&answer.records, from);
        (rows, next, answer.high_watermark)
    }

    async fn read_fluss(&mut self, table: i64, from: i64) -> (Vec<(i64, Row)>, i64, i64) {
        let answer = self.fluss.ask(fetch(table, 0, from, 0)).await;
        let bucket = answer.expect("an answer").tables_resp[0].buckets_resp[0].clone();
        assert_eq!(bucket.error_code, None, "{bucket:?}");
        let (rows, next) = of_fluss(bucket.records.unwrap_or_default(), from);
        (rows, next, bucket.high_watermark.expect("a watermark"))
    }
}

impl Producer {
    fn remember(&mut self, bytes: Bytes, base: i64) {
        self.newest.push_back(Remembered { bytes, base });
        if self.newest.len() > REMEMBERED {
            self.newest.pop_front();
        }
    }

    fn any(&self, random: &SeededRandomness) -> Option<&Remembered> {
        let count = self.newest.len() as u64;
        (count > 0).then(|| &self.newest[random.below(count) as usize])
    }
}

fn bytes(random: &SeededRandomness) -> Option<Vec<u8>> {
    match random.below(6) {
        0 => None,
        1 => Some(Vec::new()),
        // Worth compressing.
        2 => Some(vec![random.next_u64() as u8; random.below(3_000) as usize]),
        _ => Some(random.next_u64().to_le_bytes().to_vec()),
    }
}

fn rows(count: u64, random: &SeededRandomness) -> Vec<Row> {
    let header = |n: u64| (format!("h{}", n % 3), bytes(random));
    let row = |_| Row {
        key: bytes(random),
        value: bytes(random),
        time_ms: 1_700_000_000_000 + random.below(1_000_000) as i64,
        headers: (0..random.below(4)).map(header).collect(),
    };
    (0..count).map(row).collect()
}

async fn run(seed: u64) {
    let random = SeededRandomness::new(seed);
    let mut broker = TestBroker::start_with([("log.segment.bytes", "20000")]).await;
    let mut clients = Clients::connect(&broker).await;
    let mut subjects = [
        Subject::topic(&mut clients).await,
        Subject::table(&mut clients).await,
    ];
    for _ in 0..STEPS {
        let subject = &mut subjects[random.below(2) as usize];
        match random.below(12) {
            0..=3 => subject.write_kafka(&mut clients, &random).await,
            4..=7 => subject.write_fluss(&mut clients, &random).await,
            8 | 9 => subject.write_again(&mut clients, &random).await,
            10 if random.once_in(3) => {
                broker = broker.restart().await;
                clients = Clients::connect(&broker).await;
            }
            _ => {
                let from = random.below(subject.next as u64 + 1) as i64;
                subject.compare(&mut clients, from, seed).await;
            }
        }
    }
    for subject in &subjects {
        subject.compare(&mut clients, 0, seed).await;
    }
    broker = broker.restart().await;
    clients = Clients::connect(&broker).await;
    for subject in &subjects {
        subject.compare(&mut clients, 0, seed).await;
    }
    broker.stop().await;
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|n| n.parse::<u64>());
    match (number("VLTAVA_MODEL_SEED"), number("VLTAVA_MODEL_SEEDS")) {
        (Some(seed), _) => {
            let seed = seed.expect("a number");
            seed..seed + 1
        }
        (None, count) => 0..count.map_or(6, |count| count.expect("a number")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_wires_read_what_either_wrote() {
    for seed in seeds() {
        run(seed).await;
    }
}
