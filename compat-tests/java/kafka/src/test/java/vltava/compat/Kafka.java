package vltava.compat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What the Kafka suites share: clients, topics with names of their own, and waiting for conditions. */
final class Kafka {
    /** Longer than any answer takes on a loaded machine. */
    static final Duration LIMIT = Duration.ofSeconds(30);

    private static final AtomicInteger COUNT = new AtomicInteger();

    private Kafka() {}

    static String bootstrap() {
        String address = System.getenv("KAFKA_BOOTSTRAP");
        if (address == null || address.isEmpty()) {
            throw new IllegalStateException("set KAFKA_BOOTSTRAP to host:port, or use compat-tests/run");
        }
        return address;
    }

    /** A name that no other test or run has used. */
    static String unique(String prefix) {
        return prefix + "_java_" + System.nanoTime() + "_" + COUNT.getAndIncrement();
    }

    static Properties config(Map<String, ?> more) {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap());
        config.putAll(more);
        return config;
    }

    static Admin admin() {
        return Admin.create(config(Map.of()));
    }

    static String topic(int partitions, Map<String, String> settings) throws Exception {
        String name = unique("topic");
        try (Admin admin = admin()) {
            get(admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1).configs(settings))).all());
            led(admin, name, partitions);
        }
        return name;
    }

    /**
     * Waits until every partition has a leader that answers. Apache Kafka answers the creation before that, and an
     * idempotent producer with several batches in flight then never recovers; see FINDINGS.md.
     */
    private static void led(Admin admin, String topic, int partitions) {
        Map<TopicPartition, OffsetSpec> latest = IntStream.range(0, partitions)
                .boxed()
                .collect(Collectors.toMap(partition -> new TopicPartition(topic, partition), partition -> OffsetSpec.latest()));
        until("leaders of " + topic, () -> {
            try {
                get(admin.listOffsets(latest).all());
                return true;
            } catch (ExecutionException notYet) {
                return false;
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        });
    }

    static String topic(int partitions) throws Exception {
        return topic(partitions, Map.of());
    }

    static KafkaProducer<String, String> producer(Map<String, ?> more) {
        return new KafkaProducer<>(config(more), new StringSerializer(), new StringSerializer());
    }

    /** Produces values to one partition, all in flight at once, and returns their offsets. */
    static List<Long> produce(KafkaProducer<String, String> producer, String topic, int partition, List<String> values)
            throws Exception {
        var sent = values.stream()
                .map(value -> producer.send(new ProducerRecord<>(topic, partition, (String) null, value)))
                .toList();
        List<Long> offsets = new ArrayList<>();
        for (var future : sent) {
            RecordMetadata metadata = future.get(LIMIT.toSeconds(), TimeUnit.SECONDS);
            offsets.add(metadata.offset());
        }
        return offsets;
    }

    static void produce(String topic, List<String> values) throws Exception {
        try (var producer = producer(Map.of())) {
            produce(producer, topic, 0, values);
        }
    }

    static KafkaConsumer<String, String> consumer(Map<String, ?> more) {
        Properties config = config(Map.of("auto.offset.reset", "earliest", "enable.auto.commit", "false"));
        config.putAll(more);
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    /** The next records of a consumer. */
    static List<ConsumerRecord<String, String>> take(Consumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> found = new ArrayList<>();
        until(count + " records", () -> {
            consumer.poll(Duration.ofMillis(200)).forEach(found::add);
            return found.size() >= count;
        });
        return found;
    }

    /** The first records of partition 0. */
    static List<ConsumerRecord<String, String>> read(String topic, int count) {
        try (var consumer = consumer(Map.of())) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            return take(consumer, count);
        }
    }

    static <T> T get(KafkaFuture<T> future) throws Exception {
        return future.get(LIMIT.toSeconds(), TimeUnit.SECONDS);
    }

    static void until(String what, Supplier<Boolean> condition) {
        long deadline = System.nanoTime() + LIMIT.toNanos();
        while (!condition.get()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError(what + ": not within " + LIMIT);
            }
        }
    }

    /** {@code prefix-0}, {@code prefix-1}, and so on. */
    static List<String> values(String prefix, int count) {
        return IntStream.range(0, count).mapToObj(index -> prefix + "-" + index).toList();
    }

    static List<String> valuesOf(Collection<ConsumerRecord<String, String>> records) {
        return records.stream().map(ConsumerRecord::value).toList();
    }

    static <T> T only(Optional<T> value) {
        return value.orElseThrow(() -> new AssertionError("nothing there"));
    }
}
