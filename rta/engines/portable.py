"""Start an analysis on an engine beside Spark: described, proved, checked, and only then is anything made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from rta.dataframes.starting_offsets import starting_at
from rta.engines import changelog, materializer
from rta.engines.contract.description import Description
from rta.engines.contract.outputs import BAD, COUNTS
from rta.engines.contract.proof import described
from rta.engines.contract.traits import Traits
from rta.engines.engine_query import EngineQuery, Job, running
from rta.engines.engine_tables import engine_of, refuse_elsewhere, state_of, stop_elsewhere
from rta.errors import InputError, QueryError
from rta.events.ddl import schema_of
from rta.events.event_types import EventType, event_type
from rta.events.strict_json import supported
from rta.kafka import topics
from rta.kafka.positions import EARLIEST, LATEST, Position
from rta.names import checked
from rta.progress import doing, waiting, watched
from rta.settings import private_folder, settings
from rta.store import database, ledger, serving_tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from rta.kafka.topics import TopicDescription

SPARK: Final = "spark"
ENGINES: Final = {"flink": "rta.engines.flink.engine", "kafka-streams": "rta.engines.kafka_streams.engine"}  # fmt: skip
_again: Final[dict[str, Callable[[], EngineQuery]]] = {}
"""Table → the call that starts its query again."""


class Engine(Protocol):
    """What the module of an engine has."""

    TRAITS: Traits

    def unsupported(self, query: Description, event: EventType) -> str | None:
        """Return why it cannot run a query; None if it can."""

    def definition(self, query: Description, event: EventType) -> str:
        """Return what the query becomes there, as a person reads it."""

    def ready(self, table: str) -> None:
        """Raise an error if it cannot keep a table here, before anything is made."""

    def start(self, asked: Asked) -> Job:
        """Start a job from its newest state, or find the one that runs."""

    def processes(self) -> list[int]:
        """Return the ids of its JVMs that run."""

    def left(self, table: str) -> Job | None:
        """Return the job of a table if it runs on without the process that started it."""

    def forget(self, table: str) -> None:
        """End the job of a table, if one runs, without keeping its state."""


@dataclass(frozen=True)
class Asked:
    """What an engine is asked to run.

    Args:
        query: The description of the analysis.
        event: The type of the events.
        source: The topic of the events.
        start: partition → the offset where the query begins if there is no state.
        earliest: Whether that is the beginning of each partition, also of those that are added.
        results: The topic of the results.
        table: The name of the table, and of the query.
        state: The folder of its state.
        max_skew: How far an event may be ahead, such as "5 minutes".
    """

    query: Description
    event: EventType
    source: TopicDescription
    start: Mapping[int, int]
    earliest: bool
    results: str
    table: str
    state: Path
    max_skew: str


def engine(name: str) -> Engine:
    """Return the module of an engine.

    >>> engine("storm")
    Traceback (most recent call last):
    rta.errors.InputError: no such engine; found: 'storm'; fix: use spark, flink or kafka-streams
    """
    if name not in ENGINES:
        raise InputError("no such engine", found=repr(name), fix=f"use {SPARK}, {' or '.join(ENGINES)}")  # fmt: skip
    module: Any = import_module(ENGINES[name])
    return module  # type: ignore[no-any-return]


def require(on: str, topic: Any, only_spark: Mapping[str, object]) -> Engine:
    """Return the module of an engine; refuse what only Spark has.

    Args:
        on: The engine.
        topic: The topic.
        only_spark: Arguments that only Spark has; each must be at its default.

    >>> require("flink", "clicks", {"keep": "90 days"})
    Traceback (most recent call last):
    rta.errors.InputError: engine='flink' has no keep; found: keep='90 days'; fix: leave it out, or use engine="spark"
    """
    chosen = engine(on)
    if given := [name for name, value in only_spark.items() if value]:
        raise InputError(f"engine={on!r} has no {given[0]}", found=f"{given[0]}={only_spark[given[0]]!r}", fix=f'leave it out, or use engine="{SPARK}"')  # fmt: skip
    if not isinstance(topic, str):
        raise InputError(f"engine={on!r} reads one topic", found=f"{type(topic).__name__} for topic", fix='give the name of one, or use engine="spark"')  # fmt: skip
    return chosen


def followed(
    on: str,
    topic: Any,
    transform: Callable[[DataFrame], DataFrame],
    *,
    table: str,
    key: Sequence[str],
    event: EventType | None,
    starting: Position,
    max_skew: str,
    only_spark: Mapping[str, object],
) -> EngineQuery:
    """Start the query that keeps a table up to date on an engine beside Spark; the arguments are those of rta.follow().

    Args:
        on: The engine.
        topic: The topic.
        transform: The analysis.
        table: The table.
        key: The columns that identify a row.
        event: The type of the events.
        starting: Where a query without state begins: "earliest", "latest", or partition → offset.
        max_skew: How far an event may be ahead.
        only_spark: Arguments that only Spark has; each must be at its default.
    """
    chosen = require(on, topic, only_spark)
    with waiting(f"starting {table}"):
        doing("the analysis is described")
        kind, source, name = event or event_type(topic), topics.description(topic), checked("table", table)  # fmt: skip
        query = described(transform, kind)
        if why := supported(kind) or chosen.unsupported(query, kind):
            raise QueryError(f"this analysis does not run on {on}", found=why, fix='use engine="spark", or change it')  # fmt: skip
        schema = schema_of(", ".join(f"`{column}` {kind}" for column, kind in query.columns.items()))  # fmt: skip
        planned = serving_tables.planned(name, schema, key, topic=topic)
        _require_whole_key(query, key)
        refuse_elsewhere(name)
        doing(f"{on} is looked at")
        chosen.ready(name)
        start = _start(source, starting)
        _let_go(name)  # a cell was run again; the job goes on
        results = materializer.opened(_results(name, on), database.engine())
        made = serving_tables.make(planned)
        doing(f"{on} starts")
        asked = Asked(query, kind, source, start, starting == "earliest", results.topic, name, state_of(name), max_skew)  # fmt: skip
        job = chosen.start(asked)
        target = materializer.Target(made, results, source, start, database.engine(), settings().run_id)  # fmt: skip
        filling = materializer.Materializer(target)
        filling.start()
    running[name] = started = EngineQuery(name, job, filling)
    _again[name] = partial(
        followed, on, topic, transform, table=table, key=key, event=event, starting=starting, max_skew=max_skew, only_spark={},
    )  # fmt: skip
    return started


def restart(table: str) -> EngineQuery | None:
    """Start the query again that this process has started last for a table on another engine; None if it has started none.

    >>> restart("never_followed")
    """
    return _again[table]() if table in _again else None


def drained(on: str, topic: Any, transform: Callable[[DataFrame], DataFrame], *, table: str, **asked: Any) -> list[ledger.Batch]:  # fmt: skip
    """Take what is new in the topic into a table, and end; the arguments are those of followed().

    Returns:
        What the ledger has of it.
    """
    before = max((batch.batch_id for batch in ledger.newest(checked("table", table))), default=-1)
    query = followed(on, topic, transform, table=table, **asked)
    try:
        with watched(f"{topic} → {table}", topics.headway(topic, query.reached), unit="event"):
            query.processAllAvailable()
    finally:
        query.stop()
        running.pop(table, None)
        _again.pop(table, None)
    return ledger.batches(table, after=before)


def reset(table: str) -> None:
    """Stop the job of a table, and forget its state."""
    if (on := engine_of(table)) is None:
        return
    _let_go(table)
    _again.pop(table, None)
    engine(on).forget(table)
    shutil.rmtree(state_of(table))
    if found := changelog.find(table):
        for suffix in (COUNTS, BAD):
            topics.delete_topic(found.topic + suffix, missing_ok=True)


def left(table: str) -> Job | None:
    """Return the job that goes on without the process that started it, as one of Flink does; None if there is none.

    >>> left("never_followed")
    """
    if (on := engine_of(table)) not in ENGINES:
        return None
    with suppress(QueryError):  # the engine has just ended
        return engine(on).left(table)
    return None


def stop(table: str) -> None:
    """Stop the query of a table, wherever it runs; nothing happens if none does. The next start goes on where it was.

    Raises:
        QueryError: It has failed, or its process does not answer.

    >>> stop("never_followed")
    """
    if table in running and running[table].isActive:
        running[table].stop()
    elif not stop_elsewhere(table) and (job := left(table)):
        job.stop()


def _require_whole_key(query: Description, key: Sequence[str]) -> None:
    """Refuse a key that is not the groups' own: another engine may give rows of one key in another order."""
    groups = {name for name, old in query.taken.items() if old == "window" or old in query.keys}
    if set(key) != groups or len(groups) != len(query.keys) + 1:
        raise InputError("the key of the table is the one of the groups", found=f"key={list(key)}", fix=f"give key={sorted(groups)}")  # fmt: skip


