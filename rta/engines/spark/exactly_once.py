"""The exactly-once sink: rows, offsets and accounting of a micro-batch in one transaction.

An interval of real-time mode is accounted for by the same rules: see rta.engines.spark.realtime.materializer.

Exactly once = a replayable source + a checkpoint + a sink that writes the rows of a micro-batch and its (query id, batch id) in one
transaction. After a crash Spark runs the last batch again with the same id. The ledger has that id, so the rows are not written twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes import task_metrics
from rta.dataframes.sources import OBSERVED, TopicRange
from rta.engines.sinks import BatchId, Sink
from rta.engines.spark import checkpoints, topic_identity
from rta.engines.spark.checkpoints import Span
from rta.engines.spark.duplicates import ROWS
from rta.engines.spark.internals import (
    inputs_with,
    metric,
    observed,
    running_execution,
    running_query_id,
    state_operators,
)
from rta.engines.spark.late_reading import read_again
from rta.engines.spark.lateness import (
    WATERMARK,
    LateRule,
    Operator,
    Transform,
    applied,
    late_rules,
)
from rta.engines.spark.plans import OBSERVED_COPIES
from rta.engines.spark.query_sources import Source, Sources
from rta.engines.spark.sent_once import send_once
from rta.engines.spark.start_checks import emptied
from rta.retries import retried
from rta.store import database, serving, serving_tables
from rta.store.expiry import Expiry
from rta.store.ledger import Batch
from rta.store.stored_types import storable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from sqlalchemy import Engine

FEW: Final = 100  # up to so many bad events of a micro-batch are held in memory, not read twice
_RESTORES: Final = (
    "Restore"  # the half of an aggregate that reads its state; the other half writes it
)


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
    """What each micro-batch of one query needs to know.

    Args:
        sources: Name → topic, as the transform gets them.
        ids: topic → its id when the query started.
        transform: The transform.
        operators: Its operators that keep state, from the result down.
        session: The session.
        checkpoint: Its location.
        engine: The database.
        run_id: The run of a job.
        mode: Spark's output mode.
        also: Where the rows go beside the table.
        expiry: Which rows are too old, and deleted.
        streams: Name → the frame of a source, if there are several.
        seen: What the micro-batch before has read.
    """

    sources: Sources
    ids: Mapping[str, str]
    transform: Transform
    operators: Sequence[Operator]
    session: SparkSession
    checkpoint: str
    engine: Engine
    run_id: str | None
    mode: str = "update"
    streams: Mapping[str, DataFrame] = field(default_factory=dict)
    also: Sequence[Sink] = ()
    expiry: Expiry | None = None
    seen: Seen = field(default_factory=Seen)

    @cached_property
    def rules(self) -> Mapping[str, LateRule]:
        """Where the events of each topic are dropped as late."""
        return late_rules(self.operators)

    def only(self, name: str) -> Transform:
        """Return the transform as a function of the events of one source, with none of the others."""
        others = {other: emptied(frame) for other, frame in self.streams.items() if other != name}
        return lambda events: applied(self.transform, {**others, name: events})


def taken(source: Source, span: Span) -> TopicRange:
    """Return the range of a source that a micro-batch has read."""
    return TopicRange(source.topic, source.event, span.start, span.end, source.max_skew, source.options)  # fmt: skip


@dataclass(frozen=True)
class OperatorMetrics:
    """What Spark has counted at an operator that keeps state.

    Args:
        dropped_late: Rows that it dropped as late, after partial aggregation: it tells whether there were late events, not how many.
        passed: Rows that it has put out.
        duplicate: Rows that it dropped as duplicates.
        timed: Of each input whether it has an event time by which rows are dropped. The optimizer leaves out a column that nobody uses.
    """

    dropped_late: int = 0
    passed: int = 0
    duplicate: int = 0
    timed: tuple[bool, ...] = ()

    def drops(self, side: int) -> bool:
        """Tell whether it may have dropped rows of an input as late."""
        return bool(self.dropped_late) and (side >= len(self.timed) or self.timed[side])


@dataclass(frozen=True)
class Counted:
    """What Spark has counted in a micro-batch: in rta's observations, and at each operator that keeps state."""

    observed: Mapping[str, Mapping[str, int]]
    operators: Sequence[OperatorMetrics]

    def of(self, plan: Plan, topic: str) -> BatchMetrics:
        """Return what concerns the events of one topic."""
        rule, at = plan.rules.get(topic), self._at(plan.operators)
        copies = [
            each
            for operator, each in zip(plan.operators, at, strict=True)
            if operator.copies_of == topic
        ]
        dropped = at[rule.number].dropped_late if rule and at[rule.number].drops(rule.side) else 0
        return BatchMetrics.of(
            about(self.observed, topic), passed=sum(each.passed for each in copies),
            duplicate=sum(each.duplicate for each in copies), dropped_late=dropped,
        )  # fmt: skip

    def dropped_late(self, plan: Plan) -> list[tuple[Operator, int]]:
        """Return each operator that has dropped rows as late, and how many."""
        pairs = zip(plan.operators, self._at(plan.operators), strict=True)
        return [(operator, each.dropped_late) for operator, each in pairs if each.dropped_late]

    def _at(self, planned: Sequence[Operator]) -> Sequence[OperatorMetrics]:
        """Return the metrics of each operator; if Spark's optimizer has made others of them, each has those of all."""
        if len(self.operators) == len(planned):
            return self.operators
        sums = {f.name: sum(getattr(each, f.name) for each in self.operators) for f in fields(OperatorMetrics) if f.name != "timed"}  # fmt: skip
        return [OperatorMetrics(**sums)] * len(planned)


