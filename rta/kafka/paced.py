"""Publish by a clock that does not wait for Kafka, and keep what Kafka acknowledged."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.errors import InputError, TopicError
from rta.kafka import client, internals
from rta.kafka.auth_errors import refusals_said
from rta.kafka.delivery_report import Acknowledged, Answers
from rta.kafka.messages import Messages
from rta.kafka.topics import create_topic, offsets
from rta.progress import bar

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from rta.events.event_types import EventType

INTENDED: Final = "rta-intended"
"""The header that holds the intended send time: microseconds since the epoch, as text."""


def publish_paced(
    events: DataFrame | pd.DataFrame | Iterable[Mapping[str, Any]] | str | Path,
    topic: str,
    *,
    event: EventType | None = None,
    key: str | None = None,
    rate: float | None = None,
    time: str | None = None,
    speed_up: float = 3600.0,
    partitions: int = 4,
    headers: Mapping[str, str | bytes | None] | None = None,
    log: str | Path | None = None,
    timeout: float = 120.0,
    options: Mapping[str, Any] | None = None,
) -> Acknowledged:
    """Publish events one by one through kafka-python, each at its own intended time (open loop).

    A send that is behind its time is made at once, and keeps its intended time in the header `rta-intended`, so that waiting is never left
    out of a latency. Without rate and time, events are sent as fast as it goes.

    Args:
        events: As for rta.publish().
        topic: The topic; it is made if it does not exist.
        event: As for rta.publish().
        key: As for rta.publish().
        rate: Events a second.
        time: The column to replay by. A Spark frame is sorted by it; all else is taken as it comes.
        speed_up: So many times as fast as it happened.
        partitions: Of a topic that is yet to be made.
        headers: The same for all events.
        log: A file of JSON lines, one an event: sequence, outcome, then partition and offset, or reason. A sequence number that a killed
            producer left out of it is unknown.
        timeout: Seconds without an answer after which an event is unknown.
        options: For KafkaProducer.

    Raises:
        InputError: Rate and time are both given, a column is missing, or JSON cannot hold a value.

    >>> publish_paced([{"user_id": 7, "amount": 3}], "doc-paced", key="user_id").ok
    1
    """
    if rate is not None and time is not None:
        raise InputError(
            "an event is sent by rate or by time, not by both",
            found=(rate, time),
            fix="give one of them",
        )
    if (rate is not None and rate <= 0) or speed_up <= 0:
        raise InputError("rate and speed_up are above 0", found=(rate, speed_up), fix="correct it")
    messages = Messages(events, key=key, time=time, event=event)
    pace = _Pace(rate, speed_up)
    return sent(
        messages,
        topic,
        pace,
        partitions=partitions,
        headers=headers,
        log=log,
        timeout=timeout,
        options=options,
    )


def sent(
    messages: Messages,
    topic: str,
    pace: _Pace | None = None,
    *,
    partitions: int = 4,
    headers: Mapping[str, str | bytes | None] | None = None,
    log: str | Path | None = None,
    timeout: float = 120.0,
    options: Mapping[str, Any] | None = None,
) -> Acknowledged:
    """Send messages in their order; pace: by a clock, with the intended time in a header. How far it is, a bar shows."""
    ready_topic(topic, partitions)
    constant = [
        (name, v.encode() if isinstance(v, str) else v) for name, v in (headers or {}).items()
    ]
    settings = {**bounded(timeout), **internals.ONE_AT_A_TIME, **(options or {})}
    with refusals_said(), ExitStack() as stack:
        file = stack.enter_context(Path(log).open("w", buffering=1)) if log is not None else None
        answers = Answers(file)
        producer = client.producer(**settings)
        internals.split_rejected_batches(producer)
        stack.callback(end, producer, timeout, answers.give_up)
        advance = stack.enter_context(
            bar(f"publishing to {topic}", total=messages.total, unit="event")
        )
        began = clock.monotonic()
        for name, value, own, moment in messages:
            intended = [] if pace is None else [(INTENDED, str(pace.wait(moment)).encode())]
            answers.send(producer, topic, name, value, [*own, *constant, *intended])
            advance(1)
    seconds = clock.monotonic() - (pace.began if pace else began)
    file_name = Path(log) if log is not None else None
    return answers.summary(
        topic, seconds=seconds, behind=pace.behind if pace else 0.0, log=file_name
    )


def ready_topic(topic: str, partitions: int) -> None:
    """Make the topic if it is missing; leave one that is there as it is."""
    try:
        offsets(topic, right="WRITE")
    except TopicError:
        create_topic(topic, partitions=partitions)


def bounded(timeout: float) -> dict[str, Any]:
    """Bound the wait for an answer where the producer can still close cleanly: in its own settings.

    Its close(timeout=…) does not: it raises, and leaves the thread that sends running.
    """
    wait = round(timeout * 1000)
    limits = {"request_timeout_ms": 10_000, "max_block_ms": 60_000}
    # kafka-python alone may look only every 30 s whether a broker that was away is back.
    return {
        "acks": "all",
        "delivery_timeout_ms": wait,
        "reconnect_backoff_max_ms": 1_000,
        **{name: min(most, wait) for name, most in limits.items()},
    }


def end(producer: Any, timeout: float, give_up: Callable[[], None] = lambda: None) -> None:
    """Wait for the answers that are out, then close; what has none by then is unknown: give_up() says so.

    kafka-python alone waits for ever for a broker that stays away: once an event is given up, its idempotent
    producer wants a new id before it gives up another.
    """
    from kafka.errors import KafkaTimeoutError

    try:
        flush(producer, timeout + 5)  # each event gives up by itself after `timeout`
    except KafkaTimeoutError:
        give_up()
        internals.abandon(producer)
    producer.close()
    give_up()


def flush(producer: Any, timeout: float) -> None:
    """Wait for the answers that are out; kafka-python alone fails where a batch was split meanwhile."""
    from kafka.errors import KafkaTimeoutError, UnknownError

    deadline = clock.monotonic() + timeout
    while (left := deadline - clock.monotonic()) > 0:
        try:
            producer.flush(timeout=left)
        except UnknownError:  # the answer is that of its halves, which are out now
            clock.sleep(0.01)
        else:
            return
    raise KafkaTimeoutError("events are out without an answer")


class _Pace:
    """The clock of intended send times; it never waits for an answer."""

    def __init__(self, rate: float | None, speed_up: float) -> None:
        self.rate, self.speed_up = rate, speed_up
        self.began, self.wall = clock.monotonic(), clock.time()
        self.number, self.behind = 0, 0.0
        self.first: int | None = None

    def wait(self, moment: int | None) -> int:
        """Wait for the next intended time; return it in microseconds since the epoch."""
        delta = clock.monotonic() - self.began
        if (
            self.first is None
        ):  # the clock starts with the first event, not with the query behind it
            self.began, self.wall, delta = clock.monotonic(), clock.time(), 0.0
            self.first = moment or 0
        if moment is not None:
            delta = (moment - self.first) / 1e6 / self.speed_up
        elif self.rate is not None:
            delta = self.number / self.rate
        self.number += 1
        early = self.began + delta - clock.monotonic()
        if early > 0:
            clock.sleep(early)
        else:
            self.behind = max(self.behind, -early)
        return round((self.wall + delta) * 1e6)
