"""Where a reader starts and ends in a topic: offsets or times, as options of Spark's Kafka source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from rta.errors import InputError
from rta.kafka.topics import TopicDescription

Position = str | Mapping[int, int] | datetime
Ranges = Mapping[int, tuple[int, int]]  # partition → the earliest offset, the next to be written
LATEST: Final = -1  # Kafka's own numbers for the two ends of a partition
EARLIEST: Final = -2


def starting_at(topic: TopicDescription, position: Position) -> dict[str, str]:
    """Translate where a stream starts into Spark's options.

    An offset is one that the topic has, or its next one; or Kafka's own -1 (latest), -2 (earliest).

    Raises:
        InputError: The position is none in this topic.
        RefusedError: This user may not read the topic.

    >>> _ = rta.kafka.create_topic("doc-positions", partitions=1)
    >>> topic = rta.kafka.topics.description("doc-positions")
    >>> starting_at(topic, {0: -1})
    {'startingOffsets': '{"doc-positions": {"0": -1}}'}
    >>> starting_at(topic, {0: 9})
    Traceback (most recent call last):
    rta.errors.InputError: starting names an offset that topic 'doc-positions' does not have; found: {0: 9}; fix: partition 0 has 0 to 0...
    """
    topic.require("READ")
    return _position(topic.name, position, "starting", topic.ranges)


def between(topic: TopicDescription, starting: Position, ending: Position) -> dict[str, str]:
    """Translate the two ends of a finite read into Spark's options.

    Raises:
        InputError: One of them is no position in this topic, or the end is before the start.
        RefusedError: This user may not read the topic.

    >>> _ = rta.kafka.create_topic("doc-positions", partitions=1)
    >>> between(rta.kafka.topics.description("doc-positions"), "latest", "latest")
    {'startingOffsets': '{"doc-positions": {"0": 0}}', 'endingOffsets': 'latest'}
    """
    topic.require("READ")
    ranges = topic.ranges
    if starting == "latest":
        starting = dict.fromkeys(ranges, LATEST)
    if isinstance(starting, Mapping):  # Spark does not start a batch at a word that means the end
        starting = {p: ranges[p][1] if o == LATEST and p in ranges else o for p, o in starting.items()}  # fmt: skip
    first = _position(topic.name, starting, "starting", ranges)
    last = _position(topic.name, ending, "ending", ranges)
    _require_order(topic.name, starting, ending)
    return first | last


def _position(topic: str, position: Position, which: str, ranges: Ranges) -> dict[str, str]:
    """Check a position against the topic, and translate it."""
    if isinstance(position, datetime):
        if position.tzinfo is None:
            raise InputError(
                f"{which} needs a time zone",
                found=repr(position),
                fix="give it one, such as tzinfo=datetime.UTC",
            )
        at = {f"{which}Timestamp": str(round(position.timestamp() * 1000))}
        # If no record is as young as that, begin with the next one to come, as with "latest".
        young = {"startingOffsetsByTimestampStrategy": "latest"} if which == "starting" else {}
        return at | young
    if isinstance(position, Mapping):
        _require_there(topic, position, which, ranges)
        unnamed = EARLIEST if which == "starting" else LATEST
        each = {str(partition): int(position.get(partition, unnamed)) for partition in ranges}
        return {f"{which}Offsets": json.dumps({topic: each})}
    allowed = ("earliest", "latest") if which == "starting" else ("latest",)
    if position not in allowed:
        raise InputError(
            f"not a position for {which}",
            found=repr(position),
            fix=f"use {' or '.join(allowed)}, {{partition: offset}} or a datetime",
        )
    return {f"{which}Offsets": position}


def _require_there(topic: str, position: Mapping[int, int], which: str, ranges: Ranges) -> None:
    """Refuse partitions and offsets that the topic does not have: Spark would fail while it reads, with pages of Java."""
    unknown = sorted(set(position) - set(ranges), key=str)
    if unknown:
        raise InputError(
            f"{which} names partitions that topic {topic!r} does not have", found=unknown,
            fix=f"use some of {sorted(ranges)}",
        )  # fmt: skip
    words = (LATEST, EARLIEST) if which == "starting" else (LATEST,)
    outside = {
        partition: offset
        for partition, offset in position.items()
        if not _is_number(offset)
        or (offset not in words and not ranges[partition][0] <= offset <= ranges[partition][1])
    }
    if outside:
        there = ", ".join(f"partition {p} has {ranges[p][0]} to {ranges[p][1]}" for p in sorted(outside))  # fmt: skip
        raise InputError(
            f"{which} names an offset that topic {topic!r} does not have", found=outside,
            fix=f"{there}, where the last is the offset of the next event; or use {' or '.join(map(str, words))},"
            f" Kafka's own for {'latest or earliest' if len(words) > 1 else 'latest'}",
        )  # fmt: skip


def _is_number(offset: object) -> bool:
    """Return whether something is a whole number; NumPy's is one, a bool is not."""
    return hasattr(offset, "__index__") and not isinstance(offset, bool)


def _require_order(topic: str, starting: Position, ending: Position) -> None:
    """Refuse an end before the start."""
    before: object = None
    if isinstance(starting, Mapping) and isinstance(ending, Mapping):
        before = {p: (o, ending[p]) for p, o in starting.items() if 0 <= ending.get(p, LATEST) < o}
    elif isinstance(starting, datetime) and isinstance(ending, datetime) and ending < starting:
        before = f"{starting} to {ending}"
    if before:
        raise InputError(
            f"the end of this part of topic {topic!r} is before its start",
            found=before,
            fix="exchange the two, or correct one of them",
        )
