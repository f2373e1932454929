"""redrive(): dead letters back to their topic, mended or as they are, each once.

    each_letter ── prepared (the mend) ── chunks ── send ── acknowledged? ── note

A letter is noted as sent back once Kafka has acknowledged its event, never before: death between the two sends it once
more the next time. At least once; nothing is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from rta.dlq.browse import each_letter
from rta.dlq.dead_letter import Letter
from rta.dlq.redrive_producer import Post, post
from rta.errors import InputError
from rta.kafka.topics import offsets

Mend = Callable[[Letter], "bytes | Letter | None"]
CHUNK: Final = 200  # letters, or so many bytes: they are in memory, and sent again after a death
CHUNK_BYTES: Final = 8 * 2**20
_SHOWN: Final = 5


@dataclass(frozen=True, repr=False)
class Redriven:
    """What one redrive() did.

    Args:
        topic: The topic.
        sent: How many were sent back.
        left: How many the fix left where they are.
        refused: How many were refused by rta or Kafka, or because the fix raised an error.
        before: How many had been sent back earlier, and so were not looked at.
        reasons: Why they were refused → how many.
        first: The first events, as they were sent.
        dry_run: Whether nothing was sent.
    """

    topic: str
    sent: int = 0
    left: int = 0
    refused: int = 0
    before: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    first: tuple[Letter, ...] = ()
    dry_run: bool = False

    def __repr__(self) -> str:
        """Say in a sentence what happened, with the reasons of what was refused."""
        what = "would be sent back" if self.dry_run else "sent back"
        most = sorted(self.reasons.items(), key=lambda item: -item[1])
        why = "".join(f"\n  {number:,} times: {reason}" for reason, number in most[:_SHOWN])
        more = f"\n  and {len(most) - _SHOWN} reasons more" if len(most) > _SHOWN else ""
        return (
            f"Redriven: {self.sent:,} {'letter' if self.sent == 1 else 'letters'} {what} to {self.topic!r}"
            f" ({self.left:,} left by the mend, {self.refused:,} refused, {self.before:,} sent back before){why}{more}"
        )


def redrive(
    topic: str,
    mend: Mend | None = None,
    *,
    reason: str | None = None,
    dry_run: bool = False,
    max_attempts: int = 3,
) -> Redriven:
    """Send the dead letters of a topic back to it, fixed by `mend` or unchanged.

    The event keeps its own headers, its record's time (Letter.kafka_timestamp; a topic with LogAppendTime gives it a new one) and, with its
    key, its partition. One that was "ahead" of its record's time gets Kafka's now instead, and needs no fix. The header `rta.attempts`
    counts up; `rta.redriven-from` names the bad event.

    Nothing is checked beforehand: the stream validates it like every other event. It may be late by now. If it fails again, it is a dead
    letter again, with its count. All readers of the topic get it: for a reader who had taken the event for good, it is a copy,
    which rta.transforms.deduplicate drops.

    Each dead letter is sent back once: that is noted on the topic `<topic>.dlq.redriven`, after Kafka has the event. If this process dies
    between the two, the next call sends the same events again (at most 200, or 8 MiB): copies, never a loss. Two calls at the same
    time do so, too. The dead letters stay in the queue; those that arrive meanwhile wait for the next call.

    Args:
        topic: The topic, not its queue.
        mend: A function of a dead letter that returns its new value as bytes, a Letter (dataclasses.replace) with another key, value,
            headers or time, or None to leave it where it is. It should have no effect of its own: a dry run calls it, too. If it
            raises an error, the dead letter is refused.
        reason: Only the dead letters with it, as in rta.dlq.letters.
        dry_run: Send nothing, only say what would be sent.
        max_attempts: Refuse a dead letter that was sent back so often.

    Raises:
        TopicError: The topic is missing.
        InputError: An argument is wrong.
        BrokerError: Kafka went away. What was noted by then stays noted.

    >>> _ = rta.publish(spark.createDataFrame([("{]",)], ["value"]), "doc-redrive", partitions=1)
    >>> _ = rta.drain("doc-redrive", rta.transforms.totals, table="doc_redrive", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> redrive("doc-redrive", lambda letter: letter.value.replace(b"]", b"}"))
    Redriven: 1 letter sent back to 'doc-redrive' (0 left by the mend, 0 refused, 0 sent back before)
    >>> redrive("doc-redrive").sent
    0
    """
    if max_attempts < 1:
        raise InputError("max_attempts is 1 or more", found=max_attempts, fix="correct it")
    offsets(topic, right="WRITE")
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    first: list[Letter] = []
    with closing(each_letter(topic, reason=reason)) as found, ExitStack() as stack:
        sender: Post | None = None
        for chunk in _chunks(_to_send(found, mend, max_attempts, counts, reasons)):
            first += [mended for _, mended in chunk[: _SHOWN - len(first)]]
            if dry_run:
                counts["sent"] += len(chunk)
                continue
            sender = sender or stack.enter_context(post(topic))
            counts["sent"] += sender.deliver(chunk, reasons)
    return Redriven(
        topic, counts["sent"], counts["left"], reasons.total(), counts["before"], dict(reasons), tuple(first), dry_run
    )  # fmt: skip


def prepared(letter: Letter, mend: Mend | None, max_attempts: int) -> Letter | str | None:
    """Return the letter as it is to be sent, None where it is left, or why it is refused.

    >>> from datetime import UTC, datetime
    >>> letter = Letter("t", 0, 5, datetime.now(UTC), "broken JSON", 0, None, b"{", (), "t.dlq", 0, 2)
    >>> prepared(letter, lambda letter: "text", 3)
    'the mend returned str: give bytes, a Letter or None'
    """
    if letter.attempts >= max_attempts:
        return f"it was sent back {letter.attempts} times already (max_attempts={max_attempts})"
    try:
        mended = mend(letter) if mend else letter
    except Exception as error:  # noqa: BLE001 - somebody's own code, and one letter must not stop the others
        return f"the mend raised {type(error).__name__}: {str(error)[:200]}"
    if isinstance(mended, bytes):
        return replace(letter, value=mended)
    if mended is None or (isinstance(mended, Letter) and _sound(mended)):
        return mended
    if isinstance(mended, Letter):
        return "the mend made a Letter whose key, value and headers are not bytes or None, or whose time has no zone"
    return f"the mend returned {type(mended).__name__}: give bytes, a Letter or None"


def _sound(letter: Letter) -> bool:
    """Whether Kafka can take what somebody's own code made of a letter."""
    if not isinstance(letter.kafka_timestamp, datetime) or letter.kafka_timestamp.tzinfo is None:
        return False
    names, values = [name for name, _ in letter.headers], [value for _, value in letter.headers]
    payloads = [letter.key, letter.value, *values]
    return all(isinstance(name, str) for name in names) and all(
        payload is None or isinstance(payload, bytes) for payload in payloads
    )


def _to_send(
    found: Iterable[Letter], mend: Mend | None, max_attempts: int, counts: Counter[str], reasons: Counter[str]
) -> Iterator[tuple[Letter, Letter]]:  # fmt: skip
    """Yield what is to be sent, each letter with what the mend made of it; count the others."""
    for letter in found:
        if letter.redriven:
            counts["before"] += 1
            continue
        mended = prepared(letter, mend, max_attempts)
        if isinstance(mended, Letter):
            yield letter, mended
        elif mended is None:
            counts["left"] += 1
        else:
            reasons[mended] += 1


def _chunks(pairs: Iterable[tuple[Letter, Letter]]) -> Iterator[list[tuple[Letter, Letter]]]:
    """Cut what is to be sent into parts that fit into memory."""
    chunk: list[tuple[Letter, Letter]] = []
    size = 0
    for pair in pairs:
        chunk.append(pair)
        size += len(pair[1].value or b"")
        if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
