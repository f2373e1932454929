"""Start the query of a table: what was asked for, the checks before anything is made, the query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.dataframes.internals import analyzed
from rta.dataframes.session import spark
from rta.dataframes.sources import naming_sources
from rta.engines import changelog
from rta.engines.sinks import Sink
from rta.engines.spark import checkpoints, topic_identity
from rta.engines.spark.checkpoint_lock import begun, locked, released
from rta.engines.spark.checkpoints import taken_back
from rta.engines.spark.duplicates import observed_around
from rta.engines.spark.exactly_once import Plan, write_batch
from rta.engines.spark.lateness import Frames, Transform, late_rules, operators, streamed
from rta.engines.spark.output_modes import output_mode
from rta.engines.spark.plans import Node
from rta.engines.spark.processors import by_the_clock, without_empty_batches
from rta.engines.spark.query_errors import failures_said
from rta.engines.spark.query_sources import (
    ONLY,
    Source,
    Sources,
    require_parameters,
    source_name,
    titled,
)
from rta.engines.spark.rollback import named_state, roll_back
from rta.engines.spark.stale_rows import require_rows_stay
from rta.engines.spark.start_checks import (
    Fingerprint,
    require_match,
    require_same,
    require_shared,
)
from rta.errors import InputError, QueryError
from rta.events.event_types import EventType
from rta.kafka import topics
from rta.kafka.topics import TopicDescription
from rta.names import checked
from rta.progress import doing, said
from rta.settings import private_folder, settings
from rta.store import ledger, serving_tables
from rta.store.database import engine
from rta.store.expiry import Expiry

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery
    from sqlalchemy import Engine

NOW: Final = {"availableNow": True}
_FINAL: Final = {
    "Deduplicate",
    "DeduplicateWithinWatermark",
    "Join",
}  # a row that they have given never changes
running_here: Final[dict[str, tuple[str, Any]]] = {}
"""Checkpoint → the run of the query that was started here, and what it was started for."""


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


def kept_here() -> dict[str, Request]:
    """Return what follow() was asked for last, by table: what restart() can start again.

    >>> "doc_never_followed" in kept_here()
    False
    """
    return {asked.table: asked for _, (asked, *_) in running_here.values() if asked.trigger != NOW}


def started(asked: Request) -> tuple[StreamingQuery, serving_tables.Table]:
    """Start a query; return it with its table, which the first micro-batch creates if it does not exist by then."""
    doing("Spark")
    session, database, place = spark(), engine(), asked.checkpoint
    doing("topic and checkpoint are checked")
    with failures_said(place, asked.table):
        require_shared(session, place)
        described = {
            name: topics.description(source.topic) for name, source in asked.sources.items()
        }
        require_parameters(asked.transform, asked.sources)
        _require_other_topics(asked)
        reached, named = _reached(session, asked)
        with naming_sources(session) if named else nullcontext():
            streams = {
                name: source.stream(described[name], goes_on=source.topic in reached, named=named)
                for name, source in asked.sources.items()
            }
            doing("the transform is planned")
            stream = observed_around(streamed(streams, asked.transform))
            _require_all_read(stream, asked.sources)
            plan = Fingerprint.of(streams, asked.transform, asked.sources)
            doing("the query starts")
            _stop_same(session, asked, same := (asked, plan, database))
            with locked(session, place, asked.table, waited_for=asked.trigger == NOW):
                query, target = _begun(
                    asked, [*described.values()], (streams, stream), plan, database
                )
        running_here[place] = str(query.runId), same
    return query, target


def _reached(
    session: SparkSession, asked: Request
) -> tuple[Mapping[str, checkpoints.Offsets], bool]:
    """Return how far the checkpoint is in each topic, and whether it knows its sources by name, as each new one of named topics does.

    Raises:
        QueryError: If a topic was left out of the query before: Spark would read it from its beginning again.
    """
    committed = checkpoints.newest(session, asked.checkpoint, "commits")
    # What it has reached it goes on from; the topic may no longer have the offsets where it began.
    reached = checkpoints.ends(session, asked.checkpoint, committed) if committed >= 0 else {}
    named = checkpoints.names_its_sources(session, asked.checkpoint)
    new = [source.topic for source in asked.sources.values() if source.topic not in reached]
    again = [topic for topic in new if checkpoints.has_read(session, asked.checkpoint, source_name(topic))]  # fmt: skip
    if named and reached and again:
        raise QueryError(
            f"table {asked.table!r} was filled from a topic that was left out since", found=", ".join(again),
            fix=f"its events would be counted twice: use another table, or rta.reset({asked.table!r}) and read all topics again",
        )  # fmt: skip
    return reached, ONLY not in asked.sources if named is None else named


def _stop_same(session: SparkSession, asked: Request, same: object) -> None:
    """Stop the query that this process has started with the same arguments: a cell was run again."""
    run, before = running_here.get(asked.checkpoint, (None, None))
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
    plan: Fingerprint,
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
        if mode == "update" and asked.mode is None:
            require_rows_stay(stream, table, asked.key)
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
        with ExitStack() as started_with:
            if in_real_time:
                started_with.enter_context(named_state(session))
            if asked.trigger == NOW and by_the_clock(stream):
                started_with.enter_context(without_empty_batches(session))
            query = begun(writer.trigger(**asked.trigger).start)
    return query, target


def checkpoint_of(table: str) -> Path:
    """Return the folder of a table's checkpoint."""
    return private_folder(settings().home / "checkpoints") / checked("table", table)
