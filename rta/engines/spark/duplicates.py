"""Count the rows around each operator that drops duplicates.

Spark counts the rows that such an operator drops and those that pass it. An observation below the operator counts those that reach
it. So used, duplicate and late are three separate counts, and an error shows in their sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed, each, framed, scala_sequence
from rta.dataframes.sources import OBSERVED
from rta.engines.spark.plans import DROPS, Node

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROWS: Final = "rta_rows"
"""The metrics of the rows around operators that drop duplicates are called `rta_rows:<topic>:<reached or passed>:<number>`."""

# Each of these returns at most one row for a row. Any other (explode, a join, sliding windows) may return several.
_ONE_ROW_EACH: Final = {
    "Project", "Filter", "EventTimeWatermark", "UpdateEventTimeWatermarkColumn", "SubqueryAlias", "CollectMetrics",
}  # fmt: skip


def observed_around(frame: DataFrame) -> DataFrame:
    """Count the rows around each operator that drops duplicates; return a frame without such an operator unchanged.

    The counts are in the observed metrics, under `rta_rows:<topic>:reached:<number>`: {"reached": count}. Those that pass an operator
    of a stream are counted by Spark. Of a static frame they are counted here. An operator behind a join of two topics drops rows that
    are no events, so none is counted there.

    >>> stream = spark.readStream.format("rate").load()
    >>> plan = analyzed(observed_around(stream.dropDuplicates(["value"])))
    >>> plan.nodeName(), plan.child().nodeName()
    ('Deduplicate', 'CollectMetrics')
    >>> analyzed(observed_around(spark.range(3).dropDuplicates(["id"]))).nodeName()
    'CollectMetrics'
    """
    found: list[Any] = []
    plan = _rebuilt(frame, analyzed(frame), found)
    return framed(frame.sparkSession, plan) if found else frame


@dataclass(frozen=True)
class Deduplicate:
    """An operator that drops duplicates: the rows that reach it, the columns by which it recognizes copies, and of which topic."""

    below: DataFrame
    keys: list[str]
    copies_of: str | None = None


def deduplicates(frame: DataFrame) -> list[Deduplicate]:
    """List the operators of a frame that drop duplicates.

    >>> [found.keys for found in deduplicates(spark.range(3).dropDuplicates(["id"]))]
    [['id']]
    """
    return [
        Deduplicate(
            framed(frame.sparkSession, node.plan.child()), [key.name() for key in each(node.plan.keys())],
            node.copies_of(streaming=frame.isStreaming),
        )
        for node in Node.of(analyzed(frame)).walk()
        if node.name in DROPS
    ]  # fmt: skip


def one_row_each(rows: Any) -> bool:
    """Tell whether a plan has at most one row of each event, so that its rows can be counted as events.

    >>> stream = spark.readStream.format("rate").load()
    >>> exploded = stream.selectExpr("explode(array(value, value)) AS value")
    >>> [one_row_each(analyzed(frame)) for frame in (stream, exploded)]
    [True, False]
    """
    return not _children(rows) or (
        rows.nodeName() in _ONE_ROW_EACH and (_counted(rows) or all(map(one_row_each, _children(rows))))
    )  # fmt: skip


def _counted(node: Any) -> bool:
    """Tell whether rta counts the events of a source at a node: what is below it is not part of the transform."""
    return node.nodeName() == "CollectMetrics" and str(node.name()).startswith(f"{OBSERVED}:")


def _rebuilt(frame: DataFrame, plan: Any, found: list[Any]) -> Any:
    """Return a part of a frame's plan with the observations; add the operators to `found`."""
    if _counted(plan):
        return plan
    before = len(found)
    below = [_rebuilt(frame, child, found) for child in _children(plan)]
    drops = plan.nodeName() in DROPS and plan.isStreaming() == frame.isStreaming
    topic = Node.of(plan).copies_of(streaming=frame.isStreaming) if drops else None
    if topic is not None:
        found.append(plan)
        number = len(found)
        below = [_observed(frame, below[0], f"{topic}:reached:{number}")]
    elif len(found) == before:
        return plan
    rebuilt = plan.withNewChildren(scala_sequence(frame.sparkSession, below))
    if topic is not None and not frame.isStreaming:
        return _observed(frame, rebuilt, f"{topic}:passed:{number}")
    return rebuilt


def _observed(frame: DataFrame, plan: Any, name: str) -> Any:
    """Return a plan whose rows are counted under `rta_rows:<name>`."""
    from pyspark.sql import functions as F

    count = F.count(F.lit(1)).alias(name.split(":")[1])
    return analyzed(framed(frame.sparkSession, plan).observe(f"{ROWS}:{name}", count))


def _children(plan: Any) -> list[Any]:
    return list(each(plan.children()))
