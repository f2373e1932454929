"""What Spark's tasks have spent, by what they worked for, as far as this process has seen it.

Spark itself remembers the last stages only (50 here, so that the driver stays small): so it is asked after each micro-batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import jobs_of, stage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass
class Spent:
    """What tasks have spent; file_bytes: read from files, not from a topic, of which Spark does not tell."""

    cpu_s: float = 0.0
    file_bytes: int = 0


_spent: Final[defaultdict[str, Spent]] = defaultdict(Spent)
_counted: Final[dict[str, int]] = {}  # job group → its newest job that is in `_spent`


def spent(owner: str) -> Spent:
    """Return what Spark's tasks have spent on a table, or on the archive of a topic, in this process."""
    return _spent[owner]


def note(
    session: SparkSession, owner: str, group: str | None = None, *, running: bool = True
) -> bool:
    """Add what the jobs of a group have spent since the last note; by default those of this thread's query.

    running: also one that runs still, as a micro-batch does that asks; it is not looked at again.
    Returns whether one of their tasks had to run again: Spark may then have counted its rows twice.
    """
    retried = False
    group = group or str(session.sparkContext.getLocalProperty("spark.jobGroup.id"))
    tracker = session.sparkContext.statusTracker()
    jobs = [job for job in jobs_of(session, group) if job > _counted.get(group, -1)]
    for job in sorted(jobs):
        known = tracker.getJobInfo(job)
        if not running and known and known.status == "RUNNING":
            continue
        stages = known.stageIds if known else ()
        for number in stages:
            retried |= _add(_spent[owner], stage(session, number))
        _counted[group] = max(job, _counted.get(group, -1))
    return retried


@contextmanager
def noted(session: SparkSession, owner: str) -> Iterator[None]:
    """Add what the jobs of this block spend, in this thread."""
    context, group = session.sparkContext, f"rta cpu {owner}"
    before = context.getLocalProperty("spark.jobGroup.id")
    context.setLocalProperty("spark.jobGroup.id", group)
    try:
        yield
        note(session, owner, group)
    finally:
        context.setLocalProperty("spark.jobGroup.id", before)  # type: ignore[arg-type]


def _add(total: Spent, told: Any) -> bool:
    """Add a stage, and tell whether a task of it ran again; nothing if Spark does not know it."""
    if told is None:
        return False
    total.cpu_s += told.executorCpuTime() / 1e9
    total.file_bytes += told.inputBytes()
    return bool(told.attemptId() or told.numFailedTasks())
