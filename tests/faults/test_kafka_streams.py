"""Faults of Kafka Streams: its JVM and the broker are killed, its state is lost; the answer is DuckDB's over the topic."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from pyspark.sql import SparkSession

from rta.engines.engine_tables import state_of
from rta.errors import QueryError
from tests.support.engine_faults import broker_killed, exact, followed, grown, killed_in_turn, sent
from tests.support.waiting import until

STREAMS = "kafka-streams"


@pytest.fixture(autouse=True)
def short_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let its JVMs compile less."""
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


def killed(spark: SparkSession, topic: str, table: str, *, times: int, rows: int) -> None:
    """Kill the program again and again while events come; the last time its state is lost, too."""
    query = followed(topic, table, STREAMS)

    def kill(turn: int) -> None:
        query.native.process.kill()
        if turn == times - 1:
            query.native.process.wait()
            shutil.rmtree(state_of(table) / "streams")

    killed_in_turn(spark, query, topic, kill, times=times, rows=rows)


def test_f64_kafka_streams_is_killed_and_its_state_is_lost(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """It starts again by itself, from its last commit, and fills an empty state folder from Kafka: nothing is lost or counted twice."""
    killed(spark, topic(partitions=2), "streams_killed", times=3, rows=1_000)


@pytest.mark.soak
def test_f64_kafka_streams_is_killed_ten_times(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The same, ten times over 30,000 events."""
    killed(spark, topic(partitions=2), "streams_killed_often", times=10, rows=3_000)


def test_f65_the_broker_is_killed_under_kafka_streams(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The program and the thread that fills the table find it again, and go on."""
    broker_killed(spark, topic(partitions=2), "streams_broker", STREAMS)


def test_f66_partitions_are_added_under_kafka_streams(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A key would go to another partition than its group: it ends with a sentence, and what is in the table stays right."""
    name = topic(partitions=1)
    records = sent(spark, name, 1, 300)
    query = followed(name, "streams_grows", STREAMS)
    query.processAllAvailable()
    grown(name, 3)
    until(lambda: not query.isActive)
    assert "partition" in str(query.exception())
    query.stop()
    exact(name, "streams_grows", records)
    with pytest.raises(QueryError, match="partitions"):
        followed(name, "streams_grows", STREAMS)
