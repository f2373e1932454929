"""What became of each event that was sent: ok, failed or unknown; in a log, and in total."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final, TextIO

from rta.errors import BrokerError, InputError
from rta.kafka import client

NOT_THIS_TIME: Final = "Kafka refuses the record's time: over an hour ahead of Kafka's clock, or older than the topic allows"


@dataclass(frozen=True, repr=False)
class DeliveryReport:
    """What became of the events of one publish_paced().

    Args:
        topic: The topic.
        sent: How many events were sent.
        ok: How many Kafka acknowledged.
        failed: How many are certainly not on the topic.
        unknown: How many got no answer: they may or may not be on the topic.
        seconds: How long it took.
        behind: By how many seconds at most an event was sent after its intended time.
        offsets: Partition → (first acknowledged, last acknowledged + 1).
        reasons: Why events failed or are unknown → how many.
        log: The file with the outcome of each event.
    """

    topic: str
    sent: int
    ok: int
    failed: int
    unknown: int
    seconds: float
    behind: float
    offsets: Mapping[int, tuple[int, int]]
    reasons: Mapping[str, int]
    log: Path | None = None

    def require_all(self) -> None:
        """Raise an error if not all events are on the topic.

        Raises:
            BrokerError: if some may be there.
            InputError: if Kafka has refused some.
        """
        if not self.failed and not self.unknown:
            return
        found = "; ".join(f"{count:,} times: {why}" for why, count in self.reasons.items())
        text = f"{self.ok:,} of {self.sent:,} events are on topic {self.topic!r}"
        if self.unknown:
            raise BrokerError(text + ", the others may be", found=found, fix="read the topic, then publish those that are missing")  # fmt: skip
        raise InputError(text + "; Kafka refused the others", found=found, fix="correct them, and publish only them")  # fmt: skip

    def __repr__(self) -> str:
        """Return one line, and one more for each reason of a failure."""
        why = "".join(f"\n  {number:,} times: {reason}" for reason, number in self.reasons.items())
        return (
            f"DeliveryReport: {self.ok:,} of {self.sent:,} events by {self.topic!r} in "
            f"{self.seconds:.1f} s ({self.failed:,} failed, {self.unknown:,} unknown; at most "
            f"{self.behind * 1000:,.0f} ms behind the clock){why}"
        )


class Deliveries:
    """The outcome of each event, as Kafka's answers arrive on the producer's own thread."""

    def __init__(self, file: TextIO | None) -> None:
        self.file, self.lock = file, Lock()
        self.sent = 0
        self.pending: set[int] = set()
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.offsets: dict[int, tuple[int, int]] = {}

    def send(
        self,
        producer: Any,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes | None]],
        *,
        partition: int | None = None,
    ) -> None:
        """Send one event, to the partition of its key by default, and note its outcome once it is known."""
        from kafka.errors import KafkaError

        number, self.sent = self.sent, self.sent + 1
        self.pending.add(number)
        try:
            future = client.send(producer, topic, value, key, headers, partition=partition)
        except (KafkaError, ValueError) as error:  # it never left this process
            self.settle(
                number, "failed", reason=why_not(error, producer.config["max_request_size"])
            )
            return
        future.add_callback(
            lambda at: self.settle(number, "ok", partition=at.partition, offset=at.offset)
        )
        future.add_errback(lambda error: self.settle(number, verdict(error), reason=why_not(error)))

    def settle(self, number: int, outcome: str, **facts: Any) -> None:
        """Note the outcome of one event; only the first one counts."""
        with self.lock:
            if number not in self.pending:
                return
            self.pending.remove(number)
            self.outcomes[outcome] += 1
            if outcome == "ok":
                low, high = self.offsets.get(facts["partition"], (facts["offset"], 0))
                at = facts["offset"]
                self.offsets[facts["partition"]] = (min(low, at), max(high, at + 1))
            else:
                self.reasons[facts["reason"]] += 1
            if self.file is not None:
                self.file.write(
                    json.dumps({"sequence": number, "outcome": outcome, **facts}) + "\n"
                )

    def give_up(self) -> None:
        """Note every event without an answer as unknown."""
        for number in sorted(self.pending):
            self.settle(number, "unknown", reason="no acknowledgement in time")

    def report(
        self, topic: str, *, seconds: float, behind: float, log: Path | None
    ) -> DeliveryReport:
        """Return the report of all that is known by now."""
        return DeliveryReport(
            topic=topic,
            sent=self.sent,
            ok=self.outcomes["ok"],
            failed=self.outcomes["failed"],
            unknown=self.outcomes["unknown"],
            seconds=seconds,
            behind=behind,
            offsets=dict(sorted(self.offsets.items())),
            reasons=dict(self.reasons),
            log=log,
        )


def verdict(error: BaseException) -> str:
    """Return "failed" if Kafka refused the event, so it is not on the topic; "unknown" if nobody can tell."""
    from kafka.errors import BrokerResponseError

    refused = isinstance(error, BrokerResponseError) and not error.retriable
    return "failed" if refused else "unknown"


def why_not(error: BaseException, limit: int | None = None) -> str:
    """Return in one line why an event was not acknowledged; limit: the producer's own, if it refused the event."""
    from kafka.errors import InvalidRecordError, InvalidTimestampError, MessageSizeTooLargeError

    if isinstance(error, (InvalidRecordError, InvalidTimestampError)) and "imestamp" in str(error):
        return NOT_THIS_TIME
    if not isinstance(error, MessageSizeTooLargeError):
        return f"{type(error).__name__}: {error}"
    if limit is None:
        return "the event is over the broker's limit (the topic's max.message.bytes)"
    return f"the event is over the producer's limit of {limit:,} bytes (max_request_size)"
