"""What batch, Lambda and Kappa have in common: one function of a topic, a view for readers, and the queries behind it.

| | answer | history after a new formula | late events |
|---|---|---|---|
| batch   | as of the last recompute() | the next recompute() | all there, none is late |
| lambda_ | batch view up to a cut-off, and what came after, merged | the next recompute() | left out until the next recompute() |
| kappa   | the stream's own table | replay() into a second table, then switch() | left out until the next replay() |

All three have the same arguments and the same readers' side: a name in the serving database, `rta.read(name)`, whose tables
are switched in one transaction. The queries are Spark's own StreamingQuery objects.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rta.architectures.archives import archive, archived
from rta.architectures.batch_views import batch_view
from rta.dataframes.session import spark
from rta.dataframes.starting_offsets import Position
from rta.dataframes.task_metrics import note
from rta.engines.spark import following
from rta.engines.spark.checkpoint_lock import none_left_behind
from rta.engines.spark.lateness import Transform
from rta.engines.spark.query_errors import failures_said
from rta.engines.spark.realtime.materializer import Materialized, materialize
from rta.errors import TableError
from rta.events.event_types import EventType
from rta.kafka.topics import headway
from rta.names import checked
from rta.progress import watched
from rta.store import ledger, serving, views
from rta.store.ledger import Accounting, Batch

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql.streaming.query import StreamingQuery


@dataclass
class Architecture(ABC):
    """What the three have in common."""

    topic: str
    transform: Transform
    table: str
    key: Sequence[str]
    event: EventType
    real_time: str | None = None
    running: dict[int, StreamingQuery] = field(default_factory=dict)  # version → its query
    filled: dict[int, Materialized] = field(default_factory=dict)  # those of them in real time
    shown: list[Batch] = field(default_factory=list)  # of versions that are gone
    reprocessed: float = math.nan  # seconds of the newest pass over all history, in this process

    _again: dict[int, Callable[[], StreamingQuery]] = field(default_factory=dict, repr=False)

    architecture: ClassVar[str]
    after_a_crash: ClassVar[str]  # what the next start does
    first_answer: ClassVar[str]  # what to do for one

    def __post_init__(self) -> None:
        checked("table", f"{self.table}_batch_99999")  # its parts have longer names

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def queries(self) -> list[StreamingQuery]:
        """Spark's own queries, the oldest version's first."""
        return [query for _, query in sorted(self.running.items())]

    @property
    def view(self) -> views.View | None:
        """What readers see: see rta.store.views."""
        return views.find(self.table)

    def _served(self) -> views.View:
        """Return what readers see. Raises TableError if that is nothing yet."""
        if (view := self.view) is None:
            raise TableError(f"there is no answer in {self.table!r} yet", fix=self.first_answer)
        return view

    @abstractmethod
    def catch_up(self) -> None:
        """Return when everything that is in the topic now is in the answer."""

    def read(self) -> pd.DataFrame:
        """Read the answer as it is at one moment.

        Raises:
            TableError: There is no answer yet.
        """
        self._served()
        return serving.read(self.table)

    def accounting(self) -> Accounting:
        """Sum where the events of the served version went; in real-time mode up to the last interval that ended.

        Raises:
            TableError: There is no answer yet.
        """
        self.check()
        return ledger.summed(*self._served().parts)

    def check(self) -> None:
        """Raise what went wrong beside the queries, in real-time mode."""
        for filled in self.filled.values():
            filled.check()

    def started(self) -> Self:
        """Start, or go on. What fails or is stopped meanwhile leaves no query behind."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    @abstractmethod
    def _start(self) -> None:
        """Start the queries that the answer needs all the time."""

    def stop(self) -> None:
        """Stop the queries. Readers keep the answer, and the next call goes on from there.

        If a query in real-time mode went wrong, its error is raised once all of them are stopped.
        """
        with ExitStack() as stack:
            for number in self.running:
                stack.callback(self._stopped, number)
            self._again.clear()

    def _next(self) -> int:
        return max(self.view.versions, default=0) + 1 if self.view else 1

    def _follow(
        self, number: int, part: str, transform: Transform, starting: Position, **how: int | None
    ) -> StreamingQuery:
        given: dict[str, Any] = {"table": part, "key": self.key, "event": self.event, "starting": starting} | how  # fmt: skip
        if self.real_time:
            self.filled[number] = materialize(self.topic, transform, real_time=self.real_time, **given)  # fmt: skip
            self.running[number] = self.filled[number].query
        else:
            self.running[number] = following.follow(self.topic, transform, **given)
        self._again[number] = partial(self._follow, number, part, transform, starting)
        return self.running[number]

    def _stopped(self, number: int) -> None:
        """Stop one version's query."""
        query = self.running.pop(number)
        self.filled.pop(number, query).stop()

    def _level(self, number: int) -> None:
        """Return when a version has everything that is in the topic now, in its rows and in its ledger.

        In real-time mode it is started anew, for an interval may be long, and the micro-batch before it takes everything.
        """
        if self.real_time:
            if number in self.running:  # it is not where the start has failed before
                self._stopped(number)
            self._again[number]()
        else:
            query = self.running[number]
            part = str(query.name)
            with self._watched(part, lambda: ledger.offsets(part).get(self.topic, {})):
                query.processAllAvailable()

    @contextmanager
    def _made(self, number: int, parts: Sequence[str]) -> Iterator[None]:
        """Make a version; if that fails, or is stopped, before readers see it, it leaves nothing, and the served one goes on."""
        try:
            with failures_said(following.checkpoint_of(parts[-1]), self.table):
                yield
        except BaseException as error:
            for undo in (self.stop, partial(self._take_back, number, parts)):
                try:
                    undo()
                except Exception as also:  # noqa: BLE001 - the first error is the one to say
                    error.add_note(f"and then: {also}")
            raise

    def _take_back(self, number: int, parts: Sequence[str]) -> None:
        """Drop what was made of a version, unless readers see it, and go on with the one that they see."""
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
        """Let a version reach what readers of the served one see; in real-time mode that one rests until it has."""
        if self.real_time and served != number and {served, number} <= set(self.running):
            self._stopped(served)
            try:
                self._level(number)
                yield
            finally:
                self._again[served]()
        else:
            yield

    def _batch_view(self, part: str) -> dict[int, int]:
        """Archive what is new, and compute the answer over the archive into a table; return where the archive ends."""
        began = time.monotonic()
        with none_left_behind(), self._watched("its archive", lambda: archived(self.topic)):
            archiving = archive(self.topic, event=self.event)
            archiving.awaitTermination()
        note(spark(), f"archive of {self.topic}", str(archiving.runId))
        before = archived(self.topic)
        many = sum(before.values())
        with watched(f"archive of {self.topic} → {part}", lambda: (0, many), unit="event"):
            batch_view(
                self.topic, self.transform, table=part, key=self.key, event=self.event, before=before
            )  # fmt: skip
        self.reprocessed = time.monotonic() - began
        return before

    def _watched(
        self, into: str, reached: Callable[[], Mapping[int, int]]
    ) -> AbstractContextManager[None]:
        """Show progress through the topic while the block waits. reached: tells partition → the next offset to take."""
        return watched(f"{self.topic} → {into}", headway(self.topic, reached), unit="event")

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
    """Drop the view of an architecture with all its versions: tables, ledgers, checkpoints; topic and archive stay.

    >>> drop("doc_never_wired")
    """
    for part in views.drop(table):
        following.reset(part)
