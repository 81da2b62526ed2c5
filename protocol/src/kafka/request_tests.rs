use super::*;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerProtocolSubscription, MetadataRequest, ProduceRequest,
};
use kafka_protocol::protocol::Encodable;
use proptest::prelude::*;

fn frame(api: ApiKey, version: i16, client_id: Option<&str>, body: impl Encodable) -> Bytes {
    let mut out = Vec::new();
    out.extend((api as i16).to_be_bytes());
    out.extend(version.to_be_bytes());
    out.extend(42i32.to_be_bytes());
    match client_id {
        Some(id) => {
            out.extend((id.len() as i16).to_be_bytes());
            out.extend(id.as_bytes());
        }
        None => out.extend((-1i16).to_be_bytes()),
    }
    if api.request_header_version(version) >= 2 {
        out.push(0);
    }
    body.encode(&mut out, version).unwrap();
    out.into()
}

fn produce(records: &'static [u8]) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(Bytes::from_static(records)));
    let topic = TopicProduceData::default()
        .with_name(StrBytes::from_static_str("t").into())
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![topic])
}

#[test]
fn records_are_slices_of_the_frame() {
    for version in 3..=12 {
        let frame = frame(
            ApiKey::Produce,
            version,
            Some("kcat"),
            produce(b"the records"),
        );
        let request = RequestFrame::read(frame.clone()).unwrap();
        assert_eq!(
            (request.correlation_id, request.client_id.as_deref()),
            (42, Some("kcat"))
        );
        let message: ProduceRequest = request.decode(DECODED_BYTES_MAX).unwrap();
        let records = message.topic_data[0].partition_data[0]
            .records
            .clone()
            .unwrap();
        assert_eq!(&records[..], b"the records");
        assert!(
            frame.as_ptr_range().contains(&records.as_ptr()),
            "version {version} copied"
        );
    }
}

#[test]
fn a_null_client_id_is_none() {
    let request = RequestFrame::read(frame(
        ApiKey::Metadata,
        12,
        None,
        MetadataRequest::default(),
    ));
    assert_eq!(request.unwrap().client_id, None);
}

#[test]
fn an_unknown_api_versions_version_is_still_a_request() {
    let mut bytes = frame(
        ApiKey::ApiVersions,
        3,
        Some("new"),
        ApiVersionsRequest::default(),
    )
    .to_vec();
    bytes[3] = 99;
    let request = RequestFrame::read(bytes.into()).unwrap();
    assert_eq!(
        (request.version, request.correlation_id, request.is_served()),
        (99, 42, false)
    );
}

#[test]
fn what_is_not_served_is_refused() {
    let mut old = frame(ApiKey::Produce, 3, None, produce(b"")).to_vec();
    old[3] = 2;
    let error = RequestFrame::read(old.clone().into()).unwrap_err();
    assert_eq!(
        error,
        RequestError::UnsupportedVersion {
            api: ApiKey::Produce,
            version: 2
        }
    );
    old[1] = 99;
    assert_eq!(
        RequestFrame::read(old.into()).unwrap_err(),
        RequestError::UnknownApi { key: 99 }
    );
    assert_eq!(
        RequestFrame::read(Bytes::from_static(&[0; 7])).unwrap_err(),
        RequestError::Header
    );
}

#[test]
fn bytes_behind_a_message_are_passed_over() {
    // All topics, as librdkafka asks: null, both flags, no tagged fields, and what it left over.
    let mut body = vec![0, 0, 0, 0];
    body.extend_from_slice(&[1, 0, 0]);
    let mut bytes = vec![0, 3, 0, 13, 0, 0, 0, 7, 0, 1, b'c', 0];
    bytes.extend_from_slice(&body);
    let frame = RequestFrame::read(bytes.into()).unwrap();
    let request: MetadataRequest = frame.decode(DECODED_BYTES_MAX).unwrap();
    assert_eq!(request.topics, None);
}

#[test]
fn a_hostile_count_is_refused() {
    let mut bytes = frame(
        ApiKey::Metadata,
        1,
        Some("evil"),
        MetadataRequest::default(),
    )
    .to_vec();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&i32::MAX.to_be_bytes());
    let request = RequestFrame::read(bytes.into()).unwrap();
    assert!(matches!(
        request.decode::<MetadataRequest>(DECODED_BYTES_MAX),
        Err(RequestError::Shape { .. })
    ));
}

#[test]
fn subscriptions_of_newer_clients_are_read_as_far_as_known() {
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(vec![
            StrBytes::from_static_str("a"),
            StrBytes::from_static_str("b"),
        ])
        .with_generation_id(5);
    let mut blob = 9i16.to_be_bytes().to_vec();
    subscription.encode(&mut blob, 3).unwrap();
    blob.extend(b"a field of the future");
    assert_eq!(decode_subscription(blob.into(), 1 << 16), Ok(subscription));
    let hostile = [0u8, 0, 0x7f, 0xff, 0xff, 0xff];
    assert!(matches!(
        decode_subscription(Bytes::copy_from_slice(&hostile), 1 << 16),
        Err(BlobError::Shape(_))
    ));
    assert_eq!(
        decode_assignment(Bytes::new(), 1 << 16),
        Err(BlobError::Version)
    );
}

proptest! {
    #[test]
    fn arbitrary_frames_never_panic(mut bytes: Vec<u8>, key in 0u8..80, version in 0u8..20) {
        for (at, byte) in [(0, 0), (1, key), (2, 0), (3, version)] {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        let _ = RequestFrame::read(bytes.clone().into());
        let _ = decode_subscription(bytes.clone().into(), 1 << 16);
        let _ = decode_assignment(bytes.into(), 1 << 16);
    }
}
