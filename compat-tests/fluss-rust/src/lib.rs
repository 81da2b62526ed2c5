//! fluss-rs against the Fluss wire: what the tests share.

use arrow::record_batch::RecordBatch;
use fluss::client::{EARLIEST_OFFSET, FlussAdmin, FlussConnection, FlussTable, TableScan};
use fluss::config::Config;
use fluss::error::{Error, FlussError};
use fluss::metadata::{Schema, SchemaBuilder, TableDescriptor, TableDescriptorBuilder, TablePath};
use fluss::record::ScanBatch;
use fluss::rpc::message::OffsetSpec;
use harness::{addresses, names};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than any answer takes on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A client without authentication.
pub async fn connect() -> FlussConnection {
    FlussConnection::new(config()).await.expect("a connection")
}

/// What every client is told: acknowledgements of all replicas, and no long wait for more rows.
pub fn config() -> Config {
    Config {
        bootstrap_servers: addresses::fluss(),
        writer_acks: "all".to_owned(),
        writer_batch_timeout_ms: 1,
        ..Config::default()
    }
}

/// A client and its administration.
pub struct Client {
    /// The connection.
    pub connection: FlussConnection,
    /// The administration over that connection.
    pub admin: Arc<FlussAdmin>,
}

impl Client {
    /// Connects without authentication.
    pub async fn open() -> Self {
        let connection = connect().await;
        let admin = connection.get_admin().expect("an admin client");
        Self { connection, admin }
    }

    /// Makes a table with a name of its own in the database `fluss` and waits for its buckets.
    pub async fn table(&self, descriptor: TableDescriptorBuilder) -> TablePath {
        let path = TablePath::new("fluss", names::unique("table"));
        let descriptor = descriptor.build().expect("a descriptor");
        let partitioned = descriptor.is_partitioned();
        self.admin
            .create_table(&path, &descriptor, false)
            .await
            .expect("created");
        if !partitioned {
            self.ready(&path).await;
        }
        path
    }

    /// Waits until every bucket has a leader that answers.
    pub async fn ready(&self, path: &TablePath) {
        let buckets = self
            .admin
            .get_table_info(path)
            .await
            .expect("a table")
            .get_num_buckets();
        let buckets: Vec<_> = (0..buckets).collect();
        eventually("every bucket answers", async || {
            self.admin
                .list_offsets(path, &buckets, OffsetSpec::Latest)
                .await
                .ok()
        })
        .await;
    }

    /// Opens a table for reading and writing.
    pub async fn open_table(&self, path: &TablePath) -> FlussTable<'_> {
        self.connection.get_table(path).await.expect("a table")
    }
}

/// Starts a table's description from its columns.
pub fn describe(columns: SchemaBuilder) -> TableDescriptorBuilder {
    TableDescriptor::builder().schema(columns.build().expect("a schema"))
}

/// `id INT, name STRING, score BIGINT`, in one bucket.
pub fn small() -> TableDescriptorBuilder {
    use fluss::metadata::DataTypes;
    let columns = Schema::builder()
        .column("id", DataTypes::int())
        .column("name", DataTypes::string())
        .column("score", DataTypes::bigint());
    describe(columns).distributed_by(Some(1), Vec::new())
}

/// Writes Arrow batches and waits for their acknowledgement.
pub async fn append(table: &FlussTable<'_>, batches: impl IntoIterator<Item = RecordBatch>) {
    let writer = table
        .new_append()
        .expect("append")
        .create_writer()
        .expect("a writer");
    for batch in batches {
        writer.append_arrow_batch(batch).expect("queued");
    }
    writer.flush().await.expect("acknowledged");
}

/// Reads buckets of a table from the start until `rows` rows came.
pub async fn read(scan: TableScan<'_>, buckets: &[i32], rows: usize) -> Vec<ScanBatch> {
    let scanner = scan.create_record_batch_log_scanner().expect("a scanner");
    for bucket in buckets {
        scanner
            .subscribe(*bucket, EARLIEST_OFFSET)
            .await
            .expect("subscribed");
    }
    let mut found = Vec::new();
    let start = Instant::now();
    while count(&found) < rows {
        assert!(
            start.elapsed() < LIMIT,
            "{} of {rows} rows came",
            count(&found)
        );
        found.extend(
            scanner
                .poll(Duration::from_millis(200))
                .await
                .expect("an answer"),
        );
    }
    assert_eq!(count(&found), rows);
    found
}

fn count(batches: &[ScanBatch]) -> usize {
    batches.iter().map(ScanBatch::num_records).sum()
}

/// One column of all batches, in order.
pub fn column<A: arrow::array::Array + Clone + 'static, T>(
    batches: &[ScanBatch],
    name: &str,
    value: impl Fn(&A, usize) -> T,
) -> Vec<T> {
    let mut found = Vec::new();
    for batch in batches {
        let column = batch
            .batch()
            .column_by_name(name)
            .unwrap_or_else(|| panic!("no column {name}"));
        let column = column.as_any().downcast_ref::<A>().expect("another type");
        found.extend((0..column.len()).map(|row| value(column, row)));
    }
    found
}

/// The server's error code, when the server refused.
#[track_caller]
pub fn refusal<T>(result: Result<T, Error>) -> FlussError {
    match result {
        Ok(_) => panic!("not refused"),
        Err(error) => error
            .api_error()
            .unwrap_or_else(|| panic!("not the server's refusal: {error}")),
    }
}

/// Looks until the condition gives a value.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(harness::wait::LOOK_EVERY).await;
    }
}
