"""A topic that Kafka has compacted: offsets without an event are no loss, and the newest event of each key is all that a table needs."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.testing import oracle
from tests.kafka.test_foreign import foreign
from tests.support.waiting import HANG, until

pytestmark = pytest.mark.kafka
KEYS = 12
ROUNDS = 8
# Segments of one record or few, and a cleaner that always finds them dirty: of the last segment alone nothing is taken away.
COMPACTED = {
    "cleanup.policy": "compact", "segment.ms": "10", "min.cleanable.dirty.ratio": "0.001", "min.compaction.lag.ms": "0",
    "delete.retention.ms": "86400000",
}  # fmt: skip


def price(number: int, key: int) -> dict[str, Any]:
    """Make the price of a round."""
    return {"sku": f"s{key}", "price": number, "at": f"2024-11-15T10:{number:02d}:00Z"}


def compacted(name: str) -> dict[str, int]:
    """Write prices again and again, delete some, and wait until Kafka has compacted each partition; return sku → its newest price."""
    rta.kafka.create_topic(name, partitions=2, config=COMPACTED)
    newest: dict[str, int] = {}
    producer = foreign()
    for number in range(ROUNDS):
        for key in range(KEYS):
            gone = number == ROUNDS - 2 and key < 3
            value = None if gone else json.dumps(price(number, key))
            if number < ROUNDS - 1 or key >= 3:  # what is deleted does not come back
                producer.produce(name, value, f"s{key}", key % 2)
                newest[f"s{key}"] = number
        assert producer.flush(HANG) == 0
    last = iter(range(10**6))

    def cleaned() -> bool:
        """Tell whether few old records are left; another record begins another segment."""
        for partition in range(2):
            producer.produce(name, json.dumps(price(next(last) % 60, 99 + partition)), f"s{99 + partition}", partition)  # fmt: skip
        assert producer.flush(HANG) == 0
        left = [raw for raw in oracle.read_topic(name) if raw.key in {b"s%d" % key for key in range(KEYS)}]  # fmt: skip
        return len(left) == KEYS

    until(cleaned)
    rest = {raw.key.decode(): json.loads(raw.value)["price"] for raw in oracle.read_topic(name) if raw.key and raw.value}  # fmt: skip
    assert {key: rest.get(key) for key in newest} == {key: None if int(key[1:]) < 3 else number for key, number in newest.items()}  # fmt: skip
    return rest


def test_a_compacted_topic_is_read_whole(spark: SparkSession, topic: Callable[..., str]) -> None:
    """Several partitions with holes: as a table, in a drain with its accounting, in small micro-batches, and by infer."""
    name = topic() + ".compacted"
    prices = compacted(name)
    ends = rta.kafka.offsets(name)
    there = oracle.read_topic(name)
    holes = {p: end - first - sum(raw.partition == p for raw in there) for p, (first, end) in ends.items()}  # fmt: skip
    assert all(many > KEYS for many in holes.values()), holes

    found = rta.infer(name)
    assert (found.format, found.sampled, found.total, found.tombstones) == ("json", len(there), len(there), 3)  # fmt: skip
    assert (found.fits, found.arguments["key"], found.arguments["event_time"]) == (1, "sku", "at")
    event = found.event_type()
    newest = rta.dataframes.latest(name, event=event).collect()
    assert {row.sku: row.price for row in newest} == prices
    assert len(newest) == len(prices)

    def best(prices: DataFrame) -> DataFrame:
        return prices.groupBy("sku").agg(F.max_by("price", "offset").alias("price"))

    drained = rta.drain(name, best, table="compacted", key=["sku"], event=event, max_events_per_batch=7)  # fmt: skip
    told = drained.accounting
    assert told.batches > 3
    assert (told.consumed, told.quarantined, told.used, told.lost, told.balanced) == (len(there), 3, len(there) - 3, 0, True)  # fmt: skip
    table = rta.read("compacted")
    assert dict(zip(table.sku, table.price, strict=True)) == prices
    assert sorted(each.key or b"" for each in rta.dlq.dead_letters(name)) == [b"s0", b"s1", b"s2"]
