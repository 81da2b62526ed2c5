//! What producers of the Kafka wire are told, over a real socket.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::TestBroker;
use common::kafka::{KafkaClient, text};
use common::records::{Row, kafka_batch};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use protocol::kafka::builder::BatchProducer;
use protocol::kafka::compression::Codec;

const TOPIC: &str = "t";
/// How ListOffsets is asked for the end.
const LATEST: i64 = -1;

/// A producer that waits for nothing may well say so.
fn unacknowledged(partitions: &[(i32, Bytes)]) -> ProduceRequest {
    let data = partitions.iter().map(|(index, records)| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(Some(records.clone()))
    });
    let topic = TopicProduceData::default()
        .with_name(TopicName(text(TOPIC)))
        .with_partition_data(data.collect());
    ProduceRequest::default()
        .with_acks(0)
        .with_timeout_ms(0)
        .with_topic_data(vec![topic])
}

fn batch(base_sequence: i32) -> Bytes {
    let producer = BatchProducer {
        id: 7,
        epoch: 0,
        base_sequence,
    };
    let row = Row::of_value("value".to_owned(), 1_700_000_000_000);
    kafka_batch(&[row], Codec::None, Some(producer))
}

/// Waits until the partitions end so.
async fn wait_for_ends(client: &mut KafkaClient, expected: [i64; 2]) {
    while ends(client).await != expected {
        tokio::task::yield_now().await;
    }
}

/// The end of each partition.
async fn ends(client: &mut KafkaClient) -> Vec<i64> {
    let partition = |index| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_timestamp(LATEST)
    };
    let topic = ListOffsetsTopic::default()
        .with_name(TopicName(text(TOPIC)))
        .with_partitions((0..2).map(partition).collect());
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    let answer = client.ask(5, request).await;
    let partitions = answer.topics[0].partitions.iter();
    partitions.map(|partition| partition.offset).collect()
}

/// Whoever waits for longer waits in vain.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn without_acks_a_producer_hears_of_an_error_by_the_end_of_its_connection() {
    tokio::time::timeout(LIMIT, errors_without_acks())
        .await
        .expect("nobody waits in vain");
}

async fn errors_without_acks() {
    let broker = TestBroker::start().await;
    let mut client = KafkaClient::connect(broker.kafka()).await;
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(TOPIC)))
        .with_num_partitions(2)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(5000);
    assert_eq!(client.ask(7, request).await.topics[0].error_code, 0);
    // What was taken has no answer: the next one is that to the next request.
    client
        .send(9, unacknowledged(&[(0, batch(0)), (1, batch(0))]))
        .await;
    wait_for_ends(&mut client, [1, 1]).await;
    // The log itself refuses one that leaves a gap, when both are queued.
    client
        .send(9, unacknowledged(&[(0, batch(5)), (1, batch(1))]))
        .await;
    assert!(client.is_closed().await);
    let mut client = KafkaClient::connect(broker.kafka()).await;
    wait_for_ends(&mut client, [1, 2]).await;
    // So does what is refused before.
    client.send(9, unacknowledged(&[(9, batch(0))])).await;
    assert!(client.is_closed().await);
    broker.stop().await;
}
