"""Late events, told exactly: for every form in which a transform may keep state."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rta.engines.spark.late_reading import told_apart
from rta.engines.spark.lateness import LateRule, endless, late_rows
from rta.errors import QueryError
from rta.testing.feeding import feed

SCHEMA = "event_id STRING, user_id INT, timestamp TIMESTAMP"


def _event(number: int, minute: int, user: int = 1) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "user_id": user,
        "timestamp": f"2024-11-15 10:{minute:02d}:00",
    }


# The watermark is the newest event time - 10 minutes: 10:30 for the third batch, 10:40 for the fourth.
BATCHES = [
    [_event(0, 40), _event(1, 12)],
    [
        _event(2, 50),
        _event(3, 1),
    ],  # nothing is late yet: the watermark counts from the next batch but one
    [_event(4, 29), _event(5, 30), _event(6, 31), _event(7, 4)],
    [_event(8, 41), _event(9, 34), _event(10, 40), _event(1, 12)],
]
BY_WINDOW = {4, 7, 9, 11}  # window of 5 minutes: ended at or before the watermark
BY_TIME = {4, 5, 7, 9, 10, 11}  # event time at or before the watermark


def marked(events: DataFrame) -> DataFrame:
    """Give events their allowed lateness."""
    return events.withWatermark("timestamp", "10 minutes")


def five(events: DataFrame, *keys: Any) -> DataFrame:
    """Count by window and keys."""
    return marked(events).groupBy(F.window("timestamp", "5 minutes"), *keys).count()


def in_another_name(events: DataFrame) -> DataFrame:
    """Call the window something else."""
    return (
        marked(events).groupBy(F.window("timestamp", "5 minutes").alias("span"), "user_id").count()
    )


def by_expression(events: DataFrame) -> DataFrame:
    """Group by what is no column."""
    return five(events, (F.col("user_id") % 2).alias("odd"))


def by_instant(events: DataFrame) -> DataFrame:
    """Group by the event time itself."""
    return marked(events).groupBy("timestamp", "user_id").count()


def beside_a_static_aggregate(events: DataFrame) -> DataFrame:
    """Join with a static frame that was aggregated: its state is none of the stream's."""
    users = events.sparkSession.sql("SELECT 1 AS user_id, 1 AS n UNION ALL SELECT 1, 2")
    limits = users.groupBy("user_id").agg(F.max("n").alias("limit"))
    return five(events.join(limits, "user_id"), "user_id", "limit")


def only_the_id(events: DataFrame) -> DataFrame:
    """Keep one of each id: state without end, and yet late events are dropped."""
    return marked(events).dropDuplicates(["event_id"])


def selected_before(events: DataFrame) -> DataFrame:
    """Filter and rename first."""
    return five(events.where("user_id > 0").withColumnRenamed("user_id", "who"), "who")


@pytest.mark.parametrize(
    ("transform", "key", "late"),
    [
        (five, "window", BY_WINDOW),
        (in_another_name, "span", BY_WINDOW),
        (by_expression, "window", BY_WINDOW),
        (beside_a_static_aggregate, "window", BY_WINDOW),
        (selected_before, "window", BY_WINDOW),
        (by_instant, "timestamp", BY_TIME),
        (only_the_id, "event_id", BY_TIME),
    ],
)
def test_late_events_are_found(
    spark: SparkSession, transform: Callable[[DataFrame], DataFrame], key: str, late: set[int]
) -> None:
    """Exactly those that the definition names, and the rest makes what the stream has made."""
    fed = feed(transform, BATCHES, schema=SCHEMA, key=[key], spark=spark)
    assert fed.late == late
    counted = sum(row.asDict().get("count", 1) for row in fed.stream.values())
    assert counted + len(late) == fed.events
    assert fed.stream.keys() == fed.batch.keys()


def test_deduplication_within_the_watermark_has_its_rule(
    stream: DataFrame, spark: SparkSession
) -> None:
    """It has no batch form, and yet its late rows can be listed from the batch's own events."""

    def once(events: DataFrame) -> DataFrame:
        return marked(events).dropDuplicatesWithinWatermark(["user_id"])

    rule = LateRule.of(once(stream))
    assert rule is not None
    assert rule.column == "`timestamp`"
    events = spark.sql("SELECT 1 user_id, timestamp'2024-11-15 10:31:00' timestamp")
    for hour, late in ((10, 0), (11, 1)):
        watermark = datetime(2024, 11, 15, hour, tzinfo=UTC)
        assert late_rows(events, once, rule, watermark).count() == late


