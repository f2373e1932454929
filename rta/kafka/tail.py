"""The newest records of a topic, as they are: any bytes, valid or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rta.kafka import client, topics
from rta.kafka.auth_errors import raising_refused

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999  # milliseconds: the years 1 to 9999


@dataclass(frozen=True)
class Record:
    """One Kafka record; key, value and headers as text, with control characters escaped. A value of None is a tombstone."""

    partition: int
    offset: int
    timestamp: str
    key: str | None
    value: str | None
    headers: tuple[tuple[str, str | None], ...] = ()

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}  {self.timestamp}  {self.key or '(no key)'}  {self.value or '(null)'}"


def records(topic: str, *, count: int = 10, follow: bool = False) -> Iterator[Record]:
    """Yield the newest `count` records of a topic in the order of their timestamps, then those that arrive.

    As Spark by default, it also reads records of transactions that are open or were aborted. It joins no group and commits nothing.

    Args:
        topic: The topic.
        count: How many.
        follow: Go on with the records that arrive.

    Raises:
        TopicError: If there is no such topic.
        RefusedError: If this user may not read it.

    >>> _ = rta.kafka.create_topic("doc-tail", partitions=1)
    >>> list(records("doc-tail"))
    []
    """
    from kafka import TopicPartition

    ranges = {
        TopicPartition(topic, partition): span
        for partition, span in topics.offsets(topic, right="READ").items()
    }
    with raising_refused(), closing(client.consumer()) as reader:
        last = [
            message
            for place, (first, end) in ranges.items()
            for message in newest(reader, place, first, end, count)
        ]
        last.sort(key=lambda message: (message.timestamp, message.partition, message.offset))
        yield from map(as_record, last[-count:] if count else [])
        client.read_from(reader, {place: end for place, (_, end) in ranges.items()})
        while follow:
            for messages in reader.poll(timeout_ms=1_000).values():
                yield from map(as_record, messages)


def newest(reader: Any, place: Any, first: int, end: int, count: int) -> list[Any]:
    """Return the newest `count` records of a partition; a compacted offset, or the end of a transaction, has no record."""
    back = count
    while True:
        start = max(first, end - back)
        found = list(client.until(reader, place, start, end)) if back else []
        if len(found) >= count or start == first:
            return found[-count:]
        back *= 2


def as_record(message: Any) -> Record:
    """Return a record of kafka-python as a Record."""
    moment = moment_of(message.timestamp).isoformat(timespec="milliseconds")
    return Record(
        message.partition,
        message.offset,
        moment,
        _text(message.key),
        _text(message.value),
        tuple(
            (printable(name.encode(errors="surrogateescape")), _text(value))
            for name, value in message.headers
        ),
    )


def shortened(text: str, longest: int) -> str:
    """Return the beginning of a long text, and how long it is.

    >>> shortened("abcdef", 3)
    'abc… (6 characters)'
    """
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else printable(raw)


def moment_of(milliseconds: int) -> datetime:
    """Return the time of a record as the nearest possible datetime: Kafka takes any whole number.

    >>> moment_of(10**18).year, moment_of(-1).year
    (9999, 1969)
    """
    return EPOCH + timedelta(milliseconds=max(_FIRST, min(milliseconds, _LAST)))


def printable(raw: bytes) -> str:
    r"""Return bytes as text for a terminal: invalid UTF-8 and control characters are escaped.

    >>> print(printable(bytes([27]) + b"[31mred"))
    \x1b[31mred
    """
    text = raw.decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
