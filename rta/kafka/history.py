"""What a replay plays: the events of a topic or of a frame in the order of their arrival, each with its place on the clock."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rta.errors import InputError, TopicError
from rta.events.times import moment
from rta.events.type_checks import KAFKA_TIME
from rta.kafka import client
from rta.kafka.auth_errors import raising_refused
from rta.kafka.messages import Headers, Messages
from rta.kafka.tail import EPOCH

if TYPE_CHECKING:
    from rta.events.event_types import EventType
    from rta.kafka.topics import TopicDescription

_AHEAD: Final = 1_000  # records of a partition that are read at a time
_FETCHED: Final = 256 * 2**10  # bytes: about as many
_LONG_AGO: Final = -(2**63)  # microseconds: before every moment
_UNTIMED: Final = 1_000  # events; if so many have no event time, they are of another type
_SKEW: Final = 5 * 60 * 10**6  # microseconds, as max_skew of rta.read_batch() by default


class Arrived(NamedTuple):
    """One event as it arrived.

    Attributes:
        moment: Its event time in microseconds since the epoch; None if it has none, or one that is ahead of its arrival.
        partition: Where it was; None for an event of a frame.
        key: Its key.
        value: Its value.
        headers: Its headers.
    """

    moment: int | None
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers


class Due(NamedTuple):
    """An event of one of several histories, and when it is due.

    Attributes:
        moment: The newest event time of its history so far, in microseconds since the epoch.
        history: Which of the histories.
        event: The event.
    """

    moment: int
    history: str
    event: Arrived


@dataclass(frozen=True)
class History:
    """The events of a topic or of a frame; they can be read more than once.

    Args:
        name: The topic, or the name of the event type of a frame.
        event: The type of the events.
        partitions: The number of partitions of a topic; None for a frame.
        total: The number of events; None if it is not known.
        read: Yields them in the order of their arrival.
    """

    name: str
    event: EventType
    partitions: int | None
    total: int | None
    read: Callable[[], Iterator[Arrived]]

    @staticmethod
    def of_topic(topic: TopicDescription, event: EventType) -> History:
        """Return what is on a topic by now."""
        return History(
            topic.name, event, topic.partitions, topic.events, lambda: arrivals(topic.name, topic.ranges, event)
        )  # fmt: skip

    @staticmethod
    def of_source(source: Any, event: EventType) -> History:
        """Return the events of a source of rta.publish(), in its own order."""
        total = Messages(source, event=event).total  # it also refuses what is no source

        def read() -> Iterator[Arrived]:
            for key, value, headers, _ in Messages(source, event=event):
                now = microseconds(datetime.now(UTC))
                yield Arrived(_moving(value, event, now), None, key, value, headers)

        return History(event.name, event, None, total, read)

    def due(self) -> Iterator[Due]:
        """Yield the events, each due at the newest event time so far: one that is out of order comes right after the one before it.

        Events before the first one that has a moment are due with it.

        Raises:
            InputError: if none of the first 1,000 events has an event time.
        """
        newest: int | None = None
        held: list[Arrived] = []  # before the first event time
        with closing(self.read()) as events:  # type: ignore[type-var]
            for each in events:
                newest = _newer(newest, each.moment)
                held.append(each)
                if newest is not None:
                    yield from (Due(newest, self.name, one) for one in held)
                    held.clear()
                elif len(held) == _UNTIMED:
                    break
        if held:
            raise InputError(
                f"the events of {self.name!r} have no event time to play them by",
                found=f"{len(held):,} events without a field {self.event.field(self.event.event_time)!r} that is an instant with its zone, not ahead of its time in Kafka",
                fix="give the type of these events (event=)",
            )


def merged(histories: Iterable[History]) -> Iterator[Due]:
    """Yield the events of several histories as one clock meets them; each history keeps its order."""
    with ExitStack() as stack:
        each = [stack.enter_context(closing(one.due())) for one in histories]  # type: ignore[type-var]
        yield from heapq.merge(*each, key=lambda due: due.moment)


def event_time(value: bytes | None, event: EventType, arrival: int | None = None) -> int | None:
    """Return the event time that the JSON of an event has, in microseconds since the epoch; None if it has none that is an instant.

    Args:
        value: The event.
        event: Its type.
        arrival: Kafka's own time in microseconds, for types whose event time it is.

    >>> event_time(b'{"timestamp": "1970-01-01T00:00:01Z", "amount": "?"}', rta.USER_EVENTS)
    1000000
    >>> event_time(b'{"timestamp": "1970-01-01T00:00:01"}', rta.USER_EVENTS) is None
    True
    """
    if event.event_time == KAFKA_TIME:
        return arrival
    column, *inside = path = event.taken.get(event.event_time, (event.event_time,))
    try:
        written = json.loads((value or b"").decode(), parse_float=Decimal)
        for name in (event.field(column), *inside):
            written = written[name]
        return microseconds(moment(event.time_form(".".join(path)), written))
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None


def _moving(value: bytes | None, event: EventType, arrival: int) -> int | None:
    """Return the event time of an event, unless it is ahead of its arrival: such an event is bad, and moves no clock."""
    own = event_time(value, event, arrival)
    return None if own is None or own > arrival + _SKEW else own


def _newer(newest: int | None, own: int | None) -> int | None:
    return own if newest is None else newest if own is None else max(newest, own)


def microseconds(moment: datetime) -> int:
    """Return a moment in microseconds since the epoch, exactly.

    Raises:
        TypeError: if it has no zone.

    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (moment - EPOCH) // timedelta(microseconds=1)


