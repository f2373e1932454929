"""The query of an engine beside Spark, in Spark's own words, so that what is written for a StreamingQuery runs with it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from rta.engines import engine_tables
from rta.engines.engine_tables import ToldQuery
from rta.engines.materializer import TERMS, Materializer
from rta.errors import QueryError, RtaError
from rta.html import card, described
from rta.kafka import topics
from rta.setup.processes import started
from rta.store.ledger import Accounting, summed

_WATCH: Final = 1.0  # seconds between two looks whether a job still lives
_RESTARTS: Final = 20  # of one query: then something is wrong for good
_MISSES: Final = 3  # starts in a row that fail: a port is taken in the last moment, memory is short, it dies again
_LOOK: Final = 0.1  # seconds between two looks at an engine
running: Final[dict[str, EngineQuery]] = {}
"""Table → the query that this process has started last, also one that was stopped, or has failed."""
_KEPT: Final = 100  # progresses, as Spark keeps them
_SPAN: Final = 5.0  # seconds that a rate is taken over: an engine commits at intervals


class Job(Protocol):
    """What an engine gives of its own job."""

    engine: str
    """The name of the engine."""

    @property
    def native(self) -> Any:
        """The engine's own object, or its address."""

    def active(self) -> bool:
        """Whether it runs, or starts again by itself."""

    def lost(self) -> bool:
        """Whether its process has died, which it did not do by itself."""

    def start_again(self) -> None:
        """Start it again from what it has committed."""

    def failure(self) -> str | None:
        """Why it has ended, in the engine's own words; None if it was stopped, or runs."""

    def stop(self) -> None:
        """Stop it once all that it has read is committed; the next start goes on there."""

    def progress(self) -> Mapping[str, Any]:
        """Return what the engine tells of it."""


