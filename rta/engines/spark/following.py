"""What rta.follow(), drain(), restart() and reset() do on Spark: see rta.engines.following, which chooses the engine."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rta.engines import changelog
from rta.engines.sinks import Sink
from rta.engines.spark import checkpoints
from rta.engines.spark.checkpoint_lock import (
    none_left_behind,
    refuse_locked,
    stopped_by,
)
from rta.engines.spark.checkpoints import located
from rta.engines.spark.drained import Drained
from rta.engines.spark.how_far import phase, reading
from rta.engines.spark.lateness import (
    Transform,
)
from rta.engines.spark.query_errors import failures_said
from rta.engines.spark.query_sources import (
    Sources,
    Topics,
    query_sources,
    titled,
)
from rta.engines.spark.starting import NOW, Request, checkpoint_of, kept_here, started
from rta.errors import AccountingWarning, QueryError
from rta.events.event_types import EventType
from rta.kafka.positions import Position
from rta.kafka.topics import headway
from rta.names import checked
from rta.progress import doing, waiting, watched
from rta.store import ledger, serving_tables
from rta.store.ledger import flaws_said

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

_ALWAYS: Final = {"processingTime": "0 seconds"}


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
    """Start the query that keeps a table up to date; the arguments are those of rta.follow()."""
    sources = query_sources(
        topic, event, starting=starting, max_skew=max_skew, max_events_per_batch=max_events_per_batch,
        options=dict(options or {}),
    )  # fmt: skip
    place = located(checkpoint or checkpoint_of(table))
    asked = Request(
        sources, transform, table, tuple(key), mode, dict(trigger or _ALWAYS), place, keep, also
    )
    with waiting(f"starting {table}"), none_left_behind():
        query, target = started(asked)
        serving_tables.make(target)
    return query


def restart(table: str) -> StreamingQuery:
    """Start the query again that follow() has started last for a table; see rta.engines.restart()."""
    if (asked := kept_here().get(table)) is None:
        raise QueryError(
            f"this session has started no query for {table!r}", fix="call rta.follow(…)"
        )
    with none_left_behind():
        return started(asked)[0]


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
    """Take what is new in a topic, or in several, into a table, and end; the arguments are those of rta.drain()."""
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
        asked = Request(sources, transform, table, tuple(key), mode, NOW, place, keep, also)
        query, target = started(asked)
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
        warnings.warn(AccountingWarning(flaws_said(table, flawed)), stacklevel=3)
    return Drained.of(table, titled(sources), taken, time.monotonic() - start)


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


def reset(table: str, *, checkpoint: str | Path | None = None) -> None:
    """Drop a table with its ledger and its checkpoint; see rta.reset()."""
    place = located(checkpoint or checkpoint_of(table))
    refuse_locked(place, table)
    # The checkpoint first: a table without one is refused until this is called again.
    checkpoints.remove(place)
    changelog.forget(table)
    if table in {known.name for known in serving_tables.tables()}:
        serving_tables.drop(table)