def arrivals(topic: str, ranges: Mapping[int, tuple[int, int]], event: EventType) -> Iterator[Arrived]:  # fmt: skip
    """Yield the records of a topic in the order of their arrival: a partition by its offsets, several by the time that Kafka has noted.

    That time has milliseconds, in which a bulk publish sends a hundred events. Of records of one millisecond the partition comes first
    whose newest event time is the oldest.

    One consumer reads ahead a thousand records of each partition, one partition after the other, so a partition that waits for others
    takes no more memory. (kafka-python 3.0 can pause a partition, but may never give the records that it had fetched for it.)

    Args:
        topic: The topic.
        ranges: Partition → the first offset, and the one before which to end.
        event: The type of its events.

    Raises:
        BrokerError: if no record comes for 30 s.
        RefusedError: if this user may not read it.
        TopicError: if some of the records were deleted meanwhile.
    """
    from kafka import TopicPartition

    options = {"max_partition_fetch_bytes": _FETCHED, "auto_offset_reset": "none"}
    with _deleted_said(topic), raising_refused(), closing(client.consumer(**options)) as reader:

        def lane(partition: int, first: int, end: int) -> Iterator[tuple[tuple[int, int, int], Arrived]]:  # fmt: skip
            """Yield the records of a partition, each with its place among those of the others."""
            arrived, newest, place = 0, None, TopicPartition(topic, partition)
            while records := list(islice(client.until(reader, place, first, end), _AHEAD)):
                for each in records:
                    moment = _moving(each.value, event, each.timestamp * 1000)
                    arrived, newest = max(arrived, each.timestamp), _newer(newest, moment)
                    order = arrived, _LONG_AGO if newest is None else newest, partition
                    yield order, Arrived(moment, partition, each.key, each.value, list(each.headers))  # fmt: skip
                first = records[-1].offset + 1

        lanes = [lane(partition, first, end) for partition, (first, end) in ranges.items()]
        for _, record in heapq.merge(*lanes, key=itemgetter(0)):
            yield record


@contextmanager
def _deleted_said(topic: str) -> Iterator[None]:
    """Turn Kafka's error for an offset that is no more into a sentence: by default its reader goes on with the newest record, and says nothing."""
    from kafka.errors import OffsetOutOfRangeError

    try:
        yield
    except OffsetOutOfRangeError as error:
        raise TopicError(
            f"Kafka has deleted records of {topic!r} since the replay began", found=str(error),
            fix="begin anew: what is left is played; raise the topic's retention.bytes to keep more",
        ) from error  # fmt: skip
