"""List what runs, here and in other processes: with a verdict in words, and a way to stop it."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, overload

from rta.engines import engine_query
from rta.engines.engine_query import EngineQuery
from rta.engines.running import Held, QuerySummary
from rta.engines.running import queries as known_queries
from rta.engines.spark.checkpoint_lock import started_here, stop_elsewhere
from rta.errors import BrokerError, QueryError, TopicError
from rta.html import Facts, card, described, plain
from rta.monitor.verdicts import WITHOUT_ITS_KERNEL, Verdict, verdict
from rta.monitor.vitals import Vitals, history_of, in_ledger, state_of
from rta.progress import waiting

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

_ARCHIVE: Final = "archive of "


@dataclass(frozen=True)
class ListedQuery:
    """A query at one moment.

    Args:
        name: Its name: the table that it fills, if it fills one.
        topic: The topic that it reads.
        state: "running", "stopped" or "failed".
        verdict: How it does, in words.
        batch: Its newest micro-batch; None before the first, like the fields that follow.
        rate: Events per second that it takes.
        behind: Records that it has not read yet.
        since: When it was started.
        process: The id of the process that runs it; None of a job of Flink that goes on without the one that started it.
        query: If it is of this process Spark's own query, or an rta.engines.EngineQuery.
        engine: The engine that runs it.
        native: Another engine's own address of it.
    """

    name: str
    topic: str | None
    state: str
    verdict: Verdict
    batch: int | None = None
    rate: float | None = None
    behind: int | None = None
    since: dt.datetime | None = None
    process: int | None = None
    query: StreamingQuery | EngineQuery | None = field(default=None, repr=False, compare=False)
    engine: str = "spark"
    native: str | None = None

    def stop(self) -> None:
        """Stop it, and wait until it has stopped; nothing happens if it does not run.

        A query of another process is stopped by that process, at our request, and a job of Flink that has none by Flink. The next start
        continues where it was.

        Raises:
            QueryError: If the other process does not answer.
        """
        if self.query is not None:
            self.query.stop()
        elif self.state == "running" and self.engine != "spark":
            from rta.engines import portable

            portable.stop(self.name)
        elif self.state == "running":
            stop_elsewhere(self.name)

    def __str__(self) -> str:
        return f"{self.name}: {self.verdict}"

    def _repr_html_(self) -> str:
        return card(*self._facts())

    def _repr_pretty_(self, printer: Any, _cycle: object) -> None:
        printer.text(described(*self._facts()))

    def _facts(self) -> tuple[list[tuple[str, object]], str]:
        """Return what is known of it, and what to do next."""
        known = [
            (label, value)
            for label, value in (_row(self) | {"native": self.native}).items()
            if value is not None
        ]
        then = "`.stop()` stops it, wherever it runs" if self.state == "running" else "the same call starts it where it was"  # fmt: skip
        return known, then


class Queries(Facts[ListedQuery]):
    """The queries that there are; one is found by its number or its name."""

    def __init__(self, found: Iterable[ListedQuery]) -> None:
        super().__init__(found, row=_row)

    @overload  # type: ignore[override]
    def __getitem__(self, which: slice) -> list[ListedQuery]: ...
    @overload
    def __getitem__(self, which: int | str) -> ListedQuery: ...
    def __getitem__(self, which: int | slice | str) -> ListedQuery | list[ListedQuery]:
        """Return a query by its number, or by its name.

        Raises:
            QueryError: If there is none of that name.
        """
        if not isinstance(which, str):
            return super().__getitem__(which)
        for each in self:
            if each.name == which:
                return each
        names = ", ".join(each.name for each in self)
        raise QueryError(f"there is no query {which!r}", found=names or "none", fix="correct the name")  # fmt: skip

    def __repr__(self) -> str:
        rows = [list(_row(each).values()) for each in self]
        return "\n".join(plain(rows, list(_row(self[0])))) if rows else _NOTHING

    def _repr_pretty_(self, printer: Any, _cycle: object) -> None:
        printer.text(repr(self))

    def _repr_html_(self) -> str:
        if not self:
            return f"<p>{_NOTHING}</p>"
        running = any(each.state == "running" for each in self)
        stop = "<p>stop one: <code>rta.queries()[name].stop()</code></p>" if running else ""
        return super()._repr_html_() + stop


_NOTHING: Final = "no query yet: rta.follow(…) starts one"


def queries() -> Queries:
    """List all queries of this session and, by the ledger and the checkpoints' locks, those of other processes.

    Returns:
        A list that shows itself as a table, running ones first; `rta.queries()["totals"].stop()` stops one, wherever it runs.

    Example:
        >>> stream = spark.readStream.format("rate").load()
        >>> query = stream.writeStream.format("noop").queryName("doc_queries").start()
        >>> queries()["doc_queries"].state
        'running'
        >>> queries()["doc_queries"].stop()
        >>> query.isActive
        False
    """
    with waiting("looking at the queries"):
        return _found()


def _found() -> Queries:
    known = {each.table: each for each in known_queries()}
    here: dict[str, StreamingQuery | EngineQuery] = {query.name or str(query.id): query for query in of_this_process()}  # fmt: skip
    here |= engine_query.running
    moved = {name for name, query in here.items() if not query.isActive and _elsewhere(known.get(name))}  # fmt: skip
    listed = [_here(name, query, known.get(name)) for name, query in here.items() if name not in moved]  # fmt: skip
    listed += [
        of_summary(each) for name, each in known.items() if name not in here or name in moved
    ]
    return Queries(sorted(listed, key=lambda each: (each.state != "running", each.name)))


def of_this_process() -> list[StreamingQuery]:
    """List the queries of Spark's session, and those that have ended and that rta has started; of one name the newest."""
    from rta.dataframes.session import running

    session = running()
    if session is None:
        return []
    active = session.streams.active
    runs = {str(query.runId) for query in active}
    return [*(query for query in started_here() if str(query.runId) not in runs), *active]


