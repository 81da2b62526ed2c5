"""aiokafka and kafka-python against the Kafka wire."""

import asyncio
import threading

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition as AioPartition
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata

from common import LIMIT, address, unique, until

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture(scope="module")
def server():
    return address("KAFKA_BOOTSTRAP")


@pytest.fixture(scope="module")
def admin(server):
    client = KafkaAdminClient(bootstrap_servers=server)
    yield client
    client.close()


@pytest.fixture
def topic(server, admin):
    """Makes topics with names of their own."""

    def make(partitions=1, **settings):
        name = unique("topic")
        configs = {key.replace("_", "."): value for key, value in settings.items()}
        admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
        # Apache Kafka answers the creation before the partitions have leaders; this asks until they answer.
        with KafkaConsumer(bootstrap_servers=server) as consumer:
            consumer.end_offsets([TopicPartition(name, number) for number in range(partitions)])
        return name

    return make


def codec_name(codec):
    return None if codec == "none" else codec


def take(consumer, count):
    """The next `count` records of a kafka-python consumer."""
    found = []

    def enough():
        for records in consumer.poll(timeout_ms=200).values():
            found.extend(records)
        return len(found) >= count

    until(enough, f"{count} records")
    return found


def reader(server, topic, partition=0, **more):
    consumer = KafkaConsumer(bootstrap_servers=server, enable_auto_commit=False, auto_offset_reset="earliest", **more)
    consumer.assign([TopicPartition(topic, partition)])
    return consumer


def subscribed(topic, **settings):
    """A member of a group that knows the partitions before it joins.

    Without them the leader of kafka-python 3.0.12 assigns nothing and rejoins when they come; a `poll` that ends during
    that join forgets it, and the member is neither given its partitions nor kept alive by heartbeats (FINDINGS.md).
    """
    consumer = KafkaConsumer(**settings)
    consumer.subscribe([topic])
    # Asks the server, and returns when the subscription has seen the answer.
    assert topic in consumer.topics()
    return consumer


# kafka-python


@pytest.mark.parametrize("codec", CODECS)
def test_kafka_python_reads_what_it_wrote(server, topic, codec):
    name = topic()
    written = [f"{codec}-{index}".encode() * 20 for index in range(200)]
    with KafkaProducer(bootstrap_servers=server, compression_type=codec_name(codec), acks="all", linger_ms=5) as producer:
        sent = [producer.send(name, value) for value in written]
        assert [future.get(LIMIT).offset for future in sent] == list(range(200))
    with reader(server, name) as consumer:
        assert [record.value for record in take(consumer, 200)] == written


def test_kafka_python_reads_keys_headers_timestamps_and_nulls(server, topic):
    name = topic()
    with KafkaProducer(bootstrap_servers=server) as producer:
        headers = [("a", b"1"), ("a", b"")]
        producer.send(name, b"value", key=b"key", headers=headers, timestamp_ms=1_700_000_000_123).get(LIMIT)
        producer.send(name, None, key=b"gone").get(LIMIT)
    with reader(server, name) as consumer:
        full, gone = take(consumer, 2)
    assert (full.key, full.value, full.timestamp) == (b"key", b"value", 1_700_000_000_123)
    assert [tuple(header) for header in full.headers] == headers
    assert (gone.key, gone.value) == (b"gone", None)


def test_kafka_python_produces_idempotently(server, topic):
    name = topic()
    with KafkaProducer(bootstrap_servers=server, enable_idempotence=True, batch_size=500) as producer:
        sent = [producer.send(name, str(index).encode()) for index in range(500)]
        assert [future.get(LIMIT).offset for future in sent] == list(range(500))
    with reader(server, name) as consumer:
        assert [int(record.value) for record in take(consumer, 500)] == list(range(500))


