"""What batch, Lambda and Kappa have in common: one transform of a topic, a view for readers, and the queries that fill it.

| | answer | history after a new formula | late events |
|---|---|---|---|
| batch   | as of the last recompute() | the next recompute() | no event is late |
| lambda_ | a batch view up to a cut-off, merged with what came after it | the next recompute() | missing until the next recompute() |
| kappa   | the table of the stream | replay() into a second table, then switch() | missing until the next replay() |

All three have the same arguments, and readers use them in the same way: `rta.read(name)` reads a view in the serving database, whose
tables are switched in one transaction. The queries are Spark's own StreamingQuery objects; Kappa's may be those of another engine, which
have the same words.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rta.architectures.archives import archive, archived
from rta.architectures.batch_views import batch_view
from rta.dataframes.session import spark
from rta.dataframes.task_metrics import group_of, note, underway
from rta.engines import following
from rta.engines.portable import SPARK
from rta.engines.spark import starting
from rta.engines.spark.checkpoint_lock import none_left_behind
from rta.engines.spark.following import headway_of
from rta.engines.spark.how_far import phase, reading
from rta.engines.spark.lateness import Transform
from rta.engines.spark.query_errors import failures_said
from rta.engines.spark.query_sources import Sources, titled
from rta.engines.spark.realtime.materializer import Materialized, materialize
from rta.errors import RtaError, TableError
from rta.events.event_types import EventType
from rta.html import Marked, card, described
from rta.kafka.positions import Position
from rta.names import checked
from rta.progress import doing, watched
from rta.store import ledger, serving, views
from rta.store.ledger import Accounting, Batch

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql.streaming.query import StreamingQuery


@dataclass
class Architecture(ABC):
    """The base of the three architectures."""

    sources: Sources
    transform: Transform
    table: str
    key: Sequence[str]
    real_time: str | None = None
    engine: str = SPARK
    running: dict[int, StreamingQuery] = field(default_factory=dict)  # version → its query
    filled: dict[int, Materialized] = field(default_factory=dict)  # those of them in real time
    shown: list[Batch] = field(default_factory=list)  # of versions that are gone
    reprocessed: float = math.nan  # seconds of the newest pass over all history, in this process

    _again: dict[int, Callable[[], StreamingQuery]] = field(default_factory=dict, repr=False)

    architecture: ClassVar[str]
    after_a_crash: ClassVar[str]  # what the next start does
    first_answer: ClassVar[str]  # what to do for one
    then: ClassVar[str]  # what a person can do with it

    def __post_init__(self) -> None:
        checked("table", f"{self.table}_batch_99999")  # the names of its tables are longer

    @property
    def topic(self) -> str:
        """The topic, or the topics."""
        return titled(self.sources)

    @property
    def event(self) -> EventType:
        """The type of the events of its first topic."""
        return next(iter(self.sources.values())).event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _facts(self) -> tuple[list[tuple[str, object]], str]:
        """Return what a notebook shows of it; a database that is away is no reason to show nothing."""
        on = "" if self.engine == SPARK else f", on {self.engine}"
        facts: list[tuple[str, object]] = [(self.architecture, f"{self.topic} → {self.table}{on}")]
        try:
            view = self.view
            served = f"version {view.served}: {' and '.join(view.parts)}" if view else self.first_answer  # fmt: skip
            facts += [("served" if view else "no answer", served)]
            facts += [("events", ledger.summed(*view.parts))] if view else []
        except RtaError as away:
            facts.append(("no answer", away))
        for query in self.queries:
            level = "good" if query.isActive else "bad" if query.exception() else "idle"
            said = {"good": "running", "bad": "failed: rta.health(query) says why", "idle": "stopped"}[level]  # fmt: skip
            facts.append(("query", Marked(f"{query.name}: {said}", level)))
        return facts, self.then

    def __repr__(self) -> str:
        return described(*self._facts())

    def _repr_html_(self) -> str:
        return card(*self._facts())

    @property
    def queries(self) -> list[StreamingQuery]:
        """Spark's own queries, or an rta.engines.EngineQuery each, that of the oldest version first."""
        return [query for _, query in sorted(self.running.items())]

    @property
    def view(self) -> views.View | None:
        """The view that readers see, see rta.store.views; None if there is none yet."""
        return views.find(self.table)

    def _served(self) -> views.View:
        """Return the view that readers see. Raises TableError if there is none yet."""
        if (view := self.view) is None:
            raise TableError(f"there is no answer in {self.table!r} yet", fix=self.first_answer)
        return view

    @abstractmethod
    def catch_up(self) -> None:
        """Wait until everything that is in the topic now is in the answer."""

    def read(self) -> pd.DataFrame:
        """Read the answer as it is at one moment.

        Raises:
            TableError: If there is no answer yet.
        """
        self._served()
        return serving.read(self.table)

    def accounting(self) -> Accounting:
        """Return the accounting of the served version; in real-time mode up to the last interval that ended.

        Raises:
            TableError: If there is no answer yet.
        """
        self.check()
        return ledger.summed(*self._served().parts)

    def check(self) -> None:
        """Raise the error of a query in real-time mode or on another engine, or of its threads, if there was one."""
        for filled in self.filled.values():
            filled.check()
        for query in self.queries if self.engine != SPARK else ():
            if error := query.exception():
                raise error

    def started(self) -> Self:
        """Start, or continue. If this fails or is interrupted, no query is left running."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    @abstractmethod
    def _start(self) -> None:
        """Start the queries that run all the time."""

    def stop(self) -> None:
        """Stop the queries. Readers keep the answer, and the next start continues from there.

        If a query in real-time mode has failed, its error is raised after all of them were stopped.
        """
        with ExitStack() as stack:
            for number in self.running:
                stack.callback(self._stopped, number)
            self._again.clear()

    def _next(self) -> int:
        return max(self.view.versions, default=0) + 1 if self.view else 1

    def _follow(
        self,
        number: int,
        part: str,
        transform: Transform,
        starting: Mapping[str, Position],
        *,
        max_events_per_batch: int | None = None,
    ) -> StreamingQuery:
        """Follow the topics, each from its place, into the table of a version."""
        given: dict[str, Any] = {"table": part, "key": self.key}
        most = max_events_per_batch
        if self.real_time:
            self.filled[number] = materialize(
                self.topic, transform, event=self.event, real_time=self.real_time, starting=starting[self.topic],
                max_events_per_batch=most, **given,
            )  # fmt: skip
            self.running[number] = self.filled[number].query
        elif self.engine != SPARK:
            self.running[number] = following.follow(
                self.topic, transform, event=self.event, starting=starting[self.topic], max_events_per_batch=most, engine=self.engine, **given,
            )  # fmt: skip
        else:
            read = {
                name: replace(source, starting=starting[source.topic], max_events_per_batch=most or source.max_events_per_batch)
                for name, source in self.sources.items()
            }  # fmt: skip
            self.running[number] = following.follow(read, transform, **given)
        self._again[number] = partial(self._follow, number, part, transform, starting)
        return self.running[number]

    @property
    def _earliest(self) -> dict[str, Position]:
        """The beginning of each topic."""
        return {source.topic: "earliest" for source in self.sources.values()}

    def _stopped(self, number: int) -> None:
        """Stop the query of one version."""
        query = self.running.pop(number)
        self.filled.pop(number, query).stop()

    def _level(self, number: int) -> None:
        """Wait until a version has everything that is in the topic now, in its rows and in the ledger.

        In real-time mode the query is restarted: an interval may be long, and the micro-batch at the start takes everything.
        """
        if self.real_time:
            if number in self.running:  # not if its start has failed before
                self._stopped(number)
            self._again[number]()
        else:
            query = self.running[number]
            part = str(query.name)
            with self._watched(part, lambda topic: ledger.offsets(part).get(topic, {}), [query]):
                query.processAllAvailable()

    @contextmanager
    def _made(self, number: int, parts: Sequence[str]) -> Iterator[None]:
        """Create a version in the block. If this fails or is interrupted before readers see it, delete it and continue the served one."""
        try:
            with failures_said(starting.checkpoint_of(parts[-1]), self.table):
                yield
        except BaseException as error:
            for undo in (self.stop, partial(self._take_back, number, parts)):
                try:
                    undo()
                except Exception as also:  # noqa: BLE001 - the first error is the one to raise
                    error.add_note(f"and then: {also}")
            raise

    def _take_back(self, number: int, parts: Sequence[str]) -> None:
        """Drop the tables of a version, unless readers see it, and continue the version that they see."""
        view = self.view
        if view is None or number not in view.versions:
            for part in parts:
                following.reset(part)
        if view is not None:
            self._go_on(view)

    @abstractmethod
    def _go_on(self, view: views.View) -> None:
        """Start the queries of the version that is served."""

    @contextmanager
    def _held(self, served: int, number: int) -> Iterator[None]:
        """Let a version catch up with the served one; in real-time mode the served one is stopped meanwhile."""
        if self.real_time and served != number and {served, number} <= set(self.running):
            self._stopped(served)
            try:
                self._level(number)
                yield
            finally:
                self._again[served]()
        else:
            yield

    def _batch_view(self, part: str) -> dict[str, dict[int, int]]:
        """Archive what is new, and compute the answer over the archives to a table; return where the archive of each topic ends."""
        began = time.monotonic()
        begun: list[StreamingQuery] = []
        with none_left_behind(), self._watched("its archive", archived, begun):
            doing("the archive is opened")
            for source in self.sources.values():
                archiving = archive(source.topic, event=source.event)
                begun.append(archiving)
                archiving.awaitTermination()
                note(spark(), f"archive of {source.topic}", str(archiving.runId))
        before = {source.topic: archived(source.topic) for source in self.sources.values()}
        many, jobs = sum(sum(ends.values()) for ends in before.values()), group_of(part)
        session = spark()

        def read() -> tuple[int, str]:
            return underway(session, jobs)

        with watched(
            f"archive of {self.topic} → {part}", lambda: (min(read()[0], many), many), unit="event", phase=lambda: read()[1],
        ):  # fmt: skip
            doing("the transform is planned")
            batch_view(self.sources, self.transform, table=part, key=self.key, before=before)
        self.reprocessed = time.monotonic() - began
        return before

    def _watched(
        self, into: str, reached: Callable[[str], Mapping[int, int]], begun: Sequence[StreamingQuery]
    ) -> AbstractContextManager[None]:  # fmt: skip
        """Show progress through the topics while the block waits. reached: tells of a topic partition → the next offset to take."""
        look = reading(headway_of(self.sources, reached), begun)
        return watched(f"{self.topic} → {into}", look, unit="event", phase=phase(begun))

    def _keep_only_served(self) -> None:
        """Drop all versions but the one that is served."""
        view = self._served()
        self._forget([number for number in view.versions if number != view.served])

    def _forget(self, numbers: Sequence[int]) -> None:
        """Drop versions that are not served: their queries, tables and checkpoints."""
        for number in numbers:
            self._again.pop(number, None)
            if number in self.running:
                self._stopped(number)
        for part in views.forget(self.table, numbers):
            self.shown += ledger.batches(part)
            following.reset(part)


def drop(table: str) -> None:
    """Drop the view of an architecture with all its versions: tables, ledgers, checkpoints. Topic and archive remain.

    >>> drop("doc_never_wired")
    """
    for part in views.drop(table):
        following.reset(part)
