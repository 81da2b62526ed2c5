use super::*;
use crate::kafka::api::APIS;
use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

const PLENTY: usize = 1 << 30;

/// Writes messages of a shape with values of a simple generator.
struct Populate {
    state: u64,
    version: i16,
    unknown_tags: bool,
}

impl Populate {
    fn next(&mut self, below: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.state >> 33) % below
    }

    fn structure(&mut self, shape: &'static Shape, out: &mut Vec<u8>) {
        let version = self.version;
        let flexible = version >= shape.flexible_since;
        for field in shape
            .fields
            .iter()
            .filter(|f| f.tag.is_none() && f.is_in(version))
        {
            self.value(&field.kind, flexible, out);
        }
        if flexible {
            let tagged: Vec<_> = shape
                .fields
                .iter()
                .filter(|f| f.tag.is_some() && f.is_in(version))
                .collect();
            varint::write_unsigned(out, tagged.len() as u32 + u32::from(self.unknown_tags));
            for field in tagged {
                let mut value = Vec::new();
                self.value(&field.kind, true, &mut value);
                varint::write_unsigned(out, field.tag.unwrap());
                varint::write_unsigned(out, value.len() as u32);
                out.extend(value);
            }
            if self.unknown_tags {
                out.extend([100, 3, 1, 2, 3]);
            }
        }
    }

    fn value(&mut self, kind: &'static Kind, flexible: bool, out: &mut Vec<u8>) {
        match kind {
            // Booleans are only compared as they come back, so they are written as 0 or 1.
            Kind::Fixed(1) => out.push(self.next(2) as u8),
            Kind::Fixed(size) => out.extend((0..*size).map(|_| self.next(256) as u8)),
            Kind::String | Kind::Bytes => {
                let length = self.next(20) as usize;
                match (flexible, kind) {
                    (true, _) => varint::write_unsigned(out, length as u32 + 1),
                    (false, Kind::String) => out.extend((length as i16).to_be_bytes()),
                    (false, _) => out.extend((length as i32).to_be_bytes()),
                }
                out.extend((0..length).map(|_| b'a' + self.next(26) as u8));
            }
            Kind::Array(element) => {
                let length = self.next(4);
                match flexible {
                    true => varint::write_unsigned(out, length as u32 + 1),
                    false => out.extend((length as i32).to_be_bytes()),
                }
                for _ in 0..length {
                    self.value(element, flexible, out);
                }
            }
            Kind::Struct(shape) => self.structure(shape, out),
            Kind::OptionalStruct(_) if self.next(2) == 0 => out.push(0xff),
            Kind::OptionalStruct(shape) => {
                out.push(1);
                self.structure(shape, out);
            }
        }
    }
}

fn populated(shape: &'static Shape, version: i16, seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut populate = Populate {
        state: seed,
        version,
        unknown_tags: seed % 2 == 1,
    };
    populate.structure(shape, &mut out);
    out
}

/// What the message crate makes of bytes: the decoded message as text and encoded again.
type Crate = fn(&[u8], i16) -> Result<(String, Vec<u8>), String>;

fn decode<M: Decodable + Encodable + std::fmt::Debug>(
    bytes: &[u8],
    version: i16,
) -> Result<(String, Vec<u8>), String> {
    let mut input = Bytes::copy_from_slice(bytes);
    let message = M::decode(&mut input, version).map_err(|e| e.to_string())?;
    if !input.is_empty() {
        return Err(format!("{} bytes left", input.len()));
    }
    let mut out = Vec::new();
    message
        .encode(&mut out, version)
        .map_err(|e| format!("encode: {e}"))?;
    Ok((format!("{message:?}"), out))
}

fn crate_decoder(api: ApiKey) -> Crate {
    macro_rules! table {
        ($($key:ident $message:ident,)*) => {
            match api {
                $(ApiKey::$key => decode::<m::$message>,)*
                other => panic!("{other:?} is not in the test's table"),
            }
        };
    }
    table! {
        Produce ProduceRequest, Fetch FetchRequest, ListOffsets ListOffsetsRequest,
        Metadata MetadataRequest, OffsetCommit OffsetCommitRequest, OffsetFetch OffsetFetchRequest,
        FindCoordinator FindCoordinatorRequest, JoinGroup JoinGroupRequest,
        Heartbeat HeartbeatRequest, LeaveGroup LeaveGroupRequest, SyncGroup SyncGroupRequest,
        DescribeGroups DescribeGroupsRequest, ListGroups ListGroupsRequest,
        SaslHandshake SaslHandshakeRequest, ApiVersions ApiVersionsRequest,
        CreateTopics CreateTopicsRequest, DeleteTopics DeleteTopicsRequest,
        DeleteRecords DeleteRecordsRequest, InitProducerId InitProducerIdRequest,
        OffsetForLeaderEpoch OffsetForLeaderEpochRequest, DescribeConfigs DescribeConfigsRequest,
        AlterConfigs AlterConfigsRequest, DescribeLogDirs DescribeLogDirsRequest,
        SaslAuthenticate SaslAuthenticateRequest, CreatePartitions CreatePartitionsRequest,
        DeleteGroups DeleteGroupsRequest, IncrementalAlterConfigs IncrementalAlterConfigsRequest,
        OffsetDelete OffsetDeleteRequest, DescribeCluster DescribeClusterRequest,
        DescribeProducers DescribeProducersRequest,
        DescribeTopicPartitions DescribeTopicPartitionsRequest,
    }
}

