use std::collections::BTreeMap;

use protocol::fluss::error::ErrorCode;
use protocol::kafka::partitioner::KeyPartitioner;

use super::*;
use crate::common::fluss::code;

const PARTITIONS: i32 = 3;
const FUNCTIONS: [KeyPartitioner; 3] = [
    KeyPartitioner::Murmur2,
    KeyPartitioner::Crc32,
    KeyPartitioner::Fnv1a,
];

/// Writes keys with each function in turn, deletes some, and returns what each key has then.
async fn fill(clients: &mut Clients, topic: &str) -> BTreeMap<String, Option<String>> {
    let mut model = BTreeMap::new();
    let mut time_ms = 1_700_000_000_000;
    for round in 0..6 {
        let function = FUNCTIONS[round % FUNCTIONS.len()];
        for number in (0..60).filter(|number| number % (round + 1) == 0) {
            let key = format!("key-{number}");
            let value = (number % 7 != round).then(|| format!("{round}-{number}"));
            let partition = function.partition(key.as_bytes(), PARTITIONS);
            // Of one millisecond the later record counts.
            time_ms += 1;
            let row = record(&key, value.as_deref(), time_ms);
            let partition = partition.expect("keys have partitions");
            clients.produce(topic, partition, &[row]).await;
            model.insert(key, value);
        }
    }
    model
}

async fn check(clients: &mut Clients, table: i64, model: &BTreeMap<String, Option<String>>) {
    let keys: Vec<&str> = model.keys().map(String::as_str).collect();
    let values: Vec<_> = model.values().cloned().collect();
    for bucket in 0..PARTITIONS {
        // Clients choose the bucket with their own hash: any may be asked.
        assert_eq!(clients.values(table, bucket, &keys).await, values);
    }
    let mut scanned = Vec::new();
    for bucket in 0..PARTITIONS {
        let rows = clients.scanned(table, bucket).await;
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(clients.limited(table, bucket, 1000).await, rows);
        assert_eq!(
            clients.limited(table, bucket, 2).await,
            rows[..2.min(rows.len())]
        );
        scanned.extend(rows);
    }
    scanned.sort();
    let live = model
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
    assert_eq!(scanned, live.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_found_with_its_newest_value_whatever_function_chose_its_partition() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    let table = clients.compacted("all", PARTITIONS, "probe").await;
    let model = fill(&mut clients, "all").await;
    check(&mut clients, table, &model).await;
    let broker = broker.restart().await;
    let mut clients = Clients::connect(&broker).await;
    check(&mut clients, table, &model).await;
    let stats = GetTableStatsRequest {
        table_id: table,
        buckets_req: vec![PbTableStatsReqForBucket::default()],
        ..GetTableStatsRequest::default()
    };
    let stats = clients.fluss.ask(stats).await.expect("an answer");
    let refused = code(stats.buckets_resp[0].error_code);
    assert_eq!(refused, Some(ErrorCode::InvalidTable));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_function_finds_what_its_producers_wrote() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    for (name, function) in [
        ("murmur2", KeyPartitioner::Murmur2),
        ("crc32", KeyPartitioner::Crc32),
        ("fnv1a", KeyPartitioner::Fnv1a),
    ] {
        let table = clients.compacted(name, PARTITIONS, name).await;
        let mut model = BTreeMap::new();
        for number in 0..40 {
            let key = number.to_string();
            let partition = function.partition(key.as_bytes(), PARTITIONS);
            let partition = partition.expect("keys have partitions");
            let row = record(&key, Some(name), 1);
            clients.produce(name, partition, &[row]).await;
            // What another producer puts elsewhere is not asked for.
            let astray = record(&key, Some("astray"), 2);
            let elsewhere = (partition + 1) % PARTITIONS;
            clients.produce(name, elsewhere, &[astray]).await;
            model.insert(key, Some(name.to_owned()));
        }
        check(&mut clients, table, &model).await;
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_and_inserts_of_keys_are_refused() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    let table = clients.compacted("t", 1, "probe").await;
    let prefix = PrefixLookupRequest {
        table_id: table,
        buckets_req: vec![PbPrefixLookupReqForBucket {
            keys: vec![encoded(b"k")],
            ..PbPrefixLookupReqForBucket::default()
        }],
    };
    let answer = clients.fluss.ask(prefix).await.expect("an answer");
    let refused = code(answer.buckets_resp[0].error_code);
    assert_eq!(refused, Some(ErrorCode::InvalidTable));
    let insert = LookupRequest {
        insert_if_not_exists: Some(true),
        acks: Some(-1),
        timeout_ms: Some(1000),
        ..lookup(table, 0, vec![encoded(b"k")])
    };
    let refused = clients.fluss.look_up(insert).await;
    assert_eq!(refused, Err(ErrorCode::InvalidTable));
    let malformed = lookup(table, 0, vec![Bytes::from_static(b"\xff")]);
    let refused = clients.fluss.look_up(malformed).await;
    assert_eq!(refused, Err(ErrorCode::CorruptRecord));
    broker.stop().await;
}
