"""One dead letter: a bad event as it lies in the queue, how it is shown, and how it goes back.

An event that is sent back to its topic has its own headers, and two of ours:

| header            | value                                                                   |
|-------------------|-------------------------------------------------------------------------|
| rta.attempts      | how often it was sent back by now                                       |
| rta.redriven-from | where the bad event lies that it comes from: topic/partition/offset     |

Is it bad again, both stand in its next dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any, Final

from rta.dead_letters import NAMES
from rta.names import checked
from rta.tail import printable

ATTEMPTS: Final = "rta.attempts"
REDRIVEN_FROM: Final = "rta.redriven-from"
STRANGE: Final = "not from rta: no origin"
Headers = tuple[tuple[str, bytes | None], ...]
_ORIGIN: Final = [f"rta.{name}" for name in NAMES]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN: Final = 120  # characters of a key or a value, where not all of it is asked for


@dataclass(frozen=True, repr=False)
class Letter:
    """A bad event. topic, partition, offset, kafka_timestamp: where and when it was sent.

    attempts: how often it had been sent back before. headers: its own, without those of rta.
    queue, queue_partition, queue_offset: where it lies now. redriven: whether it was sent back since.
    redriven_from: the origin of the bad event that it was before it was sent back the last time.
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
        """Return the origin with its time: a topic that was made again has other events at the same offsets."""
        return f"{self.origin}@{(self.kafka_timestamp - _EPOCH) // timedelta(milliseconds=1)}"

    def __repr__(self) -> str:
        """Say in one line what it is; control characters escaped, a long value cut."""
        tried = f", attempt {self.attempts}" if self.attempts else ""
        done = ", redriven" if self.redriven else ""
        return f"Letter({self.origin}: {self.reason}{tried}{done}; {shown(self.value, _SHOWN)})"

    def _repr_html_(self) -> str:
        """Show it as a table in a notebook."""
        cells = [
            f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>"
            for name, fact in facts(self, most=10 * _SHOWN)
        ]
        return f"<table>{''.join(cells)}</table>"


def letter_of(record: Any) -> Letter:
    """Read a record of kafka-python from a dead letter queue.

    What another program wrote there has no origin: its place in the queue stands for one, and its reason says so.

    >>> from types import SimpleNamespace
    >>> record = SimpleNamespace(topic="t.dlq", partition=0, offset=3, timestamp=0, key=None, value=b"{", headers=[])
    >>> letter_of(record)
    Letter(t.dlq/0/3: not from rta: no origin; {)
    """
    headers: Headers = tuple(record.headers)
    strange = Letter(
        topic=record.topic, partition=record.partition, offset=record.offset,
        kafka_timestamp=_moment(max(record.timestamp, 0)), reason=STRANGE, attempts=_attempts(headers),
        key=record.key, value=record.value, headers=_own(headers), queue=record.topic,
        queue_partition=record.partition, queue_offset=record.offset, redriven_from=_redriven_from(headers),
    )  # fmt: skip
    # The last five: an event that came from another queue has older ones, as headers of its own.
    told = [printable(value or b"") for _, value in headers[-len(_ORIGIN) :]]
    if [name for name, _ in headers[-len(_ORIGIN) :]] != _ORIGIN:
        return strange
    reason, name, partition, offset, milliseconds = told
    try:
        return replace(
            strange, topic=checked("topic", name), partition=int(partition), offset=int(offset),
            kafka_timestamp=_moment(int(milliseconds)), reason=reason, headers=_own(headers[: -len(_ORIGIN)]),
        )  # fmt: skip
    except (ValueError, OverflowError):  # headers that only look like ours
        return strange


def outgoing(letter: Letter, mended: Letter) -> list[tuple[str, bytes]]:
    """Return the headers of an event that goes back: its own, one attempt more, and where it comes from.

    A null header becomes an empty one: kafka-python sends none.

    >>> moment = datetime(2024, 11, 15, tzinfo=UTC)
    >>> letter = Letter("t", 0, 5, moment, "broken JSON", 1, None, b"{", (("trace", b"7"),), "t.dlq", 0, 2)
    >>> outgoing(letter, letter)
    [('trace', b'7'), ('rta.attempts', b'2'), ('rta.redriven-from', b't/0/5')]
    """
    ours = [(ATTEMPTS, str(letter.attempts + 1).encode()), (REDRIVEN_FROM, letter.origin.encode())]
    return [(name, value or b"") for name, value in _own(mended.headers)] + ours


def facts(letter: Letter, *, most: int | None = None) -> list[tuple[str, str]]:
    """List what a person wants to know, each as a name and a harmless text; most: characters of a payload.

    >>> moment = datetime(2024, 11, 15, tzinfo=UTC)
    >>> facts(Letter("t", 0, 5, moment, "broken JSON", 0, None, b"{", (), "t.dlq", 0, 2))[-2:]
    [('key', '(null)'), ('value', '{')]
    """
    back = f" (redriven from {letter.redriven_from})" if letter.redriven_from else ""
    return [
        ("origin", letter.origin),
        ("sent", letter.kafka_timestamp.isoformat(timespec="milliseconds")),
        ("reason", letter.reason),
        ("attempts", f"{letter.attempts}{back}"),
        ("redriven", "yes" if letter.redriven else "no"),
        ("in queue", f"{letter.queue}/{letter.queue_partition}/{letter.queue_offset}"),
        *((f"header {printable(name.encode())}", shown(value, most)) for name, value in letter.headers),
        ("key", shown(letter.key, most)),
        ("value", shown(letter.value, most)),
    ]  # fmt: skip


def as_dict(letter: Letter) -> dict[str, Any]:
    """Return a letter for JSON: key, value and headers as {"text": …}, {"hex": …} or null.

    >>> moment = datetime(2024, 11, 15, tzinfo=UTC)
    >>> as_dict(Letter("t", 0, 5, moment, "invalid UTF-8", 0, None, bytes([255]), (), "t.dlq", 0, 2))["value"]
    {'hex': 'ff'}
    """
    found = {name: getattr(letter, name) for name in Letter.__dataclass_fields__}
    return found | {
        "kafka_timestamp": letter.kafka_timestamp.isoformat(timespec="milliseconds"),
        "key": _packed(letter.key),
        "value": _packed(letter.value),
        "headers": [[name, _packed(value)] for name, value in letter.headers],
    }


def shown(raw: bytes | None, most: int | None = None) -> str:
    """Write a payload for a person: text with its control characters escaped, hex for what is not UTF-8.

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


def _moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _own(headers: Headers) -> Headers:
    return tuple(header for header in headers if header[0] not in (ATTEMPTS, REDRIVEN_FROM))


def _attempts(headers: Headers) -> int:
    """Read the count; what is none of ours counts as none."""
    try:
        return max(int(dict(headers).get(ATTEMPTS) or b"0"), 0)
    except ValueError:
        return 0


def _redriven_from(headers: Headers) -> str | None:
    value = dict(headers).get(REDRIVEN_FROM)
    return None if value is None else printable(value)
