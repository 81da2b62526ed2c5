"""pyfluss and tables with a primary key."""

import asyncio
import datetime
import decimal

import fluss
import pyarrow as pa
import pytest

from common import LIMIT, address, unique
from fluss_common import config, eventually, refused, run

FIELDS = [("id", pa.int32()), ("name", pa.string()), ("score", pa.int64())]


async def make(connection, admin, fields=FIELDS, keys=("id",), auto_increment=None, **more):
    """Makes a table with a name of its own, and waits until its buckets answer."""
    path = fluss.TablePath("fluss", unique("pk"))
    more.setdefault("bucket_count", 1)
    schema = fluss.Schema(pa.schema(fields), list(keys), auto_increment)
    await admin.create_table(path, fluss.TableDescriptor(schema, **more), False)
    if "partition_keys" not in more:
        await eventually(lambda: admin.list_offsets(path, [0], fluss.OffsetSpec.latest()))
    return await connection.get_table(path)


def row(id, name=None, score=None):
    return {"id": id, "name": name, "score": score}


async def upsert(writer, *rows):
    """Each row is acknowledged before the next is sent."""
    for values in rows:
        await writer.upsert(values).wait()


async def find(table, **key):
    return await table.new_lookup().create_lookuper().lookup(key)


async def changes(table, count):
    """The first changes of bucket 0, as `+U 1 a 10`."""
    scanner = await table.new_scan().create_log_scanner()
    scanner.subscribe(0, fluss.EARLIEST_OFFSET)
    found = []
    deadline = asyncio.get_running_loop().time() + LIMIT
    while len(found) < count:
        assert asyncio.get_running_loop().time() < deadline, f"{found}: of {count}"
        for record in await scanner.poll(200):
            found.append(" ".join([record.change_type.short_string(), *(str(value) for value in record.row.values())]))
    return found


async def scanned(table, bucket, limit):
    of = fluss.TableBucket(table.get_table_info().table_id, bucket)
    return (await table.new_scan().limit(limit).create_bucket_batch_scanner(of).to_arrow()).to_pylist()


def test_a_table_is_described_with_its_key():
    async def scenario(connection, admin):
        table = await make(connection, admin, bucket_count=3)
        info = await admin.get_table_info(table.get_table_path())
        assert table.has_primary_key() and info.has_primary_key()
        assert (info.get_primary_keys(), info.get_bucket_keys(), info.num_buckets) == (["id"], ["id"], 3)

    run(scenario)


def test_rows_are_upserted_found_and_deleted():
    async def scenario(connection, admin):
        table = await make(connection, admin)
        writer = table.new_upsert().create_writer()
        await upsert(writer, row(1, "one", 10), row(2, None, 20), row(1, "uno"))
        assert await find(table, id=1) == row(1, "uno")
        assert await find(table, id=2) == row(2, None, 20)
        assert await find(table, id=3) is None
        await writer.delete({"id": 1}).wait()
        assert await find(table, id=1) is None
        wanted = ["+I 1 one 10", "+I 2 None 20", "-U 1 one 10", "+U 1 uno None", "-D 1 uno None"]
        assert await changes(table, 5) == wanted

    run(scenario)


def test_values_of_many_types_come_back_from_a_lookup():
    fields = [
        ("id", pa.string()),
        ("a", pa.bool_()),
        ("b", pa.int8()),
        ("c", pa.float64()),
        ("d", pa.binary()),
        ("e", pa.decimal128(20, 4)),
        ("f", pa.date32()),
        ("g", pa.timestamp("us")),
    ]
    values = {
        "id": "key",
        "a": True,
        "b": -1,
        "c": -0.25,
        "d": b"\x00\x01",
        "e": decimal.Decimal("-1234567890123456.7891"),
        "f": datetime.date(2024, 2, 29),
        "g": datetime.datetime(2024, 2, 29, 1, 2, 3, 456789),
    }

    async def scenario(connection, admin):
        table = await make(connection, admin, fields)
        nulls = {name: None for name in values} | {"id": "nulls"}
        await upsert(table.new_upsert().create_writer(), values, nulls)
        assert await find(table, id="key") == values
        assert await find(table, id="nulls") == nulls

    run(scenario)