def test_kafka_python_finds_offsets_of_ends_and_times(server, topic):
    name = topic()
    partition = TopicPartition(name, 0)
    with KafkaProducer(bootstrap_servers=server) as producer:
        for index in range(4):
            producer.send(name, b"v", timestamp_ms=1_700_000_000_000 + index * 1000).get(LIMIT)
    with reader(server, name) as consumer:
        assert consumer.beginning_offsets([partition]) == {partition: 0}
        assert consumer.end_offsets([partition]) == {partition: 4}
        found = consumer.offsets_for_times({partition: 1_700_000_001_500})[partition]
        assert (found.offset, found.timestamp) == (2, 1_700_000_002_000)
        assert consumer.offsets_for_times({partition: 1_700_000_003_001})[partition] is None


def test_kafka_python_starts_at_the_end(server, topic):
    name = topic()
    partition = TopicPartition(name, 0)
    with KafkaProducer(bootstrap_servers=server) as producer, reader(server, name) as consumer:
        producer.send(name, b"old").get(LIMIT)
        consumer.seek_to_end(partition)
        assert consumer.position(partition) == 1
        producer.send(name, b"new").get(LIMIT)
        assert take(consumer, 1)[0].value == b"new"


def test_kafka_python_group_resumes_where_it_committed(server, topic):
    name, group = topic(), unique("group")
    partition = TopicPartition(name, 0)
    with KafkaProducer(bootstrap_servers=server) as producer:
        for index in range(10):
            producer.send(name, str(index).encode()).get(LIMIT)

    def member():
        return subscribed(
            name, bootstrap_servers=server, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
        )

    with member() as first:
        take(first, 10)
        first.commit({partition: OffsetAndMetadata(6, "note", -1)})
    with member() as second:
        assert [record.value for record in take(second, 4)] == [b"6", b"7", b"8", b"9"]
        assert second.committed(partition, metadata=True).metadata == "note"


def test_kafka_python_members_share_partitions(server, topic):
    name, group = topic(partitions=4), unique("group")
    stop, sizes = threading.Event(), {}

    def member(number):
        consumer = subscribed(
            name, bootstrap_servers=server, group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=500
        )
        while not stop.is_set():
            consumer.poll(timeout_ms=100)
            sizes[number] = len(consumer.assignment())
        consumer.close()

    threads = [threading.Thread(target=member, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: sorted(sizes.values()) == [2, 2], "an even assignment")
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_kafka_python_administrates_topics(admin, topic):
    name = topic(partitions=2, retention_ms="3600000")
    with pytest.raises(TopicAlreadyExistsError):
        admin.create_topics([NewTopic(name, 1, 1)])
    assert name in admin.list_topics()
    admin.create_partitions({name: NewPartitions(3)})
    described = admin.describe_topics([name])[0]
    assert len(described["partitions"]) == 3
    admin.delete_topics([name])
    with pytest.raises(UnknownTopicOrPartitionError):
        admin.delete_topics([name])


def test_kafka_python_describes_and_changes_settings(admin, topic):
    name = topic(retention_ms="3600000")
    resource = ConfigResource(ConfigResourceType.TOPIC, name)
    assert "3600000" in str(admin.describe_configs([resource]))
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs={"retention.ms": "7200000"})])
    assert "7200000" in str(admin.describe_configs([resource]))


def test_kafka_python_deletes_records(server, admin, topic):
    name = topic()
    partition = TopicPartition(name, 0)
    with KafkaProducer(bootstrap_servers=server) as producer:
        for _ in range(5):
            producer.send(name, b"v").get(LIMIT)
    admin.delete_records({partition: 3})
    with reader(server, name) as consumer:
        assert consumer.beginning_offsets([partition]) == {partition: 3}
        assert take(consumer, 2)[0].offset == 3


def test_kafka_python_lists_describes_and_deletes_groups(server, admin, topic):
    name, group = topic(), unique("group")
    partition = TopicPartition(name, 0)
    with KafkaConsumer(bootstrap_servers=server, group_id=group, enable_auto_commit=False) as consumer:
        consumer.assign([partition])
        consumer.commit({partition: OffsetAndMetadata(0, "", -1)})
    assert group in str(admin.list_groups())
    assert "Empty" in str(admin.describe_groups([group]))
    assert admin.list_group_offsets([group])[group][partition].offset == 0
    admin.delete_groups([group])
    assert group not in str(admin.list_groups())