@dataclass
class EngineQuery:
    """A query that keeps a table up to date, on an engine beside Spark.

    Args:
        name: The table.
        job: The engine's job.
        materializer: What fills the table from the job's results.
    """

    name: str
    job: Job
    materializer: Materializer = field(repr=False)
    restarts: int = 0
    since: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
    _failure: Exception | None = None
    _misses: int = field(default=0, repr=False)
    _over: threading.Event = field(default_factory=threading.Event, repr=False)
    _beats: deque[tuple[datetime, int]] = field(default_factory=lambda: deque(maxlen=_KEPT), repr=False)  # fmt: skip

    def __post_init__(self) -> None:
        """Begin to watch over the job."""
        self._beat()
        self._watcher = threading.Thread(target=self._watch, daemon=True, name=f"{self.name} watch")
        self._watcher.start()

    def _watch(self) -> None:
        """Start the job again if its process dies, as the kernel of an operating system may end it when memory is short."""
        while not self._over.wait(_WATCH):
            self._beat()
            if engine_tables.asked_to_stop(self.name, self.since):
                with suppress(RtaError):  # exception() has it
                    self.stop()
                return
            if self._failure is None and self.job.lost():
                self._start_again()

    def _start_again(self) -> None:
        if self.restarts >= _RESTARTS:
            self._failure = QueryError(f"the {self.job.engine} query {self.name!r} has died {_RESTARTS} times", fix="see its log, give it more memory, and follow it again: it goes on where it was")  # fmt: skip
            return
        self.restarts += 1
        told = logging.getLogger("rta")
        told.warning("%s: %s has died, and starts again from what it has committed", self.name, self.job.engine)  # fmt: skip
        try:
            self.job.start_again()
        except Exception as error:  # noqa: BLE001 - raised by exception() once it was tried often enough
            self._misses += 1
            told.error("%s: %s did not start (%d of %d tries): %s", self.name, self.job.engine, self._misses, _MISSES, error)  # fmt: skip
            if self._misses == _MISSES:
                self._failure = error
        else:
            self._misses = 0

    def _beat(self) -> None:
        """Note how far it is, and leave it for other processes."""
        import psutil

        self._beats.append((datetime.now(UTC), self.materializer.events))
        # Flink has just died, or the disk is full: others know less, and the query goes on.
        with suppress(OSError, RtaError):
            failed = self.exception()
            engine_tables.tell(ToldQuery(
                self.name, self.job.engine, os.getpid(), started(psutil.Process()), self.since, "failed" if failed else "running",
                str(failed) if failed else None, str(self.native), self.restarts, self.lastProgress,
            ))  # fmt: skip

    def _over_here(self) -> None:
        """Watch no longer, and tell others so."""
        if threading.current_thread() is not self._watcher:
            self._watcher.join()
        engine_tables.untell(self.name, self.since)

    @property
    def native(self) -> Any:
        """The engine's own object, or its address."""
        return self.job.native

    @property
    def isActive(self) -> bool:  # noqa: N802 - Spark's word
        """Whether it runs."""
        if self._failure or self.materializer.failure or self._over.is_set():
            return False
        return self.job.active() or self.job.lost()  # which starts it again

    @property
    def lastProgress(self) -> dict[str, Any]:  # noqa: N802
        """What the engine tells of it, how far each partition was read, and how many events a second those of the last seconds were."""
        ends = {str(p): told["next"] for p, told in sorted(self.materializer.counts.items())}
        now = {
            "numInputRows": self.materializer.events,
            "processedRowsPerSecond": _rate(self._beats),
        }
        topic = self.materializer.target.source.name
        return {"name": self.name, "engine": self.job.engine, "topic": topic, **now, "endOffset": ends, **self.job.progress()}  # fmt: skip

    @property
    def recentProgress(self) -> list[dict[str, Any]]:  # noqa: N802
        """How far it was at the last looks, one a second: its events and their rate."""
        beats = list(self._beats)
        return [
            {"timestamp": at.isoformat(), "numInputRows": events, "processedRowsPerSecond": _rate(beats[: n + 1])}
            for n, (at, events) in enumerate(beats)
        ]  # fmt: skip

    @property
    def terms(self) -> Accounting:
        """Where the events went, as far as the engine has told: the ledger has it seconds later."""
        told = list(self.materializer.counts.values())
        return Accounting(**{term: sum(each[term] for each in told) for term in TERMS})

    @property
    def accounting(self) -> Accounting:
        """Where the events went, as far as the ledger has them."""
        return summed(self.name, query_id=self.materializer.target.results.topic)

    def lag(self) -> dict[int, int]:
        """Return partition → the records that are not in the counts yet."""
        done = self.reached()
        ends = topics.offsets(self.materializer.target.source.name)
        return {p: end - done.get(p, 0) for p, (_, end) in sorted(ends.items())}

    def reached(self) -> dict[int, int]:
        """Return partition → the offset after the newest event that is counted."""
        return self.materializer.counted

    def exception(self) -> QueryError | None:
        """Return why it has ended; None if it runs, or was stopped."""
        if (failed := self._failure or self.materializer.failure) is not None:
            return failed if isinstance(failed, QueryError) else QueryError(str(failed), fix="follow it again: it goes on where it was")  # fmt: skip
        if self._over.is_set() or self.job.lost() or (why := self.job.failure()) is None:
            return None
        return QueryError(f"the {self.job.engine} query {self.name!r} has failed", found=why, fix="follow it again: it goes on where it was")  # fmt: skip

    def processAllAvailable(self) -> None:  # noqa: N802
        """Wait until all that is in the topic now is in the table and the ledger.

        Raises:
            QueryError: It has failed.
        """
        ends = {p: end for p, (_, end) in topics.offsets(self.materializer.target.source.name).items()}  # fmt: skip
        while not self.materializer.reached(ends):
            self._check()
            time.sleep(_LOOK)
        self.materializer.enter()

    def awaitTermination(self, timeout: float | None = None) -> bool:  # noqa: N802
        """Wait until it has ended, or so many seconds; return whether it has.

        Raises:
            QueryError: It has failed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.isActive:
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(_LOOK)
        if error := self.exception():
            raise error
        return True

    def stop(self) -> None:
        """Stop it; what was read is in the table and the ledger, and the next start goes on there.

        Raises:
            QueryError: It has failed.
        """
        self._over.set()
        try:
            if self.job.active():
                self.job.stop()
            # What is committed is in the topics: the thread reads to their present ends.
            while self.materializer.failure is None and not self.materializer.reached({}):
                time.sleep(_LOOK)
            self.materializer.stop()
        finally:
            self._over_here()

    def let_go(self) -> None:
        """Fill the table no longer; the job goes on."""
        self._over.set()
        try:
            if self.materializer.failure is None:  # that one was told by exception()
                self.materializer.stop()
        finally:
            self._over_here()

    def _check(self) -> None:
        if self.isActive:
            return
        if error := self.exception():
            raise error
        if not self.isActive:
            raise QueryError(f"the query {self.name!r} was stopped before its end", fix="follow it again: it goes on where it was")  # fmt: skip

    def _facts(self) -> tuple[list[tuple[str, object]], str]:
        behind = sum(self.lag().values())
        state = "active" if self.isActive else "stopped"
        facts: list[tuple[str, object]] = [("query", f"{self.name}, {state}, on {self.job.engine}"), ("behind", f"{behind:,} records"), ("events", repr(self.accounting)), ("native", str(self.native))]  # fmt: skip
        return (
            facts,
            "`rta.live(query)` shows it move, `.processAllAvailable()` waits, `.stop()` stops it; the same call starts it where it was",
        )

    def __repr__(self) -> str:
        return described(*self._facts())

    def _repr_html_(self) -> str:
        return card(*self._facts())


def _rate(beats: Sequence[tuple[datetime, int]]) -> float:
    """Return the events per second of the last seconds.

    >>> noon = datetime(2024, 11, 15, 12, tzinfo=UTC)
    >>> _rate([(noon.replace(second=n), 100 * n) for n in range(4)])
    100.0
    """
    if not beats:
        return 0.0
    now, events = beats[-1]
    before, then = next(each for each in beats if (now - each[0]).total_seconds() <= _SPAN)
    seconds = (now - before).total_seconds()
    return (events - then) / seconds if seconds else 0.0
