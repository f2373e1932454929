"""What the monitor uses of Spark that is not public API; the contract tests are in tests/monitor/test_internals.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rta.dataframes.internals import framed, java_class

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery


def last_plan(query: StreamingQuery) -> Any:
    """Return the logical plan of the newest micro-batch of a query; None before the first."""
    execution = query._jsq.streamingQuery().lastExecution()
    return None if execution is None else execution.logical()


def heap_bytes(session: SparkSession) -> float:
    """Return the maximum size of the driver's heap in bytes."""
    return float(java_class(session, "java.lang.Runtime").getRuntime().maxMemory())


def in_session(session: SparkSession, frame: DataFrame) -> DataFrame:
    """Return a frame of another session as a frame of this session; it keeps the settings that it was read with."""
    return framed(session, frame._jdf.logicalPlan())