def about(observed: Mapping[str, Mapping[str, int]], topic: str) -> list[Mapping[str, int]]:
    """Return the counts of those observations that concern the events of a topic.

    >>> about({"rta_source:a": {"good": 2}, "rta_source:ab": {"good": 3}, "rta_rows:a:reached:1": {"reached": 2}}, "a")
    [{'good': 2}, {'reached': 2}]
    """
    named = {f"{OBSERVED}:{topic}", OBSERVED_COPIES}
    return [
        counts for name, counts in observed.items() if name in named or name.startswith(f"{ROWS}:{topic}:")
    ]  # fmt: skip


@dataclass(frozen=True)
class BatchMetrics:
    """What Spark has counted of a topic in a micro-batch, each term separately.

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
    """Write one micro-batch: rows, offsets and accounting in one transaction; bad events to the dead letter queues."""
    session = plan.session
    spans = checkpoints.spans(session, plan.checkpoint, batch_id, plan.seen.offsets)
    with topic_identity.explained(plan.ids, [*spans.values()]):
        # Exactly one evaluation: after none or two the metrics below would be wrong.
        rows = storable(frame).toArrow()
    counted = batch_metrics(session, plan.seen)
    again = task_metrics.note(session, table.name)
    batches, late = accounted(plan, spans, counted, running_query_id(session), batch_id, retried_tasks=again)  # fmt: skip
    # The sinks first: what the ledger has, all of them have. A micro-batch that comes again is known by its number.
    which = BatchId(table.name, batches[0].query_id, batch_id)
    for sink in plan.also:
        sink(rows, which)
    # Safe to repeat, even if only the answer was lost: the ledger then has the batch.
    whole = plan.mode == "complete"
    retried(
        lambda: serving.commit_batch(plan.engine, table, batches, rows, late, whole=whole, expiry=plan.expiry),
        patience=database.PATIENCE,
    )  # fmt: skip


def batch_metrics(session: SparkSession, seen: Seen) -> Counted:
    """Read the metrics of the current batch inside foreachBatch, after its frame was evaluated exactly once.

    After a partial evaluation they are wrong; after two, those of the operators are doubled.
    """
    execution = running_execution(session)
    keepers = state_operators(execution, seen.state)
    seen.state = list(keepers)
    found: list[OperatorMetrics] = []
    for node in keepers.values():
        dropped = metric([node], "numRowsDroppedByWatermark")
        if node.nodeName().endswith(_RESTORES):  # that of a session window drops the late rows
            if found:
                found[-1] = replace(found[-1], dropped_late=found[-1].dropped_late + dropped)
            continue
        found.append(
            OperatorMetrics(
                dropped, metric([node], "numOutputRows"), metric([node], "numDroppedDuplicateRows"),
                inputs_with(node, WATERMARK) if dropped else (),
            )
        )  # fmt: skip
    return Counted(observed(execution, OBSERVED, ROWS), found)


def interval_metrics(progress: Mapping[str, Any]) -> Counted:
    """Read the same metrics of an interval in real-time mode, from Spark's progress."""
    counted = progress.get("observedMetrics", {})
    return Counted(
        {name: metrics for name, metrics in counted.items() if name.startswith((OBSERVED, ROWS))},
        [
            OperatorMetrics(
                each["numRowsDroppedByWatermark"], each["numRowsUpdated"],
                each["customMetrics"].get("numDroppedDuplicateRows", 0),
            )
            for each in progress["stateOperators"]
        ],
    )  # fmt: skip


