//! Topics, their settings, and their records, administrated.

use harness::names;
use rdkafka::admin::{AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use vltava_compat_kafka_rust::{
    LIMIT, admin, assign, options, produce, producer, reader, take, text, topic, values,
};

#[tokio::test]
async fn metadata_names_brokers_topics_and_leaders() {
    let topic = topic("meta", 3, &[]).await;
    let metadata = reader(&[])
        .fetch_metadata(Some(&topic), LIMIT)
        .expect("metadata");
    assert!(!metadata.brokers().is_empty());
    let found = &metadata.topics()[0];
    assert_eq!(found.name(), topic);
    assert_eq!(found.partitions().len(), 3);
    for partition in found.partitions() {
        assert!(
            metadata
                .brokers()
                .iter()
                .any(|broker| broker.id() == partition.leader())
        );
        assert!(partition.isr().contains(&partition.leader()));
    }
    let all = reader(&[]).fetch_metadata(None, LIMIT).expect("metadata");
    assert!(all.topics().iter().any(|found| found.name() == topic));
}

#[tokio::test]
async fn an_existing_topic_is_not_made_twice() {
    let topic = topic("twice", 1, &[]).await;
    let again = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    let results = admin()
        .create_topics([&again], &options())
        .await
        .expect("an answer");
    assert_eq!(
        results,
        [Err((topic, RDKafkaErrorCode::TopicAlreadyExists))]
    );
}

#[tokio::test]
async fn a_name_that_kafka_forbids_is_refused() {
    let bad = NewTopic::new("no spaces", 1, TopicReplication::Fixed(1));
    let results = admin()
        .create_topics([&bad], &options())
        .await
        .expect("an answer");
    assert_eq!(
        results,
        [Err((
            "no spaces".to_owned(),
            RDKafkaErrorCode::InvalidTopic
        ))]
    );
}

#[tokio::test]
async fn an_unknown_setting_is_refused() {
    let name = names::unique("badsetting");
    let bad = NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("retention.ms", "soon");
    let results = admin()
        .create_topics([&bad], &options())
        .await
        .expect("an answer");
    assert_eq!(results, [Err((name, RDKafkaErrorCode::InvalidConfig))]);
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_its_name_is_free() {
    let topic = topic("gone", 1, &[]).await;
    produce(&producer(&[]), &topic, 0, &values("old", 3)).await;
    let results = admin()
        .delete_topics(&[&topic], &options())
        .await
        .expect("an answer");
    assert_eq!(results, [Ok(topic.clone())]);
    let again = admin()
        .delete_topics(&[&topic], &options())
        .await
        .expect("an answer");
    assert_eq!(
        again,
        [Err((
            topic.clone(),
            RDKafkaErrorCode::UnknownTopicOrPartition
        ))]
    );
    let anew = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    assert_eq!(
        admin()
            .create_topics([&anew], &options())
            .await
            .expect("an answer"),
        [Ok(topic.clone())]
    );
    let offsets = produce(&producer(&[]), &topic, 0, &values("new", 1)).await;
    assert_eq!(offsets, [0], "the new topic begins at zero");
}

#[tokio::test]
async fn partitions_are_added() {
    let topic = topic("grow", 1, &[]).await;
    let results = admin()
        .create_partitions([&NewPartitions::new(&topic, 4)], &options())
        .await
        .expect("an answer");
    assert_eq!(results, [Ok(topic.clone())]);
    let offsets = produce(&producer(&[]), &topic, 3, &values("v", 2)).await;
    assert_eq!(offsets, [0, 1]);
    let fewer = admin()
        .create_partitions([&NewPartitions::new(&topic, 2)], &options())
        .await
        .expect("an answer");
    assert_eq!(fewer, [Err((topic, RDKafkaErrorCode::InvalidPartitions))]);
}

#[tokio::test]
async fn settings_are_described_and_changed() {
    let topic = topic("settings", 1, &[("retention.ms", "3600000")]).await;
    let describe = async || {
        let answers = admin()
            .describe_configs([&ResourceSpecifier::Topic(&topic)], &options())
            .await
            .expect("an answer");
        answers
            .into_iter()
            .next()
            .expect("one resource")
            .expect("described")
    };
    let value = |resource: &rdkafka::admin::ConfigResource, name: &str| {
        resource
            .get(name)
            .and_then(|entry| entry.value.clone())
            .unwrap_or_default()
    };
    let before = describe().await;
    assert_eq!(value(&before, "retention.ms"), "3600000");
    assert_eq!(value(&before, "cleanup.policy"), "delete");
    assert!(
        before
            .get("retention.bytes")
            .is_some_and(|entry| entry.is_default)
    );
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", "7200000");
    let results = admin()
        .alter_configs([&change], &options())
        .await
        .expect("an answer");
    assert!(results[0].is_ok(), "{results:?}");
    assert_eq!(value(&describe().await, "retention.ms"), "7200000");
}

#[tokio::test]
async fn the_brokers_settings_are_described() {
    let broker = reader(&[])
        .fetch_metadata(None, LIMIT)
        .expect("metadata")
        .brokers()[0]
        .id();
    let answers = admin()
        .describe_configs([&ResourceSpecifier::Broker(broker)], &options())
        .await
        .expect("an answer");
    let resource = answers
        .into_iter()
        .next()
        .expect("one resource")
        .expect("described");
    assert!(!resource.entries.is_empty());
}

#[tokio::test]
async fn deleted_records_are_never_read_again() {
    let topic = topic("cut", 1, &[]).await;
    let producer = producer(&[("linger.ms", "0")]);
    for value in values("v", 10) {
        produce(&producer, &topic, 0, &[value]).await;
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(6))
        .expect("an offset");
    let answer = admin()
        .delete_records(&list, &options())
        .await
        .expect("an answer");
    assert_eq!(answer.elements()[0].offset(), Offset::Offset(6));
    let reader = reader(&[]);
    assert_eq!(reader.fetch_watermarks(&topic, 0, LIMIT), Ok((6, 10)));
    assign(&reader, &topic, 0, Offset::Beginning);
    assert_eq!(
        take(&reader, 4).iter().map(text).collect::<Vec<_>>(),
        ["v-6", "v-7", "v-8", "v-9"]
    );
}
