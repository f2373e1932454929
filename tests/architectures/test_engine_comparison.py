"""One analysis on all three engines over one topic: the answers are equal, and each engine's figures are there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.engines import flink
from rta.errors import InputError
from rta.transforms import totals

KEY = ("window", "user_id")


def test_the_engines_are_held_to_the_batch(spark: SparkSession, topic: Callable[..., str]) -> None:
    """Answers, accounting, cost and latency of each; nothing is left behind."""
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=300, seed=1), name, key="user_id")
    tables, topics = len(rta.store.tables()), len(rta.kafka.list_topics())
    try:
        compared = rta.compare_engines(name, totals, key=KEY, event=rta.USER_EVENTS, rate=50, seconds=2)  # fmt: skip
    finally:
        flink.down()
    assert compared.equal, compared.differences
    rows = compared.rows.set_index("engine")
    assert list(rows.index) == ["spark", "flink", "kafka-streams"]
    assert set(rows["used"] + rows["late"]) == {300}
    assert (rows[["start_s", "drain_s", "cpu_s", "memory_mb", "latency_p50_s"]] > 0).all(axis=None)
    assert len(compared.latencies) == 300
    assert compared.chart().to_dict()["vconcat"]
    assert len(rta.store.tables()) == tables
    left = {each.name for each in rta.kafka.list_topics()}
    assert len(left) == topics, left


def test_a_latency_needs_a_count_of_all_events(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """It is said before anything is run."""

    def summed(events: DataFrame) -> DataFrame:
        return events.groupBy(F.window("timestamp", "5 minutes"), "user_id").agg(F.sum("amount").alias("s"))  # fmt: skip

    with pytest.raises(InputError, match="latency is measured by a count of all events"):
        rta.compare_engines(topic(partitions=1), summed, key=KEY, event=rta.USER_EVENTS, rate=10)
