//! Readers of either wire: record numbers by offset.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use arrow_array::Int32Array;
use bytes::Bytes;
use protocol::batch::BatchFormat;
use protocol::columnar::Decoder;
use protocol::fluss::batch::Batches;

use crate::common::fluss::{Client, fetch, schema};
use crate::common::kafka_peer::Kafka;
use crate::common::records::{Row, of_fluss, of_kafka};
use crate::{Table, Wire};

/// Answers without a record, below the high watermark, after which a reader is stuck.
const EMPTY_ANSWERS_MAX: usize = 50;

/// A reader's place, across the broker's lives.
pub(crate) struct Reader {
    pub(crate) wire: Wire,
    pub(crate) next: i64,
    pub(crate) table: Table,
}

enum Connection {
    Kafka(Kafka),
    Fluss(Box<Client>),
}

/// Records with their offsets, where to go on, and the high watermark.
type Answer = (Vec<(i64, i64)>, i64, i64);

impl Connection {
    async fn open(wire: Wire, kafka: SocketAddr, fluss: SocketAddr) -> io::Result<Connection> {
        Ok(match wire {
            Wire::Kafka => Connection::Kafka(Kafka::connect(kafka).await?),
            Wire::Fluss => Connection::Fluss(Box::new(Client::try_connect(fluss).await?)),
        })
    }

    async fn read(&mut self, table: &Table, from: i64, wait_ms: i32) -> io::Result<Answer> {
        match self {
            Connection::Kafka(kafka) => {
                let answer = kafka.fetch(&table.topic, 0, from, wait_ms).await?;
                assert_eq!(answer.error, 0, "{} at {from}: {answer:?}", table.topic);
                let (rows, next) = of_kafka(&answer.records, from);
                let records = rows
                    .iter()
                    .map(|(offset, row)| (*offset, number(table, row)));
                Ok((records.collect(), next, answer.high_watermark))
            }
            Connection::Fluss(fluss) => {
                let answer = fluss.try_ask(fetch(table.id, 0, from, wait_ms)).await?;
                let bucket = &answer.tables_resp[0].buckets_resp[0];
                assert_eq!(
                    bucket.error_code, None,
                    "{} at {from}: {bucket:?}",
                    table.topic
                );
                let bytes = bucket.records.clone().unwrap_or_default();
                let (records, next) = if table.raw {
                    let (rows, next) = of_fluss(bytes, from);
                    let records = rows
                        .iter()
                        .map(|(offset, row)| (*offset, number(table, row)));
                    (records.collect(), next)
                } else {
                    ids_of(bytes, from)
                };
                Ok((records, next, bucket.high_watermark.expect("a watermark")))
            }
        }
    }
}

/// The record's number, which is the value or stands in its JSON.
fn number(table: &Table, row: &Row) -> i64 {
    let value = row.value.as_deref().expect("a value");
    if table.raw {
        let text = std::str::from_utf8(value).expect("text");
        return text.parse().expect("a number");
    }
    let row: serde_json::Value = serde_json::from_slice(value).expect("JSON");
    row["id"].as_i64().expect("an id")
}

/// The ids of a table with columns.
fn ids_of(records: Bytes, from: i64) -> (Vec<(i64, i64)>, i64) {
    let (mut found, mut next) = (Vec::new(), from);
    for batch in Batches::new(records) {
        let Ok(batch) = batch else { break };
        let base = batch.header().base_offset();
        next = batch.last_offset() + 1;
        let rows = Decoder::default()
            .decode(&batch, BatchFormat::FlussArrow, &schema(), None)
            .expect("a sound batch")
            .rows;
        let ids = rows.column(0).as_any().downcast_ref::<Int32Array>();
        let ids = ids.expect("INT").values().iter();
        found.extend((base..).zip(ids.map(|id| i64::from(*id))));
    }
    found.retain(|(offset, _)| *offset >= from);
    (found, next)
}

/// Reads on until the broker is gone. Returns what it saw.
pub(crate) async fn follow(
    mut reader: Reader,
    kafka: SocketAddr,
    fluss: SocketAddr,
) -> (Reader, Vec<(i64, i64)>) {
    let mut saw = Vec::new();
    if let Ok(mut connection) = Connection::open(reader.wire, kafka, fluss).await {
        while let Ok((records, next, watermark)) =
            connection.read(&reader.table, reader.next, 100).await
        {
            assert!(next <= watermark, "read to {next}, past {watermark}");
            saw.extend(records);
            reader.next = next;
        }
    }
    (reader, saw)
}

/// Reads everything there is.
pub(crate) async fn read_all(
    wire: Wire,
    table: &Table,
    kafka: SocketAddr,
    fluss: SocketAddr,
) -> BTreeMap<i64, i64> {
    let connection = Connection::open(wire, kafka, fluss).await;
    let mut connection = connection.expect("the broker is there");
    let (mut found, mut from, mut empty) = (BTreeMap::new(), 0, 0);
    loop {
        let answer = connection.read(table, from, 0).await;
        let (records, next, watermark) = answer.expect("the broker is there");
        found.extend(records);
        if next >= watermark {
            return found;
        }
        empty = if next > from { 0 } else { empty + 1 };
        assert!(
            empty < EMPTY_ANSWERS_MAX,
            "{wire:?} is stuck at {from} of {watermark}"
        );
        from = next;
    }
}
