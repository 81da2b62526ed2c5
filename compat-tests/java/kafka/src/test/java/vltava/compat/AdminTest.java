package vltava.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.DeleteTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The admin client. */
class AdminTest {
    private static Admin admin;

    @BeforeAll
    static void open() {
        admin = Kafka.admin();
    }

    @AfterAll
    static void close() {
        admin.close();
    }

    private static void refused(Class<? extends Throwable> cause, KafkaFuture<?> future) {
        var error = assertThrows(ExecutionException.class, () -> future.get(Kafka.LIMIT.toSeconds(), TimeUnit.SECONDS));
        assertInstanceOf(cause, error.getCause());
    }

    private static KafkaFuture<Void> create(NewTopic topic) {
        return admin.createTopics(List.of(topic)).all();
    }

    @Test
    void whatKafkaForbidsIsRefused() throws Exception {
        String topic = Kafka.topic(1);
        refused(TopicExistsException.class, create(new NewTopic(topic, 1, (short) 1)));
        refused(InvalidTopicException.class, create(new NewTopic("no spaces", 1, (short) 1)));
        String other = Kafka.unique("refused");
        refused(InvalidPartitionsException.class, create(new NewTopic(other, 0, (short) 1)));
        refused(InvalidReplicationFactorException.class, create(new NewTopic(other, 1, (short) 99)));
        refused(InvalidConfigurationException.class, create(new NewTopic(other, 1, (short) 1).configs(Map.of("retention.ms", "soon"))));
        refused(InvalidConfigurationException.class, create(new NewTopic(other, 1, (short) 1).configs(Map.of("no.such.setting", "1"))));
    }

