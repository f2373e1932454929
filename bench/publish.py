"""Onto a topic: the article's producer in a loop, rta in bulk and by the clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from bench.child import Setup, timed

EVENTS: Final = 200_000
RATES: Final = (200, 1_000, 5_000)  # events a second
SECONDS: Final = 10
FASTEST: Final = "as fast as it goes"


def article(setup: Setup, _: Path) -> None:
    """Send as the article does: json.dumps and producer.send() for each event, amounts as floats."""
    from kafka import KafkaProducer

    events = [
        event | {"amount": float(event["amount"]), "timestamp": event["timestamp"].isoformat() + "Z"}
        for event in _events(setup, EVENTS)
    ]  # fmt: skip

    def send(topic: str) -> None:
        producer = KafkaProducer(
            bootstrap_servers=[setup.bootstrap],
            value_serializer=lambda v: json.dumps(v).encode("utf-8"),
        )
        for event in events:
            producer.send(topic, value=event)
        producer.flush()
        producer.close()

    _published(setup, FASTEST, EVENTS, send)


def ordered(setup: Setup, _: Path) -> None:
    """Publish a frame in the order of arrival: one task."""
    _bulk(setup, order_by="reported_at")


def bulk(setup: Setup, _: Path) -> None:
    """Publish a frame in any order."""
    _bulk(setup, parallel=True)


def _bulk(setup: Setup, **how: Any) -> None:
    import rta

    spark = rta.spark()
    for name in ("cold", "warm"):
        frame = rta.user_events(spark, rows=min(EVENTS, setup.events))
        _published(setup, name, EVENTS, partial(rta.publish, frame, key="user_id", **how))


def paced(setup: Setup, _: Path) -> None:
    """Publish event by event: as fast as it goes, and by an open-loop clock."""
    import rta

    fastest = [(FASTEST, None, EVENTS)]
    clocked = [(f"{rate:,} events/s wanted", rate, rate * SECONDS) for rate in RATES]
    for name, rate, count in fastest + clocked:
        events = list(_events(setup, count))
        send = partial(rta.kafka.publish_paced, events, key="user_id", rate=rate)
        _published(setup, name, count, send)


def _first(setup: Setup, count: int) -> str:
    """Name the events that a shorter run of the generator would make."""
    return f"'{setup.archive}' WHERE split_part(event_id, '-', 2)::BIGINT < {count}"


def _events(setup: Setup, count: int) -> Iterator[dict[str, Any]]:
    """Yield the first events as plain mappings, in the order of their arrival."""
    import duckdb

    columns = ("event_id", "user_id", "action", "amount", "timestamp")
    rows = duckdb.execute(
        f"SELECT {', '.join(columns)} FROM {_first(setup, count)} ORDER BY reported_at, event_id"
    )
    for row in rows.fetchall():
        yield dict(zip(columns, row, strict=True))


def _published(setup: Setup, name: str, count: int, send: Callable[[str], Any]) -> None:
    """Time one send to a fresh topic, and hold what is there to the archive."""
    import rta

    topic = f"publish-{uuid4().hex[:8]}"
    rta.kafka.create_topic(topic, partitions=4)
    phase, done = timed(name, partial(send, topic))
    figures = {"events_per_second": min(count, setup.events) / (phase.ended - phase.began)}
    if hasattr(done, "behind"):
        figures["behind_ms"] = done.behind * 1000
    phase.tell(fault=_wrong(setup, topic, count), figures=figures)
    rta.kafka.delete_topic(topic)


def _wrong(setup: Setup, topic: str, count: int) -> str:
    """Compare the number and the sum of a topic's events with the archive's; "" where they agree."""
    import duckdb

    from bench.topic import records

    amounts = [json.loads(r.value, parse_float=Decimal)["amount"] for r in records(topic)]
    found = len(amounts), sum(amounts)
    sums = duckdb.execute(f"SELECT COUNT(*), SUM(amount) FROM {_first(setup, count)}")
    wanted = sums.fetchall()[0]
    return "" if found == wanted else f"WRONG: {found}, not {wanted}"
