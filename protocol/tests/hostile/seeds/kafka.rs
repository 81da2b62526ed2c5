//! What Kafka clients send.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use protocol::kafka::api::APIS;
use protocol::kafka::builder::{BatchBuilder, BatchOptions, BatchProducer};
use protocol::kafka::compression::{Codec, compress};
use protocol::kafka::record::Header;

use super::golden;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// Every API in every version, empty and, for some, with contents.
pub fn requests() -> Vec<Vec<u8>> {
    macro_rules! empty {
        ($($key:ident($request:ident))+) => {
            [$((ApiKey::$key, all_versions(&$request::default()))),+]
        };
    }
    let empty = empty! {
        Produce(ProduceRequest) Fetch(FetchRequest) ListOffsets(ListOffsetsRequest)
        Metadata(MetadataRequest) OffsetCommit(OffsetCommitRequest)
        OffsetFetch(OffsetFetchRequest) FindCoordinator(FindCoordinatorRequest)
        JoinGroup(JoinGroupRequest) Heartbeat(HeartbeatRequest) LeaveGroup(LeaveGroupRequest)
        SyncGroup(SyncGroupRequest) DescribeGroups(DescribeGroupsRequest)
        ListGroups(ListGroupsRequest) ApiVersions(ApiVersionsRequest)
        CreateTopics(CreateTopicsRequest) DeleteTopics(DeleteTopicsRequest)
        DeleteRecords(DeleteRecordsRequest) InitProducerId(InitProducerIdRequest)
        OffsetForLeaderEpoch(OffsetForLeaderEpochRequest)
        DescribeConfigs(DescribeConfigsRequest) AlterConfigs(AlterConfigsRequest)
        DescribeLogDirs(DescribeLogDirsRequest) CreatePartitions(CreatePartitionsRequest)
        DeleteGroups(DeleteGroupsRequest) IncrementalAlterConfigs(IncrementalAlterConfigsRequest)
        OffsetDelete(OffsetDeleteRequest) DescribeCluster(DescribeClusterRequest)
        DescribeProducers(DescribeProducersRequest)
        DescribeTopicPartitions(DescribeTopicPartitionsRequest)
    };
    for (key, frames) in &empty {
        assert!(!frames.is_empty(), "{key:?}");
    }
    let mut frames: Vec<_> = empty.into_iter().flat_map(|(_, frames)| frames).collect();
    frames.extend(filled());
    frames
}

/// Requests that hold one of each thing that nests.
fn filled() -> Vec<Vec<u8>> {
    let topic = || TopicName(text("orders"));
    let batch = kafka_batch(Codec::None);
    let produce = ProduceRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![
            produce_request::TopicProduceData::default()
                .with_name(topic())
                .with_partition_data(vec![
                    produce_request::PartitionProduceData::default().with_records(Some(batch)),
                ]),
        ]);
    let fetch = FetchRequest::default().with_topics(vec![
        fetch_request::FetchTopic::default()
            .with_topic(topic())
            .with_partitions(vec![fetch_request::FetchPartition::default()]),
    ]);
    let metadata = MetadataRequest::default().with_topics(Some(vec![
        metadata_request::MetadataRequestTopic::default().with_name(Some(topic())),
    ]));
    let offsets = ListOffsetsRequest::default().with_topics(vec![
        list_offsets_request::ListOffsetsTopic::default()
            .with_name(topic())
            .with_partitions(vec![list_offsets_request::ListOffsetsPartition::default()]),
    ]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("group")))
        .with_topics(vec![
            offset_commit_request::OffsetCommitRequestTopic::default()
                .with_name(topic())
                .with_partitions(vec![
                    offset_commit_request::OffsetCommitRequestPartition::default()
                        .with_committed_metadata(Some(text("note"))),
                ]),
        ]);
    let create = CreateTopicsRequest::default().with_topics(vec![
        create_topics_request::CreatableTopic::default()
            .with_name(topic())
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_configs(vec![
                create_topics_request::CreatableTopicConfig::default()
                    .with_name(text("retention.ms"))
                    .with_value(Some(text("1"))),
            ]),
    ]);
    let join = JoinGroupRequest::default()
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![
            join_group_request::JoinGroupRequestProtocol::default()
                .with_name(text("range"))
                .with_metadata(Bytes::from(group_blobs().remove(0))),
        ]);
    let sync = SyncGroupRequest::default().with_assignments(vec![
        sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(text("member"))
            .with_assignment(Bytes::from(group_blobs().remove(1))),
    ]);
    let alter = IncrementalAlterConfigsRequest::default().with_resources(vec![
        incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_name(text("orders"))
            .with_configs(vec![
                incremental_alter_configs_request::AlterableConfig::default()
                    .with_name(text("retention.ms")),
            ]),
    ]);
    [
        all_versions(&produce),
        all_versions(&fetch),
        all_versions(&metadata),
        all_versions(&offsets),
        all_versions(&commit),
        all_versions(&create),
        all_versions(&join),
        all_versions(&sync),
        all_versions(&alter),
    ]
    .concat()
}

