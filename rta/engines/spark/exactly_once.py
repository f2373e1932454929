"""The exactly-once sink: one micro-batch's rows, offsets and accounting in one transaction.

An interval of real-time mode is accounted for by the same rules: see rta.engines.spark.realtime.materializer.

Exactly once = a replayable source + a checkpoint + a sink that writes a micro-batch's rows and its
(query id, batch id) in one transaction. After a crash Spark runs the last batch again with its id;
the ledger knows it, and the rows are not written twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes import sources, task_metrics
from rta.engines.spark import checkpoints, topic_identity
from rta.engines.spark.batch_metrics import BatchFacts, batch_facts
from rta.engines.spark.checkpoints import Span
from rta.engines.spark.late_reading import Range, ReadAgain, read_again
from rta.engines.spark.lateness import LateRule, Transform
from rta.engines.spark.sent_once import send_once
from rta.retries import retried
from rta.store import serving
from rta.store.ledger import Batch

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from sqlalchemy import Engine

    from rta.events.event_types import EventType

PATIENCE: Final = 30.0  # seconds; the query outlives the restart of its database


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
    options: Mapping[str, str] = field(
        default_factory=dict
    )  # of the source: each range is read again with them

    def range(self, span: Span) -> Range:
        """Return what a micro-batch has read, so that it can be read again."""
        return Range(self.topic, self.event, span.start, span.end, self.max_skew, self.options)


def write_batch(plan: Plan, table: serving.Table, frame: DataFrame, batch_id: int) -> None:
    """Write one micro-batch: rows, offsets and accounting in one transaction, bad events to the DLQ."""
    session = plan.session
    planned = checkpoints.span(session, plan.checkpoint, batch_id)
    with topic_identity.explained(plan.topic_id, planned):
        # Exactly one evaluation: the metrics below are wrong after none or two.
        rows = frame.toArrow()
    facts = batch_facts(session)
    again = task_metrics.note(session, table.name)
    query_id = str(session.sparkContext.getLocalProperty("sql.streaming.queryId"))
    batch, late = accounted(plan, planned, facts, query_id, batch_id, retried_tasks=again)
    # Again is safe, also where only the answer was lost: the ledger knows the batch.
    retried(lambda: serving.commit_batch(plan.engine, table, batch, rows, late), patience=PATIENCE)


def accounted(
    plan: Plan,
    planned: Span,
    facts: BatchFacts,
    query_id: str,
    batch_id: int,
    *,
    retried_tasks: bool = False,
) -> tuple[Batch, pa.Table | None]:
    """Tell where the events of a span went, each term counted on its own; the late ones are the second answer.

    Bad events go to the DLQ. If Spark dropped rows as late, the span is read again, exactly as the query has read it.
    retried_tasks: Spark may have counted the events of a task that ran twice, twice: then they are counted by reading them again.
    """
    topic_identity.require_topic(plan.topic, plan.topic_id)
    # An offset without an event is one that retention took, or a mark of a transaction.
    span = planned if facts.consumed == planned.events else topic_identity.kept(planned)
    how: dict[str, Any] = {
        "start": span.start,
        "end": span.end,
        "max_skew": plan.max_skew,
        "options": plan.options,
    }
    if retried_tasks:
        facts = replace(facts, **topic_identity.patiently(lambda: sources.count_range(plan.topic, plan.event, **how)))  # fmt: skip
    if facts.quarantined:
        bad = sources.quarantined(plan.topic, event=plan.event, **how)
        topic_identity.patiently(lambda: send_once(bad, plan.topic, plan.topic_id, on=plan.engine))
    again = _read_again(plan, span) if facts.dropped_late else None
    batch = Batch(
        query_id=query_id, batch_id=batch_id, topic=plan.topic, start_offsets=span.start, end_offsets=span.end, watermark=span.watermark,
        consumed=facts.consumed, duplicate=facts.duplicate, late=len(again.late) if again else 0, quarantined=facts.quarantined,
        # What was read is not lost, even if retention has deleted it since.
        lost=min(planned.events - span.events, max(planned.events - facts.consumed, 0)),
        # An operator that drops duplicates has counted what passes it; an aggregate has not.
        used=again.on_time if again and not facts.reached else facts.used, run_id=plan.run_id,
        doubt=None if bool(facts.dropped_late) == bool(again and again.late) else
        f"Spark dropped {facts.dropped_late:,} rows as late, and none of the events was found late again",
    )  # fmt: skip
    return batch, again.late if again else None


def _read_again(plan: Plan, span: Span) -> ReadAgain | None:
    """Read a micro-batch again, in which Spark has dropped rows as late."""
    if not (plan.late_rule and span.watermark):
        return None
    return read_again(plan.range(span), plan.transform, plan.late_rule, span.watermark)
