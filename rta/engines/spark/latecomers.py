"""The late events of a table: which they are, by how much they missed, who has corrected them, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING

from rta.dataframes import sources
from rta.engines.spark.late_reading import Range, late_in
from rta.engines.spark.lateness import LateRule, Transform
from rta.errors import QueryError
from rta.events.event_types import EventType, event_type
from rta.store import late_rows, serving, views

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame


def late(name: str) -> pd.DataFrame:
    """List the late events of a table, or of the view of an architecture, as they were kept when they occurred.

    Args:
        name: The table or the view.

    Returns:
        One row an event.

        - table_name, batch_id, topic, partition, offset, event_time: what and where it is.
        - ended: when its state ended, which is the end of its window.
        - watermark: the one that had passed it.
        - late_seconds: from `ended` to the watermark; by so much longer would the allowed lateness have had to be.
        - kept_at: when it was kept.
        - corrected_by, corrected_at: which version of a view has it now, and since when.

    Raises:
        TableError: There is no such table.

    >>> _ = rta.publish(rta.user_events(spark, rows=10), "doc-late", partitions=1)
    >>> _ = rta.drain("doc-late", rta.transforms.totals, table="doc_late", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> len(late("doc_late"))
    0
    """
    view = views.find(name)
    if view is None:
        return late_rows.kept([serving.table(name).name])
    return late_rows.kept(view.parts, view=name)


def late_events(
    topic: str,
    transform: Transform | None = None,
    *,
    table: str,
    event: EventType | None = None,
    max_skew: str = "5 minutes",
    options: Mapping[str, str] | None = None,
) -> DataFrame:
    """Read the late events of a table again from the topic, as a static DataFrame.

    Args:
        topic: The topic.
        transform: The one that the table was filled with. With it, the late events are derived anew: the columns that reach its state, its
            windows among them. Without it: the columns of rta.read_batch(), and late_seconds.
        table: The table.
        event: As for the table.
        max_skew: As for the table.
        options: As for the table.

    Raises:
        QueryError: The transform does not keep topic, partition or offset, and is not given.

    >>> late_events("doc-late", table="doc_late", event=rta.USER_EVENTS).count()  # see late()
    0
    """
    event = event or event_type(topic)
    if transform is None:
        return _as_kept(topic, table, event, max_skew)
    rule = LateRule.of(sources.read_stream(topic, event=event).transform(transform))
    found = [
        late_in(Range(topic, event, batch.start_offsets, batch.end_offsets, max_skew, options), transform, rule, batch.watermark)
        for batch in serving.batches(table)
        if batch.late and batch.watermark and rule
    ]  # fmt: skip
    if not found:
        return sources.read_batch(topic, event=event).limit(0)
    return reduce(lambda left, right: left.unionByName(right), found)


def _as_kept(topic: str, table: str, event: EventType, max_skew: str) -> DataFrame:
    """Read the events at the places that were kept."""
    from pyspark.sql import functions as F

    entries = late(table)
    places = entries.loc[entries["corrected_at"].isna(), ["partition", "offset", "late_seconds"]]
    if places["offset"].isna().any():
        raise QueryError(
            f"where the late events of {table!r} are on the topic is not known",
            found="a transform that selects topic, partition or offset away",
            fix="give rta.engines.late_events() that transform",
        )
    if places.empty:
        none = sources.read_batch(topic, event=event, max_skew=max_skew).limit(0)
        return none.withColumn("late_seconds", F.lit(0.0))
    offsets = places.astype({"offset": "int64"}).groupby("partition")["offset"]
    start = {int(p): int(first) for p, first in offsets.min().items()}  # type: ignore[call-overload]
    end = {int(p): int(last) + 1 for p, last in offsets.max().items()}  # type: ignore[call-overload]
    events = sources.read_range(topic, event, start=start, end=end, max_skew=max_skew)
    known = events.sparkSession.createDataFrame(
        places, "partition INT, offset BIGINT, late_seconds DOUBLE"
    )
    return events.join(F.broadcast(known), ["partition", "offset"])
