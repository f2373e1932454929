"""The exactly-once sink: rows, offsets and accounting of a micro-batch in one transaction.

An interval of real-time mode is accounted for by the same rules: see rta.engines.spark.realtime.materializer.

Exactly once = a replayable source + a checkpoint + a sink that writes the rows of a micro-batch and its (query id, batch id) in one
transaction. After a crash Spark runs the last batch again with the same id. The ledger has that id, so the rows are not written twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes import task_metrics
from rta.dataframes.sources import OBSERVED, TopicRange
from rta.engines.spark import checkpoints, topic_identity
from rta.engines.spark.checkpoints import Span
from rta.engines.spark.internals import (
    metric,
    observed,
    running_execution,
    running_query_id,
    state_operators,
)
from rta.engines.spark.late_reading import read_again
from rta.engines.spark.lateness import LateRule, Transform
from rta.engines.spark.sent_once import send_once
from rta.retries import retried
from rta.store import database, serving, serving_tables
from rta.store.ledger import Batch

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from sqlalchemy import Engine

    from rta.events.event_types import EventType

FEW: Final = 100  # up to so many bad events of a micro-batch are held in memory, not read twice
_DROPS: Final = "StreamingDeduplicate"


@dataclass
class Seen:
    """What the micro-batch before has read, so that the next one need not read it again.

    Args:
        offsets: The number of that micro-batch → its offsets.
        state: The numbers, in Spark's plan, of the operators that keep state.
    """

    offsets: dict[int, checkpoints.OffsetFile] = field(default_factory=dict)
    state: list[int] | None = None


@dataclass(frozen=True)
class Plan:
    """What each micro-batch of one query needs to know."""

    topic: str
    topic_id: str
    event: EventType
    max_skew: str
    transform: Transform
    late_rule: LateRule | None
    session: SparkSession
    checkpoint: str
    engine: Engine
    run_id: str | None
    # Of the source; a range is read again with the same.
    options: Mapping[str, str] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)

    def range(self, span: Span) -> TopicRange:
        """Return the range that a micro-batch has read."""
        return TopicRange(self.topic, self.event, span.start, span.end, self.max_skew, self.options)


@dataclass(frozen=True)
class BatchMetrics:
    """What Spark has counted in a micro-batch, each term separately.

    Args:
        consumed: Events at the source.
        quarantined: Bad ones of these.
        good: Good ones of these.
        duplicate: Rows that the operators that drop duplicates have dropped.
        dropped_late: Rows that were dropped as late, after partial aggregation: it tells whether there were late events, not how many.
        reached: Rows that reach the operators that drop duplicates.
        passed: Rows that pass them.
        widest: The most rows that reach one of these operators.
    """

    consumed: int
    quarantined: int
    good: int
    duplicate: int
    dropped_late: int
    reached: int = 0
    passed: int = 0
    widest: int = 0

    @property
    def used(self) -> int:
        """Return how many events the transform took: those that pass, and those that its own filters leave out.

        If several rows of one event reach the operator (after an explode), rows are counted, and the sum shows it.
        """
        return self.good - self.reached + self.passed if self.widest <= self.good else self.passed

    @staticmethod
    def of(observed: Sequence[Mapping[str, int]], **operators: int) -> BatchMetrics:
        """Sum what rta's observations and Spark's operators have counted.

        >>> BatchMetrics.of([{"consumed": 3, "quarantined": 1, "good": 2}], passed=0, duplicate=0, dropped_late=0).used
        2
        """
        sums = Counter[str](operators)
        for counts in observed:
            sums.update(counts)
        widest = max((counts.get("reached", 0) for counts in observed), default=0)
        return BatchMetrics(**{each.name: sums[each.name] for each in fields(BatchMetrics)} | {"widest": widest})  # fmt: skip


def write_batch(plan: Plan, table: serving_tables.Table, frame: DataFrame, batch_id: int) -> None:
    """Write one micro-batch: rows, offsets and accounting in one transaction; bad events to the dead letter queue."""
    session = plan.session
    planned = checkpoints.span(session, plan.checkpoint, batch_id, plan.seen.offsets)
    with topic_identity.explained(plan.topic_id, planned):
        # Exactly one evaluation: after none or two the metrics below would be wrong.
        rows = frame.toArrow()
    metrics = batch_metrics(session, plan.seen)
    again = task_metrics.note(session, table.name)
    batch, late = accounted(plan, planned, metrics, running_query_id(session), batch_id, retried_tasks=again)  # fmt: skip
    # Safe to repeat, even if only the answer was lost: the ledger then has the batch.
    retried(
        lambda: serving.commit_batch(plan.engine, table, batch, rows, late),
        patience=database.PATIENCE,
    )


def batch_metrics(session: SparkSession, seen: Seen) -> BatchMetrics:
    """Read the metrics of the current batch inside foreachBatch, after its frame was evaluated exactly once.

    After a partial evaluation they are wrong; after two, those of the operators are doubled.
    """
    execution = running_execution(session)
    keepers = state_operators(execution, seen.state)
    seen.state, operators = list(keepers), keepers.values()
    filters = [each for each in operators if each.nodeName().startswith(_DROPS)]
    return BatchMetrics.of(
        observed(execution, OBSERVED),
        passed=metric(filters, "numOutputRows"),
        duplicate=metric(filters, "numDroppedDuplicateRows"),
        dropped_late=metric(operators, "numRowsDroppedByWatermark"),
    )


def interval_metrics(progress: Mapping[str, Any]) -> BatchMetrics:
    """Read the same metrics of an interval in real-time mode, from Spark's progress."""
    operators = progress["stateOperators"]
    filters = [each for each in operators if each["operatorName"].startswith("dedupe")]
    counted = progress.get("observedMetrics", {})
    return BatchMetrics.of(
        [metrics for name, metrics in counted.items() if name.startswith(OBSERVED)],
        passed=sum(each["numRowsUpdated"] for each in filters),
        duplicate=sum(each["customMetrics"].get("numDroppedDuplicateRows", 0) for each in filters),
        dropped_late=sum(each["numRowsDroppedByWatermark"] for each in operators),
    )


