"""How far queries are while a person waits: what is in the table, and what the running micro-batch does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rta.dataframes.session import running
from rta.dataframes.task_metrics import underway
from rta.engines.engine_query import EngineQuery

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


def reading(
    taken: Callable[[], tuple[int, int]], begun: Sequence[StreamingQuery]
) -> Callable[[], tuple[int, int]]:
    """Return a function for rta.progress.watched(): what is in the table, and what the running micro-batch has read so far.

    Args:
        taken: Returns how many events are in the table, and of how many.
        begun: The query, once it is started.
    """

    def look() -> tuple[int, int]:
        done, total = taken()
        session = running()  # none is started here
        rows = sum(underway(session, str(query.runId))[0] for query in begun if session and not isinstance(query, EngineQuery))  # fmt: skip
        return min(done + rows, total), total

    return look


def phase(begun: Sequence[StreamingQuery]) -> Callable[[], str]:
    """Return a function that says what a query does at the moment: Spark's tasks, or Spark's own words between them; of others the state."""

    def look() -> str:
        session = running()
        told = []
        for query in begun:
            if isinstance(query, EngineQuery):
                told.append(
                    f"{query.job.engine}: {query.lastProgress.get('state', 'it has ended')}"
                )
            elif session and query.isActive:
                told.append(underway(session, str(query.runId))[1] or str(query.status["message"]))
        return "; ".join(told)

    return look
