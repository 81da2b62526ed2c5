package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.stream.LongStream;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.record.TimestampType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is written is read back. */
class RecordsTest {
    @ParameterizedTest
    @ValueSource(strings = {"none", "gzip", "snappy", "lz4", "zstd"})
    void recordsComeBackInEveryCodec(String codec) throws Exception {
        String topic = Kafka.topic(1);
        List<String> written = Kafka.values(codec.repeat(20), 500);
        try (var producer = Kafka.producer(Map.of("compression.type", codec, "linger.ms", 5, "batch.size", 20_000))) {
            assertEquals(LongStream.range(0, 500).boxed().toList(), Kafka.produce(producer, topic, 0, written));
        }
        assertEquals(written, Kafka.valuesOf(Kafka.read(topic, 500)));
    }

    @ParameterizedTest
    @ValueSource(strings = {"gzip", "snappy", "lz4", "zstd", "uncompressed"})
    void aTopicsOwnCodecRewritesBatches(String codec) throws Exception {
        String topic = Kafka.topic(1, Map.of("compression.type", codec));
        List<String> written = Kafka.values("v".repeat(100), 100);
        try (var producer = Kafka.producer(Map.of("compression.type", "lz4", "linger.ms", 5))) {
            Kafka.produce(producer, topic, 0, written);
        }
        assertEquals(written, Kafka.valuesOf(Kafka.read(topic, 100)));
    }

    @Test
    void keysHeadersTimestampsAndNullsComeBack() throws Exception {
        String topic = Kafka.topic(1);
        var headers = new RecordHeaders().add("a", "1".getBytes(StandardCharsets.UTF_8)).add("a", null).add("", new byte[0]);
        try (var producer = Kafka.producer(Map.of())) {
            producer.send(new ProducerRecord<>(topic, 0, 1_700_000_000_123L, "key", "value", headers)).get();
            producer.send(new ProducerRecord<>(topic, 0, "gone", null)).get();
            producer.send(new ProducerRecord<>(topic, 0, "", "")).get();
        }
        var records = Kafka.read(topic, 3);
        assertEquals("key", records.get(0).key());
        assertEquals(1_700_000_000_123L, records.get(0).timestamp());
        assertEquals(TimestampType.CREATE_TIME, records.get(0).timestampType());
        var found = records.get(0).headers().toArray();
        assertEquals(3, found.length);
        assertArrayEquals(new byte[] {'1'}, found[0].value());
        assertNull(found[1].value());
        assertEquals(0, found[2].value().length);
        assertNull(records.get(1).value());
        assertEquals("gone", records.get(1).key());
        assertEquals("", records.get(2).value());
    }

    @Test
    void logAppendTimeReplacesTheProducersTimestamp() throws Exception {
        String topic = Kafka.topic(1, Map.of("message.timestamp.type", "LogAppendTime"));
        long before = System.currentTimeMillis();
        try (var producer = Kafka.producer(Map.of("compression.type", "zstd"))) {
            producer.send(new ProducerRecord<>(topic, 0, 5L, "k", "v")).get();
        }
        var record = Kafka.read(topic, 1).get(0);
        assertEquals(TimestampType.LOG_APPEND_TIME, record.timestampType());
        assertTrue(record.timestamp() >= before - 1000, "stamped " + record.timestamp());
    }

