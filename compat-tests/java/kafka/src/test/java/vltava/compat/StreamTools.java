package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The tools that produce and consume. */
class StreamTools {
    private static void contains(String text, String wanted) {
        assertTrue(text.contains(wanted), () -> "no `" + wanted + "` in: " + text);
    }

    @Test
    void consoleProducerWritesLines() throws Exception {
        String topic = Kafka.topic(1);
        Tool tool = Tool.run("org.apache.kafka.tools.ConsoleProducer", "k1:one\nk2:two\n", List.of(
                "--bootstrap-server", Kafka.bootstrap(), "--topic", topic,
                "--reader-property", "parse.key=true", "--reader-property", "key.separator=:"));
        assertEquals(0, tool.status(), tool.output());
        var records = Kafka.read(topic, 2);
        assertEquals(List.of("one", "two"), Kafka.valuesOf(records));
        assertEquals("k2", records.get(1).key());
    }

    @Test
    void consoleConsumerPrintsKeysHeadersAndValues() throws Exception {
        String topic = Kafka.topic(1);
        try (var producer = Kafka.producer(Map.of())) {
            var record = new ProducerRecord<>(topic, "key", "value");
            record.headers().add("trace", "abc".getBytes());
            producer.send(record).get();
        }
        String output = Tool.output("org.apache.kafka.tools.consumer.ConsoleConsumer",
                "--bootstrap-server", Kafka.bootstrap(), "--topic", topic, "--from-beginning", "--max-messages", "1",
                "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true",
                "--formatter-property", "print.offset=true", "--timeout-ms", "30000");
        contains(output, "trace:abc");
        contains(output, "key");
        contains(output, "value");
        contains(output, "Offset:0");
    }

    @ParameterizedTest
    @ValueSource(strings = {"none", "lz4"})
    void performanceToolsWriteAndReadEveryRecord(String codec) throws Exception {
        String topic = Kafka.topic(1);
        String produced = Tool.output("org.apache.kafka.tools.ProducerPerformance",
                "--topic", topic, "--num-records", "20000", "--record-size", "100", "--throughput", "-1",
                "--producer-props", "bootstrap.servers=" + Kafka.bootstrap(), "compression.type=" + codec);
        contains(produced, "20000 records sent");
        String consumed = Tool.output("org.apache.kafka.tools.ConsumerPerformance",
                "--bootstrap-server", Kafka.bootstrap(), "--topic", topic, "--messages", "20000", "--timeout", "30000");
        contains(consumed, ", 20000,");
    }

    @Test
    void endToEndLatencyMeasuresPingPong() throws Exception {
        String topic = Kafka.topic(1);
        String output = Tool.output("org.apache.kafka.tools.EndToEndLatency",
                "--bootstrap-server", Kafka.bootstrap(), "--topic", topic, "--num-records", "50",
                "--producer-acks", "1", "--record-size", "100");
        contains(output, "Percentiles");
    }

    @Test
    void verifiableToolsAccountForEveryRecord() throws Exception {
        String topic = Kafka.topic(1);
        String produced = Tool.output("org.apache.kafka.tools.VerifiableProducer",
                "--bootstrap-server", Kafka.bootstrap(), "--topic", topic, "--max-messages", "500", "--acks", "-1");
        contains(produced, "\"sent\":500");
        contains(produced, "\"acked\":500");
        String consumed = Tool.output("org.apache.kafka.tools.VerifiableConsumer",
                "--bootstrap-server", Kafka.bootstrap(), "--topic", topic, "--group-id", Kafka.unique("group"),
                "--max-messages", "500", "--reset-policy", "earliest");
        contains(consumed, "\"name\":\"offsets_committed\"");
        contains(consumed, "\"name\":\"shutdown_complete\"");
    }
}
