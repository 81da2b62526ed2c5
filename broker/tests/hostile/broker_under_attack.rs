//! The broker with small limits, and its sound clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::TestBroker;
use crate::log::Lines;
use crate::neighbours::Neighbours;

/// What never happens is given up after this time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at the metrics: the broker under attack has other work.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Open connections at most.
pub const CONNECTIONS_MAX: usize = 6_000;

/// A broker, clients that must not notice anything, and what it logs.
pub struct UnderAttack {
    broker: TestBroker,
    neighbours: Neighbours,
    panics: Arc<AtomicUsize>,
    /// What the broker logs.
    pub lines: Lines,
}

impl UnderAttack {
    /// Starts all of them.
    pub async fn start() -> UnderAttack {
        let lines = Lines::collect();
        let connections = CONNECTIONS_MAX.to_string();
        let broker = TestBroker::start_with([
            ("queued.max.request.bytes", "33554432"),
            ("socket.request.max.bytes", "16777216"),
            ("vltava.fetch.memory.bytes", "67108864"),
            ("vltava.unpacking.memory.bytes", "33554432"),
            ("vltava.connection.frame.timeout.ms", "1500"),
            ("vltava.connection.write.timeout.ms", "1500"),
            ("max.connections", &connections),
            ("flush.mode", "page-cache"),
        ])
        .await;
        let panics = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&panics);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            count.fetch_add(1, Ordering::Relaxed);
            hook(panic);
        }));
        let neighbours = Neighbours::start(broker.kafka(), broker.fluss()).await;
        UnderAttack {
            broker,
            neighbours,
            panics,
            lines,
        }
    }

    /// How often something in this process has panicked.
    pub fn panics(&self) -> usize {
        self.panics.load(Ordering::Relaxed)
    }

    /// Runs an attack. The sound clients must have got on meanwhile, and get on afterwards.
    pub async fn during(&self, name: &str, attack: impl Future<Output = ()>) {
        let started = Instant::now();
        let before = self.neighbours.rounds();
        let through = tokio::time::timeout(PATIENCE, async {
            attack.await;
            self.neighbours.go_on().await;
        });
        assert!(through.await.is_ok(), "{name}: no end within {PATIENCE:?}");
        let after = self.neighbours.rounds();
        assert_eq!(self.panics(), 0, "{name}: the broker panicked");
        println!(
            "{name}: {} ms, {} rounds on the Kafka wire, {} on the Fluss wire, {} MiB at most so far, \
             {} resident",
            started.elapsed().as_millis(),
            after.0 - before.0,
            after.1 - before.1,
            crate::ALLOCATOR.max_allocated() >> 20,
            crate::stalling::resident_bytes() >> 20
        );
    }

    /// Both ports.
    pub fn ports(&self) -> [SocketAddr; 2] {
        [self.broker.kafka(), self.broker.fluss()]
    }

    /// Where Kafka clients connect.
    pub fn kafka(&self) -> SocketAddr {
        self.broker.kafka()
    }

    /// Where Fluss clients connect.
    pub fn fluss(&self) -> SocketAddr {
        self.broker.fluss()
    }

    /// The sum of a counter or gauge over its labels that have these texts in them.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let mut stream = TcpStream::connect(self.broker.http())
            .await
            .expect("HTTP is served");
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text.lines()
            .filter(|line| line.starts_with(name) && line.contains(labels))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a counter has grown to so much.
    pub async fn metric_reaches(&self, name: &str, labels: &str, least: f64) {
        let mut looks = tokio::time::interval(BETWEEN_LOOKS);
        let reached = async {
            loop {
                looks.tick().await;
                let now = self.metric(name, labels).await;
                if now >= least {
                    return;
                }
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "{name} {labels} does not reach {least}");
    }

    /// Stops everything; the sound clients must have had no error.
    pub async fn stop(self) {
        self.neighbours.stop().await;
        self.broker.stop().await;
    }
}
