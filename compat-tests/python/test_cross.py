"""Kafka and Fluss clients on the same log. Only a server of both wires can run this."""

import asyncio
import json

import fluss
import pyarrow as pa
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from common import LIMIT, address, unique, until

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int32()), "name": ["a", None, "ž"], "big": pa.array([1, 2**60, -5], pa.int64())})


def kafka():
    return address("KAFKA_BOOTSTRAP")


def topic(partitions=1):
    name = unique("topic")
    admin = KafkaAdminClient(bootstrap_servers=kafka())
    admin.create_topics([NewTopic(name, partitions, 1)])
    admin.close()
    return name


def consume(name, count):
    with KafkaConsumer(bootstrap_servers=kafka(), auto_offset_reset="earliest", enable_auto_commit=False) as consumer:
        consumer.assign([TopicPartition(name, 0)])
        found = []

        def enough():
            for records in consumer.poll(timeout_ms=200).values():
                found.extend(records)
            return len(found) >= count

        until(enough, f"{count} records")
        return found


def run(scenario):
    async def main():
        config = fluss.Config({"bootstrap.servers": address("FLUSS_BOOTSTRAP"), "writer.acks": "all"})
        connection = await fluss.FlussConnection.create(config)
        try:
            return await scenario(connection)
        finally:
            await connection.close()

    return asyncio.run(asyncio.wait_for(main(), 2 * LIMIT))


async def scan(connection, path, columns):
    table = await connection.get_table(path)
    scanner = await table.new_scan().project_by_name(columns).create_record_batch_log_scanner()
    scanner.subscribe(0, fluss.EARLIEST_OFFSET)
    return await scanner.to_arrow()


async def make(connection, **more):
    path = fluss.TablePath("fluss", unique("table"))
    descriptor = fluss.TableDescriptor(fluss.Schema(ROWS.schema), bucket_count=1, **more)
    await connection.get_admin().create_table(path, descriptor, False)
    return path


async def append(connection, path, rows):
    writer = (await connection.get_table(path)).new_append().create_writer()
    writer.write_arrow(rows)
    await writer.flush()


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_a_kafka_topic_is_a_fluss_table(codec):
    name = topic()
    with KafkaProducer(bootstrap_servers=kafka(), compression_type=codec, linger_ms=20) as producer:
        for number in range(100):
            key = None if number % 3 == 0 else f"k{number}".encode()
            value = None if number % 3 == 1 else f"v{number}".encode()
            stamp = 1_700_000_000_000 + number
            producer.send(name, value, key=key, headers=[("h", b"1")], timestamp_ms=stamp)
        producer.flush()

    async def scenario(connection):
        path = fluss.TablePath("kafka", name)
        info = await connection.get_admin().get_table_info(path)
        assert info.get_column_names() == ["key", "value", "timestamp", "headers"]
        return await scan(connection, path, ["timestamp", "value"]), await scan(connection, path, ["headers", "key"])

    left, right = run(scenario)
    assert left.column_names == ["timestamp", "value"]
    assert left["value"].to_pylist() == [None if n % 3 == 1 else f"v{n}".encode() for n in range(100)]
    stamps = [round(stamp.timestamp() * 1000) for stamp in left["timestamp"].to_pylist()]
    assert stamps == [1_700_000_000_000 + n for n in range(100)]
    assert right["key"].to_pylist() == [None if n % 3 == 0 else f"k{n}".encode() for n in range(100)]
    assert right["headers"].to_pylist() == [[{"key": "h", "value": b"1"}]] * 100


def test_a_fluss_table_is_a_kafka_topic_of_json():
    async def scenario(connection):
        path = await make(connection, bucket_keys=["id"])
        await append(connection, path, ROWS)
        return path.table_name

    records = consume(f"fluss.{run(scenario)}", 3)
    assert [record.offset for record in records] == [0, 1, 2]
    assert [json.loads(record.key) for record in records] == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert [json.loads(record.value) for record in records] == [
        {"id": 1, "name": "a", "big": 1},
        {"id": 2, "name": None, "big": str(2**60)},
        {"id": 3, "name": "ž", "big": -5},
    ]


def test_offsets_are_the_same_numbers_on_both_wires():
    name = topic()
    with KafkaProducer(bootstrap_servers=kafka()) as producer:
        sent = [producer.send(name, str(number).encode()) for number in range(50)]
        offsets = {future.get(LIMIT).offset: str(number).encode() for number, future in enumerate(sent)}

    async def scenario(connection):
        path = fluss.TablePath("kafka", name)
        ends = await connection.get_admin().list_offsets(path, [0], fluss.OffsetSpec.latest())
        scanner = await (await connection.get_table(path)).new_scan().create_log_scanner()
        scanner.subscribe(0, fluss.EARLIEST_OFFSET)
        found = {}
        deadline = asyncio.get_running_loop().time() + LIMIT
        while len(found) < 50:
            assert asyncio.get_running_loop().time() < deadline, f"{len(found)} of 50 rows came"
            found.update((record.offset, record.row["value"]) for record in await scanner.poll(200))
        return ends, found

    assert run(scenario) == ({0: 50}, offsets)
    assert {record.offset: record.value for record in consume(name, 50)} == offsets


def test_a_kafka_record_for_a_table_with_columns_is_refused():
    async def scenario(connection):
        return (await make(connection)).table_name

    table = run(scenario)
    with KafkaProducer(bootstrap_servers=kafka(), retries=0) as producer:
        with pytest.raises(KafkaError, match="InvalidRecord"):
            producer.send(f"fluss.{table}", b"{}").get(LIMIT)
