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


def of_all(**events: DataFrame) -> DataFrame:
    """Count by user, over all topics that there are."""
    users = [frame.withWatermark(rta.USER_EVENTS.event_time, "1 hour").select("user_id") for frame in events.values()]  # fmt: skip
    both = users[0]
    for each in users[1:]:
        both = both.union(each)
    return both.groupBy("user_id").agg(F.count("*").alias("n"))


def of_one(views: DataFrame) -> DataFrame:
    """Count the views."""
    return of_all(views=views)


def of_two(views: DataFrame, sales: DataFrame) -> DataFrame:
    """Count views and sales."""
    return of_all(views=views, sales=sales)


def only_sales(sales: DataFrame) -> DataFrame:
    """Count the sales."""
    return of_all(sales=sales)


def test_a_topic_may_be_added_and_removed(spark: SparkSession, topic: Callable[..., str]) -> None:
    """Of topics that are given by name the checkpoint survives: what was counted stays, each topic is accounted for, once."""
    views, sales = (rta.engines.Source(topic(partitions=1), rta.USER_EVENTS) for _ in range(2))
    one, two = {"views": views}, {"views": views, "sales": sales}
    for each, rows in ((views, 20), (sales, 30)):
        rta.publish(rta.user_events(spark, rows=rows), each.topic)
    how: dict[str, Any] = {"table": "evolving", "key": ["user_id"]}
    rta.drain(one, of_one, **how)
    with pytest.raises(QueryError, match="explain_change"):
        rta.drain(two, of_two, **how)
    added = rta.explain_change("evolving", of_two, topic=two)
    assert ([part for part, _ in added.parts], added.keeps_state, added.replay) == (["topics"], True, False)  # fmt: skip
    added.accept()
    taken = rta.drain(two, of_two, **how)
    assert {name: terms.used for name, terms in taken.by_topic.items()} == {views.topic: 0, sales.topic: 30}  # fmt: skip
    assert rta.read("evolving").n.sum() == 50
    rta.publish(rta.user_events(spark, rows=10, first_row=20), views.topic)
    rta.drain(two, of_two, **how)
    assert rta.read("evolving").n.sum() == 60
    removed = rta.explain_change("evolving", only_sales, topic={"sales": sales})
    assert ([part for part, _ in removed.parts], removed.keeps_state, removed.replay) == (["topics"], True, True)  # fmt: skip
    removed.accept()
    rta.publish(rta.user_events(spark, rows=10, first_row=30), sales.topic)
    assert rta.drain({"sales": sales}, only_sales, **how).accounting.used == 10
    assert rta.read("evolving").n.sum() == 70
    for each, many in ((views, 30), (sales, 40)):
        told = rta.accounting("evolving", topic=each.topic)
        assert (told.consumed, told.used, told.balanced) == (many, many, True)
    rta.explain_change("evolving", of_two, topic=two).accept()
    with pytest.raises(QueryError, match=r"left out since.*counted twice"):
        rta.drain(two, of_two, **how)


def test_what_a_new_topic_must_not_change(spark: SparkSession, topic: Callable[..., str]) -> None:
    """With another filter of the old topic, or a join, the state is not that of the new transform; nor can a checkpoint without names grow."""
    topics = {"views": rta.USER_EVENTS, "sales": rta.PURCHASES}

    def filtered(views: DataFrame, sales: DataFrame) -> DataFrame:
        return of_two(views.where("amount > 100"), sales)

    def joined(views: DataFrame, sales: DataFrame) -> DataFrame:
        return of_one(views.join(sales.select("event_id"), "event_id"))

    for new in (filtered, joined):
        change = rta.explain_change(of_one, new, topic=topics)
        assert (change.keeps_state, change.replay) == (False, True)
    assert rta.explain_change(of_one, of_two, topic=topics).keeps_state
    name = topic(partitions=1)
    rta.publish(rta.user_events(spark, rows=5), name)
    rta.drain(name, of_one, table="unnamed", key=["user_id"], event=rta.USER_EVENTS)
    change = rta.explain_change("unnamed", of_two, topic={"views": rta.engines.Source(name, rta.USER_EVENTS), "sales": rta.PURCHASES})  # fmt: skip
    with pytest.raises(QueryError, match="is not that of the new one"):  # fmt: skip
        change.accept()