def accounted(
    plan: Plan,
    spans: Mapping[str, Span],
    counted: Counted,
    query_id: str,
    batch_id: int,
    *,
    retried_tasks: bool = False,
) -> tuple[list[Batch], dict[str, pa.Table]]:
    """Account for the events of a micro-batch, topic by topic, each term counted separately; send bad events to the dead letter queues.

    If Spark dropped rows as late, the span is read again, exactly as the query has read it.

    Args:
        plan: The query.
        spans: topic → what was read of it.
        counted: What Spark has counted in it.
        query_id: Spark's id of the query.
        batch_id: The number of the micro-batch or interval.
        retried_tasks: Whether a task ran twice. Spark may have counted its events twice, so they are counted by reading them again.

    Returns:
        The entries for the ledger, and topic → the late events if there are any.
    """
    found = {
        source.topic: _accounted(
            plan, name, spans[source.topic], counted.of(plan, source.topic), (query_id, batch_id), retried_tasks=retried_tasks
        )
        for name, source in plan.sources.items()
    }  # fmt: skip
    late = {topic: places for topic, (_, places) in found.items() if places}
    doubts = dict(_doubts(counted.dropped_late(plan), {topic: batch.late for topic, (batch, _) in found.items()}))  # fmt: skip
    return [replace(batch, doubt=doubts.get(batch.topic)) for batch, _ in found.values()], late


def _doubts(
    dropped: Iterable[tuple[Operator, int]], late: Mapping[str, int]
) -> Iterable[tuple[str, str]]:
    """Yield topic → what cannot be true: rows that Spark dropped as late, which are not late events that were found again."""
    for operator, rows in dropped:
        first = frozenset[str]().union(*operator.firsts)
        if first and any(late.get(topic) for topic in first):
            continue
        said = f"Spark dropped {rows:,} rows as late, and none of the events was found late again"
        behind = f"late: not known for {operator.name}, which dropped {rows:,} rows that are no events but made of them"
        yield from ((topic, said if first else behind) for topic in first or operator.topics)


def _accounted(
    plan: Plan,
    name: str,
    planned: Span,
    metrics: BatchMetrics,
    number: tuple[str, int],
    *,
    retried_tasks: bool,
) -> tuple[Batch, pa.Table | None]:
    """Account for the events of one topic."""
    source = plan.sources[name]
    topic, topic_id = source.topic, plan.ids[source.topic]
    if planned.events:  # else nothing was read, so nothing can be of another topic
        topic_identity.require_topic(topic, topic_id)
    # An offset without an event was deleted by retention, or is a marker of a transaction.
    span = planned if metrics.consumed == planned.events else topic_identity.kept(planned)
    read = taken(source, span)
    if retried_tasks:
        metrics = replace(metrics, **retried(read.counts))
    if metrics.quarantined:
        few = metrics.quarantined <= FEW
        retried(lambda: send_once(read.bad(), topic, topic_id, on=plan.engine, few=few))
    again, rule = None, plan.rules.get(topic)
    if metrics.dropped_late and rule and span.watermark:
        again = read_again(read, plan.only(name), rule, span.watermark)
    batch = Batch(
        query_id=number[0], batch_id=number[1], topic=topic, start_offsets=span.start, end_offsets=span.end, watermark=span.watermark,
        consumed=metrics.consumed, duplicate=metrics.duplicate, late=len(again.late) if again else 0, quarantined=metrics.quarantined,
        # An event that was read is not lost, even if retention has deleted it since.
        lost=min(planned.events - span.events, max(planned.events - metrics.consumed, 0)),
        # An operator that drops duplicates counts what passes it; an aggregate does not.
        used=again.on_time if again and not metrics.reached else metrics.used, run_id=plan.run_id,
    )  # fmt: skip
    return batch, again.late if again and len(again.late) else None
