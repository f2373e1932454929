"""One micro-batch read again from the topic: which of its events were late, and how many were not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rta.dataframes import sources
from rta.engines.spark.batch_metrics import observed_in
from rta.engines.spark.duplicates import one_row_each
from rta.engines.spark.lateness import ORIGIN, LateRule, Transform, framed, late_rows, reached

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa
    from pyspark.sql import DataFrame

    from rta.events.event_types import EventType


@dataclass(frozen=True)
class Range:
    """What one micro-batch of a query has read, and how: all that is needed to read it again and see the same."""

    topic: str
    event: EventType
    start: Mapping[int, int]
    end: Mapping[int, int]
    max_skew: str = "5 minutes"
    options: Mapping[str, str] | None = None

    def read(self) -> DataFrame:
        """Read the good events of the range."""
        how = {"max_skew": self.max_skew, "options": self.options}
        return sources.read_range(self.topic, self.event, start=self.start, end=self.end, **how)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ReadAgain:
    """late: partition, offset, event_time, ended of each late event; on_time: how many events of the range were not late."""

    late: pa.Table
    on_time: int


def late_in(read: Range, transform: Transform, rule: LateRule, watermark: datetime) -> DataFrame:
    """Read a range again, and return the rows that its first stateful operator dropped as late."""
    return late_rows(read.read(), transform, rule, watermark)


def read_again(read: Range, transform: Transform, rule: LateRule, watermark: datetime) -> ReadAgain:
    """Read a range again, and tell its late events from the others, each counted on its own."""
    from pyspark.sql import functions as F

    events = read.read()
    operator = reached(events, transform, rule)
    rows = framed(events, operator.child())
    found = told_apart(
        rows, rule, watermark, read.event.event_time, as_events=one_row_each(operator)
    )
    counts = F.count(F.lit(1)).alias("reaching"), F.count_if(~F.col("late")).alias("on_time")
    late = found.observe(f"{sources.OBSERVED}:late", *counts).where("late").drop("late")
    table = late.toArrow()
    counted = observed_in(late._jdf.queryExecution())
    good, reaching, on_time = (
        sum(each.get(name, 0) for each in counted) for name in ("good", "reaching", "on_time")
    )
    return ReadAgain(table, on_time + good - reaching)  # and those that the transform leaves out


def told_apart(
    rows: DataFrame,
    rule: LateRule,
    watermark: datetime,
    event_time: str,
    *,
    as_events: bool = False,
) -> DataFrame:
    """Make one row of each event whose rows reach an operator: partition, offset, event_time, ended, late.

    ended: of several windows that are late the first. event_time: null if the transform has not left it under its name.
    If the transform selects topic, partition or offset away, partition and offset are null and each row stands for an event.
    as_events: each row is another event's anyway.
    """
    from pyspark.sql import functions as F

    placed = set(ORIGIN) <= set(rows.columns)
    time = f"`{event_time}`" if event_time in rows.columns else "NULL"
    found = rows.selectExpr(
        f"CAST({'partition' if placed else 'NULL'} AS INT) AS partition",
        f"CAST({'offset' if placed else 'NULL'} AS BIGINT) AS offset",
        f"CAST({time} AS TIMESTAMP) AS event_time",
        f"CAST({rule.column} AS TIMESTAMP) AS ended",
    ).withColumn("late", F.coalesce(F.col("ended") <= F.lit(watermark), F.lit(False)))  # noqa: FBT003
    if as_events or not placed:
        return found
    ended = F.coalesce(F.min(F.when(F.col("late"), F.col("ended"))), F.min("ended"))
    return found.groupBy("partition", "offset").agg(
        F.min("event_time").alias("event_time"), ended.alias("ended"), F.max("late").alias("late")
    )
