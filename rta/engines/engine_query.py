"""The query of an engine beside Spark, in Spark's own words, so that what is written for a StreamingQuery runs with it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from rta.engines.materializer import Materializer
from rta.errors import QueryError
from rta.html import card, described
from rta.kafka import topics
from rta.store.ledger import Accounting, summed

_WATCH: Final = 1.0  # seconds between two looks whether a job still lives
_RESTARTS: Final = 20  # of one query: then something is wrong for good
_LOOK: Final = 0.1  # seconds between two looks at an engine


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
    _failure: Exception | None = None
    _over: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        """Begin to watch over the job."""
        threading.Thread(target=self._watch, daemon=True, name=f"{self.name} watch").start()

    def _watch(self) -> None:
        """Start the job again if its process dies, as the kernel of an operating system may end it when memory is short."""
        while not self._over.wait(_WATCH):
            if not self.job.lost():
                continue
            if self.restarts >= _RESTARTS:
                self._failure = QueryError(f"the {self.job.engine} query {self.name!r} has died {_RESTARTS} times", fix="see its log, give it more memory, and follow it again: it goes on where it was")  # fmt: skip
                return
            self.restarts += 1
            logging.getLogger("rta").warning("%s: %s has died, and starts again from what it has committed", self.name, self.job.engine)  # fmt: skip
            try:
                self.job.start_again()
            except Exception as error:  # noqa: BLE001 - raised by exception()
                self._failure = error
                return

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
        """What the engine tells of it, and how far each partition was read."""
        ends = {str(p): told["next"] for p, told in sorted(self.materializer.counts.items())}
        rows = sum(told["consumed"] for told in self.materializer.counts.values())
        return {"name": self.name, "engine": self.job.engine, "numInputRows": rows, "endOffset": ends, **self.job.progress()}  # fmt: skip

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
        if self.job.active():
            self.job.stop()
        # What is committed is in the topics: the thread reads to their present ends.
        while self.materializer.failure is None and not self.materializer.reached({}):
            time.sleep(_LOOK)
        self.materializer.stop()

    def let_go(self) -> None:
        """Fill the table no longer; the job goes on."""
        self._over.set()
        self.materializer.stop()

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
            "`.processAllAvailable()` waits, `.stop()` stops it; the same call starts it where it was",
        )

    def __repr__(self) -> str:
        return described(*self._facts())

    def _repr_html_(self) -> str:
        return card(*self._facts())
