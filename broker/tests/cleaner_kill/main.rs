//! A compacted topic whose broker is killed while it cleans, again and again, until the log is
//! clean: what Kafka consumers and Fluss clients read is the newest value of each key.
//!
//! Producers of all kinds fill the topic while the cleaner rests: plain and idempotent ones, with
//! and without compression; one record of twenty is a tombstone, and one key of eight changes its
//! partition on the way. Then the broker lives as long as the seed says, mostly until some segments
//! are clean and another is half written, while readers follow; and at last until nothing is dirty.
//! Then each partition has the last record of each of its keys, where it always was, lookups and
//! scans find the newest of all partitions, and the disk holds less. After `delete.retention.ms`
//! the tombstones are gone as well, and what they delete stays deleted; beside it a smaller topic
//! keeps them for a day.
//!
//! `VLTAVA_CLEANED_RECORDS` sets the number of records (default 50,000; there are a tenth as many
//! keys), `SEED` repeats a run's decisions; the seed is printed. With a million keys and more the
//! same is done with a tenth of it before, and the process must not have taken more memory by what
//! a map of the keys would need beside the caches of the indexes. (What the cleaner itself allocates,
//! `storage/tests/cleaner_memory.rs` counts.)

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

#[path = "../common/mod.rs"]
mod common;

mod lives;
mod load;
mod model;
mod verify;

use std::time::Duration;

use common::process::{Broker, check};
use lives::{CACHE_BYTES, Ended, KILLS, Life, live};
use model::{Model, STAGES};
use storage::env::Randomness;
use storage::env::simulated::SeededRandomness;

/// Records of each key, on average.
const PER_KEY: usize = 10;
const PARTITIONS: usize = 2;
/// The topic, and how long its tombstones stay, milliseconds.
const CLEANED: (&str, i64) = ("cleaned", 1000);
/// The one beside it.
const KEPT: (&str, i64) = ("kept", 86_400_000);
const RECORDS_KEPT_MAX: usize = 100_000;
/// Two runs are compared when the larger has so many keys: what a map would take stands out then.
const KEYS_TO_COMPARE: usize = 1_000_000;
/// Runs until a kill has hit a round.
const PLAYS_MAX: usize = 4;
/// What one key would take in the smallest of maps: a hash and an offset, in a table that is three
/// quarters full.
const BYTES_OF_A_KEY: u64 = 32;

/// What a run came to.
#[derive(Debug, Default)]
struct Totals {
    records: usize,
    keys: usize,
    kills: usize,
    /// Kills that left a segment half written.
    while_writing: usize,
    /// Segments that were put in place before a kill.
    swaps: u64,
    /// Bytes of the log's segments.
    bytes_before: u64,
    bytes_after: u64,
    /// Records that readers saw while the cleaner was at work.
    read_meanwhile: u64,
    records_left: usize,
    /// Anonymous memory of the process at the start of its last life, and at most in any.
    memory_at_start: u64,
    memory_at_most: u64,
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_killed_while_it_is_cleaned_keeps_the_newest_record_of_each_key() {
    let records = number("VLTAVA_CLEANED_RECORDS").unwrap_or(50_000) as usize;
    let now = storage::env::Env::real().clock.wall_ms() as u64;
    let seed = number("SEED").unwrap_or(now % 1_000_000);
    println!("seed {seed}");
    let mut few = None;
    if records / PER_KEY >= KEYS_TO_COMPARE {
        few = Some(play(seed, records / 10).await);
    }
    let mut many = play(seed, records).await;
    // A quick machine may be done with every segment before the signal arrives.
    for seed in (seed + 1..).take(PLAYS_MAX - 1) {
        if many.while_writing > 0 {
            break;
        }
        println!("no kill of {many:?} hit a round; seed {seed} is next");
        many = play(seed, records).await;
    }
    match &few {
        Some(few) => println!("seed {seed}: {many:?}; with a tenth of it {few:?}"),
        None => println!("seed {seed}: {many:?}"),
    }
    assert!(many.while_writing > 0, "no kill hit a round: {many:?}");
    if let Some(few) = few {
        let grown = many.memory_at_most.saturating_sub(few.memory_at_most);
        // A round is about one partition.
        let keys = (many.keys - few.keys) / PARTITIONS;
        let map_of_keys = keys as u64 * BYTES_OF_A_KEY;
        assert!(grown < CACHE_BYTES + map_of_keys, "{grown} bytes");
    }
}

/// Fills a topic, has it cleaned by brokers that are killed, and looks at it.
async fn play(seed: u64, records: usize) -> Totals {
    let random = SeededRandomness::new(seed);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path();
    let mode = ["fsync", "page-cache"][random.below(2) as usize];
    let mut model = Model::new(CLEANED, random.next_u64(), records);
    let mut kept = Model::new(KEPT, random.next_u64(), RECORDS_KEPT_MAX.min(records / 5));
    let mut totals = Totals {
        records,
        keys: model.keys(),
        ..Totals::default()
    };

    let resting = lives::settings(mode, records, Life::Resting);
    let mut broker = Broker::start(data, &resting);
    for model in [&mut model, &mut kept] {
        load::make_topic(model, &broker).await;
        load::fill(model, &broker, 0..STAGES / 2).await;
        // From here on the index on disk lacks what comes.
        verify::table(model, broker.fluss).await;
    }
    broker.stop();
    let mut broker = Broker::start(data, &resting);
    for model in [&mut model, &mut kept] {
        load::fill(model, &broker, STAGES / 2..STAGES).await;
    }
    broker.kill();
    totals.bytes_before = lives::log_bytes(data);

    while totals.kills < KILLS {
        let ended = lives::killed(data, mode, [&model, &kept], &random, &mut totals).await;
        if ended == Ended::Clean {
            break;
        }
    }
    check(data, false);
    let settings = lives::settings(mode, records, Life::Cleaning);
    let mut broker = Broker::start(data, &settings);
    live(&broker, [&model, &kept], &mut totals).await;
    totals.records_left = verify::clean(&model, broker.kafka).await.records;
    let left = verify::clean(&kept, broker.kafka).await;
    assert_eq!(left.tombstones, kept.tombstones(), "their time is not over");
    totals.bytes_after = lives::log_bytes(data);
    assert!(totals.bytes_after * 3 < totals.bytes_before, "{totals:?}");
    for model in [&model, &kept] {
        verify::table(model, broker.fluss).await;
    }

    // A round begins when something was written.
    let gone = async {
        loop {
            load::touch(&mut model, broker.kafka).await;
            lives::until_clean(&broker).await;
            if verify::clean(&model, broker.kafka).await.tombstones == 0 {
                return;
            }
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(300), gone).await;
    gone.expect("tombstones go when their time is over");
    verify::table(&model, broker.fluss).await;
    broker.kill();
    // What the index had is not lost with the process.
    let mut broker = Broker::start(data, &settings);
    for model in [&model, &kept] {
        verify::table(model, broker.fluss).await;
        verify::clean(model, broker.kafka).await;
    }
    broker.stop();
    check(data, true);
    totals
}
