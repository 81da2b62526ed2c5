//! rdkafka against the Kafka wire: what the tests share.

use futures::future::join_all;
use harness::{addresses, names, wait};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

/// Longer than any answer takes on a loaded machine, shorter than a test run's patience.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What every client is told; `more` comes last and wins.
pub fn config(more: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", addresses::kafka());
    for (key, value) in more {
        config.set(*key, *value);
    }
    config
}

/// An admin client.
pub fn admin() -> AdminClient<DefaultClientContext> {
    config(&[]).create().expect("an admin client")
}

/// Waits for the server's own answer.
pub fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(LIMIT))
        .request_timeout(Some(LIMIT))
}

/// A new topic, with a name of its own.
pub async fn topic(prefix: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
    let name = names::unique(prefix);
    let mut wanted = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        wanted = wanted.set(key, value);
    }
    let results = admin()
        .create_topics([&wanted], &options())
        .await
        .expect("an answer");
    assert_eq!(results, [Ok(name.clone())]);
    led(&name, partitions);
    name
}

/// Waits until every partition has a leader that answers. Apache Kafka answers the creation before
/// that, and an idempotent producer with several batches in flight may then never recover.
fn led(topic: &str, partitions: i32) {
    let reader = reader(&[]);
    for partition in 0..partitions {
        let answers = wait::until(LIMIT, || {
            reader.fetch_watermarks(topic, partition, LIMIT).ok()
        });
        assert!(answers.is_some(), "{topic}-{partition} has no leader");
    }
}

/// A producer that waits for all replicas.
pub fn producer(more: &[(&str, &str)]) -> FutureProducer {
    let mut config = config(&[("acks", "all"), ("linger.ms", "1")]);
    for (key, value) in more {
        config.set(*key, *value);
    }
    config.create().expect("a producer")
}

/// Writes values to one partition, all in flight at once, and returns their offsets.
pub async fn produce(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    values: &[String],
) -> Vec<i64> {
    let sends = values.iter().map(|value| {
        producer.send(
            FutureRecord::<(), str>::to(topic)
                .partition(partition)
                .payload(value.as_str()),
            LIMIT,
        )
    });
    join_all(sends)
        .await
        .into_iter()
        .map(|sent| sent.expect("delivered").offset)
        .collect()
}

/// A consumer that is not in a group's way: it is assigned, never subscribed, and never commits.
pub fn reader(more: &[(&str, &str)]) -> BaseConsumer {
    let group = names::unique("reader");
    let mut config = config(&[
        ("group.id", group.as_str()),
        ("enable.auto.commit", "false"),
        ("check.crcs", "true"),
    ]);
    for (key, value) in more {
        config.set(*key, *value);
    }
    config.create().expect("a consumer")
}

/// Starts reading one partition at `offset`.
pub fn assign(consumer: &BaseConsumer, topic: &str, partition: i32, offset: Offset) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset)
        .expect("a valid offset");
    consumer.assign(&list).expect("assigned");
}

/// The next `count` records; panics when they do not come.
pub fn take(consumer: &BaseConsumer, count: usize) -> Vec<OwnedMessage> {
    let mut found = Vec::new();
    wait::until(LIMIT, || {
        while found.len() < count {
            match consumer.poll(Duration::from_millis(50)) {
                Some(message) => found.push(message.expect("a record").detach()),
                None => return None,
            }
        }
        Some(())
    })
    .unwrap_or_else(|| panic!("{} of {count} records came", found.len()));
    found
}

/// A record's value as text.
pub fn text(message: &OwnedMessage) -> &str {
    std::str::from_utf8(message.payload().unwrap_or_default()).expect("text")
}

/// `prefix-0`, `prefix-1`, …
pub fn values(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|index| format!("{prefix}-{index}"))
        .collect()
}
