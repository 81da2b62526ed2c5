//! `make demo`: a broker of its own, order events produced by a Kafka client, the same events read
//! by a Kafka client and, as a table, by a Fluss client: whole, and with one column.

mod events;
mod report;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fluss::client::{EARLIEST_OFFSET, FlussConnection};
use fluss::config::Config;
use fluss::metadata::TablePath;
use harness::vltava::Vltava;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use report::Measured;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;
/// The position of `timestamp` in the raw schema `key, value, timestamp, headers`.
const TIMESTAMP: usize = 2;
/// Longer than any step takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let orders: u64 = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => 200_000,
    };
    let program = std::env::var_os("VLTAVA_BIN").ok_or("VLTAVA_BIN names no broker")?;
    let data = tempfile::tempdir()?;
    let broker = Vltava {
        program: PathBuf::from(program),
        data: data.path().join("data"),
        settings: Vec::new(),
        log: data.path().join("broker.log"),
    }
    .start()?;
    let kafka = broker.addresses.kafka.clone().ok_or("no Kafka address")?;
    let fluss = broker.addresses.fluss.clone().ok_or("no Fluss address")?;
    let http = broker.addresses.http.clone().ok_or("no HTTP address")?;
    println!(
        "broker     ready in {} ms, kafka {kafka}, fluss {fluss}",
        broker.start_time.as_millis()
    );

    create_topic(&kafka).await?;
    let produced = produce(&kafka, orders)?;
    report::line("produced", "Kafka client, acks=all, fsync", &produced);
    let consumed = consume(&kafka, orders)?;
    report::line("consumed", "Kafka client", &consumed);
    let before = report::bytes_sent(&http)?;
    let mut whole = scan(&fluss, None, orders).await?;
    let between = report::bytes_sent(&http)?;
    let mut pruned = scan(&fluss, Some(TIMESTAMP), orders).await?;
    let after = report::bytes_sent(&http)?;
    (whole.bytes, pruned.bytes) = (between - before, after - between);
    report::line(
        "scanned",
        "Fluss client, table kafka.orders, all columns",
        &whole,
    );
    report::line(
        "scanned",
        "Fluss client, only the column `timestamp`",
        &pruned,
    );
    println!(
        "pruning    sent {} bytes instead of {}: {:.1} % saved",
        pruned.bytes,
        whole.bytes,
        100.0 * (1.0 - pruned.bytes as f64 / whole.bytes as f64)
    );
    Ok(())
}

async fn create_topic(kafka: &str) -> Result<(), Box<dyn Error>> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .create()?;
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    for result in admin.create_topics([&topic], &AdminOptions::new()).await? {
        result.map_err(|(topic, code)| format!("cannot create {topic}: {code}"))?;
    }
    Ok(())
}

fn produce(kafka: &str, orders: u64) -> Result<Measured, Box<dyn Error>> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .create()?;
    let started = Instant::now();
    let mut bytes = 0;
    for number in 0..orders {
        let (key, value) = events::order(number);
        bytes += (key.len() + value.len()) as u64;
        let mut record = BaseRecord::to(TOPIC).key(&key).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(5));
            record = back;
        }
    }
    producer.flush(LIMIT)?;
    Ok(Measured {
        rows: orders,
        bytes,
        time: started.elapsed(),
    })
}

fn consume(kafka: &str, orders: u64) -> Result<Measured, Box<dyn Error>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", "demo")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let started = Instant::now();
    let (mut rows, mut bytes) = (0, 0);
    while rows < orders {
        if started.elapsed() > LIMIT {
            return Err(format!("consumed {rows} of {orders} orders").into());
        }
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message?;
        rows += 1;
        bytes += (message.key_len() + message.payload_len()) as u64;
    }
    Ok(Measured {
        rows,
        bytes,
        time: started.elapsed(),
    })
}

async fn scan(fluss: &str, column: Option<usize>, orders: u64) -> Result<Measured, Box<dyn Error>> {
    let config = Config {
        bootstrap_servers: fluss.to_owned(),
        ..Config::default()
    };
    let connection = FlussConnection::new(config).await?;
    let table = connection
        .get_table(&TablePath::new("kafka", TOPIC))
        .await?;
    let mut scan = table.new_scan();
    if let Some(column) = column {
        scan = scan.project(&[column])?;
    }
    let scanner = scan.create_record_batch_log_scanner()?;
    for bucket in 0..PARTITIONS {
        scanner.subscribe(bucket, EARLIEST_OFFSET).await?;
    }
    let started = Instant::now();
    let mut rows = 0;
    while rows < orders {
        if started.elapsed() > LIMIT {
            return Err(format!("scanned {rows} of {orders} orders").into());
        }
        for batch in scanner.poll(Duration::from_millis(200)).await? {
            rows += batch.num_records() as u64;
        }
    }
    Ok(Measured {
        rows,
        bytes: 0,
        time: started.elapsed(),
    })
}