# aiokafka


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 2 * LIMIT))


@pytest.mark.parametrize("codec", CODECS)
def test_aiokafka_reads_what_it_wrote(server, topic, codec):
    name = topic()
    written = [f"{codec}-{index}".encode() * 20 for index in range(200)]

    async def scenario():
        async with AIOKafkaProducer(
            bootstrap_servers=server, compression_type=codec_name(codec), enable_idempotence=True
        ) as producer:
            sent = [await producer.send(name, value) for value in written]
            assert [(await future).offset for future in sent] == list(range(200))
        async with AIOKafkaConsumer(name, bootstrap_servers=server, auto_offset_reset="earliest") as consumer:
            return [(await consumer.getone()).value for _ in written]

    assert run(scenario()) == written


def test_aiokafka_reads_keys_headers_timestamps_and_nulls(server, topic):
    name = topic()

    async def scenario():
        async with AIOKafkaProducer(bootstrap_servers=server) as producer:
            headers = [("a", b"1"), ("b", b"")]
            await producer.send_and_wait(name, b"value", key=b"key", headers=headers, timestamp_ms=1_700_000_000_123)
            await producer.send_and_wait(name, None, key=b"gone")
        async with AIOKafkaConsumer(name, bootstrap_servers=server, auto_offset_reset="earliest") as consumer:
            return await consumer.getone(), await consumer.getone()

    full, gone = run(scenario())
    assert (full.key, full.value, full.timestamp) == (b"key", b"value", 1_700_000_000_123)
    assert list(full.headers) == [("a", b"1"), ("b", b"")]
    assert (gone.key, gone.value) == (b"gone", None)


def test_aiokafka_finds_offsets_of_ends_and_times(server, topic):
    name = topic()
    partition = AioPartition(name, 0)

    async def scenario():
        async with AIOKafkaProducer(bootstrap_servers=server) as producer:
            for index in range(3):
                await producer.send_and_wait(name, b"v", timestamp_ms=1_700_000_000_000 + index * 1000)
        async with AIOKafkaConsumer(bootstrap_servers=server) as consumer:
            ends = await consumer.beginning_offsets([partition]), await consumer.end_offsets([partition])
            return ends, (await consumer.offsets_for_times({partition: 1_700_000_000_001}))[partition].offset

    assert run(scenario()) == (({partition: 0}, {partition: 3}), 1)


def test_aiokafka_group_resumes_where_it_committed(server, topic):
    name, group = topic(), unique("group")

    async def read(wanted):
        async with AIOKafkaConsumer(
            name, bootstrap_servers=server, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
        ) as consumer:
            found = [(await consumer.getone()).value for _ in range(wanted)]
            await consumer.commit()
            return found

    async def scenario():
        async with AIOKafkaProducer(bootstrap_servers=server) as producer:
            for value in (b"a", b"b", b"c"):
                await producer.send_and_wait(name, value)
            before = await read(3)
            await producer.send_and_wait(name, b"d")
            return before, await read(1)

    assert run(scenario()) == ([b"a", b"b", b"c"], [b"d"])


def test_aiokafka_is_told_of_a_record_that_is_too_large(server, topic):
    name = topic(max_message_bytes="1000")

    async def scenario():
        async with AIOKafkaProducer(bootstrap_servers=server) as producer:
            await producer.send_and_wait(name, b"x" * 5000)

    with pytest.raises(Exception, match="MessageSizeTooLarge|too large|larger"):
        run(scenario())


def test_an_error_of_the_server_is_an_error_of_the_client(admin):
    with pytest.raises(KafkaError):
        admin.delete_topics([unique("nowhere")])
