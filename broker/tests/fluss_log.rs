//! Writing and reading log tables over the Fluss wire.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::TestBroker;
use common::fluss::{Client, batch, code, fetch, log_table, path, produce, rows_of};
use prost::Message;
use protocol::fluss::api::Request;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;

fn offsets(kind: i32, table: i64, time: Option<i64>) -> ListOffsetsRequest {
    ListOffsetsRequest {
        follower_server_id: -1,
        offset_type: kind,
        table_id: table,
        bucket_id: vec![0],
        start_timestamp: time,
        ..ListOffsetsRequest::default()
    }
}

async fn offset(
    client: &mut Client,
    kind: i32,
    table: i64,
    time: Option<i64>,
) -> Result<i64, ErrorCode> {
    let answer = client
        .ask(offsets(kind, table, time))
        .await
        .expect("an answer");
    let bucket = &answer.buckets_resp[0];
    match code(bucket.error_code) {
        Some(code) => Err(code),
        None => Ok(bucket.offset.expect("an offset")),
    }
}

#[tokio::test]
async fn what_was_written_is_read_also_after_a_restart() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(2)).await;
    for (at, acks) in [(0, -1), (1, 1), (2, 0)] {
        let answer = client
            .ask(produce(acks, table, 0, batch(at * 10..at * 10 + 10, None)))
            .await;
        let bucket = answer.expect("an answer").buckets_resp.remove(0);
        assert_eq!(
            (bucket.error_code, bucket.base_offset),
            (None, Some(i64::from(at) * 10))
        );
    }
    let expected: Vec<(i64, i32)> = (0..30).map(|i| (i.into(), i)).collect();
    let broker = broker.restart().await;
    let mut client = Client::connect(broker.fluss()).await;
    for start in [0, -2] {
        let read = client.fetch(table, 0, start, 0).await;
        assert_eq!(
            (read.high_watermark, read.log_start_offset),
            (Some(30), Some(0))
        );
        assert_eq!(rows_of(read.records.expect("records")), expected);
    }
    // The batch that holds the offset comes whole.
    let read = client.fetch(table, 0, 15, 0).await;
    assert_eq!(rows_of(read.records.expect("records")), expected[10..]);
    // Empty, but there: Java reads both fields without asking.
    let other = client.fetch(table, 1, 0, 0).await;
    assert_eq!(
        (other.records, other.high_watermark),
        (Some(Bytes::new()), Some(0))
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_waiting_reader_is_answered_by_the_append() {
    let broker = TestBroker::start().await;
    let mut writer = Client::connect(broker.fluss()).await;
    let mut reader = Client::connect(broker.fluss()).await;
    let table = writer.create_table(&path("t"), &log_table(2)).await;
    // Both buckets in one request: the drained one holds up nothing.
    let mut request = fetch(table, 0, 0, 20_000);
    let mut second = request.tables_req[0].buckets_req[0];
    second.bucket_id = 1;
    request.tables_req[0].buckets_req.push(second);
    let begun = Instant::now();
    reader
        .send(FetchLogRequest::KEY.code(), 0, &request.encode_to_vec())
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    writer.produce(table, 1, batch(0..3, None)).await;
    let answer = reader.receive().await.expect("an answer");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    let answer = FetchLogResponse::decode(answer.body).expect("an answer");
    let buckets = &answer.tables_resp[0].buckets_resp;
    assert_eq!(buckets[0].records, Some(Bytes::new()));
    assert_eq!(
        rows_of(buckets[1].records.clone().expect("records")).len(),
        3
    );
    broker.stop().await;
}

#[tokio::test]
async fn other_requests_of_a_connection_pass_a_waiting_fetch() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    let waiting = fetch(table, 0, 0, 400).encode_to_vec();
    let first = client.send(FetchLogRequest::KEY.code(), 0, &waiting).await;
    let exists = TableExistsRequest {
        table_path: path("t"),
    }
    .encode_to_vec();
    let second = client
        .send(TableExistsRequest::KEY.code(), 0, &exists)
        .await;
    assert_eq!(
        client.receive().await.map(|answer| answer.request_id),
        Some(second)
    );
    assert_eq!(
        client.receive().await.map(|answer| answer.request_id),
        Some(first)
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_repeated_batch_is_answered_with_its_first_offset() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    let writer = client
        .ask(InitWriterRequest::default())
        .await
        .expect("an id")
        .writer_id;
    let first = batch(0..5, Some((writer, 0)));
    for (records, base) in [
        (first.clone(), 0),
        (batch(5..7, Some((writer, 1))), 5),
        (first, 0),
    ] {
        let answer = client.produce(table, 0, records).await;
        assert_eq!(
            (code(answer.error_code), answer.base_offset),
            (None, Some(base))
        );
    }
    let gap = client
        .produce(table, 0, batch(0..1, Some((writer, 3))))
        .await;
    assert_eq!(code(gap.error_code), Some(ErrorCode::OutOfOrderSequence));
    let read = client.fetch(table, 0, 0, 0).await;
    assert_eq!(rows_of(read.records.expect("records")).len(), 7);
    broker.stop().await;
}

#[tokio::test]
async fn each_bucket_is_refused_for_itself() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    let mut refused = async |table, bucket, records| {
        code(client.produce(table, bucket, records).await.error_code)
    };
    let good = batch(0..2, None);
    assert_eq!(
        refused(table, 1, good.clone()).await,
        Some(ErrorCode::UnknownTableOrBucket)
    );
    assert_eq!(
        refused(table + 99, 0, good.clone()).await,
        Some(ErrorCode::UnknownTableOrBucket)
    );
    assert_eq!(
        refused(table, 0, Bytes::new()).await,
        Some(ErrorCode::CorruptRecord)
    );
    let mut flipped = good.to_vec();
    *flipped.last_mut().expect("bytes") ^= 1;
    assert_eq!(
        refused(table, 0, flipped.into()).await,
        Some(ErrorCode::CorruptRecord)
    );
    assert_eq!(
        refused(table, 0, good.slice(..20)).await,
        Some(ErrorCode::CorruptRecord)
    );

    let mut request = produce(-1, table, 7, good.clone());
    request.buckets_req.push(PbProduceLogReqForBucket {
        bucket_id: 0,
        records: good.clone(),
        ..PbProduceLogReqForBucket::default()
    });
    let answer = client.ask(request).await.expect("an answer").buckets_resp;
    assert_eq!(
        code(answer[0].error_code),
        Some(ErrorCode::UnknownTableOrBucket)
    );
    assert_eq!(
        (answer[1].error_code, answer[1].base_offset),
        (None, Some(0))
    );
    let acks = client.refusal(produce(2, table, 0, good.clone())).await;
    assert_eq!(acks, ErrorCode::InvalidRequiredAcks);

    let internal = PbTablePath {
        database_name: "vltava_system".into(),
        table_name: "consumer_offsets".into(),
    };
    let internal = client.table_info(&internal).await.table_id;
    let answer = client.produce(internal, 0, good).await;
    assert_eq!(code(answer.error_code), Some(ErrorCode::InvalidTable));
    broker.stop().await;
}

