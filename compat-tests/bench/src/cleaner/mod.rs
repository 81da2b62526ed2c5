//! The cleaner beside Kafka's own: a compacted topic of many records over few keys, written while the cleaner may not
//! touch it, then cleaned while log size, processor time and memory are watched, then read from the start.

mod topic;

use crate::aims::{self, Aim};
use crate::error::Outcome;
use crate::kafka::wire::{self, Connection};
use crate::options::Options;
use crate::process;
use crate::report::{Figures, Report};
use crate::servers::{self, FSYNC, KAFKA, PAGE_CACHE, Server};
use std::time::{Duration, Instant};
use topic::Model;

pub const CLEAN: &str = "Cleaner";

/// Records of each key, on average.
const PER_KEY: usize = 10;
/// How often the log's size and the server's memory are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A log that has become small is clean when it stays as it is for so long.
const SETTLED: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(900);
/// Segments of a log at least: what the active one holds, which is not cleaned, should be little.
const SEGMENTS_MIN: u64 = 16;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Measures the cleaner of every server.
pub fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let data = servers::scratch()?;
    let servers = servers::of_cleaners(options, data.path())?;
    let records = options.rows;
    let keys = records / PER_KEY;
    report.note(format!(
        "The cleaner's time runs from the change of `min.compaction.lag.ms` that lets it begin to the last change of \
         the log's size (DescribeLogDirs); MB/s is what it had to read once, without the active segment's {} MB.",
        segment_bytes(records) / 1_000_000
    ));
    let workload = format!("{records} records of {keys} keys");
    for server in &servers {
        // A JVM compiles what runs often.
        clean(options, server, records / 5, keys / 5)?;
        let figures = clean(options, server, records, keys)?;
        report.row(CLEAN, &workload, server.name, vec![figures]);
    }
    Ok(())
}

fn clean(options: &Options, server: &Server, records: usize, keys: usize) -> Outcome<Figures> {
    let address = server.kafka()?;
    let name = harness::names::unique("bench_clean");
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.compaction.lag.ms", "86400000"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.bytes", &segment_bytes(records).to_string()),
    ];
    wire::create_topic_with(&address, &name, 1, &settings)?;
    let mut model = Model::new(options.seed, keys);
    let cpu = server.cpu_seconds()?;
    model.produce(&address, &name, records)?;
    let mut figures = Figures::from([("CPU s to produce", server.cpu_seconds()? - cpu)]);
    watch(server, &name, records, keys, &mut figures)?;
    let left = model.check(&address, &name)?;
    figures.insert("records left", left as f64);
    wire::delete_topic(&address, &name)?;
    Ok(figures)
}

/// Lets the cleaner begin, and watches it until the log stays as it is.
fn watch(
    server: &Server,
    topic: &str,
    records: usize,
    keys: usize,
    figures: &mut Figures,
) -> Outcome<()> {
    let address = server.kafka()?;
    let mut connection = Connection::open(&address)?;
    let mut question = wire::log_size(topic);
    let before = wire::log_bytes(connection.ask(&mut question)?)?;
    // What cannot go: a record of each key, and the segment that is written to. Half as much again for batch headers.
    let segment = segment_bytes(records);
    let small = (keys as u64 * topic::RECORD_BYTES_MAX) * 3 / 2 + segment;
    if before < 2 * small {
        return Err(format!("{before} bytes are too few to be cleaned").into());
    }
    let cpu = server.cpu_seconds()?;
    let resident = process::resident_mib(&server.processes())?;
    let mut peak = resident;
    let mut spent = 0.0;
    wire::set(&address, topic, "min.compaction.lag.ms", "0")?;
    let began = Instant::now();
    let (mut size, mut changed) = (before, began);
    while size > small || changed.elapsed() < SETTLED {
        std::thread::sleep(LOOK_EVERY);
        let now = wire::log_bytes(connection.ask(&mut question)?)?;
        if now != size {
            (size, changed) = (now, Instant::now());
            spent = server.cpu_seconds()? - cpu;
        }
        peak = peak.max(process::resident_mib(&server.processes())?);
        if began.elapsed() > LIMIT {
            return Err(format!("{size} of {before} bytes are left after {LIMIT:?}").into());
        }
    }
    let seconds = (changed - began).as_secs_f64();
    let megabytes = before.saturating_sub(segment) as f64 / 1e6;
    figures.insert("MB/s", megabytes / seconds);
    figures.insert("seconds", seconds);
    figures.insert("CPU s/GB", spent / (megabytes / 1e3));
    figures.insert("MB before", before as f64 / 1e6);
    figures.insert("MB after", size as f64 / 1e6);
    figures.insert("MiB before", resident);
    figures.insert("MiB peak", peak);
    figures.insert("MiB more", peak - resident);
    Ok(())
}

/// Kafka takes no segments below a MiB.
fn segment_bytes(records: usize) -> u64 {
    (records as u64 * topic::RECORD_BYTES_MAX / SEGMENTS_MIN).clamp(1 << 20, SEGMENT_BYTES_MAX)
}

/// The aims of this part.
pub fn aims(report: &Report, aims: &mut Vec<Aim>) {
    let cleaned: Vec<_> = report
        .rows
        .iter()
        .filter(|row| row.group == CLEAN)
        .collect();
    let of = |server: &str, name: &str| {
        let row = cleaned.iter().find(|row| row.server == server)?;
        row.median.get(name).copied()
    };
    for server in [PAGE_CACHE, FSYNC] {
        if let (Some(ours), Some(peers)) = (of(server, "MB/s"), of(KAFKA, "MB/s")) {
            aims::at_least(
                aims,
                format!("{CLEAN}, {server}: MB/s of Kafka's, at least 1"),
                ours / peers,
                1.0,
            );
        }
    }
}
