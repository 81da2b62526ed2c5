//! librdkafka: a producer and a member of a consumer group.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::LIMIT;

/// Partitions of the topic.
pub const PARTITIONS: i32 = 3;
const TOPIC: &str = "numbers";
/// Records in flight.
const IN_FLIGHT: usize = 200;

/// Partition and offset.
pub type Place = (i32, i64);

fn config(broker: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    config.set("reconnect.backoff.max.ms", "200");
    config
}

/// Makes the topic.
pub async fn create(broker: &str) {
    let admin: AdminClient<DefaultClientContext> = config(broker).create().expect("a client");
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    let results = admin.create_topics([&topic], &options).await;
    assert_eq!(results.expect("an answer"), [Ok(TOPIC.to_owned())]);
}

/// Sends numbers with an idempotent producer until `stop`; number `n` goes to partition
/// `n % PARTITIONS`. Returns where the broker said each one is.
pub async fn produce(
    broker: String,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> BTreeMap<u64, Place> {
    let mut config = config(&broker);
    config.set("enable.idempotence", "true");
    config.set("linger.ms", "1");
    config.set("message.timeout.ms", "120000");
    let producer: FutureProducer = config.create().expect("a producer");
    let mut places = BTreeMap::new();
    let mut open = FuturesUnordered::new();
    let mut next = 0;
    loop {
        while !stop.load(Ordering::Relaxed) && open.len() < IN_FLIGHT {
            let (producer, number) = (producer.clone(), next);
            open.push(async move {
                let text = number.to_string();
                let record = FutureRecord::<(), str>::to(TOPIC)
                    .partition((number % PARTITIONS as u64) as i32)
                    .payload(text.as_str());
                let sent = producer.send(record, LIMIT).await;
                let sent = sent.unwrap_or_else(|(error, _)| panic!("{number}: {error}"));
                (number, (sent.partition, sent.offset))
            });
            next += 1;
        }
        match open.next().await {
            Some((number, place)) => places.insert(number, place),
            None => return places,
        };
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// A member of a group that reads and commits until it has read `wanted` records behind `stop`.
pub struct Member {
    thread: JoinHandle<BTreeMap<Place, u64>>,
    /// Records that it has read.
    pub read: Arc<AtomicU64>,
    ends: Arc<Mutex<Option<BTreeMap<i32, i64>>>>,
}

impl Member {
    /// Joins the group.
    pub fn join(broker: &str) -> Member {
        let mut config = config(broker);
        config.set("group.id", "readers");
        config.set("auto.offset.reset", "earliest");
        config.set("enable.auto.commit", "false");
        config.set("session.timeout.ms", "10000");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        consumer.subscribe(&[TOPIC]).expect("subscribed");
        let read = Arc::new(AtomicU64::new(0));
        let ends = Arc::new(Mutex::new(None));
        let thread = thread::spawn({
            let (read, ends) = (Arc::clone(&read), Arc::clone(&ends));
            move || follow(&consumer, &read, &ends)
        });
        Member { thread, read, ends }
    }

    /// All that it read, once it has come to the ends.
    pub fn finish(self, ends: BTreeMap<i32, i64>) -> BTreeMap<Place, u64> {
        *self.ends.lock().expect("not poisoned") = Some(ends);
        self.thread.join().expect("the member's thread")
    }
}

fn follow(
    consumer: &BaseConsumer,
    read: &AtomicU64,
    ends: &Mutex<Option<BTreeMap<i32, i64>>>,
) -> BTreeMap<Place, u64> {
    let mut found = BTreeMap::new();
    let mut nexts: BTreeMap<i32, i64> = BTreeMap::new();
    let mut progress = Instant::now();
    loop {
        if let Some(ends) = &*ends.lock().expect("not poisoned")
            && ends
                .iter()
                .all(|(partition, end)| nexts.get(partition) >= Some(end))
        {
            return found;
        }
        assert!(
            progress.elapsed() < LIMIT,
            "the member is stuck at {nexts:?}"
        );
        // Errors are what a broker that went away looks like: the library comes back by itself.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        progress = Instant::now();
        let place = (message.partition(), message.offset());
        let before = found.insert(place, number(&message));
        // After a kill the member may read again what it had not committed: the same.
        assert!(
            before.is_none_or(|before| before == number(&message)),
            "{place:?} changed"
        );
        nexts.insert(place.0, place.1 + 1);
        if read.fetch_add(1, Ordering::Relaxed).is_multiple_of(100) {
            let _ = consumer.commit_message(&message, CommitMode::Async);
        }
    }
}

fn number(message: &impl Message) -> u64 {
    let payload = message.payload().expect("a value");
    let text = std::str::from_utf8(payload).expect("UTF-8");
    text.parse().expect("a number")
}

/// Where every partition ends.
pub fn ends(broker: &str) -> BTreeMap<i32, i64> {
    let consumer: BaseConsumer = config(broker).create().expect("a consumer");
    let end = |partition| {
        let marks = consumer.fetch_watermarks(TOPIC, partition, LIMIT);
        (partition, marks.expect("an answer").1)
    };
    (0..PARTITIONS).map(end).collect()
}

/// Everything in the topic, read by a consumer that saw no kill.
pub fn read_all(broker: &str) -> BTreeMap<Place, u64> {
    let mut config = config(broker);
    config.set("group.id", "auditor");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let added = assignment.add_partition_offset(TOPIC, partition, Offset::Beginning);
        added.expect("an assignment");
    }
    consumer.assign(&assignment).expect("assigned");
    follow(
        &consumer,
        &AtomicU64::new(1),
        &Mutex::new(Some(ends(broker))),
    )
}
