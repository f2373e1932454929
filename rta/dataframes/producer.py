"""Onto a topic: in bulk through Spark, or paced (rta.kafka.paced) by a clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from rta.dataframes.internals import execution, walk
from rta.dataframes.task_metrics import group_of, noted, underway
from rta.errors import InputError
from rta.events.json_format import KAFKA, as_messages, is_message, message_columns
from rta.html import card, table
from rta.kafka.auth_errors import raising_refused
from rta.kafka.client import WRITING, spark_options
from rta.kafka.delivery_report import NOT_THIS_TIME, DeliveryReport
from rta.kafka.messages import Messages, is_spark, refuse_streaming
from rta.kafka.paced import INTENDED, publish_paced, sent
from rta.kafka.topics import ensure_topic, offsets
from rta.progress import doing, waiting, watched

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame

    from rta.events.event_types import EventType

__all__ = ["INTENDED", "DeliveryReport", "Published", "publish", "publish_paced"]

# Whole batches instead of many small ones; each is overridden by `options`.
DEFAULTS: Final[Mapping[str, str]] = {
    **WRITING,
    "kafka.acks": "all",
    "kafka.batch.size": "131072",
    "kafka.linger.ms": "20",
}


_CHEAP: Final = {
    "Filter", "GlobalLimit", "LocalLimit", "LocalRelation", "LogicalRelation", "Project", "Range", "Repartition", "Sort",
}  # fmt: skip
"""Nodes of a plan whose rows can be counted without computing much."""


@dataclass(frozen=True, repr=False)
class Published:
    """What one publish() has put on a topic.

    Args:
        topic: The topic.
        events: How many events.
        seconds: How long it took.
        offsets: Partition → (from, to); `to` is the next one.
        left_out: Columns of a frame of messages that a message cannot have.
        skipped: Empty lines of a file.
        keyless: Lines of a file without the key.
    """

    topic: str
    events: int
    seconds: float
    offsets: Mapping[int, tuple[int, int]]
    left_out: tuple[str, ...] = ()
    skipped: int = 0
    keyless: int = 0

    def __repr__(self) -> str:
        """Say in one line how many events went where."""
        where = ", ".join(f"{p}: {low} to {high}" for p, (low, high) in self.offsets.items())
        more = "".join(f"; {name}: {value}" for name, value in self._beside().items())
        return (
            f"Published: {self.events:,} events to {self.topic!r} in {self.seconds:.1f} s"
            f" (partition: offsets from, to the next: {where}{more})"
        )

    def _repr_html_(self) -> str:
        """Show the same as tables."""
        facts = {"topic": self.topic, "events": self.events, "seconds": round(self.seconds, 1)}
        spans = [(p, low, high, high - low) for p, (low, high) in self.offsets.items()]
        then = f"`rta.live({self.topic!r})` shows it, `rta.read_batch({self.topic!r})` reads it, `rta.follow({self.topic!r}, …)` keeps a table"
        columns = ["partition", "from", "to the next", "events"]
        return table((facts | self._beside()).items()) + table(spans, columns) + card([], then)

    def _beside(self) -> dict[str, Any]:
        """Return what was not sent, or not as it was asked for."""
        every = {"columns left out": ", ".join(self.left_out), "empty lines skipped": self.skipped, "lines without the key": self.keyless}  # fmt: skip
        return {name: value for name, value in every.items() if value}


def publish(
    source: DataFrame | pd.DataFrame | Iterable[Mapping[str, Any]] | str | Path,
    topic: str,
    *,
    event: EventType | None = None,
    key: str | None = None,
    order_by: str | Sequence[str] | None = None,
    parallel: bool = False,
    partitions: int = 4,
    headers: Mapping[str, str | bytes | None] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Published:
    """Publish events in their order: a Spark or pandas DataFrame, a list of dicts, or a file of JSON lines.

    Each row or dict becomes a JSON object: instants in ISO 8601, UTC (also those without a zone, but Spark's, which have one), to the
    microsecond; decimals as exact numbers; nulls, and what pandas calls missing, left out. The lines of a file (.jsonl, .jsonl.gz) are
    sent byte for byte; empty ones are skipped. A Spark frame of messages is sent as it is, with its `key` and `headers`: one with a
    BINARY column `value`, or a STRING one beside nothing but Kafka's own columns. The time of a record is Kafka's own: history is not
    deleted for its age. Only a Spark frame needs Spark; it is computed once, and counted by the topic's offsets, so events of another
    producer at the same time are among them.

    Args:
        source: The events.
        topic: The topic; it is made if it is not there.
        event: Writes each column under its field's name (EventType.fields), in the format and with the times of the type; its key is the
            default of key. Columns that the type takes out of structs are left out: they are in there.
        key: The column whose text is the message key; in a file, the field.
        order_by: Columns to sort a Spark frame by.
        parallel: Let the tasks of a Spark frame send side by side, faster on several cores; its events arrive out of order then, and a
            stream that reads meanwhile may find many of them late.
        partitions: Of a topic that is yet to be made.
        headers: The same for all events, behind their own.
        options: For the sink of a Spark frame, such as "kafka.compression.type"; else for KafkaProducer.

    Returns:
        How many events went where.

    Raises:
        InputError: The source is none of these, a column is missing, the frame is a stream, an event is over the size limit, or this
            machine's clock is over an hour ahead of Kafka's.
        BrokerError: Kafka has not acknowledged all events.

    Example:
        >>> publish([{"user_id": 7, "page": "home"}, {"user_id": 8, "page": "cart"}], "doc-publish", key="user_id").events
        2
    """
    with waiting(f"publishing to {topic}"):
        if is_spark(source):
            ordering = [order_by] if isinstance(order_by, str) else list(order_by or ())
            frame, left_out = _ordered(
                cast("DataFrame", source), event, key, ordering, parallel=parallel
            )
            if headers:
                frame = frame.withColumn("headers", _with_headers(frame, headers))
            ensure_topic(topic, partitions=partitions, right="WRITE")
            return replace(_in_bulk(frame, topic, options or {}), left_out=left_out)
        if order_by is not None or parallel:
            raise InputError(
                "this source is sent in its own order", found=f"order_by={order_by!r}, parallel={parallel}",
                fix="sort it before, or leave both out",
            )  # fmt: skip
        messages = Messages(source, key=key, event=event)
        done = sent(messages, topic, partitions=partitions, headers=headers, options=options)
        done.require_all()
        return Published(
            topic, done.ok, done.seconds, done.offsets, (), messages.skipped, messages.keyless
        )


def _ordered(
    df: DataFrame,
    event: EventType | None,
    key: str | None,
    ordering: Sequence[str],
    *,
    parallel: bool,
) -> tuple[DataFrame, tuple[str, ...]]:
    """Return the messages of a frame in the order to send them, and the columns that a message cannot have."""
    refuse_streaming(df)
    missing = [name for name in ordering if name not in df.columns]
    if missing:
        raise InputError(
            "no such column to order by", found=missing, fix=f"use one of {df.columns}"
        )
    typed = None if is_message(df, ordering) else event
    if typed and (
        absent := [name for name in typed.required if name not in {*df.columns, *typed.taken}]
    ):
        raise InputError(
            f"event type {typed.name!r} requires columns that the frame does not have", found=absent,
            fix="add them: an event without them would be quarantined",
        )  # fmt: skip
    frame = as_messages(df, key or (typed.key if typed else None), event=typed, beside=ordering)
    if ordering:
        frame = frame.repartition(1).sortWithinPartitions(*ordering)
    elif not parallel:
        frame = frame.coalesce(1)  # one task takes the frame's partitions in their order
    own = (
        {*message_columns(frame), *KAFKA, *ordering} if is_message(df, ordering) else {*df.columns}
    )
    return frame, tuple(name for name in df.columns if name not in own)


def _in_bulk(frame: DataFrame, topic: str, options: Mapping[str, Any]) -> Published:
    """Send messages through Spark's Kafka sink, and count them by the topic's offsets."""
    before, began = offsets(topic), time.monotonic()
    settings = {**DEFAULTS, **spark_options(), "topic": topic, **options}
    messages = frame.select(*message_columns(frame))

    total = _cheap_count(messages)

    def so_far() -> tuple[int, int | None]:
        return sum(high - before[p][1] for p, (_, high) in offsets(topic).items()), total()

    session, owner = messages.sparkSession, f"publishing to {topic}"
    watch = watched(owner, so_far, unit="event", phase=lambda: underway(session, group_of(owner))[1])  # fmt: skip
    with _refused_record_said(), raising_refused(), watch, noted(session, owner):
        doing("the frame is planned")
        messages.write.format("kafka").options(**settings).save()
    seconds = time.monotonic() - began
    ranges = {p: (before[p][1], latest) for p, (_, latest) in offsets(topic).items()}
    return Published(topic, sum(high - low for low, high in ranges.values()), seconds, ranges)


def _cheap_count(frame: DataFrame) -> Callable[[], int | None]:
    """Return what counts a frame's rows, if that takes no more than reading its files or its own rows; else None: it would be computed twice.

    The count is planned here, so that it may run beside the frame itself: two threads that plan one frame fold its
    constants at the same time, and Spark's to_json() has one buffer for both.

    >>> _cheap_count(spark.range(7).where("id > 1"))()
    5
    >>> _cheap_count(spark.range(7).groupBy("id").count())() is None
    True
    """
    if not {node.nodeName() for node in walk(execution(frame).optimizedPlan())} <= _CHEAP:
        return lambda: None
    counted = frame.groupBy().count()
    execution(counted).executedPlan()
    return cache(lambda: cast("int", counted.collect()[0][0]))


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
                NOT_THIS_TIME, found=f"{over:,.0f} s over that", fix="set the clock of this machine"
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
            fix="make it smaller, or raise kafka.max.request.size (options) and the topic's max.message.bytes",
        ) from None
