"""Where a reader starts and ends in a topic: offsets or times, as options of Spark's Kafka source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from rta.errors import InputError
from rta.kafka.positions import EARLIEST, LATEST, Position, Ranges, checked_position
from rta.kafka.topics import TopicDescription


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
    words = ("earliest", "latest") if which == "starting" else ("latest",)
    checked_position(topic, position, which, ranges, words)
    if isinstance(position, datetime):
        at = {f"{which}Timestamp": str(round(position.timestamp() * 1000))}
        # If no record is as young as that, begin with the next one to come, as with "latest".
        young = {"startingOffsetsByTimestampStrategy": "latest"} if which == "starting" else {}
        return at | young
    if isinstance(position, Mapping):
        unnamed = EARLIEST if which == "starting" else LATEST
        each = {str(partition): int(position.get(partition, unnamed)) for partition in ranges}
        return {f"{which}Offsets": json.dumps({topic: each})}
    return {f"{which}Offsets": position}


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
