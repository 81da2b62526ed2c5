//! Lookups that insert what they do not find, and the numbers of auto-increment columns.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::join_all;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;
use protocol::row::Datum;
use protocol::schema::TypeKind;

use super::common::TestBroker;
use super::common::fluss::{Client, code, path};
use super::common::keyed::{Keyed, lookup, put};

/// `name STRING` is the key, `id` is counted.
fn dictionary() -> Keyed {
    let columns = [("name", TypeKind::String), ("id", TypeKind::Int)];
    Keyed::of(&columns, &["name"]).counting("id")
}

fn insert(table: i64, bucket: i32, keys: Vec<Bytes>) -> LookupRequest {
    LookupRequest {
        insert_if_not_exists: Some(true),
        acks: Some(1),
        timeout_ms: Some(30_000),
        ..lookup(table, bucket, keys)
    }
}

fn word(word: &str) -> Vec<Datum<'_>> {
    vec![Datum::String(word), Datum::Null]
}

#[tokio::test]
async fn missing_keys_are_inserted_once_with_numbers_of_their_own() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let words = dictionary();
    let small_ranges = [("table.auto-increment.cache-size", "3")];
    let table = client
        .create_table(&path("words"), &words.table(2, &small_ranges))
        .await;
    let mut ids = BTreeSet::new();
    let of = async |client: &mut Client, bucket, names: &[&str]| {
        let keys = names.iter().map(|name| words.key(&word(name))).collect();
        let found = client.look_up(insert(table, bucket, keys)).await;
        let shown = found.expect("values").into_iter();
        let shown: Vec<_> = shown.map(|v| words.shown(&v.expect("inserted"))).collect();
        let number = |row: &String| row.split('|').nth(1).expect("a number").parse::<i32>();
        let numbers = shown.iter().map(|row| number(row).expect("a number"));
        numbers.collect::<Vec<_>>()
    };
    // A key that is asked for twice is one.
    let first = of(&mut client, 0, &["a", "b", "a", "c", "d"]).await;
    assert_eq!(first[0], first[2]);
    ids.extend(&first);
    assert_eq!(ids.len(), 4);
    assert_eq!(
        of(&mut client, 0, &["d", "c", "b", "a"]).await,
        [first[4], first[3], first[1], first[0]]
    );
    // Another bucket counts on from another range.
    ids.extend(of(&mut client, 1, &["e", "f"]).await);
    assert_eq!(ids.len(), 6);
    assert!(ids.iter().all(|id| *id >= 1), "{ids:?}");
    let mut broker = broker;
    for (round, fresh) in [["g", "h"], ["i", "j"]].into_iter().enumerate() {
        broker = broker.restart().await;
        let mut client = Client::connect(broker.fluss()).await;
        assert_eq!(of(&mut client, 0, &["a"]).await, [first[0]]);
        ids.extend(of(&mut client, 0, &fresh).await);
        assert_eq!(
            ids.len(),
            8 + 2 * round,
            "a restart hands no number out again"
        );
    }
    broker.stop().await;
}

#[tokio::test]
async fn what_cannot_be_inserted_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let words = dictionary();
    let table = client
        .create_table(&path("words"), &words.table(1, &[]))
        .await;
    let key = words.key(&word("a"));
    let found = client.look_up(lookup(table, 0, vec![key.clone()])).await;
    assert_eq!(found, Ok(vec![None]), "an ordinary lookup inserts nothing");
    let without_acks = LookupRequest {
        acks: None,
        ..insert(table, 0, vec![key.clone()])
    };
    assert_eq!(
        client.refusal(without_acks).await,
        ErrorCode::InvalidRequiredAcks
    );
    let wrong_acks = LookupRequest {
        acks: Some(9),
        ..insert(table, 0, vec![key.clone()])
    };
    assert_eq!(
        client.refusal(wrong_acks).await,
        ErrorCode::InvalidRequiredAcks
    );
    let no_key = vec![Bytes::from_static(b"\xff\xff")];
    let found = client.look_up(insert(table, 0, no_key)).await;
    assert_eq!(found, Err(ErrorCode::CorruptRecord));
    // Writers leave the column to the server.
    let row = vec![Datum::String("a"), Datum::Int(7)];
    let full = put(table, 0, words.upserts(None, &[row]));
    assert_eq!(
        client.put(full.clone()).await,
        Err(ErrorCode::InvalidTargetColumn)
    );
    let partial = PutKvRequest {
        target_columns: vec![0],
        ..full
    };
    client.put(partial).await.expect("put");
    let found = client
        .look_up(lookup(table, 0, vec![key]))
        .await
        .expect("values");
    assert_eq!(words.shown(found[0].as_ref().expect("a row")), "a|1");
    broker.stop().await;
}

