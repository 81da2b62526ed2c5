//! What is written is read back: codecs, keys, headers, timestamps, nulls, positions.

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::{BaseRecord, FutureRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use vltava_compat_kafka_rust::{
    LIMIT, assign, config, produce, producer, reader, take, text, topic, values,
};

async fn codec_round_trip(codec: &str) {
    let topic = topic("codec", 1, &[]).await;
    // Long enough to be worth compressing, and several batches.
    let written: Vec<_> = values(codec, 500)
        .into_iter()
        .map(|value| value.repeat(20))
        .collect();
    let producer = producer(&[("compression.type", codec), ("batch.size", "20000")]);
    let offsets = produce(&producer, &topic, 0, &written).await;
    assert_eq!(offsets, (0..500).collect::<Vec<i64>>());
    let reader = reader(&[]);
    assign(&reader, &topic, 0, Offset::Beginning);
    let read = take(&reader, 500);
    assert!(read.iter().map(text).eq(written.iter().map(String::as_str)));
    assert!(read.iter().map(Message::offset).eq(0..500));
}

#[tokio::test]
async fn uncompressed_records_come_back() {
    codec_round_trip("none").await;
}

#[tokio::test]
async fn gzip_records_come_back() {
    codec_round_trip("gzip").await;
}

#[tokio::test]
async fn snappy_records_come_back() {
    codec_round_trip("snappy").await;
}

#[tokio::test]
async fn lz4_records_come_back() {
    codec_round_trip("lz4").await;
}

#[tokio::test]
async fn zstd_records_come_back() {
    codec_round_trip("zstd").await;
}

#[tokio::test]
async fn keys_headers_timestamps_and_nulls_come_back() {
    let topic = topic("fields", 1, &[]).await;
    let producer = producer(&[]);
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "trace",
            value: Some("abc"),
        })
        .insert(Header {
            key: "trace",
            value: Some(""),
        })
        .insert(Header {
            key: "none",
            value: None::<&str>,
        });
    let stamp = 1_700_000_000_123;
    let full = FutureRecord::to(&topic)
        .key("key")
        .payload("value")
        .headers(headers.clone())
        .timestamp(stamp);
    producer.send(full, LIMIT).await.expect("delivered");
    producer
        .send(FutureRecord::<str, str>::to(&topic).key("gone"), LIMIT)
        .await
        .expect("delivered");
    producer
        .send(
            FutureRecord::<str, str>::to(&topic).key("").payload(""),
            LIMIT,
        )
        .await
        .expect("delivered");
    let reader = reader(&[]);
    assign(&reader, &topic, 0, Offset::Beginning);
    let read = take(&reader, 3);
    assert_eq!(read[0].key(), Some(&b"key"[..]));
    assert_eq!(read[0].payload(), Some(&b"value"[..]));
    assert_eq!(read[0].timestamp(), Timestamp::CreateTime(stamp));
    let found: Vec<_> = read[0]
        .headers()
        .expect("headers")
        .iter()
        .map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec)))
        .collect();
    let wanted = [
        ("trace", Some(&b"abc"[..])),
        ("trace", Some(&b""[..])),
        ("none", None),
    ];
    assert_eq!(
        found,
        wanted.map(|(key, value)| (key.to_owned(), value.map(<[u8]>::to_vec)))
    );
    assert_eq!(
        (read[1].key(), read[1].payload()),
        (Some(&b"gone"[..]), None)
    );
    assert_eq!(
        (read[2].key(), read[2].payload()),
        (Some(&b""[..]), Some(&b""[..]))
    );
}

