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
OLD = 1_731_758_400_000  # milliseconds: 2024-11-16T12:00:00Z
# Segments of a round each, and a cleaner that finds them dirty; but what was written today stays, so that no test is cleaned away from under.
COMPACTED = {
    "cleanup.policy": "compact", "segment.ms": "10", "min.cleanable.dirty.ratio": "0.001", "min.compaction.lag.ms": "86400000",
    "delete.retention.ms": "86400000",
}  # fmt: skip


def price(number: int, key: int) -> dict[str, Any]:
    """Make the price of a round."""
    return {"sku": f"s{key}", "price": number, "at": f"2024-11-15T10:{number:02d}:00Z"}


def compacted(name: str) -> dict[str, int]:
    """Write prices again and again, wait until Kafka has left each key once, and write a few more; return sku → its newest price."""
    rta.kafka.create_topic(name, partitions=2, config=COMPACTED)
    newest: dict[str, int] = {}
    producer = foreign()

    def sent(key: int, number: int | None, at: int = 0) -> None:
        value = None if number is None else json.dumps(price(number, key))
        producer.produce(name, value, f"s{key}", key % 2, timestamp=at)
        newest.pop(f"s{key}", None)
        newest.update({} if number is None else {f"s{key}": number})

    for number in range(ROUNDS):
        for key in range(KEYS):
            sent(key, None if number == ROUNDS - 1 and key < 3 else number, OLD + 60_000 * number)
        assert producer.flush(HANG) == 0
    for key in (KEYS, KEYS + 1):
        sent(key, 0)  # of today: in the last segment nothing is taken away
    assert producer.flush(HANG) == 0

    def cleaned() -> bool:
        """Tell whether each key is there once."""
        there = [raw.key for raw in oracle.read_topic(name)]
        return len(there) == len({*there})

    until(cleaned)
    later: list[tuple[int, int | None]] = [(0, 20), (3, 21), (3, 22), (4, 23), (5, None)]
    for key, changed in later:
        sent(key, changed)
        assert producer.flush(HANG) == 0
    return newest


def test_a_compacted_topic_is_read_whole(spark: SparkSession, topic: Callable[..., str]) -> None:
    """Several partitions with holes: as a table, in a drain with its accounting, in small micro-batches, and by infer."""
    name = topic() + ".compacted"
    prices = compacted(name)
    ends = rta.kafka.offsets(name)
    there = oracle.read_topic(name)
    holes = {p: end - first - sum(raw.partition == p for raw in there) for p, (first, end) in ends.items()}  # fmt: skip
    assert len(there) == KEYS + 2 + 5
    assert holes == dict.fromkeys(ends, (ROUNDS - 1) * KEYS // 2)

    found = rta.infer(name)
    assert (found.format, found.sampled, found.total, found.tombstones) == ("json", len(there), len(there), 4)  # fmt: skip
    assert (found.fits, found.arguments["key"], found.arguments["event_time"]) == (1, "sku", "at")
    event = found.event_type()
    newest = rta.dataframes.latest(name, event=event).collect()
    assert {row.sku: row.price for row in newest} == prices
    assert len(newest) == len(prices)

    def best(prices: DataFrame) -> DataFrame:
        return prices.groupBy("sku").agg(F.max_by("price", "offset").alias("price"))

    drained = rta.drain(name, best, table="compacted", key=["sku"], event=event, max_events_per_batch=30)  # fmt: skip
    told = drained.accounting
    assert told.batches > 3
    assert (told.consumed, told.quarantined, told.used, told.lost, told.balanced) == (len(there), 4, len(there) - 4, 0, True)  # fmt: skip
    table = rta.read("compacted")
    held = {"s5": ROUNDS - 1}  # in update mode no tombstone deletes a row
    assert dict(zip(table.sku, table.price, strict=True)) == prices | held
    gone = [each.key for each in rta.dlq.dead_letters(name)]
    assert sorted(key or b"" for key in gone) == [b"s0", b"s1", b"s2", b"s5"]
