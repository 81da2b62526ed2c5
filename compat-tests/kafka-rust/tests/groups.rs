//! Consumer groups: joining, rebalancing, committing, resuming, and their administration.

use harness::{names, wait};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;
use vltava_compat_kafka_rust::{
    LIMIT, admin, config, options, produce, producer, take, text, topic, values,
};

fn member(group: &str, topic: &str, more: &[(&str, &str)]) -> BaseConsumer {
    let mut all = vec![
        ("group.id", group),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "500"),
    ];
    all.extend(more);
    let consumer: BaseConsumer = config(&all).create().expect("a consumer");
    consumer.subscribe(&[topic]).expect("subscribed");
    consumer
}

/// Polls all members until their assignments have these sizes, in any order.
fn settle(members: &[&BaseConsumer], mut wanted: Vec<usize>) {
    wanted.sort_unstable();
    let found = wait::until(LIMIT, || {
        for member in members {
            // Nothing has been written yet: polls only serve the group.
            assert!(
                member
                    .poll(Duration::from_millis(20))
                    .is_none_or(|polled| polled.is_ok())
            );
        }
        let mut sizes: Vec<_> = members
            .iter()
            .map(|member| member.assignment().expect("an assignment").count())
            .collect();
        sizes.sort_unstable();
        (sizes == wanted).then_some(())
    });
    assert!(found.is_some(), "the group did not settle on {wanted:?}");
}

#[tokio::test]
async fn a_group_resumes_where_it_committed() {
    let (topic, group) = (topic("resume", 1, &[]).await, names::unique("group"));
    produce(&producer(&[]), &topic, 0, &values("v", 10)).await;
    let first = member(&group, &topic, &[]);
    let read = take(&first, 4);
    assert_eq!(read[3].offset(), 3);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(4))
        .expect("an offset");
    first.commit(&list, CommitMode::Sync).expect("committed");
    drop(first);
    let second = member(&group, &topic, &[]);
    let read = take(&second, 6);
    assert_eq!(
        read.iter().map(text).collect::<Vec<_>>(),
        values("v", 10)[4..]
    );
    let committed = second.committed(LIMIT).expect("an answer");
    assert_eq!(
        committed
            .find_partition(&topic, 0)
            .expect("the partition")
            .offset(),
        Offset::Offset(4)
    );
}

#[tokio::test]
async fn committed_metadata_comes_back() {
    let (topic, group) = (topic("metadata", 1, &[]).await, names::unique("group"));
    let consumer = member(&group, &topic, &[]);
    settle(&[&consumer], vec![1]);
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(&topic, 0);
    element.set_offset(Offset::Offset(0)).expect("an offset");
    element.set_metadata("note");
    consumer.commit(&list, CommitMode::Sync).expect("committed");
    let committed = consumer.committed(LIMIT).expect("an answer");
    assert_eq!(
        committed
            .find_partition(&topic, 0)
            .expect("the partition")
            .metadata(),
        "note"
    );
}

async fn partitions_are_shared(strategy: &str) {
    let (topic, group) = (topic("shared", 6, &[]).await, names::unique("group"));
    let settings = [("partition.assignment.strategy", strategy)];
    let first = member(&group, &topic, &settings);
    settle(&[&first], vec![6]);
    let second = member(&group, &topic, &settings);
    settle(&[&first, &second], vec![3, 3]);
    let third = member(&group, &topic, &settings);
    settle(&[&first, &second, &third], vec![2, 2, 2]);
    second.unsubscribe();
    drop(second);
    settle(&[&first, &third], vec![3, 3]);
}

#[tokio::test]
async fn eager_rebalancing_shares_partitions_as_members_come_and_go() {
    partitions_are_shared("range").await;
}

#[tokio::test]
async fn cooperative_rebalancing_shares_partitions_as_members_come_and_go() {
    partitions_are_shared("cooperative-sticky").await;
}

#[tokio::test]
async fn a_static_member_comes_back_to_its_partitions() {
    let (topic, group) = (topic("static", 4, &[]).await, names::unique("group"));
    let first = member(&group, &topic, &[("group.instance.id", "one")]);
    let second = member(&group, &topic, &[("group.instance.id", "two")]);
    settle(&[&first, &second], vec![2, 2]);
    // Only the map is kept: librdkafka does not end a consumer while a list of its partitions lives.
    let before = second.assignment().expect("an assignment").to_topic_map();
    // A static member leaves without a word.
    drop(second);
    let second = member(&group, &topic, &[("group.instance.id", "two")]);
    settle(&[&first, &second], vec![2, 2]);
    let after = second.assignment().expect("an assignment").to_topic_map();
    assert!(
        before.keys().all(|partition| after.contains_key(partition)),
        "{before:?} became {after:?}"
    );
}

#[tokio::test]
async fn a_group_is_listed_and_described_with_its_members() {
    let (topic, group) = (topic("listed", 2, &[]).await, names::unique("group"));
    let consumer = member(&group, &topic, &[("client.id", "lister")]);
    settle(&[&consumer], vec![2]);
    let list = consumer
        .fetch_group_list(Some(&group), LIMIT)
        .expect("an answer");
    let found = list
        .groups()
        .iter()
        .find(|found| found.name() == group)
        .expect("the group");
    assert_eq!(
        (found.state(), found.protocol_type(), found.protocol()),
        ("Stable", "consumer", "range")
    );
    assert_eq!(found.members().len(), 1);
    assert_eq!(found.members()[0].client_id(), "lister");
    assert!(
        found.members()[0]
            .assignment()
            .is_some_and(|bytes| !bytes.is_empty())
    );
    let all = consumer.fetch_group_list(None, LIMIT).expect("an answer");
    assert!(all.groups().iter().any(|found| found.name() == group));
}

#[tokio::test]
async fn only_an_empty_group_is_deleted() {
    let (topic, group) = (topic("deleted", 1, &[]).await, names::unique("group"));
    let consumer = member(&group, &topic, &[]);
    settle(&[&consumer], vec![1]);
    let full = admin()
        .delete_groups(&[&group], &options())
        .await
        .expect("an answer");
    assert_eq!(
        full,
        [Err((group.clone(), RDKafkaErrorCode::NonEmptyGroup))]
    );
    drop(consumer);
    let empty = admin()
        .delete_groups(&[&group], &options())
        .await
        .expect("an answer");
    assert_eq!(empty, [Ok(group.clone())]);
    let gone = admin()
        .delete_groups(&[&group], &options())
        .await
        .expect("an answer");
    assert_eq!(gone, [Err((group, RDKafkaErrorCode::GroupIdNotFound))]);
}

#[tokio::test]
async fn a_commit_of_a_stranger_to_a_living_group_is_refused() {
    let (topic, group) = (topic("stranger", 1, &[]).await, names::unique("group"));
    let consumer = member(&group, &topic, &[]);
    settle(&[&consumer], vec![1]);
    let stranger: BaseConsumer = config(&[("group.id", group.as_str())])
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(0))
        .expect("an offset");
    stranger.assign(&list).expect("assigned");
    let answer = stranger.commit(&list, CommitMode::Sync);
    assert!(
        matches!(
            answer,
            Err(KafkaError::ConsumerCommit(
                RDKafkaErrorCode::UnknownMemberId
            ))
        ),
        "{answer:?}"
    );
}
