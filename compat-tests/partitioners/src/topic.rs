//! The topic, as its Kafka clients see it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use harness::producer::{Library, Producer};
use harness::{addresses, names};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::LIMIT;

/// Partitions of the topic.
pub const PARTITIONS: i32 = 5;

/// A record as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it is.
    pub partition: i32,
    /// Its key.
    pub key: String,
    /// None in a tombstone.
    pub value: Option<String>,
}

fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", addresses::kafka());
    config.set("group.id", "auditor");
    config
}

/// Makes a compacted topic with a name of its own.
pub async fn create(settings: &[(&str, &str)]) -> String {
    let name = names::unique("partitioners");
    let admin: AdminClient<DefaultClientContext> = config().create().expect("a client");
    let topic = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1));
    let topic = topic.set("cleanup.policy", "compact");
    let topic = settings
        .iter()
        .fold(topic, |topic, (key, value)| topic.set(key, value));
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    let results = admin.create_topics([&topic], &options).await;
    assert_eq!(results.expect("an answer"), [Ok(name.clone())]);
    name
}

/// Sends records with a library; gives why some failed, by their places.
pub fn produce<'a>(
    library: Library,
    topic: &str,
    records: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>)>,
) -> BTreeMap<usize, String> {
    let mut producer = Producer::start(library, &addresses::kafka());
    for (key, value) in records {
        producer.send(topic, key, value).expect("it runs");
    }
    producer.finish(LIMIT).expect("it ends")
}

/// All records, in the order of each partition.
pub fn read(topic: &str) -> Vec<Record> {
    let mut config = config();
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let added = assignment.add_partition_offset(topic, partition, Offset::Beginning);
        added.expect("an assignment");
    }
    consumer.assign(&assignment).expect("assigned");
    let mut records = Vec::new();
    let mut ended = BTreeSet::new();
    let began = Instant::now();
    while ended.len() < PARTITIONS as usize {
        assert!(began.elapsed() < LIMIT, "only {ended:?} have ended");
        let message = match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
                continue;
            }
            other => {
                assert!(other.is_none(), "{other:?}");
                continue;
            }
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        records.push(Record {
            partition: message.partition(),
            key: message.key().map(text).expect("a key"),
            value: message.payload().map(text),
        });
    }
    records
}
