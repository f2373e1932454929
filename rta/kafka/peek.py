"""Look into a topic, whoever wrote it: its raw records as a table, and what they seem to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from rta.errors import InputError
from rta.html import Facts
from rta.kafka import client, tail, topics
from rta.kafka.auth_errors import raising_refused
from rta.kafka.positions import EARLIEST, LATEST, Position, Ranges, checked_position
from rta.kafka.tail import Record

if TYPE_CHECKING:
    from rta.events.inference import Inferred

_LONGEST: Final = 500  # characters of a key or value in the table


def peek(
    topic: str,
    *,
    count: int = 20,
    starting: Position = "latest",
    where: str | Callable[[Record], bool] | None = None,
    scan: int = 10_000,
) -> Facts[Record]:
    """Show raw records of a topic, as they are: any bytes, tombstones, keys, headers.

    It joins no group and commits nothing. Records of open and aborted transactions are shown, too, as Spark reads them by default.

    Args:
        topic: The topic.
        count: The most records to show.
        starting: "latest": the newest ones. "earliest", a datetime with a zone (Kafka's record time) or {partition: offset}: the first
            ones from there on; of the last, only the partitions that are named.
        where: Only records that have this text in key, value or a header; or a function of a Record.
        scan: With `where`, the most records of all partitions to look at; the table says how many it were.

    Returns:
        The records in the order of their Kafka time: partition, offset, timestamp, key, value, headers. In key and value, bytes that are
        no text are escaped. A value of None is a tombstone.

    Raises:
        TopicError: If there is no such topic.
        InputError: If `starting` is no place in the topic.
        RefusedError: If this user may not read it.

    Example:
        >>> _ = rta.publish([{"user_id": 7, "page": "/a"}, {"user_id": 8, "page": "/b"}], "doc-peek", key="user_id", partitions=1)
        >>> [(each.offset, each.key, each.value) for each in rta.peek("doc-peek", where="/b")]
        [(1, '8', '{"user_id":8,"page":"/b"}')]
    """
    from kafka import TopicPartition

    if count < 1:
        raise InputError("a look into a topic shows at least one record", found=count, fix="give count=20")  # fmt: skip
    ranges = topics.offsets(topic, right="READ")
    matches = _matching(where)
    most = count if where is None else scan // max(len(ranges), 1)
    found: list[Record] = []
    seen = 0
    with raising_refused(), closing(client.consumer()) as reader:
        for partition, (first, end) in _from(reader, topic, ranges, starting).items():
            place = TopicPartition(topic, partition)
            if starting == "latest":
                read = tail.newest(reader, place, first, end, most)
            else:
                read = list(islice(client.until(reader, place, first, end), most))
            seen += len(read)
            found += filter(matches, map(tail.as_record, read))
    found.sort(key=lambda each: (each.timestamp, each.partition, each.offset))
    shown = found[-count:] if starting == "latest" else found[:count]
    there = sum(end - first for first, end in ranges.values())
    note = f"looked at {seen:,} of {there:,} records" if seen < there else ""
    return Facts(shown, _cells, note=note)


def _cells(record: Record) -> dict[str, object]:
    headers = ", ".join(f"{name}={value}" for name, value in record.headers)
    value = "(tombstone)" if record.value is None else record.value
    texts = {"key": record.key, "value": value, "headers": headers}
    cells = {"partition": record.partition, "offset": record.offset, "timestamp": record.timestamp}
    return cells | {
        name: None if text is None else tail.shortened(text, _LONGEST)
        for name, text in texts.items()
    }


def _matching(where: str | Callable[[Record], bool] | None) -> Callable[[Record], bool]:
    if where is None:
        return lambda _: True
    if not isinstance(where, str):
        return where

    def has(record: Record) -> bool:
        headers = (part for header in record.headers for part in header)
        return any(where in part for part in (record.key, record.value, *headers) if part)

    return has


def _from(
    reader: Any, topic: str, ranges: Ranges, starting: Position
) -> Mapping[int, tuple[int, int]]:
    """Return the part of each partition that is asked for.

    Raises:
        InputError: If there is no such place.
    """
    checked_position(topic, starting, "starting", ranges)
    if isinstance(starting, datetime):
        return _since(reader, topic, ranges, starting)
    if isinstance(starting, Mapping):
        ends = {partition: {EARLIEST: first, LATEST: end} for partition, (first, end) in ranges.items()}  # fmt: skip
        return {p: (ends[p].get(offset, offset), ranges[p][1]) for p, offset in starting.items()}
    return ranges


def _since(
    reader: Any, topic: str, ranges: Ranges, moment: datetime
) -> Mapping[int, tuple[int, int]]:
    """Return what came at a moment or later, by Kafka's time; a partition in which nothing did is left out."""
    from kafka import TopicPartition

    asked = {TopicPartition(topic, partition): round(moment.timestamp() * 1000) for partition in ranges}  # fmt: skip
    found = reader.offsets_for_times(asked)
    return {
        place.partition: (at.offset, ranges[place.partition][1])
        for place, at in found.items()
        if at is not None
    }


def infer(topic: str, *, sample: int = 1_000, registry: str | None = None) -> Inferred:
    """Look at records of a topic that any tool wrote, say what they are, and write the event type that reads them.

    It joins no group and commits nothing.

    Args:
        topic: The topic.
        sample: The most records to look at: half of them the oldest, half the newest, of each partition the same number.
        registry: The URL of a schema registry with Confluent's API, for Avro.

    Returns:
        Its format, fields, event time, key and headers, the share of the sample that fits, and what to look at. Its `code` is an
        `rta.EventType(…)` to paste; `event_type()` returns it.

    Raises:
        TopicError: If there is no such topic.
        InputError: If no record of the sample has a value.
        RefusedError: If this user may not read it.

    Example:
        >>> _ = rta.publish([{"user": {"id": 7}, "at": "2024-11-15T10:30:00Z"}], "doc-infer", partitions=1)
        >>> print(rta.infer("doc-infer").code)
        rta.EventType(
            'doc-infer',
            'user STRUCT<id BIGINT NOT NULL> NOT NULL, at TIMESTAMP NOT NULL',
            event_time='at',
        )
    """
    from kafka import TopicPartition

    from rta.events.formats.registry import schemas
    from rta.events.inference import Sampled, inferred

    ranges = topics.offsets(topic, right="READ")
    half = max(sample // max(len(ranges), 1) // 2, 1)
    found: list[Any] = []
    total = 0
    with raising_refused(), closing(client.consumer()) as reader:
        for partition, (first, end) in ranges.items():
            place = TopicPartition(topic, partition)
            oldest = list(islice(client.until(reader, place, first, end), half))
            after = oldest[-1].offset + 1 if oldest else first
            newest = tail.newest(reader, place, after, end, half)
            found += [*oldest, *newest]
            # With fewer than were asked for they are all: an offset that was compacted has no record.
            total += end - first if len(newest) == half else len(oldest) + len(newest)
    records = [Sampled(each.key, each.value, each.timestamp, tuple(each.headers)) for each in found]
    known = schemas(registry, topic) if registry else None
    return inferred(topic, records, total, registry=registry, schemas=known)
