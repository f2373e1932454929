"""When it happened against when it arrived: the events of a topic, the watermark of a table, and its late events, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rta import charts
from rta.dataframes import sources
from rta.engines.spark.late_reading import late, late_events
from rta.errors import InputError
from rta.events.event_types import EventType, event_type
from rta.kafka.topics import describe_topic
from rta.store import ledger, views

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd
    from pyspark.sql import DataFrame

_PLACE: Final = ["partition", "offset"]


def event_time_chart(
    topic: str,
    *,
    event: EventType | None = None,
    table: str | None = None,
    points: int = 2_000,
    options: Mapping[str, str] | None = None,
) -> alt.LayerChart:
    """Draw when the events of a topic happened against when they arrived; with a table, also its watermark and its late events.

    The topic is read once by Spark; of more than `points` events a sample is drawn, the same each time, and the caption says so. An
    event is judged by the watermark of the micro-batch before its own. So one that is below the line is late only if its window, or
    what else the query keeps for it, had ended by then.

    Args:
        topic: The topic.
        event: The type of its events; by default the one that is named like the topic.
        table: A table that a query keeps up to date with the topic.
        points: How many events are drawn at most, about, and how many late ones.
        options: As for rta.read_batch().

    Raises:
        TopicError: If there is no such topic.
        TableError: If there is no such table.
        InputError: If points is not above 0, or the table is kept up to date with another topic.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=20), "doc-event-times", partitions=1)
        >>> chart = event_time_chart("doc-event-times", event=rta.USER_EVENTS)
        >>> chart.to_dict()["title"]["subtitle"]
        ['doc-event-times: 20 events']
    """
    if points < 1:
        raise InputError("a picture has at least one point", found=points, fix="leave points out")
    event = event or event_type(topic)
    total = describe_topic(topic).events
    events = _points(sources.read_batch(topic, event=event, options=options), event, total, points)
    said = f"{len(events):,} of {total:,} events" if len(events) < total else f"{total:,} events"
    if table is None:
        return charts.event_times(events, caption=[f"{topic}: {said}"])
    entries = late(table)
    entries = entries[entries["corrected_at"].isna() & (entries["topic"] == topic)]
    marks = _watermarks(topic, table, points)
    told, missed = f"{len(entries):,} late events", events.iloc[:0]
    if entries["offset"].isna().any():
        told += ", their places are not known"  # the transform has dropped where they are
    else:
        found = late_events(topic, table=table, event=event, options=options)
        missed = _points(found, event, len(entries), points)
        if len(missed) < len(entries):
            told += f", {len(missed):,} of them here"
        places = entries[_PLACE].astype(events.dtypes[_PLACE])
        both = events.merge(places, how="left", on=_PLACE, indicator="in")
        events = events[(both["in"] == "left_only").to_numpy()]
    below = "An event below the line is late only if its window had ended."
    caption = [f"{topic}: {said}", f"{table}: {told}. {below}"]
    return charts.event_times(events, late=missed, watermarks=marks, caption=caption)


def _points(frame: DataFrame, event: EventType, total: int, most: int) -> pd.DataFrame:
    """Return a sample of some events: event_time, arrived_at, partition, offset, and late_seconds if they have it."""
    from pyspark.sql import functions as F

    if total > most:
        frame = frame.where(F.pmod(F.xxhash64(*_PLACE), F.lit(-(-total // most))) == 0)
    more = [name for name in ("late_seconds",) if name in frame.columns]
    times = F.col(f"`{event.event_time}`").alias("event_time"), F.col("kafka_timestamp").alias("arrived_at")  # fmt: skip
    rows: pd.DataFrame = frame.select(*times, *_PLACE, *more).toArrow().to_pandas()
    return rows


def _watermarks(topic: str, table: str, most: int) -> pd.DataFrame:
    """Return the watermark of the micro-batches of a table, or of a view's tables: query_id, batch_id, committed_at, watermark."""
    import pandas as pd

    view = views.find(table)
    batches = [one for name in (view.parts if view else [table]) for one in ledger.batches(name)]
    if batches and topic not in (read := {each.topic for each in batches}):
        raise InputError(f"table {table!r} is not kept up to date with topic {topic!r}", found=sorted(read), fix="give that topic")  # fmt: skip
    marks = [
        (each.query_id, each.batch_id, each.committed_at, each.watermark)
        for each in batches
        if each.watermark is not None and each.topic == topic
    ]
    frame = pd.DataFrame(marks, columns=["query_id", "batch_id", "committed_at", "watermark"])
    return frame.iloc[:: -(-len(frame) // most) or 1]