def _elsewhere(known: QuerySummary | None) -> bool:
    """Tell whether another process runs a query now."""
    return known is not None and known.active and known.process != os.getpid()


def _here(name: str, query: StreamingQuery | EngineQuery, known: QuerySummary | None) -> ListedQuery:  # fmt: skip
    state, error = state_of(query)
    process = os.getpid() if state == "running" else None
    at, on, native = known.last_batch if known else None, "spark", None
    if isinstance(query, EngineQuery):
        on, native = query.job.engine, str(query.native)
    elif progress := query.lastProgress:
        at = progress["batchId"]
    listed = ListedQuery(
        name, known.topic if known else None, state, Verdict("", ""), at, since=started_at(known),
        process=process, query=query, engine=on, native=native,
    )  # fmt: skip
    return _judged(listed, lambda: history_of(query), error)


def of_summary(known: QuerySummary) -> ListedQuery:
    """Return a query as its lock, its ledger and Kafka tell of it: from any process, without Spark."""
    name, topic = known.table, known.topic
    listed = ListedQuery(
        name, topic, known.state, Verdict("archiving", "good"), known.last_batch, since=started_at(known), process=known.process,
        engine=known.engine, native=known.native,
    )  # fmt: skip
    if known.query_id is None and name.startswith(_ARCHIVE):  # it fills files, not a table
        return replace(listed, topic=name.removeprefix(_ARCHIVE))
    judged = _judged(listed, lambda: in_ledger(name), known.error)
    return replace(judged, verdict=WITHOUT_ITS_KERNEL) if known.left else judged


def _judged(listed: ListedQuery, look: Callable[[], list[Vitals]], error: str | None) -> ListedQuery:  # fmt: skip
    """Return a query with what is known of its pace; if Kafka or the topic is away, that is the verdict."""
    try:
        history = look()
    except (BrokerError, TopicError) as away:
        return replace(listed, verdict=verdict([], "failed", error) if error else Verdict(away.what, "bad"))  # fmt: skip
    now = history[-1]
    return replace(
        listed, verdict=verdict(history, listed.state, error), behind=now.behind,
        topic=listed.topic or ", ".join(now.lag or {}) or None,
        rate=now.out_rate if now.in_rate is None else now.in_rate,
    )  # fmt: skip


def started_at(known: QuerySummary | Held | None) -> dt.datetime | None:
    """Return when a query that runs was started."""
    if known is None or not (known.active and known.since):
        return None
    return dt.datetime.strptime(known.since, "%Y-%m-%d %H:%M:%S %Z").replace(tzinfo=dt.UTC)


def _row(each: ListedQuery) -> dict[str, object]:
    """Return the cells of a query by column."""
    rate = None if each.rate is None or each.state != "running" else round(each.rate)
    return {
        "query": each.name, "verdict": each.verdict, "state": each.state, "behind": each.behind, "events/s": rate, "topic": each.topic,
        "engine": each.engine, "batch": each.batch, "since": each.since, "process": each.process and str(each.process),
    }  # fmt: skip