def test_an_acknowledged_row_is_seen_by_the_next_lookup_of_another_client():
    async def scenario(connection, admin):
        table = await make(connection, admin)
        writer = table.new_upsert().create_writer()
        other = await fluss.FlussConnection.create(config(address("FLUSS_BOOTSTRAP")))
        lookuper = (await other.get_table(table.get_table_path())).new_lookup().create_lookuper()
        for number in range(10):
            await writer.upsert(row(number % 3, "round", number)).wait()
            assert await lookuper.lookup({"id": number % 3}) == row(number % 3, "round", number)
        await writer.delete({"id": 0}).wait()
        assert await lookuper.lookup({"id": 0}) is None
        await other.close()

    run(scenario)


def test_rows_of_many_buckets_are_found_and_scanned():
    async def scenario(connection, admin):
        table = await make(connection, admin, bucket_count=3)
        writer = table.new_upsert().create_writer()
        for number in range(300):
            writer.upsert(row(number, f"name-{number}", number))
        await writer.flush()
        # A lookuper takes one key at a time and waits for more: each key has its own here.
        found = await asyncio.gather(*(find(table, id=number) for number in range(0, 300, 7)))
        assert [values["score"] for values in found] == list(range(0, 300, 7))
        ids = [values["id"] for bucket in range(3) for values in await scanned(table, bucket, 300)]
        assert sorted(ids) == list(range(300))
        assert len(await scanned(table, 1, 7)) == 7

    run(scenario)


def test_partitions_are_written_and_read():
    fields = [("id", pa.int32()), ("region", pa.string()), ("name", pa.string())]

    async def scenario(connection, admin):
        table = await make(connection, admin, fields, ("id", "region"), partition_keys=["region"])
        for region in ("eu", "us"):
            await admin.create_partition(table.get_table_path(), {"region": region}, False)
        writer = table.new_upsert().create_writer()
        rows = [{"id": 1, "region": region, "name": f"in {region}"} for region in ("eu", "us")]
        await upsert(writer, *rows)
        assert await find(table, id=1, region="eu") == rows[0]
        assert await find(table, id=1, region="us") == rows[1]
        await writer.delete({"id": 1, "region": "us"}).wait()
        assert await find(table, id=1, region="us") is None
        assert await find(table, id=1, region="eu") == rows[0]

    run(scenario)


@pytest.mark.parametrize("partitioned", [False, True])
def test_rows_are_found_by_the_beginning_of_their_key(partitioned):
    fields = [("a", pa.int32()), ("b", pa.string()), ("c", pa.int64()), ("d", pa.string())]

    async def scenario(connection, admin):
        more = {"partition_keys": ["b"], "bucket_keys": ["a"]} if partitioned else {"bucket_keys": ["a", "b"]}
        table = await make(connection, admin, fields, ("a", "b", "c"), bucket_count=3, **more)
        if partitioned:
            for b in ("x", "xx"):
                await admin.create_partition(table.get_table_path(), {"b": b}, False)
        rows = [{"a": 1, "b": b, "c": c, "d": f"{b}{c}"} for b, c in (("x", 3), ("x", 1), ("xx", 1), ("x", 2))]
        await upsert(table.new_upsert().create_writer(), *rows, {"a": 2, "b": "x", "c": 1, "d": "other"})
        lookuper = table.new_lookup().lookup_by(["a", "b"]).create_lookuper()
        found = await lookuper.lookup({"a": 1, "b": "x"})
        assert sorted(values["d"] for values in found) == ["x1", "x2", "x3"]
        assert await lookuper.lookup({"a": 1, "b": "xx"}) == [rows[2]]
        assert await lookuper.lookup({"a": 3, "b": "x"}) == []

    run(scenario)


def test_a_partial_update_keeps_the_other_columns():
    async def scenario(connection, admin):
        table = await make(connection, admin)
        names = table.new_upsert().partial_update_by_name(["id", "name"]).create_writer()
        scores = table.new_upsert().partial_update_by_index([0, 2]).create_writer()
        await upsert(names, {"id": 1, "name": "a"})
        await upsert(scores, {"id": 1, "score": 5})
        assert await find(table, id=1) == row(1, "a", 5)
        await scores.delete({"id": 1}).wait()
        assert await find(table, id=1) == row(1, "a")
        await names.delete({"id": 1}).wait()
        assert await find(table, id=1) is None
        wanted = ["+I 1 a None", "-U 1 a None", "+U 1 a 5", "-U 1 a 5", "+U 1 a None", "-D 1 a None"]
        assert await changes(table, 6) == wanted

    run(scenario)


