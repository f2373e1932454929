"""What Spark itself counts of a micro-batch, or of an interval of real-time mode: consumed, quarantined, duplicate, dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from rta.lateness import each
from rta.sources import OBSERVED

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_KEEPS_STATE: Final = (
    "StateStore",
    "SessionWindowStateStore",
    "Streaming",
)  # how such names begin in a physical plan


@dataclass(frozen=True)
class BatchFacts:
    """What Spark itself knows of the micro-batch that runs, once its frame was evaluated."""

    consumed: int
    quarantined: int
    duplicate: int
    dropped_late: int  # rows after partial aggregation: tells whether, not how many


def batch_facts(session: SparkSession) -> BatchFacts:
    """Read the metrics of the current batch inside foreachBatch, after evaluating its frame exactly once.

    Evaluated in part they are wrong, and evaluated twice the operators' own are doubled.
    session: the one that started the query; the frame's own is a clone that does not know it.
    """
    context = session.sparkContext
    identity = context.getLocalProperty("sql.streaming.queryId")
    execution = session._jsparkSession.streams().get(identity).streamingQuery().lastExecution()
    observed = {
        pair._1(): json.loads(pair._2().json()) for pair in each(execution.observedMetrics())
    }
    source = [metrics for name, metrics in observed.items() if name.startswith(OBSERVED)]
    operators = list(_keepers(execution.executedPlan()))
    return BatchFacts(
        consumed=sum(metrics.get("consumed", 0) for metrics in source),
        quarantined=sum(metrics.get("quarantined", 0) for metrics in source),
        duplicate=_metric(operators, "numDroppedDuplicateRows")
        + sum(metrics.get("duplicate", 0) for metrics in source),
        dropped_late=_metric(operators, "numRowsDroppedByWatermark"),
    )


def interval_facts(progress: Mapping[str, Any]) -> BatchFacts:
    """Read the same from Spark's progress, which is what there is of an interval in real-time mode."""
    observed = progress.get("observedMetrics", {})
    source = [metrics for name, metrics in observed.items() if name.startswith(OBSERVED)]
    operators = progress["stateOperators"]
    return BatchFacts(
        consumed=sum(metrics.get("consumed", 0) for metrics in source),
        quarantined=sum(metrics.get("quarantined", 0) for metrics in source),
        duplicate=sum(each["customMetrics"].get("numDroppedDuplicateRows", 0) for each in operators)
        + sum(metrics.get("duplicate", 0) for metrics in source),
        dropped_late=sum(each["numRowsDroppedByWatermark"] for each in operators),
    )


def _keepers(plan: Any) -> Iterator[Any]:
    """Yield the operators of a physical plan that keep state, in the fewest calls: each micro-batch asks.

    Spark numbers the nodes of a plan from 0; behind the last one there is none.
    """
    for number in count():
        if not (node := plan.apply(number)):
            return
        if node.nodeName().startswith(_KEEPS_STATE):
            yield node


def _metric(operators: list[Any], name: str) -> int:
    """Sum one metric over a plan's operators."""
    return sum(
        int(op.metrics().apply(name).value()) for op in operators if op.metrics().contains(name)
    )
