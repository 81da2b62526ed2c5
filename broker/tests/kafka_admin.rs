//! What administrators of the Kafka wire ask, over a real socket.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

mod common;

use common::TestBroker;
use common::kafka::{KafkaClient, text};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use uuid::Uuid;

const NONE: i16 = 0;

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn code(error: ResponseError) -> i16 {
    error.code()
}

async fn create(client: &mut KafkaClient, topic: &str, partitions: i32) -> Uuid {
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(5000);
    let answer = client.ask(7, request).await;
    assert_eq!(
        answer.topics[0].error_code, NONE,
        "{:?}",
        answer.topics[0].error_message
    );
    answer.topics[0].topic_id
}

fn by_name(topics: &[&str]) -> MetadataRequest {
    let topic = |topic: &&str| MetadataRequestTopic::default().with_name(Some(name(topic)));
    MetadataRequest::default()
        .with_topics(Some(topics.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false)
}

/// Writes records with these times and waits until they are durable.
async fn produce(client: &mut KafkaClient, topic: &str, times: &[i64]) -> i64 {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for (delta, time) in (0..).zip(times) {
        builder.append(delta, *time, None, Some(b"value"), []);
    }
    let data = PartitionProduceData::default().with_records(Some(builder.finish()));
    let topic = TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(5000)
        .with_topic_data(vec![topic]);
    let answer = client.ask(9, request).await;
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, NONE, "{:?}", partition.error_message);
    partition.base_offset
}

/// Error, time, offset and epoch.
async fn list(
    client: &mut KafkaClient,
    version: i16,
    topic: &str,
    time: i64,
) -> (i16, i64, i64, i32) {
    let partition = ListOffsetsPartition::default()
        .with_timestamp(time)
        .with_current_leader_epoch(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let answer = client.ask(version, request).await;
    let found = &answer.topics[0].partitions[0];
    (
        found.error_code,
        found.timestamp,
        found.offset,
        found.leader_epoch,
    )
}

async fn configs(
    client: &mut KafkaClient,
    kind: i8,
    resource: &str,
    key: &str,
) -> Option<DescribeConfigsResourceResult> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configuration_keys(Some(vec![text(key)]));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true);
    let mut answer = client.ask(4, request).await;
    assert_eq!(answer.results[0].error_code, NONE);
    answer.results[0].configs.pop()
}