def _start(source: TopicDescription, starting: Position) -> dict[int, int]:
    """Return partition → the first offset."""
    if not isinstance(starting, str | Mapping):
        raise InputError("only Spark starts at a time", found=repr(starting), fix='use "earliest", "latest" or {partition: offset}')  # fmt: skip
    told = starting_at(source, starting)["startingOffsets"]
    if told == "earliest":
        return {p: first for p, (first, _) in source.ranges.items()}
    if told == "latest":
        return {p: end for p, (_, end) in source.ranges.items()}
    given = json.loads(told)[source.name]
    words = {EARLIEST: 0, LATEST: 1}
    return {int(p): source.ranges[int(p)][words[o]] if o in words else o for p, o in given.items()}


def _let_go(table: str) -> None:
    """Fill the table no longer for a query that was started here."""
    if before := running.pop(table, None):
        before.let_go()


def _results(table: str, on: str) -> changelog.Results:
    """Find the results topic of a table, or choose one. Raises QueryError if another engine fills the table."""
    known, entries = changelog.find(table), ledger.newest(table)
    by = engine_of(table)
    if (entries and known is None) or (known is not None and by is None):
        raise _filled(table, SPARK, "Spark", on)
    if by is not None and by != on:
        raise _filled(table, by, by, on)
    if known is None:
        private_folder(state_of(table))
        (state_of(table) / "engine").write_text(on)
        known = changelog.note(table)
    return known


def require_sparks(table: str) -> None:
    """Refuse a table that another engine fills. Raises QueryError."""
    if by := engine_of(table):
        raise _filled(table, by, by, "Spark")


def _filled(table: str, engine: str, by: str, reader: str) -> QueryError:
    """Return the error that a table is another engine's."""
    return QueryError(f"table {table!r} is filled by {by}, whose state {reader} cannot read", fix=f'go on with engine="{engine}", use another table, or rta.reset({table!r})')  # fmt: skip
