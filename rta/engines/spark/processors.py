"""Processors (transformWithState) whose timers, or the time to live of whose state, go by the clock of the machine.

Spark runs micro-batches for them without end, whether there are events or not: a drain would not end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rta.dataframes.internals import analyzed
from rta.engines.spark.plans import PROCESSOR, Node

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_EMPTY: Final = "spark.sql.streaming.noDataMicroBatches.enabled"


def by_the_clock(stream: DataFrame) -> bool:
    """Tell whether a streaming frame has such a processor.

    >>> by_the_clock(spark.readStream.format("rate").load())
    False
    """
    return any(
        node.name == PROCESSOR and str(node.plan.timeMode()).startswith("ProcessingTime")
        for node in Node.of(analyzed(stream)).walk()
    )


@contextmanager
def without_empty_batches(session: SparkSession) -> Iterator[None]:
    """Start queries that run no micro-batch without events, so that they end when all events are taken."""
    before = session.conf.get(_EMPTY, None)
    session.conf.set(_EMPTY, "false")
    try:
        yield
    finally:
        session.conf.unset(_EMPTY) if before is None else session.conf.set(_EMPTY, before)
