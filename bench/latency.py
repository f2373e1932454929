"""From intended send to visible result, for each event: an open loop, so no omission is coordinated.

A sender in a process of its own sends by the clock and never waits; each event carries when it was
meant to be sent. The n-th event of a window and user is visible with the first result that counts n.

An engine is a context manager `(setup, topic, seen, scratch)`: inside it a query runs on the topic,
and hands each result that a person could see to `seen.see()`. To add one: write it, a function that
calls `_each_rate` with it, and a row in bench/rows.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from bench.child import Setup, timed
from bench.drain import article_session, printed
from bench.engines import fresh_flink
from bench.readers import Key, Seen, read_results, read_table, reading
from bench.sender import USERS

RATES: Final = (200, 1_000, 5_000)  # events a second
WARM, MEASURED = 15, 30  # seconds; those of the first are sent and not counted
PATIENCE: Final = 180  # seconds for the last result
WINDOW: Final = 300 * 10**6  # microseconds


Engine = Callable[[Setup, str, Seen, Path], AbstractContextManager[Any]]


def article(setup: Setup, scratch: Path) -> None:
    """Measure the article's query as printed: its default trigger, its default settings."""
    _each_rate(setup, scratch, _article)


def micro_batch(setup: Setup, scratch: Path) -> None:
    """Measure rta.follow(), until another connection sees the rows in the table."""
    _each_rate(setup, scratch, partial(_followed, "spark"))


def flink(setup: Setup, scratch: Path) -> None:
    """Measure the same on Flink: a result is visible once a checkpoint has committed it."""
    with fresh_flink():
        _each_rate(setup, scratch, partial(_followed, "flink"))


def kafka_streams(setup: Setup, scratch: Path) -> None:
    """Measure the same on Kafka Streams: a result is visible once a transaction has committed it."""
    _each_rate(setup, scratch, partial(_followed, "kafka-streams"))


def real_time(setup: Setup, scratch: Path) -> None:
    """Measure rta.engines.relay() in real-time mode, until a consumer has the result from the topic."""
    _each_rate(setup, scratch, _real_time)


def materialized(setup: Setup, scratch: Path) -> None:
    """Measure rta.kappa() in real-time mode, until another connection sees the rows in the table."""
    _each_rate(setup, scratch, _materialized)


@contextmanager
def _article(setup: Setup, topic: str, seen: Seen, _: Path) -> Iterator[None]:
    """Run the printed query; its batches are collected, as the console sink does before it prints."""

    def keep(frame: Any, _: int) -> None:
        rows = frame.selectExpr("unix_micros(window.start)", "user_id", "event_count").collect()
        seen.see(((row[0], row[1]), row[2]) for row in rows)

    code = printed(setup, ".foreachBatch(keep)", topic=topic).replace(
        "query.awaitTermination()", ""
    )
    space = article_session(setup) | {"keep": keep}
    exec(code, space)  # noqa: S102 - the article's own text
    space["query"].processAllAvailable()  # as printed, it starts at the latest offsets: fixed now
    yield
    space["query"].stop()


@contextmanager
def _followed(engine: str, _: Setup, topic: str, seen: Seen, _scratch: Path) -> Iterator[None]:
    import rta

    table = topic.replace("-", "_")
    query = rta.follow(
        topic, rta.transforms.totals, table=table, key=["window", "user_id"], event=rta.USER_EVENTS, engine=engine
    )  # fmt: skip
    query.processAllAvailable()
    with reading(partial(read_table, table, seen)):
        yield
    query.stop()
    rta.reset(table)


@contextmanager
def _real_time(_: Setup, topic: str, seen: Seen, _scratch: Path) -> Iterator[None]:
    import rta

    into = rta.kafka.create_topic(f"{topic}-results", partitions=4).name
    query = rta.engines.relay(
        topic, rta.transforms.totals, into=into, key="user_id", event=rta.USER_EVENTS
    )
    with reading(partial(read_results, into, seen)):
        yield
    query.stop()
    rta.kafka.delete_topic(into)


