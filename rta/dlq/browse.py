"""Look into the dead letter queue of a topic: what is in it, why, and what was sent back since.

<topic>.dlq ──────────── each_dead_letter ── dead_letters, read_dead_letters, counts, find, and rta.dlq.redriving
<topic>.dlq.redriven ────────┘  one note for each dead letter that was sent back; its key is the dead letter's identity
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from rta.dlq.dead_letter import DeadLetter, at_a_glance, dead_letter_of
from rta.dlq.queue import SUFFIX
from rta.errors import InputError, TopicError
from rta.html import Facts
from rta.kafka import client
from rta.kafka.auth_errors import raising_refused
from rta.kafka.topics import offsets

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

NOTES: Final = SUFFIX + ".redriven"
_COLUMNS: Final = "topic string, partition int, offset bigint, kafka_timestamp timestamp, reason string, key binary, value binary"


@dataclass(frozen=True)
class DeadLetterCount:
    """How many dead letters have one reason.

    Args:
        reason: The reason.
        dead_letters: How many have it.
        still_open: How many of them were not sent back yet.
    """

    reason: str
    dead_letters: int
    still_open: int


def dead_letters(
    topic: str, *, reason: str | None = None, redriven: bool | None = None, limit: int | None = None
) -> Facts[DeadLetter]:
    """List the dead letters of a topic in the order of their queue, each once, even if a repeated micro-batch sent it again.

    Args:
        topic: The topic, not its queue.
        reason: Only those with this reason; "missing" includes "missing: amount".
        redriven: False for those that are still open, True for those that were sent back.
        limit: At most this many, the oldest first; by default all, which are then in memory.

    Returns:
        The dead letters; an empty list if nothing was ever quarantined.

    Raises:
        TopicError: If the topic itself is missing.

    >>> _ = rta.publish(spark.createDataFrame([("{}",)], ["value"]), "doc-letters", partitions=1)
    >>> _ = rta.drain("doc-letters", rta.transforms.totals, table="doc_letters", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> dead_letters("doc-letters")
    [DeadLetter(doc-letters/0/0: missing: event_id; {})]
    """
    if limit is not None and limit < 0:
        raise InputError("limit must be 0 or more", found=limit, fix="correct it")
    with closing(each_dead_letter(topic, reason=reason, redriven=redriven)) as found:
        return Facts(islice(found, limit), at_a_glance)


def read_dead_letters(topic: str) -> DataFrame:
    """Return the dead letters of a topic as a Spark DataFrame: the same as dead_letters(), each once, all in memory.

    Returns:
        topic, partition, offset, kafka_timestamp (where and when the bad event was sent), reason, key, value. No rows if
        nothing was ever quarantined.

    Raises:
        TopicError: If the topic itself is missing.

    >>> _ = rta.kafka.create_topic("doc-dead-letters")
    >>> read_dead_letters("doc-dead-letters").count()
    0
    """
    from rta.dataframes.session import spark

    names = [column.split()[0] for column in _COLUMNS.split(", ")]
    rows = [tuple(getattr(each, name) for name in names) for each in each_dead_letter(topic)]
    return spark().createDataFrame(rows, _COLUMNS)


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
    """Return the dead letter of the event at a place of the topic.

    Raises:
        TopicError: If there is none.

    >>> _ = rta.kafka.create_topic("doc-find")
    >>> find("doc-find", 0, 7)
    Traceback (most recent call last):
    rta.errors.TopicError: there is no dead letter of doc-find/0/7; fix: ...
    """
    found = [
        dead_letter for dead_letter in each_dead_letter(topic) if (dead_letter.partition, dead_letter.offset) == (partition, offset)
    ]  # fmt: skip
    # Two may share a place. A dead letter of this topic comes before a foreign one; if the topic was made again, the newest counts.
    if found:
        return max(
            found, key=lambda dead_letter: (dead_letter.topic == topic, dead_letter.kafka_timestamp)
        )
    raise TopicError(
        f"there is no dead letter of {topic}/{partition}/{offset}",
        fix=f"list them: `rta dlq list {topic}`, or rta.dlq.dead_letters({topic!r})",
    )


def each_dead_letter(
    topic: str, *, reason: str | None = None, redriven: bool | None = None
) -> Generator[DeadLetter]:
    """Yield the dead letters that are in the queue now, one by one; only their identities are kept in memory."""
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
        has_reason = reason is None or f"{dead_letter.reason}:".startswith(f"{reason}:")
        if has_reason and redriven in (None, dead_letter.redriven):
            yield dead_letter


def _records(name: str) -> Iterator[Any]:
    """Yield the committed records of a topic, up to its present end; none if there is no such topic."""
    from kafka import TopicPartition

    try:
        ranges = offsets(name, right="READ")
    except TopicError:
        return
    firsts = {TopicPartition(name, partition): first for partition, (first, _) in ranges.items()}
    with raising_refused(), closing(client.consumer(**client.COMMITTED)) as reader:
        ends = reader.end_offsets(list(firsts))  # the end is before any open transaction
        for place, first in firsts.items():
            yield from client.until(reader, place, first, ends[place])
