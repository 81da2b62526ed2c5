//! fluss-rs: a writer and a reader of a log table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{Array, Int64Array};
use arrow::record_batch::RecordBatch;
use fluss::client::{EARLIEST_OFFSET, FlussConnection};
use fluss::config::Config;
use fluss::error::FlussError;
use fluss::metadata::{DataTypes, Schema, TableDescriptor, TablePath};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use harness::wait::LOOK_EVERY;

use crate::LIMIT;

/// Batches in flight.
const IN_FLIGHT: usize = 20;
/// Rows of a batch.
pub const ROWS: i64 = 5;

fn path() -> TablePath {
    TablePath::new("fluss", "numbers")
}

async fn connect(broker: &str) -> FlussConnection {
    let config = Config {
        bootstrap_servers: broker.to_owned(),
        writer_acks: "all".to_owned(),
        writer_batch_timeout_ms: 1,
        ..Config::default()
    };
    FlussConnection::new(config).await.expect("a connection")
}

/// Makes the table, with one bucket.
pub async fn create(broker: &str) {
    let columns = Schema::builder().column("number", DataTypes::bigint());
    let table = TableDescriptor::builder()
        .schema(columns.build().expect("a schema"))
        .distributed_by(Some(1), Vec::new())
        .build()
        .expect("a table");
    let connection = connect(broker).await;
    let admin = connection.get_admin().expect("an admin client");
    let created = admin.create_table(&path(), &table, false).await;
    created.expect("created");
}

/// Writes numbers in batches until `stop`; returns those that were acknowledged: all.
pub async fn write(
    broker: String,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> BTreeSet<i64> {
    let connection = connect(&broker).await;
    let table = connection.get_table(&path()).await.expect("a table");
    let writer = table.new_append().expect("append").create_writer();
    let writer = writer.expect("a writer");
    let mut numbers = BTreeSet::new();
    let mut open = FuturesUnordered::new();
    let mut next = 0;
    loop {
        while !stop.load(Ordering::Relaxed) && open.len() < IN_FLIGHT {
            let (first, batch) = (next, batch(next));
            let sent = loop {
                match writer.append_arrow_batch(batch.clone()) {
                    Ok(sent) => break sent,
                    // When its only server goes, fluss-rs forgets its tables until it has asked for
                    // one again, and takes no rows for them meanwhile.
                    Err(error) if error.api_error() == Some(FlussError::TableNotExist) => {
                        tokio::time::sleep(LOOK_EVERY).await;
                        let _ = connection.get_table(&path()).await;
                    }
                    Err(error) => panic!("{first}: {error}"),
                }
            };
            open.push(async move {
                sent.await
                    .unwrap_or_else(|error| panic!("{first}: {error}"));
                first
            });
            next += ROWS;
        }
        match open.next().await {
            Some(first) => numbers.extend(first..first + ROWS),
            None => return numbers,
        }
        acknowledged.fetch_add(ROWS as u64, Ordering::Relaxed);
    }
}

fn batch(first: i64) -> RecordBatch {
    let numbers = Int64Array::from_iter_values(first..first + ROWS);
    let columns = [("number", Arc::new(numbers) as Arc<dyn Array>)];
    RecordBatch::try_from_iter(columns).expect("a batch")
}

/// Reads from the start until `wanted` (unknown while it is `u64::MAX`) rows came.
pub async fn read(broker: String, read: Arc<AtomicU64>, wanted: Arc<AtomicU64>) -> Vec<i64> {
    let connection = connect(&broker).await;
    let table = connection.get_table(&path()).await.expect("a table");
    let scanner = table.new_scan().create_record_batch_log_scanner();
    let scanner = scanner.expect("a scanner");
    let subscribed = scanner.subscribe(0, EARLIEST_OFFSET).await;
    subscribed.expect("subscribed");
    let mut found = Vec::new();
    let mut progress = Instant::now();
    while (found.len() as u64) < wanted.load(Ordering::Relaxed) {
        assert!(
            progress.elapsed() < LIMIT,
            "the reader is stuck at {}",
            found.len()
        );
        // As with Kafka's: the library comes back by itself.
        let Ok(batches) = scanner.poll(Duration::from_millis(100)).await else {
            continue;
        };
        for batch in batches {
            progress = Instant::now();
            let numbers = batch.batch().column(0).as_any();
            let numbers = numbers.downcast_ref::<Int64Array>().expect("BIGINT");
            found.extend(numbers.values());
        }
        read.store(found.len() as u64, Ordering::Relaxed);
    }
    found
}
