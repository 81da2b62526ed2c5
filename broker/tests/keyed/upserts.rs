//! Kafka producers that write to primary-key tables.

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    CreatePartitionsRequest, IncrementalAlterConfigsRequest, ProduceRequest, TopicName,
};
use protocol::fluss::bucketing::BucketFunction;
use protocol::fluss::messages::*;
use protocol::kafka::builder::{BatchBuilder, BatchOptions, BatchProducer};
use protocol::kafka::compression::Codec;
use protocol::row::Datum;
use protocol::schema::TypeKind;

use super::common::TestBroker;
use super::common::fluss::{Client, path};
use super::common::kafka::text;
use super::common::kafka_peer::Kafka;
use super::common::keyed::{Keyed, lookup, row};
use super::common::records::of_kafka;

const NO_ERROR: i16 = 0;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const INVALID_RECORD: i16 = 87;

type KeyValue<'a> = (Option<&'a str>, Option<&'a str>);

fn batch(records: &[KeyValue<'_>], options: BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for (place, (key, value)) in (0..).zip(records) {
        let key = key.map(str::as_bytes);
        builder.append(place, 1_700_000_000_000, key, value.map(str::as_bytes), []);
    }
    builder.finish()
}

fn plain(records: &[KeyValue<'_>]) -> Bytes {
    batch(records, BatchOptions::default())
}

fn of_producer(id: i64, epoch: i16, base_sequence: i32, records: &[KeyValue<'_>]) -> Bytes {
    let producer = Some(BatchProducer {
        id,
        epoch,
        base_sequence,
    });
    let options = BatchOptions {
        producer,
        ..BatchOptions::default()
    };
    batch(records, options)
}

async fn produce(
    kafka: &mut Kafka,
    topic: &str,
    partition: i32,
    records: Bytes,
) -> PartitionProduceResponse {
    let partition = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(text(topic)))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic]);
    let answer = kafka.ask(9, request).await.expect("an answer");
    answer.responses[0].partition_responses[0].clone()
}

/// The error code of a batch.
async fn outcome(kafka: &mut Kafka, topic: &str, partition: i32, records: Bytes) -> i16 {
    let answer = produce(kafka, topic, partition, records).await;
    // Whatever became of it: a table has no offset for a producer.
    assert_eq!(answer.base_offset, -1);
    answer.error_code
}

/// The row of a key of [`Keyed::new`], in the bucket where Fluss clients look for it.
async fn find(client: &mut Client, table: i64, buckets: i32, id: i32) -> String {
    let keyed = Keyed::new();
    let key = keyed.key(&row(id, "", 0));
    let bucket = BucketFunction::Fluss.bucket(&key, buckets);
    let values = client.look_up(lookup(table, bucket, vec![key])).await;
    match &values.expect("values")[0] {
        Some(value) => keyed.shown(value),
        None => "none".to_owned(),
    }
}

/// The log end offset of each bucket.
async fn ends(client: &mut Client, table: i64, buckets: i32) -> Vec<Option<i64>> {
    let mut ends = Vec::new();
    for bucket in 0..buckets {
        ends.push(client.fetch(table, bucket, 0, 0).await.high_watermark);
    }
    ends
}

async fn alter_topic(kafka: &mut Kafka, topic: &str, name: &str, value: &str) {
    let config = AlterableConfig::default()
        .with_name(text(name))
        .with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = kafka.ask(1, request).await.expect("an answer");
    assert_eq!(answer.responses[0].error_code, NO_ERROR, "{answer:?}");
}

