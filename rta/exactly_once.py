"""The exactly-once sink: one micro-batch's rows, offsets and accounting in one transaction.

An interval of real-time mode is accounted for by the same rules: see rta.materialized.

Exactly once = a replayable source + a checkpoint + a sink that writes a micro-batch's rows and its
(query id, batch id) in one transaction. After a crash Spark runs the last batch again with its id;
the ledger knows it, and the rows are not written twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rta import checkpoints, continuity, serving, sources, spending
from rta.checkpoints import Span
from rta.facts import BatchFacts, batch_facts
from rta.late_reading import late_in, late_places
from rta.lateness import LateRule, Transform
from rta.ledger import Batch
from rta.retries import retried

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from sqlalchemy import Engine

    from rta.event_types import EventType

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


def write_batch(plan: Plan, table: serving.Table, frame: DataFrame, batch_id: int) -> None:
    """Write one micro-batch: rows, offsets and accounting in one transaction, bad events to the DLQ."""
    session = plan.session
    planned = checkpoints.span(session, plan.checkpoint, batch_id)
    with continuity.explained(plan.topic_id, planned):
        # Exactly one evaluation: the metrics below are wrong after none or two.
        rows = frame.toArrow()
    facts = batch_facts(session)
    spending.note(session, table.name)
    query_id = str(session.sparkContext.getLocalProperty("sql.streaming.queryId"))
    batch, late = accounted(plan, planned, facts, query_id, batch_id)
    # Again is safe, also where only the answer was lost: the ledger knows the batch.
    retried(lambda: serving.commit_batch(plan.engine, table, batch, rows, late), patience=PATIENCE)


def accounted(
    plan: Plan, planned: Span, facts: BatchFacts, query_id: str, batch_id: int
) -> tuple[Batch, pa.Table | None]:
    """Tell where the events of a span went: bad ones go to the DLQ, late ones are found by reading the span again; they are the second answer."""
    continuity.require_topic(plan.topic, plan.topic_id)
    # An offset without an event is one that retention took, or a mark of a transaction.
    span = planned if facts.consumed == planned.events else continuity.kept(planned)
    if facts.quarantined:
        continuity.patiently(
            lambda: sources.quarantine(
                plan.topic, plan.event, start=span.start, end=span.end, max_skew=plan.max_skew
            )
        )
    places = _late(plan, span) if facts.dropped_late else None
    late = len(places or ())
    batch = Batch(
        query_id=query_id, batch_id=batch_id, topic=plan.topic, start_offsets=span.start, end_offsets=span.end, watermark=span.watermark,
        consumed=facts.consumed, duplicate=facts.duplicate, late=late, quarantined=facts.quarantined,
        lost=planned.events - span.events,
        used=facts.consumed - facts.duplicate - late - facts.quarantined, run_id=plan.run_id,
    )  # fmt: skip
    return batch, places


def _late(plan: Plan, span: checkpoints.Span) -> pa.Table | None:
    """Find the late events of a micro-batch: where they came from, and when their state had ended."""
    if not (plan.late_rule and span.watermark):
        return None
    rows = late_in(
        plan.topic, plan.event, plan.transform, plan.late_rule,
        start=span.start, end=span.end, watermark=span.watermark, max_skew=plan.max_skew,
    )  # fmt: skip
    return late_places(rows, plan.late_rule, plan.event.event_time).toArrow()
