"""Keep a table up to date with a topic or several, exactly once: follow() continues, drain() takes what is new and ends."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta import html
from rta.dataframes.internals import analyzed
from rta.dataframes.session import spark
from rta.dataframes.starting_offsets import Position
from rta.engines import changelog
from rta.engines.sinks import Sink
from rta.engines.spark import checkpoints, topic_identity
from rta.engines.spark.checkpoint_lock import (
    begun,
    locked,
    none_left_behind,
    refuse_locked,
    released,
    stopped_by,
)
from rta.engines.spark.checkpoints import located, taken_back
from rta.engines.spark.duplicates import observed_around
from rta.engines.spark.exactly_once import Plan, write_batch
from rta.engines.spark.how_far import phase, reading
from rta.engines.spark.lateness import (
    Frames,
    Transform,
    late_rules,
    operators,
    streamed,
)
from rta.engines.spark.output_modes import output_mode
from rta.engines.spark.plans import Node
from rta.engines.spark.query_errors import failures_said
from rta.engines.spark.query_sources import (
    Source,
    Sources,
    Topics,
    query_sources,
    require_parameters,
    titled,
)
from rta.engines.spark.rollback import named_state, roll_back
from rta.engines.spark.start_checks import (
    fingerprint,
    require_match,
    require_same,
    require_shared,
    with_topics,
)
from rta.errors import AccountingWarning, InputError, QueryError
from rta.events.event_types import EventType
from rta.kafka import topics
from rta.kafka.topics import TopicDescription, headway
from rta.names import checked
from rta.progress import doing, said, waiting, watched
from rta.settings import private_folder, settings
from rta.store import ledger, serving_tables
from rta.store.database import engine
from rta.store.expiry import Expiry
from rta.store.ledger import Accounting, Batch, by_topic, flaws_said

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery
    from sqlalchemy import Engine

_ALWAYS: Final = {"processingTime": "0 seconds"}
_NOW: Final = {"availableNow": True}
_FINAL: Final = {
    "Deduplicate",
    "DeduplicateWithinWatermark",
    "Join",
}  # a row that they have given never changes
_running: Final[dict[str, tuple[str, Any]]] = {}
"""Checkpoint → the run of the query that was started here, and what it was started for."""


@dataclass(frozen=True)
class Drained:
    """What one drain() took from a topic, or several, into a table.

    Args:
        table: The table.
        topic: The topic, or the topics.
        accounting: Where the events went, those of all topics together.
        start: partition → the first offset taken; empty if there are several topics.
        end: partition → the next offset to take; empty if there are several topics.
        rows: How many rows were written or replaced in the table.
        seconds: How long it took.
        by_topic: topic → where its events went.
    """

    table: str
    topic: str
    accounting: Accounting
    start: Mapping[int, int]
    end: Mapping[int, int]
    rows: int
    seconds: float
    by_topic: Mapping[str, Accounting] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.accounting.consumed + self.accounting.lost:
            return f"{self.table}: nothing new in {self.topic} ({self.seconds:.1f} s)"
        rate = self.accounting.consumed / max(self.seconds, 1e-9)
        several = self.by_topic.items() if len(self.by_topic) > 1 else ()
        return (
            f"{self.table}: {self.accounting}\n"
            + "".join(f"  {topic}: {accounting}\n" for topic, accounting in several)
            + f"  {self.rows:,} rows written from {self.topic} in {self.seconds:.1f} s, {rate:,.0f} events/s"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        facts = [("table", self.table), ("topic", self.topic), ("rows written", f"{self.rows:,}"), ("seconds", f"{self.seconds:,.1f}")]  # fmt: skip
        several = self.by_topic.items() if len(self.by_topic) > 1 else ()
        each = "".join(
            html.card([("topic", topic)]) + terms._repr_html_() for topic, terms in several
        )
        return (
            html.card(facts) + (each or self.accounting._repr_html_()) + html.card([], self._next())
        )

    def _next(self) -> str:
        """Say what a person can do with it."""
        late = f", `rta.late({self.table!r})` its late events" if self.accounting.late else ""
        bad = "".join(
            f", `rta.dlq.dead_letters({topic!r})` the bad ones"
            for topic, terms in self.by_topic.items() if terms.quarantined
        )  # fmt: skip
        return f"`rta.read({self.table!r})` reads the table{late}{bad}"


@dataclass(frozen=True)
class Request:
    """The arguments of follow() or drain(). Two are equal if their queries would do the same, apart from the transform."""

    sources: Sources
    # Not compared: a cell that is run again defines another function. Its fingerprint is compared.
    transform: Transform = field(compare=False)
    table: str
    key: tuple[str, ...]
    mode: str | None
    trigger: Mapping[str, Any]
    checkpoint: str
    keep: str | None = None
    also: Sequence[Sink] = field(
        default=(), compare=False
    )  # a function is another one in a cell that is run again

    @property
    def only(self) -> Source:
        """The topic, if it is one. Raises QueryError if there are several."""
        if len(self.sources) > 1:
            raise QueryError(
                f"this works with queries of one topic; that of {self.table!r} reads several", found=titled(self.sources),
                fix="give the table of a query that reads one topic",
            )  # fmt: skip
        return next(iter(self.sources.values()))

    @property
    def topic(self) -> str:
        """The name of the only topic."""
        return self.only.topic

    @property
    def event(self) -> EventType:
        """The type of the events of the only topic."""
        return self.only.event

    @property
    def max_skew(self) -> str:
        """How far an event of the only topic may be ahead."""
        return self.only.max_skew

    @property
    def options(self) -> Mapping[str, str]:
        """The options of the only topic."""
        return self.only.options


def follow(
    topic: Topics,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str] = (),
    event: EventType | None = None,
    starting: Position = "earliest",
    max_skew: str = "5 minutes",
    max_events_per_batch: int | None = None,
    mode: str | None = None,
    trigger: Mapping[str, Any] | None = None,
    keep: str | None = None,
    also: Sequence[Sink] = (),
    checkpoint: str | Path | None = None,
    options: Mapping[str, str] | None = None,
) -> StreamingQuery:
    """Start the query that keeps a table up to date with a topic, or with several.

    If it is called again with the same arguments, as by a cell that is run again, it stops the running query and starts it where it was.
    Nothing is created before Spark has accepted the query.

    Args:
        topic: The topic to read; or several by the names of the transform's parameters, each a topic, an event type (its name is the
            topic) or an rta.engines.Source, which has its own options: {"views": VIEWS, "purchases": PURCHASES}.
        transform: The analysis, DataFrame to DataFrame; of several topics it takes several: def transform(views, purchases).
        table: Takes the schema of the transform's result; a struct such as `window` becomes window_start and window_end.
        key: The columns of the result that identify a row, `window` included; a later row of a key replaces the earlier one. Without a key
            rows are only added, each once: for results that never change, such as those of a filter, of explode or in append mode.
        event: The type of the topic's events; by default the one with the name of the topic.
        starting: Where a new checkpoint begins, see rta.read_batch(); an existing one continues where it was.
        max_skew: How far an event's own time may be ahead of Kafka's before it counts as bad, such as "5 minutes".
        max_events_per_batch: The most events of all partitions in one micro-batch; by default all available ones.
        mode: Spark's output mode: "update", the default where Spark allows it, writes a row whenever it changes; "append" only once it is
            final, when the watermark has passed it; "complete" replaces the whole table, so the result must be small.
        trigger: Spark's own, such as {"processingTime": "5 seconds"}; by default the next micro-batch starts at once.
        keep: How long rows are kept, such as "90 days": older ones are deleted, by the end of their window or their first TIMESTAMP,
            measured from the watermark. By default for ever.
        also: Where the rows of each micro-batch go beside the table: rta.engines.TopicSink, ParquetSink, DeltaSink, or a function of
            (rows: pyarrow.Table, batch: rta.engines.BatchId), which may get the same micro-batch again after a crash.
        checkpoint: A folder; by default one for each table under RTA_HOME.
        options: For Spark's Kafka source.

    Returns:
        Spark's own StreamingQuery, with the name of the table.

    Raises:
        TopicError: If there is no such topic.
        InputError: If an argument is not what it should be, or Spark has no such output mode for this transform.
        TableError: If the table exists with another key or other columns.
        QueryError: If table and checkpoint do not belong together (after a lost checkpoint nothing starts over silently), or another
            query fills the table.

    Example:
        >>> from rta.transforms import totals
        >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-follow", partitions=1)
        >>> query = follow("doc-follow", totals, table="doc_follow", key=["window", "user_id"], event=rta.USER_EVENTS)
        >>> query.processAllAvailable(); query.stop()
        >>> rta.accounting("doc_follow").consumed
        100
    """
    sources = query_sources(
        topic, event, starting=starting, max_skew=max_skew, max_events_per_batch=max_events_per_batch,
        options=dict(options or {}),
    )  # fmt: skip
    place = located(checkpoint or checkpoint_of(table))
    asked = Request(
        sources, transform, table, tuple(key), mode, dict(trigger or _ALWAYS), place, keep, also
    )
    with waiting(f"starting {table}"), none_left_behind():
        query, target = _started(asked)
        serving_tables.make(target)
    return query


def restart(table: str) -> StreamingQuery:
    """Start the query again that follow() has started last for a table in this session; it continues where it was.

    A query that still runs is stopped first.

    Args:
        table: The table that it keeps up to date.

    Raises:
        QueryError: If this session has started none.

    Example:
        >>> restart("doc_never_followed")
        Traceback (most recent call last):
        rta.errors.QueryError: this session has started no query for 'doc_never_followed'; fix: call rta.follow(...)
    """
    if (asked := kept_here().get(table)) is None:
        raise QueryError(
            f"this session has started no query for {table!r}", fix="call rta.follow(…)"
        )
    with none_left_behind():
        return _started(asked)[0]


def kept_here() -> dict[str, Request]:
    """Return what follow() was asked for last, by table: what restart() can start again.

    >>> "doc_never_followed" in kept_here()
    False
    """
    return {asked.table: asked for _, (asked, *_) in _running.values() if asked.trigger != _NOW}


def drain(
    topic: Topics,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str] = (),
    event: EventType | None = None,
    starting: Position = "earliest",
    max_skew: str = "5 minutes",
    max_events_per_batch: int | None = None,
    mode: str | None = None,
    keep: str | None = None,
    also: Sequence[Sink] = (),
    checkpoint: str | Path | None = None,
    options: Mapping[str, str] | None = None,
) -> Drained:
    """Add to a table what is new in a topic, or in several, since the last call.

    The arguments and errors are those of follow(), without the trigger. At the first call all of the topic is new; if that call fails
    or is interrupted, there is no table.

    Returns:
        What was taken, with its accounting.

    Example:
        >>> from rta.transforms import totals
        >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-drain", partitions=1)
        >>> drained = drain("doc-drain", totals, table="doc_drain", key=["window", "user_id"], event=rta.USER_EVENTS)
        >>> drained.accounting.consumed
        100
        >>> print(drain("doc-drain", totals, table="doc_drain", key=["window", "user_id"], event=rta.USER_EVENTS))
        doc_drain: nothing new in doc-drain (... s)
    """
    start = time.monotonic()
    begun: list[StreamingQuery] = []
    sources = query_sources(
        topic, event, starting=starting, max_skew=max_skew, max_events_per_batch=max_events_per_batch,
        options=dict(options or {}),
    )  # fmt: skip
    with (
        watched(
            f"{titled(sources)} → {table}", reading(headway_of(sources, lambda topic: ledger.offsets(table).get(topic, {})), begun), unit="event", phase=phase(begun)
        ),
        none_left_behind(),
    ):  # fmt: skip
        before = max((batch.batch_id for batch in ledger.newest(checked("table", table))), default=-1)  # fmt: skip
        place = located(checkpoint or checkpoint_of(table))
        asked = Request(sources, transform, table, tuple(key), mode, _NOW, place, keep, also)
        query, target = _started(asked)
        begun.append(query)
        doing("its first micro-batch is planned")
        with failures_said(asked.checkpoint, table):
            query.awaitTermination()
        for sink in also:
            getattr(sink, "close", lambda: None)()
    if by := stopped_by(asked.checkpoint):
        raise QueryError(
            f"the query that fills {table!r} was stopped before its end",
            found=f"at the request of process {by}", fix="run it again: it goes on where it was",
        )  # fmt: skip
    serving_tables.make(target)  # also if the topic has no events
    taken = ledger.batches(table, after=before)
    if flawed := [batch for batch in taken if batch.flaw]:
        warnings.warn(AccountingWarning(flaws_said(table, flawed)), stacklevel=2)
    return _drained(table, titled(sources), taken, time.monotonic() - start)


def headway_of(
    sources: Sources, reached: Callable[[str], Mapping[int, int]]
) -> Callable[[], tuple[int, int]]:
    """Return a function for rta.progress.watched(): how many events of all topics were read since its first call, and of how many.

    Args:
        sources: The topics.
        reached: Returns of a topic partition → the next offset to read.
    """
    each = [headway(source.topic, partial(reached, source.topic)) for source in sources.values()]

    def look() -> tuple[int, int]:
        done, of = zip(*(ask() for ask in each), strict=True)
        return sum(done), sum(of)

    return look


def _started(asked: Request) -> tuple[StreamingQuery, serving_tables.Table]:
    """Start a query; return it with its table, which the first micro-batch creates if it does not exist by then."""
    doing("Spark")
    session, database, place = spark(), engine(), asked.checkpoint
    doing("topic and checkpoint are checked")
    with failures_said(place, asked.table):
        require_shared(session, place)
        # An existing checkpoint has its offsets; the topic may no longer have those where it began.
        goes_on = checkpoints.newest(session, place, "commits") >= 0
        described = {
            name: topics.description(source.topic) for name, source in asked.sources.items()
        }
        require_parameters(asked.transform, asked.sources)
        _require_other_topics(asked)
        streams = {
            name: source.stream(described[name], goes_on=goes_on) for name, source in asked.sources.items()
        }  # fmt: skip
        doing("the transform is planned")
        stream = observed_around(streamed(streams, asked.transform))
        _require_all_read(stream, asked.sources)
        plan = with_topics(fingerprint(streams, asked.transform), asked.sources)
        doing("the query starts")
        _stop_same(session, asked, same := (asked, plan, database))
        with locked(session, place, asked.table):
            query, target = _begun(asked, [*described.values()], (streams, stream), plan, database)
        _running[place] = str(query.runId), same
    return query, target


def _stop_same(session: SparkSession, asked: Request, same: object) -> None:
    """Stop the query that this process has started with the same arguments: a cell was run again."""
    run, before = _running.get(asked.checkpoint, (None, None))
    if run is None or before != same:
        return
    for query in session.streams.active:
        if str(query.runId) == run:
            said(f"{asked.table}: the query that ran was stopped, and starts anew where it was")
            query.stop()
            released(asked.checkpoint)


def _require_other_topics(asked: Request) -> None:
    """Refuse a sink that would feed the query with its own results, for ever."""
    for sink in asked.also:
        if (topic := getattr(sink, "topic", None)) in {
            source.topic for source in asked.sources.values()
        }:
            raise InputError(f"a sink of {asked.table!r} writes to a topic that the query reads", found=topic, fix="send the rows to another topic")  # fmt: skip


def _require_all_read(stream: DataFrame, sources: Sources) -> None:
    """Refuse a transform that does not use a topic, whose offsets would be in no checkpoint."""
    unread = {source.topic for source in sources.values()} - Node.of(analyzed(stream)).topics()
    if unread:
        raise InputError(
            "the transform does not use all of its topics", found=f"unused: {', '.join(sorted(unread))}",
            fix="leave them out, or use their frames in what it returns",
        )  # fmt: skip


def _begun(
    asked: Request,
    described: Sequence[TopicDescription],
    frames: tuple[Frames, DataFrame],
    plan: list[str],
    database: Engine,
) -> tuple[StreamingQuery, serving_tables.Table]:
    """Check that table, checkpoint and topics belong together, and start Spark's query; the checkpoint is locked."""
    streams, stream = frames
    session, place, table = stream.sparkSession, asked.checkpoint, asked.table
    known, in_real_time = ledger.newest(table, on=database), changelog.find(table, on=database)
    if in_real_time and in_real_time.position is not None:
        if any(source.max_events_per_batch for source in asked.sources.values()):
            raise QueryError(
                f"table {table!r} was filled in real time: one micro-batch must take everything that readers may have seen",
                fix="leave out max_events_per_batch",
            )
        roll_back(session, place, table, known)
    require_match(session, place, table, [topic.name for topic in described], known)
    for topic in described:
        topic_identity.require_same_topic(session, place, topic)
    mode, ids = output_mode(stream, asked.mode), {topic.name: topic.id for topic in described}
    found = operators(stream)
    late_rules(found)  # refused here, before anything is made
    changing = [each.name for each in found if each.name not in _FINAL]
    if not asked.key and changing and mode == "update":
        raise InputError(
            f"table {table!r} has no key, and rows of this result change", found=f"{changing[0]} in update mode",
            fix='give the columns that identify a row, key=[…]; or mode="append": rows come once they are final',
        )  # fmt: skip
    with taken_back(session, place, lambda: ledger.newest(table, on=database)):
        require_same(session, place, table, plan, begun=bool(known))
        target = serving_tables.planned(
            table, stream.schema, asked.key, topic=titled(asked.sources), on=database
        )
        expiry = Expiry.of(target, asked.keep) if asked.keep else None
        topic_identity.note(session, place, ids)
        each = Plan(
            asked.sources, ids, asked.transform, found, session, place, database, settings().run_id, mode, streams,
            tuple(asked.also), expiry,
        )  # fmt: skip
        writer = (
            stream.writeStream.queryName(table)
            .outputMode(mode)
            .option("checkpointLocation", place)
            .foreachBatch(lambda frame, batch_id: write_batch(each, target, frame, batch_id))
        )
        with named_state(session) if in_real_time else nullcontext():
            query = begun(writer.trigger(**asked.trigger).start)
    return query, target


