"""Late events: found by reading a micro-batch again, listed for a table, and read again from the topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from rta.dataframes import sources
from rta.dataframes.internals import execution, framed
from rta.dataframes.sources import TopicRange
from rta.engines.spark.duplicates import one_row_each
from rta.engines.spark.internals import observed
from rta.engines.spark.lateness import ORIGIN, LateRule, Transform, late_rows, reaching
from rta.errors import QueryError
from rta.events.event_types import EventType, event_type
from rta.store import late_rows as late_store
from rta.store import ledger, serving_tables, views

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import DataFrame


def late(name: str) -> pd.DataFrame:
    """List the late events of a table or view, as they were recorded when they occurred.

    Args:
        name: A serving table, or the view of an architecture.

    Returns:
        One row for each: table_name, batch_id; topic, partition, offset; event_time; ended: when its state ended (the end of its
        window); watermark; late_seconds: from `ended` to the watermark, by which the allowed lateness was too short;
        kept_at; corrected_by, corrected_at: which version of a view contains it now, and since when.

    Raises:
        TableError: If there is no such table.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=10), "doc-late", partitions=1)
        >>> _ = rta.drain("doc-late", rta.transforms.totals, table="doc_late", key=["window", "user_id"], event=rta.USER_EVENTS)
        >>> len(late("doc_late"))
        0
    """
    view = views.find(name)
    if view is None:
        return late_store.kept([serving_tables.table(name).name])
    return late_store.kept(view.parts, view=name)


def late_events(
    topic: str,
    transform: Transform | None = None,
    *,
    table: str,
    event: EventType | None = None,
    max_skew: str = "5 minutes",
    options: Mapping[str, str] | None = None,
) -> DataFrame:
    """Read the late events that a table does not contain from the topic, as a static DataFrame.

    Args:
        topic: The topic.
        transform: The transform that fills the table from this topic alone, to find the late events again; by default they are read at
            the recorded offsets.
        table: The table.
        event: As for the table.
        max_skew: As for the table.
        options: As for the table.

    Returns:
        The columns of rta.read_batch() and late_seconds, see late(). With a transform: the columns that reach its state, windows included.

    Raises:
        QueryError: If the transform drops topic, partition or offset and is not given.

    Example:
        >>> late_events("doc-late", table="doc_late", event=rta.USER_EVENTS).count()  # see late()
        0
    """
    event = event or event_type(topic)
    if transform is None:
        return _as_kept(topic, table, event, max_skew, options)
    rule = LateRule.of(sources.read_stream(topic, event=event).transform(transform))
    found = [
        late_rows(
            TopicRange(topic, event, batch.start_offsets, batch.end_offsets, max_skew, options).good(),
            transform, rule, batch.watermark,
        )
        for batch in ledger.batches(table)
        if batch.topic == topic and batch.late and batch.watermark and rule
    ]  # fmt: skip
    if not found:
        return sources.read_batch(topic, event=event).limit(0)
    return reduce(lambda left, right: left.unionByName(right), found)


def _as_kept(
    topic: str, table: str, event: EventType, max_skew: str, options: Mapping[str, str] | None
) -> DataFrame:
    """Read the events at the recorded offsets."""
    from pyspark.sql import functions as F

    entries = late(table)
    missing = entries["corrected_at"].isna() & (entries["topic"] == topic)
    places = entries.loc[missing, ["partition", "offset", "late_seconds"]]
    if places["offset"].isna().any():
        raise QueryError(
            f"it is not known where the late events of {table!r} are on the topic",
            found="a transform that drops topic, partition or offset",
            fix="give that transform to rta.engines.late_events()",
        )
    if places.empty:
        none = sources.read_batch(topic, event=event, max_skew=max_skew).limit(0)
        return none.withColumn("late_seconds", F.lit(0.0))
    offsets = places.astype({"offset": "int64"}).groupby("partition")["offset"]
    start = {int(p): int(first) for p, first in offsets.min().items()}  # type: ignore[call-overload]
    end = {int(p): int(last) + 1 for p, last in offsets.max().items()}  # type: ignore[call-overload]
    events = TopicRange(topic, event, start, end, max_skew, options).good()
    known = events.sparkSession.createDataFrame(
        places, "partition INT, offset BIGINT, late_seconds DOUBLE"
    )
    return events.join(F.broadcast(known), ["partition", "offset"])


@dataclass(frozen=True)
class ReadAgain:
    """What a second read of a range has found.

    Args:
        late: partition, offset, event_time and ended of each late event.
        on_time: How many events of the range were not late.
    """

    late: pa.Table
    on_time: int


def read_again(
    read: TopicRange, transform: Transform, rule: LateRule, watermark: datetime
) -> ReadAgain:
    """Read a range again and find its late events; these and the others are counted separately."""
    from pyspark.sql import functions as F

    answer = transform(read.good())
    plan = reaching(answer, rule)
    rows = framed(answer.sparkSession, plan)
    found = told_apart(rows, rule, watermark, read.event.event_time, as_events=one_row_each(plan))
    counts = F.count(F.lit(1)).alias("reaching"), F.count_if(~F.col("late")).alias("on_time")
    late = found.observe(f"{sources.OBSERVED}:late", *counts).where("late").drop("late")
    table = late.toArrow()
    counted = observed(execution(late), f"{sources.OBSERVED}:late", f"{sources.OBSERVED}:{read.topic}:").values()  # fmt: skip
    good, reached, on_time = (
        sum(each.get(name, 0) for each in counted) for name in ("good", "reaching", "on_time")
    )
    return ReadAgain(table, on_time + good - reached)  # with those that the transform leaves out


def told_apart(
    rows: DataFrame,
    rule: LateRule,
    watermark: datetime,
    event_time: str,
    *,
    as_events: bool = False,
) -> DataFrame:
    """Return one row for each event whose rows reach an operator, and whether it was late.

    Args:
        rows: The rows that reach the operator.
        rule: The rule by which the operator drops late rows.
        watermark: That of the micro-batch before.
        event_time: The name of the event-time column.
        as_events: Whether each row belongs to another event.

    Returns:
        partition, offset: null if the transform drops topic, partition or offset; each row then counts as an event. event_time: null if
        the transform drops or renames it. ended: the end of the first late window. late.
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
