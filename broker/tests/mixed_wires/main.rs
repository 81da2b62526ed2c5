//! Both wires write to one log and read it, beside a plain model: every offset and every field is
//! compared, through retries of both kinds of producers, all codecs, empty batches and restarts.
//! Tables with columns of their own are written by Fluss clients in every log format, get a column
//! on the way, and are read as rows and as JSON.
//!
//! `VLTAVA_MODEL_SEEDS` sets the number of seeds (default 6), `VLTAVA_MODEL_SEED` runs one.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

#[path = "../common/mod.rs"]
mod common;

mod raw;
mod typed;

use std::collections::VecDeque;

use bytes::Bytes;
use common::TestBroker;
use common::fluss::{Client, fetch};
use common::kafka_peer::Kafka;
use common::records::{Row, of_kafka};
use protocol::batch::BatchFormat;
use protocol::fluss::messages::InitWriterRequest;
use raw::Raw;
use storage::env::simulated::SeededRandomness;
use typed::Typed;

const STEPS: usize = 120;
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

    /// The records of a topic from an offset to the end, as Kafka clients read them.
    async fn read_kafka(
        &mut self,
        topic: &str,
        from: i64,
        end: i64,
        about: &str,
    ) -> Vec<(i64, Row)> {
        let mut progress = Progress::new(from, end, about);
        let mut found = Vec::new();
        while progress.at < end {
            let answer = self.kafka.fetch(topic, 0, progress.at, 0).await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.error, 0, "{about} at {}", progress.at);
            let (rows, next) = of_kafka(&answer.records, progress.at);
            progress.to(next, answer.high_watermark);
            found.extend(rows);
        }
        found
    }

    /// The rows of a table from an offset to the end, as Fluss clients read them. `decode` gets an
    /// answer's batches and the offset that was asked for, and says the offset that comes next.
    async fn read_fluss<T>(
        &mut self,
        table: i64,
        from: i64,
        end: i64,
        about: &str,
        decode: impl Fn(Bytes, i64) -> (Vec<(i64, T)>, i64),
    ) -> Vec<(i64, T)> {
        let mut progress = Progress::new(from, end, about);
        let mut found = Vec::new();
        while progress.at < end {
            let answer = self.fluss.ask(fetch(table, 0, progress.at, 0)).await;
            let bucket = answer.expect("an answer").tables_resp[0].buckets_resp[0].clone();
            assert_eq!(bucket.error_code, None, "{about}: {bucket:?}");
            let (rows, next) = decode(bucket.records.unwrap_or_default(), progress.at);
            progress.to(next, bucket.high_watermark.expect("a watermark"));
            found.extend(rows);
        }
        found
    }

    /// Writer id and sequence for the next batch of an idempotent Fluss writer.
    async fn next_sequence(&mut self, writer: &mut Producer) -> (i64, i32) {
        if writer.id.is_none() {
            let answer = self.fluss.ask(InitWriterRequest::default()).await;
            writer.id = Some((answer.expect("an id").writer_id, 0));
        }
        let (id, _) = writer.id.expect("set above");
        writer.sequence += 1;
        (id, writer.sequence - 1)
    }
}

/// A reader on its way to the end.
struct Progress<'a> {
    at: i64,
    end: i64,
    empty: usize,
    about: &'a str,
}

impl<'a> Progress<'a> {
    fn new(at: i64, end: i64, about: &'a str) -> Self {
        Progress {
            at,
            end,
            empty: 0,
            about,
        }
    }

    fn to(&mut self, next: i64, watermark: i64) {
        let Progress { at, end, about, .. } = *self;
        assert_eq!(watermark, end, "{about}: the end");
        self.empty = if next > at { 0 } else { self.empty + 1 };
        assert!(self.empty < EMPTY_ANSWERS_MAX, "{about}: stuck at {at}");
        self.at = next;
    }
}

/// Compares what was read with the model's rows from the first one read on.
fn assert_rows<T: PartialEq + std::fmt::Debug>(
    found: &[(i64, T)],
    wanted: &[(i64, T)],
    about: &str,
) {
    let offsets = |rows: &[(i64, T)]| rows.iter().map(|(o, _)| *o).collect::<Vec<_>>();
    assert_eq!(offsets(found), offsets(wanted), "{about}");
    for ((offset, row), (_, wanted)) in found.iter().zip(wanted) {
        assert_eq!(row, wanted, "{about}: offset {offset}");
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

/// The broker of a seed, and everything that happens to it.
async fn run(seed: u64) {
    let random = SeededRandomness::new(seed);
    let mut broker = TestBroker::start_with([("log.segment.bytes", "20000")]).await;
    let mut clients = Clients::connect(&broker).await;
    let mut raw = [
        Raw::topic(&mut clients).await,
        Raw::table(&mut clients).await,
    ];
    let mut typed = Vec::new();
    for format in [
        BatchFormat::FlussArrow,
        BatchFormat::FlussIndexed,
        BatchFormat::FlussCompacted,
    ] {
        typed.push(Typed::create(&mut clients, format).await);
    }
    for _ in 0..STEPS {
        if random.once_in(30) {
            broker = broker.restart().await;
            clients = Clients::connect(&broker).await;
        }
        match random.below(5) as usize {
            at @ 0..2 => raw[at].step(&mut clients, &random, seed).await,
            at => typed[at - 2].step(&mut clients, &random, seed).await,
        }
    }
    for restarted in [false, true] {
        if restarted {
            broker = broker.restart().await;
            clients = Clients::connect(&broker).await;
        }
        for raw in &raw {
            raw.compare(&mut clients, 0, seed).await;
        }
        for typed in &typed {
            typed.compare(&mut clients, 0, seed).await;
        }
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
