//! The tables, as clients of both wires see them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fluss::client::FlussConnection;
use fluss::config::Config;
use fluss::metadata::{DataTypes, Schema, TableDescriptor, TablePath};
use fluss::row::{DataGetters, GenericRow};
use harness::programs;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::LIMIT;
use crate::model::{History, KEYS};

const BUCKETS: i32 = 3;
const UPSERTS: &str = "upserts";
const TOTALS: &str = "totals";

/// The tables through fluss-rs.
pub struct Tables {
    connection: FlussConnection,
}

impl Tables {
    /// Their names on the Kafka wire.
    pub const UPSERTS: &'static str = "fluss.upserts";
    /// As above.
    pub const TOTALS: &'static str = "fluss.totals";

    /// Connects.
    pub async fn open(server: &str) -> Tables {
        let config = Config {
            bootstrap_servers: server.to_owned(),
            lookup_batch_timeout_ms: 1,
            ..Config::default()
        };
        let connection = FlussConnection::new(config).await;
        Tables {
            connection: connection.expect("a connection"),
        }
    }

    /// Makes both: `id INT` (the key) and `n BIGINT`, or `total` and `records`, which are added up.
    pub async fn create(server: &str) {
        let schema = Schema::builder()
            .column("id", DataTypes::int())
            .column("n", DataTypes::bigint())
            .primary_key(["id"])
            .expect("a key");
        let table = TableDescriptor::builder()
            .schema(schema.build().expect("a schema"))
            .distributed_by(Some(BUCKETS), vec!["id".to_owned()])
            .build()
            .expect("a table");
        let tables = Tables::open(server).await;
        let admin = tables.connection.get_admin().expect("an admin client");
        let path = TablePath::new("fluss", UPSERTS);
        let created = admin.create_table(&path, &table, false).await;
        created.expect("created");
        // fluss-rs has no words for what a column adds up.
        let mut java = programs::java("programs-1.0", "MakeTotals");
        java.args([server, TOTALS, &BUCKETS.to_string()]);
        let made = tokio::task::spawn_blocking(move || java.status());
        let made = made.await.expect("not cancelled").expect("it starts");
        assert!(made.success(), "MakeTotals: {made}");
    }

    /// What lookups find in `upserts`: `n` by key.
    pub async fn newest(&self) -> BTreeMap<u64, u64> {
        self.rows(UPSERTS, |row| number(row, 1)).await
    }

    /// What lookups find in `totals`.
    pub async fn sums(&self) -> BTreeMap<u64, (u64, u64)> {
        self.rows(TOTALS, |row| (number(row, 1), number(row, 2)))
            .await
    }

    async fn rows<T>(&self, table: &str, read: impl Fn(&dyn DataGetters) -> T) -> BTreeMap<u64, T> {
        let path = TablePath::new("fluss", table);
        let table = self.connection.get_table(&path).await.expect("a table");
        let lookup = table.new_lookup().expect("lookups").create_lookuper();
        let mut lookup = lookup.expect("lookups");
        let mut rows = BTreeMap::new();
        for id in 0..KEYS {
            let mut key = GenericRow::new(1);
            key.set_field(0, id as i32);
            let found = lookup.lookup(&key).await.expect("an answer");
            if let Some(row) = found.get_single_row().expect("a row that can be read") {
                rows.insert(id, read(&row));
            }
        }
        rows
    }
}

fn number(row: &dyn DataGetters, column: usize) -> u64 {
    let number = row.get_long(column).expect("a BIGINT");
    u64::try_from(number).expect("none is negative")
}

/// The changes of a table, as a Kafka consumer sees them.
pub fn history(server: &str, topic: &str) -> History {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server);
    config.set("group.id", "auditor");
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..BUCKETS {
        let added = assignment.add_partition_offset(topic, partition, Offset::Beginning);
        added.expect("an assignment");
    }
    consumer.assign(&assignment).expect("assigned");
    let mut found = History::new();
    let mut ended = Vec::new();
    let mut progress = Instant::now();
    while ended.len() < BUCKETS as usize {
        assert!(progress.elapsed() < LIMIT, "only {ended:?} have ended");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
                let id = key(&text(message.key().expect("a key")));
                let changes = found.entry(id).or_default();
                changes.push(message.payload().map(text));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => ended.push(partition),
            None => continue,
            Some(Err(error)) => panic!("{error}"),
        }
        progress = Instant::now();
    }
    found
}

/// `{"id":1}`.
fn key(text: &str) -> u64 {
    let id = text
        .strip_prefix("{\"id\":")
        .and_then(|t| t.strip_suffix('}'));
    id.and_then(|id| id.parse().ok()).expect("a key")
}
