"""Spark's plans, as trees of nodes: walked, and asked whether counting a frame costs no more than a look into its files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_CHEAP: Final = {
    "Filter", "GlobalLimit", "LocalLimit", "LocalRelation", "LogicalRelation", "Project", "Range", "Repartition", "Sort",
}  # fmt: skip


def walk(plan: Any) -> Iterator[Any]:
    """Yield the nodes of one of Spark's plans, from the result down to the source."""
    yield plan
    for child in each(plan.children()):
        yield from walk(child)


def each(scala_collection: Any) -> Iterator[Any]:
    """Iterate over a Scala collection."""
    iterator = scala_collection.iterator()
    while iterator.hasNext():
        yield iterator.next()


def cheap_count(frame: DataFrame) -> int | None:
    """Count a frame's rows if that is no more than a look into its files or its own rows; None if it would compute it twice.

    >>> cheap_count(spark.range(7).where("id > 1"))
    5
    >>> cheap_count(spark.range(7).groupBy("id").count()) is None
    True
    """
    nodes = walk(frame._jdf.queryExecution().optimizedPlan())
    return frame.count() if {node.nodeName() for node in nodes} <= _CHEAP else None