/// Every message with a shape: its name, versions, shape and decoder.
fn messages() -> Vec<(String, std::ops::RangeInclusive<i16>, &'static Shape, Crate)> {
    let mut all: Vec<_> = APIS
        .iter()
        .map(|api| {
            let shape = Shape::of_request(api.key).unwrap();
            (
                api.name.to_owned(),
                api.served_min..=api.max,
                shape,
                crate_decoder(api.key),
            )
        })
        .collect();
    let subscription = decode::<m::ConsumerProtocolSubscription> as Crate;
    all.push((
        "subscription".into(),
        0..=3,
        Shape::of_subscription(),
        subscription,
    ));
    let assignment = decode::<m::ConsumerProtocolAssignment> as Crate;
    all.push((
        "assignment".into(),
        0..=3,
        Shape::of_assignment(),
        assignment,
    ));
    all
}

#[test]
fn shapes_are_what_the_message_crate_reads_and_writes() {
    for (name, versions, shape, decode) in messages() {
        for version in versions {
            for seed in 0..200 {
                let bytes = populated(shape, version, seed);
                shape
                    .walk(version, &bytes, PLENTY)
                    .unwrap_or_else(|e| panic!("{name} {version}: {e}"));
                let (message, written) =
                    decode(&bytes, version).unwrap_or_else(|e| panic!("{name} {version}: {e}"));
                shape
                    .walk(version, &written, PLENTY)
                    .unwrap_or_else(|e| panic!("{name} {version}: {e}"));
                let (again, _) = decode(&written, version).unwrap();
                assert_eq!(again, message, "{name} {version}");
            }
        }
    }
}

#[test]
fn every_cut_is_noticed() {
    for (name, versions, shape, _) in messages() {
        for version in versions {
            let bytes = populated(shape, version, 7);
            for end in 0..bytes.len() {
                let walked = shape.walk(version, &bytes[..end], PLENTY);
                assert!(walked.is_err(), "{name} {version} cut at {end}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert!(
                shape.walk(version, &longer, PLENTY).is_err(),
                "{name} {version}"
            );
        }
    }
}

#[test]
fn a_count_that_the_bytes_cannot_hold_is_cut_off() {
    let shape = Shape::of_request(ApiKey::Metadata).unwrap();
    let error = shape.walk(0, &i32::MAX.to_be_bytes(), PLENTY).unwrap_err();
    assert_eq!(
        error,
        ShapeError {
            field: "topics",
            fault: ShapeFault::CutOff
        }
    );
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(
        shape.walk(9, &compact, PLENTY).unwrap_err().fault,
        ShapeFault::CutOff
    );
    assert_eq!(
        shape
            .walk(0, &(-2i32).to_be_bytes(), PLENTY)
            .unwrap_err()
            .fault,
        ShapeFault::Negative
    );
    assert_eq!(shape.walk(0, &(-1i32).to_be_bytes(), PLENTY), Ok(0));
}

#[test]
fn memory_is_bounded_where_the_bytes_are_there() {
    // 1,000 empty topic names in 2,000 bytes become 1,000 structures.
    let shape = Shape::of_request(ApiKey::Metadata).unwrap();
    let mut bytes = 1000i32.to_be_bytes().to_vec();
    bytes.resize(4 + 2000, 0);
    let needed = shape.walk(0, &bytes, PLENTY).unwrap();
    assert_eq!(
        needed,
        1000 * size_of::<m::metadata_request::MetadataRequestTopic>()
    );
    assert_eq!(
        shape.walk(0, &bytes, needed - 1).unwrap_err().fault,
        ShapeFault::Memory
    );
    // So do tagged fields that nobody knows.
    let shape = Shape::of_request(ApiKey::ListGroups).unwrap();
    let mut bytes = vec![0xe8, 0x07];
    bytes.extend([9, 0].repeat(1000));
    assert_eq!(
        shape.walk(3, &bytes, 10_000).unwrap_err().fault,
        ShapeFault::Memory
    );
    assert_eq!(
        shape.walk(3, &bytes, PLENTY),
        Ok(1000 * TAGGED_FIELD_MEMORY)
    );
}

#[test]
fn a_tagged_field_fills_its_size() {
    // Fetch 12, tag 0 is the cluster id: size 3 around an empty string of one byte.
    let shape = Shape::of_request(ApiKey::Fetch).unwrap();
    let mut bytes = vec![0; 4 + 4 + 4 + 4 + 1 + 4 + 4];
    bytes.extend([1, 1, 1]);
    bytes.extend([1, 0, 3, 1, 0, 0]);
    let error = shape.walk(12, &bytes, PLENTY).unwrap_err();
    assert_eq!(
        error,
        ShapeError {
            field: "cluster_id",
            fault: ShapeFault::TagSize
        }
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_the_walk_lets_through_decodes_within_bounds(
        which: prop::sample::Index,
        version: prop::sample::Index,
        seed: u64,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let all = messages();
        let (_, versions, shape, decode) = which.get(&all);
        let version = versions.start() + version.index((versions.end() - versions.start() + 1) as usize) as i16;
        let mut bytes = populated(shape, version, seed);
        for (at, byte) in hits {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        // A vector of the decoder is never larger than what the walk has counted, so a bounded walk
        // bounds the decoder. Here it may only not panic and not read past the message.
        if shape.walk(version, &bytes, 1 << 16).is_ok()
            && let Err(error) = decode(&bytes, version)
        {
            prop_assert!(!error.contains("left"), "{}", error);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(which: prop::sample::Index, version in -1i16..20, bytes: Vec<u8>) {
        let all = messages();
        let (_, versions, shape, decode) = which.get(&all);
        if shape.walk(version, &bytes, 1 << 16).is_ok() && versions.contains(&version) {
            let _ = decode(&bytes, version);
        }
    }
}