#[tokio::test]
async fn records_go_to_the_bucket_of_their_key_whatever_partition_they_were_sent_to() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = Keyed::new().table(4, &[]);
    let table = client.create_table(&path("t"), &table).await;
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    let records: Vec<(String, String)> = (0..40)
        .map(|id| {
            let value = format!("{{\"id\":{id},\"name\":\"n{id}\",\"n\":{}}}", id * 10);
            (format!("{{\"id\":{id}}}"), value)
        })
        .collect();
    let records: Vec<KeyValue<'_>> = records
        .iter()
        .map(|(key, value)| (Some(key.as_str()), Some(value.as_str())))
        .collect();
    for codec in [Codec::None, Codec::Zstd] {
        let options = BatchOptions {
            codec,
            ..BatchOptions::default()
        };
        let sent = batch(&records, options);
        assert_eq!(outcome(&mut kafka, "fluss.t", 3, sent).await, NO_ERROR);
    }
    for id in 0..40 {
        let expected = format!("{id}|n{id}|{}", id * 10);
        assert_eq!(find(&mut client, table, 4, id).await, expected);
    }
    // +I of each, then -U +U of each.
    let ends = ends(&mut client, table, 4).await;
    assert_eq!(ends.iter().flatten().sum::<i64>(), 120);

    // The key may stand in either, what is missing becomes null, and a null value deletes.
    let sent = plain(&[
        (Some("{\"id\":1}"), Some("{\"name\":\"uno\"}")),
        (None, Some("{\"n\":\"7\",\"id\":2}")),
        (Some("{\"id\":3}"), None),
        (Some("{\"id\":3}"), Some("{}")),
        (Some("{\"id\":4}"), None),
    ]);
    assert_eq!(outcome(&mut kafka, "fluss.t", 0, sent).await, NO_ERROR);
    let mut found = Vec::new();
    for id in 1..=5 {
        found.push(find(&mut client, table, 4, id).await);
    }
    assert_eq!(found, ["1|uno|-", "2|-|7", "3|-|-", "none", "5|n5|50"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_batch_with_a_record_that_does_not_fit_is_refused_and_says_which() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = Keyed::new().table(2, &[]);
    let table = client.create_table(&path("t"), &table).await;
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    let sent = plain(&[
        (Some("{\"id\":1}"), Some("{\"id\":1}")),
        (Some("{\"id\":1}"), Some("{\"id\":2}")),
        (None, Some("{\"id\":3,\"nam\":\"\"}")),
        (None, None),
        (Some("{\"name\":\"x\"}"), Some("{\"id\":4}")),
        (Some("4"), Some("{\"id\":4}")),
        (None, Some("{\"name\":\"x\"}")),
        (None, Some("{\"id\":4,\"n\":1.5}")),
    ]);
    let answer = produce(&mut kafka, "fluss.t", 0, sent).await;
    assert_eq!(
        (answer.error_code, answer.base_offset),
        (INVALID_RECORD, -1)
    );
    let errors: Vec<_> = answer
        .record_errors
        .iter()
        .map(|error| {
            let message = error.batch_index_error_message.as_ref();
            (error.batch_index, message.expect("a message").as_str())
        })
        .collect();
    assert_eq!(
        errors,
        [
            (
                1,
                "column 'id' is not the same in the record's key and value"
            ),
            (
                2,
                "the record's value has the field 'nam', which is no column"
            ),
            (3, "a record that deletes a row needs its key"),
            (
                4,
                "the record's key has the field 'name', which is no column"
            ),
            (5, "the record's key is not a JSON object"),
            (6, "column 'id' is missing and must not be null"),
            (
                7,
                "the record's value column 'n' has '1.5', which is no BIGINT"
            ),
        ]
    );
    let message = answer.error_message.expect("a message");
    assert!(
        message.starts_with("7 records refused, the first: column 'id'"),
        "{message:?}"
    );
    assert_eq!(ends(&mut client, table, 2).await, [Some(0), Some(0)]);

    let options = BatchOptions {
        producer: Some(BatchProducer {
            id: 1,
            epoch: 0,
            base_sequence: 0,
        }),
        transactional: true,
        ..BatchOptions::default()
    };
    let sent = batch(&[(None, Some("{\"id\":1}"))], options);
    assert_eq!(
        outcome(&mut kafka, "fluss.t", 0, sent).await,
        INVALID_TXN_STATE
    );

    // Keys would be in other buckets.
    let more = CreatePartitionsTopic::default()
        .with_name(TopicName(text("fluss.t")))
        .with_count(5)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![more])
        .with_timeout_ms(1_000);
    let answer = kafka.ask(2, request).await.expect("an answer");
    assert_eq!(answer.results[0].error_code, 37);
    broker.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_applied_once_also_after_a_restart() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = Keyed::new().table(3, &[]);
    let table = client.create_table(&path("t"), &table).await;
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    let (id, epoch) = kafka.producer_id().await.expect("an id");
    let values: Vec<String> = (0..10).map(|id| format!("{{\"id\":{id}}}")).collect();
    let records: Vec<KeyValue<'_>> = values.iter().map(|v| (None, Some(v.as_str()))).collect();
    let sent = |epoch, sequence| of_producer(id, epoch, sequence, &records);
    let t = "fluss.t";
    assert_eq!(outcome(&mut kafka, t, 1, sent(epoch, 0)).await, NO_ERROR);
    let once = ends(&mut client, table, 3).await;
    assert_eq!(once.iter().flatten().sum::<i64>(), 10);
    assert_eq!(outcome(&mut kafka, t, 1, sent(epoch, 0)).await, NO_ERROR);
    assert_eq!(ends(&mut client, table, 3).await, once);
    let gap = outcome(&mut kafka, t, 1, sent(epoch, 11)).await;
    assert_eq!(gap, OUT_OF_ORDER_SEQUENCE_NUMBER);
    // Another partition has sequences of its own.
    assert_eq!(outcome(&mut kafka, t, 2, sent(epoch, 0)).await, NO_ERROR);
    let twice = ends(&mut client, table, 3).await;
    assert_eq!(twice.iter().flatten().sum::<i64>(), 30);

    let broker = broker.restart().await;
    let mut client = Client::connect(broker.fluss()).await;
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    assert_eq!(outcome(&mut kafka, t, 1, sent(epoch, 0)).await, NO_ERROR);
    assert_eq!(ends(&mut client, table, 3).await, twice);
    let gap = outcome(&mut kafka, t, 1, sent(epoch, 11)).await;
    assert_eq!(gap, OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(outcome(&mut kafka, t, 1, sent(epoch, 10)).await, NO_ERROR);
    let next = outcome(&mut kafka, t, 1, sent(epoch + 1, 20)).await;
    assert_eq!(next, OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(
        outcome(&mut kafka, t, 1, sent(epoch + 1, 0)).await,
        NO_ERROR
    );
    let old = outcome(&mut kafka, t, 1, sent(epoch, 20)).await;
    assert_eq!(old, INVALID_PRODUCER_EPOCH);
    broker.stop().await;
}

#[tokio::test]
async fn requests_that_wait_together_keep_their_order() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = Keyed::new().table(3, &[]);
    let table = client.create_table(&path("t"), &table).await;
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    let (id, epoch) = kafka.producer_id().await.expect("an id");
    for round in 0..20 {
        for batch in 0..5 {
            let n = round * 5 + batch;
            let values: Vec<_> = (0..7)
                .map(|id| format!("{{\"id\":{id},\"n\":{n}}}"))
                .collect();
            let records: Vec<KeyValue<'_>> =
                values.iter().map(|v| (None, Some(v.as_str()))).collect();
            let sent = of_producer(id, epoch, n * 7, &records);
            kafka.send_batch("fluss.t", 0, sent).await.expect("sent");
        }
        for _ in 0..5 {
            assert_eq!(kafka.acknowledged().await.expect("an answer"), Ok(-1));
        }
    }
    for id in 0..7 {
        assert_eq!(find(&mut client, table, 3, id).await, format!("{id}|-|99"));
    }
    broker.stop().await;
}

#[tokio::test]
async fn what_one_table_tells_kafka_consumers_another_takes_from_a_producer() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::of(
        &[
            ("name", TypeKind::String),
            ("id", TypeKind::BigInt),
            (
                "price",
                TypeKind::Decimal {
                    precision: 10,
                    scale: 2,
                },
            ),
            ("at", TypeKind::TimestampLtz { precision: 6 }),
            ("ratio", TypeKind::Double),
        ],
        &["name", "id"],
    );
    let from = client.create_table(&path("a"), &keyed.table(1, &[])).await;
    let to = client.create_table(&path("b"), &keyed.table(1, &[])).await;
    let rows: Vec<Vec<Datum<'_>>> = [(1, f64::INFINITY), (1 << 60, 0.1), (-5, -0.0)]
        .into_iter()
        .map(|(id, ratio)| {
            vec![
                Datum::String("é\"\n"),
                Datum::BigInt(id),
                Datum::Decimal(-5),
                Datum::Timestamp(protocol::row::Timestamp {
                    millis: id % 1_000_000,
                    nanos: 123_000,
                }),
                Datum::Double(ratio),
            ]
        })
        .collect();
    let put = super::common::keyed::put;
    client
        .put(put(from, 0, keyed.upserts(None, &rows)))
        .await
        .expect("put");
    let gone = keyed.changes(None, &[(rows[2].clone(), true)]);
    client.put(put(from, 0, gone)).await.expect("put");

    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    let fetched = kafka
        .fetch("fluss.a", 0, 0, 1_000)
        .await
        .expect("an answer");
    let (records, _) = of_kafka(&fetched.records, 0);
    assert_eq!(records.len(), 4);
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for (place, (_, record)) in (0..).zip(&records) {
        builder.append(place, 0, record.key.as_deref(), record.value.as_deref(), []);
    }
    let answer = produce(&mut kafka, "fluss.b", 0, builder.finish()).await;
    assert_eq!(answer.error_code, NO_ERROR, "{answer:?}");
    let found = client.rows(&keyed, to, &rows).await;
    assert_eq!(found, client.rows(&keyed, from, &rows).await);
    assert_eq!(found[2], "none");
    broker.stop().await;
}

