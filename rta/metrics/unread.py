"""How old the oldest unread record of a partition is: the record itself is read, and its Kafka timestamp counts.

That is the time that its producer gave it or, on a topic with LogAppendTime, the broker's. A position whose record is known is not
read again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rta.kafka import client
from rta.kafka.auth_errors import raising_refused

if TYPE_CHECKING:
    from kafka import KafkaConsumer

Place = tuple[str, int, int]
"""(topic, partition, offset)"""
_FETCH: Final = (
    65_536  # bytes of a partition: one record is wanted; Kafka sends a larger batch whole
)
_PATIENCE: Final = 3.0  # seconds for all of them
_SILENT: Final = 10  # tenths of a second without a record, from which on there is none


class Reader:
    """One consumer for all looks; it joins no group and commits nothing."""

    def __init__(self) -> None:
        self._open: KafkaConsumer | None = None

    @contextmanager
    def lent(self) -> Iterator[KafkaConsumer]:
        """Lend it; after an error the next one is new."""
        if self._open is None:
            self._open = client.consumer(max_partition_fetch_bytes=_FETCH, **client.COMMITTED)
        try:
            with raising_refused():
                yield self._open
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()


class OldestUnread:
    """The Kafka timestamps of the oldest unread records."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[Place, int] = {}
        self._silent: dict[
            Place, int
        ] = {}  # places without a record, and the end of their partition then

    def timestamps(self, places: Mapping[Place, int]) -> dict[Place, int]:
        """Return (topic, partition, offset) → the timestamp of the first record from there on, in milliseconds.

        A place is missing if it has none, as behind the end of a transaction, or if Kafka was too slow.

        Args:
            places: (topic, partition, offset) → the end of the partition.
        """
        self._known = {place: at for place, at in self._known.items() if place in places}
        self._silent = {place: end for place, end in self._silent.items() if places.get(place) == end}  # fmt: skip
        new = [place for place in places if place not in self._known and place not in self._silent]
        if new:
            found = self._read(new)
            self._known |= found
            self._silent |= {place: places[place] for place in new if place not in found}
        return dict(self._known)

    def _read(self, places: list[Place]) -> dict[Place, int]:
        """Read one record at each place; of several places in a partition one after the other."""
        found: dict[Place, int] = {}
        deadline = time.monotonic() + _PATIENCE
        with self._reader.lent() as reader:
            while places and time.monotonic() < deadline:
                now = {place[:2]: place for place in places}
                _read_one_each(reader, list(now.values()), found, deadline)
                places = [place for place in places if place not in now.values()]
        return found


def _read_one_each(reader: KafkaConsumer, places: list[Place], found: dict[Place, int], deadline: float) -> None:  # fmt: skip
    """Read one record of each partition, until nothing more comes."""
    from kafka import TopicPartition

    left = {TopicPartition(*place[:2]): place for place in places}
    client.read_from(reader, {place: offset for place, (*_, offset) in left.items()})
    silent = 0
    while left and silent < _SILENT and time.monotonic() < deadline:
        came = reader.poll(timeout_ms=100)
        silent = 0 if came else silent + 1
        for place, records in came.items():
            if place in left and records:
                found[left.pop(place)] = records[0].timestamp
                reader.pause(place)
