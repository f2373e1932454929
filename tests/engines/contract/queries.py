"""Analyses of user events that every engine is asked to run, and some that only Spark can."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rta.transforms import deduplicate, totals

Transform = Callable[[DataFrame], DataFrame]


def _marked(events: DataFrame) -> DataFrame:
    return events.withWatermark("timestamp", "10 minutes")


def filtered(events: DataFrame) -> DataFrame:
    """Sum the larger purchases."""
    return totals(events.where("action = 'purchase' AND amount > 10"))


def hopping(events: DataFrame) -> DataFrame:
    """Count in windows that overlap."""
    window = F.window("timestamp", "10 minutes", "5 minutes")
    return _marked(events).groupBy(window, "user_id").agg(F.sum("amount").alias("total"), F.count("*").alias("n"))  # fmt: skip


def spread(events: DataFrame) -> DataFrame:
    """Take smallest, largest and mean amount, and the first event's time."""
    window = F.window("timestamp", "5 minutes")
    return _marked(events).groupBy(window, "user_id").agg(
        F.min("amount").alias("lowest"), F.max("amount").alias("highest"), F.avg("amount").alias("mean"),
        F.count("reported_at").alias("reported"), F.min("timestamp").alias("first"), F.count("*").alias("n"),
    )  # fmt: skip


def texts(events: DataFrame) -> DataFrame:
    """Group by two columns, one of them text that is made of text; sum what some texts are about."""
    action = F.col("action")
    said = events.withColumn("said", F.concat(F.trim(action), F.lit("·"), action)).where(F.length(action) < 9)  # fmt: skip
    some = action.isin("view", "", "größer ") | action.startswith("pu") | action.endswith("%") | action.contains("ß\\_")  # fmt: skip
    groups = _marked(said).groupBy(F.window("timestamp", "5 minutes"), "user_id", "said")
    about = F.when(some, F.col("amount")).otherwise(0)
    long = F.when(F.length("said") > 9, F.lit(Decimal(1)))
    odd = F.when(~action.startswith(F.trim(action)) | ~action.contains(""), F.lit(Decimal(1)))
    return groups.agg(F.sum(about).alias("about"), F.sum(long).alias("long"), F.sum(odd).alias("odd"), F.count("*").alias("n"))  # fmt: skip


def derived(events: DataFrame) -> DataFrame:
    """Compute a column, and group by it."""
    more = events.withColumn("twice", F.col("amount") * 2 + 1).where("twice > 5")
    return totals(more, amount="twice", by=("user_id",))


def by_case(events: DataFrame) -> DataFrame:
    """Group by a CASE, and sum another."""
    size = F.when(F.col("amount") > 100, "large").when(F.col("amount") > 10, "middle").otherwise("small")  # fmt: skip
    bought = F.when(F.col("action") == "purchase", F.col("amount")).otherwise(0)
    groups = _marked(events.withColumn("size", size)).groupBy(F.window("timestamp", "5 minutes"), "user_id", "size")  # fmt: skip
    return groups.agg(F.sum(bought).alias("bought"), F.sum("amount").alias("all"), F.count("*").alias("n"))  # fmt: skip


def sessions(events: DataFrame) -> DataFrame:
    """Take count, sum, smallest, largest and mean amount and the first time of each user's sessions; nothing is late for two hours."""
    window = F.session_window("timestamp", "5 minutes").alias("window")
    return events.withWatermark("timestamp", "2 hours").groupBy(window, "user_id").agg(
        F.sum("amount").alias("total"), F.min("amount").alias("lowest"), F.max("amount").alias("highest"), F.avg("amount").alias("mean"),
        F.count("reported_at").alias("reported"), F.min("timestamp").alias("first"), F.count("*").alias("n"),
    )  # fmt: skip


def visits(events: DataFrame) -> DataFrame:
    """Count sessions of purchases, by a computed key, under names of their own."""
    size = F.when(F.col("amount") > 10, "large").otherwise("small")
    bought = _marked(events.where("action = 'purchase'").withColumn("size", size))
    counted = bought.groupBy("size", F.session_window("timestamp", "90 seconds")).count()
    return counted.select(F.col("count").alias("many"), F.col("session_window").alias("visit"), "size")  # fmt: skip


SESSIONS: Final[Mapping[str, tuple[Transform, tuple[str, ...]]]] = {
    "sessions": (sessions, ("window", "user_id")),
    "visits": (visits, ("visit", "size")),
}
"""Name → the analysis, and the key of its table; all of them run on Spark and on Flink, for which an event is never late."""

PORTABLE: Final[Mapping[str, tuple[Transform, tuple[str, ...]]]] = {
    "totals": (totals, ("window", "user_id")),
    "filtered": (filtered, ("window", "user_id")),
    "hopping": (hopping, ("window", "user_id")),
    "spread": (spread, ("window", "user_id")),
    "texts": (texts, ("window", "user_id", "said")),
    "derived": (derived, ("window", "user_id")),
    "by_case": (by_case, ("window", "user_id", "size")),
}
"""Name → the analysis, and the key of its table."""


def _agg(events: DataFrame, window: Column, *made: Column) -> DataFrame:
    return _marked(events).groupBy(window, "user_id").agg(*made)


_FIVE: Final = "5 minutes"
SPARK_ALONE: Final[Mapping[str, tuple[Transform, str]]] = {
    "the window starts elsewhere": (lambda e: _agg(e, F.window("timestamp", _FIVE, _FIVE, "1 minute"), F.count("*")), "a shape that rta cannot read"),
    "a gap of each event": (lambda e: _agg(e, F.session_window("timestamp", F.when(F.col("amount") > 10, _FIVE).otherwise("1 minute")), F.count("*")), "whose gap is computed for each event"),
    "a gap by the calendar": (lambda e: _agg(e, F.session_window("timestamp", "1 day"), F.count("*")), "say it in hours, minutes or seconds"),
    "sessions of all events": (lambda e: _marked(e).groupBy(F.session_window("timestamp", _FIVE)).count(), "a session window with no other key"),
    "copies": (lambda e: totals(deduplicate(e), lateness=None), "the operator Deduplicate"),
    "a function of strings": (lambda e: totals(e.withColumn("a", F.upper("action"))), "the expression Upper"),
    "distinct": (lambda e: _agg(e, F.window("timestamp", _FIVE), F.count_distinct("action")), "DISTINCT"),
    "chance": (lambda e: totals(e.where(F.rand() > 0.5)), "the expression Rand"),
    "a filter of the result": (lambda e: totals(e).where("event_count > 1"), "the operator Filter"),
    "a sum of floats": (lambda e: _agg(e, F.window("timestamp", _FIVE), F.sum(F.col("amount").cast("double"))), "a cast from decimal(12,2) to double"),
    "the order of strings": (lambda e: totals(e.where("action > 'a'")), "strings are compared"),
    "no window": (lambda e: e.groupBy("user_id").agg(F.count("*")), "no time window"),
    "a column of Kafka": (lambda e: totals(e.where("partition = 0")), "the columns of an event alone"),
    "an aggregate of the result": (lambda e: totals(e).groupBy("user_id").agg(F.count("*")), "the operator Aggregate"),
}  # fmt: skip
"""What only Spark runs → the analysis, and what the refusal says."""
