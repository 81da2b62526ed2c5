//! Segments written by Kafka 4.3.1 and its Java client, read, checked and written again.

use bytes::Bytes;
use protocol::ids::{LeaderEpoch, Offset, SchemaId};
use protocol::kafka::batch::{self, BatchView, Batches, TimestampType};
use protocol::kafka::builder::{BatchBuilder, BatchOptions, BatchProducer};
use protocol::kafka::compression::Codec;
use protocol::kafka::offsets_log::{self, GroupValue, Key, OffsetValue};
use protocol::kafka::record::{Header, Record};
use protocol::kafka::validate::{Scratch, ValidateConfig, validate};

const LIMIT: usize = 1 << 20;

fn segment(codec: Codec) -> Bytes {
    Bytes::from_static(match codec {
        Codec::None => include_bytes!("golden/kafka/java-none.log"),
        Codec::Gzip => include_bytes!("golden/kafka/java-gzip.log"),
        Codec::Snappy => include_bytes!("golden/kafka/java-snappy.log"),
        Codec::Lz4 => include_bytes!("golden/kafka/java-lz4.log"),
        Codec::Zstd => include_bytes!("golden/kafka/java-zstd.log"),
    })
}

fn batches(bytes: Bytes) -> Vec<Bytes> {
    Batches::new(bytes)
        .collect::<Result<_, _>>()
        .expect("a segment is whole batches")
}

fn records<'a>(scratch: &'a mut Scratch, view: &BatchView<'a>) -> Vec<Record<'a>> {
    let records = scratch
        .records(view, LIMIT)
        .expect("Kafka's codecs are ours");
    records
        .collect::<Result<_, _>>()
        .expect("Kafka's records are well formed")
}

#[test]
fn batches_of_every_codec_hold_what_was_sent() {
    for codec in Codec::ALL {
        let mut index = 0;
        for bytes in batches(segment(codec)) {
            let view = BatchView::parse(&bytes).unwrap();
            assert!(view.crc_is_valid());
            assert_eq!((view.codec(), view.base_offset()), (Some(codec), index));
            for record in records(&mut Scratch::new(), &view) {
                let note = "vltava ".repeat(index as usize % 5);
                let value = format!(r#"{{"order":{index},"city":"Praha","note":"{note}"}}"#);
                assert_eq!(record.key, Some(format!("key-{}", index % 7).as_bytes()));
                assert_eq!(record.value, Some(value.as_bytes()));
                let (name, text) = (format!("h{}", index % 3), format!("x{index}"));
                let expected = [
                    Header {
                        key: name.as_bytes(),
                        value: Some(text.as_bytes()),
                    },
                    Header {
                        key: b"trace",
                        value: Some(b"abc"),
                    },
                ];
                assert_eq!(record.headers.iter().collect::<Vec<_>>(), expected);
                index += 1;
            }
            assert_eq!(view.last_offset(), index - 1);
        }
        assert_eq!(index, 40, "{codec:?}");
    }
}

#[test]
fn batches_of_every_codec_are_accepted() {
    for codec in Codec::ALL {
        let mut next_sequence = 0;
        for bytes in batches(segment(codec)) {
            // As the producer sent it: the log has assigned the offset since.
            let mut sent = bytes.to_vec();
            batch::assign(&mut sent, Offset::ZERO, LeaderEpoch::new(-1)).unwrap();
            let config = ValidateConfig {
                schema_id: SchemaId::new(1),
                source_partition: 0,
                max_message_bytes: LIMIT,
                max_decompressed_bytes: LIMIT,
                key_required: true,
                allow_control: false,
                timestamp_type: TimestampType::CreateTime,
                now_ms: BatchView::parse(&bytes).unwrap().max_timestamp(),
                timestamp_before_max_ms: 60_000,
                timestamp_after_max_ms: 60_000,
                compression: None,
            };
            let accepted = validate(sent.clone().into(), &config).unwrap();
            assert_eq!(accepted.bytes, sent, "{codec:?} was changed");
            let source = accepted.source.expect("the Java producer is idempotent");
            assert_eq!(source.first_sequence, next_sequence);
            next_sequence = source.last_sequence + 1;
        }
        assert_eq!(next_sequence, 40);
    }
}

#[test]
fn our_builder_writes_the_same_bytes() {
    for bytes in batches(segment(Codec::None)) {
        let view = BatchView::parse(&bytes).unwrap();
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: view.base_offset(),
            leader_epoch: view.leader_epoch(),
            producer: Some(BatchProducer {
                id: view.producer_id(),
                epoch: view.producer_epoch(),
                base_sequence: view.base_sequence(),
            }),
            ..Default::default()
        });
        for record in records(&mut Scratch::new(), &view) {
            let headers: Vec<_> = record.headers.iter().collect();
            let time_ms = view.record_time(record.timestamp_delta);
            builder.append(
                record.offset_delta,
                time_ms,
                record.key,
                record.value,
                headers,
            );
        }
        assert_eq!(builder.finish(), bytes);
    }
}

#[test]
fn the_consumer_offsets_of_kafka_are_read() {
    let bytes = Bytes::from_static(include_bytes!("golden/kafka/consumer-offsets.log"));
    let (mut committed, mut groups) = (None, Vec::new());
    for bytes in batches(bytes) {
        let view = BatchView::parse(&bytes).unwrap();
        for record in records(&mut Scratch::new(), &view) {
            let key = record.key.expect("state has keys");
            let value = record.value;
            match Key::decode(key).unwrap() {
                Key::Offset(offset) => {
                    let again = offsets_log::encode_offset_key(
                        &offset.group,
                        &offset.topic,
                        offset.partition,
                    );
                    assert_eq!(again.unwrap(), key);
                    let stored = OffsetValue::decode(value.unwrap()).unwrap();
                    // Kafka writes version 4, whose tagged topic id we pass over.
                    assert_eq!(value.unwrap()[..2], [0, 4]);
                    let ours = stored.encode().unwrap();
                    assert_eq!(OffsetValue::decode(&ours).unwrap(), stored);
                    assert_eq!(
                        (&*offset.group, &*offset.topic),
                        ("golden-group", "golden-none")
                    );
                    committed = Some(stored.offset);
                }
                Key::Group(group) => {
                    assert_eq!(offsets_log::encode_group_key(&group).unwrap(), key);
                    let stored = GroupValue::decode(value.unwrap()).unwrap();
                    assert_eq!(stored.encode().unwrap(), value.unwrap());
                    groups.push((stored.generation, stored.members.len()));
                }
                Key::Other(version) => panic!("unexpected key version {version}"),
            }
        }
    }
    assert_eq!(committed, Some(40));
    // Made, joined by one member, left by it: generation and members.
    assert_eq!(groups, [(0, 0), (1, 1), (2, 0)]);
}
