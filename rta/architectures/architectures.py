"""One function of a topic, wired three ways: recomputed (batch), recomputed and followed (Lambda), followed and replayed (Kappa).

| | answer | history after a new formula | late events |
|---|---|---|---|
| batch   | as of the last recompute() | the next recompute() | all there, none is late |
| lambda_ | batch view up to a cut-off, and what came after, merged | the next recompute() | left out until the next recompute() |
| kappa   | the stream's own table | replay() into a second table, then switch() | left out until the next replay() |

All three have the same arguments and the same readers' side: a name in the serving database, `rta.read(name)`, whose tables
are switched in one transaction. The queries are Spark's own StreamingQuery objects.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rta.architectures.archives import read_archive
from rta.architectures.base import Wiring
from rta.architectures.batch_views import without_copies_of
from rta.architectures.replay import Replay, events_in
from rta.dataframes import sources
from rta.engines.spark import sinks
from rta.engines.spark.lateness import Transform, applied
from rta.engines.spark.query_errors import failures_said
from rta.errors import QueryError
from rta.events.event_types import EventType, event_type
from rta.kafka.topics import offsets
from rta.store import views
from rta.store.ledger import Accounting
from rta.store.merge_rules import Merge, merges
from rta.store.views import Version

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


def batch(
    topic: str,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    event: EventType | None = None,
) -> Batch:
    """Run a function as batch: recompute() archives what is new and computes the answer anew over all.

    Args:
        topic: The topic to read.
        transform: The analysis, DataFrame in and DataFrame out.
        table: The name under which readers find the answer.
        key: The result's columns that name a row.
        event: The type of the topic's events; by default the one that is named like the topic.

    Returns:
        The batch architecture, to be used in a `with` statement or closed.

    >>> _ = rta.publish(rta.user_events(spark, rows=50), "doc-batch", partitions=1)
    >>> with batch("doc-batch", rta.transforms.totals, table="doc_batch", key=["window", "user_id"], event=rta.USER_EVENTS) as wired:
    ...     wired.catch_up()
    >>> wired.accounting()
    consumed 50 = used 50 + duplicate 0 + late 0 + quarantined 0 (1 batch)
    """
    return Batch(topic, transform, table, key, event or event_type(topic)).started()


def lambda_(
    topic: str,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    event: EventType | None = None,
    real_time: str | None = None,
) -> Lambda:
    """Run a function as Lambda: a batch view up to a cut-off, a speed view after it, merged for the reader.

    The arguments are those of `batch`. If a version is served already, it goes on; otherwise the first one is made.

    Args:
        real_time: An interval such as "5 minutes", for a speed view in Spark's real-time mode; by default the speed view works in
            micro-batches.

    Raises:
        InputError: The answer has a column whose two parts cannot be merged.

    >>> _ = rta.publish(rta.user_events(spark, rows=50), "doc-lambda", partitions=1)
    >>> with lambda_("doc-lambda", rta.transforms.totals, table="doc_lambda", key=["window", "user_id"], event=rta.USER_EVENTS) as wired:
    ...     _ = rta.publish(rta.user_events(spark, rows=50, first_row=50), "doc-lambda")
    ...     wired.catch_up()
    >>> wired.accounting().used
    100
    """
    return Lambda(topic, transform, table, key, event or event_type(topic), real_time).started()


def kappa(
    topic: str,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    event: EventType | None = None,
    real_time: str | None = None,
) -> Kappa:
    """Run a function as Kappa: one stream fills the table, and a new function replays the topic into a second one.

    The arguments are those of `batch`. If a version is served already, it goes on; `transform` must be its function.

    Args:
        real_time: An interval for each version, as in `lambda_`.

    >>> _ = rta.publish(rta.user_events(spark, rows=50), "doc-kappa", partitions=1)
    >>> with kappa("doc-kappa", rta.transforms.totals, table="doc_kappa", key=["window", "user_id"], event=rta.USER_EVENTS) as wired:
    ...     wired.catch_up()
    >>> wired.accounting().used
    50
    """
    return Kappa(topic, transform, table, key, event or event_type(topic), real_time).started()


class Batch(Wiring):
    """The answer as of the last recompute()."""

    architecture = "batch"
    after_a_crash = "the answer stays; the next recompute() starts over"
    first_answer = "call recompute() or catch_up()"

    def catch_up(self) -> None:
        """Recompute the answer over everything that is in the topic now."""
        self.recompute()

    def recompute(self) -> Accounting:
        """Archive what is new, compute the answer over the whole archive, and show it to readers at once."""
        number = self._next()
        part = f"{self.table}_batch_{number}"
        sinks.reset(part)
        with self._made(number, (part,)):
            self._batch_view(part)
            views.switch(self.table, number, Version((part,)))
        self._keep_only(number)
        return self.accounting()

    def _start(self) -> None:
        """Nothing runs before recompute()."""

    def _go_on(self, view: views.View) -> None:
        """Nothing runs after it either."""


class Lambda(Wiring):
    """A batch view up to a cut-off and a speed view after it; each event counts in one of them, at any moment."""

    architecture = "lambda"
    after_a_crash = "the speed view goes on from its checkpoint; a half batch view is made anew"
    first_answer = "its view was dropped: call rta.lambda_(…) again"

    def catch_up(self) -> None:
        """Wait until the speed view has everything that is in the topic now. In real-time mode it is started anew for that."""
        for number in list(self._again):
            self._level(number)

    def recompute(self) -> Accounting:
        """Compute the next batch view, start its speed view, and show both to readers at once.

        The old speed view stops when the new batch view is ready. The new one takes all that came since the cut-off in one micro-batch, so it
        drops nothing as late that readers have seen, and no value goes back. Until then the old version is served.
        """
        number = self._next()
        parts = self._parts(number)
        for part in parts:
            sinks.reset(part)
        with self._made(number, parts):
            merges = self._merges()
            cut_off = self._batch_view(parts[0])
            self.stop()
            self._speed(number, cut_off)
            if not self.real_time:
                self._level(number)
            views.switch(self.table, number, Version(parts, cut_off), merges=merges)
        self._keep_only(number)
        return self.accounting()

    def _start(self) -> None:
        """Go on with the speed view of the served version; make the first version if there is none."""
        if (view := self.view) is None:
            self.recompute()
        else:
            with failures_said(sinks.checkpoint_of(view.parts[-1]), self.table):
                self._merges()
            self._go_on(view)

    def _go_on(self, view: views.View) -> None:
        self._speed(view.served, view.versions[view.served].cut_off)

    def _speed(self, number: int, cut_off: sinks.Position) -> StreamingQuery:
        """Follow the topic from the cut-off with the same function."""
        known = read_archive(self.topic, event=self.event, before=cut_off)  # type: ignore[arg-type]
        transform = without_copies_of(
            known, self.transform, known, everywhere=self.real_time is not None
        )
        return self._follow(number, self._parts(number)[1], transform, cut_off)

    def _parts(self, number: int) -> tuple[str, str]:
        return f"{self.table}_batch_{number}", f"{self.table}_speed_{number}"

    def _merges(self) -> dict[str, Merge]:
        return merges(applied(self.transform, sources.read_batch(self.topic, event=self.event)))


class Kappa(Wiring):
    """One stream for now and for history: version 1 serves while version 2 replays the topic."""

    architecture = "kappa"
    after_a_crash = "each version goes on from its checkpoint, a half replay too"
    first_answer = "its view was dropped: call rta.kappa(…) again"

    def catch_up(self) -> None:
        """Wait until the served version has everything that is in the topic now. In real-time mode it is started anew for that."""
        view = self.view
        if view and view.served in self._again:
            self._level(view.served)

    def replay(self, transform: Transform, *, max_events_per_batch: int | None = None) -> Replay:
        """Start the next version: `transform` over the topic from its beginning, into a table of its own.

        Readers keep the served version until switch(). If it is called again after a crash, it goes on where it was. In real-time mode it returns
        when all history is there.

        Args:
            transform: The analysis of the next version.
            max_events_per_batch: With it, progress shows, and events are late as they were; without it, one micro-batch takes all history.
        """
        part, most = f"{self.table}_v{(number := self._next())}", max_events_per_batch
        began = time.monotonic(), events_in(part, self.topic, offsets(self.topic))
        query = self._follow(number, part, transform, "earliest", max_events_per_batch=most)
        self.transform = transform
        return Replay(self.topic, number, part, query, self.check, self._reprocessed, began)

    def switch(self, number: int | None = None) -> views.View:
        """Show another version to readers, in one transaction; by default the newest. The old one goes on, for roll_back().

        Raises:
            QueryError: It has not reached what readers have seen, or there is no other.
        """
        number = number or max(self.running, default=0)
        if not number:
            raise QueryError(
                f"there is no version of {self.table!r} to switch to", found="no query of it runs here",
                fix="call replay(transform) first, or name the version: switch(2)",
            )  # fmt: skip
        version = Version((f"{self.table}_v{number}",))
        with self._held(view.served if (view := self.view) else number, number):
            return views.switch(self.table, number, version)

    def roll_back(self) -> views.View:
        """Show readers the version before the served one again, in one transaction."""
        view = self.view
        older = [n for n in view.versions if n < view.served] if view else []
        if not view or not older:
            raise QueryError(
                f"there is no older version of {self.table!r}", fix="it was retired, or never was"
            )
        return views.switch(self.table, max(older), view.versions[max(older)], patience=None)

    def retire(self, number: int) -> None:
        """Drop a version that is not served: its query, its table, its checkpoint."""
        self._forget([number])

    def _start(self) -> None:
        """Go on with the served version; start the first one if there is none."""
        if (view := self.view) is not None:
            self._go_on(view)
            return
        part = f"{self.table}_v1"
        with self._made(1, (part,)):
            self._follow(1, part, self.transform, "earliest")
            views.switch(self.table, 1, Version((part,)))

    def _go_on(self, view: views.View) -> None:
        self._follow(view.served, view.parts[0], self.transform, "earliest")