/// A request in all versions in which it can be written.
fn all_versions<R>(request: &R) -> Vec<Vec<u8>>
where
    R: Request + Encodable + HeaderVersion,
{
    let api = APIS.iter().find(|api| api.key as i16 == R::KEY).unwrap();
    (api.served_min..=api.max)
        .filter_map(|version| {
            let mut frame = BytesMut::new();
            RequestHeader::default()
                .with_request_api_key(R::KEY)
                .with_request_api_version(version)
                .with_correlation_id(7)
                .with_client_id(Some(text("seed")))
                .encode(&mut frame, R::header_version(version))
                .ok()?;
            request.encode(&mut frame, version).ok()?;
            Some(frame.to_vec())
        })
        .collect()
}

/// What members of groups say to each other.
pub fn group_blobs() -> Vec<Vec<u8>> {
    let blob = |message: &dyn Fn(&mut BytesMut)| {
        let mut bytes = BytesMut::from(&[0, 1][..]);
        message(&mut bytes);
        bytes.to_vec()
    };
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(vec![text("orders"), text("payments")])
        .with_user_data(Some(Bytes::from_static(b"data")));
    let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![
        consumer_protocol_assignment::TopicPartition::default()
            .with_topic(TopicName(text("orders")))
            .with_partitions(vec![0, 1, 2]),
    ]);
    vec![
        blob(&|out| subscription.encode(out, 1).unwrap()),
        blob(&|out| assignment.encode(out, 1).unwrap()),
    ]
}

fn kafka_batch(codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        codec,
        producer: Some(BatchProducer {
            id: 1,
            epoch: 0,
            base_sequence: 0,
        }),
        ..BatchOptions::default()
    });
    for delta in 0..20 {
        let key = format!("key {delta}");
        let header = Header {
            key: b"trace",
            value: Some(b"abc"),
        };
        let value = Some(&b"value value value value"[..]);
        builder.append(
            delta,
            1_700_000_000_000,
            Some(key.as_bytes()),
            value,
            [header],
        );
    }
    builder.finish()
}

/// Two bytes of choices, then a batch; ours in every codec, and those of Java producers.
pub fn batches() -> Vec<Vec<u8>> {
    let ours = Codec::ALL.map(|codec| kafka_batch(codec).to_vec());
    let java = ["none", "gzip", "snappy", "lz4", "zstd"]
        .map(|codec| golden(&format!("tests/golden/kafka/java-{codec}.log")));
    let choices = [
        [0, 7],
        [8, 7],
        [0, 0],
        [0, 1],
        [0, 2],
        [0, 3],
        [0, 4],
        [1, 7],
    ];
    let batches = ours.iter().chain(&java);
    batches
        .flat_map(|batch| choices.map(|front| [&front[..], batch].concat()))
        .collect()
}

/// A codec, then something small or a bomb.
pub fn compressed() -> Vec<Vec<u8>> {
    let plain = b"some bytes that repeat, some bytes that repeat, some bytes".repeat(30);
    // A bomb: zeros beyond the limit.
    let zeros = vec![0; 32 << 20];
    let mut seeds = Vec::new();
    for (i, codec) in (0..).zip(Codec::ALL) {
        for input in [&plain, &zeros] {
            let mut out = vec![i];
            compress(codec, None, input, &mut out);
            out.truncate(64 << 10);
            seeds.push(out);
        }
    }
    seeds
}