#[tokio::test]
async fn rows_of_a_partition_get_its_values() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let columns = [
        ("day", TypeKind::Date),
        ("id", TypeKind::Int),
        ("name", TypeKind::String),
    ];
    let days = Keyed::of(&columns, &["day", "id"]).partitioned_by("day");
    let table = client
        .create_table(&path("days"), &days.table(1, &[]))
        .await;
    let create = CreatePartitionRequest {
        table_path: path("days"),
        partition_spec: PbPartitionSpec {
            partition_key_values: vec![PbKeyValue {
                key: "day".into(),
                value: "2023-11-14".into(),
            }],
        },
        ignore_if_not_exists: false,
    };
    client.ask(create).await.expect("made");
    let list = ListPartitionInfosRequest {
        table_path: path("days"),
        ..ListPartitionInfosRequest::default()
    };
    let partition = client.ask(list).await.expect("a list").partitions_info[0].partition_id;
    let row = |id, name| vec![Datum::Date(19_675), Datum::Int(id), Datum::String(name)];
    let mut request = put(table, 0, days.upserts(None, &[row(1, "one")]));
    // A partitioned table has no buckets of its own.
    assert_eq!(
        client.put(request.clone()).await,
        Err(ErrorCode::UnknownTableOrBucket)
    );
    request.buckets_req[0].partition_id = Some(partition);
    request.buckets_req[0].routing_bucket_count = Some(1);
    client.put(request).await.expect("put");
    let keys = vec![days.key(&row(1, "")), days.key(&row(2, ""))];
    let mut request = insert(table, 0, keys);
    request.buckets_req[0].partition_id = Some(partition);
    let answer = client.ask(request).await.expect("an answer");
    let bucket = &answer.buckets_resp[0];
    assert_eq!(
        (bucket.partition_id, code(bucket.error_code)),
        (Some(partition), None)
    );
    let shown: Vec<_> = bucket
        .values
        .iter()
        .map(|value| days.shown(value.values.as_ref().expect("a row")))
        .collect();
    assert_eq!(shown, ["Date(19675)|1|one", "Date(19675)|2|-"]);
    broker.stop().await;
}

#[tokio::test]
async fn inserts_wait_for_as_many_replicas_as_puts_do() {
    let broker = TestBroker::start_with([("min.insync.replicas", "2")]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let words = dictionary();
    let table = client
        .create_table(&path("words"), &words.table(1, &[]))
        .await;
    let key = words.key(&word("a"));
    let of_all = LookupRequest {
        acks: Some(-1),
        ..insert(table, 0, vec![key.clone()])
    };
    let refused = client.look_up(of_all.clone()).await;
    assert_eq!(refused, Err(ErrorCode::NotEnoughReplicas));
    let found = client.look_up(lookup(table, 0, vec![key.clone()])).await;
    assert_eq!(found, Ok(vec![None]));
    let of_one = client.look_up(insert(table, 0, vec![key])).await;
    assert!(of_one.expect("values")[0].is_some());
    // Nothing is missing now.
    let found = client.look_up(of_all).await;
    assert!(found.expect("values")[0].is_some());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_bucket_refuses_inserts_with_a_code_that_all_clients_retry() {
    // While anything waits for the bucket, everything else is refused.
    let broker = TestBroker::start_with([("vltava.kv.queue.bytes", "1")]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let words = dictionary();
    let table = client
        .create_table(&path("words"), &words.table(1, &[]))
        .await;
    let mut codes = BTreeSet::new();
    for round in 0.. {
        let ask = async |number: i32| {
            let mut client = Client::connect(broker.fluss()).await;
            let name = format!("{round}-{number}");
            let request = LookupRequest {
                acks: Some(-1),
                ..insert(table, 0, vec![dictionary().key(&word(&name))])
            };
            client.look_up(request).await.err().map(ErrorCode::code)
        };
        codes.extend(join_all((0..16).map(ask)).await.into_iter().flatten());
        if !codes.is_empty() {
            break;
        }
    }
    assert_eq!(codes, BTreeSet::from([ErrorCode::KvStorage.code()]));
    broker.stop().await;
}
