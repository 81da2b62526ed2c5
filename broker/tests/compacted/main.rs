//! Compacted topics as tables: what Kafka producers of all kinds write is found by Fluss lookups,
//! what Fluss clients put arrives at Kafka consumers, and a change of the cleanup policy makes
//! another table of a topic.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

#[path = "../common/mod.rs"]
mod common;

mod large;
mod partitioners;
mod policy;
mod upserts;

use bytes::Bytes;
use common::TestBroker;
use common::fluss::Client;
use common::kafka_peer::Kafka;
use common::keyed::lookup;
use common::records::{Row, kafka_batch, of_kafka};
use kafka_protocol::protocol::StrBytes;
use protocol::fluss::key::KeyEncoder;
use protocol::fluss::messages::*;
use protocol::fluss::options::KvFormat;
use protocol::fluss::value::{Value, read_value_batch};
use protocol::kafka::compression::Codec;
use protocol::raw::raw_schema;
use protocol::row::{Datum, RowLayout};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Connections to a broker.
struct Clients {
    kafka: Kafka,
    fluss: Client,
}

impl Clients {
    async fn connect(broker: &TestBroker) -> Clients {
        Clients {
            kafka: Kafka::connect(broker.kafka()).await.expect("connected"),
            fluss: Client::connect(broker.fluss()).await,
        }
    }

    /// Makes a topic; the error code.
    async fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> i16 {
        let created = self.kafka.create_topic_with(name, partitions, configs);
        created.await.expect("an answer").error_code
    }

    /// Makes a compacted topic; its number on the Fluss wire.
    async fn compacted(&mut self, name: &str, partitions: i32, partitioner: &str) -> i64 {
        let configs = [
            ("cleanup.policy", "compact"),
            ("vltava.key.partitioner", partitioner),
        ];
        assert_eq!(self.create(name, partitions, &configs).await, 0);
        self.fluss.table_info(&topic_path(name)).await.table_id
    }

    /// Produces records to a partition: the base offset, or the error code.
    async fn try_produce(&mut self, topic: &str, partition: i32, rows: &[Row]) -> Result<i64, i16> {
        let batch = kafka_batch(rows, Codec::Lz4, None);
        let sent = self.kafka.send_batch(topic, partition, batch).await;
        sent.expect("sent");
        self.kafka.acknowledged().await.expect("an answer")
    }

    async fn produce(&mut self, topic: &str, partition: i32, rows: &[Row]) -> i64 {
        let produced = self.try_produce(topic, partition, rows).await;
        produced.unwrap_or_else(|code| panic!("{topic}: error {code}"))
    }

    /// All records of a partition.
    async fn consume(&mut self, topic: &str, partition: i32) -> Vec<(i64, Row)> {
        let mut rows = Vec::new();
        let mut offset = 0;
        loop {
            let fetched = self.kafka.fetch(topic, partition, offset, 0).await;
            let fetched = fetched.expect("an answer");
            assert_eq!(fetched.error, 0);
            if offset >= fetched.high_watermark {
                return rows;
            }
            let (some, next) = of_kafka(&fetched.records, offset);
            assert!(next > offset);
            rows.extend(some);
            offset = next;
        }
    }

    /// The values of keys, asked of one bucket.
    async fn values(&mut self, table: i64, bucket: i32, keys: &[&str]) -> Vec<Option<String>> {
        let keys = keys.iter().map(|key| encoded(key.as_bytes())).collect();
        let found = self.fluss.look_up(lookup(table, bucket, keys)).await;
        let found = found.expect("values");
        let values = found.into_iter().map(|value| Some(shown(&value?).1));
        values.collect()
    }

    /// Keys and values of all rows of a bucket, by a full scan.
    async fn scanned(&mut self, table: i64, bucket: i32) -> Vec<(String, String)> {
        let batches = self.fluss.scan_all(table, bucket, 500).await;
        batches.iter().flat_map(|batch| rows_of(batch)).collect()
    }

    /// The first rows of a bucket.
    async fn limited(&mut self, table: i64, bucket: i32, limit: i32) -> Vec<(String, String)> {
        let request = LimitScanRequest {
            table_id: table,
            bucket_id: bucket,
            limit,
            ..LimitScanRequest::default()
        };
        let answer = self.fluss.ask(request).await.expect("an answer");
        assert_eq!(answer.error_code, None, "{:?}", answer.error_message);
        assert_eq!(answer.is_log_table, Some(false));
        rows_of(answer.records.as_deref().unwrap_or_default())
    }
}

/// The path of a topic's table.
fn topic_path(topic: &str) -> PbTablePath {
    PbTablePath {
        database_name: "kafka".into(),
        table_name: topic.into(),
    }
}

/// A record; without a value a tombstone.
fn record(key: &str, value: Option<&str>, time_ms: i64) -> Row {
    Row {
        key: Some(key.as_bytes().to_vec()),
        value: value.map(|value| value.as_bytes().to_vec()),
        time_ms,
        headers: vec![("h".to_owned(), Some(b"x".to_vec()))],
    }
}

/// A key as Fluss clients encode it.
fn encoded(key: &[u8]) -> Bytes {
    let schema = raw_schema(true);
    let mut out = Vec::new();
    KeyEncoder::Compacted
        .encode(
            &[Datum::Bytes(key)],
            std::iter::once(&schema.columns[0].data_type),
            &mut out,
        )
        .expect("a key");
    out.into()
}

/// Key and value of a row.
fn shown(value: &[u8]) -> (String, String) {
    let value = Value::parse(value).expect("a value");
    let layout = RowLayout::of(KvFormat::Compacted, &raw_schema(true));
    let mut columns = Vec::new();
    layout.read(value.row, &mut columns).expect("a row");
    let text = |datum: &Datum<'_>| match datum {
        Datum::Bytes(bytes) => String::from_utf8(bytes.to_vec()).expect("text"),
        other => panic!("{other:?}"),
    };
    (text(&columns[0]), text(&columns[1]))
}

fn rows_of(records: &[u8]) -> Vec<(String, String)> {
    if records.is_empty() {
        return Vec::new();
    }
    let values = read_value_batch(records).expect("a batch of values");
    let rows = values.iter().map(|value| {
        let mut plain = Vec::new();
        value.write(&mut plain);
        shown(&plain)
    });
    rows.collect()
}
