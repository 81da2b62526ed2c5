package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.fluss.client.Connection;
import org.apache.fluss.client.ConnectionFactory;
import org.apache.fluss.client.lookup.Lookuper;
import org.apache.fluss.client.table.Table;
import org.apache.fluss.config.Configuration;
import org.apache.fluss.metadata.Schema;
import org.apache.fluss.metadata.TableDescriptor;
import org.apache.fluss.metadata.TablePath;
import org.apache.fluss.row.BinaryString;
import org.apache.fluss.row.GenericRow;
import org.apache.fluss.row.InternalRow;
import org.apache.fluss.types.DataTypes;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.serialization.StringSerializer;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The Java producer writes to a primary-key table that the Java Fluss client made, and looks up. */
class UpsertsTest {
    private static final AtomicInteger COUNT = new AtomicInteger();
    private static final int LIMIT_S = 30;

    private static Connection connection;

    @BeforeAll
    static void open() {
        Configuration config = new Configuration();
        config.setString("bootstrap.servers", System.getenv("FLUSS_BOOTSTRAP"));
        connection = ConnectionFactory.createConnection(config);
    }

    @AfterAll
    static void close() throws Exception {
        connection.close();
    }

    /** A table with the key {@code (id, name)}, which is not the order of its columns. */
    private static TablePath table() throws Exception {
        TablePath path = TablePath.of("fluss", "upserts_java_" + System.nanoTime() + "_" + COUNT.getAndIncrement());
        Schema schema = Schema.newBuilder()
                .column("name", DataTypes.STRING())
                .column("n", DataTypes.BIGINT())
                .column("id", DataTypes.INT())
                .primaryKey("id", "name")
                .build();
        TableDescriptor descriptor =
                TableDescriptor.builder().schema(schema).distributedBy(4, "id", "name").build();
        connection.getAdmin().createTable(path, descriptor, false).get(LIMIT_S, TimeUnit.SECONDS);
        return path;
    }

    private static KafkaProducer<String, String> producer() {
        Properties config = new Properties();
        config.put("bootstrap.servers", System.getenv("KAFKA_BOOTSTRAP"));
        config.put("linger.ms", "200");
        return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
    }

    private static InternalRow find(Lookuper lookuper, int id, String name) throws Exception {
        GenericRow key = GenericRow.of(id, BinaryString.fromString(name));
        return lookuper.lookup(key).get(LIMIT_S, TimeUnit.SECONDS).getSingletonRow();
    }

    @Test
    void rowsAreFoundAndRecordsHaveNoOffset() throws Exception {
        TablePath path = table();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<String, String> producer = producer()) {
            for (int i = 0; i < 50; i++) {
                String key = "{\"id\":" + i + ",\"name\":\"ž" + i + "\"}";
                String value = i % 10 == 9 ? null : "{\"n\":" + i + "}";
                sent.add(producer.send(new ProducerRecord<>(path.toString(), 0, key, value)));
            }
        }
        for (Future<RecordMetadata> future : sent) {
            RecordMetadata metadata = future.get(LIMIT_S, TimeUnit.SECONDS);
            assertFalse(metadata.hasOffset());
            assertEquals(-1, metadata.offset());
        }
        try (Table table = connection.getTable(path)) {
            Lookuper lookuper = table.newLookup().createLookuper();
            for (int i = 0; i < 50; i++) {
                InternalRow row = find(lookuper, i, "ž" + i);
                if (i % 10 == 9) {
                    assertNull(row);
                } else {
                    assertEquals(i, row.getLong(1));
                }
            }
        }
    }

    @Test
    void aRecordThatDoesNotFitIsRefusedAndTheProducerGoesOn() throws Exception {
        TablePath path = table();
        try (KafkaProducer<String, String> producer = producer()) {
            String topic = path.toString();
            Future<RecordMetadata> wrong = producer.send(new ProducerRecord<>(topic, 0, null, "{\"id\":\"x\"}"));
            ExecutionException refused =
                    assertThrows(ExecutionException.class, () -> wrong.get(LIMIT_S, TimeUnit.SECONDS));
            assertInstanceOf(InvalidRecordException.class, refused.getCause());
            String value = "{\"id\":1,\"name\":\"one\",\"n\":1}";
            producer.send(new ProducerRecord<>(topic, 0, null, value)).get(LIMIT_S, TimeUnit.SECONDS);
        }
        try (Table table = connection.getTable(path)) {
            assertEquals(1, find(table.newLookup().createLookuper(), 1, "one").getLong(1));
        }
    }
}