#[tokio::test]
async fn positions_that_cannot_be_read_are_refused() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    client.produce(table, 0, batch(0..2, None)).await;
    for (offset, expected) in [
        (2, None),
        (3, Some(ErrorCode::LogOffsetOutOfRange)),
        (-7, Some(ErrorCode::LogOffsetOutOfRange)),
    ] {
        let read = client.fetch(table, 0, offset, 0).await;
        assert_eq!(code(read.error_code), expected, "{offset}");
    }
    let read = client.fetch(table, 5, 0, 0).await;
    assert_eq!(code(read.error_code), Some(ErrorCode::UnknownTableOrBucket));
    for fields in [vec![], vec![1, 0], vec![0, 2], vec![-1]] {
        let mut request = fetch(table, 0, 0, 0);
        request.tables_req[0].projection_pushdown_enabled = true;
        request.tables_req[0].projected_fields = fields.clone();
        let read = client.ask(request).await.expect("an answer");
        let found = read.tables_resp[0].buckets_resp[0].error_code;
        assert_eq!(
            code(found),
            Some(ErrorCode::InvalidColumnProjection),
            "{fields:?}"
        );
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_projection_sends_less() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    client.produce(table, 0, batch(0..1000, None)).await;
    let all = client
        .fetch(table, 0, 0, 0)
        .await
        .records
        .expect("records")
        .len();
    let mut request = fetch(table, 0, 0, 0);
    request.tables_req[0].projection_pushdown_enabled = true;
    request.tables_req[0].projected_fields = vec![0];
    let read = client.ask(request).await.expect("an answer");
    let ids = read.tables_resp[0].buckets_resp[0]
        .records
        .clone()
        .expect("records")
        .len();
    assert!(
        (4_000..5_000).contains(&ids) && all > 3 * ids,
        "{ids} of {all} bytes"
    );
    broker.stop().await;
}

