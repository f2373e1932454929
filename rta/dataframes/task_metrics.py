"""The CPU time of Spark's tasks, by table or archive, as far as this process has seen it.

Spark itself remembers only the last stages (50, so that the driver stays small), so it is asked after each micro-batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rta.dataframes.internals import jobs_of, stage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


_spent: Final[defaultdict[str, float]] = defaultdict(float)  # by table or archive: CPU seconds
_counted: Final[dict[str, int]] = {}  # job group → its newest job that is in `_spent`


def spent(owner: str) -> float:
    """Return the CPU seconds that Spark's tasks have spent on a table, or on the archive of a topic, in this process."""
    return _spent[owner]


def note(
    session: SparkSession, owner: str, group: str | None = None, *, running: bool = True
) -> bool:
    """Add what the jobs of a group have spent since the last note.

    Args:
        session: The session.
        owner: The table, or the archive, that the jobs work for.
        group: The job group; by default that of this thread's query.
        running: Also count a job that still runs, as that of a micro-batch that asks; it is not looked at again.

    Returns:
        Whether a task had to run again: then Spark may have counted its rows twice.
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
            if told := stage(session, number):  # else Spark does not know it
                _spent[owner] += told.executorCpuTime() / 1e9
                retried |= bool(told.attemptId() or told.numFailedTasks())
        _counted[group] = max(job, _counted.get(group, -1))
    return retried


def underway(session: SparkSession, group: str) -> tuple[int, str]:
    """Return how many rows the jobs of a group that run now have read, and which of their tasks are done, in words.

    >>> underway(spark, "nobody's")
    (0, '')
    """
    tracker, rows, done, tasks = session.sparkContext.statusTracker(), 0, 0, 0
    for job in jobs_of(session, group):
        known = tracker.getJobInfo(job)
        if known is None or known.status != "RUNNING":
            continue
        for told in filter(None, (stage(session, number) for number in known.stageIds)):
            rows += told.inputRecords()
            done, tasks = done + told.numCompleteTasks(), tasks + told.numTasks()
    return rows, f"{done:,} of {tasks:,} tasks" if tasks else ""


def group_of(owner: str) -> str:
    """Return the job group of a noted() block."""
    return f"rta cpu {owner}"


@contextmanager
def noted(session: SparkSession, owner: str) -> Iterator[Callable[[], bool]]:
    """Add what the jobs of this block spend, in this thread.

    Yields:
        A function that adds what was spent so far, and tells what note() tells.
    """
    context, group = session.sparkContext, group_of(owner)
    before = context.getLocalProperty("spark.jobGroup.id")
    context.setLocalProperty("spark.jobGroup.id", group)
    try:
        yield lambda: note(session, owner, group)
        note(session, owner, group)
    finally:
        context.setLocalProperty("spark.jobGroup.id", before)  # type: ignore[arg-type]
