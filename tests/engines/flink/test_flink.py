"""The analyses of the contract on a real Flink: the answer of Spark's batch, every event in a term, nothing lost over a stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import SparkSession

import rta
from rta.engines import EngineQuery, flink
from rta.errors import InputError, QueryError
from rta.kafka import client
from rta.transforms import totals
from tests.engines.contract.answers import BROKEN, KEY, kept, rows
from tests.engines.contract.queries import PORTABLE, SPARK_ALONE


@pytest.fixture(scope="module")
def events(spark: SparkSession) -> str:
    """Publish user events, some late, and broken ones between them."""
    rta.publish(rta.user_events(spark, rows=1500, seed=3), "flink-events", partitions=2)
    producer = client.producer()
    for value in BROKEN:
        client.send(producer, "flink-events", value, partition=0)
    producer.close()
    return "flink-events"


def drained(topic: str, name: str, table: str) -> Any:
    """Drain an analysis of the contract on Flink."""
    transform, key = PORTABLE[name]
    return rta.drain(topic, transform, table=table, key=key, event=rta.USER_EVENTS, engine="flink")


def test_it_goes_on_where_it_was(
    cluster: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A second drain takes what is new: the groups of the first go on counting, from a savepoint."""
    name = topic(partitions=2)
    for seed in (1, 2):
        rta.publish(rta.user_events(spark, rows=300, seed=seed), name)
        taken = rta.drain(name, totals, table="flink_goes_on", key=KEY, event=rta.USER_EVENTS, engine="flink")  # fmt: skip
        assert taken.accounting.consumed == 300
        assert taken.rows > 0
    assert kept("flink_goes_on") == rows(totals(rta.read_batch(name, event=rta.USER_EVENTS)))
    assert rta.accounting("flink_goes_on").used == 600
    rta.reset("flink_goes_on")
    rta.drain(name, totals, table="flink_goes_on", key=KEY, event=rta.USER_EVENTS, engine="flink")
    assert kept("flink_goes_on") == rows(totals(rta.read_batch(name, event=rta.USER_EVENTS)))


def test_the_words_of_a_query(
    cluster: flink.Cluster, spark: SparkSession, topic: Callable[..., str]
) -> None:
    """A query on Flink has the words of Spark's: what is written for one runs with the other."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=100, seed=1), name)
    query: Any = rta.follow(name, totals, table="flink_words", key=KEY, event=rta.USER_EVENTS, engine="flink")  # fmt: skip
    assert isinstance(query, EngineQuery)
    query.processAllAvailable()
    assert (query.name, query.isActive, query.exception()) == ("flink_words", True, None)
    assert query.lag() == {0: 0}
    assert query.lastProgress["numInputRows"] == 100
    assert query.native.startswith(cluster.rest)
    assert not query.awaitTermination(timeout=0)
    # A cell that is run again, or a kernel that was started again, finds the job that runs.
    native = query.native
    again: Any = rta.follow(name, totals, table="flink_words", key=KEY, event=rta.USER_EVENTS, engine="flink")  # fmt: skip
    assert again.native == native
    again.stop()
    assert not again.isActive
    assert again.awaitTermination()


def test_what_does_not_fit_is_said_before_anything_is_made(
    cluster: flink.Cluster, events: str
) -> None:
    """Each refusal names what is amiss; no table is left behind."""
    session, _ = SPARK_ALONE["a session window"]
    follow: Any = rta.follow
    ways: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (QueryError, "runs on Spark only", {"transform": session}),
        (InputError, "no such engine", {"engine": "storm"}),
        (InputError, "has no keep", {"keep": "90 days"}),
        (InputError, "the key of the table", {"key": ["user_id"]}),
    ]
    for kind, said, changed in ways:
        asked = {"topic": events, "transform": totals, "table": "flink_refused", "key": KEY, "event": rta.USER_EVENTS, "engine": "flink"}  # fmt: skip
        with pytest.raises(kind, match=said):
            follow(**asked | changed)
    assert "flink_refused" not in [each.name for each in rta.store.tables()]


def test_another_analysis_does_not_take_the_state(cluster: flink.Cluster, events: str) -> None:
    """The state of totals is not that of a filter of it."""
    filtered, _ = PORTABLE["filtered"]
    drained(events, "totals", "flink_state")
    with pytest.raises(QueryError, match="the state of 'flink_state' is that of another query"):
        rta.drain(events, filtered, table="flink_state", key=KEY, event=rta.USER_EVENTS, engine="flink")  # fmt: skip
    with pytest.raises(QueryError, match="filled by flink"):
        rta.drain(events, totals, table="flink_state", key=KEY, event=rta.USER_EVENTS)


def test_flinks_own_words_are_in_the_error(cluster: flink.Cluster) -> None:
    """Of a whole Java trace the last cause is shown."""
    with flink.Session(cluster.gateway) as session, pytest.raises(QueryError, match="no_such_table"):  # fmt: skip
        session.sql("SELECT * FROM no_such_table")