#[tokio::test]
async fn sizes_limit_an_answer_but_for_its_first_batch() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    let one = batch(0..10, None);
    for _ in 0..5 {
        client.produce(table, 0, one.clone()).await;
    }
    for (bytes, batches) in [
        (1, 1),
        (one.len() * 2, 2),
        (one.len() * 3 - 1, 2),
        (1 << 20, 5),
    ] {
        let mut request = fetch(table, 0, 0, 0);
        request.tables_req[0].buckets_req[0].max_fetch_bytes = i32::try_from(bytes).expect("small");
        let read = client.ask(request).await.expect("an answer");
        let records = read.tables_resp[0].buckets_resp[0]
            .records
            .clone()
            .expect("records");
        assert_eq!(records.len(), batches * one.len(), "{bytes}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn offsets_are_found_by_place_and_by_time() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        i64::try_from(since.expect("after 1970").as_millis()).expect("a time")
    };
    let before = now();
    client.produce(table, 0, batch(0..4, None)).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let between = now();
    tokio::time::sleep(Duration::from_millis(30)).await;
    client.produce(table, 0, batch(4..6, None)).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(offset(&mut client, 0, table, None).await, Ok(0));
    assert_eq!(offset(&mut client, 1, table, None).await, Ok(6));
    assert_eq!(offset(&mut client, 2, table, Some(before)).await, Ok(0));
    assert_eq!(offset(&mut client, 2, table, Some(between)).await, Ok(4));
    assert_eq!(offset(&mut client, 2, table, Some(now())).await, Ok(6));
    let ahead = Some(now() + 60_000);
    assert_eq!(
        offset(&mut client, 2, table, ahead).await,
        Err(ErrorCode::InvalidTimestamp)
    );
    assert_eq!(
        offset(&mut client, 2, table, None).await,
        Err(ErrorCode::InvalidTimestamp)
    );
    assert_eq!(offset(&mut client, 3, table, None).await, Ok(0));
    assert_eq!(
        offset(&mut client, 1, table + 1, None).await,
        Err(ErrorCode::UnknownTableOrBucket)
    );
    broker.stop().await;
}

