"""One dead letter: a bad event in the queue, how it is shown, and how it is sent back.

An event that is sent back to its topic has its own headers, and two of ours:

| header            | value                                                 |
|-------------------|-------------------------------------------------------|
| rta.attempts      | how often it was sent back                            |
| rta.redriven-from | the place of the bad event: topic/partition/offset    |

If the event fails again, its next dead letter has both headers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from rta.dlq.queue import FOREIGN, FORMS, NAMES
from rta.html import table
from rta.kafka.tail import EPOCH, moment_of, printable

ATTEMPTS: Final = "rta.attempts"
REDRIVEN_FROM: Final = "rta.redriven-from"
Headers = tuple[tuple[str, bytes | None], ...]
_SHOWN: Final = 120  # characters of a key or a value, if not all of it is wanted


@dataclass(frozen=True, repr=False)
class DeadLetter:
    """A bad event, unchanged, with its reason and the place that it came from.

    Args:
        topic: The topic that the event was sent to.
        partition: Its partition there.
        offset: Its offset there.
        kafka_timestamp: The time of its record.
        reason: Why it is bad.
        attempts: How often it had been sent back before.
        key: Its key.
        value: Its value.
        headers: Its own headers, without those of rta.
        queue: The dead letter queue that it is in.
        queue_partition: Its partition there.
        queue_offset: Its offset there.
        redriven_from: The place of the bad event that was sent back as this one; None if it was never sent back.
        redriven: Whether this dead letter was sent back.
    """

    topic: str
    partition: int
    offset: int
    kafka_timestamp: datetime
    reason: str
    attempts: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    queue: str
    queue_partition: int
    queue_offset: int
    redriven_from: str | None = None
    redriven: bool = False

    @property
    def origin(self) -> str:
        """Return topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def identity(self) -> str:
        """Return the origin with its time: a topic that was created again has other events at the same offsets."""
        return f"{self.origin}@{_milliseconds(self.kafka_timestamp)}"

    def __repr__(self) -> str:
        """Return one line; control characters are escaped, a long value is cut."""
        tried = f", attempt {self.attempts}" if self.attempts else ""
        done = ", redriven" if self.redriven else ""
        return f"DeadLetter({self.origin}: {printable(self.reason.encode())}{tried}{done}; {shown(self.value, _SHOWN)})"

    def _repr_html_(self) -> str:
        """Show it as a table in a notebook."""
        return table(facts(self, most=10 * _SHOWN))


def dead_letter_of(record: Any) -> DeadLetter:
    """Return a record from a dead letter queue, as kafka-python reads it, as a DeadLetter.

    A record of another program has no origin: its place in the queue is its origin, and its reason says so.

    >>> from types import SimpleNamespace
    >>> record = SimpleNamespace(topic="t.dlq", partition=0, offset=3, timestamp=0, key=None, value=b"{", headers=[])
    >>> dead_letter_of(record)
    DeadLetter(t.dlq/0/3: not from rta: no origin; {)
    """
    headers: Headers = tuple(record.headers)
    dead_letter = DeadLetter(
        topic=record.topic, partition=record.partition, offset=record.offset,
        kafka_timestamp=moment_of(max(record.timestamp, 0)), reason=FOREIGN, attempts=_attempts(headers),
        key=record.key, value=record.value, headers=_own(headers), queue=record.topic,
        queue_partition=record.partition, queue_offset=record.offset, redriven_from=_redriven_from(headers),
    )  # fmt: skip
    if (told := _told(headers)) is None:
        return dead_letter
    return replace(
        dead_letter, topic=told["topic"], partition=int(told["partition"]), offset=int(told["offset"]), reason=told["reason"],
        kafka_timestamp=moment_of(int(told["kafka_timestamp"])), headers=_own(headers[: -len(NAMES)]),
    )  # fmt: skip


def _told(headers: Headers) -> dict[str, str] | None:
    """Return the values of our headers; None if the last headers are not ours."""
    # Only the last ones: an event that came from another queue has older ones among its own headers.
    last = headers[-len(NAMES) :]
    if [name for name, _ in last] != [f"rta.{name}" for name in NAMES]:
        return None
    try:
        told = {name: (value or b"").decode() for name, (_, value) in zip(NAMES, last, strict=True)}
    except UnicodeDecodeError:
        return None
    return told if all(re.fullmatch(FORMS[name], text) for name, text in told.items()) else None


def outgoing(dead_letter: DeadLetter, fixed: DeadLetter) -> list[tuple[str, bytes | None]]:
    """Return the headers of an event that is sent back: its own, its attempts, and where it comes from.

    >>> moment = EPOCH
    >>> dead_letter = DeadLetter("t", 0, 5, moment, "broken JSON", 1, None, b"{", (("trace", b"7"),), "t.dlq", 0, 2)
    >>> outgoing(dead_letter, dead_letter)
    [('trace', b'7'), ('rta.attempts', b'2'), ('rta.redriven-from', b't/0/5')]
    """
    ours = [
        (ATTEMPTS, str(dead_letter.attempts + 1).encode()),
        (REDRIVEN_FROM, dead_letter.origin.encode()),
    ]
    return [*_own(fixed.headers), *ours]


