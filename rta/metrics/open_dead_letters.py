"""Count the dead letters that were not sent back yet: each once, and no record of a queue is read twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rta.dlq.browse import NOTES
from rta.dlq.dead_letter import dead_letter_of
from rta.dlq.queue import SUFFIX
from rta.kafka import client
from rta.metrics.unread import Reader

Ranges = Mapping[int, tuple[int, int]]


@dataclass
class _Read:
    """What was read of one topic so far: where it began, where to go on, and the identities of its dead letters."""

    firsts: dict[int, int] = field(default_factory=dict)
    nexts: dict[int, int] = field(default_factory=dict)
    found: set[bytes] = field(default_factory=set)


class OpenDeadLetters:
    """The open dead letters of all topics; it keeps the identity of each, some hundred bytes."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._read = reader, dict[str, _Read]()

    def counts(self, ranges: Mapping[str, Ranges]) -> dict[str, int]:
        """Return topic → dead letters that were not sent back.

        Args:
            ranges: Topic → partition → its first offset, and the next to be written: of all queues, and the notes beside them.
        """
        queues = [name for name in ranges if name.endswith(SUFFIX)]
        found = {}
        for queue in queues:
            topic = queue.removesuffix(SUFFIX)
            dead = self._identities(queue, ranges[queue])
            noted = self._identities(topic + NOTES, ranges.get(topic + NOTES, {}))
            found[topic] = len(dead - noted)
        return found

    def _identities(self, name: str, ranges: Ranges) -> set[bytes]:
        """Return the identities that are in a queue, or in the notes of what was sent back, up to its present end."""
        read = self._read.setdefault(name, _Read())
        gone = any(ranges.get(p, (-1, -1))[1] < at for p, at in read.nexts.items())
        if gone or any(first != read.firsts.get(p, first) for p, (first, _) in ranges.items()):
            read = self._read[name] = _Read()  # made again, or its oldest were deleted
        for record in self._records(name, ranges, read):
            identity = record.key if name.endswith(NOTES) else dead_letter_of(record).identity.encode()  # fmt: skip
            read.found.add(identity or b"")
        return read.found

    def _records(self, name: str, ranges: Ranges, read: _Read) -> Iterator[Any]:
        """Yield what is new, and note how far it was read."""
        from kafka import TopicPartition

        read.firsts |= {p: first for p, (first, _) in ranges.items()}
        new = [p for p, (first, end) in ranges.items() if read.nexts.get(p, first) < end]
        if not new:
            return
        with self._reader.lent() as reader:
            places = {p: TopicPartition(name, p) for p in new}
            ends = reader.end_offsets(list(places.values()))  # before any open transaction
            for p, place in places.items():
                first, end = read.nexts.get(p, ranges[p][0]), ends[place]
                yield from client.until(reader, place, first, end)
                read.nexts[p] = max(first, end)


def queues_among(names: Iterable[str]) -> list[str]:
    """Return the topics that are dead letter queues, or have the notes of what was sent back.

    >>> queues_among(["clicks", "clicks.dlq", "clicks.dlq.redriven"])
    ['clicks.dlq', 'clicks.dlq.redriven']
    """
    return [name for name in names if name.endswith((SUFFIX, NOTES))]
