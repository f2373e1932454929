"""Analyses as pure functions, DataFrame in and DataFrame out, that know nothing of batch or stream.

The one law: for each of them, and for every way to cut the input into micro-batches,

    drained stream of T(x) == batch T(x)

exactly, for the events that were not late. Amounts are DECIMAL: sums of floats depend on order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def totals(
    events: DataFrame,
    *,
    by: Sequence[str] = ("user_id",),
    amount: str = "amount",
    time: str = "timestamp",
    window: str = "5 minutes",
    lateness: str | None = "10 minutes",
) -> DataFrame:
    """Sum and count events per tumbling window and key: the article's query.

    Args:
        events: With `time` TIMESTAMP, `amount` DECIMAL(p, s), and the columns of `by`.
        by: The columns of the key.
        amount: The column to sum.
        time: The event time.
        window: The length of a window.
        lateness: The allowed lateness, so the watermark; None if the events carry a watermark already.

    Returns:
        window STRUCT<start, end TIMESTAMP>, the columns of `by`, total_amount DECIMAL(p + 10, s), event_count BIGINT.

    >>> purchases = spark.createDataFrame(
    ...     [(1, "2024-11-15 10:30:00", "99.99"), (1, "2024-11-15 10:34:59", "0.01")],
    ...     "user_id INT, timestamp STRING, amount STRING",
    ... ).selectExpr("user_id", "timestamp(timestamp) timestamp", "cast(amount AS DECIMAL(12, 2)) amount")
    >>> purchases.transform(totals).drop("window").show()
    +-------+------------+-----------+
    |user_id|total_amount|event_count|
    +-------+------------+-----------+
    |      1|      100.00|          2|
    +-------+------------+-----------+
    <BLANKLINE>

    Source: the article's own query; Structured Streaming programming guide, "Window operations on event time".
    """
    from pyspark.sql import functions as F

    marked = events if lateness is None else events.withWatermark(time, lateness)
    return marked.groupBy(F.window(time, window), *by).agg(
        F.sum(amount).alias("total_amount"), F.count("*").alias("event_count")
    )


def deduplicate(
    events: DataFrame,
    *,
    id: str = "event_id",  # noqa: A002 - the column's own name
    time: str = "timestamp",
    lateness: str = "10 minutes",
) -> DataFrame:
    """Keep one copy of each event, whenever the others arrive.

    Copies share `id` and `time`. A copy within the watermark is dropped as a duplicate, one behind it as late: none is counted twice, and
    the state is evicted with the watermark. The watermark stays on the result, so a windowed transform may follow with `lateness=None`.

    Args:
        events: With `id` (any type that can be compared) and `time` TIMESTAMP.
        id: The column that is the same in all copies.
        time: The event time.
        lateness: The allowed lateness.

    Returns:
        The same columns.

    >>> twice = spark.sql("SELECT 'a' event_id, timestamp'2024-11-15 10:30:00' timestamp FROM range(2)")
    >>> twice.transform(deduplicate).count()
    1

    Source: Structured Streaming programming guide, "Streaming deduplication" (with watermark).
    """
    return events.withWatermark(time, lateness).dropDuplicates([id, time])
