"""The analyses of the contract on a real Kafka Streams: the answer of Spark's batch, every event in a term, late ones counted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta import EventType
from rta.engines import engine_tables, kafka_streams
from rta.engines.contract import described
from rta.engines.kafka_streams.topology import unsupported
from rta.errors import QueryError
from rta.kafka import client, topics
from rta.transforms import totals
from tests.engines.contract.answers import KEY, kept, rows
from tests.engines.contract.queries import PORTABLE, Transform, hopping, sessions
from tests.support.waiting import until

STREAMS = "kafka-streams"
BEGIN = datetime(2024, 11, 15, 10, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def short_lived() -> Any:
    """Let its JVMs compile less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
        yield


def send(topic: str, *values: bytes | None) -> None:
    """Send records to the first partition, in their order."""
    producer = client.producer()
    for value in values:
        client.send(producer, topic, value, partition=0)
    producer.close()


def at(minutes: float, user: int = 7) -> bytes:
    """Write an event that happened so many minutes after the beginning."""
    moment = (BEGIN + timedelta(minutes=minutes)).isoformat()
    return json.dumps({"event_id": f"{user}-{minutes}", "user_id": user, "action": "view", "amount": "0.10", "timestamp": moment}).encode()  # fmt: skip


def drained(topic: str, transform: Any, table: str, key: Any = KEY) -> Any:
    """Drain an analysis on Kafka Streams."""
    return rta.drain(topic, transform, table=table, key=key, event=rta.USER_EVENTS, engine=STREAMS)


def test_late_events_are_left_out_and_counted_and_a_restart_knows_its_clock(
    topic: Callable[..., str],
) -> None:
    """An event is late once its window and the watermark's delay have passed; with windows that overlap it is late if one has."""
    name = topic(partitions=1)
    # The window of 17 ends at 20, and 10 more is 30; the one of 21 ends at 25.
    send(name, at(0), at(4), at(30), b"{", at(1), at(17), at(21))
    first = drained(name, totals, "streams_late")
    assert (first.accounting.used, first.accounting.late, first.accounting.quarantined) == (4, 2, 1)
    send(name, at(2), at(31), at(60), at(3))
    second = drained(name, totals, "streams_late")  # another JVM, whose clock is at 30
    assert (second.accounting.used, second.accounting.late) == (2, 2)
    counted = rta.read("streams_late").sort_values("window_start")["event_count"].to_list()
    assert counted == [2, 1, 2, 1]
    hops = drained(name, hopping, "streams_late_hops")
    assert (hops.accounting.used, hops.accounting.late) == (6, 4)
    assert (
        rta.read("streams_late_hops")["n"].sum() == 2 * 6 + 1
    )  # 17 is in time in the window from 15


def test_the_words_of_a_query_and_a_start_where_it_was(
    spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A query has the words of Spark's, goes on where it was, and after a reset it begins again."""
    name = topic(partitions=2)
    rta.publish(rta.user_events(spark, rows=200, seed=1), name, key="user_id")
    query: Any = rta.follow(name, totals, table="streams_words", key=KEY, event=rta.USER_EVENTS, engine=STREAMS)  # fmt: skip
    query.processAllAvailable()
    assert (query.name, query.isActive, query.exception()) == ("streams_words", True, None)
    assert query.lag() == {0: 0, 1: 0}
    assert isinstance(query.native, kafka_streams.Program)
    listed = rta.queries()["streams_words"]
    assert (listed.engine, listed.state, listed.behind, listed.process) == (STREAMS, "running", 0, os.getpid())  # fmt: skip
    assert f"process {query.native.process.pid}" in str(listed.native)
    again: Any = rta.follow(name, totals, table="streams_words", key=KEY, event=rta.USER_EVENTS, engine=STREAMS)  # fmt: skip
    assert again.native is query.native  # a cell that is run again
    again.stop()
    assert (again.isActive, again.native.runs, again.exception()) == (False, False, None)
    rta.publish(rta.user_events(spark, rows=100, seed=2), name, key="user_id")
    assert drained(name, totals, "streams_words").accounting.consumed == 100
    batch = rows(totals(rta.read_batch(name, event=rta.USER_EVENTS)))
    assert kept("streams_words") == batch
    filtered, _ = PORTABLE["filtered"]
    with pytest.raises(QueryError, match="is that of another query"):
        drained(name, filtered, "streams_words")
    rta.reset("streams_words")
    assert not [each.name for each in topics.list_topics() if each.name.startswith("streams_words")]
    drained(name, totals, "streams_words")
    assert kept("streams_words") == batch


def test_a_group_on_two_partitions_is_an_error_and_no_wrong_row(topic: Callable[..., str]) -> None:
    """Events without the message key that Kafka would put elsewhere: it ends with a sentence, and the table has no half of a group."""
    name = topic(partitions=3)
    send(name, *(at(minute, user) for user in range(5) for minute in range(2)))
    query: Any = rta.follow(name, totals, table="streams_keyless", key=KEY, event=rta.USER_EVENTS, engine=STREAMS)  # fmt: skip
    with pytest.raises(QueryError, match=r'with user_id = \d at offset \d is on partition 0.*key="user_id"'):  # fmt: skip
        query.processAllAvailable()
    failed = rta.queries()["streams_keyless"]
    assert (failed.state, failed.verdict.level) == ("failed", "bad")
    assert "is on partition 0" in failed.verdict.text
    until(lambda: engine_tables.told("streams_keyless").state == "failed")  # type: ignore[union-attr]
    assert rta.read("streams_keyless").empty


def by_action(events: DataFrame) -> DataFrame:
    """Group by a column that is not the message key."""
    return totals(events, by=("action",))


def replaced(events: DataFrame) -> DataFrame:
    """Group by a column that has taken the name of the message key."""
    return totals(events.withColumn("user_id", F.when(F.col("user_id") > 5, F.col("user_id"))))


def test_what_kafka_streams_cannot_run_is_said_before_anything_is_made(spark: SparkSession) -> None:
    """The program itself says it, in one sentence, without Kafka."""
    keyless = EventType("user-events", rta.USER_EVENTS.schema, "timestamp")
    by_time = EventType("user-events", rta.USER_EVENTS.schema, "timestamp", "timestamp")
    refused: list[tuple[Transform, EventType, str]] = [
        (by_action, rta.USER_EVENTS, "do not contain user_id"),
        (replaced, rta.USER_EVENTS, "user_id, which is the message key, is replaced"),
        (totals, keyless, "no message key"),
        (totals, by_time, "is a timestamp"),
        (sessions, rta.USER_EVENTS, "no watermark that closes one"),
    ]
    for transform, event, said in refused:
        assert said in str(unsupported(described(transform, event), event)), transform
    for portable, _ in PORTABLE.values():
        assert unsupported(described(portable, rta.USER_EVENTS), rta.USER_EVENTS) is None
