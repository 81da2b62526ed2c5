//! Ready time, idle memory, memory with many idle connections, and the restart after `kill -9`.

use crate::error::Outcome;
use crate::kafka::batch::Codec;
use crate::kafka::{self, load, wire};
use crate::options::Options;
use crate::process;
use crate::report::{Figures, Report};
use crate::servers::{self, FSYNC, KAFKA, PAGE_CACHE, Server};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

pub const LIFE: &str = "Start, memory, restart";
pub const START: &str = "start on an empty directory";
pub const IDLE: &str = "5,000 idle connections";
pub const RESTART: &str = "again after kill -9";

const CONNECTIONS: usize = 5_000;
/// Until a process that has just started has settled.
const SETTLE: Duration = Duration::from_secs(2);

/// Measures the life of a process.
pub fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let mut names = vec![PAGE_CACHE, FSYNC];
    if options.peer {
        names.insert(0, KAFKA);
    }
    for name in names {
        if options.wants(START) && name != PAGE_CACHE {
            starts(options, report, name)?;
        }
        if options.wants(IDLE) && name != PAGE_CACHE {
            idle_connections(report, name)?;
        }
        if options.wants(RESTART) {
            restart(options, report, name)?;
        }
    }
    Ok(())
}

fn start(name: &'static str, data: &Path) -> Outcome<Server> {
    if name == KAFKA {
        servers::kafka(data)
    } else {
        servers::vltava(name, data)
    }
}

fn starts(options: &Options, report: &mut Report, name: &'static str) -> Outcome<()> {
    let mut found = Vec::new();
    for _ in 0..options.scaled(3, 5) {
        let data = servers::scratch()?;
        let server = start(name, data.path())?;
        let mut figures = Figures::new();
        figures.extend(server.ready_ms().map(|ms| ("ready ms", ms)));
        thread::sleep(SETTLE);
        let cpu = server.cpu_seconds()?;
        thread::sleep(SETTLE);
        figures.insert(
            "idle CPU %",
            (server.cpu_seconds()? - cpu) / SETTLE.as_secs_f64() * 100.0,
        );
        figures.insert("idle MiB", process::resident_mib(&server.processes())?);
        found.push(figures);
    }
    report.row(LIFE, START, name, found);
    Ok(())
}

/// Every connection has asked for the API versions once, as clients do, and then says nothing.
fn idle_connections(report: &mut Report, name: &'static str) -> Outcome<()> {
    let data = servers::scratch()?;
    let server = start(name, data.path())?;
    thread::sleep(SETTLE);
    let before = process::resident_mib(&server.processes())?;
    let address = server.kafka()?;
    let mut open = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        open.push(wire::greeted(&address)?);
    }
    thread::sleep(SETTLE);
    let after = process::resident_mib(&server.processes())?;
    let figures = Figures::from([
        ("MiB with connections", after),
        (
            "KiB per connection",
            (after - before) * 1024.0 / CONNECTIONS as f64,
        ),
    ]);
    drop(open);
    report.row(LIFE, IDLE, name, vec![figures]);
    Ok(())
}

fn restart(options: &Options, report: &mut Report, name: &'static str) -> Outcome<()> {
    const PARTITIONS: usize = 6;
    let data = servers::scratch()?;
    let mut server = start(name, data.path())?;
    let batches = kafka::encoded(options, 1_000, 64, Codec::None)?;
    let address = server.kafka()?;
    wire::create_topic(&address, "bench", PARTITIONS)?;
    let bytes = (options.restart_gb * 1e9) as usize;
    load::produce(&address, "bench", PARTITIONS, &batches, 2, bytes)?;
    server.kill();
    let began = Instant::now();
    let again = start(name, data.path())?;
    let mut connection = wire::Connection::open(&again.kafka()?)?;
    let positions: Vec<_> = (0..PARTITIONS)
        .map(|partition| (partition as i32, 0))
        .collect();
    let mut probe = wire::fetch("bench", &positions);
    let readable = harness::wait::until(Duration::from_secs(120), || {
        let mut bytes = 0;
        wire::fetched(connection.ask(&mut probe).ok()?, |_, records| {
            bytes += records.len()
        })
        .ok()?;
        (bytes > 0).then(|| began.elapsed())
    });
    let readable = readable.ok_or("the topic cannot be read after the restart")?;
    let mut figures = Figures::from([
        ("GB restarted", options.restart_gb),
        ("readable again ms", readable.as_secs_f64() * 1e3),
    ]);
    figures.extend(again.ready_ms().map(|ms| ("ready ms", ms)));
    figures.insert("CPU s of restart", again.cpu_seconds()?);
    report.row(LIFE, RESTART, name, vec![figures]);
    Ok(())
}
