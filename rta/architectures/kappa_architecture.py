"""Kappa: one stream for new events and for history; a new transform replays the topic into another table, and readers are switched to it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rta.architectures.base import Architecture
from rta.engines import portable
from rta.engines.portable import SPARK
from rta.engines.spark.how_far import phase
from rta.engines.spark.lateness import Transform
from rta.engines.spark.query_sources import Sources, Topics, query_sources, titled
from rta.engines.spark.realtime.following import INTERVAL, SPARK_REALTIME
from rta.errors import InputError, QueryError, RtaError
from rta.events.event_types import EventType
from rta.html import card, described
from rta.kafka.topics import TopicDescription, description
from rta.progress import bar, doing, waiting
from rta.retries import retried
from rta.store import ledger, views
from rta.store.views import Version

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


def kappa(
    topic: Topics,
    transform: Transform,
    *,
    table: str,
    key: Sequence[str],
    event: EventType | None = None,
    real_time: str | None = None,
    engine: str = SPARK,
) -> Kappa:
    """Set up Kappa: one stream fills the table; a new transform replays the topic into a second one.

    It continues the served version, which must have been filled with `transform`.

    Args:
        topic: The topic, or several by the names of the transform's parameters, as for rta.follow().
        transform: The analysis, as for rta.follow().
        table: The name by which readers find the answer.
        key: The columns of the result that identify a row.
        event: The type of the topic's events; by default the one with the name of the topic.
        real_time: An interval such as "5 minutes", for Spark's real-time mode (experimental); by default each version works in
            micro-batches.
        engine: "spark"; "spark-realtime", which is Spark with real_time="10 seconds" unless that is given; or "flink" or "kafka-streams", which run what rta.follow() runs on them: one topic, and what only Spark has is
            refused.

    Raises:
        InputError: If there is no such engine, or it has not what is asked for.
        QueryError: If the analysis does not run on the engine.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=50), "doc-kappa", partitions=1)
        >>> with kappa("doc-kappa", rta.transforms.totals, table="doc_kappa", key=["window", "user_id"], event=rta.USER_EVENTS) as wired:
        ...     wired.catch_up()
        >>> wired.accounting().used
        50
    """
    if engine == SPARK_REALTIME:
        engine, real_time = SPARK, real_time or INTERVAL
    if engine != SPARK:
        portable.require(engine, topic, {"real_time": real_time})
    sources = query_sources(topic, event)
    if real_time and len(sources) > 1:
        raise InputError(
            "real-time mode reads one topic: Spark joins no streams in it", found=titled(sources), fix="leave out real_time"
        )  # fmt: skip
    return Kappa(sources, transform, table, key, real_time, engine).started()


class Kappa(Architecture):
    """One stream for new events and for history: version 1 is served while version 2 replays the topic."""

    architecture = "kappa"
    after_a_crash = "each version goes on from its checkpoint, a half replay too"
    first_answer = "its view was dropped: call rta.kappa(…) again"
    then = "`.read()` reads the answer, `.replay(transform)` counts anew by another formula, `.stop()` stops it; `rta.live(…)` shows it move"

    def catch_up(self) -> None:
        """Wait until the served version has everything that is in the topic now. In real-time mode its query is restarted."""
        view = self.view
        if view and view.served in self._again:
            self._level(view.served)

    def replay(self, transform: Transform, *, max_events_per_batch: int | None = None) -> Replay:
        """Start the next version: `transform` over the topic from its beginning, into another table.

        Readers see the served version until switch(). If this is called again after a crash, it continues where it was. In real-time mode
        it returns when all history is in the table.

        Args:
            transform: The analysis of the next version.
            max_events_per_batch: The most events in one micro-batch: progress is shown, and events are late as they were before. By default
                one micro-batch takes all history.
        """
        part, most = f"{self.table}_v{(number := self._next())}", max_events_per_batch
        began = time.monotonic(), events_in(part, described_topics(self.sources))
        with waiting(f"starting version {number} of {self.table}"):
            query = self._follow(number, part, transform, self._earliest, max_events_per_batch=most)
        self.transform = transform
        return Replay(self, number, part, query, began)

    def switch(self, number: int | None = None) -> views.View:
        """Show another version to readers, in one transaction; by default the newest. The old one continues, for roll_back().

        Raises:
            QueryError: If it lacks events that readers have seen, or there is no other version.
        """
        number = number or max(self.running, default=0)
        if not number:
            raise QueryError(
                f"there is no version of {self.table!r} to switch to", found="no query of it runs here",
                fix="call replay(transform) first, or name the version: switch(2)",
            )  # fmt: skip
        version = Version((f"{self.table}_v{number}",))
        with (
            waiting(f"switching to version {number} of {self.table}"),
            self._held(view.served if (view := self.view) else number, number),
        ):
            return views.switch(self.table, number, version)

    def roll_back(self) -> views.View:
        """Show the version before the served one to readers again, in one transaction."""
        view = self.view
        older = [n for n in view.versions if n < view.served] if view else []
        if not view or not older:
            raise QueryError(
                f"there is no older version of {self.table!r}",
                found="it was retired, or never existed", fix="call replay(transform) for another version, then switch()",
            )  # fmt: skip
        return views.switch(self.table, max(older), view.versions[max(older)], patience=None)

    def retire(self, number: int) -> None:
        """Drop a version that is not served: its query, its table and its checkpoint."""
        self._forget([number])

    def _start(self) -> None:
        """Continue the served version; start the first one if there is none."""
        if view := self.view:
            self._go_on(view)
        else:
            part = f"{self.table}_v1"
            with self._made(1, (part,)):
                self._follow(1, part, self.transform, self._earliest)
                views.switch(self.table, 1, Version((part,)))

    def _go_on(self, view: views.View) -> None:
        self._follow(view.served, view.parts[0], self.transform, self._earliest)


@dataclass(frozen=True)
class ReplayProgress:
    """How far a replay is.

    Args:
        done: Events in the table.
        events: Events in the topic now.
        rate: Events per second since the replay began in this process.
    """

    done: int
    events: int
    rate: float

    @property
    def behind(self) -> int:
        """The events that are not in the table yet."""
        return self.events - self.done

    @property
    def seconds_left(self) -> float | None:
        """The time until it has caught up, at this rate; None before the end of the first micro-batch."""
        return 0.0 if not self.behind else self.behind / self.rate if self.rate else None

    def __str__(self) -> str:
        share = 100 * self.done / self.events if self.events else 100
        left = self.seconds_left
        when = (
            "no micro-batch has ended yet" if left is None else f"caught up in about {left:,.0f} s"
        )
        return f"{self.done:,} of {self.events:,} events ({share:.0f} %), {self.rate:,.0f} events/s, {when if self.behind else 'caught up'}"

    __repr__ = __str__


@dataclass(frozen=True)
class Replay:
    """The replay of a topic into the table of a new version."""

    wired: Kappa
    version: int
    table: str
    query: StreamingQuery
    began: tuple[float, int]  # when, and with how many events in the table

    def _facts(self) -> tuple[list[tuple[str, object]], str]:
        facts: list[tuple[str, object]] = [("replay", f"{self.wired.topic} → {self.table}, version {self.version}")]  # fmt: skip
        try:
            facts.append(("progress", self.progress()))
        except RtaError as away:
            facts.append(("progress", away))
        then = "`.wait()` waits for it, `.progress()` looks again; then `.switch()` of its architecture shows it to readers"
        return facts, then

    def __repr__(self) -> str:
        return described(*self._facts())

    def _repr_html_(self) -> str:
        return card(*self._facts())

    def progress(self) -> ReplayProgress:
        """Return how far it is."""
        return self._progress(described_topics(self.wired.sources))

    def _progress(self, topics: Sequence[TopicDescription]) -> ReplayProgress:
        """Return how far it is through topics as they are, or were."""
        began, first = self.began
        done = events_in(self.table, topics)
        rate = (done - first) / max(time.monotonic() - began, 1e-9)
        return ReplayProgress(done, sum(topic.events for topic in topics), rate)

    def wait(self) -> ReplayProgress:
        """Wait until it has everything that is in the topic now, and show its progress."""
        # The goal is what is there now: retention must not move it.
        topics, shown = described_topics(self.wired.sources), 0
        goal = sum(topic.events for topic in topics)
        look = phase([self.query])
        with bar(f"{self.wired.topic} → {self.table}", total=goal, unit="event") as advance:
            while (now := self._progress(topics)).done < goal:
                doing(look())
                self.query.awaitTermination(0.2)  # type: ignore[arg-type]
                if not self.query.isActive:
                    self.query.awaitTermination()
                    self.wired.check()
                    return now
                advance(max(now.done - shown, 0))
                shown = now.done
        self.wired.reprocessed = time.monotonic() - self.began[0]
        return self.progress()


def described_topics(sources: Sources) -> list[TopicDescription]:
    """Describe the topics of a query as they are now."""
    return [retried(partial(description, source.topic)) for source in sources.values()]


def events_in(table: str, topics: Sequence[TopicDescription]) -> int:
    """Count the offsets of topics, as they are now, that a table contains.

    >>> events_in("no_such_table", [TopicDescription("clicks", "an-id", {0: (0, 5)}, None)])
    0
    """
    contained = ledger.offsets(table)
    return sum(topic.passed(contained.get(topic.name, {})) for topic in topics)
