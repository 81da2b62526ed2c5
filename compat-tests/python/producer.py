"""kafka-python, aiokafka and librdkafka as programs that send what they read. See harness/src/producer.rs for the lines."""

import asyncio
import sys
import threading

import confluent_kafka
from aiokafka import AIOKafkaProducer
from kafka import KafkaProducer

LONG_MS = 2**31 - 1
"""As good as for ever."""


def lines():
    for number, line in enumerate(sys.stdin):
        topic, key, value = line.rstrip("\n").split("\t")
        yield number, topic, text(key), text(value)


def text(part: str) -> bytes | None:
    return None if part == "-" else part.encode()


def say(number: int, error=None) -> None:
    # One write, so that lines of several threads do not mix.
    sys.stdout.write(f"failed {number} {error!r}\n" if error else f"ok {number}\n")
    sys.stdout.flush()


def kafka_python(server: str) -> None:
    producer = KafkaProducer(
        bootstrap_servers=server,
        enable_idempotence=True,
        linger_ms=2,
        delivery_timeout_ms=LONG_MS,
        max_block_ms=LONG_MS,
        reconnect_backoff_max_ms=200,
    )
    with producer:
        for number, topic, key, value in lines():
            sent = producer.send(topic, value, key)
            sent.add_callback(lambda _, number=number: say(number))
            sent.add_errback(lambda error, number=number: say(number, error))


async def through_aiokafka(server: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=server, enable_idempotence=True, linger_ms=2)
    await producer.start()
    loop = asyncio.get_running_loop()
    read = lines()

    def tell(number, sent):
        say(number, sent.exception())

    try:
        while line := await loop.run_in_executor(None, next, read, None):
            number, topic, key, value = line
            sent = await producer.send(topic, value, key)
            sent.add_done_callback(lambda sent, number=number: tell(number, sent))
        await producer.flush()
    finally:
        await producer.stop()


def librdkafka(server: str) -> None:
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": server,
            "enable.idempotence": True,
            "linger.ms": 2,
            "message.timeout.ms": 0,
            "reconnect.backoff.max.ms": 200,
        }
    )
    ended = threading.Event()

    def poll():
        while not ended.is_set():
            producer.poll(0.1)

    polling = threading.Thread(target=poll)
    polling.start()
    for number, topic, key, value in lines():
        producer.produce(topic, value, key, on_delivery=lambda error, _, number=number: say(number, error))
    producer.flush()
    ended.set()
    polling.join()


library, server = sys.argv[1:]
if library == "aiokafka":
    asyncio.run(through_aiokafka(server))
elif library == "librdkafka":
    librdkafka(server)
else:
    kafka_python(server)
