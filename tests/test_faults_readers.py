"""Faults on the side of those who read: a group whose members come and go, an idle partition, a slow sink."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest
from kafka import KafkaConsumer
from kafka.errors import CommitFailedError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StructType

import rta
from rta import oracle, serving
from tests.truth import KEY, held_sink, true_totals

pytestmark = pytest.mark.kafka


def test_f20_members_of_a_group_come_and_go(topic: Callable[..., str]) -> None:
    """They leave without a commit: at least once; in a table keyed by the origin each event is once."""
    name = topic(partitions=4)
    made = rta.publish_paced(({"n": n, "key": n % 40} for n in range(400)), name, key="key")
    assert made.ok == 400
    group = Group(name)
    group.join("one")
    group.read("one", commit=True)
    group.read("one", commit=False)
    group.join("two", "three")
    group.settle()
    group.read("two", commit=False)
    group.leave("two")
    group.join("four")
    group.settle()
    group.leave("one")
    while any(row.lag for row in rta.lag("f20")) or len(rta.lag("f20")) < 4:
        for who in group.members:
            group.read(who, commit=True, patient=False)
    group.leave("three")
    group.leave("four")

    raw = oracle.read_topic(name)
    assert set(group.got) == {(each.partition, each.offset) for each in raw}
    assert len(group.got) > len(raw) == 400
    columns = ("partition", "offset", "value")
    truth = [(each.partition, each.offset, (each.value or b"").decode()) for each in raw]
    rows = [dict(zip(columns, row, strict=True)) for row in truth]
    assert oracle.differences(pa.Table.from_pylist(rows), "f20") == []


class Group:
    """A consumer group that writes what it reads into a table keyed by partition and offset."""

    def __init__(self, topic: str) -> None:
        columns = StructType().add("partition", LongType()).add("offset", LongType())
        self.table = serving.create("f20", columns.add("value", "string"), ["partition", "offset"])
        self.topic, self.got = topic, list[tuple[int, int]]()
        self.members: dict[str, KafkaConsumer] = {}

    def join(self, *names: str) -> None:
        """Begin members, each a consumer of its own."""
        for each in names:
            self.members[each] = KafkaConsumer(
                self.topic, bootstrap_servers=rta.bootstrap(), group_id="f20", enable_auto_commit=False,
                auto_offset_reset="earliest", heartbeat_interval_ms=200, max_poll_records=20,
            )  # fmt: skip

    def leave(self, who: str) -> None:
        """End a member; what it has not committed comes again."""
        self.members.pop(who).close(autocommit=False)

    def read(self, who: str, *, commit: bool, patient: bool = True, most: int = 20) -> None:
        """Poll until something comes (patient), or once."""
        records: list[Any] = []
        while not records:
            polled = self.members[who].poll(timeout_ms=2_000, max_records=most)
            records = [record for part in polled.values() for record in part]
            if not patient:
                break
        rows = [(each.partition, each.offset, each.value.decode()) for each in records]
        batch = serving.Batch(who, len(self.got), self.topic, consumed=len(rows), used=len(rows))
        self.got += [row[:2] for row in rows]
        if rows:
            serving.commit_batch(serving.engine(), self.table, batch, rows)
        if rows and commit:
            with suppress(CommitFailedError):  # another has the partition now, and reads it again
                self.members[who].commit()

    def settle(self) -> None:
        """Poll in turn until all partitions are given out, to all members."""
        while True:
            held = [member.assignment() for member in self.members.values()]
            if all(held) and sum(map(len, held)) == 4:
                return
            for who in self.members:
                self.read(who, commit=True, patient=False, most=1)


def test_f32_an_idle_partition_holds_no_window_open(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Three airports on partitions 0, 1, 3: windows close by the newest event of all; what comes later is late."""
    name = topic(partitions=4)
    days = rta.flights(spark).where("arrival_time < '2013-01-02'")
    rta.publish(days, name, key="origin", order_by="arrival_time")
    assert [p for p, (_, latest) in rta.offsets(name).items() if not latest] == [2]

    def departures(flights: DataFrame) -> DataFrame:
        marked = flights.withWatermark("event_time", "2 hours")
        return marked.groupBy(F.window("event_time", "1 hour"), "origin").count()

    closed = rta.read_stream(name, event=rta.FLIGHTS).transform(departures)
    closing = closed.writeStream.format("memory").queryName("f32_closed").outputMode("append")
    closing.trigger(availableNow=True).start().awaitTermination(60)
    events = oracle.events(name, rta.FLIGHTS)
    hours = """SELECT time_bucket(INTERVAL '1 hour', event_time) AS window_start, origin, COUNT(*) AS count,
                      window_start + INTERVAL '1 hour' AS window_end FROM events GROUP BY ALL"""
    ended = f"""SELECT * FROM ({hours})
                WHERE window_end <= (SELECT date_trunc('milliseconds', MAX(event_time)) - INTERVAL '2 hours' FROM events)"""
    flat = spark.table("f32_closed").select("window.start", "window.end", "origin", "count")
    truth = oracle.run(ended, events=events)
    assert truth.num_rows > 10
    assert (
        oracle.differences(
            truth, flat.toDF("window_start", "window_end", "origin", "count").toArrow()
        )
        == []
    )

    how: dict[str, Any] = {"table": "f32", "key": ["window", "origin"], "event": rta.FLIGHTS}
    rta.drain(name, departures, **how)
    assert oracle.differences(oracle.run(hours, events=events), "f32") == []
    tardy = days.orderBy("event_time").limit(1).withColumn("origin", F.lit("SFO"))
    assert list(rta.publish(tardy, name, key="origin").offsets[2]) == [0, 1]
    assert rta.drain(name, departures, **how).accounting.late == 1
    oracle.check_accounted("f32", name, used=events.num_rows, late=1)
    [listed] = rta.late_events(name, departures, table="f32", event=rta.FLIGHTS).collect()
    assert (listed["partition"], listed["offset"]) == (2, 0)
    assert oracle.differences(oracle.run(hours, events=events), "f32") == []


def test_f33_a_slow_sink(spark: SparkSession, topic: Callable[..., str]) -> None:
    """While the sink stands still the lag grows and is shown; no batch is larger than asked for; then it catches up."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=100), name, order_by="arrival_time")
    with held_sink() as (come, gate):
        query = rta.follow(
            name, rta.totals, table="f33", max_events_per_batch=110, key=KEY, event=rta.USER_EVENTS
        )
        try:
            assert come.wait(60)
            assert sum(rta.health(query).lag[name].values()) == 100
            more = rta.user_events(spark, rows=400, first_row=100)
            rta.publish(more, name, order_by="arrival_time")
            assert "500 records" in repr(rta.health(query))
            gate.set()
            query.processAllAvailable()
            assert sum(rta.health(query).lag[name].values()) == 0
        finally:
            query.stop()
    sizes = [batch.consumed for batch in serving.batches("f33") if batch.consumed]
    assert sizes[0] == 100
    assert len(sizes) > 4
    assert max(sizes) <= 110
    assert oracle.differences(true_totals(name), "f33") == []
    oracle.check_accounted("f33", name, used=500)
