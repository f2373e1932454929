"""Whether a query still reads the topic that it began with, and all of it.

Offsets mean something in one topic only. One that was deleted and made again under its name has another
id (Kafka's own), and where it holds enough events Spark goes on in it at the old offset, in silence. So
the id lies beside the offsets, in the checkpoint; and each micro-batch asks for the topic's id once its
rows are read: if it is the same they are all of that topic, for an id never comes back.

Retention may delete events before they are read. Spark refuses to go on then, unless the option
failOnDataLoss is "false"; what is lost is told from the offsets that the topic still has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from rta import checkpoints, topics
from rta.checkpoints import Span
from rta.errors import QueryError
from rta.retries import retried

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = TypeVar("T")
FILE: Final = "rta-topic-id"
PATIENCE: Final = 60.0  # seconds; Spark's own source waits as long for a broker that is away


def topic_of(session: SparkSession, checkpoint: str, topic: str) -> str:
    """Return the id of the topic that a checkpoint's offsets belong to, or will belong to.

    Raises QueryError where the topic was made again since, TopicError where there is none.
    """
    noted = checkpoints.read(session, f"{checkpoint}/{FILE}")
    if noted and checkpoints.query_id(session, checkpoint):
        require_topic(topic, noted)
        return noted
    return topics.topic_id(topic)


def note(session: SparkSession, checkpoint: str, topic_id: str) -> None:
    """Write the id of the topic into the checkpoint, before its query starts."""
    checkpoints.write(session, f"{checkpoint}/{FILE}", topic_id)


def require_topic(topic: str, noted: str) -> None:
    """Refuse a topic that only has the name of the one that was read so far."""
    current = patiently(lambda: topics.topic_id(topic))
    if current != noted:
        raise QueryError(
            f"topic {topic!r} was deleted and made again: its offsets are not those of the checkpoint",
            found=f"topic id {current}, not {noted}",
            do="rta.reset(table) drops table and checkpoint, and the next run fills it from the new topic",
        )


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
            do='go on without them with options={"failOnDataLoss": "false"}, which counts them as lost;'
            " or rta.reset(table), which rebuilds the table from what is there",
        ) from error  # fmt: skip


def kept(span: Span) -> Span:
    """Return what the topic still has of a span: the same, or one that begins later."""
    there = patiently(lambda: topics.offsets(span.topic))
    start = {
        partition: min(max(first, there[partition][0]), span.end[partition])
        for partition, first in span.start.items()
    }
    return replace(span, start=start)


def patiently(ask: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """Ask Kafka again while it is away: a query outlives the restart of a broker.

    >>> patiently(lambda: 1)
    1
    """
    return retried(ask, patience=patience)


def _told(span: Span, rest: Span) -> str:
    """Name the ranges that a span has and its rest has not."""
    gone = [
        f"partition {partition}: offsets {first} to {rest.start[partition] - 1} "
        f"({rest.start[partition] - first:,} events)"
        for partition, first in span.start.items()
        if rest.start[partition] > first
    ]
    return f"topic {span.topic!r}, {'; '.join(gone)}"
