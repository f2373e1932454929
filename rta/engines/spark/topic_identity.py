"""Check that a query still reads the topic that it began with, and all of it.

Offsets are valid in one topic only. A topic that was deleted and created again under its name has another id (Kafka's own), and if
it has enough events Spark silently continues in it at the old offset. So the checkpoint has the id beside the offsets, and each
micro-batch asks for the topic's id after its rows were read: if it is the same, all rows are of that topic, since no id is used twice.

Retention may delete events before they are read. Spark then refuses to continue, unless the option failOnDataLoss is "false"; what
is lost follows from the offsets that the topic still has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
    """Refuse a topic that was created again since the checkpoint began, or that ends before the offsets that were read.

    Args:
        session: The session.
        checkpoint: Its location.
        topic: The topic as it is now.
        fix: What a person can do to start over.
    """
    if checkpoints.query_id(session, checkpoint) is None:
        return
    if noted := _noted(session, checkpoint, topic.name):
        _require_id(topic.name, topic.id, noted, fix)
    _require_reached(session, checkpoint, topic, fix)


def note(session: SparkSession, checkpoint: str, ids: Mapping[str, str]) -> None:
    """Write topic → id to the checkpoint, before its query starts."""
    checkpoints.write(session, f"{checkpoint}/{FILE}", json.dumps(ids))


def _noted(session: SparkSession, checkpoint: str, topic: str) -> str | None:
    """Return the id of a topic in the checkpoint. An older rta wrote that of its only topic, without a name."""
    text = checkpoints.read(session, f"{checkpoint}/{FILE}") or ""
    return json.loads(text).get(topic) if text.startswith("{") else text or None


def require_topic(topic: str, noted: str, *, fix: str = _RESET) -> None:
    """Refuse a topic that has the name but not the id of the one that was read so far; for use while a query runs."""
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
    """Refuse a topic that ends before the offsets of the checkpoint: its next events would be skipped."""
    planned = checkpoints.newest(session, checkpoint, "offsets")
    ends = checkpoints.ends(session, checkpoint, planned).get(topic.name, {}) if planned >= 0 else {}  # fmt: skip
    # Ask again before refusing: a query that ran until now may have read events that are newer than the description.
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
    """Return the partitions that end before the offset that was read: where they end, and that offset."""
    latest = {p: ranges.get(p, (0, 0))[1] for p in ends}
    return {p: (latest[p], end) for p, end in ends.items() if end > latest[p]}


@contextmanager
def explained(ids: Mapping[str, str], spans: Sequence[Span]) -> Iterator[None]:
    """Re-raise Spark's error about a range that it cannot read as a QueryError that names what is missing.

    Args:
        ids: topic → the id that was noted.
        spans: What is read in the block.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        for span in spans:
            require_topic(span.topic, ids[span.topic])
            rest = kept(span)
            if rest != span:
                raise QueryError(
                    "Kafka's retention has deleted events before they were read", found=_told(span, rest),
                    fix='go on without them with options={"failOnDataLoss": "false"}, which counts them as lost;'
                    " or rta.reset(table), which rebuilds the table from what is there",
                ) from error  # fmt: skip
        raise


def kept(span: Span) -> Span:
    """Return the part of a span that the topic still has: the same, or one that begins later."""
    there = retried(lambda: topics.offsets(span.topic))
    start = {
        partition: min(max(first, there[partition][0]), span.end[partition])
        for partition, first in span.start.items()
    }
    return replace(span, start=start)


def _told(span: Span, rest: Span) -> str:
    """Describe the ranges that are in a span but not in the rest of it."""
    gone = [
        f"partition {partition}: offsets {first} to {rest.start[partition] - 1} "
        f"({rest.start[partition] - first:,} events)"
        for partition, first in span.start.items()
        if rest.start[partition] > first
    ]
    return f"topic {span.topic!r}, {'; '.join(gone)}"