@pytest.fixture
def stream(spark: SparkSession) -> DataFrame:
    """Give a streaming frame; nothing is started."""
    return spark.readStream.format("rate").load().selectExpr("value AS user_id", "timestamp")


def test_nothing_is_late_without_a_watermark(stream: DataFrame) -> None:
    """No state, or state without a watermark: there is no rule."""
    assert LateRule.of(stream.where("user_id > 1")) is None
    many = stream.select("*", F.explode(F.array("user_id"))).unpivot("timestamp", ["user_id"], "k", "v")  # fmt: skip
    assert LateRule.of(many.repartition(2, "v").union(many.sample(0.5)).hint("rebalance")) is None
    assert LateRule.of(stream.mapInPandas(lambda frames: frames, stream.schema)) is None
    assert LateRule.of(stream.mapInArrow(lambda batches: batches, stream.schema)) is None
    assert LateRule.of(stream.groupBy("user_id").count()) is None
    assert LateRule.of(stream.groupBy((F.col("user_id") % 2).alias("odd")).count()) is None
    assert LateRule.of(stream.dropDuplicates(["user_id"])) is None
    assert (
        LateRule.of(marked(stream).groupBy("user_id").count()) is None
    )  # Spark keeps all its groups


def test_state_that_cannot_be_accounted_for_is_refused(stream: DataFrame) -> None:
    """A join of a stream with itself, two branches, a limit, an operator that is not known: better no query than a sum that is not true."""
    once = marked(stream).dropDuplicates(["user_id"])
    with pytest.raises(QueryError, match=r"found: 2 branches of the topic.*second topic"):
        LateRule.of(stream.join(marked(stream).withColumnRenamed("timestamp", "seen"), "user_id"))
    with pytest.raises(QueryError, match="found: 2 branches"):
        LateRule.of(once.where("user_id = 1").union(once.where("user_id = 2")))
    with pytest.raises(QueryError, match="found: GlobalLimit"):
        LateRule.of(stream.limit(5))
    with pytest.raises(QueryError, match="found: Distinct"):  # an aggregate under another name
        LateRule.of(stream.sparkSession.sql("SELECT DISTINCT * FROM {of}", of=stream))


def test_an_event_in_two_windows_is_one_event(spark: SparkSession) -> None:
    """Late rows become events by where they came from, where that is still known; the first window that ended counts."""
    event = spark.sql(
        "SELECT 't' topic, 0 partition, 5L offset, timestamp'2024-11-15 10:31:00' timestamp"
    )
    watermark = datetime(2024, 11, 15, 11, tzinfo=UTC)

    def sliding(events: DataFrame) -> DataFrame:
        return marked(events).groupBy(F.window("timestamp", "10 minutes", "5 minutes")).count()

    rule = LateRule("`window`.end")
    rows = late_rows(event, sliding, rule, watermark)
    assert rows.count() == 2
    [place] = told_apart(rows, rule, watermark, "timestamp").collect()
    assert (place.partition, place.offset, place.late) == (0, 5, True)
    assert (place.event_time.minute, place.ended.minute) == (31, 35)
    [half] = told_apart(rows, rule, watermark.replace(hour=10, minute=36), "timestamp").collect()
    assert (half.late, half.ended.minute) == (True, 35)
    unknown = told_apart(rows.drop("topic", "timestamp"), rule, watermark, "timestamp").collect()
    assert [(row.partition, row.offset, row.event_time) for row in unknown] == [(None,) * 3] * 2


def test_a_key_may_be_an_expression_without_a_name(stream: DataFrame) -> None:
    """The window is found behind it all the same."""
    keys = F.col("user_id") % 2, F.window("timestamp", "5 minutes")
    assert LateRule.of(marked(stream).groupBy(*keys).count()) == LateRule("`window`.end", 0)


def test_state_without_an_end_is_known_by_its_plan(stream: DataFrame) -> None:
    """No watermark, or one that is not in the key: each operator by itself, the result's first."""

    def kept(frame: DataFrame) -> list[bool]:
        return endless(frame._jdf.queryExecution().analyzed())

    once = marked(stream).dropDuplicates(["user_id", "timestamp"])
    assert kept(stream.where("user_id > 1")) == []
    assert kept(five(stream)) == kept(once) == [False]
    assert kept(marked(stream).dropDuplicatesWithinWatermark(["user_id"])) == [False]
    assert kept(stream.groupBy(F.window("timestamp", "5 minutes")).count()) == [True]
    assert kept(only_the_id(stream.withColumn("event_id", F.col("user_id")))) == [True]
    assert kept(once.groupBy("user_id").count()) == [True, False]
    assert kept(beside_a_static_aggregate(stream)) == [False]
