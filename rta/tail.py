"""Look at the newest events of a topic, as they are: any bytes, typed or broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rta import topics
from rta.cluster import client_options
from rta.refusals import refusals_said


@dataclass(frozen=True)
class Record:
    """One Kafka record; key and value as text, with whatever a terminal must not see escaped."""

    partition: int
    offset: int
    timestamp: str
    key: str | None
    value: str | None

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}  {self.timestamp}  {self.key or '(no key)'}  {self.value or '(null)'}"


def records(topic: str, *, count: int = 10, follow: bool = False) -> Iterator[Record]:
    """Yield the newest `count` records of a topic in the order of their timestamps, then what arrives.

    Raises TopicError where there is no such topic, RefusedError where it may not be read. Nothing is
    committed: no group is joined.

    >>> _ = rta.create_topic("doc-tail", partitions=1)
    >>> list(records("doc-tail"))
    []
    """
    from kafka import KafkaConsumer, TopicPartition

    ranges = topics.offsets(topic, right="READ")
    partitions = {partition: TopicPartition(topic, partition) for partition in ranges}
    options = {"enable_auto_commit": False, "group_id": None, "consumer_timeout_ms": 1_000}
    with refusals_said(), closing(KafkaConsumer(**client_options(), **options)) as consumer:
        consumer.assign(list(partitions.values()))
        for partition, (earliest, latest) in ranges.items():
            consumer.seek(partitions[partition], max(earliest, latest - count))
        wanted = sum(min(count, latest - earliest) for earliest, latest in ranges.values())
        # The range first: the other way round, zip takes one record more, and drops it.
        newest = [message for _, message in zip(range(wanted), consumer, strict=False)]
        newest.sort(key=lambda message: (message.timestamp, message.partition, message.offset))
        yield from map(_record, newest[-count:] if count else [])
        while follow:
            yield from map(_record, consumer)


def _record(message: Any) -> Record:
    """Turn kafka-python's record into facts for a person."""
    moment = datetime.fromtimestamp(message.timestamp / 1000, UTC).isoformat(
        timespec="milliseconds"
    )
    return Record(
        message.partition,
        message.offset,
        moment,
        None if message.key is None else printable(message.key),
        None if message.value is None else printable(message.value),
    )


def printable(raw: bytes) -> str:
    r"""Decode bytes for a terminal: invalid UTF-8 and control characters become escapes.

    >>> print(printable(bytes([27]) + b"[31mred"))
    \x1b[31mred
    """
    text = raw.decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
