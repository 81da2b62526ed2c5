//! Batches of a few kilobytes that say they are gigabytes.

use bytes::Bytes;
use futures::future::join_all;
use protocol::fluss::arrow_message::BufferCodec;
use protocol::fluss::batch::{BatchSpec, Changes, HeaderView, build_arrow};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::error::ErrorCode;
use protocol::ids::SchemaId;
use protocol::kafka::builder::BatchProducer;
use protocol::kafka::compression::{Codec, compress};
use protocol::raw::{RawBatchBuilder, RawColumns};

use crate::broker_under_attack::UnderAttack;
use crate::common::fluss::{Client, code, path};
use crate::common::kafka_peer::Kafka;
use crate::common::records::{Row, kafka_batch};

const TOPIC: &str = "bombs";

/// Connections that throw the same bomb at the same time.
const TOGETHER: usize = 6;

/// Kafka's codes.
const MESSAGE_TOO_LARGE: i16 = 10;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_RECORD: i16 = 87;

/// What a compressed batch starts with: offsets of its header.
const LENGTH_AT: usize = 8;
const CRC_AT: usize = 17;
const HEADER: usize = 61;

/// A batch of this codec whose records are these compressed bytes.
fn batch_of(codec: Codec, records: &[u8]) -> Bytes {
    let mut batch = kafka_batch(&[Row::of_value("x".into(), 1)], codec, None).to_vec();
    batch.truncate(HEADER);
    batch.extend(records);
    let length = (batch.len() - LENGTH_AT - 4) as u32;
    batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_AT + 4..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

/// More than is ever decompressed: one record of zeros, as far as its codec packs it into a batch
/// that is small enough.
fn bombs() -> Vec<(Codec, Bytes)> {
    let mut record = Vec::new();
    // A record of nearly 2 GiB: its length, attributes, deltas, no key, the value's length.
    record.extend([
        0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 0xf0, 0xff, 0xff, 0xff, 0x0f,
    ]);
    record.resize(32 << 20, 0);
    let zeros = vec![0; 32 << 20];
    let mut bombs = Vec::new();
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4] {
        let mut packed = Vec::new();
        compress(codec, None, &record, &mut packed);
        let mut more = Vec::new();
        compress(codec, None, &zeros, &mut more);
        // Members and frames may follow each other; LZ4 packs 255 to 1.
        let members = ((900 << 10) / more.len()).min(20);
        packed.extend(more.repeat(members));
        bombs.push((codec, batch_of(codec, &packed)));
    }
    // Snappy packs 20 to 1, but says in front what it will be: 4 GiB, alone and in a chunk.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    bombs.push((Codec::Snappy, batch_of(Codec::Snappy, &claim)));
    let mut chunk = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07".to_vec();
    chunk.extend(claim);
    bombs.push((Codec::Snappy, batch_of(Codec::Snappy, &chunk)));
    bombs
}

/// A gap in the sequences, which only the log finds.
async fn out_of_order(broker: &UnderAttack, client: &mut Kafka) {
    let (id, epoch) = client.producer_id().await.expect("an id");
    for (base_sequence, expected) in [(0, None), (7, Some(OUT_OF_ORDER_SEQUENCE_NUMBER))] {
        let producer = Some(BatchProducer {
            id,
            epoch,
            base_sequence,
        });
        let batch = kafka_batch(&[Row::of_value("x".into(), 1)], Codec::None, producer);
        client.send_batch(TOPIC, 0, batch).await.expect("sent");
        let outcome = client.acknowledged().await.expect("an answer");
        assert_eq!(outcome.err(), expected);
    }
    let parts = [
        "refused a produced batch",
        "client=127.0.0.1:",
        TOPIC,
        "OutOfOrderSequenceNumber",
        "cause=",
    ];
    broker.lines.must_have(&parts);
}

/// Bombs of every codec, several at a time.
pub async fn kafka(broker: &UnderAttack) {
    let mut client = Kafka::connect(broker.kafka()).await.expect("connected");
    client.create_topic(TOPIC, 1).await.expect("made");
    for (codec, bomb) in bombs() {
        assert!(bomb.len() < 1 << 20, "{codec:?}: {} bytes", bomb.len());
        let throw = async || {
            let mut client = Kafka::connect(broker.kafka()).await.expect("connected");
            client
                .send_batch(TOPIC, 0, bomb.clone())
                .await
                .expect("sent");
            client.acknowledged().await.expect("an answer")
        };
        for outcome in join_all((0..TOGETHER).map(|_| throw())).await {
            let code = outcome.expect_err("a refusal");
            assert!(
                [MESSAGE_TOO_LARGE, INVALID_RECORD].contains(&code),
                "{codec:?}: {code}"
            );
        }
    }
    let parts = [
        "refused a produced batch",
        "client=127.0.0.1:",
        TOPIC,
        "MessageTooLarge",
        "exceed",
    ];
    broker.lines.must_have(&parts);
    out_of_order(broker, &mut client).await;
}

/// An Arrow batch of the raw schema with one value of zeros, compressed.
fn arrow_bomb(codec: BufferCodec) -> Vec<u8> {
    let mut rows = RawBatchBuilder::new(RawColumns::ALL, false);
    rows.append(None, Some(&vec![0; 200 << 10]), 1, std::iter::empty())
        .expect("small");
    let spec = BatchSpec::new(SchemaId::new(1));
    let mut compressor = Compressor::new(Some(codec));
    build_arrow(&spec, Changes::AppendOnly, &rows.finish(), &mut compressor).expect("a batch")
}

/// Buffers that claim to be larger than they are: by little, by what is allowed, by everything.
pub async fn fluss(broker: &UnderAttack) {
    let mut client = Client::connect(broker.fluss()).await;
    let mut topic_path = path(TOPIC);
    topic_path.database_name = "kafka".into();
    let table = client.table_info(&topic_path).await.table_id;
    for codec in [BufferCodec::Zstd, BufferCodec::Lz4Frame] {
        let sound = arrow_bomb(codec);
        let truth = (200u64 << 10).to_le_bytes();
        let at = sound.windows(8).position(|bytes| bytes == truth);
        let at = at.expect("the length of the value's buffer");
        for claimed in [
            0,
            1000,
            1 << 20,
            100 << 20,
            127 << 20,
            1 << 31,
            1 << 40,
            i64::MAX,
            -2,
        ] {
            let mut bomb = sound.clone();
            bomb[at..at + 8].copy_from_slice(&i64::to_le_bytes(claimed));
            mend(&mut bomb);
            let bomb = Bytes::from(bomb);
            let throw = async || {
                let mut client = Client::connect(broker.fluss()).await;
                client.produce(table, 0, bomb.clone()).await.error_code
            };
            for outcome in join_all((0..TOGETHER).map(|_| throw())).await {
                let code = code(outcome).expect("a refusal");
                let refused = [ErrorCode::CorruptRecord, ErrorCode::RecordTooLarge];
                assert!(refused.contains(&code), "{claimed}: {code:?}");
            }
        }
        let answer = client.produce(table, 0, sound.into()).await;
        assert_eq!(answer.error_code, None, "{:?}", answer.error_message);
    }
    let parts = [
        "refused a bucket",
        "client=127.0.0.1:",
        "kafka.bombs",
        "claims",
    ];
    broker.lines.must_have(&parts);
}

fn mend(batch: &mut [u8]) {
    let crc_at = HeaderView::parse(batch).expect("a header").magic().crc_at();
    let crc = crc32c::crc32c(&batch[crc_at + 4..]);
    batch[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
}
