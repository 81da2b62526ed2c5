//! A group member made with rdkafka. See the library's page for what it prints.

use harness::addresses;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaResult;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, ClientContext};
use std::env;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many records are read before a commit, so that a frozen member wakes with some in its hands.
const RECORDS_PER_COMMIT: i64 = 20;

fn main() -> KafkaResult<()> {
    let mut arguments = env::args().skip(1);
    let (Some(group), Some(topic)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: member GROUP TOPIC");
        std::process::exit(2);
    };
    let consumer: BaseConsumer<Held> = ClientConfig::new()
        .set("bootstrap.servers", addresses::kafka())
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .create_with_context(Held::default())?;
    consumer.subscribe(&[&topic])?;
    loop {
        // Polling may give partitions away, and then also drops what is held of them.
        let polled = consumer.poll(Duration::from_millis(200));
        let held = consumer.context().take();
        match (polled.transpose(), held) {
            (Ok(Some(message)), Some((partition, first, next)))
                if message.partition() == partition
                    && message.offset() == next
                    && next - first < RECORDS_PER_COMMIT =>
            {
                consumer.context().put((partition, first, next + 1));
            }
            (Ok(Some(message)), before) => {
                if let Some(range) = before {
                    commit(&consumer, &topic, range)?;
                }
                consumer.context().put((
                    message.partition(),
                    message.offset(),
                    message.offset() + 1,
                ));
            }
            (Ok(None), Some(range)) => commit(&consumer, &topic, range)?,
            // Errors of the connection pass by themselves; what is held stays held.
            (Err(_), Some(range)) => consumer.context().put(range),
            (Ok(None) | Err(_), None) => {}
        }
    }
}

/// The records of one partition since the last commit: partition, first offset, one past the last.
type Records = (i32, i64, i64);

/// What was read and not committed. It goes when partitions are taken away: whoever gets them reads it again.
#[derive(Default)]
struct Held(Mutex<Option<Records>>);

impl Held {
    fn take(&self) -> Option<Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, records: Records) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(records);
    }
}

impl ClientContext for Held {}

impl ConsumerContext for Held {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(_) = rebalance {
            self.take();
        }
    }
}

fn commit(
    consumer: &BaseConsumer<Held>,
    topic: &str,
    (partition, first, next): Records,
) -> KafkaResult<()> {
    println!("committing {partition} {first} {next}");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(next))?;
    let word = if consumer.commit(&list, CommitMode::Sync).is_ok() {
        "committed"
    } else {
        "refused"
    };
    println!("{word} {partition} {first} {next}");
    Ok(())
}