#[tokio::test]
async fn the_last_rows_of_a_log_are_all_there_or_refused() {
    // A connection's share is 2 MiB, an answer may have 8 MiB.
    let broker = TestBroker::start_with([("vltava.fetch.memory.bytes", "16777216")]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    let each = 40_000;
    let size = batch(0..each, None).len();
    let batches = (12 << 20) / size as i32;
    for at in 0..batches {
        let rows = batch(at * each..(at + 1) * each, None);
        client.produce(table, 0, rows).await;
    }
    let end = batches * each;
    let scan = |limit| LimitScanRequest {
        table_id: table,
        limit,
        ..LimitScanRequest::default()
    };
    let fit = (5 << 20) / size as i32 * each;
    assert!(fit < end);
    let answer = client.ask(scan(fit)).await.expect("an answer");
    let found = rows_of(answer.records.expect("records"));
    assert!(found.iter().map(|(_, id)| *id).eq(end - fit..end));
    let refused = client.ask(scan(end)).await.expect_err("too large");
    assert_eq!(
        code(Some(refused.error_code)),
        Some(ErrorCode::RecordTooLarge)
    );
    let text = refused.error_message.expect("a text");
    assert!(text.contains("8388608"), "{text}");
    broker.stop().await;
}

#[tokio::test]
async fn the_last_rows_are_scanned_and_all_are_counted() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    for at in 0..4 {
        client
            .produce(table, 0, batch(at * 10..at * 10 + 10, None))
            .await;
    }
    let scan = |limit| LimitScanRequest {
        table_id: table,
        bucket_id: 0,
        limit,
        ..LimitScanRequest::default()
    };
    for (limit, rows) in [
        (5, 30..40),
        (10, 30..40),
        (11, 20..40),
        (1000, 0..40),
        (0, 0..0),
    ] {
        let answer = client.ask(scan(limit)).await.expect("an answer");
        assert_eq!((answer.error_code, answer.is_log_table), (None, Some(true)));
        let found: Vec<i32> = rows_of(answer.records.expect("records"))
            .into_iter()
            .map(|(_, id)| id)
            .collect();
        assert_eq!(found, rows.collect::<Vec<_>>(), "{limit}");
    }
    let missing = LimitScanRequest {
        bucket_id: 9,
        ..scan(1)
    };
    let missing = client.refusal(missing).await;
    assert_eq!(missing, ErrorCode::UnknownTableOrBucket);

    let stats = GetTableStatsRequest {
        table_id: table,
        buckets_req: vec![PbTableStatsReqForBucket {
            bucket_id: 0,
            ..PbTableStatsReqForBucket::default()
        }],
        target_columns: Vec::new(),
    };
    let stats = client.ask(stats).await.expect("an answer").buckets_resp;
    assert_eq!(stats[0].row_count, Some(40));
    broker.stop().await;
}

#[tokio::test]
async fn a_dropped_table_ends_its_readers() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    client.produce(table, 0, batch(0..3, None)).await;
    let drop = DropTableRequest {
        table_path: path("t"),
        ignore_if_not_exists: false,
    };
    client.ask(drop).await.expect("dropped");
    let read = client.fetch(table, 0, 0, 0).await;
    assert_eq!(code(read.error_code), Some(ErrorCode::UnknownTableOrBucket));
    let written = client.produce(table, 0, batch(0..3, None)).await;
    assert_eq!(
        code(written.error_code),
        Some(ErrorCode::UnknownTableOrBucket)
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_request_for_more_than_any_table_has_is_refused_whole() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    let many = ListOffsetsRequest {
        bucket_id: vec![0; 100_000],
        ..offsets(1, table, None)
    };
    assert_eq!(client.refusal(many).await, ErrorCode::RecordTooLarge);
    let mut many = fetch(table, 0, 0, 0);
    let bucket = many.tables_req[0].buckets_req[0];
    many.tables_req[0].buckets_req = vec![bucket; 100_000];
    assert_eq!(client.refusal(many).await, ErrorCode::RecordTooLarge);
    let again = MetadataRequest {
        table_path: vec![path("t"); 200_000],
        ..MetadataRequest::default()
    };
    let answer = client.ask(again).await.expect("metadata");
    assert_eq!(
        answer.table_metadata.len(),
        1,
        "the same table is told once"
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_busy_log_refuses_batches_with_a_code_that_all_clients_retry() {
    // While anything waits for the log, everything else is refused.
    let broker = TestBroker::start_with([("vltava.append.queue.bytes", "1")]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.create_table(&path("t"), &log_table(1)).await;
    let one = produce(-1, table, 0, batch(0..10, None));
    let many = ProduceLogRequest {
        buckets_req: vec![one.buckets_req[0].clone(); 50],
        ..one
    };
    let mut refused = Vec::new();
    while refused.is_empty() {
        let answer = client.ask(many.clone()).await.expect("an answer");
        let codes = answer.buckets_resp.iter();
        refused.extend(codes.filter_map(|bucket| code(bucket.error_code)));
    }
    assert!(
        refused
            .iter()
            .all(|code| *code == ErrorCode::RequestTimeOut)
    );
    broker.stop().await;
}
