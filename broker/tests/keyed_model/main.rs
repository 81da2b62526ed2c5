//! Tables with keys beside a plain model, over both wires and through restarts and kills: what is
//! looked up, scanned, and replayed from the changelog is what the model has, for every merge
//! engine.
//!
//! A run has lives of a broker on one directory. In each, Fluss clients put and delete rows, whole
//! ones and some columns of them, with their engines and past them; Kafka producers send rows as
//! JSON to the same tables; both write to compacted topics; tables get columns; requests are sent
//! again. Then the broker stops, or is killed with requests under way. Each of these was taken or
//! was not, in each bucket; what an idempotent writer sends again is there once. Sometimes indexes
//! are lost.
//!
//! All that is done follows from the seed; only what a kill finds under way does not.
//!
//! `VLTAVA_KEYED_SEEDS` sets the number of seeds (default 2), `VLTAVA_KEYED_SEED` runs one.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

#[path = "../common/mod.rs"]
mod common;

mod bitmap;
mod cell;
mod changelog;
mod compare;
mod life;
mod plan;
mod rules;
mod settle;
mod spec;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::process::{Settings, check};
use life::{Clients, Flight, Life, Message};
use storage::env::simulated::SeededRandomness;
use table::{REMEMBERED, Table, Totals};

const LIVES: u64 = 5;
const STEPS: u64 = 60;
/// A life takes a second or two; a loaded machine is slower.
const LIFE_LIMIT: Duration = Duration::from_secs(120);

/// Small files, frequent checkpoints and a busy cleaner: more states to be stopped and killed in.
fn settings(random: &SeededRandomness) -> Vec<(&'static str, String)> {
    let modes = ["fsync", "page-cache"];
    let mut settings = vec![
        ("flush.mode", modes[random.below(2) as usize].to_owned()),
        ("log.segment.bytes", "2000".to_owned()),
        ("log.flush.offset.checkpoint.interval.ms", "50".to_owned()),
        ("log.cleaner.backoff.ms", "20".to_owned()),
    ];
    if random.once_in(2) {
        settings.push(("kv.snapshot.interval", "100".to_owned()));
    }
    settings
}

/// Everything of a run.
struct World {
    seed: u64,
    random: SeededRandomness,
    tables: Vec<Table>,
}

impl World {
    fn about(&self, life: u64, step: &str, table: usize) -> String {
        let name = self.tables[table].spec.name;
        format!("seed {}, life {life}, {step}, table {name}", self.seed)
    }

    /// Everything after a start.
    async fn begin(&mut self, life: u64, clients: &mut Clients, totals: &mut Totals) {
        for at in 0..self.tables.len() {
            let about = self.about(life, "start", at);
            self.tables[at].life = life;
            self.tables[at].settle(clients, totals, &about).await;
            self.tables[at].compare(clients, totals, &about).await;
        }
    }

    async fn steps(&mut self, life: u64, clients: &mut Clients, totals: &mut Totals) {
        for step in 0..STEPS {
            let at = self.random.below(self.tables.len() as u64) as usize;
            let about = self.about(life, &format!("step {step}"), at);
            let table = &mut self.tables[at];
            table.step(clients, &self.random, totals, &about).await;
        }
    }

    /// Starts requests on some tables, waits for some of the answers, and kills the broker.
    async fn kill(&mut self, life: Life, data: &Path, settings: &Settings, totals: &mut Totals) {
        let mut flights = Vec::new();
        for at in 0..self.tables.len() {
            if self.random.once_in(2) {
                continue;
            }
            let sent = self.tables[at].plan_flight(&self.random, REMEMBERED);
            let messages: Vec<Message> = sent.iter().map(|sent| sent.message.clone()).collect();
            self.tables[at].in_flight = sent;
            let flight = Flight::start(&life, messages.iter()).await;
            flights.push((at, messages, flight));
        }
        // Half of the kills come at once.
        let answers = self.random.below(2);
        for (at, messages, flight) in &mut flights {
            for _ in 0..answers * self.random.below(messages.len() as u64 + 1) {
                let (place, answer) = flight.answer(messages).await;
                self.tables[*at].in_flight[place].answer = Some(answer);
            }
        }
        life.kill(data, settings, &self.random);
        totals.kills += 1;
    }
}

async fn run(seed: u64, totals: &mut Totals) {
    let random = SeededRandomness::new(seed);
    let data = tempfile::tempdir().expect("a temporary directory");
    let settings = settings(&random);
    let mut world = World {
        seed,
        random,
        tables: Vec::new(),
    };
    for life in 0..=LIVES {
        let child = life < LIVES && world.random.below(3) > 0;
        let play = async {
            let running = Life::start(child, data.path(), &settings).await;
            let mut clients = Clients::connect(&running).await;
            if life == 0 {
                for spec in spec::all() {
                    world.tables.push(Table::create(spec, &mut clients).await);
                }
            }
            world.begin(life, &mut clients, totals).await;
            if life < LIVES {
                world.steps(life, &mut clients, totals).await;
            }
            drop(clients);
            match child && !world.random.once_in(4) {
                true => world.kill(running, data.path(), &settings, totals).await,
                false => running.stop().await,
            }
            if world.random.once_in(3) {
                totals.lost_indexes += lose_indexes(data.path(), &world.random);
            }
        };
        let played = tokio::time::timeout(LIFE_LIMIT, play).await;
        assert!(played.is_ok(), "seed {seed}: life {life} hangs");
    }
    check(data.path(), true);
}

/// Removes some of the indexes, which come back from snapshots and changelogs. Gives how many.
fn lose_indexes(data: &Path, random: &SeededRandomness) -> u64 {
    let inside = |directory: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut directories: Vec<_> = paths.filter(|path| path.is_dir()).collect();
        directories.sort();
        directories
    };
    let mut lost = 0;
    for table in inside(&data.join("logs")) {
        for bucket in inside(&table) {
            let index = bucket.join("kv");
            if random.once_in(3) && index.exists() {
                std::fs::remove_dir_all(&index).expect("removed");
                lost += 1;
            }
        }
    }
    lost
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|n| n.parse::<u64>());
    match (number("VLTAVA_KEYED_SEED"), number("VLTAVA_KEYED_SEEDS")) {
        (Some(seed), _) => {
            let seed = seed.expect("a number");
            seed..seed + 1
        }
        (None, count) => 0..count.map_or(2, |count| count.expect("a number")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_what_their_model_is() {
    let mut totals = Totals::default();
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        println!("seed {seed} begins");
        run(seed, &mut totals).await;
    }
    println!("{count} seeds: {totals:?}");
    assert!(totals.kills > 0 || count == 1, "{totals:?}");
}
