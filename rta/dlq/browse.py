"""Look into the dead letter queue of a topic, without Spark: what lies there, why, and what was sent back since.

<topic>.dlq ──────────── each_dead_letter ── dead_letters, counts, find, and rta.dlq.redriving
<topic>.dlq.redriven ────────┘  one note for each dead letter that was sent back, its key the dead letter's identity
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from rta.dlq.dead_letter import DeadLetter, at_a_glance, dead_letter_of
from rta.dlq.queue import SUFFIX
from rta.errors import InputError, TopicError
from rta.html import Facts
from rta.kafka import client
from rta.kafka.auth_errors import refusals_said
from rta.kafka.topics import offsets

NOTES: Final = SUFFIX + ".redriven"


@dataclass(frozen=True)
class DeadLetterCount:
    """How many dead letters have one reason.

    Args:
        reason: The reason.
        dead_letters: How many have it.
        still_open: How many of these were not sent back.
    """

    reason: str
    dead_letters: int
    still_open: int


def dead_letters(
    topic: str, *, reason: str | None = None, redriven: bool | None = None, limit: int | None = None
) -> Facts[DeadLetter]:
    """List the dead letters of a topic in the order of their queue, each once: a repeated micro-batch sends its bad events again.

    Args:
        topic: The topic, not its queue.
        reason: Only those with it; "missing" stands for "missing: amount", too.
        redriven: False for those that are still open, True for those that were sent back.
        limit: The first so many; without it, all of them are in memory.

    Returns:
        None if nothing was ever quarantined.

    Raises:
        TopicError: The topic itself is missing.

    >>> _ = rta.publish(spark.createDataFrame([("{}",)], ["value"]), "doc-letters", partitions=1)
    >>> _ = rta.drain("doc-letters", rta.transforms.totals, table="doc_letters", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> dead_letters("doc-letters")
    [DeadLetter(doc-letters/0/0: missing: event_id; {})]
    """
    if limit is not None and limit < 0:
        raise InputError("a limit is 0 or more", found=limit, fix="correct it")
    with closing(each_dead_letter(topic, reason=reason, redriven=redriven)) as found:
        return Facts(islice(found, limit), at_a_glance)


def counts(topic: str) -> Facts[DeadLetterCount]:
    """Count the dead letters of a topic by reason, the most frequent first.

    >>> _ = rta.kafka.create_topic("doc-dead-letter-counts")
    >>> counts("doc-dead-letter-counts")
    []
    """
    found: Counter[str] = Counter()
    still_open: Counter[str] = Counter()
    for dead_letter in each_dead_letter(topic):
        found[dead_letter.reason] += 1
        still_open[dead_letter.reason] += not dead_letter.redriven
    return Facts(
        DeadLetterCount(reason, n, still_open[reason]) for reason, n in found.most_common()
    )


def find(topic: str, partition: int, offset: int) -> DeadLetter:
    """Return the dead letter of the event at a place.

    Raises:
        TopicError: There is none.

    >>> _ = rta.kafka.create_topic("doc-find")
    >>> find("doc-find", 0, 7)
    Traceback (most recent call last):
    rta.errors.TopicError: there is no dead letter of doc-find/0/7; fix: ...
    """
    found = [
        dead_letter for dead_letter in each_dead_letter(topic) if (dead_letter.partition, dead_letter.offset) == (partition, offset)
    ]  # fmt: skip
    # Two may share the place: of a topic that was made again the newest, and no stranger before one of ours.
    if found:
        return max(
            found, key=lambda dead_letter: (dead_letter.topic == topic, dead_letter.kafka_timestamp)
        )
    raise TopicError(
        f"there is no dead letter of {topic}/{partition}/{offset}",
        fix=f"list them: rta dlq list {topic}, or rta.dlq.dead_letters({topic!r})",
    )


def each_dead_letter(
    topic: str, *, reason: str | None = None, redriven: bool | None = None
) -> Generator[DeadLetter]:
    """Yield the dead letters that lie there now, one by one: of all others only the identities are in memory."""
    offsets(topic)
    noted = {record.key for record in _records(topic + NOTES)}
    seen: set[bytes] = set()
    for record in _records(topic + SUFFIX):
        dead_letter = dead_letter_of(record)
        identity = dead_letter.identity.encode()
        if identity in seen:
            continue
        seen.add(identity)
        dead_letter = replace(dead_letter, redriven=identity in noted)
        if redriven in (None, dead_letter.redriven) and _has(dead_letter, reason):
            yield dead_letter


def _has(dead_letter: DeadLetter, reason: str | None) -> bool:
    return (
        reason is None
        or dead_letter.reason == reason
        or dead_letter.reason.startswith(f"{reason}:")
    )


def _records(name: str) -> Iterator[Any]:
    """Read what is committed on a topic, from its beginning to the end that it has now; nothing if there is none."""
    from kafka import TopicPartition

    try:
        ranges = offsets(name, right="READ")
    except TopicError:
        return
    firsts = {TopicPartition(name, partition): first for partition, (first, _) in ranges.items()}
    with refusals_said(), closing(client.consumer(**client.COMMITTED)) as reader:
        ends = reader.end_offsets(list(firsts))  # before any transaction that is still open
        for place, first in firsts.items():
            yield from client.until(reader, place, first, ends[place])
