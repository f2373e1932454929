"""What the serving database tells: tables and their ledger, queries, jobs and their schedules."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rta.engines.spark.running import QuerySummary
from rta.engines.spark.running import queries as known_queries
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
_RUNS: Final = (
    "SELECT job, state, COUNT(*) AS runs, MAX(ended_at) AS ended FROM rta_jobs GROUP BY job, state"
)
_LAST: Final = """SELECT job, message FROM rta_jobs AS one WHERE ended_at =
(SELECT MAX(ended_at) FROM rta_jobs WHERE job = one.job)"""
_DUE: Final = """SELECT s.name, MIN(CASE WHEN t.state = 'queued' AND t.started_at IS NULL THEN t.scheduled_for END) AS due,
MAX(t.started_at) AS started FROM rta_schedules AS s LEFT JOIN rta_slots AS t ON t.schedule = s.name
WHERE NOT s.paused GROUP BY s.name"""


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
    return Stored(tables, queries, reached, recent, _jobs())


def _table(summary: TableSummary, newest: Mapping[str, Any]) -> ObservedTable:
    terms = {term: int(newest.get(term) or 0) for term in _TERMS}
    return ObservedTable(summary.name, summary.accounting, newest.get("at"), Accounting(**terms))


def _jobs() -> list[ObservedJob]:
    """List the jobs that have run, and those that a schedule names."""
    runs: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in own_rows(_RUNS):
        runs[row["job"]][row["state"]] = row
    messages = {row["job"]: row["message"] for row in own_rows(_LAST)}
    schedules = {row["name"]: row for row in own_rows(_DUE)}
    found = []
    for name in sorted({*runs, *schedules}):
        states, schedule = runs.get(name, {}), schedules.get(name, {})
        ended = [row for row in states.values() if row["ended"]]
        last = max(ended, key=lambda row: row["ended"], default=None)
        succeeded = states.get(State.SUCCEEDED)
        found.append(
            ObservedJob(
                name,
                {state: row["runs"] for state, row in states.items()},
                last and last["state"], last and last["ended"], succeeded and succeeded["ended"], messages.get(name),
                schedule.get("due"), bool(states or schedule.get("started")),
            )
        )  # fmt: skip
    return found
