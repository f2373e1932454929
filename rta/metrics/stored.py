"""What the serving database tells: tables and their ledger, queries, jobs and their schedules."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rta.engines.engine_tables import engine_tables
from rta.engines.running import Held, QuerySummary, spark_held
from rta.engines.spark.checkpoint_lock import progress_left
from rta.engines.spark.left_progress import LeftProgress
from rta.jobs import Schedule, schedules
from rta.jobs.states import State
from rta.metrics.ledger_reader import LedgerReader, QueryRead
from rta.metrics.observation import ObservedJob, ObservedTable
from rta.store.ledger import Accounting, Batch
from rta.store.rows import own_rows

Offsets = Mapping[str, Mapping[int, int]]
"""Topic → partition → the next offset."""
_TABLES: Final = "SELECT name FROM rta_tables ORDER BY name"
_RUNS: Final = """SELECT job, state, COUNT(*) AS runs, MAX(ended_at) AS ended FROM rta_jobs GROUP BY job, state
UNION ALL SELECT schedule, state, COUNT(*), MAX(ended_at) FROM rta_slots WHERE state IN ('missed', 'skipped') GROUP BY schedule, state"""
_LAST: Final = """SELECT job, message FROM rta_jobs AS one WHERE ended_at =
(SELECT MAX(ended_at) FROM rta_jobs WHERE job = one.job)"""
_WAITING: Final = """SELECT schedule, MIN(CASE WHEN state = 'queued' AND attempts = 0 THEN due_at END) AS due, MAX(attempts) AS attempts
FROM rta_slots GROUP BY schedule"""


@dataclass(frozen=True)
class Stored:
    """What the database tells, and what other processes have left.

    Args:
        tables: The tables.
        queries: The queries.
        reached: Table → what it contains.
        recent: Table → the newest micro-batches of its query, of one that runs or that another engine fills.
        jobs: The jobs.
        left: Table → the progress that the process of its query has left.
    """

    tables: Sequence[ObservedTable] = ()
    queries: Sequence[QuerySummary] = ()
    reached: Mapping[str, Offsets] = field(default_factory=dict)
    recent: Mapping[str, Sequence[Batch]] = field(default_factory=dict)
    jobs: Sequence[ObservedJob] = ()
    left: Mapping[str, LeftProgress] = field(default_factory=dict)


class StoredLook:
    """Looks at the database again and again, and reads no entry of the ledger twice."""

    def __init__(self) -> None:
        self._ledger = LedgerReader()

    def look(self) -> Stored:
        """Look at the database now.

        >>> "no_such_table" in StoredLook().look().reached
        False
        """
        now = dt.datetime.now(dt.UTC)
        read: dict[str, list[QueryRead]] = {row["name"]: [] for row in own_rows(_TABLES)}
        for each in self._ledger.queries():
            read.setdefault(each.table, []).append(each)
        held = spark_held()
        running = {*held, *engine_tables()}
        return Stored(
            [_table(name, of_it, now) for name, of_it in sorted(read.items())],
            [_query(name, read.get(name, []), held.get(name, Held())) for name in sorted({*read, *held}) if name in held or read[name]],
            {name: _reached(of_it) for name, of_it in read.items() if of_it},
            {name: list(newest.tail) for name, of_it in read.items() if name in running and (newest := _newest(of_it))},
            _jobs(now), progress_left(),
        )  # fmt: skip


def _table(name: str, read: Sequence[QueryRead], now: dt.datetime) -> ObservedTable:
    filled = max((each.filled_at for each in read if each.filled_at), default=None)
    return ObservedTable(name, Accounting.added(each.accounting for each in read), filled, Accounting.added(each.lately(now) for each in read))  # fmt: skip


def _newest(read: Sequence[QueryRead]) -> QueryRead | None:
    """Return the query of a table that has committed last; a batch view is none: its id has a space, those of Spark have none."""
    queries = [each for each in read if " " not in each.query_id]
    return max(queries, key=lambda each: each.committed_at, default=None)


def _query(name: str, read: Sequence[QueryRead], held: Held) -> QuerySummary:
    newest = _newest(read)
    return QuerySummary(
        name, ", ".join(newest.reached) if newest else None, held.active, held.process, held.since,
        newest.last if newest else None, newest.committed_at if newest else None, newest.tail[-1].watermark if newest else None,
        newest.query_id if newest else None, error=held.error,
    )  # fmt: skip


def _reached(read: Sequence[QueryRead]) -> Offsets:
    """Return what a table contains: of each partition the furthest that one of its queries has read."""
    contained: dict[str, dict[int, int]] = {}
    for each in read:
        for topic, ends in each.reached.items():
            here = contained.setdefault(topic, {})
            for partition, end in ends.items():
                here[partition] = max(end, here.get(partition, end))
    return contained


def _jobs(now: dt.datetime) -> list[ObservedJob]:
    """List the jobs that have run, and those that a schedule names."""
    runs: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in own_rows(_RUNS):
        runs[row["job"]][row["state"]] = row
    messages = {row["job"]: row["message"] for row in own_rows(_LAST)}
    waiting = {row["schedule"]: row for row in own_rows(_WAITING)}
    due = {each.name: _due(each, waiting.get(each.name, {}), now) for each in schedules()}
    found = []
    for name in sorted({*runs, *due}):
        states = runs.get(name, {})
        ended = [row for row in states.values() if row["ended"]]
        last = max(ended, key=lambda row: row["ended"], default=None)
        succeeded = states.get(State.SUCCEEDED)
        began = bool(set(states) - {State.MISSED, State.SKIPPED}) or bool(waiting.get(name, {}).get("attempts"))  # fmt: skip
        found.append(
            ObservedJob(
                name,
                {state: row["runs"] for state, row in states.items()},
                last and last["state"], last and last["ended"], succeeded and succeeded["ended"], messages.get(name),
                due.get(name), began,
            )
        )  # fmt: skip
    return found


def _due(schedule: Schedule, waiting: Mapping[str, Any], now: dt.datetime) -> dt.datetime | None:
    """Return the oldest moment of a schedule that is over and has not begun; also if no scheduler runs that would plan it."""
    planned = waiting.get("due")
    ahead = [moment for moment in schedule.next(1) if moment <= now]
    return min([moment for moment in (planned, *ahead) if moment and moment <= now], default=None)
