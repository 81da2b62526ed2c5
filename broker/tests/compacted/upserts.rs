use std::collections::{HashMap, VecDeque};

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::{CreatePartitionsRequest, TopicName};
use prost::Message;
use protocol::fluss::api::Request;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::kv_batch::{KvBatchBuilder, KvRecord};
use protocol::ids::SchemaId;
use protocol::kafka::partitioner::KeyPartitioner;
use protocol::row::Timestamp;

use super::*;
use crate::common::fluss::code;
use crate::common::keyed::put;

/// A batch of upserts, and of deletes where there is no value.
fn batch(writer: Option<(i64, i32)>, rows: &[(&str, Option<&str>)]) -> Bytes {
    batch_of(SchemaId::new(1), writer, rows)
}

/// As [`batch`], with a later schema.
pub(super) fn batch_of(
    schema: SchemaId,
    writer: Option<(i64, i32)>,
    rows: &[(&str, Option<&str>)],
) -> Bytes {
    let layout = RowLayout::of(KvFormat::Compacted, &raw_schema(true));
    let mut builder = KvBatchBuilder::new(schema, writer);
    for (key, value) in rows {
        let mut row = Vec::new();
        let header = Datum::Row(vec![Datum::String("h"), Datum::Bytes(b"x")]);
        let time = Timestamp {
            millis: 1_600_000_000_000,
            nanos: 0,
        };
        let columns = [
            Datum::Bytes(key.as_bytes()),
            value.map_or(Datum::Null, |value| Datum::Bytes(value.as_bytes())),
            Datum::Timestamp(time),
            Datum::Array(vec![header]),
        ];
        layout.write(&columns, &mut row).expect("a row");
        builder.append(KvRecord {
            key: &encoded(key.as_bytes()),
            row: value.is_some().then_some(row.as_slice()),
        });
    }
    builder.finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn upserts_and_deletes_arrive_at_kafka_consumers_where_their_producers_would_put_them() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    let table = clients.compacted("t", 3, "murmur2").await;
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    let upserts: Vec<(&str, Option<&str>)> = keys
        .iter()
        .map(|key| (key.as_str(), Some("fluss")))
        .collect();
    // The client's hash chose bucket 1 for all of them.
    let end = clients
        .fluss
        .put(put(table, 1, batch(None, &upserts)))
        .await;
    assert!(end.expect("put") > 0);
    let deletes = batch(None, &[("k3", None)]);
    clients
        .fluss
        .put(put(table, 1, deletes))
        .await
        .expect("put");

    let mut seen = 0;
    for partition in 0..3 {
        for (_, row) in clients.consume("t", partition).await {
            let key = row.key.clone().expect("a key");
            let owner = KeyPartitioner::Murmur2.partition(&key, 3);
            assert_eq!(owner, Some(partition));
            if row.value.is_none() {
                assert_eq!(key, b"k3");
                continue;
            }
            let expected = Row {
                key: Some(key),
                value: Some(b"fluss".to_vec()),
                time_ms: 1_600_000_000_000,
                headers: vec![("h".to_owned(), Some(b"x".to_vec()))],
            };
            assert_eq!(row, expected);
            seen += 1;
        }
    }
    assert_eq!(seen, 20);
    let found = clients.values(table, 0, &["k2", "k3"]).await;
    assert_eq!(found, [Some("fluss".to_owned()), None]);

    // Both wires write, the last one counts.
    let partition = KeyPartitioner::Murmur2
        .partition(b"k2", 3)
        .expect("a partition");
    let row = record("k2", Some("kafka"), 1_700_000_000_000);
    clients.produce("t", partition, &[row]).await;
    let found = clients.values(table, 2, &["k2"]).await;
    assert_eq!(found, [Some("kafka".to_owned())]);
    let upsert = batch(None, &[("k2", Some("fluss again"))]);
    clients.fluss.put(put(table, 0, upsert)).await.expect("put");
    let found = clients.values(table, 2, &["k2"]).await;
    assert_eq!(found, [Some("fluss again".to_owned())]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_sent_again_is_put_once() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    let table = clients.compacted("t", 3, "crc32").await;
    let writer = clients.fluss.ask(InitWriterRequest::default()).await;
    let writer = writer.expect("an id").writer_id;
    let first = batch(Some((writer, 0)), &[("a", Some("1")), ("b", Some("1"))]);
    let second = batch(Some((writer, 1)), &[("c", Some("2"))]);
    let mut ends = Vec::new();
    for records in [&first, &first, &second, &first, &second] {
        let end = clients.fluss.put(put(table, 0, records.clone())).await;
        ends.push(end.expect("put"));
    }
    assert_eq!(ends, [ends[0], ends[0], ends[2], ends[0], ends[2]]);
    let mut keys = Vec::new();
    for partition in 0..3 {
        let rows = clients.consume("t", partition).await;
        keys.extend(rows.into_iter().filter_map(|(_, row)| row.key));
    }
    keys.sort();
    assert_eq!(keys, [b"a", b"b", b"c"]);
    // A batch is missing in between.
    let later = batch(Some((writer, 3)), &[("d", Some("3"))]);
    let refused = clients.fluss.put(put(table, 0, later)).await;
    assert_eq!(refused, Err(ErrorCode::OutOfOrderSequence));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_any_partition_may_have_a_key_puts_are_refused_by_naming_the_setting() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    let table = clients.compacted("t", 2, "probe").await;
    let request = put(table, 0, batch(None, &[("a", Some("1"))]));
    let answer = clients.fluss.ask(request).await.expect("an answer");
    let answer = &answer.buckets_resp[0];
    assert_eq!(code(answer.error_code), Some(ErrorCode::InvalidConfig));
    let message = answer.error_message.as_deref().expect("a message");
    assert!(message.contains("vltava.key.partitioner"), "{message}");
    assert!(clients.consume("t", 0).await.is_empty());

    let known = clients.compacted("known", 2, "fnv1a").await;
    let partial = PutKvRequest {
        target_columns: vec![0, 1],
        ..put(known, 0, batch(None, &[("a", Some("1"))]))
    };
    let refused = clients.fluss.put(partial).await;
    assert_eq!(refused, Err(ErrorCode::InvalidTargetColumn));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_begins_with_its_first_batch_in_every_bucket() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    let table = clients.compacted("t", 2, "murmur2").await;
    let writer = clients.fluss.ask(InitWriterRequest::default()).await;
    let writer = writer.expect("an id").writer_id;
    let first = batch(Some((writer, 0)), &[("a", Some("1"))]);
    let second = batch(Some((writer, 1)), &[("b", Some("1"))]);
    // The first is still to come: its client got an error that it retries.
    let early = clients.fluss.put(put(table, 0, second.clone())).await;
    assert_eq!(early, Err(ErrorCode::OutOfOrderSequence));
    for records in [first, second] {
        let end = clients.fluss.put(put(table, 0, records)).await;
        end.expect("put");
    }
    let found = clients.values(table, 0, &["a", "b"]).await;
    assert_eq!(found, [Some("1".to_owned()), Some("1".to_owned())]);

    // A partition that is younger knows nothing of the writer, which begins anew with another id.
    let grown = CreatePartitionsTopic::default()
        .with_name(TopicName(text("t")))
        .with_count(3)
        .with_assignments(None);
    let grow = CreatePartitionsRequest::default().with_topics(vec![grown]);
    let answer = clients.kafka.ask(3, grow).await.expect("an answer");
    assert_eq!(answer.results[0].error_code, 0);
    let third = batch(Some((writer, 2)), &[("c", Some("1"))]);
    let refused = clients.fluss.put(put(table, 0, third)).await;
    assert_eq!(refused, Err(ErrorCode::OutOfOrderSequence));
    let another = clients.fluss.ask(InitWriterRequest::default()).await;
    let another = another.expect("an id").writer_id;
    let third = batch(Some((another, 0)), &[("c", Some("1"))]);
    clients.fluss.put(put(table, 0, third)).await.expect("put");
    broker.stop().await;
}

/// Writes batches as the clients of Fluss 1.0 do, five at a time. Gives how many were refused.
async fn write_all(client: &mut Client, table: i64, writer: i64, batches: &[Bytes]) -> usize {
    let mut refused = 0;
    let mut last_acknowledged = None;
    let mut waiting: VecDeque<usize> = (0..batches.len()).collect();
    while !waiting.is_empty() {
        let mut sent = HashMap::new();
        for sequence in waiting.iter().take(5) {
            let request = put(table, 0, batches[*sequence].clone()).encode_to_vec();
            let id = client.send(PutKvRequest::KEY.code(), 0, &request).await;
            sent.insert(id, *sequence);
        }
        for _ in 0..sent.len() {
            let (id, answer) = client.try_receive::<PutKvRequest>().await.expect("one");
            let sequence = sent[&id];
            match code(answer.buckets_resp[0].error_code) {
                None => last_acknowledged = last_acknowledged.max(Some(sequence)),
                // A later batch was acknowledged, so this one must have been written.
                Some(ErrorCode::OutOfOrderSequence)
                    if last_acknowledged.is_some_and(|last| sequence <= last) => {}
                Some(code @ (ErrorCode::OutOfOrderSequence | ErrorCode::KvStorage)) => {
                    let is_next = sequence == last_acknowledged.map_or(0, |last| last + 1);
                    let gives_up = is_next && code == ErrorCode::OutOfOrderSequence;
                    assert!(!gives_up, "writer {writer}, batch {sequence}");
                    refused += 1;
                    continue;
                }
                Some(other) => panic!("writer {writer}, batch {sequence}: {other:?}"),
            }
            waiting.retain(|waiting| *waiting != sequence);
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_busy_bucket_refuses_an_acknowledged_batch_is_in_all_of_them() {
    // While anything waits for a log, everything else is refused.
    let broker = TestBroker::start_with([("vltava.append.queue.bytes", "1")]).await;
    let mut clients = Clients::connect(&broker).await;
    let table = clients.compacted("t", 4, "murmur2").await;
    let mut expected = Vec::new();
    let mut refused = 0;
    // Until enough was refused: some of the first batches of their writers among it.
    for number in 0.. {
        if number >= 20 && refused >= 20 {
            break;
        }
        let writer = clients.fluss.ask(InitWriterRequest::default()).await;
        let writer = writer.expect("an id").writer_id;
        let keys: Vec<String> = (0..8).map(|at| format!("{number}-{at}")).collect();
        let batches: Vec<Bytes> = (0..)
            .zip(&keys)
            .map(|(sequence, key)| batch(Some((writer, sequence)), &[(key, Some("v"))]))
            .collect();
        refused += write_all(&mut clients.fluss, table, writer, &batches).await;
        expected.extend(keys.into_iter().map(String::into_bytes));
    }
    let mut found = Vec::new();
    for partition in 0..4 {
        let rows = clients.consume("t", partition).await;
        found.extend(rows.into_iter().filter_map(|(_, row)| row.key));
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    broker.stop().await;
}