@contextmanager
def _materialized(_: Setup, topic: str, seen: Seen, _scratch: Path) -> Iterator[None]:
    import rta
    from rta.architectures.base import drop

    how: dict[str, Any] = {"key": ["window", "user_id"], "event": rta.USER_EVENTS, "real_time": "5 minutes"}  # fmt: skip
    view = topic.replace("-", "_")
    with (
        rta.kappa(topic, rta.transforms.totals, table=view, **how),
        reading(partial(read_table, view, seen)),
    ):
        yield
    drop(view)


def _each_rate(setup: Setup, scratch: Path, engine: Engine) -> None:
    """Measure an engine at each rate, on a fresh topic with a fresh query."""
    import rta

    shorter = min(1.0, setup.events / 300_000)  # a small topic asks for a short look
    for rate in RATES:
        topic, seen = f"latency-{uuid4().hex[:8]}", Seen()
        rta.kafka.create_topic(topic, partitions=4)
        seconds = (WARM + MEASURED) * shorter
        with engine(setup, topic, seen, scratch):
            phase, behind = timed(f"{rate:,} events/s", partial(_send, topic, rate, seconds))
            wait_for(seen, round(rate * seconds))
        sent = sent_to(topic)
        rta.kafka.delete_topic(topic)
        after = sent[0][1] + WARM * shorter
        found = latencies(sent, seen.results)
        counted = [ms for (_, when), ms in zip(sent, found, strict=True) if when >= after]
        wrong = Counter(key for key, _ in sent) != seen.counts
        phase.tell(
            fault=f"WRONG: counted {seen.counts.total()} of {len(sent)} events" if wrong else "",
            figures={} if wrong else percentiles(counted) | {"behind_ms": behind * 1000},
        )


def _send(topic: str, rate: int, seconds: float, users: int = USERS) -> float:
    """Send in another process; return by how much it was behind the clock, in seconds."""
    command = [sys.executable, "-m", "bench.sender", topic, str(rate), str(seconds), str(users)]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    return float(json.loads(done.stdout)["behind"])


def wait_for(seen: Seen, events: int) -> None:
    """Wait until every event is in a visible result, or patience ends: then the row is wrong."""
    deadline = time.monotonic() + PATIENCE
    while sum(list(seen.counts.values())) < events and time.monotonic() < deadline:
        time.sleep(0.05)


def sent_to(topic: str) -> list[tuple[Key, float]]:
    """Read back what was sent: key, and when it was meant to be; in the order of each key."""
    from datetime import datetime

    from bench.topic import records
    from rta.kafka.paced import INTENDED

    found = []
    for record in records(topic):
        event = json.loads(record.value)
        moment = round(datetime.fromisoformat(event["timestamp"]).timestamp() * 10**6)
        intended = int(dict(record.headers)[INTENDED]) / 1e6
        found.append(((moment - moment % WINDOW, event["user_id"]), intended))
    return sorted(found, key=lambda each: each[1])


def latencies(
    sent: Sequence[tuple[Key, float]], results: Iterable[tuple[float, Key, int]]
) -> list[float | None]:
    """Return for each event the milliseconds to the first result that counts it; None if there is none.

    >>> latencies([((0, 7), 1.0), ((0, 7), 1.5)], [(2.0, (0, 7), 1), (3.0, (0, 7), 2)])
    [1000.0, 1500.0]
    """
    visible: dict[tuple[Key, int], float] = {}
    counts: Counter[Key] = Counter()
    for moment, key, count in results:
        visible |= {(key, n): moment for n in range(counts[key] + 1, count + 1)}
        counts[key] = max(counts[key], count)
    place: Counter[Key] = Counter()
    found: list[float | None] = []
    for key, intended in sent:
        place[key] += 1
        moment = visible.get((key, place[key]), float("nan"))
        found.append(None if moment != moment else (moment - intended) * 1000)  # noqa: PLR0124
    return found


def percentiles(values: Sequence[float | None]) -> dict[str, float]:
    """Return median, 99th percentile and maximum: the least value that so many do not exceed.

    >>> percentiles([float(ms) for ms in range(1, 101)])
    {'p50_ms': 50.0, 'p99_ms': 99.0, 'max_ms': 100.0}
    """
    ordered = sorted(value for value in values if value is not None)
    last = len(ordered) - 1
    shares = {"p50_ms": 0.50, "p99_ms": 0.99, "max_ms": 1.0}
    return {
        name: ordered[max(0, min(last, -int(-len(ordered) * s // 1) - 1))]
        for name, s in shares.items()
    }