def reset(table: str, *, checkpoint: str | Path | None = None) -> None:
    """Drop a serving table with its ledger and its checkpoint, so that the next drain() starts over.

    Args:
        table: The table; nothing happens if it does not exist.
        checkpoint: The folder that was given to follow() or drain(), if any.

    Raises:
        QueryError: If a query fills the table, or the checkpoint cannot be deleted.

    Example:
        >>> reset("doc_never_made")
    """
    place = located(checkpoint or checkpoint_of(checked("table", table)))
    refuse_locked(place, table)
    # The checkpoint first: a table without one is refused until this is called again.
    checkpoints.remove(place)
    changelog.forget(table)
    if table in {known.name for known in serving_tables.tables()}:
        serving_tables.drop(table)


def _drained(table: str, topic: str, taken: list[Batch], seconds: float) -> Drained:
    """Summarize the batches of one drain."""
    accounting, each = Accounting.of(taken), by_topic(taken)
    start: dict[int, int] = {}
    end: dict[int, int] = {}
    for batch in taken if len(each) == 1 else ():
        start = dict(batch.start_offsets) | start
        end |= batch.end_offsets
    return Drained(table, topic, accounting, start, end, accounting.rows, seconds, each)


def checkpoint_of(table: str) -> Path:
    """Return the folder of a table's checkpoint."""
    return private_folder(settings().home / "checkpoints") / checked("table", table)
