"""A place in a topic, as a person names it: an end of it, offsets, or a moment. It is checked against the topic before anything reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from rta.errors import InputError

Position = str | Mapping[int, int] | datetime
Ranges = Mapping[int, tuple[int, int]]  # partition → the earliest offset, the next to be written
LATEST: Final = -1  # Kafka's own numbers for the two ends of a partition
EARLIEST: Final = -2
BOTH: Final = {"earliest": EARLIEST, "latest": LATEST}


def checked_position(
    topic: str, position: Position, argument: str, ranges: Ranges, words: Collection[str] = tuple(BOTH)
) -> Position:  # fmt: skip
    """Return a position that the topic has.

    Args:
        topic: The topic.
        position: One of the words; partition → an offset that the topic has, or its next one, or Kafka's own number for a word; or a
            datetime with a zone.
        argument: The name of the argument that has it.
        ranges: Those of the topic.
        words: Which ends of the topic may be named: "earliest", "latest".

    Raises:
        InputError: It is none.

    >>> checked_position("clicks", {0: -1}, "starting", {0: (3, 7)})
    {0: -1}
    >>> checked_position("clicks", {0: 9}, "starting", {0: (3, 7)})
    Traceback (most recent call last):
    rta.errors.InputError: starting names an offset that topic 'clicks' does not have; found: {0: 9}; fix: partition 0 has 3 to 7...
    """
    if isinstance(position, datetime):
        if position.tzinfo is None:
            raise InputError(
                f"{argument} needs a time zone", found=repr(position), fix="give it one, such as tzinfo=datetime.UTC"
            )  # fmt: skip
    elif isinstance(position, Mapping):
        _require_there(topic, position, argument, ranges, words)
    elif position not in words:
        raise InputError(
            f"not a position for {argument}", found=repr(position),
            fix=f"use {' or '.join(words)}, {{partition: offset}} or a datetime",
        )  # fmt: skip
    return position


def _require_there(
    topic: str, position: Mapping[int, int], argument: str, ranges: Ranges, words: Collection[str]
) -> None:
    """Refuse partitions and offsets that the topic does not have: Spark would fail while it reads, with pages of Java."""
    unknown = sorted(set(position) - set(ranges), key=str)
    if unknown:
        raise InputError(
            f"{argument} names partitions that topic {topic!r} does not have", found=unknown,
            fix=f"use some of {sorted(ranges)}",
        )  # fmt: skip
    numbers = {BOTH[word]: word for word in words}
    outside = {
        partition: offset
        for partition, offset in position.items()
        if not _is_number(offset)
        or (offset not in numbers and not ranges[partition][0] <= offset <= ranges[partition][1])
    }
    if outside:
        there = ", ".join(f"partition {p} has {ranges[p][0]} to {ranges[p][1]}" for p in sorted(outside))  # fmt: skip
        kafkas = " or ".join(f"{number} ({word})" for number, word in numbers.items())
        raise InputError(
            f"{argument} names an offset that topic {topic!r} does not have", found=outside,
            fix=f"{there}, where the last is the offset of the next event; or use Kafka's own {kafkas}",
        )  # fmt: skip


def _is_number(offset: object) -> bool:
    """Return whether something is a whole number; NumPy's is one, a bool is not."""
    return hasattr(offset, "__index__") and not isinstance(offset, bool)
