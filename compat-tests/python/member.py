"""A group member of the groups suite, made with aiokafka. See groups/src/lib.rs for what it prints."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from common import address


def say(word: str, partition: int, first: int, following: int) -> None:
    print(word, partition, first, following, flush=True)


class Rebalances(ConsumerRebalanceListener):
    """Counts rebalances: what was read before one may be another member's by now."""

    def __init__(self):
        self.count = 0

    def on_partitions_revoked(self, revoked):
        self.count += 1

    def on_partitions_assigned(self, assigned):
        pass


async def main(group: str, topic: str) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=address("KAFKA_BOOTSTRAP"),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        max_poll_records=20,
        partition_assignment_strategy=[RangePartitionAssignor],
    )
    rebalances = Rebalances()
    await consumer.start()
    consumer.subscribe([topic], listener=rebalances)
    while True:
        before = rebalances.count
        for partition, records in (await consumer.getmany(timeout_ms=200)).items():
            first, following = records[0].offset, records[-1].offset + 1
            if rebalances.count != before:
                # Not committed, so they are read again: here, if the partition came back.
                if partition in consumer.assignment():
                    consumer.seek(partition, first)
                continue
            say("committing", partition.partition, first, following)
            try:
                await consumer.commit({partition: following})
            except KafkaError:
                say("refused", partition.partition, first, following)
            else:
                say("committed", partition.partition, first, following)


asyncio.run(main(sys.argv[1], sys.argv[2]))