def accounted(
    plan: Plan,
    planned: Span,
    metrics: BatchMetrics,
    query_id: str,
    batch_id: int,
    *,
    retried_tasks: bool = False,
) -> tuple[Batch, pa.Table | None]:
    """Account for the events of a span, each term counted separately; send the bad ones to the dead letter queue.

    If Spark dropped rows as late, the span is read again, exactly as the query has read it.

    Args:
        plan: The query.
        planned: The span.
        metrics: What Spark has counted in it.
        query_id: Spark's id of the query.
        batch_id: The number of the micro-batch or interval.
        retried_tasks: Whether a task ran twice. Spark may have counted its events twice, so they are counted by reading them again.

    Returns:
        The entry for the ledger, and the late events if there are any.
    """
    if planned.events:  # else nothing was read, so nothing can be of another topic
        topic_identity.require_topic(plan.topic, plan.topic_id)
    # An offset without an event was deleted by retention, or is a marker of a transaction.
    span = planned if metrics.consumed == planned.events else topic_identity.kept(planned)
    taken = plan.range(span)
    if retried_tasks:
        metrics = replace(metrics, **retried(taken.counts))
    if metrics.quarantined:
        few = metrics.quarantined <= FEW
        retried(lambda: send_once(taken.bad(), plan.topic, plan.topic_id, on=plan.engine, few=few))
    again = None
    if metrics.dropped_late and plan.late_rule and span.watermark:
        again = read_again(taken, plan.transform, plan.late_rule, span.watermark)
    batch = Batch(
        query_id=query_id, batch_id=batch_id, topic=plan.topic, start_offsets=span.start, end_offsets=span.end, watermark=span.watermark,
        consumed=metrics.consumed, duplicate=metrics.duplicate, late=len(again.late) if again else 0, quarantined=metrics.quarantined,
        # An event that was read is not lost, even if retention has deleted it since.
        lost=min(planned.events - span.events, max(planned.events - metrics.consumed, 0)),
        # An operator that drops duplicates counts what passes it; an aggregate does not.
        used=again.on_time if again and not metrics.reached else metrics.used, run_id=plan.run_id,
        doubt=None if bool(metrics.dropped_late) == bool(again and again.late) else
        f"Spark dropped {metrics.dropped_late:,} rows as late, and none of the events was found late again",
    )  # fmt: skip
    return batch, again.late if again else None
