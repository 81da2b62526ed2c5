//! A topic that Kafka clients wrote, scanned as a table: all columns, and the timestamps alone.

use super::client::Client;
use super::{TOPIC, received, tail};
use crate::error::Outcome;
use crate::kafka::batch::Codec;
use crate::kafka::{self, load, measured, wire};
use crate::options::Options;
use crate::report::Report;
use crate::servers::Server;
use fluss::metadata::TablePath;
use tokio::runtime::Runtime;

/// The raw schema is key, value, timestamp, headers.
pub const TIMESTAMP: &[usize] = &[2];
const SIZE: usize = 1_000;

pub fn run(
    options: &Options,
    report: &mut Report,
    servers: &[Server],
    runtime: &Runtime,
    received: &received::Received,
) -> Outcome<()> {
    if !options.wants("topic") {
        return Ok(());
    }
    for server in servers.iter().filter(|server| tail::has_both_wires(server)) {
        let address = server.kafka()?;
        let topic = harness::names::unique("bench");
        wire::create_topic(&address, &topic, 1)?;
        let batches = kafka::encoded(options, SIZE, 16, Codec::None)?;
        let written = load::produce(
            &address,
            &topic,
            1,
            &batches,
            2,
            options.megabytes * 1_000_000,
        )?;
        let client = runtime.block_on(Client::open_for_history(&server.fluss()?))?;
        let path = TablePath::new("kafka", topic.clone());
        let scan = |columns: Option<&[usize]>| {
            let before = received.bytes();
            let (_, mut figures) = measured(server, || {
                runtime.block_on(client.scan(
                    &path,
                    1,
                    columns,
                    written.records,
                    written.value_bytes,
                ))
            })?;
            let bytes = (received.bytes() - before) as f64;
            figures.insert("MB sent", bytes / 1e6);
            figures.insert("bytes sent/record", bytes / written.records as f64);
            Outcome::Ok(figures)
        };
        // The first reader pays for the columnar form, the others do not.
        report.row(
            TOPIC,
            "1 KB records, timestamps, first reader",
            server.name,
            vec![scan(Some(TIMESTAMP))?],
        );
        let mut later = [Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            later[0].push(scan(Some(TIMESTAMP))?);
            later[1].push(scan(None)?);
        }
        let [timestamps, all] = later;
        report.row(
            TOPIC,
            "1 KB records, timestamps, later readers",
            server.name,
            timestamps,
        );
        report.row(TOPIC, "1 KB records, all columns", server.name, all);
        let _ = wire::delete_topic(&address, &topic);
    }
    Ok(())
}