#[tokio::test]
async fn missing_columns_keep_their_values_where_the_topic_says_so() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = Keyed::new().table(1, &[]);
    let table = client.create_table(&path("t"), &table).await;
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    alter_topic(&mut kafka, "fluss.t", "vltava.kafka.partial.update", "true").await;
    let (id, epoch) = kafka.producer_id().await.expect("an id");
    let records = [
        (None, Some("{\"id\":1,\"name\":\"one\",\"n\":1}")),
        (None, Some("{\"id\":1,\"n\":2}")),
        (None, Some("{\"id\":2,\"name\":\"two\"}")),
        (None, Some("{\"id\":1,\"name\":null}")),
        (None, Some("{\"id\":2,\"n\":22}")),
        (Some("{\"id\":1}"), Some("{\"n\":3}")),
        (Some("{\"id\":2}"), None),
    ];
    // In one bucket: the parts of a batch are told apart, also when all come again.
    for _ in 0..2 {
        let sent = of_producer(id, epoch, 0, &records);
        assert_eq!(outcome(&mut kafka, "fluss.t", 0, sent).await, NO_ERROR);
        assert_eq!(find(&mut client, table, 1, 1).await, "1|-|3");
        assert_eq!(find(&mut client, table, 1, 2).await, "none");
    }
    // +I; -U +U four times but for another +I; -D.
    assert_eq!(ends(&mut client, table, 1).await, [Some(11)]);
    broker.stop().await;
}

