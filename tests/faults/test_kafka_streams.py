"""Faults of Kafka Streams: its JVM and the broker are killed, its state is lost; the answer is DuckDB's over the topic."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import psutil
import pytest
from pyspark.sql import SparkSession

import rta
from rta.engines.portable import state_of
from rta.errors import QueryError
from rta.kafka import broker, client
from rta.transforms import totals
from tests.faults.test_flink import POISON, exact
from tests.support.truth import KEY
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def short_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let its JVMs compile less."""
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


def sent(spark: SparkSession, topic: str, seed: int, rows: int) -> int:
    """Send events with their message key, a hundredth of poison among them; return how many records that are."""
    rta.publish(rta.user_events(spark, rows=rows, seed=seed), topic, key="user_id")
    bad = [POISON[number % len(POISON)] for number in range(rows // 100)]
    producer = client.producer()
    for value in bad:
        client.send(producer, topic, value)
    producer.close()
    return rows + len(bad)


def followed(topic: str, table: str) -> Any:
    """Follow a topic on Kafka Streams."""
    return rta.follow(topic, totals, table=table, key=KEY, event=rta.USER_EVENTS, engine="kafka-streams")  # fmt: skip


def killed_in_turn(spark: SparkSession, topic: str, table: str, *, times: int, rows: int) -> None:
    """Kill the program again and again while events come; the last time its state is lost, too."""
    query, records = followed(topic, table), 0

    def counted() -> int:
        return sum(query.reached().values())

    for turn in range(times):
        before = counted()
        records += sent(spark, topic, turn, rows)
        until(partial(lambda least: counted() > least, before))  # in the midst of it
        query.native.process.kill()
        if turn == times - 1:
            query.native.process.wait()
            shutil.rmtree(state_of(table) / "streams")
        records += sent(spark, topic, 100 + turn, rows // 10)
        until(partial(lambda most: query.restarts > most, turn))
    query.processAllAvailable()
    query.stop()
    exact(topic, table, records)


def test_f64_kafka_streams_is_killed_and_its_state_is_lost(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """It starts again by itself, from its last commit, and fills an empty state folder from Kafka: nothing is lost or counted twice."""
    killed_in_turn(spark, topic(partitions=2), "streams_killed", times=3, rows=1_000)


@pytest.mark.soak
def test_f64_kafka_streams_is_killed_ten_times(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The same, ten times over 30,000 events."""
    killed_in_turn(spark, topic(partitions=2), "streams_killed_often", times=10, rows=3_000)


def test_f65_the_broker_is_killed_under_kafka_streams(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """The program and the thread that fills the table find it again, and go on."""
    name = topic(partitions=2)
    records = sent(spark, name, 1, 500)
    query = followed(name, "streams_broker")
    query.processAllAvailable()
    there = broker.status()
    assert there is not None
    psutil.Process(there.pid).kill()
    rta.up()
    records += sent(spark, name, 2, 500)
    query.processAllAvailable()
    query.stop()
    exact(name, "streams_broker", records)


def test_f66_partitions_are_added_under_kafka_streams(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A key would go to another partition than its group: it ends with a sentence, and what is in the table stays right."""
    from kafka.admin import NewPartitions

    name = topic(partitions=1)
    records = sent(spark, name, 1, 300)
    query = followed(name, "streams_grows")
    query.processAllAvailable()
    with client.administrator() as admin:
        admin.create_partitions({name: NewPartitions(3)})
    until(lambda: not query.isActive)
    assert "partition" in str(query.exception())
    query.stop()
    exact(name, "streams_grows", records)
    with pytest.raises(QueryError, match="partitions"):
        followed(name, "streams_grows")
