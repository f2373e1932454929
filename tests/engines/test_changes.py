"""rta.explain_change: what keeps the state and what needs a replay, told beforehand; a change that keeps it can be made."""

from collections.abc import Callable
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rta
from rta.errors import InputError, QueryError

pytestmark = pytest.mark.kafka


def counts(events: DataFrame) -> DataFrame:
    """Count by user."""
    return events.groupBy("user_id").agg(F.count("*").alias("n"))


def renamed(events: DataFrame) -> DataFrame:
    """Do the same in other words, with a column that is not used."""
    more = events.withColumn("unused", F.col("amount") * 2)
    return more.groupBy(F.col("user_id")).agg(F.count(F.lit(1)).alias("n"))


def tens(events: DataFrame) -> DataFrame:
    """Give the count in another form."""
    return counts(events).select("user_id", (F.col("n") * 10).alias("n"))


def large(events: DataFrame) -> DataFrame:
    """Count other events."""
    return counts(events.where("amount > 100"))


def sums(events: DataFrame) -> DataFrame:
    """Keep another state, in the same columns."""
    return events.groupBy("user_id").agg(F.sum("user_id").alias("n"))


def wider(events: DataFrame) -> DataFrame:
    """Add a column."""
    return events.groupBy("user_id").agg(F.count("*").alias("n"), F.max("amount").alias("most"))


@pytest.mark.parametrize(
    ("new", "parts", "kept", "replay"),
    [
        (counts, [], True, False), (renamed, [], True, False), (tens, ["rows"], True, True), (large, ["events"], False, True),
        (sums, ["state"], False, True), (wider, ["state", "columns"], False, True),
    ],
)  # fmt: skip
def test_each_kind_of_change(
    spark: SparkSession, new: Any, parts: list[str], *, kept: bool, replay: bool
) -> None:
    """Two functions and the type of their events are enough; nothing is made."""
    change = rta.explain_change(counts, new, event=rta.USER_EVENTS)
    assert ([part for part, _ in change.parts], change.keeps_state, change.replay) == (parts, kept, replay)  # fmt: skip
    with pytest.raises(QueryError, match="only the change of a table"):
        change.accept()
    assert "replay" in repr(change)
    assert "<td" in change._repr_html_()


def test_another_event_type(spark: SparkSession) -> None:
    """A wider type keeps the state; what is required from now on, and what is not, is said."""
    before = rta.EventType("t", "a INT NOT NULL, b INT, at TIMESTAMP", event_time="at")
    after = rta.EventType("t", "a BIGINT, b INT NOT NULL, c STRING, at TIMESTAMP", event_time="at")
    change = rta.explain_change(lambda e: e.groupBy("b").count(), lambda e: e.groupBy("b").count(), event=after, before=before)  # fmt: skip
    assert (change.keeps_state, change.replay) == (True, False)
    assert [part for part, _ in change.parts] == ["strict", "loose", "type"]
    joined = rta.explain_change(
        lambda left, right: left.join(right.select("user_id"), "user_id").select("action"),
        lambda left, right: left.join(right.select("event_id"), "event_id").select("action"),
        topic={"left": rta.USER_EVENTS, "right": rta.PURCHASES},
    )
    assert not joined.keeps_state


def test_a_change_of_a_table_is_made_on_purpose(spark: SparkSession, topic: Callable[..., str]) -> None:  # fmt: skip
    """It is refused unasked; accepted, the query goes on where it was; a change that would mix two states is never accepted."""
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=50), name)
    how: dict[str, Any] = {"table": "changed_counts", "key": ["user_id"], "event": rta.USER_EVENTS}
    rta.drain(name, counts, **how)
    before = rta.read("changed_counts").n.sum()
    with pytest.raises(QueryError, match="explain_change"):
        rta.drain(name, tens, **how)
    asked: dict[str, Any] = {"topic": name, "event": rta.USER_EVENTS}
    with pytest.raises(QueryError, match="is not that of the new one"):
        rta.explain_change("changed_counts", large, **asked).accept()
    rta.explain_change("changed_counts", tens, **asked).accept()
    rta.publish(rta.user_events(spark, rows=50), name)
    assert rta.drain(name, tens, **how).accounting.consumed == 50
    assert before == 50
    assert (
        rta.read("changed_counts").n.sum() >= 1_000
    )  # each user came again: the count of both, times ten
    assert not rta.explain_change("changed_counts", tens, **asked).parts
    with pytest.raises(InputError, match="not known what"):
        rta.explain_change(counts, tens)
