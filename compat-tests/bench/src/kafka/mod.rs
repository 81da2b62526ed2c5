//! The Kafka wire: the broker in both flush modes beside Apache Kafka.

pub mod batch;
mod librdkafka;
pub mod load;
pub mod wire;

use crate::error::Outcome;
use crate::options::Options;
use crate::process;
use crate::report::{Figures, Report};
use crate::scrape;
use crate::servers::{self, Server};
use batch::{Batch, Codec, Values};
use load::Done;
use std::time::{SystemTime, UNIX_EPOCH};

pub const PRODUCE: &str = "Kafka produce";
pub const CONSUME: &str = "Kafka consume";
pub const SMALL: &str = "Kafka small producers";
pub const PING_PONG: &str = "Kafka ping-pong";
pub const MEMORY: &str = "Kafka memory";

/// Uncompressed bytes in a batch of the raw load: what Kafka's Java producer collects by default.
const BATCH_BYTES: usize = 16 << 10;
/// Different batches of a workload, sent again and again.
const BATCHES: usize = 16;
/// Connections that produce, and readers of the whole topic.
const CLIENTS: usize = 2;
const PRODUCERS: usize = 64;

/// Who sends and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// The load generator of this crate: encoded before the clock starts.
    Raw,
    /// librdkafka with its defaults and `acks=all`.
    Librdkafka,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    client: Client,
    size: usize,
    codec: Codec,
    partitions: usize,
}

impl Shape {
    fn name(self) -> String {
        let client = if self.client == Client::Raw {
            "raw"
        } else {
            "librdkafka"
        };
        format!(
            "{client}, {} B, {}, {}p",
            self.size,
            self.codec.name(),
            self.partitions
        )
    }
}

/// Measures all workloads of the Kafka wire.
pub fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let data = servers::scratch()?;
    let servers = servers::of_kafka_wire(options, data.path())?;
    let begin = memories(&servers)?;
    warm_up(options, &servers)?;
    ping_pong(options, report, &servers)?;
    small_producers(options, report, &servers)?;
    for client in [Client::Raw, Client::Librdkafka] {
        for size in [1_000, 100] {
            for codec in [Codec::None, Codec::Lz4] {
                for partitions in [1, 6] {
                    let shape = Shape {
                        client,
                        size,
                        codec,
                        partitions,
                    };
                    if options.wants(&shape.name()) {
                        stream(options, report, &servers, shape)?;
                    }
                }
            }
        }
    }
    for (server, begin) in servers.iter().zip(begin) {
        let figures = Figures::from([
            ("MiB after start", begin),
            (
                "MiB after load",
                process::resident_mib(&server.processes())?,
            ),
            ("MiB peak", process::peak_mib(&server.processes())?),
        ]);
        report.row(
            MEMORY,
            "all workloads of this wire",
            server.name,
            vec![figures],
        );
    }
    Ok(())
}

/// A JVM compiles what runs often: its first gigabyte costs several times what later ones do.
fn warm_up(options: &Options, servers: &[Server]) -> Outcome<()> {
    const PARTITIONS: usize = 6;
    let batches = encoded(options, 1_000, BATCH_BYTES / 1_000, Codec::None)?;
    let single = encoded(options, 100, 1, Codec::None)?.swap_remove(0);
    for server in servers {
        let address = server.kafka()?;
        let topic = harness::names::unique("bench_warm");
        wire::create_topic(&address, &topic, PARTITIONS)?;
        let bytes = options.scaled(500, 1_500) * 1_000_000;
        let done = load::produce(&address, &topic, PARTITIONS, &batches, CLIENTS, bytes)?;
        load::consume(&address, &topic, PARTITIONS, 1_000, CLIENTS, done.records)?;
        load::produce_singly(
            &address,
            &topic,
            PARTITIONS,
            &single,
            PRODUCERS,
            options.scaled(20_000, 60_000),
        )?;
        let _ = wire::delete_topic(&address, &topic);
    }
    Ok(())
}

fn memories(servers: &[Server]) -> Outcome<Vec<f64>> {
    std::thread::sleep(std::time::Duration::from_secs(1));
    servers
        .iter()
        .map(|server| process::resident_mib(&server.processes()))
        .collect()
}

