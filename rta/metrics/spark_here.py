"""What the Spark of this process tells of its queries; it is never started."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rta.dataframes import session
from rta.monitor.query_health import read_until
from rta.monitor.running_queries import of_this_process
from rta.monitor.vitals import Vitals, of_progress, state_of

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


@dataclass(frozen=True)
class QueryHere:
    """A query of this process; read: topic → partition → the next offset that it reads."""

    name: str
    state: str
    error: str | None
    vitals: Vitals
    history: Sequence[Vitals]
    read: Mapping[str, Mapping[int, int]]


@dataclass(frozen=True)
class Here:
    """The Spark of this process.

    Args:
        session: Whether there is one, or its JVM has ended.
        ended: How the JVM has ended; None if it lives.
        application: The id of its application.
        queries: Its queries.
    """

    session: bool = False
    ended: str | None = None
    application: str = ""
    queries: Sequence[QueryHere] = ()


def spark_here(known: Collection[str] = ()) -> Here:
    """Look at the queries of this process.

    Args:
        known: The names of those whose history is known: reading it takes Spark and Python a tenth of a second.

    >>> spark_here().session
    True
    """
    running = session.running()
    if running is None:
        why = session.ended() if "pyspark.sql" in sys.modules else None
        return Here(session=why is not None, ended=why)
    found = [_query(each, known) for each in of_this_process()]
    return Here(session=True, application=running.sparkContext.applicationId, queries=found)


def _query(query: StreamingQuery, known: Collection[str]) -> QueryHere:
    name = query.name or str(query.id)
    state, error = state_of(query)
    last = query.lastProgress
    history = [] if name in known else [of_progress(each) for each in query.recentProgress]
    now = of_progress(last) if last else Vitals(dt.datetime.now(dt.UTC))
    return QueryHere(name, state, error, now, history, read_until(last or {}))
