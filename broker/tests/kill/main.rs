//! Rounds of `kill -9` under load on both wires, against the real binary.
//!
//! In each round producers of both wires, idempotent ones and plain ones, write to a topic of the
//! raw schema and to a table with columns, readers of both wires follow, and the broker is killed
//! at a random moment, often a second time while it recovers. Then: every acknowledged record is
//! at the offset that was acknowledged, no record is there twice, each producer's records are in
//! order, what a reader saw is still there, both wires agree, and `vltava check` finds no damage.
//!
//! Tables with keys are written, looked up and read on the way (`counters.rs`).
//!
//! Idempotent producers send what was not acknowledged again to the restarted broker, under the
//! same sequence numbers. Plain ones do not: their open batches are there once or not at all.
//!
//! `ROUNDS` sets the number of rounds (default 10), `SEED` repeats a run's decisions; the seed is
//! printed.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

#[path = "../common/mod.rs"]
mod common;

mod counters;
mod reader;
mod verify;
mod writer;

use std::collections::BTreeMap;
use std::time::Duration;

use common::fluss::{Client, log_table, path};
use common::kafka_peer::Kafka;
use common::process::{Broker, check, start_and_kill};
use counters::{Counted, Counters};
use protocol::fluss::messages::PbTablePath;
use reader::{Reader, follow};
use storage::env::Randomness;
use storage::env::simulated::SeededRandomness;
use verify::verify;
use writer::Writer;

/// After so many rounds new tables are made, so that reading all of them stays quick.
const ROUNDS_PER_TABLE: u64 = 5;
/// A round takes a second or two; a loaded machine is slower.
const ROUND_LIMIT: Duration = Duration::from_secs(120);

/// Small segments and frequent checkpoints: more states to be killed in.
fn settings(mode: &str) -> [(&'static str, String); 3] {
    [
        ("flush.mode", mode.to_owned()),
        ("log.segment.bytes", "100000".to_owned()),
        ("log.flush.offset.checkpoint.interval.ms", "50".to_owned()),
    ]
}

/// Which wire a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Kafka,
    Fluss,
}

/// A table and its topic, of one bucket.
#[derive(Debug, Clone)]
struct Table {
    /// Of the raw schema, so that both wires may write; else only Fluss does.
    raw: bool,
    topic: String,
    id: i64,
}

/// A table with all that was done to it.
struct Subject {
    table: Table,
    writers: Vec<Writer>,
    readers: Vec<Reader>,
    /// What readers saw: record by offset.
    seen: BTreeMap<i64, i64>,
}

impl Subject {
    async fn raw(broker: &Broker, number: u64) -> Subject {
        let topic = format!("raw-{number}");
        let mut kafka = Kafka::connect(broker.kafka).await.expect("connected");
        kafka.create_topic(&topic, 1).await.expect("created");
        let path = PbTablePath {
            database_name: "kafka".into(),
            table_name: topic.clone(),
        };
        let id = table_id(broker, &path).await;
        let table = Table {
            raw: true,
            topic,
            id,
        };
        let writers = [
            (Wire::Kafka, true),
            (Wire::Kafka, false),
            (Wire::Fluss, true),
            (Wire::Fluss, false),
        ];
        Subject::of(table, &writers)
    }

    async fn typed(broker: &Broker, number: u64) -> Subject {
        let path = path(&format!("typed_{number}"));
        let mut fluss = Client::connect(broker.fluss).await;
        let id = fluss.create_table(&path, &log_table(1)).await;
        let table = Table {
            raw: false,
            topic: format!("fluss.typed_{number}"),
            id,
        };
        Subject::of(table, &[(Wire::Fluss, true), (Wire::Fluss, false)])
    }

    fn of(table: Table, writers: &[(Wire, bool)]) -> Subject {
        let writers = writers.iter().enumerate();
        Subject {
            writers: writers
                .map(|(number, (wire, idempotent))| {
                    Writer::new(number as i64, *wire, *idempotent, table.clone())
                })
                .collect(),
            readers: [Wire::Kafka, Wire::Fluss]
                .map(|wire| Reader {
                    wire,
                    next: 0,
                    table: table.clone(),
                })
                .into(),
            seen: BTreeMap::new(),
            table,
        }
    }
}

async fn table_id(broker: &Broker, path: &PbTablePath) -> i64 {
    let mut fluss = Client::connect(broker.fluss).await;
    fluss.table_info(path).await.table_id
}

