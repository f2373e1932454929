"""rta.lab(): faults on purpose beside a running query, and what became of each event."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from rta import html
from rta.dataframes import session
from rta.display.view import views_of
from rta.durations import duration
from rta.engines.spark import topic_identity
from rta.engines.spark.starting import Request, kept_here
from rta.errors import InputError, QueryError
from rta.html import Facts
from rta.kafka import topics
from rta.laboratory import faults, samples
from rta.laboratory.experiments import Experiment, Start, active, counted
from rta.monitor.vitals import state_of
from rta.progress import doing, waiting
from rta.settings import settings
from rta.store import ledger

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql.streaming.query import StreamingQuery

    from rta.display.live_view import LiveView
    from rta.laboratory.buttons import Panel

Make = Callable[[Request], tuple[Sequence[samples.Record], str]]
"""Makes the events of an experiment, and tells which term of the accounting they are to be."""
_LOOK: Final = 0.05  # seconds from one look at the ledger to the next
_LONGEST: Final = 60.0  # seconds that a network may be away
_busy: Final = Lock()
"""There is one broker and one driver, so there is one experiment at a time."""


def lab(table: str, view: LiveView | None = None, *, patience: float = 180.0) -> Laboratory:
    """Open a fault laboratory beside a query: kill its broker or its driver, cut the network, send late, doubled and broken events.

    Nothing is done but by a call or a button. It works on the embedded broker alone, for a table that a query of this session keeps, and
    publishes events to its topic: they are made of the newest ones, and the table counts them. The broker is that of all notebooks of
    this RTA_HOME, so they see the fault, too.

    Args:
        table: A table that rta.follow() keeps up to date.
        view: A live view on whose time axis each fault is marked; by default all that show the table.
        patience: Seconds that an experiment waits until all is processed.

    Returns:
        The laboratory: kill_broker(), kill_driver(), cut_network(), slow_network(), burst(), late(), copies(), poison(); a table of what
        was done, expected, counted and lost, and in JupyterLab a button for each.

    Raises:
        InputError: If RTA_KAFKA_BOOTSTRAP or an option of the query names another broker.
        QueryError: If no query of this session keeps the table, or it reads a topic of another broker.

    Example:
        >>> _ = rta.publish(rta.user_events(spark, rows=100), "doc-lab", partitions=1)
        >>> query = rta.follow("doc-lab", rta.transforms.totals, table="doc_lab", key=["window", "user_id"], event=rta.USER_EVENTS)
        >>> query.processAllAvailable()
        >>> laboratory = lab("doc_lab")
        >>> poisoned = laboratory.poison(3)
        >>> poisoned.counted.quarantined, poisoned.lost, poisoned.as_expected
        (3, 0, True)
        >>> query.stop()
    """
    if patience <= 0:
        raise InputError("patience must be above 0", found=patience, fix="give seconds")
    _required(table)
    return Laboratory(table, view, patience)


class Laboratory:
    """Experiments on one query; rta.lab() opens it. Its methods return the experiment, and may be called from any thread, one at a time.

    Attributes:
        table: The table.
        experiments: What was done, the oldest first.
    """

    def __init__(self, table: str, view: LiveView | None, patience: float) -> None:
        self.table, self.experiments = table, Facts[Experiment]([], row=Experiment.cells)
        self.panels: list[Panel] = []  # the buttons in cells
        self._view, self._patience = view, patience

    @property
    def query(self) -> StreamingQuery:
        """The query that fills the table now: after the death of the driver it is another than before."""
        return _query(self.table)

    def kill_broker(self, *, events: int = 20) -> Experiment:
        """Kill the embedded broker (SIGKILL), and start it again.

        Args:
            events: How many events are sent, half of them before the fault and half after.
        """
        return self._run("broker killed", events, _used(events), faults.kill_broker)

    def kill_driver(self, *, events: int = 20) -> Experiment:
        """Kill the driver's JVM (SIGKILL); then start Spark with the same properties, and all queries of this session where they were.

        The StreamingQuery of before is dead; `query` is the new one.

        Args:
            events: As for kill_broker().

        Raises:
            QueryError: If the JVM was not started by this process, or has a query that rta.follow() has not started; nothing is done.
        """
        faults.restartable()
        return self._run("driver killed", events, _used(events), faults.kill_driver)

    def cut_network(self, seconds: float = 5.0, *, events: int = 20) -> Experiment:
        """Let the broker be silent to all its clients for a while, as if its cable were pulled out: no connection breaks, no answer comes.

        Its process is held (SIGSTOP), and let go on by a program that outlives this kernel.

        Args:
            seconds: How long, at most 60.
            events: As for kill_broker().
        """
        _require_seconds(seconds)
        return self._run("network cut", events, _used(events), lambda: faults.hold_broker(seconds))

    def slow_network(self, seconds: float = 5.0, delay: float = 0.5, *, events: int = 20) -> Experiment:  # fmt: skip
        """Let each answer of the broker wait for up to `delay` seconds, for a while: its process is held and let go by turns.

        Args:
            seconds: How long, at most 60.
            delay: How long it is held in each turn.
            events: As for kill_broker().
        """
        _require_seconds(seconds, delay)
        return self._run("network slow", events, _used(events), lambda: faults.hold_broker(seconds, delay=delay))  # fmt: skip

    def burst(self, events: int = 1_000) -> Experiment:
        """Send many new events at once, made of the newest ones: each has an id of its own, and a time after the newest."""
        return self._run("burst", events, _used(events))

    def late(self, events: int = 5, *, by: str = "1 day") -> Experiment:
        """Send new events that are behind the watermark.

        Args:
            events: How many.
            by: How far behind it they are; more than a window is long.
        """
        behind = duration("by", by)
        return self._run("late events", events, lambda asked: (samples.late(asked, events, behind), "late"))  # fmt: skip

    def copies(self, events: int = 5) -> Experiment:
        """Send the newest events once more, byte for byte: duplicates, or used if the transform keeps copies."""
        return self._run("copies", events, lambda asked: samples.copies(asked, events))

    def poison(self, events: int = 5) -> Experiment:
        """Send events that are broken: cut short, doubled, in an array, no UTF-8, empty."""
        return self._run("poison", events, lambda asked: (samples.poison(asked, events), "quarantined"))  # fmt: skip

    def report(self) -> pd.DataFrame:
        """Return what was done as pandas, one row for each experiment."""
        import pandas as pd

        rows = [vars(each) | {"counted": repr(each.counted), "as_expected": each.as_expected} for each in self.experiments]  # fmt: skip
        return pd.DataFrame(rows)

    def close(self) -> None:
        """Take the buttons away; the table of what was done stays."""
        for panel in self.panels:
            panel.close()
        self.panels.clear()

    def __repr__(self) -> str:
        cells = [each.cells() for each in self.experiments]
        lines = html.plain([list(each.values()) for each in cells], list(cells[0])) if cells else []
        return "\n".join([html.described(*self._said()), *lines])

    def _repr_html_(self) -> str:
        return self.told(*self._said())

    def told(self, facts: list[tuple[str, object]] | None = None, then: str = "") -> str:
        """Return the facts and the table of what was done as HTML."""
        shown = html.card(facts or self._said()[0], then)
        return shown + (self.experiments._repr_html_() if self.experiments else "")

    def _said(self) -> tuple[list[tuple[str, object]], str]:
        lost = sum(each.lost for each in self.experiments)
        amiss = sum(not each.as_expected for each in self.experiments)
        said = f"{len(self.experiments)} done, {lost:,} events lost" if self.experiments else "nothing done yet"  # fmt: skip
        verdict = html.Marked(said + (f", {amiss} not as expected" if amiss else ""), "bad" if amiss else "good")  # fmt: skip
        then = "`.kill_broker()`, `.kill_driver()`, `.cut_network()`, `.slow_network()`, `.burst()`, `.late()`, `.copies()`, `.poison()`"
        return [("fault laboratory", self.table), ("experiments", verdict)], then

    def _ipython_display_(self) -> None:
        from rta.laboratory import buttons

        buttons.show(self)

    # How an experiment goes

    def _run(self, name: str, many: int, make: Make, fault: Callable[[], str] | None = None) -> Experiment:  # fmt: skip
        """Do an experiment, alone; keep what was counted."""
        if many < (least := 2 if fault else 1):
            raise InputError("too few events", found=many, fix=f"give {least} or more")
        if not _busy.acquire(blocking=False):
            raise QueryError("another experiment runs", fix="wait until it has ended")
        try:
            with waiting(f"{name}: {self.table}"):
                done = self._done(name, make, fault)
        finally:
            _busy.release()
        self.experiments.append(done)
        for panel in self.panels:
            panel.refresh()
        return done

    def _done(self, name: str, make: Make, fault: Callable[[], str] | None) -> Experiment:
        asked, before = _required(self.table), self.query
        doing("its events are made of the newest ones")
        records, term = make(asked)
        start, mark = Start.of(asked, str(before.id)), uuid4().hex.encode()
        half = len(records) // 2 if fault else 0
        sent = samples.sent(asked.topic, records[:half], mark)
        at, began = datetime.now(UTC), time.monotonic()
        self._mark(name, at)
        done = f"{len(records):,} events sent"
        if fault:
            doing("the fault")
            done = fault()
        sent += samples.sent(asked.topic, records[half:], mark)
        doing("until all is processed")
        seconds, error = self._recovered(asked, before, began)
        terms, found, others, unread = counted(asked, start, mark)
        if fault and seconds:
            self._mark("recovered")
        return Experiment(
            name, at, done, {term: len(records)}, terms, sent, found, others, max(sent - found, 0) + unread, seconds, error,
        )  # fmt: skip

    def _recovered(self, asked: Request, before: StreamingQuery, began: float) -> tuple[float | None, str | None]:  # fmt: skip
        """Wait until the ledger has all that is on the topic now; return the seconds since the fault, or why it has not."""
        ends = {p: end for p, (_, end) in topics.offsets(asked.topic).items()}
        query = active(self.table) or before
        while (took := time.monotonic() - began) < self._patience:
            has = ledger.offsets(self.table).get(asked.topic, {})
            if all(has.get(partition, 0) >= end for partition, end in ends.items()):
                return took, None
            state, error = state_of(query)
            if state != "running":
                return None, error or state
            time.sleep(_LOOK)
        return None, None

    def _mark(self, label: str, at: datetime | None = None) -> None:
        for view in [self._view] if self._view else views_of(self.table):
            view.mark(label, at)


def _used(many: int) -> Make:
    return lambda asked: (samples.fresh(asked, many), "used")


def _required(table: str) -> Request:
    """Return what keeps a table up to date; refuse what is not ours to break."""
    if theirs := settings().kafka_bootstrap:
        raise _not_ours(f"RTA_KAFKA_BOOTSTRAP is {theirs}", "unset RTA_KAFKA_BOOTSTRAP, and start the query again")  # fmt: skip
    if (asked := kept_here().get(table)) is None:
        known = ", ".join(kept_here()) or "none"
        raise QueryError(f"no query of this session keeps {table!r} up to date", found=known, fix="give the table of a rta.follow(…)")  # fmt: skip
    if theirs := asked.options.get("kafka.bootstrap.servers"):
        raise _not_ours(f"its query reads from {theirs}", "leave that option out")
    _query(table)
    # A topic's id is Kafka's own: the query reads the topic of this broker, and no other of its name.
    topic_identity.require_same_topic(session.spark(), asked.checkpoint, topics.description(asked.topic))  # fmt: skip
    return asked


def _not_ours(found: str, fix: str) -> InputError:
    return InputError("a fault laboratory works on the embedded broker alone", found=found, fix=fix)


def _query(table: str) -> StreamingQuery:
    if query := active(table):
        return query
    raise QueryError(f"the query that keeps {table!r} does not run", fix=f"rta.engines.restart({table!r})")  # fmt: skip


def _require_seconds(*given: float) -> None:
    if not all(0 < each <= _LONGEST for each in given):
        raise InputError("a network is away for a while", found=given, fix=f"give seconds above 0, at most {_LONGEST:g}")  # fmt: skip
