"""Keep a table up to date with a topic, exactly once: follow() goes on, drain() takes what is new."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta import html
from rta.dataframes import sources
from rta.engines import changelog
from rta.engines.spark import checkpoints, topic_identity
from rta.engines.spark.checkpoint_lock import begun, refuse_claimed, released, while_claimed
from rta.engines.spark.checkpoints import located, taken_back
from rta.engines.spark.duplicates import observed_below
from rta.engines.spark.exactly_once import Plan, write_batch
from rta.engines.spark.executors import require_shared
from rta.engines.spark.fingerprint import meaning, require_same
from rta.engines.spark.lateness import LateRule, Transform, streamed
from rta.engines.spark.query_errors import failures_said
from rta.engines.spark.rollback import named_state, take_back
from rta.engines.spark.start_checks import require_match
from rta.errors import AccountingWarning, QueryError
from rta.events.event_types import EventType, event_type
from rta.kafka.headway import headway
from rta.names import checked
from rta.progress import said, watched
from rta.settings import private_folder, settings
from rta.store import ledger, serving
from rta.store.ledger import Accounting, Batch, flaws_said

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

Position = str | Mapping[int, int] | datetime
_ALWAYS: Final = {"processingTime": "0 seconds"}
_asked: Final[
    dict[str, tuple[str, object]]
] = {}  # by checkpoint: the run of a query that was started here, and its arguments


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

    def _repr_html_(self) -> str:
        facts = [("table", self.table), ("topic", self.topic), ("rows written", f"{self.rows:,}"), ("seconds", f"{self.seconds:,.1f}")]  # fmt: skip
        return html.table(facts) + self.accounting._repr_html_()


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
    """Start the query that keeps `table` up to date with `topic`.

    If it is called again with the same arguments, as when a cell is run again, it stops the query that runs and starts it where it was.

    Args:
        topic: The topic to read.
        transform: The analysis, DataFrame in and DataFrame out. The table takes the schema of its result; a struct such as
            `window` becomes window_start and window_end.
        table: The table to keep up to date. It is made once Spark has accepted the query.
        key: The result's columns that name a row, `window` included; a later row of a key replaces it.
        event: The type of the topic's events; by default the one that is named like the topic.
        starting: Where a new checkpoint begins, as in `rta.read_batch`.
        max_skew: How far an event's time may be ahead of its record's time.
        max_events_per_batch: At most so many events of all partitions in one micro-batch.
        trigger: As Spark's own, {"processingTime": "5 seconds"}; by default a micro-batch follows a micro-batch.
        checkpoint: A folder; by default one for each table under RTA_HOME.
        options: For Spark's Kafka source.

    Returns:
        Spark's own StreamingQuery.

    Raises:
        TopicError: The topic is missing, or is not the one that was read before.
        InputError: An argument is wrong.
        TableError: The table does not fit the result.
        QueryError: Table and checkpoint do not belong together (a lost checkpoint is never a silent new start), or another query
            fills the table.

    >>> from rta.transforms import totals
    >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-follow", partitions=1)
    >>> query = follow("doc-follow", totals, table="doc_follow", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> query.processAllAvailable(); query.stop()
    >>> rta.accounting("doc_follow").consumed
    100
    """
    query, _ = _started(
        topic, transform, table=table, key=key, event=event, starting=starting, max_skew=max_skew,
        max_events_per_batch=max_events_per_batch, trigger=trigger, checkpoint=checkpoint, options=options, at_once=True,
    )  # fmt: skip
    return query


def _started(
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
    at_once: bool = False,
) -> tuple[StreamingQuery, serving.Table]:
    """Start the query of follow(); return it with its table.

    at_once: make the table when Spark has accepted the query; else the first micro-batch makes it with its rows.
    """
    from rta.dataframes.session import spark

    event, place = event or event_type(topic), located(checkpoint or checkpoint_of(table))
    on, session = serving.engine(), spark()

    target: serving.Table

    def start() -> StreamingQuery:
        nonlocal target
        known, filled = ledger.newest(table, on=on), changelog.find(table, on=on)
        if filled and filled.position is not None:
            if max_events_per_batch:
                raise QueryError(
                    f"table {table!r} was filled in real time: one micro-batch has to take all that its readers may have seen",
                    fix="leave out max_events_per_batch",
                )
            take_back(session, place, table, known)
        require_match(session, place, table, topic, known)
        topic_id = topic_identity.topic_of(session, place, topic)
        plan = Plan(topic, topic_id, event, max_skew, transform, LateRule.of(stream), session, place, on, settings().run_id, options or {})  # fmt: skip
        with taken_back(session, place, lambda: ledger.newest(table, on=on)):
            require_same(session, place, table, means, begun=bool(known))
            target = serving.planned(table, stream.schema, key, topic=topic, on=on)
            topic_identity.note(session, place, topic_id)
            writer = (
                stream.writeStream.queryName(table)
                .outputMode("update")
                .option("checkpointLocation", place)
                .foreachBatch(lambda frame, batch_id: write_batch(plan, target, frame, batch_id))
            )
            with named_state(session) if filled else nullcontext():
                query = begun(writer.trigger(**(trigger or _ALWAYS)).start)
            try:
                if at_once:
                    serving.make(target)
            except BaseException:
                query.stop()
                raise
            return query

    with failures_said(place, table):
        require_shared(session, place)
        # A checkpoint that goes on knows its offsets; the topic may no longer have those where it began.
        goes_on = checkpoints.newest(session, place, "commits") >= 0
        events = sources.read_stream(
            topic, event=event, starting="earliest" if goes_on else starting, max_skew=max_skew,
            max_events_per_batch=max_events_per_batch, options=options,
        )  # fmt: skip
        stream = observed_below(streamed(events, transform))
        means = meaning(events, transform)
        asked = (topic, means, table, tuple(key), event, starting, max_skew, max_events_per_batch, trigger, options, on)  # fmt: skip
        _make_way(session, place, table, asked)
        query = while_claimed(session, place, table, start)
        _asked[place] = str(query.runId), asked
    return query, target


def _make_way(session: SparkSession, place: str, table: str, asked: object) -> None:
    """Stop the query that was started with the same arguments here: a cell that is run again means its own query."""
    run, before = _asked.get(place, (None, None))
    if run is None or before != asked:
        return
    for query in session.streams.active:
        if str(query.runId) == run:
            said(f"{table}: the query that ran was stopped, and starts anew where it was")
            query.stop()
            released(place)


def drain(
    topic: str, transform: Transform, *, table: str, key: Sequence[str], **how: Any
) -> Drained:
    """Take into `table` what is new in `topic` since the last time, and end.

    The arguments and the errors are those of `follow`, without the trigger. The first time, all of the topic is new. If the first time
    fails or is interrupted, there is no table.

    Returns:
        The accounting of what was taken.

    >>> from rta.transforms import totals
    >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-drain", partitions=1)
    >>> drained = drain("doc-drain", totals, table="doc_drain", key=["window", "user_id"], event=rta.USER_EVENTS)
    >>> drained.accounting.consumed
    100
    >>> print(drain("doc-drain", totals, table="doc_drain", key=["window", "user_id"], event=rta.USER_EVENTS))
    doc_drain: nothing new in doc-drain (... s)
    """
    start = time.monotonic()
    before = max((batch.batch_id for batch in ledger.newest(checked("table", table))), default=-1)
    reached = headway(topic, lambda: serving.offsets(table).get(topic, {}))
    with watched(f"{topic} → {table}", reached, unit="event"):
        query, target = _started(topic, transform, table=table, key=key, trigger={"availableNow": True}, **how)  # fmt: skip
        with failures_said(how.get("checkpoint") or checkpoint_of(table), table):
            wait(query)
    serving.make(target)  # of a topic without events, too, there is an answer
    taken = ledger.batches(table, after=before)
    if flawed := [batch for batch in taken if batch.flaw]:
        warnings.warn(AccountingWarning(flaws_said(table, flawed)), stacklevel=2)
    return _drained(table, topic, taken, time.monotonic() - start)


def reset(table: str, *, checkpoint: str | Path | None = None) -> None:
    """Drop a table with its ledger and its checkpoint, so that the next drain() starts over.

    Args:
        table: The table; nothing happens if there is none.
        checkpoint: Its folder, if it is not the one under RTA_HOME.

    >>> reset("doc_never_made")
    """
    place = located(checkpoint or checkpoint_of(checked("table", table)))
    refuse_claimed(place, table)
    checkpoints.remove(
        place
    )  # first: a table without its checkpoint is refused, and this can be called again
    changelog.forget(table)
    if table in {known.name for known in serving.tables()}:
        serving.drop(table)


def wait(query: StreamingQuery) -> None:
    """Wait for a query that ends by itself; whoever is interrupted leaves no query behind."""
    try:
        while not query.awaitTermination(0.2):  # type: ignore[arg-type]
            pass
    except BaseException:
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