@pytest.mark.parametrize(
    "engine, properties, wanted",
    [
        ("first_row", {}, "1 a 5"),
        ("versioned", {"table.merge-engine.versioned.ver-column": "score"}, "1 c 6"),
        # Columns without a function keep their last value that is not null.
        ("aggregation", {}, "1 c 4"),
    ],
)
def test_a_merge_engine_decides_which_row_stays(engine, properties, wanted):
    async def scenario(connection, admin):
        table = await make(connection, admin, properties={"table.merge-engine": engine, **properties})
        rows = [row(1, "a", 5), row(1, "c", 6), row(1, None, 4)]
        writer = table.new_upsert().create_writer()
        await upsert(writer, *rows)
        # These engines ignore deletes, unless the table says otherwise.
        await writer.delete({"id": 1}).wait()
        assert " ".join(str(value) for value in (await find(table, id=1)).values()) == wanted

    run(scenario)


def test_a_first_row_is_the_only_change_of_its_key():
    async def scenario(connection, admin):
        table = await make(connection, admin, properties={"table.merge-engine": "first_row"})
        await upsert(table.new_upsert().create_writer(), row(1, "a", 1), row(1, "b", 2), row(2, "c", 3))
        assert await changes(table, 2) == ["+I 1 a 1", "+I 2 c 3"]

    run(scenario)


def test_the_image_wal_leaves_out_what_was_there_before():
    async def scenario(connection, admin):
        table = await make(connection, admin, properties={"table.changelog.image": "wal"})
        writer = table.new_upsert().create_writer()
        await upsert(writer, row(1, "a", 1), row(1, "b", 2))
        await writer.delete({"id": 1}).wait()
        assert await changes(table, 3) == ["+U 1 a 1", "+U 1 b 2", "-D 1 b 2"]

    run(scenario)


def test_a_delete_is_ignored_or_refused_where_the_table_says_so():
    async def scenario(connection, admin):
        table = await make(connection, admin, properties={"table.delete.behavior": "ignore"})
        writer = table.new_upsert().create_writer()
        await upsert(writer, row(1, "a", 1))
        await writer.delete({"id": 1}).wait()
        assert await find(table, id=1) == row(1, "a", 1)
        table = await make(connection, admin, properties={"table.delete.behavior": "disable"})
        writer = table.new_upsert().create_writer()
        await upsert(writer, row(1, "a", 1))
        await refused(fluss.ErrorCode.DELETION_DISABLED_EXCEPTION, writer.delete({"id": 1}).wait())
        assert await find(table, id=1) == row(1, "a", 1)

    run(scenario)


def test_an_auto_increment_column_is_given_once_per_key():
    async def scenario(connection, admin):
        table = await make(connection, admin, auto_increment="score", bucket_count=2)
        writer = table.new_upsert().partial_update_by_name(["id", "name"]).create_writer()
        await upsert(writer, *({"id": id, "name": "first"} for id in range(10)))
        given = [(await find(table, id=id))["score"] for id in range(10)]
        assert len(set(given)) == 10
        await upsert(writer, {"id": 4, "name": "second"})
        assert await find(table, id=4) == row(4, "second", given[4])

    run(scenario)


def test_a_property_that_makes_no_sense_is_refused():
    async def scenario(connection, admin):
        for properties in (
            {"table.merge-engine": "versioned"},
            {"table.merge-engine": "first_row", "table.delete.behavior": "allow"},
            {"table.changelog.image": "nonsense"},
        ):
            descriptor = fluss.TableDescriptor(
                fluss.Schema(pa.schema(FIELDS), ["id"]), bucket_count=1, properties=properties
            )
            path = fluss.TablePath("fluss", unique("pk"))
            await refused(fluss.ErrorCode.INVALID_CONFIG_EXCEPTION, admin.create_table(path, descriptor, False))

    run(scenario)
