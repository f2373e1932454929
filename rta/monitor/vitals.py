"""What a stream does at one moment, wherever it runs: by its progress, or by what the ledger says of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from rta.engines.engine_query import EngineQuery
from rta.engines.spark.query_errors import sentence_of
from rta.errors import TopicError
from rta.monitor.active import active_here
from rta.store import growing_sums, ledger, views
from rta.store.ledger import Accounting, Batch

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

MINUTE: Final = 60.0
"""Seconds that "growing" looks back on, and that a rate in the ledger is taken over."""
_RECENT: Final = 60  # batches of the ledger that are looked at


@dataclass(frozen=True)
class Vitals:
    """What is known of a stream at one moment; what is not known is None.

    Args:
        at: The moment, in UTC.
        in_rate: Events per second that arrive.
        out_rate: Events per second that the query processes while it works.
        lag: Topic → the records that are not yet read, by partition.
        behind: The sum of these.
        batch_ms: The duration of the last micro-batch, in milliseconds.
        latency_ms: Milliseconds from an event to its result, in real-time mode.
        watermark: The watermark.
        event_time: The newest event's own time.
        used: Events that the result counts, of all batches; the next three are the other terms of the accounting.
        late: Events behind the watermark.
        duplicate: Events that came before.
        quarantined: Bad events.
        state_rows: Rows of state.
        state_bytes: Their memory.
    """

    at: dt.datetime
    in_rate: float | None = None
    out_rate: float | None = None
    lag: Mapping[str, Sequence[int]] | None = None
    behind: int | None = None
    batch_ms: float | None = None
    latency_ms: float | None = None
    watermark: dt.datetime | None = None
    event_time: dt.datetime | None = None
    used: int | None = None
    late: int | None = None
    duplicate: int | None = None
    quarantined: int | None = None
    state_rows: int | None = None
    state_bytes: int | None = None

    @property
    def seconds_behind(self) -> float | None:
        """The time that the query needs for what is unread, at its speed, or at that of the arrivals; None if neither is known.

        >>> Vitals(dt.datetime.now(dt.UTC), out_rate=100.0, behind=1200).seconds_behind
        12.0
        """
        if self.behind is None:
            return None
        rate = self.out_rate or self.in_rate
        return self.behind / rate if rate else None if self.behind else 0.0


def as_message(vitals: Vitals) -> dict[str, Any]:
    """Return vitals as a page takes them: the moment in milliseconds since 1970, times in ISO 8601.

    >>> as_message(Vitals(dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC), behind=3))["at"]
    1000.0
    """
    told = {name: value.isoformat() if isinstance(value, dt.datetime) else value for name, value in vars(vitals).items()}  # fmt: skip
    lag = {topic: list(records) for topic, records in (vitals.lag or {}).items()} or None
    return told | {"at": vitals.at.timestamp() * 1000, "lag": lag}


def vitals_of(stream: Any) -> Vitals:
    """Look at a stream now: at its progress if it runs in this process, else at its ledger; its lag is measured against the broker.

    Of a table whose topic is gone the lag is not known, and the rest is.

    Args:
        stream: The name of a table or view, or a StreamingQuery.

    Raises:
        TopicError: If the topic of a query that runs here is gone.

    Example:
        >>> vitals_of("no_such_table").behind is None
        True
    """
    try:
        return history_of(stream)[-1]
    except TopicError:
        if not isinstance(stream, str) or local_query(stream):
            raise
        return in_ledger(_table(stream), lag=False)[-1]


def next_vitals_of(stream: Any) -> Vitals:
    """Look again: at the last progress alone, since reading all of it takes Spark and Python a tenth of a second.

    A batch without events tells no event time.

    >>> next_vitals_of("no_such_table").behind is None
    True
    """
    query = _running_here(stream)
    if isinstance(query, EngineQuery):
        return of_engine(query)
    return in_ledger(_table(stream))[-1] if query is None else _of_now(query, query.lastProgress)


def history_of(stream: Any) -> list[Vitals]:
    """Look at a stream as vitals_of() does; return what is known of its last batches, too, the oldest first.

    Lag is known only of the batches that this process has run; the accounting only of now.
    """
    query = _running_here(stream)
    if isinstance(query, EngineQuery):
        return [*_beats_of(query), of_engine(query)]
    return in_ledger(_table(stream)) if query is None else seen_here(query)


def _running_here(stream: Any) -> StreamingQuery | EngineQuery | None:
    return local_query(stream) if isinstance(stream, str) else stream


def state_of(query: StreamingQuery | EngineQuery) -> tuple[str, str | None]:
    """Return the state of a query of this process, and the sentence that says why it has failed.

    >>> query = spark.readStream.format("rate").load().writeStream.format("noop").start()
    >>> state_of(query)
    ('running', None)
    >>> query.stop()
    >>> state_of(query)
    ('stopped', None)
    """
    if isinstance(query, EngineQuery):
        failed = query.exception()
        return "failed" if failed else "running" if query.isActive else "stopped", str(failed) if failed else None  # fmt: skip
    error = sentence_of(query)
    return "failed" if error else "running" if query.isActive else "stopped", error


def local_query(name: str) -> StreamingQuery | EngineQuery | None:
    """Return the query of this process that fills a table, or the table of the version that a view serves."""
    active = active_here()
    found = [query for query in active if query.name == name]
    if active and not found and (table := _table(name)) != name:
        found = [query for query in active if query.name == table]
    return found[0] if found else None


def _table(name: str) -> str:
    """Return the table that a stream fills: of a view, that of the version that is served."""
    view = views.find(name)
    return view.parts[-1] if view else name


def seen_here(query: StreamingQuery) -> list[Vitals]:
    """Look at all progress of a query of this process; its newest event time is that of all of them."""
    recent = list(query.recentProgress)
    history = [of_progress(each) for each in recent]
    newest = [each.event_time for each in history if each.event_time]
    now = _of_now(query, recent[-1] if recent else None)
    return [*history, replace(now, event_time=max(newest, default=None))]


def _of_now(query: StreamingQuery, last: Mapping[str, Any] | None) -> Vitals:
    """Return the figures of a progress with those of now: the lag against the broker, and the accounting."""
    from rta.monitor.query_health import in_table, read_until

    accounting = growing_sums.summed_on(str(query.id))
    vitals = of_progress(last) if last else Vitals(dt.datetime.now(dt.UTC))
    return _now(vitals, read_until(last or {}) or in_table(query.name), accounting)


def of_engine(query: EngineQuery) -> Vitals:
    """Look at a query of another engine now; its accounting is what the engine has told."""
    last = query.lastProgress
    rate = last["processedRowsPerSecond"]
    vitals = Vitals(dt.datetime.now(dt.UTC), rate, rate, state_bytes=last.get("stateBytes"))
    return _now(vitals, {last["topic"]: query.reached()}, replace(query.terms, batches=1))


def _beats_of(query: EngineQuery) -> list[Vitals]:
    """Return the rates at its last looks, one a second."""
    return [
        Vitals(dt.datetime.fromisoformat(each["timestamp"]), rate, rate)
        for each in query.recentProgress
        for rate in [each["processedRowsPerSecond"]]
    ]


def of_progress(progress: Mapping[str, Any]) -> Vitals:
    """Return what Spark's progress tells, as of the end of its batch."""
    took = progress["durationMs"].get("triggerExecution", 0)
    rows, rate = progress["numInputRows"], progress.get("inputRowsPerSecond") or 0
    operators, times = progress.get("stateOperators") or [], progress.get("eventTime") or {}
    lag = _planned_lag(progress)
    ran = "addBatch" in progress["durationMs"]
    return Vitals(
        at=dt.datetime.fromisoformat(progress["timestamp"]) + dt.timedelta(milliseconds=took),
        in_rate=None if rows and not rate else float(rate),  # of the first batch it is not known
        out_rate=float(progress.get("processedRowsPerSecond") or 0),
        lag=lag or None,
        behind=sum(map(sum, lag.values())) if lag else None,
        batch_ms=float(took) if ran else None,
        watermark=_time(times.get("watermark")),
        event_time=_time(times.get("max")),
        state_rows=sum(op["numRowsTotal"] for op in operators) if operators else None,
        state_bytes=sum(op["memoryUsedBytes"] for op in operators) if operators else None,
    )


