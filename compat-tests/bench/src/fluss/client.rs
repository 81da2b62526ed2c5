//! fluss-rs as the loads use it.

use crate::error::Outcome;
use crate::kafka::load::Done;
use arrow::array::RecordBatch;
use fluss::client::{EARLIEST_OFFSET, FlussConnection, RecordBatchLogScanner};
use fluss::config::Config;
use fluss::metadata::{TableDescriptor, TablePath};
use fluss::rpc::message::OffsetSpec;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);
const DATABASE: &str = "fluss";
/// How long a fetch of history waits for rows at most.
const HISTORY_WAIT_MS: i32 = 5;

/// One connection.
pub struct Client {
    pub connection: FlussConnection,
}

impl Client {
    /// A client as it comes, for readers at the tail.
    pub async fn open(address: &str) -> Outcome<Self> {
        Self::connect(address, Config::default()).await
    }

    /// A client that reads history. fluss-rs has one fetch per server under way: one that asks for
    /// buckets that are read to their end would hold up the others for half a second, now and then.
    pub async fn open_for_history(address: &str) -> Outcome<Self> {
        let config = Config {
            scanner_log_fetch_wait_max_time_ms: HISTORY_WAIT_MS,
            ..Config::default()
        };
        Self::connect(address, config).await
    }

    /// A client with settings of its own; what all loads share is set here.
    pub async fn connect(address: &str, config: Config) -> Outcome<Self> {
        let config = Config {
            bootstrap_servers: address.to_owned(),
            writer_acks: "all".to_owned(),
            // Batches come whole; a wait would only be added to every figure. Zero makes the client spin.
            writer_batch_timeout_ms: 1,
            ..config
        };
        Ok(Self {
            connection: FlussConnection::new(config).await?,
        })
    }

    /// Makes a table and waits until all its buckets answer.
    pub async fn create(&self, descriptor: TableDescriptor) -> Outcome<TablePath> {
        let path = TablePath::new(DATABASE, harness::names::unique("bench"));
        let admin = self.connection.get_admin()?;
        admin.create_table(&path, &descriptor, false).await?;
        self.led(&path).await?;
        Ok(path)
    }

    /// Waits until all buckets of a table answer.
    pub async fn led(&self, path: &TablePath) -> Outcome<()> {
        let admin = self.connection.get_admin()?;
        let buckets: Vec<_> = (0..admin.get_table_info(path).await?.get_num_buckets()).collect();
        let began = Instant::now();
        while let Err(error) = admin.list_offsets(path, &buckets, OffsetSpec::Latest).await {
            if began.elapsed() > LIMIT {
                return Err(error.into());
            }
            tokio::time::sleep(harness::wait::LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Drops a table, to make room.
    pub async fn drop_table(&self, path: &TablePath) {
        if let Ok(admin) = self.connection.get_admin() {
            let _ = admin.drop_table(path, true).await;
        }
    }

    /// Appends all batches `rounds` times and waits for every acknowledgement.
    pub async fn append(
        &self,
        path: &TablePath,
        batches: &[RecordBatch],
        rounds: usize,
    ) -> Outcome<Done> {
        let table = self.connection.get_table(path).await?;
        let writer = table.new_append()?.create_writer()?;
        let row_bytes = super::rows::row_bytes(batches);
        let mut done = Done::default();
        let began = Instant::now();
        for _ in 0..rounds {
            for batch in batches {
                // Queued, not awaited: the client's buffer bounds how much is under way.
                drop(writer.append_arrow_batch(batch.clone())?);
                done.records += batch.num_rows();
                done.batches += 1;
            }
            tokio::task::yield_now().await;
        }
        writer.flush().await?;
        done.time = began.elapsed();
        done.value_bytes = done.records * row_bytes;
        Ok(done)
    }

    /// Reads all buckets from their start until `rows` rows have come. `value_bytes` is what those rows hold.
    pub async fn scan(
        &self,
        path: &TablePath,
        buckets: i32,
        columns: Option<&[usize]>,
        rows: usize,
        value_bytes: usize,
    ) -> Outcome<Done> {
        let scanner = self.scanner(path, columns).await?;
        let began = Instant::now();
        for bucket in 0..buckets {
            scanner.subscribe(bucket, EARLIEST_OFFSET).await?;
        }
        let mut done = Done {
            value_bytes,
            ..Done::default()
        };
        while done.records < rows {
            for batch in scanner.poll(Duration::from_millis(500)).await? {
                done.records += batch.num_records();
            }
            if began.elapsed() > LIMIT {
                return Err(format!("{} of {rows} rows came", done.records).into());
            }
        }
        done.time = began.elapsed();
        Ok(done)
    }

    /// A reader of some columns of a table, or of all.
    pub async fn scanner(
        &self,
        path: &TablePath,
        columns: Option<&[usize]>,
    ) -> Outcome<RecordBatchLogScanner> {
        let table = self.connection.get_table(path).await?;
        let scan = table.new_scan();
        let scan = match columns {
            Some(columns) => scan.project(columns)?,
            None => scan,
        };
        Ok(scan.create_record_batch_log_scanner()?)
    }
}
