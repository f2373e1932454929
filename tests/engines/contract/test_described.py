"""An analysis is described for other engines, and proved; or refused with what only Spark can do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.engines.contract import Aggregate, Session, Window, described
from rta.engines.contract.expressions import Column
from rta.errors import QueryError
from rta.transforms import totals
from tests.engines.contract.queries import PORTABLE, SESSIONS, SPARK_ALONE


@pytest.mark.parametrize("name", PORTABLE)
def test_what_it_says_is_the_function(spark: SparkSession, name: str) -> None:
    """Spark's optimizer has agreed: nothing is refused, and what an engine needs is there as JSON."""
    transform, key = PORTABLE[name]
    found = described(transform, rta.USER_EVENTS)
    assert set(found.columns) == {*key, *(each.name for each in found.aggregates)}
    assert json.loads(json.dumps(found.as_json()))["keys"] == list(key[1:])


def test_the_words_of_the_articles_query(spark: SparkSession) -> None:
    """The article's query, in the words of no engine."""
    found = described(totals, rta.USER_EVENTS)
    assert (found.window, found.keys) == (Window("timestamp", 300_000, 300_000), ("user_id",))
    assert found.aggregates == (
        Aggregate("total_amount", "sum", Column("amount", "decimal(12,2)"), "decimal(22,2)"),
        Aggregate("event_count", "count", None, "bigint"),
    )
    assert found.watermark is not None
    assert found.watermark.delay_ms == 600_000


def test_columns_may_be_renamed_and_left_out(spark: SparkSession) -> None:
    """A select() may follow the aggregation."""
    found = described(lambda e: totals(e).select("user_id", F.col("event_count").alias("n"), "window"), rta.USER_EVENTS)  # fmt: skip
    assert found.taken == {"user_id": "user_id", "n": "event_count", "window": "window"}
    last = described(
        lambda e: e.groupBy("user_id", F.window("timestamp", "5 minutes").alias("five")).count(),
        rta.USER_EVENTS,
    )
    assert (last.keys, last.taken) == (("user_id",), {"user_id": "user_id", "five": "window", "count": "count"})  # fmt: skip


@pytest.mark.parametrize("name", SESSIONS)
def test_sessions_are_the_function(spark: SparkSession, name: str) -> None:
    """The gap is read and proved, whatever the window is called; Kafka Streams says why it does not run them."""
    transform, key = SESSIONS[name]
    found = described(transform, rta.USER_EVENTS)
    assert found.window == Session("timestamp", {"sessions": 300_000, "visits": 90_000}[name])
    assert (found.keys, found.taken[key[0]]) == (key[1:], "window")
    assert json.loads(json.dumps(found.as_json()))["gap_ms"] == found.window.gap_ms
    plans = {each.engine: each for each in rta.explain(transform, rta.USER_EVENTS)}
    assert plans["spark"].runs
    assert "OVER (PARTITION BY" in plans["flink"].definition
    assert plans["kafka-streams"].why_not == "a session window, since there is no watermark that closes one"  # fmt: skip


def test_a_gap_that_is_read_wrong_is_refused(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for all windows, the proof does not rest on the reading."""
    from rta.engines.contract import window_reading

    right = window_reading._gap
    monkeypatch.setattr(window_reading, "_gap", lambda end: right(end) + 1)
    with pytest.raises(QueryError, match="cannot read with certainty"):
        described(SESSIONS["sessions"][0], rta.USER_EVENTS)


@pytest.mark.parametrize("name", SPARK_ALONE)
def test_what_only_spark_can_is_refused(spark: SparkSession, name: str) -> None:
    """The sentence names what the other engines lack."""
    transform, said = SPARK_ALONE[name]
    with pytest.raises(QueryError, match="runs on Spark only") as refusal:
        described(transform, rta.USER_EVENTS)
    assert said in str(refusal.value)


def test_a_plan_that_is_read_wrong_is_refused(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof does not rest on the reading: a reader with a fault is found out."""
    from rta.engines.contract import plan_reading, window_reading

    right: Callable[..., Any] = window_reading.window_of
    monkeypatch.setattr(plan_reading, "window_of", lambda *args: Window("timestamp", right(*args).size_ms * 2, 600_000))  # fmt: skip

    def hourly(events: DataFrame) -> DataFrame:
        return totals(events)

    with pytest.raises(QueryError, match="cannot read with certainty"):
        described(hourly, rta.USER_EVENTS)
