"""Events of clients that are not ours, of types of any depth: tombstones, transactions, headers, the largest messages."""

import asyncio
import json
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import KafkaError
from pyspark.sql import SparkSession

import rta
from rta.dataframes.sources import TopicRange, quarantined
from rta.testing import oracle
from tests.kafka.test_foreign import foreign, sent
from tests.support.waiting import HANG

pytestmark = pytest.mark.kafka
SCHEMA = "id BIGINT, device STRUCT<os: STRING NOT NULL>, items ARRAY<STRUCT<sku: STRING, n: INT NOT NULL>>"
LIMIT = 1_048_500  # bytes: with what Kafka puts around it, a record may have 1,048,588
LARGEST = 3_000_000  # bytes: three times Kafka's limit, which is for what is left after compression


def profile(number: int, **more: object) -> bytes:
    """Write a nested profile."""
    return json.dumps({"id": number, "device": {"os": "mac"}, **more}).encode()


def test_foreign_events_of_a_nested_type_are_accounted_for(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A tombstone is what the type says it is; what was aborted is not read; a message may be as large as Kafka takes."""
    name = topic(partitions=1)
    items = [{"sku": "x" * 90, "n": n} for n in range(9_000)]
    large = profile(2, items=items)
    large += b" " * (LARGEST - len(large))
    headers = [("trace", b"\xff"), ("trace", None)]
    sent([(b"1", profile(1), [])], name)
    with_room = foreign(**{"message.max.bytes": 2 * LARGEST, "compression.type": "zstd"})
    with_room.produce(name, large, b"2")
    assert with_room.flush(HANG) == 0
    sent([(b"1", None, []), (None, None, []), (b"5", profile(5, device={}), headers)], name, codec="lz4")  # fmt: skip
    producer = foreign(**{"transactional.id": name})
    producer.init_transactions(HANG)
    for number, end in ((8, producer.abort_transaction), (9, producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(name, profile(number), str(number))
        assert producer.flush(HANG) == 0
        end(HANG)

    kept = rta.EventType(name, SCHEMA, "kafka_timestamp", "id", tombstones="keep")
    committed = {"kafka.isolation.level": "read_committed"}
    rows = rta.read_batch(name, event=kept, options=committed).orderBy("offset").collect()
    assert [(row.id, row.device and row.device.os, len(row["items"] or ())) for row in rows] == [
        (1, "mac", 0), (2, "mac", 9_000), (1, None, 0), (9, "mac", 0),
    ]  # fmt: skip
    bad = quarantined(name, event=kept, options=committed).orderBy("offset").collect()
    assert [row.reason for row in bad] == ["null value", "missing: device.os"]
    assert [(key, value and bytes(value)) for key, value in bad[1].headers] == headers
    last = {0: rta.kafka.offsets(name)[0][1]}
    counts = TopicRange(name, kept, {0: 0}, last, options=committed).counts()
    assert counts == {"consumed": 6, "quarantined": 2, "good": 4}

    usual = rta.EventType(name, SCHEMA, "kafka_timestamp", "id")
    assert [row.reason for row in quarantined(name, event=usual, options=committed).orderBy("offset").collect()] == [
        "null value", "null value", "missing: device.os",
    ]  # fmt: skip


async def _of_aiokafka(name: str) -> None:
    """Publish a profile with each codec, one in a transaction that is committed, and one in a transaction that is aborted."""
    for number, codec in enumerate((None, "gzip", "snappy", "lz4", "zstd")):
        async with AIOKafkaProducer(bootstrap_servers=rta.kafka.bootstrap(), compression_type=codec) as producer:  # fmt: skip
            items = [{"sku": "x" * 50, "n": n} for n in range(50)]  # large enough to be compressed
            await producer.send_and_wait(name, profile(number, items=items), key=b"%d" % number, headers=[("trace", b"\xff")])  # fmt: skip
    async with AIOKafkaProducer(bootstrap_servers=rta.kafka.bootstrap(), transactional_id=name) as producer:  # fmt: skip
        async with producer.transaction():
            await producer.send_and_wait(name, profile(8), key=b"8")
        await producer.begin_transaction()
        await producer.send_and_wait(name, profile(9), key=b"9")
        await producer.abort_transaction()


async def _seen_by_aiokafka(name: str, many: int) -> list[tuple[bytes | None, bytes | None]]:
    """Read the first records of a topic."""
    async with AIOKafkaConsumer(name, bootstrap_servers=rta.kafka.bootstrap(), auto_offset_reset="earliest", isolation_level="read_committed") as reader:  # fmt: skip
        return [((found := await reader.getone()).key, found.value) for _ in range(many)]


def test_aiokafka_writes_and_reads(spark: SparkSession, topic: Callable[..., str]) -> None:
    """Asyncio's client: each codec and its transactions are read, the aborted event is not; it reads what rta has published."""
    name = topic(partitions=1)
    asyncio.run(_of_aiokafka(name))
    event = rta.EventType(name, SCHEMA, "kafka_timestamp", "id")
    committed = {"kafka.isolation.level": "read_committed"}
    rows = rta.read_batch(name, event=event, options=committed).orderBy("offset").collect()
    assert [(row.id, len(row["items"] or ())) for row in rows] == [*((n, 50) for n in range(5)), (8, 0)]  # fmt: skip
    raw = rta.spark().read.format("kafka").options(**{"kafka.bootstrap.servers": rta.kafka.bootstrap(), "subscribe": name, "includeHeaders": "true"}).load()  # fmt: skip
    headers = [[(key, bytes(value)) for key, value in row.headers or ()] for row in raw.orderBy("offset").limit(6).collect()]  # fmt: skip
    assert headers == [*[[("trace", b"\xff")]] * 5, []]
    assert [each.headers for each in rta.peek(name, starting="earliest", count=6)] == [*[(("trace", "\\xff"),)] * 5, ()]  # fmt: skip
    taken = rta.drain(name, lambda events: events.select("id"), table="of_aiokafka", event=event, options=committed)  # fmt: skip
    assert (taken.accounting.used, taken.accounting.balanced) == (6, True)
    mine = topic(partitions=1)
    rta.publish([{"id": 1, "device": {"os": "mac"}}, {"id": 2}], mine, key="id")
    assert asyncio.run(_seen_by_aiokafka(mine, 2)) == [(b"1", b'{"id":1,"device":{"os":"mac"}}'), (b"2", b'{"id":2}')]  # fmt: skip


def at_the_limit(number: int) -> bytes:
    """Write a profile as large as a message may be that is not compressed."""
    empty = len(profile(number, device={"os": ""}))
    return profile(number, device={"os": "x" * (LIMIT - empty)})


async def _large_of_aiokafka(name: str) -> None:
    """Publish a profile of the largest size."""
    async with AIOKafkaProducer(bootstrap_servers=rta.kafka.bootstrap(), max_request_size=2 * LIMIT) as producer:  # fmt: skip
        await producer.send_and_wait(name, at_the_limit(1))


def test_messages_at_the_limit_of_the_broker_are_read(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Not compressed, of two clients, and a third one's in test_kcat.py: each byte of them; what is larger the broker takes from none."""
    name = topic(partitions=1)
    producer = foreign(**{"message.max.bytes": 2 * LIMIT})
    refused: list[object] = []
    producer.produce(name, at_the_limit(0))
    producer.produce(name, at_the_limit(9) + b" " * 200, on_delivery=lambda error, _: refused.append(error and error.code()))  # fmt: skip
    assert producer.flush(HANG) == 0
    assert refused == [KafkaError.MSG_SIZE_TOO_LARGE]
    asyncio.run(_large_of_aiokafka(name))
    whole = [len(raw.value or b"") for raw in oracle.read_topic(name)]
    assert whole == [LIMIT, LIMIT]
    event = rta.EventType(name, SCHEMA, "kafka_timestamp", "id")
    rows = rta.read_batch(name, event=event).orderBy("offset").collect()
    wanted = [json.loads(at_the_limit(number)) for number in range(2)]
    assert [{"id": row.id, "device": {"os": row.device.os}} for row in rows] == wanted
    drained = rta.drain(name, lambda events: events.select("id", "device"), table="at_the_limit", event=event)  # fmt: skip
    assert (drained.accounting.used, drained.accounting.balanced) == (2, True)
    assert rta.read("at_the_limit").device_os.tolist() == [each["device"]["os"] for each in wanted]
