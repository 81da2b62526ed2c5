//! Bytes of Kafka clients.

use bytes::Bytes;
use kafka_protocol::messages::*;
use protocol::batch::BatchFormat;
use protocol::ids::SchemaId;
use protocol::kafka::batch::{self, BatchView, TimestampType};
use protocol::kafka::compression::{Codec, decompress};
use protocol::kafka::offsets_log::{GroupValue, Key, OffsetValue};
use protocol::kafka::request::{RequestFrame, decode_assignment, decode_subscription};
use protocol::kafka::validate::{Scratch, TargetCompression, ValidateConfig, validate};
use protocol::raw::{RawBatchBuilder, RawColumns};
use protocol::stored;

use super::Reader;

/// What decoding a request may take beside the frame; smaller than the broker's, so that a request
/// past it is found with a short input.
const DECODED_BYTES_MAX: usize = 1 << 20;

/// What records may be decompressed to.
const RECORDS_BYTES_MAX: usize = 8 << 20;

/// Where a record batch has its length and its CRC.
const LENGTH_AT: usize = 8;
const CRC_AT: usize = 17;

macro_rules! decode {
    ($frame:ident: $($key:ident($request:ty))+) => {
        match $frame.api.key {
            $(ApiKey::$key => drop($frame.decode::<$request>(DECODED_BYTES_MAX)),)+
            other => panic!("{other:?} is served and not fuzzed"),
        }
    };
}

/// A frame, without its length: header and body of any API and version.
pub fn request(data: &[u8]) {
    let Ok(frame) = RequestFrame::read(Bytes::copy_from_slice(data)) else {
        return;
    };
    if !frame.is_served() {
        return;
    }
    decode! { frame:
        Produce(ProduceRequest)
        Fetch(FetchRequest)
        ListOffsets(ListOffsetsRequest)
        Metadata(MetadataRequest)
        OffsetCommit(OffsetCommitRequest)
        OffsetFetch(OffsetFetchRequest)
        FindCoordinator(FindCoordinatorRequest)
        JoinGroup(JoinGroupRequest)
        Heartbeat(HeartbeatRequest)
        LeaveGroup(LeaveGroupRequest)
        SyncGroup(SyncGroupRequest)
        DescribeGroups(DescribeGroupsRequest)
        ListGroups(ListGroupsRequest)
        ApiVersions(ApiVersionsRequest)
        CreateTopics(CreateTopicsRequest)
        DeleteTopics(DeleteTopicsRequest)
        DeleteRecords(DeleteRecordsRequest)
        InitProducerId(InitProducerIdRequest)
        OffsetForLeaderEpoch(OffsetForLeaderEpochRequest)
        DescribeConfigs(DescribeConfigsRequest)
        AlterConfigs(AlterConfigsRequest)
        DescribeLogDirs(DescribeLogDirsRequest)
        CreatePartitions(CreatePartitionsRequest)
        DeleteGroups(DeleteGroupsRequest)
        IncrementalAlterConfigs(IncrementalAlterConfigsRequest)
        OffsetDelete(OffsetDeleteRequest)
        DescribeCluster(DescribeClusterRequest)
        DescribeProducers(DescribeProducersRequest)
        DescribeTopicPartitions(DescribeTopicPartitionsRequest)
    }
}

/// What members of consumer groups say to each other.
pub fn group_blobs(data: &[u8]) {
    let blob = Bytes::copy_from_slice(data);
    let _ = decode_subscription(blob.clone(), DECODED_BYTES_MAX);
    let _ = decode_assignment(blob, DECODED_BYTES_MAX);
}

/// The records of one partition of a produce request: some settings, then the batch. Length and
/// CRC are put right, unless the first byte says otherwise.
pub fn batch(data: &[u8]) {
    let mut input = Reader(data);
    let choices = input.byte();
    let target = input.byte();
    let mut bytes = input.rest().to_vec();
    if choices & 1 == 0 {
        mend(&mut bytes);
    }
    let config = ValidateConfig {
        schema_id: SchemaId::new(1),
        source_partition: 0,
        max_message_bytes: 1 << 20,
        max_decompressed_bytes: RECORDS_BYTES_MAX,
        key_required: choices & 2 != 0,
        allow_control: choices & 4 != 0,
        timestamp_type: match choices & 8 {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        },
        now_ms: 1_700_000_000_000,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: if choices & 16 == 0 {
            i64::MAX
        } else {
            3_600_000
        },
        compression: Codec::from_id(target % 8)
            .map(|codec| TargetCompression { codec, level: None }),
    };
    if let Ok(valid) = validate(Bytes::from(bytes), &config) {
        read_back(&valid.bytes);
    }
}

/// What passed is readable, as the transcoder reads it.
fn read_back(bytes: &Bytes) {
    let view = BatchView::parse(bytes).expect("a valid batch parses");
    assert!(stored::crc_holds(BatchFormat::Kafka, bytes));
    let mut scratch = Scratch::new();
    let records = scratch.records(&view, RECORDS_BYTES_MAX);
    let mut rows = RawBatchBuilder::new(RawColumns::ALL, false);
    let mut count = 0;
    for record in records.expect("a valid batch decompresses") {
        let record = record.expect("a valid record");
        let headers = record
            .headers
            .iter()
            .map(|header| (header.key, header.value));
        let time = view.record_time(record.timestamp_delta);
        rows.append(record.key, record.value, time, headers)
            .expect("the columns of a small batch are small");
        count += 1;
    }
    assert_eq!(count, view.record_count());
    assert_eq!(rows.finish().num_rows(), count as usize);

    let mut stamped = bytes.to_vec();
    batch::stamp_log_append_time(&mut stamped, 1).expect("a valid batch can be stamped");
    assert!(stored::crc_holds(BatchFormat::Kafka, &stamped));
}

/// Puts the length of a batch and its CRC right.
fn mend(bytes: &mut [u8]) {
    if bytes.len() <= CRC_AT + 4 {
        return;
    }
    let length = (bytes.len() - LENGTH_AT - 4) as u32;
    bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[CRC_AT + 4..]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// A codec, then what it shall decompress.
pub fn compression(data: &[u8]) {
    let mut input = Reader(data);
    let codec = *input.choose(&Codec::ALL);
    let mut out = Vec::new();
    if decompress(codec, input.rest(), RECORDS_BYTES_MAX, &mut out).is_ok() {
        assert!(codec == Codec::None || out.len() <= RECORDS_BYTES_MAX);
    }
}

/// Keys and values of the consumer-offsets log.
pub fn offsets_log(data: &[u8]) {
    let _ = Key::decode(data);
    let _ = OffsetValue::decode(data);
    let _ = GroupValue::decode(data);
}

/// A batch of any format as it lies in a segment.
pub fn stored(data: &[u8]) {
    let mut input = Reader(data);
    let format = *input.choose(&[
        BatchFormat::Kafka,
        BatchFormat::FlussArrow,
        BatchFormat::FlussIndexed,
        BatchFormat::FlussCompacted,
    ]);
    let bytes = input.rest();
    let _ = stored::crc_holds(format, bytes);
    let _ = BatchView::parse(bytes);
    let _ = batch::total_length(bytes);
}
