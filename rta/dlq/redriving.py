"""Send dead letters back to their topic, fixed or unchanged, each once.

    each_dead_letter ── prepared (the fix) ── chunks ── send ── acknowledged? ── note

A dead letter is noted as sent back only after Kafka has acknowledged its event. If the process dies between the two, the next
call sends it once more: at least once, and nothing is lost. The notes are in Kafka, too, on the compacted topic
`<topic>.dlq.redriven`: the dead letter's identity → where its event is now.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.future import Future

from rta.dlq.browse import NOTES, each_dead_letter
from rta.dlq.dead_letter import DeadLetter, outgoing, sent_at
from rta.errors import BrokerError, InputError
from rta.kafka import client
from rta.kafka.auth_errors import raising_refused, refusal
from rta.kafka.delivery_report import verdict, why_not
from rta.kafka.paced import bounded_producer, flush
from rta.kafka.topics import ensure_topic, offsets

Fix = Callable[[DeadLetter], "bytes | DeadLetter | None"]
Pair = tuple[DeadLetter, DeadLetter]  # a dead letter, and what the fix made of it
TIMEOUT: Final = 30.0  # seconds after which an event has no answer
# Kafka took the event before, so it may take it again. Compressed, one near the limit has room for two more headers.
OPTIONS: Final[Mapping[str, Any]] = {"max_request_size": 64 * 2**20, "compression_type": "gzip"}
# A chunk is in memory, and is sent again if the process dies: so many dead letters, or so many bytes.
CHUNK: Final = 200
CHUNK_BYTES: Final = 8 * 2**20
_SHOWN: Final = 5


@dataclass(frozen=True, repr=False)
class Redriven:
    """What one redrive() did.

    Args:
        topic: The topic.
        sent: How many were sent back.
        left: How many the fix left where they are.
        refused: How many rta or Kafka refused, or the fix raised an error for.
        before: How many had been sent back before, and were skipped.
        reasons: Why dead letters were refused → how many.
        first: The first events, as they were sent.
        dry_run: Whether nothing was sent.
    """

    topic: str
    sent: int = 0
    left: int = 0
    refused: int = 0
    before: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    first: tuple[DeadLetter, ...] = ()
    dry_run: bool = False

    def __repr__(self) -> str:
        """Return one sentence, and a line for each reason of a refusal."""
        what = "would be sent back" if self.dry_run else "sent back"
        most = sorted(self.reasons.items(), key=lambda item: -item[1])
        why = "".join(f"\n  {number:,} times: {reason}" for reason, number in most[:_SHOWN])
        more = f"\n  and {len(most) - _SHOWN} more reasons" if len(most) > _SHOWN else ""
        return (
            f"Redriven: {self.sent:,} {'dead letter' if self.sent == 1 else 'dead letters'} {what} to {self.topic!r}"
            f" ({self.left:,} left by the fix, {self.refused:,} refused, {self.before:,} sent back before){why}{more}"
        )


def redrive(
    topic: str,
    fix: Fix | None = None,
    *,
    reason: str | None = None,
    dry_run: bool = False,
    max_attempts: int = 3,
) -> Redriven:
    """Send the dead letters of a topic back to it, fixed by `fix` or unchanged.

    An event keeps its own headers, its record's time (DeadLetter.kafka_timestamp; a topic with LogAppendTime gives it a new one) and,
    if its key is unchanged, its partition. If its reason is "ahead" of the record's time, it gets Kafka's present time instead, and needs no
    fix. The header `rta.attempts` counts how often it was sent back; `rta.redriven-from` names the bad event.

    Nothing is checked beforehand: the stream validates the event like any other. It may be late by now. If it fails again, it becomes a
    dead letter again, with its count. All readers of the topic get it: for a reader who accepted the bad event, it is a copy, which
    rta.transforms.deduplicate drops.

    Each dead letter is sent back once: that is noted on the topic `<topic>.dlq.redriven` after Kafka has the event. If this process dies
    between the two, the next call sends the same events again (at most 200, or 8 MiB): copies, never a loss. So do two calls at the
    same time. Dead letters stay in the queue; those that arrive meanwhile wait for the next call.

    Args:
        topic: The topic, not its queue.
        fix: A function of a dead letter. It returns the new value as bytes, a DeadLetter (dataclasses.replace) with another key, value,
            headers or time, or None to leave the dead letter where it is. It should have no side effects: a dry run calls it, too.
            If it raises an error, the dead letter is refused.
        reason: Only the dead letters with this reason, as in rta.dlq.dead_letters.
        dry_run: Send nothing; only say what would be sent.
        max_attempts: Refuse a dead letter that was already sent back this often.

    Raises:
        TopicError: If the topic is missing.
        InputError: If an argument is wrong.
        BrokerError: If Kafka goes away. What is noted by then stays noted.

    >>> _ = rta.publish(spark.createDataFrame([("{]",)], ["value"]), "doc-redrive", partitions=1)
    >>> _ = rta.drain("doc-redrive", rta.transforms.totals, table="doc_redrive", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> redrive("doc-redrive", lambda dead_letter: dead_letter.value.replace(b"]", b"}"))
    Redriven: 1 dead letter sent back to 'doc-redrive' (0 left by the fix, 0 refused, 0 sent back before)
    >>> redrive("doc-redrive").sent
    0
    """
    if max_attempts < 1:
        raise InputError("max_attempts must be 1 or more", found=max_attempts, fix="correct it")
    offsets(topic, right="WRITE")
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    first: list[DeadLetter] = []
    with closing(each_dead_letter(topic, reason=reason)) as found, ExitStack() as stack:
        producer: RedriveProducer | None = None
        for chunk in _chunks(_to_send(found, fix, max_attempts, counts, reasons)):
            first += [fixed for _, fixed in chunk[: _SHOWN - len(first)]]
            if dry_run:
                counts["sent"] += len(chunk)
                continue
            producer = producer or stack.enter_context(redrive_producer(topic))
            counts["sent"] += producer.deliver(chunk, reasons)
    return Redriven(
        topic, counts["sent"], counts["left"], reasons.total(), counts["before"], dict(reasons), tuple(first), dry_run
    )  # fmt: skip


def prepared(
    dead_letter: DeadLetter, fix: Fix | None, max_attempts: int
) -> DeadLetter | str | None:
    """Return the dead letter to send, None if it is left, or the reason why it is refused.

    >>> from datetime import UTC, datetime
    >>> dead_letter = DeadLetter("t", 0, 5, datetime.now(UTC), "broken JSON", 0, None, b"{", (), "t.dlq", 0, 2)
    >>> prepared(dead_letter, lambda dead_letter: "text", 3)
    'the fix returned str: give bytes, a DeadLetter or None'
    """
    if dead_letter.attempts >= max_attempts:
        return (
            f"it was sent back {dead_letter.attempts} times already (max_attempts={max_attempts})"
        )
    try:
        fixed = fix(dead_letter) if fix else dead_letter
    except Exception as error:  # noqa: BLE001 - somebody's own code, and one dead letter must not stop the others
        return f"the fix raised {type(error).__name__}: {str(error)[:200]}"
    if isinstance(fixed, bytes):
        return replace(dead_letter, value=fixed)
    if fixed is None or (isinstance(fixed, DeadLetter) and _sound(fixed)):
        return fixed
    if isinstance(fixed, DeadLetter):
        return "the fix made a DeadLetter whose key, value and headers are not bytes or None, or whose time has no zone"
    return f"the fix returned {type(fixed).__name__}: give bytes, a DeadLetter or None"


def _sound(dead_letter: DeadLetter) -> bool:
    """Return whether Kafka can take what a fix has made."""
    moment = dead_letter.kafka_timestamp
    payloads = [dead_letter.key, dead_letter.value, *(value for _, value in dead_letter.headers)]
    return (
        isinstance(moment, datetime)
        and moment.tzinfo is not None
        and all(isinstance(name, str) for name, _ in dead_letter.headers)
        and all(payload is None or isinstance(payload, bytes) for payload in payloads)
    )


def _to_send(
    found: Iterable[DeadLetter], fix: Fix | None, max_attempts: int, counts: Counter[str], reasons: Counter[str]
) -> Iterator[Pair]:  # fmt: skip
    """Yield the dead letters to send, each with what the fix made of it; count the others."""
    for dead_letter in found:
        if dead_letter.redriven:
            counts["before"] += 1
            continue
        fixed = prepared(dead_letter, fix, max_attempts)
        if isinstance(fixed, DeadLetter):
            yield dead_letter, fixed
        elif fixed is None:
            counts["left"] += 1
        else:
            reasons[fixed] += 1


def _chunks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Cut what is to be sent into parts that fit into memory."""
    chunk: list[Pair] = []
    size = 0
    for pair in pairs:
        chunk.append(pair)
        size += len(pair[1].value or b"")
        if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class RedriveProducer:
    """A producer that sends events back to one topic, and notes them."""

    def __init__(self, topic: str, producer: Any) -> None:
        self.topic, self.producer = topic, producer
        self.partitions = len(offsets(topic))

    def deliver(self, pairs: Sequence[Pair], reasons: Counter[str]) -> int:
        """Send, wait, note; return how many events Kafka has. Count those that it refuses by their reason.

        Raises:
            BrokerError: if Kafka goes away, or refuses us; those that arrived are noted first.
        """
        answers = [(pair[0], self._send(*pair)) for pair in pairs]
        self._flush()
        self.note([(dead_letter, each.value) for dead_letter, each in answers if each.succeeded()])
        errors = [_error(each) for _, each in answers if not each.succeeded()]
        for error in errors:
            if refused := refusal(error):
                raise refused
            if verdict(error) == "unknown" and isinstance(error, KafkaError):
                raise _away(error, f"{len(pairs) - len(errors)} of {len(pairs)} events were acknowledged, and noted")  # fmt: skip
        reasons.update(map(why_not, errors))
        return len(pairs) - len(errors)

    def note(self, arrived: Sequence[tuple[DeadLetter, Any]]) -> None:
        """Note that these dead letters were sent back, and where their events are."""
        notes = []
        for dead_letter, at in arrived:
            told = {
                "to": f"{at.topic}/{at.partition}/{at.offset}",
                "attempts": dead_letter.attempts + 1,
            }
            note, which = json.dumps(told).encode(), dead_letter.identity.encode()
            notes.append(client.send(self.producer, self.topic + NOTES, note, which))
        self._flush()
        if missing := [note for note in notes if not note.succeeded()]:
            error = _error(missing[0])
            raise refusal(error) or _away(
                error, f"{len(missing)} events are on the topic without a note: the next call sends them once more"
            )  # fmt: skip

    def _send(self, dead_letter: DeadLetter, fixed: DeadLetter) -> Future:
        """Send one event to the partition that it came from; with a new key, to the partition of that."""
        same = dead_letter.topic == self.topic and fixed.key == dead_letter.key
        where = (
            dead_letter.partition
            if same and dead_letter.partition in range(self.partitions)
            else None
        )
        try:
            return client.send(
                self.producer, self.topic, fixed.value, fixed.key, outgoing(dead_letter, fixed),
                partition=where, timestamp_ms=sent_at(dead_letter, fixed),
            )  # fmt: skip
        except (KafkaError, ValueError) as error:  # it never left this process
            return Future().failure(error)

    def _flush(self) -> None:
        with suppress(KafkaTimeoutError):  # the event itself tells that it has no answer
            flush(self.producer, TIMEOUT + 5)


@contextmanager
def redrive_producer(topic: str) -> Iterator[RedriveProducer]:
    """Lend a RedriveProducer; create the topic of its notes if it is missing."""
    ensure_topic(topic + NOTES, partitions=1, right="WRITE", config={"cleanup.policy": "compact"})
    with raising_refused(), bounded_producer(TIMEOUT, **OPTIONS) as producer:
        yield RedriveProducer(topic, producer)


def _error(answer: Future) -> BaseException:
    error: BaseException = answer.exception or KafkaTimeoutError("no answer in time")
    return error


def _away(error: BaseException, found: str) -> BrokerError:
    return BrokerError(
        "Kafka does not answer", found=f"{type(error).__name__}; {found}",
        fix="see `rta status`, then run it again: it goes on with what is not noted",
    )  # fmt: skip
