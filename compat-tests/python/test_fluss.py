"""pyfluss against the Fluss wire."""

import asyncio

import fluss
import pytest

from common import LIMIT, address, unique
from fluss_common import append, config, make, refused, rows, run, scan


def test_a_database_is_made_described_and_dropped():
    async def scenario(_, admin):
        name = unique("db")
        await admin.create_database(name, fluss.DatabaseDescriptor(comment="words", custom_properties={"k": "v"}), False)
        assert await admin.database_exists(name)
        assert name in await admin.list_databases()
        described = (await admin.get_database_info(name)).get_database_descriptor()
        assert (described.comment, described.get_custom_properties()) == ("words", {"k": "v"})
        await refused(fluss.ErrorCode.DATABASE_ALREADY_EXIST, admin.create_database(name, None, False))
        await admin.drop_database(name, False, False)
        await refused(fluss.ErrorCode.DATABASE_NOT_EXIST, admin.drop_database(name, False, False))

    run(scenario)


def test_a_table_is_described_as_it_was_made():
    async def scenario(_, admin):
        path = await make(
            admin,
            bucket_count=3,
            bucket_keys=["id"],
            comment="scores",
            properties={"table.log.ttl": "3 d"},
            custom_properties={"owner": "tests"},
        )
        info = await admin.get_table_info(path)
        assert (info.num_buckets, info.get_bucket_keys(), info.comment) == (3, ["id"], "scores")
        assert info.get_column_names() == ["id", "name", "score"]
        assert info.get_properties()["table.log.ttl"] == "3 d"
        assert info.get_custom_properties()["owner"] == "tests"
        assert path.table_name in await admin.list_tables("fluss")
        await admin.drop_table(path, False)
        assert not await admin.table_exists(path)

    run(scenario)


def test_unknown_things_are_named_as_such():
    async def scenario(_, admin):
        nowhere = fluss.TablePath("fluss", unique("nowhere"))
        await refused(fluss.ErrorCode.TABLE_NOT_EXIST, admin.get_table_info(nowhere))
        await refused(fluss.ErrorCode.TABLE_NOT_EXIST, admin.drop_table(nowhere, False))
        await refused(fluss.ErrorCode.DATABASE_NOT_EXIST, admin.list_tables(unique("nowhere")))

    run(scenario)


def test_arrow_tables_come_back():
    async def scenario(connection, admin):
        path = await make(admin)
        await append(connection, path, rows(0, 300))
        await append(connection, path, rows(300, 500))
        assert (await scan(connection, path)).to_pydict() == rows(0, 500).to_pydict()

    run(scenario)


@pytest.mark.parametrize("codec", ["NONE", "LZ4_FRAME", "ZSTD"])
def test_a_projection_gives_the_named_columns(codec):
    async def scenario(connection, admin):
        path = await make(admin, properties={"table.log.arrow.compression.type": codec})
        await append(connection, path, rows(0, 200))
        found = await scan(connection, path, lambda scan: scan.project_by_name(["score", "id"]))
        assert found.column_names == ["score", "id"]
        assert found.to_pydict() == rows(0, 200).select(["score", "id"]).to_pydict()

    run(scenario)


def test_rows_come_back_with_their_offsets():
    async def scenario(connection, admin):
        path = await make(admin)
        table = await connection.get_table(path)
        writer = table.new_append().create_writer()
        for number in range(20):
            writer.append({"id": number, "name": None if number % 2 else "even", "score": number})
        await writer.flush()
        scanner = await table.new_scan().create_log_scanner()
        scanner.subscribe(0, 5)
        found = []
        deadline = asyncio.get_running_loop().time() + LIMIT
        while len(found) < 15:
            assert asyncio.get_running_loop().time() < deadline, f"{len(found)} of 15 rows came"
            found.extend((record.offset, record.row["id"], record.row["name"]) for record in await scanner.poll(200))
        assert found == [(number, number, None if number % 2 else "even") for number in range(5, 20)]

    run(scenario)


def test_offsets_are_listed_at_both_ends():
    async def scenario(connection, admin):
        path = await make(admin)
        await append(connection, path, rows(0, 12))
        assert await admin.list_offsets(path, [0], fluss.OffsetSpec.earliest()) == {0: 0}
        assert await admin.list_offsets(path, [0], fluss.OffsetSpec.latest()) == {0: 12}
        assert await admin.list_offsets(path, [0], fluss.OffsetSpec.timestamp(1000)) == {0: 0}

    run(scenario)


def test_partitions_are_made_listed_and_dropped():
    async def scenario(_, admin):
        path = await make(admin, partition_keys=["name"])
        await admin.create_partition(path, {"name": "a"}, False)
        await admin.create_partition(path, {"name": "b"}, False)
        await refused(fluss.ErrorCode.PARTITION_ALREADY_EXISTS, admin.create_partition(path, {"name": "a"}, False))
        names = sorted(info.partition_name for info in await admin.list_partition_infos(path))
        assert names == ["a", "b"]
        await admin.drop_partition(path, {"name": "b"}, False)
        assert [info.partition_name for info in await admin.list_partition_infos(path)] == ["a"]

    run(scenario)


def test_a_limit_scan_gives_the_last_rows():
    async def scenario(connection, admin):
        path = await make(admin)
        await append(connection, path, rows(0, 50))
        table = await connection.get_table(path)
        bucket = fluss.TableBucket(table.get_table_info().table_id, 0)
        found = await table.new_scan().limit(5).create_bucket_batch_scanner(bucket).to_arrow()
        assert found.to_pydict() == rows(45, 50).to_pydict()

    run(scenario)


def test_a_user_signs_in_with_the_right_password_only():
    def signed_in(password):
        return config(
            address("FLUSS_SASL_BOOTSTRAP"),
            **{
                "security.protocol": "sasl",
                "security.sasl.mechanism": "PLAIN",
                "security.sasl.username": "admin",
                "security.sasl.password": password,
            },
        )

    async def scenario():
        connection = await fluss.FlussConnection.create(signed_in("admin-secret"))
        assert "fluss" in await connection.get_admin().list_databases()
        await connection.close()
        with pytest.raises(fluss.FlussError):
            await fluss.FlussConnection.create(signed_in("wrong"))

    asyncio.run(asyncio.wait_for(scenario(), LIMIT))
