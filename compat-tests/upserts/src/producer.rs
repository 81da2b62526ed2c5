//! The producers.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::addresses;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::LIMIT;

/// The client libraries. Java has a suite of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// librdkafka.
    Rdkafka,
    /// franz-go.
    Franz,
    /// sarama, in Go.
    Sarama,
    /// kafkajs.
    KafkaJs,
    /// kafka-python.
    KafkaPython,
    /// aiokafka.
    Aiokafka,
}

/// Sends records with a library and gives the offsets that it shows for them, in their order.
///
/// # Panics
/// When a record is not acknowledged, or the runner's variables are missing.
pub async fn offsets(library: Library, topic: &str, count: usize) -> Vec<i64> {
    let (program, first) = match library {
        Library::Rdkafka => return rdkafka(topic, count).await,
        Library::Franz | Library::Sarama => (path("COMPAT_GO").join("upserter"), None),
        Library::KafkaJs => (
            PathBuf::from("node"),
            Some(path("COMPAT_SOURCES").join("node/upserter.cjs")),
        ),
        Library::KafkaPython | Library::Aiokafka => (
            path("COMPAT_PYTHON"),
            Some(path("COMPAT_SOURCES").join("python/upserter.py")),
        ),
    };
    let name = match library {
        Library::Rdkafka => "rdkafka",
        Library::Franz => "franz",
        Library::Sarama => "sarama",
        Library::KafkaJs => "kafkajs",
        Library::KafkaPython => "kafka-python",
        Library::Aiokafka => "aiokafka",
    };
    let mut command = Command::new(program);
    command
        .args(first)
        .args([name, topic, &count.to_string()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.expect("not cancelled").expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{library:?}: {said}{errors}");
    read(&said)
}

/// The offsets of lines `offset I OFFSET`.
fn read(said: &str) -> Vec<i64> {
    let offsets = said.lines().filter_map(|line| {
        let mut parts = line.split_whitespace();
        (parts.next()? == "offset").then_some(())?;
        let place: usize = parts.next()?.parse().ok()?;
        Some((place, parts.next()?.parse().ok()?))
    });
    let mut offsets: Vec<(usize, i64)> = offsets.collect();
    offsets.sort_unstable();
    offsets.into_iter().map(|(_, offset)| offset).collect()
}

/// librdkafka in this process: all records in one batch.
async fn rdkafka(topic: &str, count: usize) -> Vec<i64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", addresses::kafka());
    config.set("enable.idempotence", "true");
    config.set("linger.ms", "200");
    let producer: FutureProducer = config.create().expect("a producer");
    let texts: Vec<_> = (0..count)
        .map(|i| (format!("{{\"id\":{i}}}"), format!("{{\"n\":{i}}}")))
        .collect();
    let sent: Vec<_> = texts
        .iter()
        .map(|(key, value)| {
            let record = FutureRecord::to(topic).partition(0).key(key).payload(value);
            producer.send_result(record).expect("queued")
        })
        .collect();
    let mut offsets = Vec::with_capacity(count);
    for delivered in sent {
        let delivered = tokio::time::timeout(LIMIT, delivered).await;
        let delivered = delivered.expect("in time").expect("not cancelled");
        offsets.push(delivered.expect("acknowledged").offset);
    }
    offsets
}

fn path(variable: &str) -> PathBuf {
    env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("set {variable}, or use compat-tests/run"))
}