    @Test
    void anIdempotentProducerKeepsOrderOverManyBatches() throws Exception {
        String topic = Kafka.topic(1);
        List<String> written = Kafka.values("v", 3_000);
        try (var producer = Kafka.producer(Map.of("enable.idempotence", true, "batch.size", 500))) {
            assertEquals(LongStream.range(0, 3_000).boxed().toList(), Kafka.produce(producer, topic, 0, written));
        }
        assertEquals(written, Kafka.valuesOf(Kafka.read(topic, 3_000)));
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "1"})
    void recordsWithWeakAcknowledgementArrive(String acks) throws Exception {
        String topic = Kafka.topic(1);
        try (var producer = Kafka.producer(Map.of("acks", acks, "enable.idempotence", false))) {
            for (String value : Kafka.values("v", 20)) {
                producer.send(new ProducerRecord<>(topic, value));
            }
            producer.flush();
        }
        assertEquals(Kafka.values("v", 20), Kafka.valuesOf(Kafka.read(topic, 20)));
    }

    @Test
    void offsetsForTimesNameTheFirstRecordAtOrAfter() throws Exception {
        String topic = Kafka.topic(1);
        var partition = new TopicPartition(topic, 0);
        try (var producer = Kafka.producer(Map.of())) {
            for (long second = 0; second < 4; second++) {
                producer.send(new ProducerRecord<>(topic, 0, 1_700_000_000_000L + second * 1000, "k", "v")).get();
            }
        }
        try (var consumer = Kafka.consumer(Map.of())) {
            var found = consumer.offsetsForTimes(Map.of(partition, 1_700_000_001_500L)).get(partition);
            assertEquals(2, found.offset());
            assertEquals(1_700_000_002_000L, found.timestamp());
            assertNull(consumer.offsetsForTimes(Map.of(partition, 1_700_000_003_001L)).get(partition));
            assertEquals(0L, consumer.beginningOffsets(List.of(partition)).get(partition));
            assertEquals(4L, consumer.endOffsets(List.of(partition)).get(partition));
        }
    }

    @Test
    void aConsumerSeeksToTheEndsAndBetween() throws Exception {
        String topic = Kafka.topic(1);
        Kafka.produce(topic, Kafka.values("v", 10));
        var partition = List.of(new TopicPartition(topic, 0));
        try (var consumer = Kafka.consumer(Map.of())) {
            consumer.assign(partition);
            consumer.seek(partition.get(0), 7);
            assertEquals(List.of("v-7", "v-8", "v-9"), Kafka.valuesOf(Kafka.take(consumer, 3)));
            consumer.seekToBeginning(partition);
            assertEquals("v-0", Kafka.take(consumer, 10).get(0).value());
            consumer.seekToEnd(partition);
            assertEquals(10, consumer.position(partition.get(0)));
            Kafka.produce(topic, List.of("new"));
            assertEquals(List.of("new"), Kafka.valuesOf(Kafka.take(consumer, 1)));
        }
    }

    @Test
    void aConsumerPositionedByDurationStartsAtThatTime() throws Exception {
        String topic = Kafka.topic(1);
        long now = System.currentTimeMillis();
        try (var producer = Kafka.producer(Map.of())) {
            producer.send(new ProducerRecord<>(topic, 0, now - Duration.ofHours(3).toMillis(), "k", "old")).get();
            producer.send(new ProducerRecord<>(topic, 0, now, "k", "new")).get();
        }
        try (var consumer = Kafka.consumer(Map.of("auto.offset.reset", "by_duration:PT1H", "group.id", Kafka.unique("g")))) {
            consumer.subscribe(List.of(topic));
            assertEquals("new", Kafka.take(consumer, 1).get(0).value());
        }
    }

    @Test
    void aRecordLargerThanTheTopicAllowsIsRefused() throws Exception {
        String topic = Kafka.topic(1, Map.of("max.message.bytes", "1000"));
        try (var producer = Kafka.producer(Map.of())) {
            var sent = producer.send(new ProducerRecord<>(topic, "x".repeat(5_000)));
            var error = assertThrows(ExecutionException.class, sent::get);
            assertInstanceOf(RecordTooLargeException.class, error.getCause());
        }
        assertEquals(List.of(), empty(topic));
    }

    @Test
    void aTimestampOutsideTheTopicsBoundsIsRefused() throws Exception {
        String topic = Kafka.topic(1, Map.of("message.timestamp.before.max.ms", "60000"));
        try (var producer = Kafka.producer(Map.of())) {
            var sent = producer.send(new ProducerRecord<>(topic, 0, 1_000L, "k", "v"));
            assertThrows(ExecutionException.class, sent::get);
        }
        assertEquals(List.of(), empty(topic));
    }

    @Test
    void anOffsetOutOfRangeIsReported() throws Exception {
        String topic = Kafka.topic(1);
        Kafka.produce(topic, Kafka.values("v", 3));
        try (var consumer = Kafka.consumer(Map.of("auto.offset.reset", "none"))) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            consumer.seek(new TopicPartition(topic, 0), 99);
            assertThrows(OffsetOutOfRangeException.class, () -> Kafka.take(consumer, 1));
        }
    }

    @Test
    void smallFetchesStillDeliverLargeRecords() throws Exception {
        String topic = Kafka.topic(2);
        try (var producer = Kafka.producer(Map.of("batch.size", 0))) {
            Kafka.produce(producer, topic, 0, List.of("a".repeat(50_000), "b".repeat(50_000)));
            Kafka.produce(producer, topic, 1, List.of("c".repeat(50_000)));
        }
        try (var consumer = Kafka.consumer(Map.of("max.partition.fetch.bytes", 1_000, "fetch.max.bytes", 1_000))) {
            consumer.assign(List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1)));
            assertEquals(3, Kafka.take(consumer, 3).size());
        }
    }

    private static List<String> empty(String topic) {
        try (var consumer = Kafka.consumer(Map.of())) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            assertEquals(0L, consumer.endOffsets(consumer.assignment()).values().iterator().next());
            return List.of();
        }
    }
}
