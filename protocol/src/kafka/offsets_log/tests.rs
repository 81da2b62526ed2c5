use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

fn offset_value() -> impl Strategy<Value = OffsetValue> {
    (
        any::<i64>(),
        -1..100i32,
        ".{0,40}",
        any::<i64>(),
        prop_oneof![Just(-1i64), 0..i64::MAX],
    )
        .prop_map(
            |(offset, leader_epoch, metadata, commit_time_ms, expire_time_ms)| OffsetValue {
                offset,
                leader_epoch: if expire_time_ms >= 0 {
                    -1
                } else {
                    leader_epoch
                },
                metadata,
                commit_time_ms,
                expire_time_ms,
            },
        )
}

fn member() -> impl Strategy<Value = MemberValue> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
    (
        ".{0,20}",
        prop::option::of(".{0,9}"),
        ".{0,9}",
        any::<i32>(),
        any::<i32>(),
        bytes(),
        bytes(),
    )
        .prop_map(
            |(
                member_id,
                group_instance_id,
                client,
                rebalance_timeout_ms,
                session_timeout_ms,
                subscription,
                assignment,
            )| {
                MemberValue {
                    member_id,
                    group_instance_id,
                    client_id: client.clone(),
                    client_host: client,
                    rebalance_timeout_ms,
                    session_timeout_ms,
                    subscription,
                    assignment,
                }
            },
        )
}

fn group_value() -> impl Strategy<Value = GroupValue> {
    (
        ".{0,10}",
        any::<i32>(),
        prop::option::of(".{0,9}"),
        prop::option::of(".{0,9}"),
        any::<i64>(),
        prop::collection::vec(member(), 0..4),
    )
        .prop_map(
            |(protocol_type, generation, protocol, leader, state_time_ms, members)| GroupValue {
                protocol_type,
                generation,
                protocol,
                leader,
                state_time_ms,
                members,
            },
        )
}

proptest! {
    #[test]
    fn offset_values_read_back(value in offset_value()) {
        prop_assert_eq!(OffsetValue::decode(&value.encode().unwrap()).unwrap(), value);
    }

    #[test]
    fn group_values_read_back(value in group_value()) {
        prop_assert_eq!(GroupValue::decode(&value.encode().unwrap()).unwrap(), value);
    }

    #[test]
    fn keys_read_back(group in ".{0,30}", topic in ".{0,30}", partition in any::<i32>()) {
        let key = encode_offset_key(&group, &topic, partition).unwrap();
        prop_assert_eq!(
            Key::decode(&key).unwrap(),
            Key::Offset(OffsetKey { group: group.clone(), topic, partition })
        );
        prop_assert_eq!(Key::decode(&encode_group_key(&group).unwrap()).unwrap(), Key::Group(group));
    }

    #[test]
    fn arbitrary_bytes_never_panic(version in 0i16..6, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut all = version.to_be_bytes().to_vec();
        all.extend(bytes);
        let _ = Key::decode(&all);
        let _ = OffsetValue::decode(&all);
        let _ = GroupValue::decode(&all);
    }
}

#[test]
fn an_offset_commit_has_the_bytes_that_kafka_writes() {
    let key = encode_offset_key("g", "t", 7).unwrap();
    assert_eq!(&key[..], [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 7]);
    let value = OffsetValue {
        offset: 5,
        leader_epoch: 2,
        metadata: "m".into(),
        commit_time_ms: 9,
        expire_time_ms: -1,
    };
    let bytes = value.encode().unwrap();
    assert_eq!(
        &bytes[..],
        [
            0, 3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 9
        ]
    );
}

#[test]
fn flexible_values_are_read_and_their_tagged_fields_passed_over() {
    let mut bytes = BytesMut::new();
    bytes.put_i16(4);
    bytes.put_i64(77);
    bytes.put_i32(3);
    bytes.put_slice(&[3, b'o', b'k']);
    bytes.put_i64(11);
    bytes.put_slice(&[1, 0, 2, 0xaa, 0xbb]);
    let value = OffsetValue::decode(&bytes).unwrap();
    assert_eq!(value.offset, 77);
    assert_eq!(value.metadata, "ok");
    assert_eq!(value.commit_time_ms, 11);
}

#[test]
fn keys_of_newer_group_kinds_are_named_by_their_version() {
    assert_eq!(Key::decode(&[0, 5, 1, 2, 3]), Ok(Key::Other(5)));
}

#[test]
fn a_value_of_a_future_version_is_refused() {
    assert_eq!(
        OffsetValue::decode(&[0, 9, 0, 0]),
        Err(DecodeError::Version(9))
    );
    assert_eq!(
        GroupValue::decode(&[0, 9, 0, 0]),
        Err(DecodeError::Version(9))
    );
}

#[test]
fn names_longer_than_their_length_field_are_refused() {
    assert_eq!(encode_group_key(&"x".repeat(32768)), Err(TooLong));
}
