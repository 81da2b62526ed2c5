//! The Fluss wire: the broker in both flush modes beside Apache Fluss, with fluss-rs on each.

pub mod client;
mod received;
pub mod rows;
mod tail;
mod topic;

use crate::aims::{self, Aim};
use crate::error::Outcome;
use crate::kafka::measured;
use crate::options::Options;
use crate::report::{Figures, Report};
use crate::servers::{self, FLUSS, FSYNC, PAGE_CACHE, Server};
use client::Client;

pub const APPEND: &str = "Fluss append, 20 columns";
pub const FULL: &str = "Fluss scan, 20 of 20 columns";
pub const PRUNED: &str = "Fluss scan, 2 of 20 columns";
pub const TAIL: &str = "Fluss tail: from a row's acknowledgement to its reader";
pub const TOPIC: &str = "Fluss scan of a topic written by Kafka clients";

/// A table and how it is written.
#[derive(Clone, Copy, Debug)]
struct Shape {
    codec: &'static str,
    buckets: i32,
}

const SHAPES: &[Shape] = &[
    Shape {
        codec: "NONE",
        buckets: 1,
    },
    Shape {
        codec: "ZSTD",
        buckets: 1,
    },
    Shape {
        codec: "ZSTD",
        buckets: 3,
    },
];

impl Shape {
    fn name(self) -> String {
        format!(
            "{}, {} bucket(s), {} rows a batch",
            self.codec.to_lowercase(),
            self.buckets,
            rows::PER_BATCH
        )
    }
}

/// Measures all workloads of the Fluss wire.
pub fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let received = received::install()?;
    let data = servers::scratch()?;
    let servers = servers::of_fluss_wire(options, data.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    tail::run(options, report, &servers, &runtime)?;
    report.note(
        "Readers of Fluss history let a fetch wait 5 ms for rows at most, on every server: fluss-rs has one fetch \
         per server under way, and one that asks for buckets that are read to their end holds up the others."
            .to_owned(),
    );
    for shape in SHAPES {
        if options.wants(&shape.name()) {
            table(options, report, &servers, &runtime, &received, *shape)?;
        }
    }
    topic::run(options, report, &servers, &runtime, &received)
}

/// Appends a table, scans it whole and pruned, every server in turn, round after round.
fn table(
    options: &Options,
    report: &mut Report,
    servers: &[Server],
    runtime: &tokio::runtime::Runtime,
    received: &received::Received,
    shape: Shape,
) -> Outcome<()> {
    let batches = rows::batches(options.seed)?;
    let rounds_of_batches = options.scaled(12, 48);
    let stored =
        rows::stored_bytes(&batches, rows::PRUNED_COLUMNS, shape.codec)? * rounds_of_batches;
    let mut found = vec![[const { Vec::new() }; 3]; servers.len()];
    for round in 0..=options.rounds {
        for (index, server) in servers.iter().enumerate() {
            let client = runtime.block_on(Client::open_for_history(&server.fluss()?))?;
            let path = runtime.block_on(client.create(rows::table(shape.codec, shape.buckets)?))?;
            let (_, append) = measured(server, || {
                runtime.block_on(client.append(&path, &batches, rounds_of_batches))
            })?;
            let rows = rows::PER_BATCH * batches.len() * rounds_of_batches;
            let scan = |columns: Option<&[usize]>| -> Outcome<Figures> {
                let before = received.bytes();
                let (_, mut figures) = measured(server, || {
                    let value_bytes = rows * rows::row_bytes(&batches);
                    runtime.block_on(client.scan(&path, shape.buckets, columns, rows, value_bytes))
                })?;
                let bytes = received.bytes() - before;
                figures.insert("MB sent", bytes as f64 / 1e6);
                if columns.is_some() {
                    figures.insert("sent/stored", bytes as f64 / stored as f64);
                }
                Ok(figures)
            };
            let full = scan(None)?;
            let pruned = scan(Some(rows::PRUNED_COLUMNS))?;
            runtime.block_on(client.drop_table(&path));
            if round > 0 {
                for (kept, figures) in found[index].iter_mut().zip([append, full, pruned]) {
                    kept.push(figures);
                }
            }
        }
    }
    for (group, kept) in [APPEND, FULL, PRUNED]
        .into_iter()
        .enumerate()
        .map(|(index, group)| (group, index))
    {
        for (server, found) in servers.iter().zip(&mut found) {
            report.row(
                group,
                &shape.name(),
                server.name,
                std::mem::take(&mut found[kept]),
            );
        }
    }
    Ok(())
}

/// The aims of this wire.
pub fn aims(report: &Report, aims: &mut Vec<Aim>) {
    for shape in SHAPES {
        let name = shape.name();
        let figure = |group, server, figure| report.figure(group, &name, server, figure);
        if let (Some(full), Some(pruned)) = (
            figure(FULL, PAGE_CACHE, "records/s"),
            figure(PRUNED, PAGE_CACHE, "records/s"),
        ) {
            aims::at_least(
                aims,
                format!("{name}: rows/s pruned of rows/s full, at least 8"),
                pruned / full,
                8.0,
            );
        }
        if let (Some(ours), Some(peers)) = (
            figure(PRUNED, PAGE_CACHE, "records/s"),
            figure(PRUNED, FLUSS, "records/s"),
        ) {
            aims::at_least(
                aims,
                format!("{name}: pruned rows/s of Fluss's, at least 1"),
                ours / peers,
                1.0,
            );
        }
        if let (Some(ours), Some(peers)) = (
            figure(FULL, PAGE_CACHE, "records/s"),
            figure(FULL, FLUSS, "records/s"),
        ) {
            aims::at_least(
                aims,
                format!("{name}: full rows/s of Fluss's, at least 1"),
                ours / peers,
                1.0,
            );
        }
        if let Some(sent) = figure(PRUNED, PAGE_CACHE, "sent/stored") {
            aims::at_most(
                aims,
                format!("{name}: bytes sent of the selected columns' stored bytes, at most 1.05"),
                sent,
                1.05,
            );
        }
    }
    for server in [PAGE_CACHE, FSYNC] {
        for workload in [tail::TABLE, tail::TOPIC] {
            if let Some(ms) = report.figure(TAIL, workload, server, "p99 ms") {
                aims::at_most(
                    aims,
                    format!("{workload}, {server}: seen within 5 ms of the acknowledgement (p99)"),
                    ms,
                    5.0,
                );
            }
        }
    }
}