    @Test
    void aValidatedTopicIsNotMade() throws Exception {
        String topic = Kafka.unique("validated");
        var result = admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1)), new CreateTopicsOptions().validateOnly(true));
        Kafka.get(result.all());
        assertFalse(Kafka.get(admin.listTopics().names()).contains(topic));
    }

    @Test
    void aNewTopicTellsItsIdPartitionsAndSettings() throws Exception {
        String topic = Kafka.unique("told");
        var result = admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1).configs(Map.of("retention.ms", "60000"))));
        assertEquals(3, Kafka.get(result.numPartitions(topic)));
        assertEquals("60000", Kafka.get(result.config(topic)).get("retention.ms").value());
        var id = Kafka.get(result.topicId(topic));
        var described = Kafka.get(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()).get(id);
        assertEquals(topic, described.name());
        assertEquals(3, described.partitions().size());
        assertEquals(id, Kafka.get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).topicId());
    }

    @Test
    void aTopicWithDefaultsGetsTheBrokersCounts() throws Exception {
        String topic = Kafka.unique("defaults");
        Kafka.get(create(new NewTopic(topic, java.util.Optional.empty(), java.util.Optional.empty())));
        assertEquals(1, Kafka.get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size());
    }

    @Test
    void topicsAreDeletedByNameAndById() throws Exception {
        String topic = Kafka.topic(1);
        Kafka.get(admin.deleteTopics(List.of(topic)).all());
        refused(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(topic)).all());
        var created = admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1)));
        var id = Kafka.get(created.topicId(topic));
        Kafka.get(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id)), new DeleteTopicsOptions()).all());
        refused(UnknownTopicIdException.class, admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
        Kafka.until("gone", () -> {
            try {
                return !Kafka.get(admin.listTopics().names()).contains(topic);
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        });
    }

    @Test
    void aTopicMadeAnewHasAnotherId() throws Exception {
        String topic = Kafka.unique("anew");
        var first = Kafka.get(admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).topicId(topic));
        Kafka.produce(topic, Kafka.values("old", 3));
        Kafka.get(admin.deleteTopics(List.of(topic)).all());
        var second = Kafka.get(admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).topicId(topic));
        assertNotEquals(first, second);
        Kafka.produce(topic, List.of("new"));
        assertEquals(List.of("new"), Kafka.valuesOf(Kafka.read(topic, 1)));
    }

    @Test
    void partitionsAreOnlyAdded() throws Exception {
        String topic = Kafka.topic(2);
        Kafka.get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all());
        assertEquals(4, Kafka.get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size());
        refused(InvalidPartitionsException.class, admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all());
        refused(InvalidPartitionsException.class, admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all());
    }

    @Test
    void settingsAreChangedOneByOne() throws Exception {
        String topic = Kafka.topic(1, Map.of("retention.ms", "60000"));
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        alter(resource, "retention.bytes", "5000000", OpType.SET);
        var config = Kafka.get(admin.describeConfigs(List.of(resource)).all()).get(resource);
        assertEquals("60000", config.get("retention.ms").value());
        assertEquals(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, config.get("retention.ms").source());
        assertEquals("5000000", config.get("retention.bytes").value());
        assertEquals("delete", config.get("cleanup.policy").value());
        assertTrue(config.get("segment.bytes").isDefault());
        assertEquals(ConfigEntry.ConfigType.LONG, config.get("retention.ms").type());
        alter(resource, "retention.ms", "", OpType.DELETE);
        config = Kafka.get(admin.describeConfigs(List.of(resource)).all()).get(resource);
        assertEquals("604800000", config.get("retention.ms").value());
        var bad = Map.<ConfigResource, Collection<AlterConfigOp>>of(
                resource, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "soon"), OpType.SET)));
        refused(InvalidConfigurationException.class, admin.incrementalAlterConfigs(bad).all());
    }

    private static void alter(ConfigResource resource, String name, String value, OpType operation) throws Exception {
        Kafka.get(admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry(name, value), operation))))
                .all());
    }

    @Test
    void theBrokersSettingsAreDescribed() throws Exception {
        var node = Kafka.get(admin.describeCluster().nodes()).iterator().next();
        var resource = new ConfigResource(ConfigResource.Type.BROKER, node.idString());
        var config = Kafka.get(admin.describeConfigs(List.of(resource)).all()).get(resource);
        assertFalse(config.entries().isEmpty());
    }

    @Test
    void offsetsAreListedByEverySpecialTime() throws Exception {
        String topic = Kafka.topic(1);
        var partition = new TopicPartition(topic, 0);
        assertEquals(0, list(partition, OffsetSpec.earliest()));
        assertEquals(0, list(partition, OffsetSpec.latest()));
        try (var producer = Kafka.producer(Map.of("batch.size", 0))) {
            for (long stamp : new long[] {1_700_000_005_000L, 1_700_000_009_000L, 1_700_000_001_000L}) {
                producer.send(new ProducerRecord<>(topic, 0, stamp, "k", "v")).get();
            }
        }
        assertEquals(3, list(partition, OffsetSpec.latest()));
        assertEquals(1, list(partition, OffsetSpec.maxTimestamp()));
        assertEquals(1, list(partition, OffsetSpec.forTimestamp(1_700_000_005_001L)));
        assertEquals(-1, list(partition, OffsetSpec.forTimestamp(1_700_000_009_001L)));
        Kafka.get(admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(2))).all());
        assertEquals(2, list(partition, OffsetSpec.earliest()));
        assertEquals(2, list(partition, OffsetSpec.earliestLocal()));
        assertEquals(-1, list(partition, OffsetSpec.latestTiered()));
        refused(UnknownTopicOrPartitionException.class,
                admin.listOffsets(Map.of(new TopicPartition(Kafka.unique("nowhere"), 0), OffsetSpec.latest())).all());
    }

    private static long list(TopicPartition partition, OffsetSpec spec) throws Exception {
        return Kafka.get(admin.listOffsets(Map.of(partition, spec)).partitionResult(partition)).offset();
    }

    @Test
    void recordsAreDeletedUpToAnOffsetOrAll() throws Exception {
        String topic = Kafka.topic(1);
        var partition = new TopicPartition(topic, 0);
        Kafka.produce(topic, Kafka.values("v", 10));
        var deleted = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(4))).lowWatermarks().get(partition);
        assertEquals(4, Kafka.get(deleted).lowWatermark());
        assertEquals("v-4", Kafka.read(topic, 6).get(0).value());
        refused(OffsetOutOfRangeException.class, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(11))).all());
        Kafka.get(admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(-1))).all());
        assertEquals(10, list(partition, OffsetSpec.earliest()));
    }

    @Test
    void aGroupIsListedDescribedAndDeletedWhenEmpty() throws Exception {
        String topic = Kafka.topic(1);
        String group = Kafka.unique("group");
        Kafka.produce(topic, Kafka.values("v", 3));
        try (var consumer = Kafka.consumer(Map.of("group.id", group, "client.id", "described"))) {
            consumer.subscribe(List.of(topic));
            Kafka.take(consumer, 3);
            consumer.commitSync();
            var described = Kafka.get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
            assertEquals(GroupState.STABLE, described.groupState());
            assertEquals("range", described.partitionAssignor());
            var member = described.members().iterator().next();
            assertEquals("described", member.clientId());
            assertEquals(Set.of(new TopicPartition(topic, 0)), member.assignment().topicPartitions());
            refused(GroupNotEmptyException.class, admin.deleteConsumerGroups(List.of(group)).all());
            refused(GroupSubscribedToTopicException.class,
                    admin.deleteConsumerGroupOffsets(group, Set.of(new TopicPartition(topic, 0))).all());
        }
        var described = Kafka.get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
        assertEquals(GroupState.EMPTY, described.groupState());
        assertTrue(Kafka.get(admin.listGroups().all()).stream().anyMatch(listed -> listed.groupId().equals(group)));
        Kafka.get(admin.deleteConsumerGroups(List.of(group)).all());
        refused(GroupIdNotFoundException.class, admin.deleteConsumerGroups(List.of(group)).all());
    }

    @Test
    void offsetsOfAGroupAreSetListedAndDeleted() throws Exception {
        String topic = Kafka.topic(2);
        String group = Kafka.unique("group");
        var zero = new TopicPartition(topic, 0);
        var one = new TopicPartition(topic, 1);
        Kafka.get(admin.alterConsumerGroupOffsets(
                group, Map.of(zero, new OffsetAndMetadata(5, "note"), one, new OffsetAndMetadata(7))).all());
        var offsets = Kafka.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        assertEquals("note", offsets.get(zero).metadata());
        assertEquals(7, offsets.get(one).offset());
        Kafka.get(admin.deleteConsumerGroupOffsets(group, Set.of(zero)).all());
        offsets = Kafka.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        assertEquals(Set.of(one), offsets.keySet());
        assertEquals(7, offsets.get(one).offset());
    }

    @Test
    void membersAreRemovedFromAGroup() throws Exception {
        String topic = Kafka.topic(1);
        String group = Kafka.unique("group");
        try (var consumer = Kafka.consumer(Map.of("group.id", group, "group.instance.id", "one"))) {
            consumer.subscribe(List.of(topic));
            Kafka.until("joined", () -> {
                consumer.poll(java.time.Duration.ofMillis(50));
                return !consumer.assignment().isEmpty();
            });
        }
        var options = new org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions(
                List.of(new org.apache.kafka.clients.admin.MemberToRemove("one")));
        Kafka.get(admin.removeMembersFromConsumerGroup(group, options).all());
        assertEquals(0, Kafka.get(admin.describeConsumerGroups(List.of(group)).all()).get(group).members().size());
    }

    @Test
    void theClusterNamesItselfItsNodesAndItsController() throws Exception {
        var cluster = admin.describeCluster();
        assertFalse(Kafka.get(cluster.clusterId()).isEmpty());
        var nodes = Kafka.get(cluster.nodes());
        assertEquals(1, nodes.size());
        assertEquals(nodes.iterator().next().id(), Kafka.get(cluster.controller()).id());
    }

    @Test
    void logDirectoriesTellTheSizeOfPartitions() throws Exception {
        String topic = Kafka.topic(1);
        Kafka.produce(topic, Kafka.values("v", 100));
        int node = Kafka.get(admin.describeCluster().nodes()).iterator().next().id();
        var directories = Kafka.get(admin.describeLogDirs(List.of(node)).allDescriptions()).get(node);
        var replica = directories.values().stream()
                .map(directory -> directory.replicaInfos().get(new TopicPartition(topic, 0)))
                .filter(java.util.Objects::nonNull)
                .findFirst();
        assertTrue(Kafka.only(replica).size() > 0);
    }

    @Test
    void activeProducersAreDescribed() throws Exception {
        String topic = Kafka.topic(1);
        var partition = new TopicPartition(topic, 0);
        try (var producer = Kafka.producer(Map.of("enable.idempotence", true))) {
            Kafka.produce(producer, topic, 0, Kafka.values("v", 3));
            var described = Kafka.get(admin.describeProducers(List.of(partition)).partitionResult(partition));
            assertEquals(1, described.activeProducers().size());
            assertEquals(2, described.activeProducers().get(0).lastSequence());
        }
    }
}
