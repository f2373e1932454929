"""Keep a table up to date with a topic, exactly once: follow() goes on, drain() takes what is new."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rta import continuity, ledger, results, serving, sources
from rta.claims import refuse_claimed, while_claimed
from rta.errors import QueryError
from rta.event_types import EventType, event_type
from rta.exactly_once import Plan, write_batch
from rta.failures import failures_said
from rta.headway import headway
from rta.lateness import LateRule, Transform, streamed
from rta.ledger import Accounting, Batch
from rta.matching import require_match
from rta.meaning import meaning, require_same
from rta.names import checked
from rta.progress import watched
from rta.settings import private_folder, settings
from rta.tentative import named_state, take_back

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

Position = str | Mapping[int, int] | datetime


@dataclass(frozen=True)
class Drained:
    """What one drain() took from a topic into a table."""

    table: str
    topic: str
    query_id: str | None
    accounting: Accounting
    start: Mapping[int, int]  # partition → the first offset taken
    end: Mapping[int, int]  # partition → the next offset to take
    rows: int  # written or replaced in the table
    seconds: float

    def __str__(self) -> str:
        if not self.accounting.consumed + self.accounting.lost:
            return f"{self.table}: nothing new in {self.topic} ({self.seconds:.1f} s)"
        rate = self.accounting.consumed / max(self.seconds, 1e-9)
        return (
            f"{self.table}: {self.accounting}\n"
            f"  {self.rows:,} rows written from {self.topic} in {self.seconds:.1f} s, {rate:,.0f} events/s"
        )

    __repr__ = __str__


def follow(
    topic: str,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    event: EventType | None = None,
    starting: Position = "earliest",
    max_skew: str = "5 minutes",
    max_events_per_batch: int | None = None,
    trigger: Mapping[str, Any] | None = None,
    checkpoint: str | Path | None = None,
    options: Mapping[str, str] | None = None,
) -> StreamingQuery:
    """Start the query that keeps `table` up to date with `topic`; return Spark's own StreamingQuery.

    transform: the analysis, DataFrame to DataFrame; the table takes the schema of its result, with a
    struct such as `window` flattened to window_start and window_end.
    key: the result's columns that name a row, `window` included; a later row of a key replaces it.
    trigger: as Spark's own, {"processingTime": "5 seconds"}; by default a batch follows a batch.
    checkpoint: a folder; by default one for each table under RTA_HOME.

    Raises TopicError, InputError, TableError, and QueryError where table and checkpoint do not belong
    together: a lost checkpoint is said aloud, never a silent new start.

    >>> from rta.transforms import totals
    >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-follow", partitions=1)
    >>> query = follow("doc-follow", totals, table="doc_follow", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> query.processAllAvailable(); query.stop()
    >>> rta.accounting("doc_follow").consumed
    100
    """
    event, place = event or event_type(topic), str(checkpoint or checkpoint_of(table))

    def start() -> StreamingQuery:
        on, session = serving.engine(), stream.sparkSession
        known, filled = ledger.newest(table, on=on), results.find(table, on=on)
        if filled and filled.position is not None:
            if max_events_per_batch:
                raise QueryError(
                    f"table {table!r} was filled in real time: one micro-batch has to take all that its readers may have seen",
                    do="leave out max_events_per_batch",
                )
            take_back(session, place, table, known)
        require_match(session, place, table, topic, known)
        topic_id = continuity.topic_of(session, place, topic)
        require_same(session, place, table, meaning(events, transform))
        plan = Plan(topic, topic_id, event, max_skew, transform, LateRule.of(stream), session, place, on, settings().run_id)  # fmt: skip
        target = serving.create(table, stream.schema, key, topic=topic, on=on)
        continuity.note(session, place, topic_id)
        writer = (
            stream.writeStream.queryName(table)
            .outputMode("update")
            .option("checkpointLocation", place)
            .foreachBatch(lambda frame, batch_id: write_batch(plan, target, frame, batch_id))
        )
        with named_state(session) if filled else nullcontext():
            return writer.trigger(**(trigger or {"processingTime": "0 seconds"})).start()

    with failures_said(place, table):
        events = sources.read_stream(
            topic, event=event, starting=starting, max_skew=max_skew,
            max_events_per_batch=max_events_per_batch, options=options,
        )  # fmt: skip
        stream = streamed(events, transform)
        return while_claimed(stream.sparkSession, place, table, start)


def drain(
    topic: str, transform: Transform, *, table: str, key: Sequence[str], **how: Any
) -> Drained:
    """Take into `table` what is new in `topic` since the last time, and return the accounting.

    The arguments and the errors are those of follow(), without the trigger; the first time all of the
    topic is new.

    >>> from rta.transforms import totals
    >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-drain", partitions=1)
    >>> drained = drain("doc-drain", totals, table="doc_drain", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> drained.accounting.consumed
    100
    >>> print(drain("doc-drain", totals, table="doc_drain", key=["window", "user_id"], event=rta.USER_EVENTS))
    doc_drain: nothing new in doc-drain (... s)
    """
    began = time.monotonic()
    before = max((batch.batch_id for batch in ledger.newest(checked("table", table))), default=-1)
    reached = headway(topic, lambda: serving.offsets(table).get(topic, {}))
    with watched(f"{topic} → {table}", reached, unit="event"):
        query = follow(
            topic, transform, table=table, key=key, trigger={"availableNow": True}, **how
        )
        with failures_said(how.get("checkpoint") or checkpoint_of(table), table):
            _wait(query)
    taken = ledger.batches(table, after=before)
    return _drained(table, topic, taken, time.monotonic() - began)


def reset(table: str, *, checkpoint: str | Path | None = None) -> None:
    """Drop a serving table with its ledger and its checkpoint, so that the next drain() starts over.

    >>> reset("doc_never_made")
    """
    import shutil

    place = checkpoint or checkpoint_of(checked("table", table))
    refuse_claimed(place, table)
    results.forget(table)
    if table in {known.name for known in serving.tables()}:
        serving.drop(table)
    shutil.rmtree(place, ignore_errors=True)


def _wait(query: StreamingQuery) -> None:
    """Wait for a query that ends by itself."""
    try:
        while not query.awaitTermination(0.2):  # type: ignore[arg-type]
            pass
    except KeyboardInterrupt:  # the Stop button: leave no query behind
        query.stop()
        raise


def _drained(table: str, topic: str, taken: list[Batch], seconds: float) -> Drained:
    """Sum up the batches of one drain."""
    accounting = Accounting.of(taken)
    start: dict[int, int] = {}
    end: dict[int, int] = {}
    for batch in taken:
        start = dict(batch.start_offsets) | start
        end |= batch.end_offsets
    owner = taken[0].query_id if taken else None
    return Drained(table, topic, owner, accounting, start, end, accounting.rows, seconds)


def checkpoint_of(table: str) -> Path:
    """Name the checkpoint of a table."""
    return private_folder(settings().home / "checkpoints") / checked("table", table)
