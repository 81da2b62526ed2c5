package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The command-line tools that come with Kafka. */
class CommandTools {
    private static final String TOPICS = "org.apache.kafka.tools.TopicCommand";
    private static final String CONFIGS = "kafka.admin.ConfigCommand";
    private static final String GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

    @TempDir
    Path directory;

    private static String[] at(String... arguments) {
        List<String> all = new ArrayList<>(List.of("--bootstrap-server", Kafka.bootstrap()));
        all.addAll(List.of(arguments));
        return all.toArray(String[]::new);
    }

    private static void contains(String text, String wanted) {
        assertTrue(text.contains(wanted), () -> "no `" + wanted + "` in: " + text);
    }

    @Test
    void topicCommandCreatesListsDescribesAltersAndDeletes() throws Exception {
        String topic = Kafka.unique("tool");
        contains(Tool.output(TOPICS, at("--create", "--topic", topic, "--partitions", "2", "--config", "retention.ms=60000")), "Created topic");
        contains(Tool.output(TOPICS, at("--list")), topic);
        Tool.output(TOPICS, at("--alter", "--topic", topic, "--partitions", "3"));
        String described = Tool.output(TOPICS, at("--describe", "--topic", topic));
        contains(described, "PartitionCount: 3");
        contains(described, "retention.ms=60000");
        Tool again = Tool.run(TOPICS, at("--create", "--topic", topic));
        assertNotEquals(0, again.status());
        contains(again.output(), "already exists");
        Tool.output(TOPICS, at("--delete", "--topic", topic));
        assertFalse(Tool.output(TOPICS, at("--list")).contains(topic));
    }

    @Test
    void configCommandDescribesAndAlters() throws Exception {
        String topic = Kafka.topic(1);
        Tool.output(CONFIGS, at("--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "retention.ms=70000"));
        contains(Tool.output(CONFIGS, at("--describe", "--entity-type", "topics", "--entity-name", topic)), "retention.ms=70000");
        Tool.output(CONFIGS, at("--alter", "--entity-type", "topics", "--entity-name", topic, "--delete-config", "retention.ms"));
        assertFalse(Tool.output(CONFIGS, at("--describe", "--entity-type", "topics", "--entity-name", topic)).contains("70000"));
        contains(Tool.output(CONFIGS, at("--describe", "--entity-type", "topics", "--entity-name", topic, "--all")), "cleanup.policy=delete");
    }

    @Test
    void consumerGroupCommandListsDescribesResetsAndDeletes() throws Exception {
        String topic = Kafka.topic(1);
        String group = Kafka.unique("group");
        Kafka.produce(topic, Kafka.values("v", 10));
        try (var consumer = Kafka.consumer(Map.of("group.id", group))) {
            consumer.subscribe(List.of(topic));
            Kafka.take(consumer, 10);
            consumer.commitSync();
            contains(Tool.output(GROUPS, at("--describe", "--group", group, "--members")), "consumer-" + group);
        }
        contains(Tool.output(GROUPS, at("--list")), group);
        contains(Tool.output(GROUPS, at("--describe", "--group", group, "--state")), "Empty");
        Tool.output(GROUPS, at("--group", group, "--topic", topic, "--reset-offsets", "--to-offset", "4", "--execute"));
        String described = Tool.output(GROUPS, at("--describe", "--group", group));
        assertTrue(described.matches("(?s).*" + topic + "\\s+0\\s+4\\s+10\\s+6\\s.*"), described);
        Tool.output(GROUPS, at("--group", group, "--topic", topic, "--reset-offsets", "--shift-by", "1", "--execute"));
        Tool.output(GROUPS, at("--group", group, "--topic", topic, "--delete-offsets"));
        Tool deleted = Tool.run(GROUPS, at("--delete", "--group", group));
        // With its last offset the group may have gone by itself.
        assertTrue(deleted.status() == 0 || deleted.output().contains("does not exist"), deleted.output());
    }

    @Test
    void groupsCommandListsGroups() throws Exception {
        String topic = Kafka.topic(1);
        String group = Kafka.unique("group");
        try (var consumer = Kafka.consumer(Map.of("group.id", group))) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            consumer.commitSync(Map.of(new TopicPartition(topic, 0), new org.apache.kafka.clients.consumer.OffsetAndMetadata(0)));
        }
        contains(Tool.output("org.apache.kafka.tools.GroupsCommand", at("--list")), group);
    }

    @Test
    void getOffsetShellPrintsOffsets() throws Exception {
        String topic = Kafka.topic(2);
        Kafka.produce(topic, Kafka.values("v", 4));
        String shell = "org.apache.kafka.tools.GetOffsetShell";
        contains(Tool.output(shell, at("--topic", topic)), topic + ":0:4");
        contains(Tool.output(shell, at("--topic", topic)), topic + ":1:0");
        contains(Tool.output(shell, at("--topic", topic, "--time", "earliest")), topic + ":0:0");
        contains(Tool.output(shell, at("--topic", topic, "--time", "max-timestamp")), topic + ":0:");
    }

    @Test
    void logDirsCommandPrintsSizes() throws Exception {
        String topic = Kafka.topic(1);
        Kafka.produce(topic, Kafka.values("v", 4));
        String output = Tool.output("org.apache.kafka.tools.LogDirsCommand", at("--describe", "--topic-list", topic));
        contains(output, "\"partition\":\"" + topic + "-0\"");
    }

    @Test
    void deleteRecordsCommandMovesTheStart() throws Exception {
        String topic = Kafka.topic(1);
        Kafka.produce(topic, Kafka.values("v", 10));
        Path file = directory.resolve("offsets.json");
        Files.writeString(file, "{\"partitions\":[{\"topic\":\"" + topic + "\",\"partition\":0,\"offset\":7}],\"version\":1}");
        contains(Tool.output("org.apache.kafka.tools.DeleteRecordsCommand", at("--offset-json-file", file.toString())), "low_watermark: 7");
        assertEquals("v-7", Kafka.read(topic, 3).get(0).value());
    }

    @Test
    void brokerApiVersionsCommandFindsNothingUnknown() throws Exception {
        String output = Tool.output("org.apache.kafka.tools.BrokerApiVersionsCommand", at());
        contains(output, "Produce(0)");
        contains(output, "Fetch(1)");
        assertFalse(output.contains("UNKNOWN("), output);
    }
}
