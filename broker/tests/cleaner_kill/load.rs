//! Making and filling the topic.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use protocol::fluss::messages::PbTablePath;
use protocol::kafka::builder::BatchProducer;
use protocol::kafka::compression::Codec;

use crate::PARTITIONS;
use crate::common::fluss::Client;
use crate::common::kafka_peer::Kafka;
use crate::common::process::Broker;
use crate::common::records::{Row, kafka_batch};
use crate::model::{Model, PRODUCERS};

const RECORDS_PER_BATCH: usize = 100;
/// Clients have no more under way.
const IN_FLIGHT_MAX: usize = 5;

/// Makes the topic.
pub(crate) async fn make_topic(model: &mut Model, broker: &Broker) {
    let retention = model.delete_retention_ms.to_string();
    let configs = [
        ("cleanup.policy", "compact"),
        ("delete.retention.ms", retention.as_str()),
    ];
    let mut kafka = Kafka::connect(broker.kafka).await.expect("connected");
    let created = kafka.create_topic_with(model.topic, PARTITIONS as i32, &configs);
    let answer = created.await.expect("an answer");
    assert_eq!(answer.error_code, 0, "{answer:?}");
    let path = PbTablePath {
        database_name: "kafka".into(),
        table_name: model.topic.into(),
    };
    let mut fluss = Client::connect(broker.fluss).await;
    model.table = fluss.table_info(&path).await.table_id;
}

/// Writes some stages.
pub(crate) async fn fill(model: &mut Model, broker: &Broker, stages: Range<usize>) {
    for stage in stages {
        // Tasks live longer than a borrow may: they get the model, and give it back.
        let shared = Arc::new(std::mem::replace(model, Model::new(("", 0), 0, 0)));
        let producers = (0..PRODUCERS).map(|producer| {
            let model = Arc::clone(&shared);
            tokio::spawn(produce(model, stage, producer, broker.kafka))
        });
        let producers: Vec<_> = producers.collect();
        let mut acknowledged = Vec::new();
        for producer in producers {
            acknowledged.push(producer.await.expect("a producer that met no error"));
        }
        *model = Arc::into_inner(shared).expect("all have ended");
        for (number, offset) in acknowledged.into_iter().flatten() {
            model.acknowledged(number, offset);
        }
    }
}

/// What one producer writes in a stage; where its records are.
async fn produce(
    model: Arc<Model>,
    stage: usize,
    producer: usize,
    address: SocketAddr,
) -> Vec<(usize, i64)> {
    let mut kafka = Kafka::connect(address).await.expect("connected");
    // Two are idempotent, two compress.
    let identity = match producer % 2 {
        0 => None,
        _ => Some(kafka.producer_id().await.expect("an id")),
    };
    let mut sequences = [0; PARTITIONS];
    let mut waiting: [Vec<usize>; PARTITIONS] = Default::default();
    let mut in_flight: VecDeque<Vec<usize>> = VecDeque::new();
    let mut done = Vec::new();
    let mut sent = 0;
    let share = model.share(stage, producer);
    let last = share.end - 1;
    for number in share {
        let partition = model.partition(number);
        waiting[partition].push(number);
        let full = if number == last {
            (0..PARTITIONS).collect()
        } else if waiting[partition].len() == RECORDS_PER_BATCH {
            vec![partition]
        } else {
            Vec::new()
        };
        for partition in full {
            let numbers = std::mem::take(&mut waiting[partition]);
            if numbers.is_empty() {
                continue;
            }
            if in_flight.len() == IN_FLIGHT_MAX {
                let numbers = in_flight.pop_front().expect("one of five");
                done.extend(acknowledged(&mut kafka, numbers).await);
            }
            let batch = identity.map(|(id, epoch)| BatchProducer {
                id,
                epoch,
                base_sequence: sequences[partition],
            });
            sequences[partition] += numbers.len() as i32;
            let codec = match producer / 2 {
                0 => Codec::ALL[0],
                _ => Codec::ALL[sent % Codec::ALL.len()],
            };
            sent += 1;
            let rows: Vec<Row> = numbers.iter().map(|number| model.row(*number)).collect();
            let batch = kafka_batch(&rows, codec, batch);
            let sent = kafka.send_batch(model.topic, partition as i32, batch).await;
            sent.expect("sent");
            in_flight.push_back(numbers);
        }
    }
    for numbers in in_flight {
        done.extend(acknowledged(&mut kafka, numbers).await);
    }
    done
}

async fn acknowledged(kafka: &mut Kafka, numbers: Vec<usize>) -> Vec<(usize, i64)> {
    let base = kafka.acknowledged().await.expect("an answer");
    let base = base.unwrap_or_else(|code| panic!("error {code}"));
    numbers.into_iter().zip(base..).collect()
}

/// Writes one more record to each partition.
pub(crate) async fn touch(model: &mut Model, address: SocketAddr) {
    let mut kafka = Kafka::connect(address).await.expect("connected");
    for number in model.next_touches() {
        let batch = kafka_batch(&[model.row(number)], Codec::ALL[0], None);
        let partition = model.partition(number) as i32;
        let sent = kafka.send_batch(model.topic, partition, batch).await;
        sent.expect("sent");
        for (number, offset) in acknowledged(&mut kafka, vec![number]).await {
            model.acknowledged(number, offset);
        }
    }
}
