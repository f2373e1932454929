"""Start an analysis on an engine beside Spark: described, proved, checked, and only then is anything made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from rta.dataframes.starting_offsets import starting_at
from rta.engines import changelog, materializer
from rta.engines.contract.description import Description
from rta.engines.contract.outputs import BAD, COUNTS
from rta.engines.contract.proof import described
from rta.engines.contract.traits import Traits
from rta.engines.engine_query import EngineQuery, Job
from rta.engines.jvm import supported
from rta.errors import InputError, QueryError
from rta.events.ddl import schema_of
from rta.events.event_types import EventType, event_type
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
_running: Final[dict[str, EngineQuery]] = {}
"""Table → the query that was started here."""


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
    chosen = engine(on)
    if given := [name for name, value in only_spark.items() if value]:
        raise InputError(f"engine={on!r} has no {given[0]}", found=f"{given[0]}={only_spark[given[0]]!r}", fix=f'leave it out, or use engine="{SPARK}"')  # fmt: skip
    if not isinstance(topic, str):
        raise InputError(f"engine={on!r} reads one topic", found=f"{type(topic).__name__} for topic", fix='give the name of one, or use engine="spark"')  # fmt: skip
    with waiting(f"starting {table}"):
        doing("the analysis is described")
        kind, source, name = event or event_type(topic), topics.description(topic), checked("table", table)  # fmt: skip
        query = described(transform, kind)
        if why := supported(kind) or chosen.unsupported(query, kind):
            raise QueryError(f"this analysis does not run on {on}", found=why, fix='use engine="spark", or change it')  # fmt: skip
        schema = schema_of(", ".join(f"`{column}` {kind}" for column, kind in query.columns.items()))  # fmt: skip
        planned = serving_tables.planned(name, schema, key, topic=topic)
        _require_whole_key(query, key)
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
    _running[name] = started = EngineQuery(name, job, filling)
    return started


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
        _running.pop(table, None)
    return ledger.batches(table, after=before)


def reset(table: str) -> None:
    """Stop the job of a table, and forget its state."""
    if (on := engine_of(table)) is None:
        return
    _let_go(table)
    engine(on).forget(table)
    shutil.rmtree(state_of(table))
    if found := changelog.find(table):
        for suffix in (COUNTS, BAD):
            topics.delete_topic(found.topic + suffix, missing_ok=True)


def state_of(table: str) -> Path:
    """Return the folder of an engine's state for a table."""
    return private_folder(settings().home / "checkpoints") / f"{checked('table', table)}.engine"


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
    if before := _running.pop(table, None):
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


def engine_of(table: str) -> str | None:
    """Return the engine beside Spark that fills a table; None if none does.

    >>> engine_of("never_followed")
    """
    told = settings().home / "checkpoints" / f"{checked('table', table)}.engine" / "engine"
    return told.read_text() if told.exists() else None
