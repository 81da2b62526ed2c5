//! The cleaner at work: what readers of a compacted log get, over sockets.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::TestBroker;
use common::kafka_peer::Kafka;
use common::records::{Row, of_kafka};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

const OFFSETS: &str = "__consumer_offsets";
/// With their metadata so many fill three segments of the least size.
const COMMITS: i64 = 800;
const METADATA_BYTES: usize = 4000;

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;

async fn commit(kafka: &mut Kafka, partition: i32, offset: i64) {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(StrBytes::from_string("m".repeat(METADATA_BYTES))));
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(topic())
                .with_partitions(vec![partition]),
        ]);
    // A coordinator that has just started loads its log first.
    loop {
        let answer = kafka.ask(7, request.clone()).await.expect("an answer");
        match answer.topics[0].partitions[0].error_code {
            COORDINATOR_LOAD_IN_PROGRESS => tokio::task::yield_now().await,
            code => return assert_eq!(code, 0),
        }
    }
}

async fn committed(kafka: &mut Kafka) -> Vec<i64> {
    let request = OffsetFetchRequest::default()
        .with_group_id(group())
        .with_topics(Some(vec![
            OffsetFetchRequestTopic::default()
                .with_name(topic())
                .with_partition_indexes(vec![0, 1]),
        ]));
    loop {
        let answer = kafka.ask(7, request.clone()).await.expect("an answer");
        if answer.error_code == COORDINATOR_LOAD_IN_PROGRESS {
            tokio::task::yield_now().await;
            continue;
        }
        assert_eq!(answer.error_code, 0);
        let partitions = &answer.topics[0].partitions;
        return partitions.iter().map(|p| p.committed_offset).collect();
    }
}

/// All records of a partition that are left.
async fn records(kafka: &mut Kafka, topic: &str) -> Vec<(i64, Row)> {
    let (mut at, mut all) = (0, Vec::new());
    loop {
        let fetched = kafka.fetch(topic, 0, at, 0).await.expect("an answer");
        assert_eq!(fetched.error, 0);
        if at >= fetched.high_watermark {
            return all;
        }
        let (rows, next) = of_kafka(&fetched.records, at);
        assert!(next > at, "a reader below the end gets on");
        all.extend(rows);
        at = next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_groups_keeps_the_newest_commit_of_each_partition() {
    let broker = TestBroker::start_with([
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.segment.bytes", "1048576"),
        ("flush.mode", "page-cache"),
        ("log.cleaner.backoff.ms", "5"),
    ])
    .await;
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    kafka.create_topic("t", 2).await.expect("made");
    commit(&mut kafka, 1, 7).await;
    for offset in 0..COMMITS {
        commit(&mut kafka, 0, offset).await;
    }
    // Two of a segment's commits stay, and the last segment is not cleaned.
    let few = async {
        loop {
            let left = records(&mut kafka, OFFSETS).await;
            if left.len() < COMMITS as usize / 2 {
                return left;
            }
        }
    };
    let left = tokio::time::timeout(Duration::from_secs(20), few).await;
    let left = left.expect("the cleaner comes");
    let first_of_partition = left.iter().map(|(offset, _)| *offset).min();
    assert_eq!(
        first_of_partition,
        Some(0),
        "the only commit of partition 1 stays"
    );
    let newest: BTreeMap<_, _> = left
        .into_iter()
        .map(|(_, row)| (row.key, row.value))
        .collect();
    assert_eq!(newest.len(), 2);
    assert_eq!(committed(&mut kafka).await, [COMMITS - 1, 7]);
    let broker = broker.restart().await;
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    assert_eq!(committed(&mut kafka).await, [COMMITS - 1, 7]);
    let again: BTreeMap<_, _> = records(&mut kafka, OFFSETS)
        .await
        .into_iter()
        .map(|(_, row)| (row.key, row.value))
        .collect();
    assert_eq!(again, newest);
    broker.stop().await;
}
