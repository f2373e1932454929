"""Count the rows around each operator that drops duplicates.

Spark counts the rows that such an operator drops and those that pass it. An observation below the operator counts those that reach
it. So used, duplicate and late are three separate counts, and an error shows in their sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed, each, framed, scala_sequence, walk
from rta.dataframes.sources import OBSERVED

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_DROPS: Final = "Deduplicate"  # and DeduplicateWithinWatermark
# Each of these returns at most one row for a row. Any other (explode, a join, sliding windows) may return several.
_ONE_ROW_EACH: Final = {
    "Project", "Filter", "EventTimeWatermark", "UpdateEventTimeWatermarkColumn", "SubqueryAlias", "CollectMetrics",
}  # fmt: skip


def observed_around(frame: DataFrame) -> DataFrame:
    """Count the rows around each operator that drops duplicates; return a frame without such an operator unchanged.

    The counts are in the observed metrics, under `rta_source:reached:<number>`: {"reached": count}. Those that pass an operator of
    a stream are counted by Spark. Of a static frame they are counted here: `rta_source:passed:<number>`.

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
    """An operator that drops duplicates: the rows that reach it, and the columns by which it recognizes copies."""

    below: DataFrame
    keys: list[str]


def deduplicates(frame: DataFrame) -> list[Deduplicate]:
    """List the operators of a frame that drop duplicates.

    >>> [found.keys for found in deduplicates(spark.range(3).dropDuplicates(["id"]))]
    [['id']]
    """
    return [
        Deduplicate(
            framed(frame.sparkSession, node.child()), [key.name() for key in each(node.keys())]
        )
        for node in walk(analyzed(frame))
        if node.nodeName().startswith(_DROPS)
    ]


def one_row_each(operator: Any) -> bool:
    """Tell whether at most one row of each event reaches an operator of a plan, so that its rows can be counted as events.

    >>> stream = spark.readStream.format("rate").load()
    >>> exploded = stream.selectExpr("explode(array(value, value)) AS value")
    >>> [one_row_each(analyzed(frame.dropDuplicates(["value"]))) for frame in (stream, exploded)]
    [True, False]
    """
    return all(
        not _children(child) or (child.nodeName() in _ONE_ROW_EACH and (_source(child) or one_row_each(child)))
        for child in _children(operator)
    )  # fmt: skip


def _source(node: Any) -> bool:
    """Tell whether a node is an observation of rta: what is below it is not part of the transform."""
    return node.nodeName() == "CollectMetrics" and str(node.name()).startswith(OBSERVED)


def _rebuilt(frame: DataFrame, plan: Any, found: list[Any]) -> Any:
    """Return a part of a frame's plan with the observations; add the operators to `found`. Of a stream only streaming ones count."""
    below = [_rebuilt(frame, child, found) for child in _children(plan)]
    drops = plan.nodeName().startswith(_DROPS) and plan.isStreaming() == frame.isStreaming
    if drops:
        found.append(plan)
        below = [_observed(frame, below[0], "reached", len(found))]
    elif not found:
        return plan
    rebuilt = plan.withNewChildren(scala_sequence(frame.sparkSession, below))
    above = drops and not frame.isStreaming
    return _observed(frame, rebuilt, "passed", len(found)) if above else rebuilt


def _observed(frame: DataFrame, plan: Any, name: str, number: int) -> Any:
    """Return a plan whose rows are counted under `rta_source:<name>:<number>`."""
    from pyspark.sql import functions as F

    count = F.count(F.lit(1)).alias(name)
    return analyzed(framed(frame.sparkSession, plan).observe(f"{OBSERVED}:{name}:{number}", count))


def _children(plan: Any) -> list[Any]:
    return list(each(plan.children()))
