"""Faults of Flink: its JVM, the broker and the process that fills the table are killed; the answer is DuckDB's over the topic."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from pyspark.sql import SparkSession

from rta.engines import flink
from tests.support.engine_faults import (
    broker_killed,
    exact,
    followed,
    grown,
    killed_in_turn,
    sent,
    spoilt,
)


@pytest.fixture
def running(home: object) -> Iterator[flink.Cluster]:
    """Lend a Flink that a test may kill."""
    yield flink.up()
    flink.down()


def kill(_: int) -> None:
    """Kill Flink."""
    running = flink.status()
    assert running is not None
    assert running.pid is not None
    os.kill(running.pid, signal.SIGKILL)


def test_f60_flink_is_killed(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """It starts again by itself, from its last checkpoint: no event is lost, none is counted twice."""
    name = topic(partitions=2)
    killed_in_turn(spark, followed(name, "flink_killed", "flink"), name, kill, times=2, rows=1_000)


@pytest.mark.soak
def test_f60_flink_is_killed_ten_times(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The same, ten times over 30,000 events."""
    name = topic(partitions=2)
    query = followed(name, "flink_killed_often", "flink")
    killed_in_turn(spark, query, name, kill, times=10, rows=3_000)


def test_f61_the_broker_is_killed_under_flink(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """Flink and the process that fills the table find it again, and go on."""
    broker_killed(spark, topic(partitions=2), "flink_broker", "flink")


def test_f62_who_fills_the_table_is_gone(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The job goes on without the kernel that started it; who follows the topic next finds it, and misses nothing."""
    name = topic(partitions=2)
    records = sent(spark, name, 1, 500)
    query = followed(name, "flink_gone", "flink")
    query.processAllAvailable()
    query.let_go()
    records += sent(spark, name, 2, 500)
    again = followed(name, "flink_gone", "flink")
    assert again.job.id == query.job.id
    again.processAllAvailable()
    again.stop()
    exact(name, "flink_gone", records)


def test_f63_partitions_are_added_under_flink(
    running: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The new ones are read from their first event."""
    name = topic(partitions=1)
    records = sent(spark, name, 1, 300)
    query = followed(name, "flink_grows", "flink")
    query.processAllAvailable()
    grown(name, 3)
    records += sent(spark, name, 2, 300) + spoilt(
        name, 1, partition=2
    )  # Spark's producer may not know it yet
    query.processAllAvailable()
    query.stop()
    exact(name, "flink_grows", records)
    assert len(query.reached()) > 1
