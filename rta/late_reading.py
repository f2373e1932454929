"""The late events of one micro-batch, read again from the topic: for its accounting, and to be kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rta import sources
from rta.lateness import ORIGIN, LateRule, Transform, late_rows

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import DataFrame

    from rta.event_types import EventType


def late_in(
    topic: str,
    event: EventType,
    transform: Transform,
    rule: LateRule,
    *,
    start: Mapping[int, int],
    end: Mapping[int, int],
    watermark: datetime,
    max_skew: str,
) -> DataFrame:
    """Read the range of one micro-batch again, and return what its first stateful operator dropped as late."""
    events = sources.read_range(topic, event, start=start, end=end, max_skew=max_skew)
    return late_rows(events, transform, rule, watermark)


def late_places(rows: DataFrame, rule: LateRule, event_time: str) -> DataFrame:
    """Say which events the late rows are: one row for each event.

    event_time: the event's own column, where the transform has left it under its name; else it is null.
    Returns partition, offset, event_time, ended: when the event's state ended, of several windows the first.
    Where the transform selects topic, partition or offset away, both are null and each row stands for an event.
    """
    from pyspark.sql import functions as F

    placed = set(ORIGIN) <= set(rows.columns)
    time = f"`{event_time}`" if event_time in rows.columns else "NULL"
    found = rows.selectExpr(
        f"CAST({'partition' if placed else 'NULL'} AS INT) AS partition",
        f"CAST({'offset' if placed else 'NULL'} AS BIGINT) AS offset",
        f"CAST({time} AS TIMESTAMP) AS event_time",
        f"CAST({rule.column} AS TIMESTAMP) AS ended",
    )
    first = [F.min(name).alias(name) for name in ("event_time", "ended")]
    return found.groupBy("partition", "offset").agg(*first) if placed else found
