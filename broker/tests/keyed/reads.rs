//! LOOKUP, PREFIX_LOOKUP, LIMIT_SCAN and row counts.

use bytes::Bytes;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;
use protocol::row::Datum;
use protocol::schema::TypeKind;

use super::common::TestBroker;
use super::common::fluss::{Client, code, log_table, path};
use super::common::keyed::{Keyed, lookup, put, row};

#[tokio::test]
async fn keys_are_looked_up_bucket_by_bucket() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(3, &[])).await;
    let log = client.create_table(&path("log"), &log_table(1)).await;
    for bucket in 0..2 {
        let rows: Vec<_> = (0..600)
            .map(|id| row(id, "row", i64::from(bucket)))
            .collect();
        let batch = keyed.upserts(None, &rows);
        client.put(put(table, bucket, batch)).await.expect("put");
    }
    let keys: Vec<_> = (0..700).map(|id| keyed.key(&row(id, "", 0))).collect();
    let bucket = |bucket_id, keys: &[Bytes]| PbLookupReqForBucket {
        bucket_id,
        keys: keys.to_vec(),
        ..PbLookupReqForBucket::default()
    };
    let request = LookupRequest {
        buckets_req: vec![
            bucket(1, &keys),
            bucket(9, &keys[..1]),
            bucket(0, &keys[599..601]),
            bucket(2, &[]),
        ],
        ..lookup(table, 0, Vec::new())
    };
    let answer = client.ask(request).await.expect("an answer");
    let [one, none, zero, empty] = &answer.buckets_resp[..] else {
        panic!("{} buckets", answer.buckets_resp.len());
    };
    assert_eq!((one.bucket_id, one.values.len()), (1, 700));
    for (id, value) in (0..).zip(&one.values) {
        match &value.values {
            Some(value) => assert_eq!(keyed.shown(value), format!("{id}|row|1")),
            None => assert!(id >= 600, "{id}"),
        }
    }
    assert!(one.values[600].values.is_none());
    assert_eq!(code(none.error_code), Some(ErrorCode::UnknownTableOrBucket));
    let shown = keyed.shown(zero.values[0].values.as_ref().expect("a row"));
    assert_eq!(
        (shown.as_str(), &zero.values[1].values),
        ("599|row|0", &None)
    );
    assert_eq!((empty.error_code, empty.values.len()), (None, 0));
    let keyless = client.look_up(lookup(log, 0, keys[..1].to_vec())).await;
    assert_eq!(keyless, Err(ErrorCode::NonPrimaryKeyTable));
    let mut misrouted = lookup(table, 0, keys[..1].to_vec());
    misrouted.buckets_req[0].routing_bucket_count = Some(2);
    let misrouted = client.look_up(misrouted).await;
    assert_eq!(misrouted, Err(ErrorCode::InvalidBucketRouting));
    broker.stop().await;
}

#[tokio::test]
async fn rows_are_found_by_the_columns_that_choose_their_bucket() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let columns = [
        ("user", TypeKind::String),
        ("item", TypeKind::Int),
        ("n", TypeKind::BigInt),
    ];
    let carts = Keyed::of(&columns, &["user", "item"]);
    let mut described = carts.table(1, &[]);
    described.bucket_keys = vec!["user".into()];
    let table = client.create_table(&path("carts"), &described).await;
    let row = |user, item, n| vec![Datum::String(user), Datum::Int(item), Datum::BigInt(n)];
    let rows = [
        row("ann", 3, 30),
        row("ann", 1, 10),
        row("anna", 1, 11),
        row("bob", 2, 20),
    ];
    let batch = carts.upserts(None, &rows);
    client.put(put(table, 0, batch)).await.expect("put");
    let request = |bucket_id, users: &[&'static str]| PrefixLookupRequest {
        table_id: table,
        buckets_req: vec![PbPrefixLookupReqForBucket {
            bucket_id,
            keys: users
                .iter()
                .map(|user| carts.prefix(&[Datum::String(user)]))
                .collect(),
            ..PbPrefixLookupReqForBucket::default()
        }],
    };
    let answer = client
        .ask(request(0, &["bob", "eve", "ann"]))
        .await
        .expect("an answer");
    let lists: Vec<Vec<_>> = answer.buckets_resp[0]
        .value_lists
        .iter()
        .map(|list| list.values.iter().map(|value| carts.shown(value)).collect())
        .collect();
    let expected = [vec!["bob|2|20"], vec![], vec!["ann|1|10", "ann|3|30"]];
    assert_eq!(lists, expected);
    // More rows than a lookup is given memory for at first.
    let name = "x".repeat(1_000);
    let columns = [
        ("user", TypeKind::String),
        ("item", TypeKind::Int),
        ("n", TypeKind::String),
    ];
    let large = Keyed::of(&columns, &["user", "item"]);
    let mut described = large.table(1, &[]);
    described.bucket_keys = vec!["user".into()];
    let table = client.create_table(&path("large"), &described).await;
    let rows: Vec<_> = (0..300)
        .map(|item| vec![Datum::String("ann"), Datum::Int(item), Datum::String(&name)])
        .collect();
    client
        .put(put(table, 0, large.upserts(None, &rows)))
        .await
        .expect("put");
    let whole = PrefixLookupRequest {
        table_id: table,
        ..request(0, &["ann"])
    };
    let answer = client.ask(whole).await.expect("an answer");
    assert_eq!(answer.buckets_resp[0].value_lists[0].values.len(), 300);
    let answer = client.ask(request(1, &["ann"])).await.expect("an answer");
    let refused = code(answer.buckets_resp[0].error_code);
    assert_eq!(refused, Some(ErrorCode::UnknownTableOrBucket));
    broker.stop().await;
}

#[tokio::test]
async fn the_first_rows_by_key_are_scanned_and_live_rows_counted() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(1, &[])).await;
    let described = keyed.table(1, &[("table.changelog.image", "WAL")]);
    let wal = client.create_table(&path("wal"), &described).await;
    let scan = |limit| LimitScanRequest {
        table_id: table,
        limit,
        ..LimitScanRequest::default()
    };
    let empty = client.ask(scan(10)).await.expect("an answer");
    assert_eq!(empty.is_log_table, Some(false));
    assert!(
        keyed
            .shown_batch(&empty.records.expect("a batch"))
            .is_empty()
    );
    let mut changes: Vec<_> = (0..10).rev().map(|id| (row(id, "row", 0), false)).collect();
    changes.push((row(4, "", 0), true));
    let batch = keyed.changes(None, &changes);
    client.put(put(table, 0, batch.clone())).await.expect("put");
    client.put(put(wal, 0, batch)).await.expect("put");
    let found = client.ask(scan(6)).await.expect("an answer");
    let shown = keyed.shown_batch(&found.records.expect("a batch"));
    assert_eq!(shown, [0, 1, 2, 3, 5, 6].map(|id| format!("{id}|row|0")));
    let stats = |table_id| GetTableStatsRequest {
        table_id,
        buckets_req: vec![PbTableStatsReqForBucket::default()],
        ..GetTableStatsRequest::default()
    };
    let counted = client.ask(stats(table)).await.expect("an answer");
    assert_eq!(counted.buckets_resp[0].row_count, Some(9));
    let uncounted = client.ask(stats(wal)).await.expect("an answer");
    let refused = code(uncounted.buckets_resp[0].error_code);
    assert_eq!(refused, Some(ErrorCode::InvalidTable));
    broker.stop().await;
}
