//! SCAN_KV: all rows of one moment, in pieces.

use bytes::Bytes;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;

use super::common::TestBroker;
use super::common::fluss::{Client, code, path};
use super::common::keyed::{Keyed, put, row};

fn open(table_id: i64, limit: Option<i64>) -> ScanKvRequest {
    ScanKvRequest {
        bucket_scan_req: Some(PbScanReqForBucket {
            table_id,
            limit,
            ..PbScanReqForBucket::default()
        }),
        call_seq_id: Some(0),
        batch_size_bytes: Some(100),
        ..ScanKvRequest::default()
    }
}

fn next(scanner_id: &Option<Bytes>, call: i32) -> ScanKvRequest {
    ScanKvRequest {
        scanner_id: scanner_id.clone(),
        call_seq_id: Some(call),
        batch_size_bytes: Some(100),
        ..ScanKvRequest::default()
    }
}

/// All rows of a scan, and the offset that it is as of.
async fn scanned(client: &mut Client, keyed: &Keyed, first: ScanKvResponse) -> Vec<String> {
    let mut rows = Vec::new();
    let mut answer = first;
    for call in 1.. {
        assert_eq!(answer.error_code, None, "{answer:?}");
        if let Some(records) = &answer.records {
            rows.extend(keyed.shown_batch(records));
        }
        if answer.has_more_results != Some(true) {
            break;
        }
        let request = next(&answer.scanner_id, call);
        answer = client.ask(request).await.expect("an answer");
        assert_eq!(answer.log_offset, None);
    }
    rows
}

#[tokio::test]
async fn a_scan_has_the_rows_of_its_first_call() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(1, &[])).await;
    let empty = client.ask(open(table, None)).await.expect("an answer");
    assert_eq!(
        (empty.has_more_results, empty.scanner_id),
        (Some(false), None)
    );
    assert_eq!((empty.log_offset, empty.records), (Some(0), None));

    let rows: Vec<_> = (0..100).map(|id| row(id, "row", 0)).collect();
    let batch = keyed.upserts(None, &rows);
    client.put(put(table, 0, batch)).await.expect("put");
    let whole = client.ask(open(table, None)).await.expect("an answer");
    let limited = client.ask(open(table, Some(30))).await.expect("an answer");
    assert_eq!(whole.log_offset, Some(100));
    assert_eq!(whole.scanner_id.as_ref().map(Bytes::len), Some(16));
    let later: Vec<_> = (50..200).map(|id| row(id, "later", 1)).collect();
    let batch = keyed.upserts(None, &later);
    client.put(put(table, 0, batch)).await.expect("put");
    let all: Vec<_> = (0..100).map(|id| format!("{id}|row|0")).collect();
    assert_eq!(scanned(&mut client, &keyed, whole).await, all);
    assert_eq!(scanned(&mut client, &keyed, limited).await, all[..30]);
    broker.stop().await;
}

#[tokio::test]
async fn calls_that_do_not_fit_end_their_scan() {
    let broker = TestBroker::start_with([("kv.scanner.max-per-bucket", "2")]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(1, &[])).await;
    let rows: Vec<_> = (0..100).map(|id| row(id, "row", 0)).collect();
    let batch = keyed.upserts(None, &rows);
    client.put(put(table, 0, batch)).await.expect("put");
    let mut ask = async |request: ScanKvRequest| {
        let answer = client.ask(request).await.expect("an answer");
        (code(answer.error_code), answer.scanner_id)
    };
    let (_, first) = ask(open(table, None)).await;
    let (_, second) = ask(open(table, None)).await;
    assert_eq!(
        ask(open(table, None)).await.0,
        Some(ErrorCode::TooManyScanners)
    );
    assert_eq!(
        ask(next(&first, 2)).await.0,
        Some(ErrorCode::InvalidScanRequest)
    );
    assert_eq!(
        ask(next(&first, 1)).await.0,
        Some(ErrorCode::UnknownScannerId)
    );
    let close = ScanKvRequest {
        close_scanner: Some(true),
        call_seq_id: None,
        batch_size_bytes: None,
        ..next(&second, 0)
    };
    assert_eq!(ask(close.clone()).await, (None, second.clone()));
    assert_eq!(
        ask(close).await,
        (None, second.clone()),
        "closed twice, as is fine"
    );
    assert_eq!(
        ask(next(&second, 1)).await.0,
        Some(ErrorCode::UnknownScannerId)
    );
    let both = ScanKvRequest {
        scanner_id: first,
        ..open(table, None)
    };
    assert_eq!(ask(both).await.0, Some(ErrorCode::InvalidScanRequest));
    assert_eq!(
        ask(open(table + 9, None)).await.0,
        Some(ErrorCode::UnknownTableOrBucket)
    );
    // The places of ended scans are free again, at the latest when their threads have ended.
    let (third, _) = loop {
        let opened = ask(open(table, None)).await;
        if opened.0 != Some(ErrorCode::TooManyScanners) {
            break opened;
        }
    };
    assert_eq!(third, None);
    broker.stop().await;
}

#[tokio::test]
async fn a_scan_ends_with_its_table_and_holds_up_no_stop() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let rows: Vec<_> = (0..100).map(|id| row(id, "row", 0)).collect();
    let mut opened = Vec::new();
    for name in ["dropped", "kept"] {
        let table = client.create_table(&path(name), &keyed.table(1, &[])).await;
        let batch = keyed.upserts(None, &rows);
        client.put(put(table, 0, batch)).await.expect("put");
        let answer = client.ask(open(table, None)).await.expect("an answer");
        opened.push((table, answer.scanner_id));
    }
    let drop = DropTableRequest {
        table_path: path("dropped"),
        ignore_if_not_exists: false,
    };
    client.ask(drop).await.expect("dropped");
    let answer = client.ask(next(&opened[0].1, 1)).await.expect("an answer");
    assert_eq!(
        code(answer.error_code),
        Some(ErrorCode::UnknownTableOrBucket)
    );
    let broker = broker.restart().await;
    let mut client = Client::connect(broker.fluss()).await;
    let answer = client.ask(next(&opened[1].1, 1)).await.expect("an answer");
    assert_eq!(code(answer.error_code), Some(ErrorCode::UnknownScannerId));
    let answer = client
        .ask(open(opened[1].0, None))
        .await
        .expect("an answer");
    let all: Vec<_> = (0..100).map(|id| format!("{id}|row|0")).collect();
    assert_eq!(scanned(&mut client, &keyed, answer).await, all);
    broker.stop().await;
}