#[tokio::test]
async fn log_append_time_replaces_the_producers_timestamp() {
    let topic = topic("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let producer = producer(&[("compression.type", "lz4")]);
    let record = FutureRecord::<str, str>::to(&topic)
        .payload("x")
        .timestamp(1_000);
    producer.send(record, LIMIT).await.expect("delivered");
    let reader = reader(&[]);
    assign(&reader, &topic, 0, Offset::Beginning);
    match take(&reader, 1)[0].timestamp() {
        Timestamp::LogAppendTime(millis) => assert!(millis > 1_600_000_000_000, "{millis}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_consumer_at_the_end_sees_only_what_comes_later() {
    let topic = topic("latest", 1, &[]).await;
    let producer = producer(&[]);
    produce(&producer, &topic, 0, &values("old", 5)).await;
    let reader = reader(&[]);
    assign(&reader, &topic, 0, Offset::OffsetTail(2));
    assert_eq!(
        take(&reader, 2).iter().map(text).collect::<Vec<_>>(),
        ["old-3", "old-4"]
    );
    produce(&producer, &topic, 0, &values("new", 1)).await;
    assert_eq!(
        take(&reader, 1).iter().map(text).collect::<Vec<_>>(),
        ["new-0"]
    );
}

#[tokio::test]
async fn watermarks_name_the_ends_of_a_partition() {
    let topic = topic("ends", 2, &[]).await;
    produce(&producer(&[]), &topic, 1, &values("v", 7)).await;
    let reader = reader(&[]);
    assert_eq!(reader.fetch_watermarks(&topic, 0, LIMIT), Ok((0, 0)));
    assert_eq!(reader.fetch_watermarks(&topic, 1, LIMIT), Ok((0, 7)));
}

#[tokio::test]
async fn offsets_for_times_name_the_first_record_at_or_after() {
    let topic = topic("times", 1, &[]).await;
    let producer = producer(&[]);
    for (index, stamp) in [1_000_000_i64, 2_000_000, 3_000_000]
        .into_iter()
        .enumerate()
    {
        let value = format!("v{index}");
        let record = FutureRecord::<str, str>::to(&topic)
            .payload(&value)
            .timestamp(1_700_000_000_000 + stamp);
        producer.send(record, LIMIT).await.expect("delivered");
    }
    let reader = reader(&[]);
    let ask = |stamp: i64| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Offset(1_700_000_000_000 + stamp))
            .expect("an offset");
        reader
            .offsets_for_times(list, LIMIT)
            .expect("an answer")
            .elements()[0]
            .offset()
    };
    assert_eq!(ask(0), Offset::Offset(0));
    assert_eq!(ask(1_000_001), Offset::Offset(1));
    assert_eq!(ask(3_000_000), Offset::Offset(2));
    assert_eq!(ask(3_000_001), Offset::End);
}

#[tokio::test]
async fn an_idempotent_producer_keeps_order_over_many_batches() {
    let topic = topic("idempotent", 1, &[]).await;
    let producer = producer(&[("enable.idempotence", "true"), ("batch.num.messages", "10")]);
    let written = values("v", 1_000);
    let offsets = produce(&producer, &topic, 0, &written).await;
    assert_eq!(offsets, (0..1_000).collect::<Vec<i64>>());
    let reader = reader(&[]);
    assign(&reader, &topic, 0, Offset::Beginning);
    assert!(
        take(&reader, 1_000)
            .iter()
            .map(text)
            .eq(written.iter().map(String::as_str))
    );
}

#[test]
fn records_without_acknowledgement_arrive() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let topic = runtime.block_on(topic("acks0", 1, &[]));
    let producer: ThreadedProducer<DefaultProducerContext> =
        config(&[("acks", "0"), ("linger.ms", "0")])
            .create()
            .expect("a producer");
    for value in values("v", 20) {
        producer
            .send(BaseRecord::<str, str>::to(&topic).payload(&value))
            .expect("queued");
    }
    producer.flush(LIMIT).expect("flushed");
    let reader = reader(&[]);
    assign(&reader, &topic, 0, Offset::Beginning);
    assert_eq!(take(&reader, 20).len(), 20);
}

#[tokio::test]
async fn a_record_larger_than_the_topic_allows_is_refused() {
    let topic = topic("large", 1, &[("max.message.bytes", "1000")]).await;
    let producer = producer(&[]);
    let large = "x".repeat(5_000);
    let answer = producer
        .send(FutureRecord::<str, str>::to(&topic).payload(&large), LIMIT)
        .await;
    let (error, _) = answer.expect_err("refused");
    assert_eq!(
        error,
        KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)
    );
}

#[tokio::test]
async fn an_offset_out_of_range_is_reported() {
    let topic = topic("range", 1, &[]).await;
    produce(&producer(&[]), &topic, 0, &values("v", 3)).await;
    let reader = reader(&[("auto.offset.reset", "error")]);
    assign(&reader, &topic, 0, Offset::Offset(99));
    let error = harness::wait::until(LIMIT, || {
        match reader.poll(std::time::Duration::from_millis(50)) {
            Some(Err(error)) => Some(error),
            Some(Ok(message)) => panic!("a record at {}", message.offset()),
            None => None,
        }
    });
    let error = error.expect("an error").rdkafka_error_code();
    assert!(
        matches!(
            error,
            Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset)
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_waiting_consumer_gets_a_record_soon_after_it_is_written() {
    let topic = topic("wake", 1, &[]).await;
    let reader = reader(&[("fetch.wait.max.ms", "20000")]);
    assign(&reader, &topic, 0, Offset::Beginning);
    // The consumer's fetch now waits at the server; only the append can end it before 20 s.
    assert!(reader.poll(std::time::Duration::from_millis(300)).is_none());
    let began = std::time::Instant::now();
    produce(&producer(&[]), &topic, 0, &values("v", 1)).await;
    assert_eq!(take(&reader, 1).len(), 1);
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}