/// Produces a topic and consumes it, every server in turn, round after round.
fn stream(options: &Options, report: &mut Report, servers: &[Server], shape: Shape) -> Outcome<()> {
    let batches = encoded(
        options,
        shape.size,
        (BATCH_BYTES / shape.size).max(1),
        shape.codec,
    )?;
    // librdkafka is its own limit with small records: less of them says the same.
    let share = if shape.client == Client::Librdkafka && shape.size < 1_000 {
        2
    } else {
        1
    };
    let value_bytes = options.megabytes * 1_000_000 / share;
    let mut produced = vec![Vec::new(); servers.len()];
    let mut consumed = vec![Vec::new(); servers.len()];
    for round in 0..=options.rounds {
        for (index, server) in servers.iter().enumerate() {
            let address = server.kafka()?;
            let topic = harness::names::unique("bench");
            wire::create_topic(&address, &topic, shape.partitions)?;
            let (written, figures) = measured(server, || match shape.client {
                Client::Raw => load::produce(
                    &address,
                    &topic,
                    shape.partitions,
                    &batches,
                    CLIENTS,
                    value_bytes,
                ),
                Client::Librdkafka => librdkafka::produce(
                    &address,
                    &topic,
                    options.seed,
                    shape.size,
                    shape.codec,
                    value_bytes,
                ),
            })?;
            let (_, read) = measured(server, || match shape.client {
                Client::Raw => load::consume(
                    &address,
                    &topic,
                    shape.partitions,
                    shape.size,
                    CLIENTS,
                    written.records,
                ),
                Client::Librdkafka => {
                    librdkafka::consume(&address, &topic, shape.partitions, written.records)
                }
            })?;
            if round > 0 {
                produced[index].push(figures);
                consumed[index].push(read);
            }
            let _ = wire::delete_topic(&address, &topic);
        }
    }
    for (index, server) in servers.iter().enumerate() {
        report.row(
            PRODUCE,
            &shape.name(),
            server.name,
            std::mem::take(&mut produced[index]),
        );
        report.row(
            CONSUME,
            &shape.name(),
            server.name,
            std::mem::take(&mut consumed[index]),
        );
    }
    Ok(())
}

fn small_producers(options: &Options, report: &mut Report, servers: &[Server]) -> Outcome<()> {
    let name = format!("{PRODUCERS} producers, one record of 100 B each under way, 6p");
    if !options.wants(&name) {
        return Ok(());
    }
    let batch = encoded(options, 100, 1, Codec::None)?.swap_remove(0);
    let records = options.scaled(30_000, 200_000);
    rounds(
        options,
        report,
        servers,
        SMALL,
        &name,
        6,
        |address, topic| load::produce_singly(address, topic, 6, &batch, PRODUCERS, records),
    )
}

fn ping_pong(options: &Options, report: &mut Report, servers: &[Server]) -> Outcome<()> {
    let name = "100 B, acks=all, produced until consumed";
    if !options.wants(name) {
        return Ok(());
    }
    let batch = encoded(options, 100, 1, Codec::None)?.swap_remove(0);
    let count = options.scaled(2_000, 10_000);
    rounds(
        options,
        report,
        servers,
        PING_PONG,
        name,
        1,
        |address, topic| load::ping_pong(address, topic, &batch, count),
    )
}

fn rounds(
    options: &Options,
    report: &mut Report,
    servers: &[Server],
    group: &'static str,
    name: &str,
    partitions: usize,
    load: impl Fn(&str, &str) -> Outcome<Done>,
) -> Outcome<()> {
    let mut found = vec![Vec::new(); servers.len()];
    for round in 0..=options.rounds {
        for (index, server) in servers.iter().enumerate() {
            let address = server.kafka()?;
            let topic = harness::names::unique("bench");
            wire::create_topic(&address, &topic, partitions)?;
            let (_, figures) = measured(server, || load(&address, &topic))?;
            if round > 0 {
                found[index].push(figures);
            }
            let _ = wire::delete_topic(&address, &topic);
        }
    }
    for (server, found) in servers.iter().zip(found) {
        report.row(group, name, server.name, found);
    }
    Ok(())
}

/// Runs a load and adds what the server used meanwhile.
pub fn measured(server: &Server, load: impl FnOnce() -> Outcome<Done>) -> Outcome<(Done, Figures)> {
    let page = server.metrics();
    let cpu = server.cpu_seconds()?;
    let mut done = load()?;
    let cpu = server.cpu_seconds()? - cpu;
    let seconds = done.time.as_secs_f64();
    let gigabytes = done.value_bytes as f64 / 1e9;
    let mut figures = Figures::from([
        ("MB/s", gigabytes * 1e3 / seconds),
        ("records/s", done.records as f64 / seconds),
        ("CPU s/GB", cpu / gigabytes),
    ]);
    figures.extend(done.latencies.percentiles());
    if let (Some(before), Some(after), true) =
        (page, server.metrics(), server.name == servers::FSYNC)
    {
        let name = "kafka_log_flush_time_seconds_count";
        let flushes = scrape::sum(&after, name) - scrape::sum(&before, name);
        if flushes > 0.0 && done.batches > 0 {
            figures.insert("batches/fsync", done.batches as f64 / flushes);
        }
    }
    Ok((done, figures))
}

/// Different batches with contents that the seed decides.
pub fn encoded(
    options: &Options,
    size: usize,
    records: usize,
    codec: Codec,
) -> Outcome<Vec<Batch>> {
    let mut values = Values::new(options.seed, size);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let now = i64::try_from(now)?;
    (0..BATCHES)
        .map(|_| batch::encode(&mut values, records, codec, now))
        .collect()
}
