"""A producer of the upserts suite, made with kafka-python or aiokafka. See upserts/src/lib.rs for what it prints."""

import asyncio
import sys

from aiokafka import AIOKafkaProducer
from kafka import KafkaProducer

from common import LIMIT, address


def key(i: int) -> bytes:
    return f'{{"id":{i}}}'.encode()


def value(i: int) -> bytes:
    return f'{{"n":{i}}}'.encode()


def say(offsets: list[int]) -> None:
    for i, offset in enumerate(offsets):
        print("offset", i, offset, flush=True)


def kafka_python(topic: str, count: int) -> None:
    with KafkaProducer(bootstrap_servers=address("KAFKA_BOOTSTRAP"), enable_idempotence=True, linger_ms=200) as producer:
        sent = [producer.send(topic, value(i), key(i), partition=0) for i in range(count)]
        say([future.get(LIMIT).offset for future in sent])


async def through_aiokafka(topic: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address("KAFKA_BOOTSTRAP"), enable_idempotence=True, linger_ms=200)
    await producer.start()
    try:
        sent = [await producer.send(topic, value(i), key(i), partition=0) for i in range(count)]
        say([(await future).offset for future in sent])
    finally:
        await producer.stop()


library, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
if library == "aiokafka":
    asyncio.run(through_aiokafka(topic, count))
else:
    kafka_python(topic, count)