async fn alter(
    client: &mut KafkaClient,
    kind: i8,
    resource: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> i16 {
    use kafka_protocol::messages::incremental_alter_configs_request::{
        AlterConfigsResource, AlterableConfig,
    };
    let config = |(name, operation, value): &(&str, i8, Option<&str>)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(changes.iter().map(config).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    client.ask(1, request).await.responses[0].error_code
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_described_grown_and_dropped() {
    let broker = TestBroker::start().await;
    let mut client = KafkaClient::connect(broker.kafka()).await;
    let id = create(&mut client, "orders", 3).await;

    for version in [0, 1, 4, 9, 12, 13] {
        // Older versions cannot say no.
        let request = by_name(&["orders"]).with_allow_auto_topic_creation(true);
        let answer = client.ask(version, request).await;
        let topic = &answer.topics[0];
        assert_eq!(
            (topic.error_code, topic.partitions.len()),
            (NONE, 3),
            "version {version}"
        );
        assert_eq!(answer.brokers.len(), 1);
        assert_eq!(i32::from(broker.kafka().port()), answer.brokers[0].port);
    }
    let by_id = MetadataRequestTopic::default()
        .with_name(None)
        .with_topic_id(id);
    let request = MetadataRequest::default().with_topics(Some(vec![by_id]));
    let answer = client.ask(12, request).await;
    assert_eq!(answer.topics[0].name, Some(name("orders")));

    let grow = |count| {
        let topic = CreatePartitionsTopic::default()
            .with_name(name("orders"))
            .with_count(count)
            .with_assignments(None);
        CreatePartitionsRequest::default().with_topics(vec![topic])
    };
    let answer = client.ask(3, grow(5)).await;
    assert_eq!(answer.results[0].error_code, NONE);
    let answer = client.ask(3, grow(5)).await;
    assert_eq!(
        answer.results[0].error_code,
        code(ResponseError::InvalidPartitions)
    );
    let answer = client.ask(9, by_name(&["orders"])).await;
    assert_eq!(answer.topics[0].partitions.len(), 5);

    let delete = || {
        let topic = DeleteTopicState::default()
            .with_name(None)
            .with_topic_id(id);
        DeleteTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(5000)
    };
    let answer = client.ask(6, delete()).await;
    assert_eq!(answer.responses[0].error_code, NONE);
    assert_eq!(answer.responses[0].name, Some(name("orders")));
    let answer = client.ask(6, delete()).await;
    assert_eq!(
        answer.responses[0].error_code,
        code(ResponseError::UnknownTopicId)
    );
    let answer = client.ask(9, by_name(&["orders"])).await;
    assert_eq!(
        answer.topics[0].error_code,
        code(ResponseError::UnknownTopicOrPartition)
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_made_when_both_sides_want_it() {
    let broker = TestBroker::start_with([("num.partitions", "2")]).await;
    let mut client = KafkaClient::connect(broker.kafka()).await;
    let unknown = code(ResponseError::UnknownTopicOrPartition);
    let answer = client.ask(9, by_name(&["made"])).await;
    assert_eq!(answer.topics[0].error_code, unknown);
    let wanting = by_name(&["made", "no good!"]).with_allow_auto_topic_creation(true);
    let answer = client.ask(9, wanting).await;
    assert_eq!(
        (
            answer.topics[0].error_code,
            answer.topics[0].partitions.len()
        ),
        (NONE, 2)
    );
    assert_eq!(
        answer.topics[1].error_code,
        code(ResponseError::InvalidTopicException)
    );

    let broker = {
        broker.stop().await;
        TestBroker::start_with([("auto.create.topics.enable", "false")]).await
    };
    let mut client = KafkaClient::connect(broker.kafka()).await;
    let wanting = by_name(&["made"]).with_allow_auto_topic_creation(true);
    assert_eq!(client.ask(9, wanting).await.topics[0].error_code, unknown);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_refused_by_name_and_settings_or_only_checked() {
    let broker = TestBroker::start().await;
    let mut client = KafkaClient::connect(broker.kafka()).await;
    create(&mut client, "a.b", 1).await;
    let topic = |topic: &str, setting: Option<(&str, &str)>| {
        let config = |(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        };
        CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(1)
            .with_replication_factor(-1)
            .with_configs(setting.into_iter().map(config).collect())
    };
    let request = CreateTopicsRequest::default().with_topics(vec![
        topic("a.b", None),
        topic("a_b", None),
        topic("d", Some(("retention.ms", "soon"))),
        topic("__transaction_state", None),
        topic("twice", None),
        topic("twice", None),
    ]);
    let answer = client.ask(5, request).await;
    let codes: Vec<i16> = answer.topics.iter().map(|topic| topic.error_code).collect();
    let expected = [
        ResponseError::TopicAlreadyExists,
        ResponseError::InvalidTopicException,
        ResponseError::InvalidConfig,
        ResponseError::InvalidTopicException,
        ResponseError::InvalidRequest,
    ];
    assert_eq!(codes, expected.map(code));

    let check = CreateTopicsRequest::default()
        .with_topics(vec![topic("checked", Some(("retention.ms", "5")))])
        .with_validate_only(true);
    let answer = client.ask(7, check).await;
    assert_eq!(answer.topics[0].error_code, NONE);
    let shown = answer.topics[0].configs.as_ref().expect("settings");
    let retention = shown
        .iter()
        .find(|c| &*c.name == "retention.ms")
        .expect("shown");
    assert_eq!(retention.value.as_deref(), Some("5"));
    let answer = client.ask(9, by_name(&["checked"])).await;
    assert_eq!(
        answer.topics[0].error_code,
        code(ResponseError::UnknownTopicOrPartition)
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_topics_and_brokers_change_and_stay() {
    let broker = TestBroker::start().await;
    let mut client = KafkaClient::connect(broker.kafka()).await;
    create(&mut client, "t", 1).await;
    assert_eq!(
        alter(&mut client, 2, "t", &[("retention.ms", 0, Some("1000"))]).await,
        NONE
    );
    assert_eq!(
        alter(&mut client, 4, "", &[("log.retention.ms", 0, Some("77"))]).await,
        NONE
    );
    let fixed = alter(&mut client, 4, "", &[("num.partitions", 0, Some("7"))]).await;
    assert_eq!(fixed, code(ResponseError::InvalidRequest));
    let unknown = alter(&mut client, 2, "t", &[("no.such", 0, Some("7"))]).await;
    assert_eq!(unknown, code(ResponseError::InvalidConfig));

    let broker = broker.restart().await;
    let mut client = KafkaClient::connect(broker.kafka()).await;
    let entry = configs(&mut client, 2, "t", "retention.ms")
        .await
        .expect("shown");
    assert_eq!(
        (entry.value.as_deref(), entry.config_source),
        (Some("1000"), 1)
    );
    assert_eq!(
        alter(&mut client, 2, "t", &[("retention.ms", 1, None)]).await,
        NONE
    );
    let entry = configs(&mut client, 2, "t", "retention.ms")
        .await
        .expect("shown");
    assert_eq!(
        (entry.value.as_deref(), entry.config_source),
        (Some("77"), 3)
    );
    let entry = configs(&mut client, 4, "", "log.retention.ms")
        .await
        .expect("shown");
    assert_eq!(entry.value.as_deref(), Some("77"));
    assert_eq!(
        alter(&mut client, 4, "", &[("log.retention.ms", 1, None)]).await,
        NONE
    );
    assert!(
        configs(&mut client, 4, "", "log.retention.ms")
            .await
            .is_none()
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_found_by_time_epoch_and_end() {
    let broker = TestBroker::start().await;
    let mut client = KafkaClient::connect(broker.kafka()).await;
    create(&mut client, "t", 1).await;
    assert_eq!(list(&mut client, 10, "t", -3).await, (NONE, -1, -1, -1));
    let now = 1_700_000_000_000;
    produce(&mut client, "t", &[now, now + 50, now + 20]).await;
    produce(&mut client, "t", &[now + 30]).await;

    assert_eq!(list(&mut client, 10, "t", -1).await, (NONE, -1, 4, 1));
    assert_eq!(list(&mut client, 10, "t", -2).await, (NONE, -1, 0, 1));
    assert_eq!(list(&mut client, 10, "t", -3).await, (NONE, now + 50, 1, 1));
    assert_eq!(list(&mut client, 10, "t", -5).await, (NONE, -1, -1, -1));
    assert_eq!(
        list(&mut client, 10, "t", now + 10).await,
        (NONE, now + 50, 1, 1)
    );
    assert_eq!(
        list(&mut client, 10, "t", now + 99).await,
        (NONE, -1, -1, -1)
    );
    assert_eq!(list(&mut client, 1, "t", 0).await.2, 0);
    assert_eq!(
        list(&mut client, 6, "t", -3).await.0,
        code(ResponseError::UnsupportedVersion)
    );

    let delete = |offset| {
        let partition = DeleteRecordsPartition::default().with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(name("t"))
            .with_partitions(vec![partition]);
        DeleteRecordsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(5000)
    };
    let answer = client.ask(2, delete(99)).await;
    let refused = &answer.topics[0].partitions[0];
    assert_eq!(refused.error_code, code(ResponseError::OffsetOutOfRange));
    let answer = client.ask(2, delete(2)).await;
    assert_eq!(answer.topics[0].partitions[0].low_watermark, 2);
    assert_eq!(list(&mut client, 10, "t", -2).await.2, 2);
    let answer = client.ask(2, delete(-1)).await;
    assert_eq!(answer.topics[0].partitions[0].low_watermark, 4);

    let broker = broker.restart().await;
    let mut client = KafkaClient::connect(broker.kafka()).await;
    assert_eq!(list(&mut client, 10, "t", -2).await.2, 4);
    let epoch = |epoch, current| {
        let partition = OffsetForLeaderPartition::default()
            .with_leader_epoch(epoch)
            .with_current_leader_epoch(current);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(name("t"))
            .with_partitions(vec![partition]);
        OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
    };
    let answer = client.ask(4, epoch(1, -1)).await;
    let end = &answer.topics[0].partitions[0];
    assert_eq!(
        (end.error_code, end.leader_epoch, end.end_offset),
        (NONE, 1, 4)
    );
    let answer = client.ask(4, epoch(1, 1)).await;
    let fenced = &answer.topics[0].partitions[0];
    assert_eq!(fenced.error_code, code(ResponseError::FencedLeaderEpoch));
    let answer = client.ask(4, epoch(3, 3)).await;
    let unknown = &answer.topics[0].partitions[0];
    assert_eq!(unknown.error_code, code(ResponseError::UnknownLeaderEpoch));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_its_disk_and_its_producers_are_described() {
    let broker = TestBroker::start().await;
    let mut client = KafkaClient::connect(broker.kafka()).await;
    create(&mut client, "t", 2).await;
    produce(&mut client, "t", &[1_700_000_000_000]).await;
    let answer = client
        .ask(2, DescribeClusterRequest::default().with_endpoint_type(1))
        .await;
    assert_eq!((answer.error_code, answer.brokers.len()), (NONE, 1));
    assert_eq!(answer.cluster_id.len(), 22);

    let answer = client
        .ask(4, DescribeLogDirsRequest::default().with_topics(None))
        .await;
    let directory = &answer.results[0];
    assert!(directory.total_bytes > directory.usable_bytes && directory.usable_bytes > 0);
    let topic = directory
        .topics
        .iter()
        .find(|topic| topic.name == name("t"));
    let sizes: Vec<i64> = topic
        .expect("described")
        .partitions
        .iter()
        .map(|p| p.partition_size)
        .collect();
    assert!(sizes[0] > sizes[1], "{sizes:?}");

    let topic = describe_topic_partitions_request::TopicRequest::default().with_name(name("t"));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![topic])
        .with_response_partition_limit(1)
        .with_cursor(None);
    let answer = client.ask(0, request).await;
    assert_eq!(answer.topics[0].partitions.len(), 1);
    assert_eq!(
        answer.next_cursor.expect("there is more").partition_index,
        1
    );

    let topic = describe_producers_request::TopicRequest::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0, 7]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let answer = client.ask(0, request).await;
    let codes: Vec<i16> = answer.topics[0]
        .partitions
        .iter()
        .map(|p| p.error_code)
        .collect();
    assert_eq!(codes, [NONE, code(ResponseError::UnknownTopicOrPartition)]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_advertised_api_answers_in_its_lowest_and_highest_version() {
    let broker = TestBroker::start().await;
    let mut client = KafkaClient::connect(broker.kafka()).await;
    let about = ApiVersionsRequest::default()
        .with_client_software_name(text("test"))
        .with_client_software_version(text("1"));
    let answer = client.ask(4, about).await;
    assert_eq!(answer.error_code, NONE);
    let range = |key: ApiKey| {
        let row = answer.api_keys.iter().find(|row| row.api_key == key as i16);
        let row = row.expect("advertised");
        [row.min_version, row.max_version]
    };
    for version in range(ApiKey::Metadata) {
        let request = by_name(&[]).with_allow_auto_topic_creation(true);
        client.ask(version, request).await;
    }
    for version in range(ApiKey::FindCoordinator) {
        let request = FindCoordinatorRequest::default().with_key(text(""));
        let request = match version {
            4.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]),
            _ => request.with_key(text("g")),
        };
        client.ask(version, request).await;
    }
    for version in range(ApiKey::ListGroups) {
        let listed = loop {
            let answer = client.ask(version, ListGroupsRequest::default()).await;
            // A broker that has just started may still be reading its group log.
            if answer.error_code != code(ResponseError::CoordinatorLoadInProgress) {
                break answer;
            }
        };
        assert_eq!(listed.error_code, NONE);
    }
    for version in range(ApiKey::DescribeGroups) {
        client.ask(version, DescribeGroupsRequest::default()).await;
    }
    for version in range(ApiKey::OffsetCommit) {
        client.ask(version, OffsetCommitRequest::default()).await;
    }
    for version in range(ApiKey::LeaveGroup) {
        client.ask(version, LeaveGroupRequest::default()).await;
    }
    for version in range(ApiKey::Heartbeat) {
        client.ask(version, HeartbeatRequest::default()).await;
    }
    for version in range(ApiKey::DescribeCluster) {
        client
            .ask(
                version,
                DescribeClusterRequest::default().with_endpoint_type(1),
            )
            .await;
    }
    for version in range(ApiKey::DescribeConfigs) {
        client.ask(version, DescribeConfigsRequest::default()).await;
    }
    for version in range(ApiKey::DescribeLogDirs) {
        client.ask(version, DescribeLogDirsRequest::default()).await;
    }
    broker.stop().await;
}
