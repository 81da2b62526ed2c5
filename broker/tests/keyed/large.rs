//! Answers that cannot be cut, beyond what a connection has of the memory and beyond what one may
//! have at all.

use bytes::Bytes;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;
use protocol::row::Datum;

use super::common::TestBroker;
use super::common::fluss::{Client, code, path};
use super::common::keyed::{Keyed, lookup, put, row};

/// Rows that were put.
const ROWS: i32 = 14;
/// Rows that fit into one answer: they have 7.7 MB, and half of the memory is 8 MiB.
const FIT: usize = 11;

struct Large {
    broker: TestBroker,
    keyed: Keyed,
    table: i64,
    keys: Vec<Bytes>,
}

impl Large {
    /// A connection's share of the memory is 2 MiB, an answer may have 8 MiB.
    async fn start() -> Large {
        let broker = TestBroker::start_with([("vltava.fetch.memory.bytes", "16777216")]).await;
        let mut client = Client::connect(broker.fluss()).await;
        let keyed = Keyed::new();
        let table = client.create_table(&path("t"), &keyed.table(1, &[])).await;
        let name = "x".repeat(700_000);
        let mut keys = Vec::new();
        for id in 0..ROWS {
            let row = row(id, &name, 0);
            keys.push(keyed.key(&row));
            let batch = keyed.upserts(None, &[row]);
            client.put(put(table, 0, batch)).await.expect("put");
        }
        Large {
            broker,
            keyed,
            table,
            keys,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(self.broker.fluss()).await
    }

    /// Entries of one request, each with these many of the keys.
    fn entries(&self, counts: &[usize]) -> LookupRequest {
        let entry = |count: &usize| PbLookupReqForBucket {
            keys: self.keys[..*count].to_vec(),
            ..PbLookupReqForBucket::default()
        };
        LookupRequest {
            buckets_req: counts.iter().map(entry).collect(),
            ..lookup(self.table, 0, Vec::new())
        }
    }

    fn scan(&self, limit: i32) -> LimitScanRequest {
        LimitScanRequest {
            table_id: self.table,
            limit,
            ..LimitScanRequest::default()
        }
    }
}

fn names_the_limit(text: Option<&str>) {
    let text = text.expect("a text");
    assert!(text.contains("8388608"), "{text}");
    assert!(text.contains("vltava.fetch.memory.bytes"), "{text}");
}

#[tokio::test]
async fn values_are_found_as_long_as_one_answer_may_have_them() {
    let large = Large::start().await;
    let mut client = large.client().await;
    // More than once: nothing of the memory is lost.
    for _ in 0..3 {
        let fit = client.look_up(lookup(large.table, 0, large.keys[..FIT].to_vec()));
        let fit = fit.await.expect("values");
        assert!(fit.iter().all(Option::is_some));
        assert_eq!(fit.len(), FIT);
        let many = large.entries(&[FIT + 1]);
        let answer = client.ask(many).await.expect("an answer");
        let [bucket] = &answer.buckets_resp[..] else {
            panic!("{} buckets", answer.buckets_resp.len());
        };
        assert_eq!(code(bucket.error_code), Some(ErrorCode::RecordTooLarge));
        names_the_limit(bucket.error_message.as_deref());
    }
    // One row, asked for often.
    let same = vec![large.keys[0].clone(); 256];
    let same = client.look_up(lookup(large.table, 0, same)).await;
    assert_eq!(same, Err(ErrorCode::RecordTooLarge));
    large.broker.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_beside_other_buckets_is_asked_for_again() {
    let large = Large::start().await;
    let mut client = large.client().await;
    let request = large.entries(&[FIT, 5, ROWS as usize, 0]);
    let answer = client.ask(request).await.expect("an answer");
    let codes: Vec<_> = answer
        .buckets_resp
        .iter()
        .map(|bucket| code(bucket.error_code))
        .collect();
    // Clients retry timeouts, with what is not answered.
    let retried = Some(ErrorCode::RequestTimeOut);
    assert_eq!(codes, [None, retried, retried, None]);
    let rest = large.entries(&[5, ROWS as usize]);
    let answer = client.ask(rest).await.expect("an answer");
    assert_eq!(answer.buckets_resp[0].values.len(), 5);
    assert_eq!(code(answer.buckets_resp[1].error_code), retried);
    let last = large.entries(&[ROWS as usize]);
    let answer = client.ask(last).await.expect("an answer");
    let refused = code(answer.buckets_resp[0].error_code);
    assert_eq!(refused, Some(ErrorCode::RecordTooLarge));
    large.broker.stop().await;
}

#[tokio::test]
async fn large_answers_wait_for_each_other() {
    let large = Large::start().await;
    let asked = (0..6).map(|at| {
        let (address, table) = (large.broker.fluss(), large.table);
        let keys = large.keys[..FIT].to_vec();
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            match at % 2 {
                0 => {
                    let found = client.look_up(lookup(table, 0, keys)).await;
                    found.expect("values").len()
                }
                _ => {
                    let scan = LimitScanRequest {
                        table_id: table,
                        limit: FIT as i32,
                        ..LimitScanRequest::default()
                    };
                    let found = client.ask(scan).await.expect("rows");
                    found.records.expect("a batch").len() / 700_000
                }
            }
        })
    });
    for found in futures::future::join_all(asked).await {
        assert_eq!(found.expect("answered"), FIT);
    }
    large.broker.stop().await;
}

#[tokio::test]
async fn a_limit_scan_has_all_rows_or_fails() {
    let large = Large::start().await;
    let mut client = large.client().await;
    for limit in [1, FIT] {
        let found = client.ask(large.scan(limit as i32)).await.expect("rows");
        let records = found.records.expect("a batch");
        assert_eq!(large.keyed.shown_batch(&records).len(), limit);
    }
    let refused = client.ask(large.scan(ROWS)).await.expect_err("too large");
    assert_eq!(
        code(Some(refused.error_code)),
        Some(ErrorCode::RecordTooLarge)
    );
    names_the_limit(refused.error_message.as_deref());
    let missing = LimitScanRequest {
        bucket_id: 9,
        ..large.scan(1)
    };
    let missing = client.refusal(missing).await;
    assert_eq!(missing, ErrorCode::UnknownTableOrBucket);
    large.broker.stop().await;
}

#[tokio::test]
async fn many_small_rows_are_all_scanned_and_looked_up() {
    let broker = TestBroker::start_with([("vltava.fetch.memory.bytes", "16777216")]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(1, &[])).await;
    let mut keys = Vec::new();
    let name = "x".repeat(300);
    for from in (0..12_000).step_by(1_000) {
        let rows: Vec<Vec<Datum<'_>>> = (from..from + 1_000).map(|id| row(id, &name, 0)).collect();
        keys.extend(rows.iter().map(|row| keyed.key(row)));
        let batch = keyed.upserts(None, &rows);
        client.put(put(table, 0, batch)).await.expect("put");
    }
    let scan = LimitScanRequest {
        table_id: table,
        limit: 11_999,
        ..LimitScanRequest::default()
    };
    let found = client.ask(scan).await.expect("rows");
    let shown = keyed.shown_batch(&found.records.expect("a batch"));
    assert_eq!(shown.len(), 11_999);
    let found = client.look_up(lookup(table, 0, keys)).await;
    let found = found.expect("values");
    assert_eq!(found.iter().flatten().count(), 12_000);
    broker.stop().await;
}
