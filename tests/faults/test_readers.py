"""Faults on the side of those who read: a group whose members come and go, an idle partition, a slow sink."""

from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any, Self

import pyarrow as pa
import pytest
from kafka import KafkaConsumer
from kafka.errors import CommitFailedError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

import rta
from rta.store import database, ledger, serving
from rta.store.serving_tables import Table
from rta.testing import oracle
from tests.support.databases import create
from tests.support.truth import KEY, held_sink, true_totals
from tests.support.waiting import joined, terminated, until

pytestmark = pytest.mark.kafka


def test_f20_members_of_a_group_come_and_go(topic: Callable[..., str]) -> None:
    """One leaves without a commit: at least once; in a table keyed by the origin each event is once."""
    name = topic(partitions=4)
    columns = ("partition", "offset", "value")
    schema = StructType().add("partition", "long").add("offset", "long").add("value", "string")
    table = create("f20", schema, ["partition", "offset"])

    def publish(first: int) -> None:
        events = ({"n": n, "key": n % 40} for n in range(first, first + 100))
        assert rta.kafka.publish_paced(events, name, key="key", rate=2_000).ok == 100

    with Group(name, table) as group:
        one = group.join()
        publish(0)
        until(lambda: len(set(group.got)) == 100)
        two, _ = group.join(), group.join()
        until(group.settled)
        two.commits = False
        publish(100)
        until(lambda: len(set(group.got)) == 200)
        group.leave(two)
        group.join()
        publish(200)
        group.leave(one)
        publish(300)
        until(lambda: len(rta.lag("f20")) == 4 and not any(row.lag for row in rta.lag("f20")))

    raw = oracle.read_topic(name)
    assert set(group.got) == {(each.partition, each.offset) for each in raw}
    assert len(group.got) > len(raw) == 400
    truth = [(each.partition, each.offset, (each.value or b"").decode()) for each in raw]
    rows = [dict(zip(columns, row, strict=True)) for row in truth]
    assert oracle.differences(pa.Table.from_pylist(rows), "f20") == []


class Member(Thread):
    """A consumer in a thread of its own, as in life: a rebalance ends only if all members poll."""

    def __init__(self, group: "Group") -> None:
        super().__init__(daemon=True)
        self.group, self.commits, self.leaving = group, True, Event()
        self.consumer = KafkaConsumer(
            group.topic, bootstrap_servers=rta.kafka.bootstrap(), group_id="f20", enable_auto_commit=False,
            auto_offset_reset="earliest", heartbeat_interval_ms=200, max_poll_records=20,
        )  # fmt: skip

    def run(self) -> None:
        """Write what comes until told to leave; what is not committed then comes again, to others."""
        while not self.leaving.is_set():
            polled = self.consumer.poll(timeout_ms=200)
            self.group.write([record for part in polled.values() for record in part])
            if polled and self.commits:
                with suppress(
                    CommitFailedError
                ):  # another has the partition now, and reads it again
                    self.consumer.commit()
        self.consumer.close(autocommit=False)


class Group:
    """Members that write what they read into a table keyed by partition and offset."""

    def __init__(self, topic: str, table: Table) -> None:
        self.topic, self.table, self.lock = topic, table, Lock()
        self.members, self.got = list[Member](), list[tuple[int, int]]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in list(self.members):
            self.leave(each)

    def join(self) -> Member:
        """Begin a member."""
        self.members.append(Member(self))
        self.members[-1].start()
        return self.members[-1]

    def leave(self, who: Member) -> None:
        """End a member, and wait until the broker was told."""
        self.members.remove(who)
        who.leaving.set()
        joined(who)

    def settled(self) -> bool:
        """Tell whether every member has partitions, and every partition one member."""
        held = [list(each.consumer.assignment()) for each in self.members]
        return all(held) and sorted(part.partition for each in held for part in each) == [
            0,
            1,
            2,
            3,
        ]

    def write(self, records: list[Any]) -> None:
        """Commit a batch of records to the table."""
        rows = [(each.partition, each.offset, each.value.decode()) for each in records]
        with self.lock:
            batch = ledger.Batch("f20", len(self.got), self.topic, consumed=len(rows), used=len(rows))  # fmt: skip
            self.got += [row[:2] for row in rows]
            if rows:
                serving.commit_batch(database.engine(), self.table, batch, rows)


@pytest.mark.usefixtures("as_delivered")
def test_f32_an_idle_partition_holds_no_window_open(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Three airports on partitions 0, 1, 3: windows close by the newest event of all; what comes later is late."""
    name = topic(partitions=4)
    days = rta.flights(spark).where("reported_at < '2013-01-02'")
    rta.publish(days, name, key="origin", order_by="reported_at")
    assert [p for p, (_, latest) in rta.kafka.offsets(name).items() if not latest] == [2]

    def departures(flights: DataFrame) -> DataFrame:
        marked = flights.withWatermark("event_time", "2 hours")
        return marked.groupBy(F.window("event_time", "1 hour"), "origin").count()

    closed = rta.read_stream(name, event=rta.FLIGHTS).transform(departures)
    closing = closed.writeStream.format("memory").queryName("f32_closed").outputMode("append")
    terminated(closing.trigger(availableNow=True).start())
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
    [listed] = rta.engines.late_events(name, departures, table="f32", event=rta.FLIGHTS).collect()
    assert (listed["partition"], listed["offset"]) == (2, 0)
    assert oracle.differences(oracle.run(hours, events=events), "f32") == []


def test_f33_a_slow_sink(spark: SparkSession, topic: Callable[..., str]) -> None:
    """While the sink stands still the lag grows and is shown; no batch is larger than asked for; then it catches up."""
    name = topic()
    rta.publish(rta.user_events(spark, rows=100), name, order_by="reported_at")
    with held_sink() as (come, gate):
        query = rta.follow(
            name,
            rta.transforms.totals,
            table="f33",
            max_events_per_batch=110,
            key=KEY,
            event=rta.USER_EVENTS,
        )
        try:
            until(come.is_set)
            assert sum(rta.health(query).lag[name].values()) == 100
            more = rta.user_events(spark, rows=400, first_row=100)
            rta.publish(more, name, order_by="reported_at")
            assert "500 records" in repr(rta.health(query))
            gate.set()
            query.processAllAvailable()
            assert sum(rta.health(query).lag[name].values()) == 0
        finally:
            query.stop()
    sizes = [batch.consumed for batch in ledger.batches("f33") if batch.consumed]
    assert sizes[0] == 100
    assert len(sizes) > 4
    assert max(sizes) <= 110
    assert oracle.differences(true_totals(name), "f33") == []
    oracle.check_accounted("f33", name, used=500)
