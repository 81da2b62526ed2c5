//! A reader that waits at the tail: how long after its acknowledgement a row is seen.

use super::client::Client;
use super::{TAIL, rows};
use crate::error::Outcome;
use crate::kafka::batch::Codec;
use crate::kafka::{self, wire};
use crate::latency::Latencies;
use crate::options::Options;
use crate::report::{Figures, Report};
use crate::servers::{self, FLUSS, Server};
use fluss::client::{EARLIEST_OFFSET, RecordBatchLogScanner};
use fluss::metadata::TablePath;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

pub const TABLE: &str = "rows of a table, 2 of 20 columns";
pub const TOPIC: &str = "records of a Kafka producer, timestamps only";
/// Rows come apart, so that each one finds its reader waiting.
const BETWEEN: Duration = Duration::from_millis(2);

pub fn run(
    options: &Options,
    report: &mut Report,
    servers: &[Server],
    runtime: &Runtime,
) -> Outcome<()> {
    for server in servers {
        // Fluss answers a waiting fetch only when its wait is over: fewer rows say the same.
        let count = if server.name == FLUSS {
            20
        } else {
            options.scaled(500, 3_000)
        };
        if options.wants(TABLE) {
            let seen = runtime.block_on(of_table(server, count))?;
            report.row(TAIL, TABLE, server.name, vec![seen]);
        }
        if options.wants(TOPIC) && server.name != FLUSS {
            let seen = of_topic(options, server, runtime, count)?;
            report.row(TAIL, TOPIC, server.name, vec![seen]);
        }
    }
    Ok(())
}

async fn of_table(server: &Server, count: usize) -> Outcome<Figures> {
    let client = Client::open(&server.fluss()?).await?;
    let path = client.create(rows::table("NONE", 1)?).await?;
    let scanner = client.scanner(&path, Some(rows::PRUNED_COLUMNS)).await?;
    scanner.subscribe(0, EARLIEST_OFFSET).await?;
    let table = client.connection.get_table(&path).await?;
    let writer = table.new_append()?.create_writer()?;
    let row = rows::batch(&mut rows::Random(1), 0, 1)?;
    let (acknowledged, receiver) = mpsc::unbounded_channel();
    let (seen_one, mut seen) = mpsc::unbounded_channel();
    let write = async {
        for _ in 0..count {
            writer.append_arrow_batch(row.clone())?.await?;
            acknowledged.send(Instant::now())?;
            seen.recv().await.ok_or("the reader has ended")?;
            tokio::time::sleep(BETWEEN).await;
        }
        drop(acknowledged);
        Ok::<_, crate::error::Failure>(())
    };
    let (written, found) = tokio::join!(write, watch(&scanner, count, receiver, seen_one));
    written?;
    client.drop_table(&path).await;
    found
}

fn of_topic(
    options: &Options,
    server: &Server,
    runtime: &Runtime,
    count: usize,
) -> Outcome<Figures> {
    let topic = harness::names::unique("bench");
    let address = server.kafka()?;
    wire::create_topic(&address, &topic, 1)?;
    let client = runtime.block_on(Client::open(&server.fluss()?))?;
    let path = TablePath::new("kafka", topic.clone());
    let scanner = runtime.block_on(async {
        let scanner = client.scanner(&path, Some(super::topic::TIMESTAMP)).await?;
        scanner.subscribe(0, EARLIEST_OFFSET).await?;
        Ok::<_, crate::error::Failure>(scanner)
    })?;
    let batch = kafka::encoded(options, 100, 1, Codec::None)?.swap_remove(0);
    let (acknowledged, receiver) = mpsc::unbounded_channel();
    let (seen_one, mut seen) = mpsc::unbounded_channel();
    let producer = std::thread::spawn(move || -> Outcome<()> {
        let mut connection = wire::Connection::open(&address)?;
        let mut request = wire::produce(&topic, &[(0, &batch.bytes)]);
        for _ in 0..count {
            wire::check_produced(connection.ask(&mut request)?)?;
            acknowledged.send(Instant::now())?;
            seen.blocking_recv().ok_or("the reader has ended")?;
            std::thread::sleep(BETWEEN);
        }
        Ok(())
    });
    let found = runtime.block_on(watch(&scanner, count, receiver, seen_one))?;
    producer.join().map_err(|_| "the producer panicked")??;
    let _ = wire::delete_topic(&server.kafka()?, path.table());
    Ok(found)
}

/// Polls until `count` rows came; each row's time runs from its acknowledgement, and is zero when it came before that.
async fn watch(
    scanner: &RecordBatchLogScanner,
    count: usize,
    mut acknowledged: mpsc::UnboundedReceiver<Instant>,
    seen_one: mpsc::UnboundedSender<()>,
) -> Outcome<Figures> {
    let mut latencies = Latencies::default();
    let mut rows = 0;
    let began = Instant::now();
    while rows < count {
        for batch in scanner.poll(Duration::from_secs(1)).await? {
            let now = Instant::now();
            for _ in 0..batch.num_records() {
                let at = acknowledged.recv().await.ok_or("the writer has ended")?;
                latencies.note(now.saturating_duration_since(at));
                rows += 1;
                let _ = seen_one.send(());
            }
        }
        if began.elapsed() > Duration::from_secs(120) {
            return Err(format!("{rows} of {count} rows came").into());
        }
    }
    Ok(latencies.percentiles().into_iter().collect())
}

/// Whether a server has both wires.
pub fn has_both_wires(server: &Server) -> bool {
    server.name != servers::FLUSS
}
