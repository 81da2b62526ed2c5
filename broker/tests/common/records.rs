//! Records as plain values, written and read in the batches of either wire.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use bytes::Bytes;
use protocol::batch::BatchFormat;
use protocol::columnar::Decoder;
use protocol::fluss::arrow_message::BufferCodec;
use protocol::fluss::batch::{BatchSpec, Batches, Changes, build_arrow, build_empty};
use protocol::fluss::buffer_codec::Compressor;
use protocol::ids::SchemaId;
use protocol::kafka::batch::BatchView;
use protocol::kafka::builder::{BatchBuilder, BatchOptions, BatchProducer};
use protocol::kafka::compression::{Codec, decompress};
use protocol::kafka::record::{Header, Records};
use protocol::raw::{RawBatchBuilder, RawColumns, RawRows, raw_schema};

/// Decompressed records of one batch at most: tests write less.
const DECOMPRESSED_MAX: usize = 64 << 20;

/// A record of a topic of the raw schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The record time, epoch milliseconds.
    pub time_ms: i64,
    /// The headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Row {
    /// A record with nothing but a value.
    pub fn of_value(value: String, time_ms: i64) -> Row {
        Row {
            key: None,
            value: Some(value.into_bytes()),
            time_ms,
            headers: Vec::new(),
        }
    }
}

/// A Kafka batch.
pub fn kafka_batch(rows: &[Row], codec: Codec, producer: Option<BatchProducer>) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        codec,
        producer,
        ..BatchOptions::default()
    });
    for (delta, row) in rows.iter().enumerate() {
        let headers = row.headers.iter().map(|(key, value)| Header {
            key: key.as_bytes(),
            value: value.as_deref(),
        });
        builder.append(
            delta as i32,
            row.time_ms,
            row.key.as_deref(),
            row.value.as_deref(),
            headers.collect::<Vec<_>>(),
        );
    }
    builder.finish()
}

/// A Fluss batch of the raw schema.
pub fn fluss_batch(rows: &[Row], codec: Option<BufferCodec>, writer: Option<(i64, i32)>) -> Bytes {
    let spec = BatchSpec {
        writer,
        ..BatchSpec::new(SchemaId::new(1))
    };
    if rows.is_empty() {
        return Bytes::from(build_empty(&spec, true).expect("a batch"));
    }
    let mut builder = RawBatchBuilder::new(RawColumns::ALL, false);
    for row in rows {
        let headers = row.headers.iter();
        builder
            .append(
                row.key.as_deref(),
                row.value.as_deref(),
                row.time_ms,
                headers.map(|(key, value)| (key.as_bytes(), value.as_deref())),
            )
            .expect("a row");
    }
    let rows = builder.finish();
    let built = build_arrow(
        &spec,
        Changes::AppendOnly,
        &rows,
        &mut Compressor::new(codec),
    );
    Bytes::from(built.expect("a batch"))
}

/// The records of Kafka batches with their offsets, and the offset after the last batch.
pub fn of_kafka(records: &[u8], from: i64) -> (Vec<(i64, Row)>, i64) {
    let (mut rows, mut next, mut rest) = (Vec::new(), from, records);
    let mut plain = Vec::new();
    // A Kafka answer may end in a part of a batch.
    while let Ok(batch) = BatchView::parse(rest) {
        assert!(batch.crc_is_valid(), "batch at {}", batch.base_offset());
        let codec = batch.codec().expect("a known codec");
        decompress(codec, batch.payload(), DECOMPRESSED_MAX, &mut plain).expect("sound");
        for record in Records::new(&plain, batch.record_count()) {
            let record = record.expect("a record");
            let offset = batch.base_offset() + i64::from(record.offset_delta);
            let headers = record.headers.iter().map(|header| {
                let key = String::from_utf8_lossy(header.key).into_owned();
                (key, header.value.map(<[u8]>::to_vec))
            });
            rows.push((
                offset,
                Row {
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    time_ms: batch.record_time(record.timestamp_delta),
                    headers: headers.collect(),
                },
            ));
        }
        next = batch.last_offset() + 1;
        rest = &rest[batch.total_length()..];
    }
    rows.retain(|(offset, _)| *offset >= from);
    (rows, next)
}

/// The rows of Fluss batches of the raw schema with their offsets, and the offset after the last
/// batch.
pub fn of_fluss(records: Bytes, from: i64) -> (Vec<(i64, Row)>, i64) {
    let (mut rows, mut next) = (Vec::new(), from);
    for batch in Batches::new(records) {
        // As in Kafka, the end of an answer may be a part of a batch.
        let Ok(batch) = batch else { break };
        assert!(
            batch.crc_holds(),
            "batch at {}",
            batch.header().base_offset()
        );
        let base = batch.header().base_offset();
        next = batch.last_offset() + 1;
        if batch.header().is_header_only() {
            continue;
        }
        let decoded = Decoder::default()
            .decode(&batch, BatchFormat::FlussArrow, &raw_schema(false), None)
            .expect("a sound batch");
        let raw = RawRows::new(&decoded.rows).expect("the raw schema");
        for (offset, row) in (base..).zip(raw.iter()) {
            let headers = row.headers();
            rows.push((
                offset,
                Row {
                    key: row.key.map(<[u8]>::to_vec),
                    value: row.value.map(<[u8]>::to_vec),
                    time_ms: row.timestamp_ms.unwrap_or(-1),
                    headers: headers
                        .map(|(key, value)| (key.to_owned(), value.map(<[u8]>::to_vec)))
                        .collect(),
                },
            ));
        }
    }
    rows.retain(|(offset, _)| *offset >= from);
    (rows, next)
}
