"""Look at everything: what is stored, what Kafka says, what this process runs; whatever does not answer is said, and the rest is told."""

from __future__ import annotations

import datetime as dt
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from rta.engines.running import Held, engines_held
from rta.metrics.in_kafka import InKafka, KafkaLook
from rta.metrics.observation import Observation, ObservedQuery, Places
from rta.metrics.parts import Part
from rta.metrics.spark_here import Here, spark_here
from rta.metrics.stored import Offsets, Stored, StoredLook
from rta.monitor.running_queries import started_at
from rta.monitor.verdicts import WITHOUT_ITS_KERNEL, verdict
from rta.monitor.vitals import Vitals, of_batches, of_minute, of_progress
from rta.settings import settings

if TYPE_CHECKING:
    from rta.engines.running import QuerySummary

PATIENCE: Final = 3.0
"""Seconds that one of the three parts may take: Prometheus waits for ten."""
_KEPT: Final = 300  # looks of a query that are kept


class Observer:
    """Looks at everything again and again, and remembers the looks before, so that it can tell what grows.

    Args:
        patience: Seconds that the database, Kafka or Spark may take to answer.

    Example:
        >>> with closing(Observer()) as observer:
        ...     observer.look().up["database"]
        True
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._database, self._kafka, self._spark, self._engines = (
            Part(name, patience) for name in ("database", "kafka", "spark", "engines")
        )
        self._look, self._one = KafkaLook(), Lock()
        self._tables = StoredLook()
        self._stored = Stored()
        self._held: Mapping[str, Held] = {}
        self._histories: dict[str, deque[Vitals]] = {}

    def look(self) -> Observation:
        """Look now. What does not answer is in `away`, and the figures that depend on it are missing."""
        with self._one:
            began = time.monotonic()
            away: dict[str, str] = {}
            here = self._asked(self._spark, lambda: spark_here(self._histories), away)
            kept = self._asked(self._database, self._tables.look, away)
            self._stored = kept or self._stored
            held = self._asked(self._engines, engines_held, away)
            self._held = self._held if held is None else held
            reached = self._reached(here)
            seen = self._asked(self._kafka, lambda: self._look.look(reached), away)
            up = {"database": kept is not None, "kafka": seen is not None}
            if here is None or here.session:
                up["spark"] = here is not None and here.ended is None
                if here and here.ended:
                    away["spark"] = f"its JVM has ended: {here.ended}"
            if self._held or held is None:
                up["engines"] = held is not None
            now = dt.datetime.now(dt.UTC)
            queries = self._queries(now, here or Here(), seen)
            return Observation(
                now, up, away, queries, kept.tables if kept else (), seen.groups if seen else (),
                seen.dead_letters if seen else {}, kept.jobs if kept else (), settings().kafka_bootstrap or "embedded",
                time.monotonic() - began,
            )  # fmt: skip

    def close(self) -> None:
        """Close what it keeps open."""
        for part in (self._database, self._kafka, self._spark, self._engines):
            part.close()
        self._look.close()

    @staticmethod
    def _asked(part: Part, look: Any, away: dict[str, str]) -> Any:
        answer, why = part.ask(look)
        if why is not None:
            away[part.name] = why
        return answer

    def _reached(self, here: Here | None) -> dict[str, Offsets]:
        """Return query → what it has read: by its progress if it is of this process or another engine's, else what its table contains."""
        of_here = {query.name: query.read for query in here.queries if query.read} if here else {}
        of_engines = {name: held.reached for name, held in self._held.items() if held.reached}
        return dict(self._stored.reached) | of_engines | of_here

    def _queries(self, now: dt.datetime, here: Here, seen: InKafka | None) -> list[ObservedQuery]:
        known = {each.table: each for each in self._stored.queries}
        local = {each.name: each for each in here.queries}
        names = {*known, *local, *(name for name, held in self._held.items() if held.active)}
        self._histories = {name: kept for name, kept in self._histories.items() if name in names}
        found = []
        for name in sorted(names):
            summary, own, held = known.get(name), local.get(name), self._held.get(name)
            if own and summary and own.state != "running" and summary.active:
                own = None  # another process has taken it over
            lag = dict((seen and seen.lag.get(name)) or {})
            left = self._stored.left.get(name)
            if own:
                past, last, state, error = own.history, own.vitals, own.state, own.error
            else:
                past, last = _of_ledger(self._stored.recent.get(name, ()), now)
                last = (
                    _of_engine(last, held) if held else of_progress(left.progress) if left else last
                )
                state, error = (summary.state, summary.error) if summary else ("stopped", None)
            if held:
                state, error = held.state, held.error
            vitals = replace(last, at=now, lag=_by_topic(lag) or None, behind=int(sum(lag.values())) if lag else None)  # fmt: skip
            history = self._remembered(name, past, vitals)
            told = WITHOUT_ITS_KERNEL if held and held.left else verdict(history, state, error)
            who = held or summary
            query = ObservedQuery(
                name, state, told, vitals, history, lag, dict((seen and seen.lag_seconds.get(name)) or {}),
                summary.committed_at if summary else None, started_at(who), who.process if who and who.active else None,
            )  # fmt: skip
            if held:
                progress = held.progress
                query = replace(query, engine=held.engine, restarts=progress.get("restarts"), checkpoints=progress.get("checkpoints"))  # fmt: skip
            else:
                query = replace(query, application=here.application if own else left.application if left else _process(summary))  # fmt: skip
            found.append(query)
        return found

    def _remembered(self, name: str, past: Sequence[Vitals], now: Vitals) -> Sequence[Vitals]:
        """Add a look to those of before; the first one begins with what Spark or the ledger remembers."""
        history = self._histories.setdefault(name, deque(past, maxlen=_KEPT))
        history.append(now)
        return tuple(history)


def observe() -> Observation:
    """Look once at everything: queries, tables, dead letters, consumer groups and jobs, of this process and of others.

    To look again and again, keep an rta.metrics.Observer: it remembers, so that it can tell what grows.

    Returns:
        What was found; what did not answer is in `away`. Neither a broker nor Spark is started.

    Example:
        >>> observe().up["database"]
        True
    """
    with closing(Observer()) as observer:
        return observer.look()


def _of_ledger(taken: Sequence[Any], now: dt.datetime) -> tuple[list[Vitals], Vitals]:
    """Return what the ledger tells of the last micro-batches of a query, and of now."""
    if not taken:
        return [], Vitals(now)
    return of_batches(taken), replace(of_minute(taken, now), watermark=taken[-1].watermark)


def _of_engine(last: Vitals, held: Held) -> Vitals:
    """Return what another engine has told of its query last; the ledger has the rest."""
    rate = held.progress.get("processedRowsPerSecond")
    known = replace(last, state_bytes=held.progress.get("stateBytes"))
    return known if rate is None else replace(known, in_rate=rate, out_rate=rate)


def _by_topic(lag: Places) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for (topic, _), records in sorted(lag.items()):
        found.setdefault(topic, []).append(int(records))
    return found


def _process(known: QuerySummary | None) -> str:
    return f"pid-{known.process}" if known and known.active else ""
