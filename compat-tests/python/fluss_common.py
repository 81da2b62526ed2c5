"""What the suites of pyfluss share: a connection for a scenario, tables with names of their own, refusals."""

import asyncio

import fluss
import pyarrow as pa
import pytest

from common import LIMIT, address, unique

FIELDS = [("id", pa.int32()), ("name", pa.string()), ("score", pa.int64())]


def run(scenario):
    """Runs a coroutine function with a connection and its administration."""

    async def main():
        connection = await fluss.FlussConnection.create(config(address("FLUSS_BOOTSTRAP")))
        try:
            return await scenario(connection, connection.get_admin())
        finally:
            await connection.close()

    return asyncio.run(asyncio.wait_for(main(), 2 * LIMIT))


def config(bootstrap, **more):
    properties = {"bootstrap.servers": bootstrap, "writer.acks": "all", **more}
    return fluss.Config(properties)


def schema():
    return fluss.Schema(pa.schema(FIELDS))


async def make(admin, **more):
    """Makes a table with a name of its own and waits until its buckets answer."""
    path = fluss.TablePath("fluss", unique("table"))
    more.setdefault("bucket_count", 1)
    await admin.create_table(path, fluss.TableDescriptor(schema(), **more), False)
    if "partition_keys" not in more:
        await eventually(lambda: admin.list_offsets(path, [0], fluss.OffsetSpec.latest()))
    return path


async def eventually(ask):
    """The first answer of the server that is no refusal: a new table may not have leaders yet."""
    deadline = asyncio.get_running_loop().time() + LIMIT
    while True:
        try:
            return await ask()
        except fluss.FlussError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.02)


def rows(first, last):
    ids = list(range(first, last))
    columns = [ids, [f"name-{number}" for number in ids], [number * 10 for number in ids]]
    return pa.table([pa.array(column, type) for column, (_, type) in zip(columns, FIELDS)], schema=pa.schema(FIELDS))


async def append(connection, path, table):
    writer = (await connection.get_table(path)).new_append().create_writer()
    writer.write_arrow(table)
    await writer.flush()


async def scan(connection, path, change=lambda scan: scan, bucket=0):
    table = await connection.get_table(path)
    scanner = await change(table.new_scan()).create_record_batch_log_scanner()
    scanner.subscribe(bucket, fluss.EARLIEST_OFFSET)
    return await scanner.to_arrow()


def refused(code, awaitable):
    async def check():
        with pytest.raises(fluss.FlussError) as error:
            await awaitable
        assert error.value.error_code == code, error.value

    return check()