/// What the run came to, for the report.
#[derive(Debug, Default)]
struct Totals {
    batches: u64,
    resent: u64,
    records: u64,
    seen: u64,
    killed_while_starting: u64,
    slowest_start: Duration,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_kill() {
    let rounds = number("ROUNDS").unwrap_or(10);
    let now = storage::env::Env::real().clock.wall_ms() as u64;
    let seed = number("SEED").unwrap_or(now % 1_000_000);
    println!("seed {seed}, {rounds} rounds");
    let mut random = SeededRandomness::new(seed);
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut totals = Totals::default();
    let mut subjects = Vec::new();
    let (mut counters, mut counted) = (None, Counted::default());
    for round in 0..rounds {
        let state = (&mut subjects, &mut counters);
        let report = (&mut totals, &mut counted);
        let run = play(round, data.path(), state, &mut random, report);
        let played = tokio::time::timeout(ROUND_LIMIT, run).await;
        assert!(played.is_ok(), "seed {seed}: round {round} hangs");
    }
    let mut broker = Broker::start(data.path(), &settings("fsync"));
    for subject in &mut subjects {
        verify(subject, &broker, &mut totals).await;
    }
    if let Some(counters) = &mut counters {
        counters.verify(&broker, &mut counted).await;
    }
    broker.stop();
    check(data.path(), true);
    println!("seed {seed}, {rounds} rounds: {totals:?} {counted:?}");
    assert!(totals.batches > 0 && totals.seen > 0, "{totals:?}");
}

/// Starts, verifies what the last kill left, makes load, kills.
async fn play(
    round: u64,
    data: &std::path::Path,
    (subjects, counters): (&mut Vec<Subject>, &mut Option<Counters>),
    random: &mut SeededRandomness,
    (totals, counted): (&mut Totals, &mut Counted),
) {
    // The system lives on: in page-cache mode, too, nothing is lost.
    let mode = ["fsync", "page-cache"][(round / ROUNDS_PER_TABLE % 2) as usize];
    let mut broker = Broker::start(data, &settings(mode));
    totals.slowest_start = totals.slowest_start.max(broker.took);
    for subject in subjects.iter_mut() {
        verify(subject, &broker, totals).await;
    }
    if let Some(counters) = counters {
        counters.verify(&broker, counted).await;
    }
    if round.is_multiple_of(ROUNDS_PER_TABLE) {
        let number = round / ROUNDS_PER_TABLE;
        *subjects = vec![
            Subject::raw(&broker, number).await,
            Subject::typed(&broker, number).await,
        ];
        *counters = Some(Counters::new(&broker, number).await);
    }
    let load = Duration::from_millis(30 + random.below(400));
    let mut writing = Vec::new();
    let mut following = Vec::new();
    for (number, subject) in subjects.iter_mut().enumerate() {
        for writer in subject.writers.drain(..) {
            let (kafka, fluss) = (broker.kafka, broker.fluss);
            let seed = random.next_u64();
            writing.push((number, tokio::spawn(writer.write(kafka, fluss, seed))));
        }
        for reader in subject.readers.drain(..) {
            let (kafka, fluss) = (broker.kafka, broker.fluss);
            following.push((number, tokio::spawn(follow(reader, kafka, fluss))));
        }
    }
    let counting = counters.take().map(|counters| {
        let seed = random.next_u64() >> 1;
        tokio::spawn(counters.write(broker.fluss, seed))
    });
    tokio::time::sleep(load).await;
    broker.kill();
    if let Some(counting) = counting {
        *counters = Some(counting.await.expect("writers that met no error"));
    }
    for (number, writer) in writing {
        let writer = writer.await.expect("a writer that met no error");
        subjects[number].writers.push(writer);
    }
    for (number, reader) in following {
        let (reader, saw) = reader.await.expect("a reader that met no error");
        let subject = &mut subjects[number];
        subject.readers.push(reader);
        for (offset, record) in saw {
            totals.seen += 1;
            let before = *subject.seen.entry(offset).or_insert(record);
            assert_eq!(before, record, "offset {offset} was seen as two records");
        }
    }
    while random.once_in(3) {
        start_and_kill(
            data,
            &settings(mode),
            Duration::from_millis(random.below(60)),
        );
        totals.killed_while_starting += 1;
    }
    if random.once_in(4) {
        check(data, false);
    }
}
