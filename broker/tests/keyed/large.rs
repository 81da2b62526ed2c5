//! Answers that cannot be cut, beyond what a connection has of the memory and beyond what one may
//! have at all.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prost::Message;
use protocol::fluss::api::Request;
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
        Large::start_with(1).await
    }

    /// The same with so many buckets, of which the first has the rows.
    async fn start_with(buckets: i32) -> Large {
        let broker = TestBroker::start_with([("vltava.fetch.memory.bytes", "16777216")]).await;
        let mut client = Client::connect(broker.fluss()).await;
        let keyed = Keyed::new();
        let table = client
            .create_table(&path("t"), &keyed.table(buckets, &[]))
            .await;
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
    // Two that fit, but not together, one that never does, and one that always does. Which is first
    // is another one each time.
    let counts = [FIT, FIT, ROWS as usize, 0];
    let mut seen = [const { Vec::new() }; 4];
    for _ in 0..10 {
        let answer = client.ask(large.entries(&counts)).await;
        let buckets = answer.expect("an answer").buckets_resp;
        assert_eq!(buckets.len(), counts.len());
        for (at, bucket) in buckets.iter().enumerate() {
            let code = code(bucket.error_code);
            if code.is_none() {
                // The answers are in the order of the request.
                assert_eq!(bucket.values.len(), counts[at]);
            }
            seen[at].push(code);
        }
        let fit = buckets[..2].iter().filter(|b| b.error_code.is_none());
        assert!(fit.count() <= 1);
    }
    // Clients retry timeouts, with what is not answered.
    let retried = Some(ErrorCode::RequestTimeOut);
    let refused = Some(ErrorCode::RecordTooLarge);
    assert!(
        seen[..2].iter().all(|codes| codes.contains(&None)),
        "{seen:?}"
    );
    let [first, second, never, always] = seen;
    let fits = |code: &Option<ErrorCode>| [None, retried].contains(code);
    assert!(
        first.iter().chain(&second).all(fits),
        "{first:?} {second:?}"
    );
    assert!(
        never.contains(&refused) && never.contains(&retried),
        "{never:?}"
    );
    assert!(!never.contains(&None), "{never:?}");
    assert!(always.iter().all(Option::is_none), "{always:?}");
    large.broker.stop().await;
}

#[tokio::test]
async fn what_fits_beside_none_is_refused_whatever_small_ones_are_before() {
    let large = Large::start().await;
    let mut client = large.client().await;
    let small = {
        let row = row(1_000, "small", 0);
        let batch = large.keyed.upserts(None, std::slice::from_ref(&row));
        client.put(put(large.table, 0, batch)).await.expect("put");
        large.keyed.key(&row)
    };
    for _ in 0..4 {
        let mut request = large.entries(&[1, ROWS as usize]);
        request.buckets_req[0].keys = vec![small.clone()];
        let buckets = client.ask(request).await.expect("an answer").buckets_resp;
        assert_eq!(code(buckets[0].error_code), None);
        let refused = code(buckets[1].error_code);
        assert_eq!(refused, Some(ErrorCode::RecordTooLarge));
    }
    large.broker.stop().await;
}

/// The indexes of the buckets that were opened, in their order.
fn indexes(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut unseen = vec![data.to_owned()];
    while let Some(directory) = unseen.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                unseen.push(path);
            } else if path.ends_with("kv/CURRENT") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_index_holds_no_memory_and_no_turn() {
    let large = Large::start_with(2).await;
    let mut client = large.client().await;
    let key = large.keys[..1].to_vec();
    let missing = client.look_up(lookup(large.table, 1, key)).await;
    assert_eq!(missing, Ok(vec![None]));
    let data = PathBuf::from(&large.broker.settings()["data.dir"]);
    let found = indexes(&data);
    let [_, current] = &found[..] else {
        panic!("{found:?}");
    };
    // RocksDB waits for what another process, here the test, has to say.
    let text = Arc::new(OnceLock::new());
    let large = {
        let (current, text) = (current.clone(), Arc::clone(&text));
        let restart = large.broker.restart_after(move || {
            text.set(fs::read(&current).expect("read")).expect("once");
            fs::remove_file(&current).expect("removed");
            let pipe = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &current, kind, pipe, 0).expect("a pipe");
        });
        Large {
            broker: restart.await,
            ..large
        }
    };
    let mut client = large.client().await;
    // More than a connection has memory for, as little as each takes at first; and some that need
    // the turn.
    let waiting = || PbLookupReqForBucket {
        bucket_id: 1,
        keys: large.keys[..1].to_vec(),
        ..PbLookupReqForBucket::default()
    };
    let mut asked = BTreeSet::new();
    for at in 0..48 {
        let mut request = large.entries(&[match at % 8 {
            0 => FIT,
            _ => 0,
        }]);
        request.buckets_req.push(waiting());
        let (key, body) = (LookupRequest::KEY.code(), request.encode_to_vec());
        asked.insert(client.send(key, 0, &body).await);
    }
    // Opened when there is a reader.
    let pipe = current.clone();
    let opened = move || fs::File::options().write(true).open(pipe);
    let opened = tokio::task::spawn_blocking(opened).await;
    let mut opened = opened.expect("no panic").expect("a pipe");
    let fit = large.entries(&[FIT]);
    let fit = client.ask(fit).await.expect("an answer");
    assert_eq!(fit.buckets_resp[0].values.len(), FIT);

    // It is a file when it is looked at again.
    let text = text.get().expect("read");
    fs::write(current.with_extension("new"), text).expect("written");
    fs::rename(current.with_extension("new"), current).expect("renamed");
    opened.write_all(text).expect("said");
    drop(opened);
    while !asked.is_empty() {
        let answer = client.receive().await.expect("an answer");
        assert!(asked.remove(&answer.request_id));
        let answer = LookupResponse::decode(answer.body).expect("an answer");
        let codes = answer.buckets_resp.iter().map(|b| code(b.error_code));
        assert_eq!(codes.collect::<Vec<_>>(), [None, None]);
    }
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
