//! A Kafka producer writes to a primary-key table while its broker is killed again and again: every
//! upsert is applied once, in order.
//!
//! `ROUNDS` sets the number of kills (default 10).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use harness::wait::LOOK_EVERY;
use vltava_compat_restarts::{Broker, LIMIT, upserts};

/// Records that are acknowledged between two kills, at least.
const PROGRESS: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn upserts_are_applied_once_whenever_the_broker_is_killed() {
    let rounds: u64 =
        std::env::var("ROUNDS").map_or(10, |rounds| rounds.parse().expect("a number"));
    let mut broker = Broker::start();
    upserts::create(&broker.fluss()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let producer = upserts::produce(broker.kafka(), Arc::clone(&acknowledged), Arc::clone(&stop));
    let producer = tokio::spawn(producer);
    for round in 0..=rounds {
        // Kills come at other moments of a batch each time.
        let goal = acknowledged.load(Ordering::Relaxed) + PROGRESS + 17 * (round % 7);
        let began = Instant::now();
        while acknowledged.load(Ordering::Relaxed) < goal {
            assert!(began.elapsed() < LIMIT, "the producer did not come back");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if round < rounds {
            broker.kill_and_start();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let count = producer.await.expect("the producer");
    let expected = upserts::expected(count);
    let address = broker.kafka();
    let history = tokio::task::spawn_blocking(move || upserts::history(&address));
    assert_eq!(history.await.expect("the auditor"), expected);
    let newest = expected.iter().map(|(id, all)| (*id, all[all.len() - 1]));
    assert_eq!(upserts::rows(&broker.fluss()).await, newest.collect());
}
