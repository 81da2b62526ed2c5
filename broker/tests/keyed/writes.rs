//! PUT_KV: what is written, what comes out as a changelog on either wire, and what is refused.

use bytes::Bytes;
use prost::Message;
use protocol::batch::BatchFormat;
use protocol::columnar::Decoder;
use protocol::fluss::batch::Batches;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;
use protocol::row::Datum;

use super::common::TestBroker;
use super::common::fluss::{Client, code, log_table, path};
use super::common::kafka_peer::Kafka;
use super::common::keyed::{Keyed, put, row};
use super::common::records::{Row, kafka_batch, of_kafka};

/// The change types of a changelog, with their offsets.
fn changes(keyed: &Keyed, records: Bytes) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for batch in Batches::new(records) {
        let batch = batch.expect("a whole batch");
        let base = batch.header().base_offset();
        let mut decoder = Decoder::default();
        let format = BatchFormat::FlussArrow;
        let decoded = decoder.decode(&batch, format, &keyed.schema, None);
        let decoded = decoded.expect("a sound batch");
        let changes = decoded.changes.as_changes();
        let kinds = (0..decoded.rows.num_rows()).map(|row| format!("{:?}", changes.get(row)));
        found.extend((base..).zip(kinds));
    }
    found
}

#[tokio::test]
async fn rows_are_put_replaced_and_deleted_and_the_changelog_says_so_on_both_wires() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(1, &[])).await;
    let batch = keyed.upserts(None, &[row(1, "one", 1), row(2, "two", 2)]);
    assert_eq!(client.put(put(table, 0, batch)).await, Ok(2));
    let batch = keyed.changes(
        None,
        &[
            (row(1, "uno", 10), false),
            (row(2, "", 0), true),
            (row(3, "", 0), true),
        ],
    );
    // -U +U -D; a key without a row is deleted without a trace.
    assert_eq!(client.put(put(table, 0, batch)).await, Ok(5));
    let keys = [row(1, "", 0), row(2, "", 0), row(3, "", 0)];
    assert_eq!(
        client.rows(&keyed, table, &keys).await,
        ["1|uno|10", "none", "none"]
    );

    let fetched = client.fetch(table, 0, 0, 1_000).await;
    assert_eq!(fetched.high_watermark, Some(5));
    let kinds = ["Insert", "Insert", "UpdateBefore", "UpdateAfter", "Delete"];
    let expected: Vec<_> = (0..).zip(kinds.map(str::to_owned)).collect();
    assert_eq!(changes(&keyed, fetched.records.expect("records")), expected);

    // To Kafka clients the table is a topic: the rows, a gap for what was before, a tombstone.
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    let fetched = kafka
        .fetch("fluss.t", 0, 0, 1_000)
        .await
        .expect("an answer");
    let (records, next) = of_kafka(&fetched.records, 0);
    assert_eq!(next, 5);
    let found: Vec<_> = records
        .iter()
        .map(|(offset, record)| {
            let text = |bytes: &Option<Vec<u8>>| {
                bytes
                    .as_ref()
                    .map(|b| String::from_utf8(b.clone()).expect("UTF-8"))
            };
            (
                *offset,
                text(&record.key).expect("a key"),
                text(&record.value),
            )
        })
        .collect();
    let record = |offset, id, value: Option<&str>| {
        (
            offset,
            format!(r#"{{"id":{id}}}"#),
            value.map(str::to_owned),
        )
    };
    let expected = [
        record(0, 1, Some(r#"{"id":1,"name":"one","n":1}"#)),
        record(1, 2, Some(r#"{"id":2,"name":"two","n":2}"#)),
        record(3, 1, Some(r#"{"id":1,"name":"uno","n":10}"#)),
        record(4, 2, None),
    ];
    assert_eq!(found, expected);
    assert_eq!(fetched.high_watermark, 5);
    // What a Kafka producer sends must be a row; `upserts.rs` has more of it.
    let raw = kafka_batch(
        &[Row::of_value("{}".to_owned(), 0)],
        protocol::kafka::compression::Codec::None,
        None,
    );
    kafka.send_batch("fluss.t", 0, raw).await.expect("sent");
    let refused = kafka.acknowledged().await.expect("an answer");
    let invalid_record = kafka_protocol::ResponseError::InvalidRecord.code();
    assert_eq!(refused, Err(invalid_record));

    let broker = broker.restart().await;
    let mut client = Client::connect(broker.fluss()).await;
    assert_eq!(
        client.rows(&keyed, table, &keys).await,
        ["1|uno|10", "none", "none"]
    );
    let batch = keyed.upserts(None, &[row(2, "due", 20)]);
    assert_eq!(client.put(put(table, 0, batch)).await, Ok(6));
    broker.stop().await;
}

#[tokio::test]
async fn the_wal_image_has_one_record_for_each_upsert() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let described = keyed.table(1, &[("table.changelog.image", "WAL")]);
    let table = client.create_table(&path("t"), &described).await;
    for n in 0..3 {
        let batch = keyed.upserts(None, &[row(1, "one", n)]);
        assert_eq!(client.put(put(table, 0, batch)).await, Ok(n + 1));
    }
    let fetched = client.fetch(table, 0, 0, 1_000).await;
    let kinds = changes(&keyed, fetched.records.expect("records"));
    assert_eq!(kinds.len(), 3);
    assert!(
        kinds.iter().all(|(_, kind)| kind == "UpdateAfter"),
        "{kinds:?}"
    );
    assert_eq!(
        client.rows(&keyed, table, &[row(1, "", 0)]).await,
        ["1|one|2"]
    );
    broker.stop().await;
}

#[tokio::test]
async fn some_columns_are_written_and_the_engine_may_be_passed_by() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(1, &[])).await;
    let batch = keyed.upserts(None, &[row(1, "one", 1)]);
    client.put(put(table, 0, batch)).await.expect("put");
    let of_columns = |target_columns: &[i32]| PutKvRequest {
        target_columns: target_columns.to_vec(),
        ..put(
            table,
            0,
            keyed.upserts(None, &[vec![Datum::Int(1), Datum::Null, Datum::BigInt(9)]]),
        )
    };
    client.put(of_columns(&[0, 2])).await.expect("put");
    assert_eq!(
        client.rows(&keyed, table, &[row(1, "", 0)]).await,
        ["1|one|9"]
    );
    for wrong in [&[2][..], &[0, 3], &[0, -1]] {
        let refused = client.put(of_columns(wrong)).await;
        assert_eq!(refused, Err(ErrorCode::InvalidTargetColumn), "{wrong:?}");
    }

    let described = keyed.table(1, &[("table.merge-engine", "first_row")]);
    let first = client.create_table(&path("first"), &described).await;
    let upsert = |n, agg_mode| PutKvRequest {
        agg_mode,
        ..put(first, 0, keyed.upserts(None, &[row(1, "one", n)]))
    };
    client.put(upsert(1, None)).await.expect("put");
    client.put(upsert(2, Some(0))).await.expect("put");
    assert_eq!(
        client.rows(&keyed, first, &[row(1, "", 0)]).await,
        ["1|one|1"]
    );
    client.put(upsert(3, Some(1))).await.expect("put");
    assert_eq!(
        client.rows(&keyed, first, &[row(1, "", 0)]).await,
        ["1|one|3"]
    );
    let reserved = client.refusal(upsert(4, Some(2))).await;
    assert_eq!(reserved, ErrorCode::UnknownServerError);
    let partial = PutKvRequest {
        target_columns: vec![0, 2],
        ..upsert(5, None)
    };
    assert_eq!(
        client.put(partial).await,
        Err(ErrorCode::UnknownServerError)
    );

    let described = keyed.table(1, &[("table.delete.behavior", "disable")]);
    let kept = client.create_table(&path("kept"), &described).await;
    let both = keyed.changes(None, &[(row(1, "one", 1), false), (row(1, "", 0), true)]);
    let refused = client.put(put(kept, 0, both)).await;
    assert_eq!(refused, Err(ErrorCode::DeletionDisabled));
    assert_eq!(client.rows(&keyed, kept, &[row(1, "", 0)]).await, ["none"]);
    broker.stop().await;
}

#[tokio::test]
async fn each_bucket_fails_for_itself_with_its_own_code() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(3, &[])).await;
    let good = keyed.upserts(None, &[row(1, "one", 1)]);
    let mut damaged = good.to_vec();
    *damaged.last_mut().expect("bytes") ^= 1;
    let bucket = |bucket_id, records: &[u8]| PbPutKvReqForBucket {
        bucket_id,
        records: Bytes::copy_from_slice(records),
        ..PbPutKvReqForBucket::default()
    };
    let misrouted = PbPutKvReqForBucket {
        routing_bucket_count: Some(4),
        ..bucket(2, &good)
    };
    let routed = PbPutKvReqForBucket {
        routing_bucket_count: Some(3),
        ..bucket(2, &good)
    };
    let request = PutKvRequest {
        buckets_req: vec![
            bucket(0, &good),
            bucket(7, &good),
            bucket(1, &damaged),
            misrouted,
            bucket(1, &[]),
            routed,
        ],
        ..put(table, 0, good.clone())
    };
    let answer = client.ask(request).await.expect("an answer");
    let found: Vec<_> = answer
        .buckets_resp
        .iter()
        .map(|bucket| {
            (
                bucket.bucket_id,
                bucket.log_end_offset,
                code(bucket.error_code),
            )
        })
        .collect();
    let expected = [
        (0, Some(1), None),
        (7, None, Some(ErrorCode::UnknownTableOrBucket)),
        (1, None, Some(ErrorCode::CorruptRecord)),
        (2, None, Some(ErrorCode::InvalidBucketRouting)),
        (1, None, Some(ErrorCode::CorruptRecord)),
        (2, Some(1), None),
    ];
    assert_eq!(found, expected);
    let nowhere = client.put(put(table + 99, 0, good.clone())).await;
    assert_eq!(nowhere, Err(ErrorCode::UnknownTableOrBucket));
    let log = client.create_table(&path("log"), &log_table(1)).await;
    let keyless = client.put(put(log, 0, good.clone())).await;
    assert_eq!(keyless, Err(ErrorCode::NonPrimaryKeyTable));
    let acks = PutKvRequest {
        acks: 2,
        ..put(table, 0, good.clone())
    };
    assert_eq!(client.refusal(acks).await, ErrorCode::InvalidRequiredAcks);
    for acks in [0, 1] {
        let request = PutKvRequest {
            acks,
            ..put(table, 0, good.clone())
        };
        client.put(request).await.expect("put");
    }
    // A table with a key takes no records that were not merged.
    let appended = client.produce(table, 0, good).await;
    assert_eq!(code(appended.error_code), Some(ErrorCode::InvalidTable));
    broker.stop().await;
}

#[tokio::test]
async fn requests_of_one_connection_are_put_in_their_order_and_retries_once() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(1, &[])).await;
    let init = InitWriterRequest::default();
    let writer = client.ask(init).await.expect("a writer").writer_id;
    let batch = |sequence: i32| {
        let rows = [row(1, "one", i64::from(sequence))];
        put(table, 0, keyed.upserts(Some((writer, sequence)), &rows))
    };
    const COUNT: i32 = 50;
    for sequence in 0..COUNT {
        let request = batch(sequence).encode_to_vec();
        client.send(1016, 2, &request).await;
    }
    for _ in 0..COUNT {
        let answer = client.receive().await.expect("an answer");
        let answer = PutKvResponse::decode(answer.body).expect("an answer");
        assert_eq!(answer.buckets_resp[0].error_code, None, "{answer:?}");
    }
    assert_eq!(
        client.rows(&keyed, table, &[row(1, "", 0)]).await,
        ["1|one|49"]
    );
    // The answer of the last one was lost, says the client.
    assert_eq!(client.put(batch(COUNT - 1)).await, Ok(99));
    let gap = client.put(batch(COUNT + 1)).await;
    assert_eq!(gap, Err(ErrorCode::OutOfOrderSequence));
    assert_eq!(client.put(batch(COUNT)).await, Ok(101));
    broker.stop().await;
}
