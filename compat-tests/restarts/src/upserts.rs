//! A primary-key table: an idempotent librdkafka producer, and the changelog as its consumers see it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fluss::client::FlussConnection;
use fluss::config::Config;
use fluss::metadata::{DataTypes, Schema, TableDescriptor, TablePath};
use fluss::row::{DataGetters, GenericRow};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::LIMIT;

const BUCKETS: i32 = 3;
const TOPIC: &str = "fluss.upserts";
/// Records in flight.
const IN_FLIGHT: usize = 200;
/// Keys of the table; key `k` is always sent to partition `k % BUCKETS`.
const KEYS: u64 = 30;

fn path() -> TablePath {
    TablePath::new("fluss", "upserts")
}

async fn connect(broker: &str) -> FlussConnection {
    let config = Config {
        bootstrap_servers: broker.to_owned(),
        ..Config::default()
    };
    FlussConnection::new(config).await.expect("a connection")
}

/// Makes the table `id INT` (the key), `n BIGINT`.
pub async fn create(broker: &str) {
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
    let connection = connect(broker).await;
    let admin = connection.get_admin().expect("an admin client");
    let created = admin.create_table(&path(), &table, false).await;
    created.expect("created");
}

/// Sends numbers until `stop`: number `n` is the new value of key `n % KEYS`. Returns how many
/// there were; all are acknowledged.
pub async fn produce(broker: String, acknowledged: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> u64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    config.set("reconnect.backoff.max.ms", "200");
    config.set("enable.idempotence", "true");
    config.set("linger.ms", "1");
    config.set("message.timeout.ms", "120000");
    let producer: FutureProducer = config.create().expect("a producer");
    let mut open = FuturesUnordered::new();
    let mut next = 0;
    loop {
        while !stop.load(Ordering::Relaxed) && open.len() < IN_FLIGHT {
            let id = next % KEYS;
            let (key, value) = (format!("{{\"id\":{id}}}"), format!("{{\"n\":{next}}}"));
            let record = FutureRecord::to(TOPIC)
                .partition((id % BUCKETS as u64) as i32)
                .key(&key)
                .payload(&value);
            // Queued here, so that the records of a partition keep the order of their numbers.
            let sent = producer.send_result(record);
            open.push(sent.unwrap_or_else(|(error, _)| panic!("{next}: {error}")));
            next += 1;
        }
        match open.next().await {
            Some(sent) => {
                sent.expect("not cancelled").expect("acknowledged");
            }
            None => return next,
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// The values that each key had, in their order.
pub fn history(broker: &str) -> BTreeMap<i32, Vec<u64>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    config.set("group.id", "auditor");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    let mut ends = BTreeMap::new();
    for partition in 0..BUCKETS {
        let added = assignment.add_partition_offset(TOPIC, partition, Offset::Beginning);
        added.expect("an assignment");
        let marks = consumer.fetch_watermarks(TOPIC, partition, LIMIT);
        ends.insert(partition, marks.expect("an answer").1);
    }
    consumer.assign(&assignment).expect("assigned");
    let mut found: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
    let mut progress = Instant::now();
    // The last record of a bucket is an upsert: no gap follows it.
    ends.retain(|_, end| *end > 0);
    while !ends.is_empty() {
        assert!(progress.elapsed() < LIMIT, "{ends:?} are not reached");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        progress = Instant::now();
        let (id, n) = row(message.payload().expect("nothing is deleted"));
        found.entry(id).or_default().push(n);
        if ends.get(&message.partition()) == Some(&(message.offset() + 1)) {
            ends.remove(&message.partition());
        }
    }
    found
}

/// `{"id":1,"n":2}`.
fn row(payload: &[u8]) -> (i32, u64) {
    let text = std::str::from_utf8(payload).expect("UTF-8");
    let fields = text
        .strip_prefix("{\"id\":")
        .and_then(|t| t.strip_suffix('}'));
    let (id, n) = fields.and_then(|t| t.split_once(",\"n\":")).expect("a row");
    (id.parse().expect("a number"), n.parse().expect("a number"))
}

/// What lookups find for every key.
pub async fn rows(broker: &str) -> BTreeMap<i32, u64> {
    let connection = connect(broker).await;
    let table = connection.get_table(&path()).await.expect("a table");
    let lookup = table.new_lookup().expect("lookups").create_lookuper();
    let mut lookup = lookup.expect("lookups");
    let mut rows = BTreeMap::new();
    for id in 0..KEYS as i32 {
        let mut key = GenericRow::new(1);
        key.set_field(0, id);
        let found = lookup.lookup(&key).await.expect("an answer");
        if let Some(row) = found.get_single_row().expect("a row that can be read") {
            let n = row.get_long(1).expect("a BIGINT");
            rows.insert(id, u64::try_from(n).expect("a number"));
        }
    }
    rows
}

/// The values that each key should have had when `count` numbers were sent.
pub fn expected(count: u64) -> BTreeMap<i32, Vec<u64>> {
    let mut expected: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
    for n in 0..count {
        expected.entry((n % KEYS) as i32).or_default().push(n);
    }
    expected
}
