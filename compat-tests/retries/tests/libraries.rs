//! Every record of an idempotent producer is applied once, in order, whatever fails under it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use harness::producer::{Library, Producer};
use vltava_compat_retries::{
    KEYS, LIMIT, Model, Random, Tables, Trouble, Upsert, added_up, history,
};

/// Records under way, at most.
const OPEN: usize = 200;
/// Acknowledged records between two failures: at least, and at most this many more.
const BETWEEN: (usize, u64) = (200, 400);

/// Sends numbers until as many are under way as may be.
fn fill(producer: &mut Producer, next: &mut u64) {
    while producer.open() < OPEN {
        let Upsert { key, upsert, total } = Upsert::of(*next);
        for (topic, value) in [(Tables::UPSERTS, upsert), (Tables::TOTALS, Some(total))] {
            let sent = producer.send(topic, Some(&key), value.as_deref());
            sent.expect("the producer runs");
        }
        *next += 1;
    }
    producer.flush().expect("the producer runs");
}

/// Sends numbers until `goal` records are acknowledged.
fn go_on(producer: &mut Producer, next: &mut u64, goal: usize) {
    let began = Instant::now();
    while producer.acknowledged() < goal {
        fill(producer, next);
        let left = LIMIT.saturating_sub(began.elapsed());
        let went_on = producer.wait(left).expect("the producer runs");
        assert!(went_on, "the producer did not come back");
    }
}

/// Runs a producer through everything that fails; gives how many numbers it has sent.
fn through(library: Library, trouble: &mut Trouble) -> u64 {
    let rounds = std::env::var("ROUNDS").map_or(8, |rounds| rounds.parse().expect("a number"));
    let (seed, mut random) = Random::from_env();
    println!("SEED={seed}");
    let mut producer = Producer::start(library, &trouble.kafka());
    let mut next = 0;
    for round in 0..=rounds {
        let goal = producer.acknowledged() + BETWEEN.0 + random.below(BETWEEN.1) as usize;
        go_on(&mut producer, &mut next, goal);
        if round < rounds {
            trouble.strike(&mut random, || fill(&mut producer, &mut next));
        }
    }
    let failed = producer.finish(LIMIT).expect("the producer ends");
    assert!(failed.is_empty(), "not acknowledged: {failed:?}");
    next
}

async fn every_record_counts_once(library: Library) {
    let mut trouble = Trouble::start();
    Tables::create(&trouble.fluss()).await;
    let run = tokio::task::spawn_blocking(move || {
        let count = through(library, &mut trouble);
        let upserts = history(&trouble.kafka(), Tables::UPSERTS);
        let totals = history(&trouble.kafka(), Tables::TOTALS);
        (count, upserts, totals, trouble)
    });
    let (count, upserts, totals, trouble) = run.await.expect("the producer");
    let tables = Tables::open(&trouble.fluss()).await;
    let found = Model {
        upserts,
        totals,
        newest: tables.newest().await,
        sums: tables.sums().await,
    };
    let expected = Model::of(count);
    assert_eq!(found.sums, expected.sums, "sums and counts of {count}");
    assert_eq!(found.newest, expected.newest, "the newest of {count}");
    assert!(found == expected, "changes of {count}: {found:?}");
}

/// A producer of each library is killed with records under way, and another one goes on behind them: as a program that is
/// started again does, which knows nothing of the first. Gives what was acknowledged in the table `totals`, and how many
/// numbers were sent.
fn one_after_the_other(trouble: &mut Trouble) -> (BTreeSet<u64>, u64) {
    let rounds = std::env::var("ROUNDS").map_or(8, |rounds| rounds.parse().expect("a number"));
    let mut random = Random::from_env().1;
    let (mut acknowledged, mut next) = (BTreeSet::new(), 0);
    for library in Library::ALL.into_iter().cycle().take(rounds) {
        let first = next;
        let mut producer = Producer::start(library, &trouble.kafka());
        let goal = BETWEEN.0 + random.below(BETWEEN.1) as usize;
        go_on(&mut producer, &mut next, goal);
        let told = trouble.strike_down(producer, |producer| fill(producer, &mut next));
        // Every second record is for `totals`.
        let told = told.into_iter().filter(|place| place % 2 == 1);
        acknowledged.extend(told.map(|place| first + place as u64 / 2));
    }
    (acknowledged, next)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_producer_had_under_way_is_applied_once_or_not_at_all() {
    let mut trouble = Trouble::start();
    Tables::create(&trouble.fluss()).await;
    let run = tokio::task::spawn_blocking(move || {
        let (acknowledged, sent) = one_after_the_other(&mut trouble);
        let totals = history(&trouble.kafka(), Tables::TOTALS);
        (acknowledged, sent, totals, trouble)
    });
    let (acknowledged, sent, totals, trouble) = run.await.expect("the producers");
    let mut applied = BTreeSet::new();
    let mut sums = BTreeMap::new();
    for (id, numbers) in added_up(&totals) {
        sums.insert(id, (numbers.iter().sum(), numbers.len() as u64));
        for number in numbers {
            assert_eq!(number % KEYS, id);
            assert!(applied.insert(number), "{number} was applied twice");
        }
    }
    let lost: Vec<_> = acknowledged.difference(&applied).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(applied.last() < Some(&sent));
    let tables = Tables::open(&trouble.fluss()).await;
    assert_eq!(tables.sums().await, sums);
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_clients() {
    every_record_counts_once(Library::Java).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn librdkafka() {
    every_record_counts_once(Library::Librdkafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sarama() {
    every_record_counts_once(Library::Sarama).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn franz_go() {
    every_record_counts_once(Library::FranzGo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkajs() {
    every_record_counts_once(Library::KafkaJs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_python() {
    every_record_counts_once(Library::KafkaPython).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aiokafka() {
    every_record_counts_once(Library::Aiokafka).await;
}