#[tokio::test]
async fn the_topic_of_a_partition_takes_rows_of_that_partition() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let days = Keyed::of(
        &[
            ("day", TypeKind::String),
            ("id", TypeKind::Int),
            ("n", TypeKind::BigInt),
        ],
        &["day", "id"],
    );
    let days = days.partitioned_by("day");
    client
        .create_table(&path("days"), &days.table(1, &[]))
        .await;
    let create = CreatePartitionRequest {
        table_path: path("days"),
        partition_spec: PbPartitionSpec {
            partition_key_values: vec![PbKeyValue {
                key: "day".into(),
                value: "monday".into(),
            }],
        },
        ignore_if_not_exists: false,
    };
    client.ask(create).await.expect("created");
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    let topic = "fluss.days.monday";
    let sent = plain(&[
        (None, Some("{\"day\":\"monday\",\"id\":1,\"n\":1}")),
        (None, Some("{\"id\":2,\"n\":2}")),
        (Some("{\"day\":\"monday\",\"id\":3}"), None),
    ]);
    assert_eq!(outcome(&mut kafka, topic, 0, sent).await, NO_ERROR);
    let other = plain(&[(None, Some("{\"day\":\"friday\",\"id\":1,\"n\":1}"))]);
    let answer = produce(&mut kafka, topic, 0, other).await;
    assert_eq!(answer.error_code, INVALID_RECORD);
    let fetched = kafka.fetch(topic, 0, 0, 1_000).await.expect("an answer");
    let (records, _) = of_kafka(&fetched.records, 0);
    let values: Vec<_> = records
        .iter()
        .map(|(_, record)| String::from_utf8(record.value.clone().expect("a row")).expect("UTF-8"))
        .collect();
    assert_eq!(
        values,
        [
            "{\"day\":\"monday\",\"id\":1,\"n\":1}",
            "{\"day\":\"monday\",\"id\":2,\"n\":2}"
        ]
    );
    broker.stop().await;
}

#[tokio::test]
async fn columns_that_the_server_counts_and_deletes_that_a_table_refuses() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let counting = Keyed::new().counting("n");
    let table = client
        .create_table(&path("t"), &counting.table(1, &[]))
        .await;
    let strict = Keyed::new().table(1, &[("table.delete.behavior", "disable")]);
    let strict = client.create_table(&path("s"), &strict).await;
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("connected");
    let sent = plain(&[
        (None, Some("{\"id\":1,\"name\":\"one\"}")),
        (None, Some("{\"id\":1,\"name\":\"uno\",\"n\":null}")),
    ]);
    assert_eq!(outcome(&mut kafka, "fluss.t", 0, sent).await, NO_ERROR);
    assert_eq!(find(&mut client, table, 1, 1).await, "1|uno|1");
    for refused in [
        (None, Some("{\"id\":1,\"n\":5}")),
        (Some("{\"id\":1}"), None),
    ] {
        let code = outcome(&mut kafka, "fluss.t", 0, plain(&[refused])).await;
        assert_eq!(code, INVALID_RECORD);
    }
    let sent = plain(&[(None, Some("{\"id\":1}")), (Some("{\"id\":1}"), None)]);
    assert_eq!(
        outcome(&mut kafka, "fluss.s", 0, sent).await,
        INVALID_RECORD
    );
    assert_eq!(ends(&mut client, strict, 1).await, [Some(0)]);
    broker.stop().await;
}
