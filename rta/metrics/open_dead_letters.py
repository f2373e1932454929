"""Count the dead letters that were not sent back yet: each once, and no record of a queue is read twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
        self._read = {name: read for name, read in self._read.items() if name in ranges}
        self._read_on(ranges)
        none = _Read()
        return {
            topic: len(self._read[queue].found - self._read.get(topic + NOTES, none).found)
            for queue in ranges
            if queue.endswith(SUFFIX) and (topic := queue.removesuffix(SUFFIX))
        }

    def _read_on(self, ranges: Mapping[str, Ranges]) -> None:
        """Read what is new in the queues, and in the notes of what was sent back, up to their present ends: all in one go."""
        from kafka import TopicPartition

        new = dict[TopicPartition, int]()
        for name, of_topic in ranges.items():
            read = self._read.setdefault(name, _Read())
            gone = any(of_topic.get(p, (-1, -1))[1] < at for p, at in read.nexts.items())
            if gone or any(
                first != read.firsts.get(p, first) for p, (first, _) in of_topic.items()
            ):
                read = self._read[name] = _Read()  # made again, or its oldest were deleted
            read.firsts |= {p: first for p, (first, _) in of_topic.items()}
            new |= {
                TopicPartition(name, p): at
                for p, (first, end) in of_topic.items()
                if (at := read.nexts.get(p, first)) < end
            }
        if not new:
            return
        with self._reader.lent() as reader:
            ends = reader.end_offsets(list(new))  # before any open transaction
            for record in client.until_each(reader, {place: (at, ends[place]) for place, at in new.items()}):  # fmt: skip
                identity = record.key if record.topic.endswith(NOTES) else dead_letter_of(record).identity.encode()  # fmt: skip
                self._read[record.topic].found.add(identity or b"")
        for place, at in new.items():
            self._read[place.topic].nexts[place.partition] = max(at, ends[place])


def queues_among(names: Iterable[str]) -> list[str]:
    """Return the topics that are dead letter queues, or have the notes of what was sent back.

    >>> queues_among(["clicks", "clicks.dlq", "clicks.dlq.redriven"])
    ['clicks.dlq', 'clicks.dlq.redriven']
    """
    return [name for name in names if name.endswith((SUFFIX, NOTES))]
