"""Whether a query still reads the topic that it began with, and all of it.

Offsets mean something in one topic only. One that was deleted and made again under its name has another
id (Kafka's own), and where it holds enough events Spark goes on in it at the old offset, in silence. So
the id lies beside the offsets, in the checkpoint; and each micro-batch asks for the topic's id once its
rows are read: if it is the same they are all of that topic, for an id never comes back.

Retention may delete events before they are read. Spark refuses to go on then, unless the option
failOnDataLoss is "false"; what is lost is told from the offsets that the topic still has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rta.engines.spark import checkpoints
from rta.engines.spark.checkpoints import Span
from rta.errors import QueryError
from rta.kafka import topics
from rta.kafka.topics import TopicDescription
from rta.retries import retried

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FILE: Final = "rta-topic-id"
_RESET: Final = "rta.reset(table) drops table and checkpoint, and the next run fills it from the topic that is there"


def require_same_topic(
    session: SparkSession, checkpoint: str, topic: TopicDescription, *, fix: str = _RESET
) -> None:
    """Refuse a topic that was made again since the checkpoint began, or ends before what was read of it.

    Args:
        fix: How to start over.
    """
    if checkpoints.query_id(session, checkpoint) is None:
        return
    if noted := checkpoints.read(session, f"{checkpoint}/{FILE}"):
        _require_id(topic.name, topic.id, noted, fix)
    _require_reached(session, checkpoint, topic, fix)


def note(session: SparkSession, checkpoint: str, topic_id: str) -> None:
    """Write the id of the topic into the checkpoint, before its query starts."""
    checkpoints.write(session, f"{checkpoint}/{FILE}", topic_id)


def require_topic(topic: str, noted: str, *, fix: str = _RESET) -> None:
    """Refuse a topic that only has the name of the one that was read so far; asked while its query runs."""
    _require_id(topic, retried(lambda: topics.topic_id(topic)), noted, fix)


def _require_id(topic: str, current: str, noted: str, fix: str) -> None:
    if current != noted:
        raise QueryError(
            f"topic {topic!r} was deleted and made again: its offsets are not those of the checkpoint",
            found=f"topic id {current}, not {noted}",
            fix=fix,
        )


def _require_reached(
    session: SparkSession, checkpoint: str, topic: TopicDescription, fix: str
) -> None:
    """Refuse a topic that ends before the offsets of the checkpoint: what comes there next would be left out."""
    planned = checkpoints.newest(session, checkpoint, "offsets")
    ends = checkpoints.ends(session, checkpoint, planned).get(topic.name, {}) if planned >= 0 else {}  # fmt: skip
    # Asked anew before it is refused: a query that ran until now may have read what has come since.
    if _beyond(ends, topic.ranges) and (beyond := _beyond(ends, topics.offsets(topic.name))):
        told = ", ".join(f"partition {p} ends at {there}, not {end}" for p, (there, end) in beyond.items())  # fmt: skip
        raise QueryError(
            f"topic {topic.name!r} ends before what was read of it: it lost events, or is another of that name",
            found=f"{told} as in {checkpoint}",
            fix=fix,
        )


def _beyond(
    ends: Mapping[int, int], ranges: Mapping[int, tuple[int, int]]
) -> dict[int, tuple[int, int]]:
    """Return the partitions that were read further than they go: where they end, and where the reader was."""
    latest = {p: ranges.get(p, (0, 0))[1] for p in ends}
    return {p: (latest[p], end) for p, end in ends.items() if end > latest[p]}


@contextmanager
def explained(topic_id: str, span: Span) -> Iterator[None]:
    """Turn Spark's page about a range that it cannot read into a sentence that names what is missing."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        require_topic(span.topic, topic_id)
        rest = kept(span)
        if rest == span:
            raise
        raise QueryError(
            "Kafka's retention has deleted events before they were read", found=_told(span, rest),
            fix='go on without them with options={"failOnDataLoss": "false"}, which counts them as lost;'
            " or rta.reset(table), which rebuilds the table from what is there",
        ) from error  # fmt: skip


def kept(span: Span) -> Span:
    """Return what the topic still has of a span: the same, or one that begins later."""
    there = retried(lambda: topics.offsets(span.topic))
    start = {
        partition: min(max(first, there[partition][0]), span.end[partition])
        for partition, first in span.start.items()
    }
    return replace(span, start=start)


def _told(span: Span, rest: Span) -> str:
    """Name the ranges that a span has and its rest has not."""
    gone = [
        f"partition {partition}: offsets {first} to {rest.start[partition] - 1} "
        f"({rest.start[partition] - first:,} events)"
        for partition, first in span.start.items()
        if rest.start[partition] > first
    ]
    return f"topic {span.topic!r}, {'; '.join(gone)}"
