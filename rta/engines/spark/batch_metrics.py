"""What Spark itself counts of a micro-batch, or of an interval of real-time mode: each term of the accounting on its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.plans import each
from rta.dataframes.sources import OBSERVED

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_KEEPS_STATE: Final = (
    "StateStore",
    "SessionWindowStateStore",
    "Streaming",
)  # how such names begin in a physical plan
_DROPS: Final = "StreamingDeduplicate"


@dataclass(frozen=True)
class BatchFacts:
    """What Spark itself has counted of a micro-batch, each term on its own.

    consumed, quarantined, good: events at the source. reached, passed: rows that reach the operators that drop duplicates, and
    rows that they let pass; duplicate: rows that they drop. dropped_late: rows after partial aggregation, so it tells whether,
    not how many.
    """

    consumed: int
    quarantined: int
    good: int
    duplicate: int
    dropped_late: int
    reached: int = 0
    passed: int = 0
    widest: int = 0  # the most rows that reach one such operator

    @property
    def used(self) -> int:
        """Return how many events the transform took: those that pass, and those that it leaves out by a filter of its own.

        Where several rows of one event reach the operator (it was exploded before), rows are counted: the sum then shows it.
        """
        return self.good - self.reached + self.passed if self.widest <= self.good else self.passed

    @staticmethod
    def of(source: Sequence[Mapping[str, int]], **operators: int) -> BatchFacts:
        """Sum the observations of rta, beside what operators have counted.

        >>> BatchFacts.of([{"consumed": 3, "quarantined": 1, "good": 2}], passed=0, duplicate=0, dropped_late=0).used
        2
        """
        sums = {name: sum(metrics.get(name, 0) for metrics in source) for name in _OBSERVED}
        found = {name: sums.get(name, 0) + operators.get(name, 0) for name in {*sums, *operators}}
        widest = max((metrics.get("reached", 0) for metrics in source), default=0)
        return BatchFacts(**found, widest=widest)


_OBSERVED: Final = ("consumed", "quarantined", "good", "duplicate", "reached", "passed")


def batch_facts(session: SparkSession) -> BatchFacts:
    """Read the metrics of the current batch inside foreachBatch, after evaluating its frame exactly once.

    Evaluated in part they are wrong, and evaluated twice the operators' own are doubled.
    session: the one that started the query; the frame's own is a clone that does not know it.
    """
    context = session.sparkContext
    identity = context.getLocalProperty("sql.streaming.queryId")
    execution = session._jsparkSession.streams().get(identity).streamingQuery().lastExecution()
    operators = list(_keepers(execution.executedPlan()))
    filters = [each for each in operators if each.nodeName().startswith(_DROPS)]
    return BatchFacts.of(
        observed_in(execution),
        passed=_metric(filters, "numOutputRows"),
        duplicate=_metric(filters, "numDroppedDuplicateRows"),
        dropped_late=_metric(operators, "numRowsDroppedByWatermark"),
    )


def interval_facts(progress: Mapping[str, Any]) -> BatchFacts:
    """Read the same from Spark's progress, which is what there is of an interval in real-time mode."""
    operators = progress["stateOperators"]
    filters = [each for each in operators if each["operatorName"].startswith("dedupe")]
    observed = progress.get("observedMetrics", {})
    return BatchFacts.of(
        [metrics for name, metrics in observed.items() if name.startswith(OBSERVED)],
        passed=sum(each["numRowsUpdated"] for each in filters),
        duplicate=sum(each["customMetrics"].get("numDroppedDuplicateRows", 0) for each in filters),
        dropped_late=sum(each["numRowsDroppedByWatermark"] for each in operators),
    )


def observed_in(execution: Any) -> list[Mapping[str, int]]:
    """Return what the observations of rta have counted in one execution of a plan."""
    metrics = {pair._1(): json.loads(pair._2().json()) for pair in each(execution.observedMetrics())}  # fmt: skip
    return [counts for name, counts in metrics.items() if name.startswith(OBSERVED)]


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
