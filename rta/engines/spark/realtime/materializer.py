"""A table filled in real time: a result is in it milliseconds after its event, an interval is in the ledger when it ends. Experimental.

    topic ── Spark, real-time mode ── changelog topic ── a thread ── table, with the position, in one transaction
                    └── an interval ends ── its progress ── another thread ── ledger, dead letter queue

Before that, a micro-batch takes everything that is in the topic: the history, and after a crash what readers have seen but the
ledger does not have (see rta.engines.spark.rollback). So the rows are exact, and no count decreases. consumed = used + duplicate +
late + quarantined holds for what is in the ledger: everything up to the last interval that ended, or the last start.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes import sources, task_metrics
from rta.engines import changelog
from rta.engines.changelog import Results
from rta.engines.spark import checkpoints, following, topic_identity
from rta.engines.spark.checkpoint_lock import locked, none_left_behind
from rta.engines.spark.duplicates import observed_around
from rta.engines.spark.exactly_once import Plan, accounted, interval_metrics
from rta.engines.spark.internals import calls_python
from rta.engines.spark.lateness import Transform, operators, streamed
from rta.engines.spark.query_errors import failed, failures_said
from rta.engines.spark.query_sources import ONLY, Source
from rta.engines.spark.realtime import topic_sink
from rta.engines.spark.starting import checkpoint_of
from rta.errors import QueryError, RtaError
from rta.events.event_types import EventType
from rta.events.json_format import json_column
from rta.kafka import topics
from rta.kafka.positions import Position
from rta.progress import waiting
from rta.retries import retried
from rta.settings import settings
from rta.store import database, late_rows, ledger, serving_tables
from rta.store.merge_rules import counted as count_column
from rta.store.stored_types import JSON, storable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery

    from rta.kafka.topics import TopicDescription

NO_COUNT: Final = "no count of all rows"
PYTHON: Final = "a Python function"
SPARE: Final = 1  # task slots for the accounting, which reads bad and late events again
_LOOK: Final = 0.1  # seconds between two checks for the end of an interval
_STOP: Final = 120.0  # seconds to wait until results that were sent are in the table


def materialize(
    topic: str,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    event: EventType,
    real_time: str = "5 minutes",
    starting: Position = "earliest",
    max_skew: str = "5 minutes",
    max_events_per_batch: int | None = None,
) -> Materialized:
    """Bring `table` up to date with the topic in a micro-batch, then keep it so in real time. Experimental.

    The arguments and errors are those of rta.follow() and rta.engines.relay(). The result of the transform needs a column that counts
    the events of its key: COUNT(*).

    Args:
        topic: The topic.
        transform: The analysis.
        table: The table.
        key: The columns of the result that identify a row.
        event: The type of the topic's events.
        real_time: The length of an interval, see rta.engines.relay().
        starting: Where a new checkpoint begins.
        max_skew: See rta.follow().
        max_events_per_batch: For the first micro-batches of a new table.
    """
    place = str(checkpoint_of(table))
    with waiting(f"starting {table}"), failures_said(place, table), none_left_behind():
        ready = brought_up(
            topic, transform, table=table, key=key, event=event, starting=starting, max_skew=max_skew, max_events_per_batch=max_events_per_batch,
        )  # fmt: skip
        stream, into = ready.stream, changelog.opened(ready.known)
        try:
            with locked(stream.sparkSession, place, table):
                query = topic_sink.relayed(_messages(stream), into.topic, real_time, place, name=table, slots=ready.slots)  # fmt: skip
        except QueryError:
            if ready.known.position is None:  # refused at its first start: leave nothing behind
                following.reset(table)
            raise
        topic_identity.require_same_topic(stream.sparkSession, place, ready.topic)
        read = {ONLY: Source(topic, event, starting, max_skew)}
        plan = Plan(read, {topic: ready.topic.id}, transform, operators(stream), stream.sparkSession, place, database.engine(), settings().run_id)  # fmt: skip
        return Materialized(query, plan, serving_tables.table(table), ready.count, into)


@dataclass(frozen=True)
class Ready:
    """A table that has everything that was in the topic.

    Args:
        stream: The result of the transform over the topic.
        count: Its column that counts the events of a key.
        slots: The task slots that it takes in real-time mode.
        topic: The topic.
        known: The changelog topic, and where it was.
    """

    stream: DataFrame
    count: str
    slots: int
    topic: TopicDescription
    known: Results


def unsupported(stream: DataFrame) -> str | None:
    """Return why real-time mode cannot run a result, as far as that is known before it starts; None if it may."""
    return NO_COUNT if count_column(stream) is None else PYTHON if calls_python(stream) else None


def brought_up(
    topic: str,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    event: EventType,
    starting: Position,
    max_skew: str,
    max_events_per_batch: int | None,
) -> Ready:
    """Bring a table that is filled in real time up to date with the topic, in a micro-batch; the arguments are those of materialize()."""
    place = str(checkpoint_of(table))
    described = topics.description(topic)
    events = sources.good_stream(described, event, starting=starting, max_skew=max_skew)
    stream = observed_around(streamed(events, transform))
    if (count := count_column(stream)) is None:
        raise QueryError(
            "real-time mode needs a count of all rows, which tells the newer of two results of a key",
            found=f"{NO_COUNT} among {', '.join(stream.columns)}",
            fix='add F.count("*").alias("events") to the transform\'s agg(…), or use engine="spark", real_time=None',
        )
    if calls_python(stream):
        raise QueryError("real-time mode cannot run this query", found=PYTHON, fix=topic_sink.IN_BATCHES)  # fmt: skip
    slots = topic_sink.require_slots(stream, described.partitions, spare=SPARE)
    known = changelog.find(table) or _noted(stream, table, place)
    following.drain(
        topic, transform, table=table, key=key, event=event, starting=starting, max_skew=max_skew,
        max_events_per_batch=max_events_per_batch if known.position is None else None,
    )  # fmt: skip
    return Ready(stream, count, slots, described, known)


def _messages(stream: DataFrame) -> DataFrame:
    """Turn results into Kafka messages without a key: all columns as one JSON object."""
    from pyspark.sql import functions as F

    plain = storable(stream, JSON)
    row = json_column([F.col(f"`{name}`") for name in plain.columns])
    nothing = F.lit(None).cast("binary")
    return plain.select(nothing.alias("key"), row.cast("binary").alias("value"))


def _noted(stream: DataFrame, table: str, place: str) -> Results:
    """Record that a new table is filled in real time. Raises QueryError if micro-batches have filled it already."""
    there = checkpoints.query_id(stream.sparkSession, place) is not None
    if there and ledger.newest(table):  # a checkpoint without its table is refused elsewhere
        raise QueryError(
            f"table {table!r} is filled in micro-batches, whose state has another format than that of real-time mode",
            found=place,
            fix=f'continue with engine="spark" and real_time=None, or rta.reset({table!r}) and fill it again',
        )
    return changelog.note(table)


class Materialized:
    """A query in real-time mode, and the two threads that write its results and its accounting to the database."""

    def __init__(
        self,
        query: StreamingQuery,
        plan: Plan,
        table: serving_tables.Table,
        count: str,
        into: Results,
    ) -> None:
        self.query, self.plan, self.table, self.count, self.into = query, plan, table, count, into
        self.position, self.rows, self.entered = into.position or 0, 0, 0
        self.failure: Exception | None = None
        self.threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True, name=f"{table.name} {work.__name__}")
            for work in (self._take_results, self._account)
        ]  # fmt: skip
        for thread in self.threads:
            thread.start()

    @property
    def name(self) -> str:
        """The table."""
        return self.table.name

    @property
    def isActive(self) -> bool:  # noqa: N802 - Spark's word
        """Whether it runs."""
        return self.failure is None and bool(self.query.isActive)

    @property
    def lastProgress(self) -> Any:  # noqa: N802
        """Spark's progress of the newest interval that has ended."""
        return self.query.lastProgress

    @property
    def recentProgress(self) -> Any:  # noqa: N802
        """Spark's progress of the newest intervals."""
        return self.query.recentProgress

    def exception(self) -> Exception | None:
        """Return why it has ended; None if it runs, or was stopped."""
        return self.failure or self.query.exception()

    def awaitTermination(self, timeout: float | None = None) -> bool:  # noqa: N802
        """Wait until it has ended, or so many seconds; return whether it has. Raise its error, if there was one."""
        ended = self.query.awaitTermination(timeout)  # type: ignore[arg-type]
        self.check()
        return ended is not False

    def processAllAvailable(self) -> None:  # noqa: N802
        """Wait until all that is in the topic now is in the table and the ledger: until the interval has ended that has it.

        Raises:
            QueryError: It has failed, or was stopped.
        """
        [topic] = [source.topic for source in self.plan.sources.values()]
        ends = {p: end for p, (_, end) in topics.offsets(topic).items()}
        while any(end > self._entered(topic).get(p, 0) for p, end in ends.items()):
            self.check()
            if not self.query.isActive and not any(thread.is_alive() for thread in self.threads):
                raise self.exception() or QueryError(f"the query {self.name!r} was stopped before its end", fix="follow it again: it goes on where it was")  # fmt: skip
            time.sleep(_LOOK)

    def _entered(self, topic: str) -> Mapping[int, int]:
        return ledger.offsets(self.table.name, on=self.plan.engine).get(topic, {})

    def check(self) -> None:
        """Raise the error of the query or of one of the threads, if there was one."""
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Stop the query, and wait until what it has sent is in the table. Raise its error, if there was one."""
        with failures_said(self.plan.checkpoint, self.table.name):
            self.query.stop()
        deadline = time.monotonic() + _STOP
        for thread in self.threads:
            thread.join(max(deadline - time.monotonic(), 0))
        self.check()
        if any(thread.is_alive() for thread in self.threads):
            raise QueryError(
                f"some results are not in table {self.table.name!r} yet",
                fix="check that Kafka and the database answer; the next start adds what is missing",
            )

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run one of the threads; an error in it stops the query, and is kept for check()."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised by check()
            if not isinstance(error, RtaError):
                error = failed(self.plan.checkpoint, self.table.name, error)
            self.failure = self.failure or error
            with suppress(Exception):  # the query may be what has failed
                self.query.stop()

    def _take_results(self) -> None:
        """Write what is on the changelog topic to the table, until the query has ended and everything is there."""
        written = changelog.materialize(
            self.into, self.table, self.count,
            engine=self.plan.engine, ended=lambda: not self.query.isActive,
        )  # fmt: skip
        for position, rows in written:
            self.rows += rows
            self.position = position  # last: _enter() waits for it

    def _account(self) -> None:
        """Enter each interval that ends into the ledger, until the query has ended."""
        known = ledger.newest(self.table.name, on=self.plan.engine)
        last = max((batch.batch_id for batch in known), default=-1)
        over = False
        while not over:
            time.sleep(_LOOK)
            over = not self.query.isActive
            for progress in self._ended_after(last):
                self._enter(progress)
                last = progress["batchId"]
        if error := self.query.exception():
            raise error

    def _ended_after(self, last: int) -> Iterator[dict[str, Any]]:
        """Yield Spark's progress of each interval after `last`."""
        newest = self.query.lastProgress
        news = self.query.recentProgress if newest and newest["batchId"] > last else []
        for each in news:
            if each["batchId"] > last:
                if each["batchId"] != last + 1:  # the next start counts its events again
                    raise QueryError(
                        f"Spark no longer has the figures of an interval of table {self.table.name!r}",
                        found=f"interval {last + 1}", fix="start it again",
                    )  # fmt: skip
                yield json.loads(each.json)
                last += 1

    def _enter(self, progress: dict[str, Any]) -> None:
        """Account for an interval, and enter it into the ledger once all of its results are in the table."""
        number, plan = progress["batchId"], self.plan
        end = retried(lambda: topics.offsets(self.into.topic))[0][1]
        spans = checkpoints.spans(plan.session, plan.checkpoint, number)
        again = task_metrics.note(
            plan.session, self.table.name, str(self.query.runId), running=False
        )
        counted = interval_metrics(progress)
        [batch], late = accounted(plan, spans, counted, progress["id"], number, retried_tasks=again)
        while self.position < end:
            if self.failure:
                return
            time.sleep(0.01)
        rows = self.rows
        batch = replace(batch, rows=rows - self.entered)
        retried(lambda: self._commit(batch, late.get(batch.topic)), patience=database.PATIENCE)
        self.entered = rows

    def _commit(self, batch: ledger.Batch, late: pa.Table | None) -> None:
        with database.writing(self.plan.engine) as connection:
            if ledger.enter(connection, self.table.name, batch) and late:
                late_rows.keep(connection, self.table.name, batch, late)
