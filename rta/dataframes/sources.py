"""A topic → one typed DataFrame, for batch and stream alike; bad events are set apart, never dropped silently.

topic ── read ── parse ─┬─ good ── read_batch, read_stream
                        └─ bad ─── quarantined ── <topic>.dlq, see rta.dlq
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from rta.dataframes.parsing import parse
from rta.dataframes.starting_offsets import between, starting_at
from rta.events.event_types import EventType, event_type
from rta.events.type_checks import ORIGIN
from rta.kafka.client import READING, spark_options
from rta.kafka.positions import EARLIEST, Position
from rta.kafka.topics import TopicDescription, description, offsets

OBSERVED: Final = "rta_source"
"""The metric of a source is called `rta_source:<topic>`: a query may read several topics, never two metrics of one name."""

# Fewer, larger fetches read a topic a third faster. Spark asks for the newest offset on a connection whose next fetch already waits
# for data, and Kafka answers in order: with its default that takes half a second of each small read. A connection that the network
# has lost is given up after 10 s, not 30; a whole call has a minute: Spark repeats no local task. `options` override each of them.
FETCH: Final[Mapping[str, str]] = {
    **READING,
    "kafka.max.partition.fetch.bytes": str(16 * 2**20),
    "kafka.fetch.max.bytes": str(64 * 2**20),
    "kafka.max.poll.records": "10000",
    "kafka.fetch.max.wait.ms": "20",
    "kafka.request.timeout.ms": "10000",
}

# Spark 4.3 has both as settings of its own, off by default: all sources of a query have names, and its offsets are kept by name.
_NAMED: Final = {
    "spark.sql.streaming.queryEvolution.enableSourceEvolution": "true",
    "spark.sql.streaming.offsetLog.formatVersion": "2",
}
_ONE_KIND: Final = RLock()

_CHOOSES: Final = re.compile(r"(?i)(starting|ending|subscribe|assign|min|max|includeheaders)")
"""The beginnings of options that choose what a query reads, and when; all others say how it reads."""


def read_batch(
    topic: str,
    *,
    event: EventType | None = None,
    starting: Position = "earliest",
    ending: Position = "latest",
    max_skew: str = "5 minutes",
    options: Mapping[str, str] | None = None,
) -> DataFrame:
    """Read the good events of a topic as a finite DataFrame.

    Args:
        topic: The topic.
        event: The type of its events; by default the one that is named like the topic.
        starting: "earliest", "latest", {partition: offset}, or a datetime with a zone, which is compared with Kafka's record time. An
            offset is one that the topic has, or Kafka's own -1 (latest) and -2 (earliest); a partition that is not named is read whole.
        ending: The same; an ending offset is not read.
        max_skew: How far an event's own time may be ahead of Kafka's before it counts as bad, such as "5 minutes".
        options: For Spark's Kafka source, such as "minPartitions".

    Returns:
        The event's columns, then topic, partition, offset, kafka_timestamp.

    Raises:
        TopicError: There is no such topic; the message has those with a similar name.
        InputError: There is no such position in the topic, or the end is before the start.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=5), "doc-read-batch", key="user_id")
        >>> read_batch("doc-read-batch", event=rta.USER_EVENTS).count()
        5
    """
    event = event or event_type(topic)
    chosen = between(description(topic), starting, ending)
    parsed = parsed_batch(topic, event, max_skew, options=chosen | dict(options or {}))
    return _good(parsed, event, topic)


def parsed_batch(
    topic: str,
    event: EventType,
    max_skew: str = "5 minutes",
    *,
    options: Mapping[str, str] | None = None,
) -> DataFrame:
    """Read all events of a topic as they are now, good and bad: the columns of `parse`, as a finite DataFrame."""
    chosen = options or between(description(topic), "earliest", "latest")
    return parse(_read(topic, chosen), event, max_skew)


def read_stream(
    topic: str,
    *,
    event: EventType | None = None,
    starting: Position = "earliest",
    max_skew: str = "5 minutes",
    max_events_per_batch: int | None = None,
    options: Mapping[str, str] | None = None,
) -> DataFrame:
    """Read the good events of a topic as they arrive, as a streaming DataFrame.

    Each micro-batch's counts (see `observed`) are in the query's progress.

    Args:
        topic: The topic.
        event: The type of its events; by default the one that is named like the topic.
        starting: Where to begin, as for read_batch().
        max_skew: As for read_batch().
        max_events_per_batch: The most events of all partitions in one micro-batch; by default all that are there.
        options: For Spark's Kafka source.

    Returns:
        The columns of read_batch().

    Raises:
        TopicError: There is no such topic.
        InputError: There is no such position in the topic.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=5), "doc-read-stream", key="user_id")
        >>> read_stream("doc-read-stream", event=rta.USER_EVENTS).isStreaming
        True
    """
    return good_stream(
        description(topic), event or event_type(topic), starting=starting, max_skew=max_skew,
        max_events_per_batch=max_events_per_batch, options=options,
    )  # fmt: skip


def good_stream(
    topic: TopicDescription,
    event: EventType,
    *,
    starting: Position = "earliest",
    max_skew: str = "5 minutes",
    max_events_per_batch: int | None = None,
    options: Mapping[str, str] | None = None,
    name: str | None = None,
) -> DataFrame:
    """Read as read_stream() does, from a topic that was described already; `name` is that of the source in the checkpoint."""
    limit = (
        {} if max_events_per_batch is None else {"maxOffsetsPerTrigger": str(max_events_per_batch)}
    )
    chosen = starting_at(topic, starting) | limit | dict(options or {})
    parsed = parsed_stream(topic, event, max_skew, options=chosen, name=name)
    return _good(parsed, event, topic.name)


def good_columns(event: EventType, topic: str | None = None) -> DataFrame:
    """Return a static frame without rows that has the columns of read_stream(); no topic is needed, but its name may be given.

    >>> good_columns(rta.USER_EVENTS).columns[-4:]
    ['topic', 'partition', 'offset', 'kafka_timestamp']
    """
    from rta.dataframes.session import spark

    raw = (
        "key BINARY, value BINARY, topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP"
    )
    return _good(parse(spark().createDataFrame([], raw), event), event, topic or event.name)


def parsed_stream(
    topic: TopicDescription,
    event: EventType,
    max_skew: str = "5 minutes",
    *,
    options: Mapping[str, str] | None = None,
    name: str | None = None,
) -> DataFrame:
    """Read all events of a topic as they arrive, good and bad: the columns of `parse`, as a streaming DataFrame.

    options: For Spark's Kafka source; by default all events from the earliest on, with headers.
    name: That of the source in the checkpoint: inside of naming_sources() alone.
    """
    chosen = options or starting_at(topic, "earliest") | {"includeHeaders": "true"}
    return parse(_read(topic.name, chosen, streaming=True, name=name), event, max_skew)


@dataclass(frozen=True)
class TopicRange:
    """A part of a topic, such as that of a micro-batch, and how to read it: each time it gives the same events.

    Attributes:
        topic: The topic.
        event: The type of its events.
        start: partition → the first offset; a partition that only `end` knows is read from its beginning.
        end: partition → the offset before which the range ends.
        max_skew: How far an event's own time may be ahead of Kafka's.
        options: Those of the query that has read it, such as its isolation level; options that choose a range have no effect.
    """

    topic: str
    event: EventType
    start: Mapping[int, int]
    end: Mapping[int, int]
    max_skew: str = "5 minutes"
    options: Mapping[str, str] | None = field(default=None, repr=False)  # may hold a password

    def good(self) -> DataFrame:
        """Read the good events: the columns of read_batch()."""
        # Each range counts under a name of its own: two ranges with one name cannot stand in one plan.
        return _good(self._parsed(), self.event, f"{self.topic}:{sorted(self.end.items())}")

    def bad(self) -> DataFrame:
        """Read the bad events: topic, partition, offset, kafka_timestamp, reason, key, value, headers."""
        parsed = self._parsed(headers=True).select(*ORIGIN, "reason", "key", "value", "headers")
        counted = observed(parsed, f"{self.topic}:bad:{sorted(self.end.items())}")
        return counted.where("reason IS NOT NULL")

    def counts(self) -> dict[str, int]:
        """Count by reading: consumed, quarantined, good. A retried task is not counted twice here.

        >>> _ = rta.publish(rta.user_events(spark, rows=5), "doc-counts", partitions=1)
        >>> TopicRange("doc-counts", rta.USER_EVENTS, {0: 1}, {0: 4}).counts()
        {'consumed': 3, 'quarantined': 0, 'good': 3}
        """
        return dict(self._parsed().agg(*_counts()).collect()[0].asDict())

    def _parsed(self, *, headers: bool = False) -> DataFrame:
        """Read exactly the partitions that `end` names."""
        first = {str(partition): self.start.get(partition, EARLIEST) for partition in self.end}
        given = (self.options or {}).items()
        options = {name: value for name, value in given if not _CHOOSES.match(name)} | {
            "assign": json.dumps({self.topic: sorted(self.end)}),
            "startingOffsets": json.dumps({self.topic: first}),
            "endingOffsets": json.dumps({self.topic: {str(p): o for p, o in self.end.items()}}),
            "includeHeaders": str(headers).lower(),
        }
        return parse(_read(self.topic, options), self.event, self.max_skew)


def quarantined(
    topic: str,
    *,
    event: EventType | None = None,
    start: Mapping[int, int] | None = None,
    end: Mapping[int, int] | None = None,
    max_skew: str = "5 minutes",
    options: Mapping[str, str] | None = None,
) -> DataFrame:
    """Read the bad events of a topic, or of a range of its offsets, from the topic itself.

    Args:
        topic: The topic.
        event: The type of its events; by default the one that is named like the topic.
        start: partition → the first offset; by default the earliest.
        end: partition → the offset before which the range ends; by default the latest.
        max_skew: See `parse`.
        options: As for read_batch(); {"kafka.isolation.level": "read_committed"} leaves out what was aborted.

    Returns:
        topic, partition, offset, kafka_timestamp, reason, key, value (raw bytes), headers.

    Example:
        >>> _ = rta.publish(spark.createDataFrame([("{}",)], ["value"]), "doc-quarantined", partitions=1)
        >>> quarantined("doc-quarantined", event=rta.USER_EVENTS).select("offset", "reason").show()
        +------+-----------------+
        |offset|           reason|
        +------+-----------------+
        |     0|missing: event_id|
        +------+-----------------+
        <BLANKLINE>
    """
    if start is None or end is None:
        known = offsets(topic)
        start = start or {partition: earliest for partition, (earliest, _) in known.items()}
        end = end or {partition: latest for partition, (_, latest) in known.items()}
    return TopicRange(topic, event or event_type(topic), start, end, max_skew, options).bad()


def observed(parsed: DataFrame, topic: str) -> DataFrame:
    """Count the events that pass, without a second read: consumed, quarantined and good, each on its own.

    A filter on `reason` that is above it stays there: Spark cannot compute what it needs once more, below the parsers.

    The counts are under `rta_source:<topic>` in `StreamingQuery.lastProgress["observedMetrics"]`.

    >>> raw = spark.sql("SELECT binary('k') key, binary('{}') value, 't' topic, 0 partition, 0L offset, current_timestamp() timestamp")
    >>> observed(parse(raw, rta.USER_EVENTS), "t").count()
    1
    """
    return parsed.observe(f"{OBSERVED}:{topic}", *_counts())


def _counts() -> list[Column]:
    good = F.count(F.when(F.col("reason").isNull(), 1)).alias("good")
    return [F.count("*").alias("consumed"), F.count("reason").alias("quarantined"), good]


def _good(parsed: DataFrame, event: EventType, topic: str) -> DataFrame:
    """Count all events, and keep the good ones. The raw columns are dropped first: the count would copy them."""
    counted = observed(parsed.select(*event.columns, *ORIGIN, "reason"), topic)
    return counted.where("reason IS NULL").drop("reason")


@contextmanager
def naming_sources(session: SparkSession) -> Iterator[None]:
    """Let streams that are read, and queries that are started, in this block have named sources: Spark then wants all of them to have names.

    A checkpoint that has begun with names survives when a topic is added or removed. Other threads that read a topic wait.
    """
    with _ONE_KIND:
        before = {name: session.conf.get(name, None) for name in _NAMED}
        for name, value in _NAMED.items():
            session.conf.set(name, value)
        try:
            yield
        finally:
            for name, was in before.items():
                session.conf.unset(name) if was is None else session.conf.set(name, was)


def _read(
    topic: str, options: Mapping[str, str], *, streaming: bool = False, name: str | None = None
) -> DataFrame:
    """Open Spark's Kafka source on a topic."""
    from rta.dataframes.session import spark

    session = spark()
    where = spark_options()
    if not {"assign", "subscribePattern"} & options.keys():
        where["subscribe"] = topic
    chosen = {**where, **FETCH, **options}
    if not streaming:
        return session.read.format("kafka").options(**chosen).load()
    reader = session.readStream.format("kafka").options(**chosen)
    with _ONE_KIND:
        return (reader.name(name) if name else reader).load()
