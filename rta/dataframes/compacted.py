"""A compacted topic as a table: the newest event of each key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rta.dataframes.sources import observed, parsed_batch
from rta.dataframes.starting_offsets import between
from rta.events.event_types import EventType, event_type
from rta.events.type_checks import ORIGIN
from rta.kafka.positions import Position
from rta.kafka.topics import description

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def latest(
    topic: str,
    *,
    event: EventType | None = None,
    ending: Position = "latest",
    max_skew: str = "5 minutes",
    options: Mapping[str, str] | None = None,
) -> DataFrame:
    """Read the newest good event of each key of a topic, as a static DataFrame; a tombstone deletes its key.

    In a query it is read again for each micro-batch, so a query that must give the same again names `ending`.

    Args:
        topic: The topic; each of its messages has a key, which keeps to one partition.
        event: The type of its events; by default the one that is named like the topic.
        ending: Where to stop, as for rta.read_batch().
        max_skew: As for rta.read_batch().
        options: For Spark's Kafka source.

    Returns:
        The columns of rta.read_batch(): a row for each key.

    Raises:
        TopicError: There is no such topic.

    Example:
        >>> for _ in range(2):
        ...     _ = rta.publish(rta.user_events(spark, rows=5), "doc-latest", key="event_id", partitions=1)
        >>> latest("doc-latest", event=rta.USER_EVENTS).count()
        5
    """
    from pyspark.sql import functions as F

    event = event or event_type(topic)
    chosen = between(description(topic), "earliest", ending) | dict(options or {})
    deleted = F.col("value").isNull().alias("deleted")
    parsed = parsed_batch(topic, event, max_skew, options=chosen).select(*event.columns, *ORIGIN, "key", deleted, "reason")  # fmt: skip
    counted = observed(parsed, f"{topic}:latest:{ending}")
    counts = counted.where("key IS NOT NULL AND (deleted OR reason IS NULL)")
    whole = F.struct(*event.columns, *ORIGIN, "deleted")
    newest = counts.groupBy("key").agg(F.max_by(whole, "offset").alias("newest")).select("newest.*")
    return newest.where("NOT deleted").drop("deleted")
