"""The queries of this process that run, on whichever engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rta.engines import engine_query
from rta.engines.engine_query import EngineQuery

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


def active_here() -> list[StreamingQuery | EngineQuery]:
    """List the queries of this process that run: those of the Spark session, and those of other engines.

    >>> [query for query in active_here() if query.name == "no_such_table"]
    []
    """
    from rta.dataframes.session import running

    session = running()
    return [*(session.streams.active if session else []), *(each for each in list(engine_query.running.values()) if each.isActive)]  # fmt: skip


def label(query: StreamingQuery | EngineQuery) -> str:
    """Return the name of a query; of one of Spark that has none its id."""
    return query.name or ("" if isinstance(query, EngineQuery) else str(query.id))
