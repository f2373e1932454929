"""Where a reader starts and ends in a topic: offsets or times, in the words of Spark's Kafka source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from rta.errors import InputError
from rta.topics import offsets

Position = str | Mapping[int, int] | datetime


def starting_at(topic: str, position: Position, *, finite: bool = False) -> dict[str, str]:
    """Translate where to start into Spark's options; finite: for a batch, which Spark refuses to start at "latest".

    >>> _ = rta.create_topic("doc-positions", partitions=1)
    >>> starting_at("doc-positions", "latest", finite=True)
    {'startingOffsets': '{"doc-positions": {"0": 0}}'}
    """
    if finite and position == "latest":
        position = {partition: latest for partition, (_, latest) in offsets(topic).items()}
    options = _position(topic, position, "starting", unnamed=-2)
    # No record as young as the timestamp: begin with the next one to come, as with "latest".
    by_time = (
        {"startingOffsetsByTimestampStrategy": "latest"} if isinstance(position, datetime) else {}
    )
    return options | by_time


def ending_at(topic: str, position: Position) -> dict[str, str]:
    """Translate where to end into Spark's options.

    >>> ending_at("doc-positions", "latest")
    {'endingOffsets': 'latest'}
    """
    return _position(topic, position, "ending", unnamed=-1)


def _position(topic: str, position: Position, which: str, *, unnamed: int) -> dict[str, str]:
    """Check a position against the topic, and translate it. Raises TopicError where the topic is missing."""
    partitions = offsets(topic, right="READ")
    if isinstance(position, datetime):
        if position.tzinfo is None:
            raise InputError(
                f"{which} needs a time zone",
                found=repr(position),
                do="give it tzinfo=datetime.UTC, say",
            )
        return {f"{which}Timestamp": str(round(position.timestamp() * 1000))}
    if isinstance(position, Mapping):
        unknown = sorted(set(position) - set(partitions))
        if unknown:
            raise InputError(
                f"{which} names partitions that topic {topic!r} does not have", found=unknown,
                do=f"use some of {sorted(partitions)}",
            )  # fmt: skip
        each = {str(partition): position.get(partition, unnamed) for partition in partitions}
        return {f"{which}Offsets": json.dumps({topic: each})}
    allowed = ("earliest", "latest") if which == "starting" else ("latest",)
    if position not in allowed:
        raise InputError(
            f"not a position for {which}",
            found=repr(position),
            do=f"use {' or '.join(allowed)}, {{partition: offset}} or a datetime",
        )
    return {f"{which}Offsets": position}
