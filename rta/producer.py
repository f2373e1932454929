"""Onto a topic: in bulk through Spark, or paced (rta.paced) by a clock."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rta.acknowledged import NOT_THIS_TIME, Acknowledged
from rta.cluster import spark_options
from rta.errors import InputError
from rta.paced import INTENDED, publish_paced, ready_topic
from rta.refusals import refusals_said
from rta.topics import offsets
from rta.wire import as_messages, message_columns

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["INTENDED", "Acknowledged", "Published", "publish", "publish_paced"]

# Whole batches instead of many small ones; each is overridden by `options`.
DEFAULTS: Final[Mapping[str, str]] = {
    "kafka.acks": "all",
    "kafka.batch.size": "131072",
    "kafka.linger.ms": "20",
}


@dataclass(frozen=True, repr=False)
class Published:
    """What one publish() put on a topic. offsets: partition → (from, to), `to` being the next one."""

    topic: str
    events: int
    seconds: float
    offsets: Mapping[int, tuple[int, int]]

    def __repr__(self) -> str:
        """Say in one line how much went where."""
        where = ", ".join(f"{p}: {low} to {high}" for p, (low, high) in self.offsets.items())
        return (
            f"Published: {self.events:,} events to {self.topic!r} in {self.seconds:.1f} s"
            f" (partition: offsets from, to the next: {where})"
        )


def publish(
    df: DataFrame,
    topic: str,
    *,
    key: str | None = None,
    order_by: str | Sequence[str] | None = None,
    partitions: int = 4,
    headers: Mapping[str, str | bytes | None] | None = None,
    options: Mapping[str, str] | None = None,
) -> Published:
    """Publish a DataFrame in bulk, through Spark's Kafka sink.

    Each row becomes a JSON object: instants in ISO 8601, UTC, to the microsecond; decimals as exact
    numbers; nulls left out. A frame with a STRING or BINARY column `value` is sent as it is, with its
    `key` and `headers`. The time of a record is Kafka's own: history is not deleted for its age.

    key: the column whose text is the message key. order_by: columns to sort by, in one task, so that
    each partition holds the events in that order (the order of arrival, say).
    partitions: of a topic that is yet to be made. headers: the same for all events, behind their own.
    options: for the sink, such as "kafka.compression.type". The frame is computed once; events are
    counted by the topic's offsets, so those of another producer at the same time are among them.

    Raises InputError for a column that is not there, a streaming frame, an event over the size limit, or a
    machine whose clock is over an hour ahead of Kafka's.

    >>> publish(rta.user_events(spark, rows=10), "doc-publish", key="user_id").events
    10
    """
    if df.isStreaming:
        raise InputError(
            "publish() takes a finite DataFrame", found="a streaming one", do="use its writeStream"
        )
    ordering = [order_by] if isinstance(order_by, str) else list(order_by or ())
    missing = [name for name in ordering if name not in df.columns]
    if missing:
        raise InputError("no such column to order by", found=missing, do=f"use one of {df.columns}")
    frame = as_messages(df, key)
    if ordering:
        frame = frame.repartition(1).sortWithinPartitions(*ordering)
    if headers:
        frame = frame.withColumn("headers", _with_headers(frame, headers))
    ready_topic(topic, partitions)
    before, began = offsets(topic), time.monotonic()
    settings = {
        **DEFAULTS,
        **spark_options(),
        "topic": topic,
        **(options or {}),
    }
    with _refused_record_said(), refusals_said():
        frame.select(*message_columns(frame)).write.format("kafka").options(**settings).save()
    seconds = time.monotonic() - began
    ranges = {p: (before[p][1], latest) for p, (_, latest) in offsets(topic).items()}
    return Published(topic, sum(high - low for low, high in ranges.values()), seconds, ranges)


def _with_headers(frame: DataFrame, headers: Mapping[str, str | bytes | None]) -> Column:
    """Build the sink's headers column: those of the frame, then the same for every row."""
    from pyspark.sql import functions as F

    pairs = [(name, v.encode() if isinstance(v, str) else v) for name, v in headers.items()]
    ours = F.array(
        *(F.struct(F.lit(k).alias("key"), F.lit(v).cast("binary").alias("value")) for k, v in pairs)
    )
    if "headers" not in message_columns(frame):
        return ours
    return F.when(F.col("headers").isNull(), ours).otherwise(F.concat("headers", ours))


@contextmanager
def _refused_record_said() -> Iterator[None]:
    """Turn Spark's page-long error for an event too large, or from the future, into one sentence."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JJavaError, PySparkException) as error:
        text = str(error)
        if future := re.search(r"Timestamp (\d+) of message .*?within \[-?\d+, (\d+)\]", text):
            over = (int(future[1]) - int(future[2])) / 1000
            raise InputError(
                NOT_THIS_TIME, found=f"{over:,.0f} s over that", do="set the clock of this machine"
            ) from None
        if "RecordTooLargeException" not in text:
            raise
        sizes = re.search(r"message is (\d+) bytes.*?larger than (\d+)", text)
        found = (
            f"{int(sizes[1]):,} bytes, over max.request.size = {int(sizes[2]):,}" if sizes else None
        )
        raise InputError(
            "an event is larger than Kafka takes; those before it are on the topic",
            found=found or "more than the topic's max.message.bytes",
            do="make it smaller, or raise kafka.max.request.size (options) and the topic's max.message.bytes",
        ) from None
