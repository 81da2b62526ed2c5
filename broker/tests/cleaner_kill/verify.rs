//! What must hold of the topic.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::key::KeyEncoder;
use protocol::fluss::options::KvFormat;
use protocol::fluss::value::{Value, read_value_batch};
use protocol::raw::raw_schema;
use protocol::row::{Datum, RowLayout};

use crate::PARTITIONS;
use crate::common::fluss::Client;
use crate::common::kafka_peer::Kafka;
use crate::common::keyed::lookup;
use crate::common::records::of_kafka;
use crate::model::Model;

const KEYS_PER_LOOKUP: usize = 500;
const SCAN_BYTES: i32 = 1 << 20;

/// What a clean log has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) records: usize,
    pub(crate) tombstones: usize,
}

/// Reads a partition from the start, and gives the number of each record to `see`. Every one is
/// where it was written. An error says that the broker is gone.
pub(crate) async fn read(
    model: &Model,
    partition: usize,
    address: SocketAddr,
    mut see: impl FnMut(usize),
) -> io::Result<()> {
    let mut kafka = Kafka::connect(address).await?;
    let mut at = 0;
    loop {
        let fetched = kafka.fetch(model.topic, partition as i32, at, 0).await?;
        assert_eq!(fetched.error, 0);
        if at >= fetched.high_watermark {
            return Ok(());
        }
        let (rows, next) = of_kafka(&fetched.records, at);
        assert!(next > at, "a reader below the end gets on");
        for (offset, row) in &rows {
            see(model.check(partition, *offset, row));
        }
        at = next;
    }
}

/// Asserts that each partition has the last record of each key and no other; tombstones may have
/// gone.
pub(crate) async fn clean(model: &Model, address: SocketAddr) -> Left {
    let mut left = Left::default();
    for partition in 0..PARTITIONS {
        let mut found = vec![false; model.all_keys().len()];
        let read = read(model, partition, address, |number| {
            let key = model.key(number);
            assert_eq!(model.last(partition, key), Some(number), "key {key}");
            assert!(!std::mem::replace(&mut found[key], true), "key {key}");
            left.records += 1;
            left.tombstones += usize::from(model.is_tombstone(number));
        });
        read.await.expect("the broker is there");
        for (key, found) in found.into_iter().enumerate() {
            let last = model.last(partition, key);
            let lost = !found && last.is_some_and(|number| !model.is_tombstone(number));
            assert!(!lost, "partition {partition}: key {key} lost {last:?}");
        }
    }
    left
}

/// Asserts that lookups and scans of the table find the newest value of each key.
pub(crate) async fn table(model: &Model, address: SocketAddr) {
    let mut fluss = Client::connect(address).await;
    let keys: Vec<usize> = model.all_keys().collect();
    for (number, keys) in keys.chunks(KEYS_PER_LOOKUP).enumerate() {
        // Producers choose partitions with their own hash: any bucket may be asked.
        let bucket = (number % PARTITIONS) as i32;
        let asked = keys.iter().map(|key| encoded(&Model::name(*key))).collect();
        let request = lookup(model.table, bucket, asked);
        // An index that has much to follow answers later.
        let values = loop {
            match fluss.look_up(request.clone()).await {
                Err(ErrorCode::RequestTimeOut) => {}
                values => break values.expect("values"),
            }
        };
        for (key, value) in keys.iter().zip(values) {
            let found = value.map(|value| row(&value));
            let expected = model.newest(*key).map(|value| (Model::name(*key), value));
            assert_eq!(found, expected, "key {key}");
        }
    }
    let mut scanned = HashMap::new();
    for bucket in 0..PARTITIONS {
        for (key, value) in scan(&mut fluss, model.table, bucket as i32).await {
            let before = scanned.insert(key.clone(), value);
            assert!(before.is_none(), "{key:?} is in two buckets");
        }
    }
    for key in model.all_keys() {
        assert_eq!(
            scanned.remove(&Model::name(key)),
            model.newest(key),
            "key {key}"
        );
    }
    assert!(scanned.is_empty(), "{:?}", scanned.iter().next());
}

/// Keys and values of all rows of a bucket.
async fn scan(fluss: &mut Client, table: i64, bucket: i32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    for records in fluss.scan_all(table, bucket, SCAN_BYTES).await {
        let values = read_value_batch(&records).expect("a batch of values");
        rows.extend(values.iter().map(|value| {
            let mut plain = Vec::new();
            value.write(&mut plain);
            row(&plain)
        }));
    }
    rows
}

/// A key as Fluss clients encode it.
fn encoded(key: &[u8]) -> Bytes {
    let schema = raw_schema(true);
    let types = std::iter::once(&schema.columns[0].data_type);
    let mut out = Vec::new();
    let encoded = KeyEncoder::Compacted.encode(&[Datum::Bytes(key)], types, &mut out);
    encoded.expect("a key");
    out.into()
}

/// Key and value of a row.
fn row(value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let value = Value::parse(value).expect("a value");
    let layout = RowLayout::of(KvFormat::Compacted, &raw_schema(true));
    let mut columns = Vec::new();
    layout.read(value.row, &mut columns).expect("a row");
    let bytes = |datum: &Datum<'_>| match datum {
        Datum::Bytes(bytes) => bytes.to_vec(),
        other => panic!("{other:?}"),
    };
    (bytes(&columns[0]), bytes(&columns[1]))
}
