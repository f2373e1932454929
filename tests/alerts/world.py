"""A virtual hour of a small house: two queries, their tables, a topic, two jobs; seeded noise, and faults at known seconds."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterator, Mapping
from random import Random

from rta.metrics.observation import Observation, ObservedJob, ObservedQuery, ObservedTable
from rta.monitor.verdicts import verdict
from rta.monitor.vitals import Vitals
from rta.store.ledger import Accounting

START = dt.datetime(
    2026, 3, 29, 0, 30, tzinfo=dt.UTC
)  # Berlin's clocks go forward half an hour later
FAULT, OVER = 600, 1500  # the seconds between which something is amiss
FAULTS = ("lag", "slower than input", "no progress", "no data", "late share", "dead letters", "state growing", "query failed",
          "do not add up", "job failed", "job late", "job never started", "no answer", "not running", "users")  # fmt: skip
"""What can go amiss, by the rule that finds it."""


def looks(*, fault: str | None, seed: int, seconds: int = 3600, every: int = 5) -> Iterator[Observation]:  # fmt: skip
    """Yield a look every few seconds: all is well, but for one fault between FAULT and OVER."""
    random = Random(seed)  # noqa: S311 - noise
    history: deque[Vitals] = deque(maxlen=300)
    for second in range(0, seconds, every):
        bad = fault if FAULT <= second < OVER else None
        yield _look(second, bad, random, history)


def _look(second: int, bad: str | None, random: Random, history: deque[Vitals]) -> Observation:
    now = START + dt.timedelta(seconds=second)
    since = second - FAULT
    arriving = 100 + random.gauss(0, 10)
    unread = max(random.gauss(150, 50), 0)  # the batch that comes
    age, waited, done = random.uniform(0.2, 2.0), random.uniform(0, 2), 400 + random.gauss(0, 40)
    if bad in ("lag", "slower than input"):
        unread, age, done = 100 + 60 * since, 5.0 + since, 40.0
    if bad == "no progress":
        unread, age, waited, done = 100.0 * since + 1, float(since), float(since), 400.0
    if bad == "no answer":
        return Observation(now, {"database": True, "kafka": False}, {"kafka": "no answer for 4 s"})
    rows = 30_000 + (100 * since if bad == "state growing" else random.randint(0, 900))
    vitals = Vitals(now, arriving, done, behind=int(unread), batch_ms=900.0, state_rows=rows)
    history.append(vitals)
    failed = bad == "query failed"
    state = "failed" if failed else "stopped" if bad == "not running" else "running"
    query = ObservedQuery(
        "totals", state, verdict(history, state, "the disk is full" if failed else None), vitals, tuple(history), {("clicks", 0): int(unread)},
        {("clicks", 0): age}, now - dt.timedelta(seconds=waited), START,
    )  # fmt: skip
    other = ObservedQuery("idle", "running", verdict([], "running"), Vitals(now, 0.0, 0.0), committed_at=START, since=START)  # fmt: skip
    taken = 100 * (second + 1)
    terms = Accounting(consumed=taken, used=taken - (bad == "do not add up"), batches=second + 1)
    late = 600 if bad == "late share" else int(random.uniform(0, 100))
    recent = Accounting(consumed=30_000, used=30_000 - late, late=late)
    quiet = 601 + since if bad == "no data" else waited
    tables = [ObservedTable("totals", terms, now - dt.timedelta(seconds=quiet), recent)]
    dead = {"clicks": 3 if bad == "dead letters" else 0}
    return Observation(now, {"database": True, "kafka": True}, {}, [query, other], tables, (), dead, list(_jobs(now, bad)))  # fmt: skip


def _jobs(now: dt.datetime, bad: str | None) -> Iterator[ObservedJob]:
    due = now - dt.timedelta(seconds=301)
    ended: Mapping[str, int] = {"succeeded": 3}
    failed = bad == "job failed"
    yield ObservedJob(
        "nightly", ended, "timed out" if failed else "succeeded", START, START, "cell 4" if failed else None,
        due if bad == "job late" else None,
    )  # fmt: skip
    yield ObservedJob("new", due=due if bad == "job never started" else None, ever_started=False)
