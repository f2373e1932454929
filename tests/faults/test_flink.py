"""Faults of Flink: its JVM, the broker and the process that fills the table are killed; the answer is DuckDB's over the topic."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil
import pytest
from pyspark.sql import SparkSession

import rta
from rta.engines import flink
from rta.kafka import broker, client
from rta.testing import oracle
from rta.transforms import totals
from tests.support.truth import KEY, true_totals
from tests.support.waiting import until

POISON = (b"{broken", b"[1]", b"", '{"event_id": "\u00e4"'.encode("latin-1"))


@pytest.fixture
def running(home: object) -> Iterator[flink.Cluster]:
    """Lend a Flink that a test may kill."""
    yield flink.up()
    flink.down()


def sent(spark: SparkSession, topic: str, seed: int, rows: int) -> int:
    """Send events with a hundredth of poison among them; return how many records that are."""
    rta.publish(rta.user_events(spark, rows=rows, seed=seed), topic)
    bad = [POISON[number % len(POISON)] for number in range(rows // 100)]
    producer = client.producer()
    for value in bad:
        client.send(producer, topic, value)
    producer.close()
    return rows + len(bad)


def followed(topic: str, table: str) -> Any:
    """Follow a topic on Flink."""
    return rta.follow(topic, totals, table=table, key=KEY, event=rta.USER_EVENTS, engine="flink")


def exact(topic: str, table: str, records: int) -> None:
    """Hold a table to DuckDB's answer over the topic itself, and its accounting to what was sent."""
    assert oracle.differences(true_totals(topic), table) == []
    told = rta.accounting(table)
    assert told.balanced
    assert told.consumed == records
    letters = rta.dlq.dead_letters(topic, limit=None)
    assert len({each.origin for each in letters}) == told.quarantined


def killed_in_turn(spark: SparkSession, topic: str, table: str, *, times: int, rows: int) -> None:
    """Kill Flink again and again while events come."""
    query, records = followed(topic, table), 0

    def counted() -> int:
        return sum(query.reached().values())

    for turn in range(times):
        before = counted()
        records += sent(spark, topic, turn, rows)
        until(partial(lambda least: counted() > least, before))  # in the midst of it
        running = flink.status()
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        records += sent(spark, topic, 100 + turn, rows // 10)
        until(partial(lambda most: query.restarts > most, turn))
    query.processAllAvailable()
    query.stop()
    exact(topic, table, records)


def test_f60_flink_is_killed(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """It starts again by itself, from its last checkpoint: no event is lost, none is counted twice."""
    killed_in_turn(spark, topic(partitions=2), "flink_killed", times=2, rows=1_000)


@pytest.mark.soak
def test_f60_flink_is_killed_ten_times(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The same, ten times over 30,000 events."""
    killed_in_turn(spark, topic(partitions=2), "flink_killed_often", times=10, rows=3_000)


def test_f61_the_broker_is_killed_under_flink(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Flink and the process that fills the table find it again, and go on."""
    name = topic(partitions=2)
    records = sent(spark, name, 1, 500)
    query = followed(name, "flink_broker")
    query.processAllAvailable()
    there = broker.status()
    assert there is not None
    psutil.Process(there.pid).kill()
    rta.up()
    records += sent(spark, name, 2, 500)
    query.processAllAvailable()
    query.stop()
    exact(name, "flink_broker", records)


def test_f62_who_fills_the_table_is_gone(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The job goes on without the kernel that started it; who follows the topic next finds it, and misses nothing."""
    name = topic(partitions=2)
    records = sent(spark, name, 1, 500)
    query = followed(name, "flink_gone")
    query.processAllAvailable()
    query.let_go()
    records += sent(spark, name, 2, 500)
    again = followed(name, "flink_gone")
    assert again.job.id == query.job.id
    again.processAllAvailable()
    again.stop()
    exact(name, "flink_gone", records)


def test_f63_partitions_are_added_under_flink(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The new ones are read from their first event."""
    from kafka.admin import NewPartitions

    name = topic(partitions=1)
    records = sent(spark, name, 1, 300)
    query = followed(name, "flink_grows")
    query.processAllAvailable()
    with client.administrator() as admin:
        admin.create_partitions({name: NewPartitions(3)})
    records += sent(spark, name, 2, 300)
    query.processAllAvailable()
    query.stop()
    exact(name, "flink_grows", records)
    assert len(query.reached()) > 1
