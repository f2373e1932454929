"""Publish by a clock that does not wait for Kafka, and report what Kafka acknowledged."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.errors import BrokerError, InputError
from rta.kafka import client, internals
from rta.kafka.auth_errors import raising_refused
from rta.kafka.delivery_report import Deliveries, DeliveryReport
from rta.kafka.messages import Messages
from rta.kafka.pace import Pace
from rta.kafka.topics import ensure_topic
from rta.progress import bar, waiting

if TYPE_CHECKING:
    import pandas as pd
    from kafka import KafkaProducer
    from pyspark.sql import DataFrame

    from rta.events.event_types import EventType

INTENDED: Final = "rta-intended"
"""The header with the intended send time: microseconds since the epoch, as text."""


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
) -> DeliveryReport:
    """Publish events one by one through kafka-python, each at its own intended time (open loop).

    An event that is behind its time is sent at once. Its header `rta-intended` always has the intended time, so a latency that is
    measured from there includes the waiting. Without rate and time, events are sent as fast as possible.

    Args:
        events: As for rta.publish().
        topic: The topic; it is created if it is missing.
        event: As for rta.publish().
        key: As for rta.publish().
        rate: Events per second.
        time: The column with the time to replay by. A Spark frame is sorted by it; other sources are sent in their order.
        speed_up: How many times faster than the events happened.
        partitions: The number of partitions of a new topic.
        headers: Headers of every event.
        log: A file for JSON lines, one for each event: sequence, outcome, then partition and offset, or reason. If the producer was
            killed, the sequence numbers that are missing in it are unknown.
        timeout: Seconds after which an event without an answer is unknown.
        options: For KafkaProducer.

    Raises:
        InputError: If both rate and time are given, a column is missing, or JSON cannot hold a value.

    >>> publish_paced([{"user_id": 7, "amount": 3}], "doc-paced", key="user_id").ok
    1
    """
    if rate is not None and time is not None:
        raise InputError(
            "events are sent by rate or by time, not by both",
            found=(rate, time),
            fix="give one of them",
        )
    if (rate is not None and rate <= 0) or speed_up <= 0:
        raise InputError(
            "rate and speed_up must be above 0", found=(rate, speed_up), fix="correct it"
        )
    messages = Messages(events, key=key, time=time, event=event)
    pace = Pace(rate, speed_up)
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
    pace: Pace | None = None,
    *,
    partitions: int = 4,
    headers: Mapping[str, str | bytes | None] | None = None,
    log: str | Path | None = None,
    timeout: float = 120.0,
    options: Mapping[str, Any] | None = None,
) -> DeliveryReport:
    """Send messages in their order, with a progress bar.

    pace: the clock to send by; each event then bears its intended time in a header.
    """
    with waiting(f"publishing to {topic}"):
        ensure_topic(topic, partitions=partitions, right="WRITE")
    constant = [
        (name, v.encode() if isinstance(v, str) else v) for name, v in (headers or {}).items()
    ]
    path = None if log is None else Path(log)
    with raising_refused(), ExitStack() as stack:
        deliveries = Deliveries(stack.enter_context(path.open("w", buffering=1)) if path else None)
        producer = stack.enter_context(
            bounded_producer(timeout, deliveries.give_up, **(options or {}))
        )
        advance = stack.enter_context(
            bar(f"publishing to {topic}", total=messages.total, unit="event")
        )
        began = clock.monotonic()
        for key, value, own, moment in messages:
            intended = [] if pace is None else [(INTENDED, str(pace.wait(moment)).encode())]
            deliveries.send(producer, topic, key, value, [*own, *constant, *intended])
            advance(1)
    seconds = clock.monotonic() - (pace.began if pace else began)
    return deliveries.report(topic, seconds=seconds, behind=pace.behind if pace else 0.0, log=path)


@contextmanager
def bounded_producer(
    timeout: float, give_up: Callable[[], None] = lambda: None, **options: Any
) -> Iterator[KafkaProducer]:
    """Lend a producer that waits at most `timeout` seconds for an answer, also when it closes.

    It goes on after an event that Kafka refuses. Its own close(timeout=…) would raise, and leave its thread running; and it
    would wait for ever for a broker that stays away: once an event is given up, it needs a new producer id before it gives up
    another.

    Args:
        timeout: Seconds.
        give_up: Is called for the events that have no answer at the end.
        options: For KafkaProducer.
    """
    from kafka.errors import KafkaTimeoutError

    wait = round(timeout * 1000)
    limits = {
        "acks": "all",
        "delivery_timeout_ms": wait,
        "request_timeout_ms": min(10_000, wait),
        "max_block_ms": min(60_000, wait),
        "reconnect_backoff_max_ms": 1_000,  # by default it looks only every 30 s whether a broker is back
    }
    producer = client.producer(**limits | internals.ONE_AT_A_TIME | options)
    internals.split_rejected_batches(producer)
    try:
        yield producer
    except BrokerError:
        internals.abandon(producer)  # it would wait for Kafka once more
        raise
    finally:
        try:
            flush(producer, timeout + 5)  # each event gives up by itself after `timeout`
        except KafkaTimeoutError:
            give_up()
        # All events are done with. close() would wait for every other request as well, and for one that is never answered until
        # the connection counts as idle: nine minutes.
        internals.abandon(producer)
        producer.close()
        give_up()


def flush(producer: KafkaProducer, timeout: float) -> None:
    """Wait until all events that were sent have an answer.

    Raises:
        KafkaTimeoutError: if some have none after `timeout` seconds.
    """
    from kafka.errors import KafkaTimeoutError, UnknownError

    deadline = clock.monotonic() + timeout
    while (left := deadline - clock.monotonic()) > 0:
        try:
            producer.flush(timeout=left)
        except UnknownError:  # a batch was split meanwhile: its halves are still to be answered
            clock.sleep(0.01)
        else:
            return
    raise KafkaTimeoutError("events are without an answer")