def sent_at(dead_letter: DeadLetter, fixed: DeadLetter) -> int | None:
    """Return the record's time of an event that is sent back, in milliseconds: its own, or the one of the fix.

    None, for Kafka's present time, if its own is wrong: an event that is ahead of its record's time would be so for ever.

    >>> dead_letter = DeadLetter("t", 0, 5, EPOCH, "broken JSON", 1, None, b"{", (), "t.dlq", 0, 2)
    >>> ahead = replace(dead_letter, reason="ahead")
    >>> sent_at(dead_letter, dead_letter), sent_at(ahead, ahead)
    (0, None)
    """
    same = fixed.kafka_timestamp == dead_letter.kafka_timestamp
    return None if dead_letter.reason == "ahead" and same else _milliseconds(fixed.kafka_timestamp)


def facts(dead_letter: DeadLetter, *, most: int | None = None) -> list[tuple[str, str]]:
    """Return what a person wants to know as names and escaped texts; most: characters of key, value and headers.

    >>> moment = EPOCH
    >>> facts(DeadLetter("t", 0, 5, moment, "broken JSON", 0, None, b"{", (), "t.dlq", 0, 2))[-2:]
    [('key', '(null)'), ('value', '{')]
    """
    back = f" (redriven from {dead_letter.redriven_from})" if dead_letter.redriven_from else ""
    return [
        ("origin", dead_letter.origin),
        ("sent", dead_letter.kafka_timestamp.isoformat(timespec="milliseconds")),
        ("reason", printable(dead_letter.reason.encode())),
        ("attempts", f"{dead_letter.attempts}{back}"),
        ("redriven", "yes" if dead_letter.redriven else "no"),
        ("in queue", f"{dead_letter.queue}/{dead_letter.queue_partition}/{dead_letter.queue_offset}"),
        *((f"header {printable(name.encode())}", shown(value, most)) for name, value in dead_letter.headers),
        ("key", shown(dead_letter.key, most)),
        ("value", shown(dead_letter.value, most)),
    ]  # fmt: skip


def at_a_glance(dead_letter: DeadLetter, most: int = _SHOWN) -> dict[str, object]:
    """Return what a list shows of a dead letter, by column; of key and value at most so many characters.

    >>> moment = EPOCH + timedelta(days=20_042)
    >>> list(at_a_glance(DeadLetter("t", 0, 5, moment, "broken JSON", 0, None, b"{", (), "t.dlq", 0, 2)))
    ['origin', 'sent', 'reason', 'attempts', 'redriven', 'key', 'value']
    """
    return {
        "origin": dead_letter.origin,
        "sent": dead_letter.kafka_timestamp,
        "reason": dead_letter.reason,
        "attempts": dead_letter.attempts,
        "redriven": dead_letter.redriven,
        "key": shown(dead_letter.key, most),
        "value": shown(dead_letter.value, most),
    }


def as_dict(dead_letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter as JSON has it: key, value and headers as {"text": …}, {"hex": …} or null.

    >>> moment = EPOCH
    >>> as_dict(DeadLetter("t", 0, 5, moment, "invalid UTF-8", 0, None, bytes([255]), (), "t.dlq", 0, 2))["value"]
    {'hex': 'ff'}
    """
    found = {name: getattr(dead_letter, name) for name in DeadLetter.__dataclass_fields__}
    return found | {
        "kafka_timestamp": dead_letter.kafka_timestamp.isoformat(timespec="milliseconds"),
        "key": _packed(dead_letter.key),
        "value": _packed(dead_letter.value),
        "headers": [[name, _packed(value)] for name, value in dead_letter.headers],
    }


def shown(raw: bytes | None, most: int | None = None) -> str:
    """Return bytes as a person reads them: text with control characters escaped, or hex if they are not UTF-8.

    >>> shown(b"abcdef", 3), shown(bytes([255, 0])), shown(None)
    ('abc… (6 bytes)', 'hex ff 00', '(null)')
    """
    if raw is None:
        return "(null)"
    packed = _packed(raw) or {}
    text = printable(raw) if "text" in packed else f"hex {raw.hex(' ')}"
    return text if most is None or len(text) <= most else f"{text[:most]}… ({len(raw):,} bytes)"


def _packed(raw: bytes | None) -> dict[str, str] | None:
    if raw is None:
        return None
    try:
        return {"text": raw.decode()}
    except UnicodeDecodeError:
        return {"hex": raw.hex()}


def _milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _own(headers: Headers) -> Headers:
    return tuple(header for header in headers if header[0] not in (ATTEMPTS, REDRIVEN_FROM))


def _attempts(headers: Headers) -> int:
    """Return the count of attempts; 0 if the header is not ours."""
    try:
        return max(int(dict(headers).get(ATTEMPTS) or b"0"), 0)
    except ValueError:
        return 0


def _redriven_from(headers: Headers) -> str | None:
    value = dict(headers).get(REDRIVEN_FROM)
    return None if value is None else printable(value)
