"""Faults that every engine beside Spark must survive: what is sent, how it is killed in turn, and what must hold in the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import psutil
from pyspark.sql import SparkSession

import rta
from rta.kafka import broker, client
from rta.testing import oracle
from rta.transforms import totals
from tests.support.truth import KEY, true_totals
from tests.support.waiting import until

POISON = (b"{broken", b"[1]", b"", '{"event_id": "\u00e4"'.encode("latin-1"))


def sent(spark: SparkSession, topic: str, seed: int, rows: int) -> int:
    """Send events with their message key, a hundredth of poison among them; return how many records that are."""
    rta.publish(rta.user_events(spark, rows=rows, seed=seed), topic, key="user_id")
    return rows + spoilt(topic, rows // 100)


def spoilt(topic: str, records: int, *, partition: int | None = None) -> int:
    """Send so many bad records, to a partition if one is given; return how many."""
    producer = client.producer()
    for number in range(records):
        client.send(producer, topic, POISON[number % len(POISON)], partition=partition)
    producer.close()
    return records


def followed(topic: str, table: str, engine: str) -> Any:
    """Follow a topic on an engine."""
    return rta.follow(topic, totals, table=table, key=KEY, event=rta.USER_EVENTS, engine=engine)


def exact(topic: str, table: str, records: int) -> None:
    """Hold a table to DuckDB's answer over the topic itself, and its accounting to what was sent."""
    assert oracle.differences(true_totals(topic), table) == []
    told = rta.accounting(table)
    assert told.balanced
    assert told.consumed == records
    letters = rta.dlq.dead_letters(topic, limit=None)
    assert len({each.origin for each in letters}) == told.quarantined


def killed_in_turn(
    spark: SparkSession,
    query: Any,
    topic: str,
    kill: Callable[[int], None],
    *,
    times: int,
    rows: int,
) -> None:
    """Kill what runs a query again and again while events come.

    Args:
        spark: The session.
        query: The query.
        topic: Its topic.
        kill: Kills it; it gets the number of the turn.
        times: How often.
        rows: Events of a turn.
    """
    records = 0

    def counted() -> int:
        if (failed := query.exception()) is not None:
            raise failed
        return sum(query.reached().values())

    for turn in range(times):
        before = counted()
        records += sent(spark, topic, turn, rows)
        until(partial(lambda least: counted() > least, before))  # in the midst of it
        kill(turn)
        records += sent(spark, topic, 100 + turn, rows // 10)
        until(partial(lambda most: query.restarts > most, turn))
    query.processAllAvailable()
    query.stop()
    exact(topic, query.name, records)


def broker_killed(spark: SparkSession, topic: str, table: str, engine: str) -> None:
    """Kill the broker under a query, and let more events come."""
    records = sent(spark, topic, 1, 500)
    query = followed(topic, table, engine)
    query.processAllAvailable()
    there = broker.status()
    assert there is not None
    psutil.Process(there.pid).kill()
    rta.up()
    records += sent(spark, topic, 2, 500)
    query.processAllAvailable()
    query.stop()
    exact(topic, table, records)


def grown(topic: str, partitions: int) -> None:
    """Give a topic more partitions."""
    from kafka.admin import NewPartitions

    with client.administrator() as admin:
        admin.create_partitions({topic: NewPartitions(partitions)})
