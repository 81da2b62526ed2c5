//! Sound clients: each writes, reads back what it wrote, and fails the test when that fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use protocol::kafka::compression::Codec;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::common::fluss::{Client, batch, log_table, path, rows_of};
use crate::common::kafka_peer::Kafka;
use crate::common::records::{Row, kafka_batch, of_kafka};

const TOPIC: &str = "neighbour";

/// One client on each wire.
pub struct Neighbours {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    kafka: AtomicUsize,
    fluss: AtomicUsize,
    round: Notify,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn done(&self, rounds: &AtomicUsize) {
        rounds.fetch_add(1, Ordering::Relaxed);
        self.round.notify_waiters();
    }
}

impl Neighbours {
    /// Starts both.
    pub async fn start(kafka: SocketAddr, fluss: SocketAddr) -> Neighbours {
        let shared = Arc::<Shared>::default();
        let tasks = [
            tokio::spawn(over_kafka(kafka, Arc::clone(&shared))),
            tokio::spawn(over_fluss(fluss, Arc::clone(&shared))),
        ];
        let neighbours = Neighbours { shared, tasks };
        neighbours.go_on().await;
        neighbours
    }

    /// Rounds of the Kafka client and of the Fluss client.
    pub fn rounds(&self) -> (usize, usize) {
        let rounds = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        (rounds(&self.shared.kafka), rounds(&self.shared.fluss))
    }

    /// Waits until each has done two more rounds, of which one is whole.
    pub async fn go_on(&self) {
        let (kafka, fluss) = self.rounds();
        loop {
            let round = self.shared.round.notified();
            let now = self.rounds();
            if now.0 >= kafka + 2 && now.1 >= fluss + 2 {
                return;
            }
            for task in &self.tasks {
                assert!(!task.is_finished(), "a sound client has failed");
            }
            round.await;
        }
    }

    /// Stops both.
    pub async fn stop(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a sound client has no trouble");
        }
    }
}

/// Tells the others when a client ends, also when it fails.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.round.notify_waiters();
    }
}

async fn over_kafka(address: SocketAddr, shared: Arc<Shared>) {
    let _ending = Ending(Arc::clone(&shared));
    let mut client = Kafka::connect(address).await.expect("connected");
    client.create_topic(TOPIC, 1).await.expect("made");
    let mut next = 0;
    while shared.goes_on() {
        let rows: Vec<_> = (next..next + 10)
            .map(|i| Row::of_value(format!("value {i}"), 1))
            .collect();
        let codec = Codec::ALL[next as usize / 10 % Codec::ALL.len()];
        let records = kafka_batch(&rows, codec, None);
        client.send_batch(TOPIC, 0, records).await.expect("sent");
        let base = client.acknowledged().await.expect("an answer");
        assert_eq!(base, Ok(next));
        let mut read = Vec::new();
        while read.len() < rows.len() {
            let from = next + read.len() as i64;
            let fetched = client.fetch(TOPIC, 0, from, 500).await.expect("an answer");
            assert_eq!(fetched.error, 0);
            read.extend(of_kafka(&fetched.records, from).0);
        }
        let expected: Vec<_> = (next..).zip(rows).collect();
        assert_eq!(read, expected);
        next += 10;
        shared.done(&shared.kafka);
    }
}

async fn over_fluss(address: SocketAddr, shared: Arc<Shared>) {
    let _ending = Ending(Arc::clone(&shared));
    let mut client = Client::connect(address).await;
    let table = client.create_table(&path(TOPIC), &log_table(1)).await;
    let mut next = 0;
    while shared.goes_on() {
        let answer = client.produce(table, 0, batch(next..next + 10, None)).await;
        assert_eq!(answer.error_code, None, "{:?}", answer.error_message);
        assert_eq!(answer.base_offset, Some(i64::from(next)));
        let mut read = Vec::new();
        while read.len() < 10 {
            let from = i64::from(next) + read.len() as i64;
            let fetched = client.fetch(table, 0, from, 500).await;
            assert_eq!(fetched.error_code, None);
            read.extend(rows_of(fetched.records.unwrap_or_default()));
        }
        let expected: Vec<_> = (next..next + 10).map(|i| (i64::from(i), i)).collect();
        assert_eq!(read, expected);
        next += 10;
        shared.done(&shared.fluss);
    }
}
