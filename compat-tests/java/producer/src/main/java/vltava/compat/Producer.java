package vltava.compat;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** kafka-clients as a program that sends what it reads. See {@code harness/src/producer.rs} for the lines. */
final class Producer {
    private Producer() {}

    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("linger.ms", "2");
        config.put("delivery.timeout.ms", String.valueOf(Integer.MAX_VALUE));
        config.put("max.block.ms", String.valueOf(Integer.MAX_VALUE));
        config.put("reconnect.backoff.max.ms", "200");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            int next = 0;
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] parts = line.split("\t", -1);
                int number = next++;
                producer.send(new ProducerRecord<>(parts[0], text(parts[1]), text(parts[2])), (metadata, error) ->
                        System.out.println(error == null ? "ok " + number : "failed " + number + " " + error));
            }
        }
    }

    private static String text(String part) {
        return part.equals("-") ? null : part;
    }
}
