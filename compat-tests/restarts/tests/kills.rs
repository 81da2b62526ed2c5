//! The broker is killed again and again; its clients are never touched.
//!
//! `ROUNDS` sets the number of kills (default 10).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use harness::wait::LOOK_EVERY;
use vltava_compat_restarts::records::{Member, PARTITIONS, Place};
use vltava_compat_restarts::{Broker, LIMIT, columns, records};

/// What every client has to do between two kills.
const PROGRESS: u64 = 500;

/// Waits until all counters have gone on.
async fn progress(counters: &[(&str, Arc<AtomicU64>)]) {
    let goals: Vec<_> = counters
        .iter()
        .map(|(_, c)| c.load(Ordering::Relaxed) + PROGRESS)
        .collect();
    let began = Instant::now();
    loop {
        let behind = counters.iter().zip(&goals);
        let behind = behind.filter(|((_, counter), goal)| counter.load(Ordering::Relaxed) < **goal);
        let behind: Vec<_> = behind.map(|((name, _), _)| *name).collect();
        if behind.is_empty() {
            return;
        }
        assert!(
            began.elapsed() < LIMIT,
            "{behind:?} did not come back to the broker"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_wires_go_on_after_kills_and_nothing_is_lost_or_doubled() {
    let rounds = std::env::var("ROUNDS").map_or(10, |rounds| rounds.parse().expect("a number"));
    let mut broker = Broker::start();
    records::create(&broker.kafka()).await;
    columns::create(&broker.fluss()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let counter = || Arc::new(AtomicU64::new(0));
    let (produced, written, scanned) = (counter(), counter(), counter());
    let wanted = Arc::new(AtomicU64::new(u64::MAX));
    let producer = records::produce(broker.kafka(), Arc::clone(&produced), Arc::clone(&stop));
    let producer = tokio::spawn(producer);
    let writer = columns::write(broker.fluss(), Arc::clone(&written), Arc::clone(&stop));
    let writer = tokio::spawn(writer);
    let reader = columns::read(broker.fluss(), Arc::clone(&scanned), Arc::clone(&wanted));
    let reader = tokio::spawn(reader);
    let member = Member::join(&broker.kafka());
    let counters = [
        ("the Kafka producer", produced),
        ("the group's member", Arc::clone(&member.read)),
        ("the Fluss writer", written),
        ("the Fluss reader", scanned),
    ];
    for _ in 0..rounds {
        progress(&counters).await;
        broker.kill_and_start();
    }
    progress(&counters).await;
    stop.store(true, Ordering::Relaxed);
    let places = producer.await.expect("the producer");
    let numbers = writer.await.expect("the writer");
    wanted.store(numbers.len() as u64, Ordering::Relaxed);

    let ends = records::ends(&broker.kafka());
    let seen = tokio::task::spawn_blocking(move || member.finish(ends));
    let (seen, address) = (seen.await.expect("the member"), broker.kafka());
    let all = tokio::task::spawn_blocking(move || records::read_all(&address));
    assert_records(&places, &all.await.expect("the auditor"), &seen);

    // Every batch was acknowledged in the end, so the numbers are those from zero on, in order.
    let expected: Vec<_> = (0..numbers.len() as i64).collect();
    assert_eq!(reader.await.expect("the reader"), expected);
    let (scanned, wanted) = (counters[3].1.clone(), wanted.clone());
    let again = columns::read(broker.fluss(), scanned, wanted).await;
    assert_eq!(again, expected);
}

/// Every record is where the broker said, once, in the order in which it was sent; and the member,
/// which saw all kills, read the same as the auditor, who saw none.
fn assert_records(
    places: &BTreeMap<u64, Place>,
    all: &BTreeMap<Place, u64>,
    seen: &BTreeMap<Place, u64>,
) {
    let told: BTreeMap<_, _> = places
        .iter()
        .map(|(number, place)| (*place, *number))
        .collect();
    assert_eq!(told.len(), places.len(), "two records at one place");
    assert_eq!(all, &told, "what is there, and what was acknowledged");
    assert_eq!(all, seen, "what is there, and what the member read");
    for partition in 0..PARTITIONS {
        let numbers: Vec<_> = all
            .range((partition, 0)..=(partition, i64::MAX))
            .map(|(_, n)| *n)
            .collect();
        assert!(numbers.is_sorted(), "partition {partition} is out of order");
    }
}
