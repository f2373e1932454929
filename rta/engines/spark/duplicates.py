"""Count the rows that reach each operator that drops duplicates.

Spark counts the rows that such an operator drops and those that pass it. An observation below the operator counts those that reach
it. So used, duplicate and late are three separate counts, and an error shows in their sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed, each, framed, scala_sequence
from rta.dataframes.sources import OBSERVED

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Each of these returns at most one row for a row. Any other (explode, a join, sliding windows) may return several.
_ONE_ROW_EACH: Final = {
    "Project", "Filter", "EventTimeWatermark", "UpdateEventTimeWatermarkColumn", "SubqueryAlias", "CollectMetrics",
}  # fmt: skip


def observed_below(stream: DataFrame) -> DataFrame:
    """Count the rows that reach each operator that drops duplicates; return a stream without such an operator unchanged.

    The counts are in the observed metrics of each micro-batch, under `rta_source:reached:<number>`: {"reached": count}.

    >>> stream = spark.readStream.format("rate").load()
    >>> plan = analyzed(observed_below(stream.dropDuplicates(["value"])))
    >>> plan.nodeName(), plan.child().nodeName()
    ('Deduplicate', 'CollectMetrics')
    """
    found: list[Any] = []
    plan = _rebuilt(stream, analyzed(stream), found)
    return framed(stream.sparkSession, plan) if found else stream


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


def _rebuilt(stream: DataFrame, plan: Any, found: list[Any]) -> Any:
    """Return a plan with an observation below each streaming operator that drops duplicates; add these operators to `found`."""
    from pyspark.sql import functions as F

    below = [_rebuilt(stream, child, found) for child in _children(plan)]
    drops = plan.nodeName().startswith("Deduplicate") and plan.isStreaming()
    if drops:
        found.append(plan)
        counted = framed(stream.sparkSession, below[0]).observe(
            f"{OBSERVED}:reached:{len(found)}", F.count(F.lit(1)).alias("reached")
        )
        below = [analyzed(counted)]
    elif not found:
        return plan
    return plan.withNewChildren(scala_sequence(stream.sparkSession, below))


def _children(plan: Any) -> list[Any]:
    return list(each(plan.children()))
