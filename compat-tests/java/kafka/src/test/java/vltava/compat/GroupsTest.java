package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Consumer groups: joining, rebalancing, committing, resuming. */
class GroupsTest {
    private static KafkaConsumer<String, String> member(String group, String topic, Map<String, ?> more) {
        Map<String, Object> config = new HashMap<>();
        config.put("group.id", group);
        config.put("session.timeout.ms", 6000);
        config.put("heartbeat.interval.ms", 500);
        config.putAll(more);
        var consumer = Kafka.consumer(config);
        consumer.subscribe(List.of(topic));
        return consumer;
    }

    /** Polls all members until they hold these numbers of partitions. */
    @SafeVarargs
    private static void settle(List<Integer> sizes, KafkaConsumer<String, String>... members) {
        Kafka.until("assignments " + sizes, () -> {
            for (var member : members) {
                member.poll(Duration.ofMillis(50));
            }
            return Stream.of(members).map(member -> member.assignment().size()).sorted().toList().equals(sizes);
        });
    }

    @Test
    void aGroupResumesWhereItCommitted() throws Exception {
        String topic = Kafka.topic(1);
        String group = Kafka.unique("group");
        Kafka.produce(topic, Kafka.values("v", 10));
        var partition = new TopicPartition(topic, 0);
        try (var first = member(group, topic, Map.of())) {
            Kafka.take(first, 10);
            first.commitSync(Map.of(partition, new OffsetAndMetadata(6, "note")));
        }
        try (var second = member(group, topic, Map.of())) {
            assertEquals(Kafka.values("v", 10).subList(6, 10), Kafka.valuesOf(Kafka.take(second, 4)));
            var committed = second.committed(java.util.Set.of(partition)).get(partition);
            assertEquals("note", committed.metadata());
        }
    }

    @ParameterizedTest
    @ValueSource(classes = {RangeAssignor.class, RoundRobinAssignor.class, StickyAssignor.class, CooperativeStickyAssignor.class})
    void membersSharePartitionsAsTheyComeAndGo(Class<?> assignor) throws Exception {
        String topic = Kafka.topic(6);
        String group = Kafka.unique("group");
        Map<String, ?> config = Map.of("partition.assignment.strategy", assignor.getName());
        try (var first = member(group, topic, config);
                var second = member(group, topic, config)) {
            settle(List.of(3, 3), first, second);
            try (var third = member(group, topic, config)) {
                settle(List.of(2, 2, 2), first, second, third);
            }
            settle(List.of(3, 3), first, second);
        }
    }

    @Test
    void aStaticMemberComesBackWithoutARebalance() throws Exception {
        String topic = Kafka.topic(4);
        String group = Kafka.unique("group");
        try (var first = member(group, topic, Map.of("group.instance.id", "one"))) {
            var second = member(group, topic, Map.of("group.instance.id", "two"));
            settle(List.of(2, 2), first, second);
            var assigned = second.assignment();
            int generation = first.groupMetadata().generationId();
            second.close();
            try (var again = member(group, topic, Map.of("group.instance.id", "two"))) {
                settle(List.of(2, 2), first, again);
                assertEquals(assigned, again.assignment());
                assertEquals(generation, first.groupMetadata().generationId());
            }
        }
    }

    @Test
    void aSecondMemberOfTheSameInstanceFencesTheFirst() throws Exception {
        String topic = Kafka.topic(1);
        String group = Kafka.unique("group");
        var config = Map.of("group.instance.id", "one");
        try (var first = member(group, topic, config);
                var second = member(group, topic, config)) {
            settle(List.of(1), first);
            settle(List.of(1), second);
            assertThrows(FencedInstanceIdException.class, () -> Kafka.until("fenced", () -> {
                first.poll(Duration.ofMillis(100));
                return false;
            }));
        }
    }

    @Test
    void aMemberThatMissedARebalanceCannotCommit() throws Exception {
        String topic = Kafka.topic(2);
        String group = Kafka.unique("group");
        Kafka.produce(topic, Kafka.values("v", 5));
        // It stops polling for longer than this and is put out of the group.
        try (var slow = member(group, topic, Map.of("max.poll.interval.ms", 1000))) {
            Kafka.take(slow, 5);
            try (var other = member(group, topic, Map.of())) {
                settle(List.of(2), other);
                assertThrows(CommitFailedException.class, slow::commitSync);
            }
        }
    }

    @Test
    void aRegularExpressionFindsTopicsMadeLater() throws Exception {
        String group = Kafka.unique("group");
        String prefix = Kafka.unique("pattern");
        try (var admin = Kafka.admin();
                var consumer = Kafka.consumer(Map.of("group.id", group, "metadata.max.age.ms", 300))) {
            consumer.subscribe(java.util.regex.Pattern.compile(prefix + ".*"));
            consumer.poll(Duration.ofMillis(100));
            Kafka.get(admin.createTopics(List.of(new org.apache.kafka.clients.admin.NewTopic(prefix + "_a", 2, (short) 1))).all());
            settle(List.of(2), consumer);
        }
    }

    @Test
    void offsetsAreCommittedInTheBackground() throws Exception {
        String topic = Kafka.topic(1);
        String group = Kafka.unique("group");
        Kafka.produce(topic, Kafka.values("v", 3));
        try (var consumer = member(group, topic, Map.of("enable.auto.commit", true, "auto.commit.interval.ms", 100))) {
            Kafka.take(consumer, 3);
            var partition = new TopicPartition(topic, 0);
            Kafka.until("a commit", () -> {
                consumer.poll(Duration.ofMillis(50));
                var committed = consumer.committed(java.util.Set.of(partition)).get(partition);
                return committed != null && committed.offset() == 3;
            });
            assertTrue(consumer.assignment().contains(partition));
        }
    }
}
