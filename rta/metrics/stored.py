"""What the serving database tells: tables and their ledger, queries, jobs and their schedules."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rta.engines.spark.running import QuerySummary
from rta.engines.spark.running import queries as known_queries
from rta.jobs import Schedule, schedules
from rta.jobs.states import State
from rta.metrics.observation import ObservedJob, ObservedTable
from rta.store import ledger
from rta.store.columns import timestamp_text
from rta.store.ledger import Accounting, Batch
from rta.store.overview import TableSummary, overview
from rta.store.rows import own_rows

Offsets = Mapping[str, Mapping[int, int]]
"""Topic → partition → the next offset."""
_RECENT: Final = 60  # micro-batches of a query that are looked at
RECENT: Final = 300.0
"""Seconds that the recent accounting of a table goes back."""
_TERMS: Final = ("consumed", "used", "duplicate", "late", "quarantined")
_NEWEST: Final = f"""SELECT table_name, MAX(CASE WHEN consumed > 0 THEN committed_at END) AS at,
{", ".join(f"SUM(CASE WHEN committed_at >= ? THEN {term} ELSE 0 END) AS {term}" for term in _TERMS)}
FROM rta_batches GROUP BY table_name"""  # noqa: S608 - names of ours
_RUNS: Final = """SELECT job, state, COUNT(*) AS runs, MAX(ended_at) AS ended FROM rta_jobs GROUP BY job, state
UNION ALL SELECT schedule, state, COUNT(*), MAX(ended_at) FROM rta_slots WHERE state IN ('missed', 'skipped') GROUP BY schedule, state"""
_LAST: Final = """SELECT job, message FROM rta_jobs AS one WHERE ended_at =
(SELECT MAX(ended_at) FROM rta_jobs WHERE job = one.job)"""
_WAITING: Final = """SELECT schedule, MIN(CASE WHEN state = 'queued' AND attempts = 0 THEN due_at END) AS due, MAX(attempts) AS attempts
FROM rta_slots GROUP BY schedule"""


@dataclass(frozen=True)
class Stored:
    """What the database tells; reached: table → what it contains; recent: table → the newest micro-batches of its query."""

    tables: Sequence[ObservedTable] = ()
    queries: Sequence[QuerySummary] = ()
    reached: Mapping[str, Offsets] = field(default_factory=dict)
    recent: Mapping[str, Sequence[Batch]] = field(default_factory=dict)
    jobs: Sequence[ObservedJob] = ()


def stored() -> Stored:
    """Look at the database.

    >>> "no_such_table" in stored().reached
    False
    """
    since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=RECENT)
    newest = {
        row["table_name"]: row for row in own_rows(_NEWEST, [timestamp_text(since)] * len(_TERMS))
    }
    tables = [
        _table(each, newest.get(each.name, {})) for each in overview() if each.kind == "table"
    ]
    queries = list(known_queries())
    reached = {each.table: ledger.offsets(each.table) for each in queries if each.query_id}
    recent = {
        each.table: ledger.batches(query_id=each.query_id, after=(each.last_batch or 0) - _RECENT)
        for each in queries
        if each.active and each.query_id
    }
    return Stored(tables, queries, reached, recent, _jobs(dt.datetime.now(dt.UTC)))


def _table(summary: TableSummary, newest: Mapping[str, Any]) -> ObservedTable:
    terms = {term: int(newest.get(term) or 0) for term in _TERMS}
    return ObservedTable(summary.name, summary.accounting, newest.get("at"), Accounting(**terms))


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
