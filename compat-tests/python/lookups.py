"""Looks up keys of a compacted topic with pyfluss, one of each line, and prints the key and, behind a tab, its value
where it has one. Usage: lookups.py SERVER TOPIC"""

import asyncio
import itertools
import os
import sys

import fluss


async def main(server: str, topic: str) -> None:
    connection = await fluss.FlussConnection.create(fluss.Config({"bootstrap.servers": server}))
    table = await connection.get_table(fluss.TablePath("kafka", topic))
    # Each lets one lookup through at a time, which waits 100 ms for others to go with it.
    lookupers = [table.new_lookup().create_lookuper() for _ in range(16)]
    keys = sys.stdin.read().split()
    asked = zip(keys, itertools.cycle(lookupers))
    rows = await asyncio.gather(*(lookuper.lookup({"key": key.encode()}) for key, lookuper in asked))
    for key, row in zip(keys, rows):
        print(key if row is None else f"{key}\t{row['value'].decode()}")
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
# Threads of pyfluss may abort a process whose interpreter ends (conftest.py).
sys.stdout.flush()
os._exit(0)