def _planned_lag(progress: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return what a batch has left unread of what was there when it began."""
    import json

    lag: dict[str, list[int]] = {}
    for source in progress.get("sources", []):
        if not str(source["description"]).startswith("KafkaV2"):
            continue
        end, latest = (
            (json.loads(offsets) if isinstance(offsets, str) else offsets) or {}
            for offsets in (source.get("endOffset"), source.get("latestOffset"))
        )
        for topic, there in latest.items():
            read = end.get(topic, {})
            lag[topic] = [there[p] - read.get(p, 0) for p in sorted(there, key=int)]
    return lag


def _time(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text and not text.startswith("1970-01-01") else None


def in_ledger(table: str, *, lag: bool = True) -> list[Vitals]:
    """Look at what the ledger says of a table: of the query whose batch was committed last; and, for the lag, at the broker."""
    newest = ledger.newest(table)
    dated = [(each.committed_at, each) for each in newest if each.committed_at]
    if not dated:
        return [Vitals(dt.datetime.now(dt.UTC))]
    _, last = max(dated, key=lambda each: each[0])
    taken = ledger.batches(query_id=last.query_id, after=last.batch_id - _RECENT)
    history = of_batches(taken)
    now = replace(of_minute(taken, dt.datetime.now(dt.UTC)), watermark=last.watermark)
    accounting = growing_sums.summed_on(*dict.fromkeys(each.query_id for each in newest))
    return [*history, _now(now, ledger.reached(newest) if lag else {}, accounting)]


def of_batches(taken: Sequence[Batch]) -> list[Vitals]:
    """Return what the ledger tells of each batch: its rate is that since the one before.

    >>> one, two = (Batch("q", n, "clicks", consumed=50, committed_at=dt.datetime(2024, 11, 15, 10, 0, n * 5, tzinfo=dt.UTC)) for n in (0, 1))
    >>> [(each.in_rate, each.at.second) for each in of_batches([one, two])]
    [(None, 0), (10.0, 5)]
    """
    found, before = [], None
    for _, entries in groupby(taken, attrgetter("number")):  # of several topics one each
        each = list(entries)
        at = each[0].committed_at or dt.datetime.now(dt.UTC)
        seconds = (at - before).total_seconds() if before else 0
        rate = sum(batch.consumed for batch in each) / seconds if seconds > 0 else None
        found.append(Vitals(at, rate, rate, watermark=each[0].watermark))
        before = at
    return found


def of_minute(taken: Sequence[Batch], now: dt.datetime) -> Vitals:
    """Return the rate of the batches of the last minute."""
    recent = [each for each in taken if each.committed_at and (now - each.committed_at).total_seconds() < MINUTE]  # fmt: skip
    rate = sum(each.consumed for each in recent) / MINUTE
    return Vitals(now, rate, rate)


def _now(last: Vitals, read: Mapping[str, Mapping[int, int]], accounting: Accounting) -> Vitals:
    """Return the vitals of now: the last ones, with the lag against the broker and the accounting."""
    from rta.monitor.query_health import lag_of

    lag = {topic: [records for _, records in sorted(each.items())] for topic, each in lag_of(read).items()}  # fmt: skip
    terms = {term: getattr(accounting, term) if accounting.batches else None for term in ("used", "late", "duplicate", "quarantined")}  # fmt: skip
    behind = sum(map(sum, lag.values())) if lag else None
    return replace(last, at=dt.datetime.now(dt.UTC), lag=lag or None, behind=behind, **terms)
