//! The same loads with librdkafka: its defaults, `acks=all`, one producer and one consumer.

use super::batch::{Codec, Values};
use super::load::Done;
use crate::error::Outcome;
use crate::latency::Latencies;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One record in so many is timed: enough for a p99.9, and no lock for the others.
const TIMED_ONE_IN: usize = 64;
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Delivered {
    failed: AtomicUsize,
    latencies: Mutex<Latencies>,
}

struct Context(Arc<Delivered>);

impl rdkafka::ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Option<Instant>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Self::DeliveryOpaque) {
        if result.is_err() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
        if let (Some(sent), Ok(mut latencies)) = (*sent, self.0.latencies.lock()) {
            latencies.note(sent.elapsed());
        }
    }
}

pub fn produce(
    address: &str,
    topic: &str,
    seed: u64,
    size: usize,
    codec: Codec,
    value_bytes: usize,
) -> Outcome<Done> {
    let delivered = Arc::new(Delivered::default());
    let producer: ThreadedProducer<Context> = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("acks", "all")
        .set("compression.codec", codec.name())
        .create_with_context(Context(Arc::clone(&delivered)))?;
    let mut values = Values::new(seed, size);
    let values: Vec<_> = (0..1_000).map(|_| values.next_value()).collect();
    let records = value_bytes / size;
    let began = Instant::now();
    for index in 0..records {
        let sent = Box::new((index % TIMED_ONE_IN == 0).then(Instant::now));
        let value = &values[index % values.len()];
        let mut record = BaseRecord::<(), Vec<u8>, _>::with_opaque_to(topic, sent).payload(value);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_micros(200));
            record = back;
        }
    }
    producer.flush(LIMIT)?;
    let time = began.elapsed();
    let failed = delivered.failed.load(Ordering::Relaxed);
    if failed > 0 {
        return Err(format!("{failed} of {records} records were not delivered").into());
    }
    let latencies = std::mem::take(
        &mut *delivered
            .latencies
            .lock()
            .map_err(|_| "a callback panicked")?,
    );
    Ok(Done {
        time,
        value_bytes: records * size,
        records,
        batches: 0,
        latencies,
    })
}

pub fn consume(address: &str, topic: &str, partitions: usize, records: usize) -> Outcome<Done> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition as i32, Offset::Beginning)?;
    }
    let began = Instant::now();
    consumer.assign(&assignment)?;
    let mut done = Done::default();
    while done.records < records {
        match consumer.poll(Duration::from_millis(100)) {
            Some(message) => {
                done.records += 1;
                done.value_bytes += message?.payload_len();
            }
            None if began.elapsed() > LIMIT => {
                return Err(format!("{} of {records} records came", done.records).into());
            }
            None => {}
        }
    }
    done.time = began.elapsed();
    Ok(done)
}
