//! The aims of the project, and whether a run reached them.

use crate::cleaner;
use crate::fluss;
use crate::kafka::{CONSUME, MEMORY, PING_PONG, PRODUCE, SMALL};
use crate::life::{IDLE, LIFE, RESTART, START};
use crate::pk;
use crate::report::Report;
use crate::servers::{FSYNC, KAFKA, PAGE_CACHE};
use serde::Serialize;

/// An aim that this run has figures for.
#[derive(Clone, Debug, Serialize)]
pub struct Aim {
    pub text: String,
    pub reached: bool,
    pub figure: String,
}

/// Which way a figure should go.
#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Wanted {
    fn holds(self, value: f64) -> bool {
        match self {
            Wanted::AtLeast(limit) => value >= limit,
            Wanted::AtMost(limit) => value <= limit,
        }
    }
}

/// Judges what was measured; what was not is left out.
pub fn judge(report: &Report) -> Vec<Aim> {
    let mut aims = Vec::new();
    for client in ["raw", "librdkafka"] {
        of_streams(report, client, &mut aims);
    }
    of_requests(report, &mut aims);
    of_life(report, &mut aims);
    fluss::aims(report, &mut aims);
    pk::aims(report, &mut aims);
    cleaner::aims(report, &mut aims);
    aims
}

fn of_streams(report: &Report, client: &str, aims: &mut Vec<Aim>) {
    for partitions in [1, 6] {
        let load = format!("{client}, 1000 B, none, {partitions}p");
        let shape = load.as_str();
        for server in [PAGE_CACHE, FSYNC] {
            let text =
                format!("{shape}: {server} CPU per GB of Kafka's when producing, at most 0.25");
            ratio(
                report,
                aims,
                text,
                (PRODUCE, shape, "CPU s/GB"),
                server,
                Wanted::AtMost(0.25),
            );
        }
        let text = format!("{shape}: CPU per GB of Kafka's when consuming, at most 0.8");
        ratio(
            report,
            aims,
            text,
            (CONSUME, shape, "CPU s/GB"),
            PAGE_CACHE,
            Wanted::AtMost(0.8),
        );
        let text = format!("{shape}: page-cache throughput of Kafka's, at least 1.2");
        ratio(
            report,
            aims,
            text,
            (PRODUCE, shape, "MB/s"),
            PAGE_CACHE,
            Wanted::AtLeast(1.2),
        );
    }
    let load = format!("{client}, 1000 B, none, 6p");
    let text = format!("{load}: fsync throughput of Kafka's unsynced, at least 1");
    ratio(
        report,
        aims,
        text,
        (PRODUCE, load.as_str(), "MB/s"),
        FSYNC,
        Wanted::AtLeast(1.0),
    );
}

fn of_requests(report: &Report, aims: &mut Vec<Aim>) {
    let workload = |group: &str| {
        report
            .rows
            .iter()
            .find(|row| row.group == group)
            .map(|row| row.workload.clone())
    };
    if let Some(name) = workload(PING_PONG) {
        let text = "ping-pong p50 of Kafka's, page-cache, at most 0.5".to_owned();
        ratio(
            report,
            aims,
            text,
            (PING_PONG, &name, "p50 ms"),
            PAGE_CACHE,
            Wanted::AtMost(0.5),
        );
        let text = "ping-pong p99 of Kafka's, page-cache, at most 0.5".to_owned();
        ratio(
            report,
            aims,
            text,
            (PING_PONG, &name, "p99 ms"),
            PAGE_CACHE,
            Wanted::AtMost(0.5),
        );
    }
    if let Some(name) = workload(SMALL) {
        let text = "small producers: page-cache throughput of Kafka's, at least 1.2".to_owned();
        ratio(
            report,
            aims,
            text,
            (SMALL, &name, "records/s"),
            PAGE_CACHE,
            Wanted::AtLeast(1.2),
        );
    }
    if let Some(name) = workload(MEMORY) {
        let text = "resident memory after load of Kafka's, at most 0.1".to_owned();
        ratio(
            report,
            aims,
            text,
            (MEMORY, &name, "MiB after load"),
            PAGE_CACHE,
            Wanted::AtMost(0.1),
        );
    }
}

fn of_life(report: &Report, aims: &mut Vec<Aim>) {
    let limits = [
        (START, "ready ms", 200.0, "ready in under 200 ms"),
        (START, "idle MiB", 50.0, "idle memory under 50 MB"),
        (
            IDLE,
            "MiB with connections",
            250.0,
            "5,000 idle connections in 250 MiB",
        ),
    ];
    for (workload, name, limit, text) in limits {
        if let Some(value) = report.figure(LIFE, workload, FSYNC, name) {
            push(aims, text.to_owned(), value, Wanted::AtMost(limit), "");
        }
    }
    for server in [PAGE_CACHE, FSYNC] {
        if let (Some(value), Some(size)) = (
            report.figure(LIFE, RESTART, server, "readable again ms"),
            report.figure(LIFE, RESTART, server, "GB restarted"),
        ) {
            let text = format!(
                "{server}: readable in under 2,000 ms after kill -9 of {size} GB (the aim is for 10 GB)"
            );
            push(aims, text, value, Wanted::AtMost(2_000.0), " ms");
        }
    }
}

fn ratio(
    report: &Report,
    aims: &mut Vec<Aim>,
    text: String,
    (group, workload, name): (&str, &str, &str),
    server: &str,
    wanted: Wanted,
) {
    let ours = report.figure(group, workload, server, name);
    let peers = report.figure(group, workload, KAFKA, name);
    if let (Some(ours), Some(peers)) = (ours, peers) {
        push(aims, text, ours / peers, wanted, "×");
    }
}

fn push(aims: &mut Vec<Aim>, text: String, value: f64, wanted: Wanted, unit: &str) {
    aims.push(Aim {
        text,
        reached: wanted.holds(value),
        figure: format!("{value:.2}{unit}"),
    });
}

/// An aim of another part: `value` should be at least `limit`.
pub fn at_least(aims: &mut Vec<Aim>, text: String, value: f64, limit: f64) {
    push(aims, text, value, Wanted::AtLeast(limit), "");
}

/// An aim of another part: `value` should be at most `limit`.
pub fn at_most(aims: &mut Vec<Aim>, text: String, value: f64, limit: f64) {
    push(aims, text, value, Wanted::AtMost(limit), "");
}
