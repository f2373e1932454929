"""What a live view shows: a table that is kept, a query, an architecture. Each as rows and vitals.

A feed reads what is there when it is asked; it never makes its query wait. What else has a feed, a topic, a replay, a function, a
streaming frame, has a file of its own.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, cast

from rta.dataframes.session import running
from rta.display.rows import Rows, types_of
from rta.engines import engine_query
from rta.engines.engine_query import EngineQuery
from rta.engines.running import engines_held, spark_held
from rta.errors import InputError
from rta.monitor.verdicts import WITHOUT_ITS_KERNEL, Verdict, verdict
from rta.monitor.vitals import Vitals, history_of, next_vitals_of, state_of
from rta.store import database, serving, serving_tables, views
from rta.store.catalog import relation

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql.streaming.query import StreamingQuery

    from rta.architectures.base import Architecture
    from rta.store.serving_tables import Table

Mode = Literal["append", "update", "complete"]
State = Literal["running", "paused", "stopped", "ended", "failed"]
_LOCKS: Final = 1.0  # seconds from one look at the lock of another process to the next
_COUNTED: Final = 1.0  # seconds from one count of the rows to the next, at least


class Feed(ABC):
    """What a view shows."""

    kind: ClassVar[str]
    mode: Mode = "update"
    title: str
    can: ClassVar[Sequence[str]] = ("pause", "stop", "restart")  # what a person may ask for
    chart: Any = None  # what is drawn if no other chart is wanted
    # Whether vitals() may be asked while rows() is, by another thread.
    figures_apart: ClassVar[bool] = False

    @abstractmethod
    def rows(self, limit: int) -> Rows | None:
        """Return the newest rows; None if they are those of the call before."""

    @abstractmethod
    def vitals(self) -> Vitals:
        """Return the figures of this moment."""

    def history(self) -> list[Vitals]:
        """Return the figures of before, as far as they are known, and those of this moment."""
        return [self.vitals()]

    def listed(self, what: str) -> tuple[pd.DataFrame, str]:
        """Return the events that became one term of the accounting, such as "late", and a note."""
        raise InputError(
            f"there is no list of {what} events of {self.title!r}",
            fix="keep a table: rta.follow(…)",
        )

    @property
    def state(self) -> State:
        """Whether something still fills what is shown."""
        return "running"

    @property
    def error(self) -> str | None:
        """Why the query has ended, if it failed."""
        return None

    def verdict(self, history: Sequence[Vitals], state: str) -> Verdict:
        """Say in words how it does; its state may be "paused", too."""
        return verdict(history, state, self.error if state == "failed" else None)

    def caught_up(self, now: Vitals) -> bool:
        """Tell whether everything that was there is shown, from its figures of before the last look at its rows."""
        return now.behind == 0

    def over(self) -> str | None:
        """Say why nothing more will come; None if something may."""
        return None

    def pause(self) -> bool:
        """Let what is shown stand still; False if it cannot, and only the picture holds."""
        return False

    def resume(self) -> None:  # noqa: B027 - most feeds cannot stand still
        """Let it go on."""

    def controls(self) -> dict[str, Any] | None:
        """Return what can be set, as it is now; None if there is nothing."""
        return None

    def steer(self, what: str, value: object) -> None:  # noqa: ARG002
        """Set something."""
        raise InputError(f"{self.title}: {what} cannot be set here", fix="give rta.live() a replay")

    def restart(self) -> None:
        """Start the query again where it was."""
        raise InputError(
            f"{self.title}: nothing here can be started again", fix="call rta.follow(…)"
        )

    def stop_query(self) -> None:
        """Stop the query."""
        raise InputError(f"no query in this session fills {self.title!r}", fix="stop it where it runs: rta.queries()")  # fmt: skip

    def close(self) -> None:  # noqa: B027 - most feeds have made nothing
        """Remove what the feed has made."""


class OneQuery(Feed):
    """A feed of one query of this session: how it does, and how to stop it."""

    query: StreamingQuery
    figures_apart = True

    def vitals(self) -> Vitals:
        return next_vitals_of(self.query)

    @property
    def state(self) -> State:
        return cast("State", state_of(self.query)[0])

    @property
    def error(self) -> str | None:
        return state_of(self.query)[1]

    def stop_query(self) -> None:
        self.query.stop()


class QueryFeed(OneQuery):
    """A query that fills no table of rta: its newest micro-batches."""

    kind = "query"
    mode: Mode = "append"

    def __init__(self, query: StreamingQuery) -> None:
        self.query, self.title = query, query.name or str(query.id)
        self._seen: object = None

    def rows(self, limit: int) -> Rows | None:
        import pandas as pd

        progress = self.query.recentProgress[-limit:]
        seen = [(each["batchId"], each["timestamp"]) for each in progress[-1:]]
        if seen == self._seen:
            return None
        self._seen = seen
        types = {
            "batch": "number", "at": "time", "rows": "number", "rows_per_second": "number", "milliseconds": "number",
            "watermark": "time",
        }  # fmt: skip
        found = [
            (
                each["batchId"], each["timestamp"], each["numInputRows"], each["processedRowsPerSecond"],
                each["durationMs"].get("triggerExecution"), each.get("eventTime", {}).get("watermark"),
            )
            for each in reversed(progress)
        ]  # fmt: skip
        return Rows(pd.DataFrame(found, columns=list(types)), types, total=None)


class TableFeed(Feed):
    """A serving table or the view of an architecture, by name; whichever process fills it."""

    kind = "table"
    figures_apart = True

    def __init__(self, name: str) -> None:
        self.table: Table = serving_tables.table(name)
        self.title = name
        self._seen: object = None
        self._total: int | None = None
        self._count_after, self._exact = 0.0, True  # whether the rows are as many as was told
        self._sure = 0.0  # until when it is taken to run
        self._here: Sequence[StreamingQuery | EngineQuery] = ()  # the queries that filled it last
        self._left = False  # whether Flink goes on without a process that fills it
        moments = [c.name for c in self.table.columns if c.name in self.table.key and c.dataType.typeName() in ("timestamp", "date")]  # fmt: skip
        # The newest window first; a table whose key has no time is sorted by its key.
        self._order = [f"-{each}" for each in moments] + [
            k for k in self.table.key if k not in moments
        ]

    def rows(self, limit: int) -> Rows | None:
        seen = (views.written(self.table), limit)
        if seen == self._seen and (self._exact or time.monotonic() < self._count_after):
            return None
        self._seen = seen
        frame = serving.read(self.title, order_by=self._order, limit=limit)
        total, self._exact = (len(frame), True) if len(frame) < limit else self._counted()
        return Rows(frame, types_of(self.table.columns), self.table.key, total)

    def _counted(self) -> tuple[int | None, bool]:
        """Return how many rows there are, and whether they were counted now: of a large table that takes longer than to read some."""
        began = time.monotonic()
        if began < self._count_after:
            return self._total, False
        self._total = _count(self.table)
        self._count_after = time.monotonic() + max(_COUNTED, 10 * (time.monotonic() - began))
        return self._total, True

    def _parts(self) -> Sequence[str]:
        view = views.find(self.title) if self.table.view else None
        return view.parts if view else [self.title]

    def history(self) -> list[Vitals]:
        return history_of(self._stream())

    def _stream(self) -> StreamingQuery | EngineQuery | str:
        here = self.queries()
        return here[-1] if here else self.title

    def listed(self, what: str) -> tuple[pd.DataFrame, str]:
        import pandas as pd

        from rta.dlq import dead_letters
        from rta.engines import late

        if what == "late":
            return late(self.title), f"rta.late({self.title!r}) has all of them"
        if what == "quarantined" and self.table.topic:
            found = [
                [each.origin, each.kafka_timestamp, each.reason, each.value]
                for topic in self.table.topics
                for each in dead_letters(topic)
            ]
            frame = pd.DataFrame(
                found[::-1], columns=["origin", "kafka_timestamp", "reason", "value"]
            )
            send = " and ".join(f"rta.dlq.redrive({topic!r})" for topic in self.table.topics)
            return frame, f"of topic {self.table.topic}; {send} sends them again"
        if what == "duplicate":
            return pd.DataFrame(), "duplicates are counted, not kept: their first copy is used"
        return super().listed(what)

    def queries(self) -> Sequence[StreamingQuery | EngineQuery]:
        """Return the queries of this session that fill it."""
        session, parts = running(), set(self._parts())
        sparks = [each for each in session.streams.active if each.name in parts] if session else []
        return [*sparks, *(each for each in self._others() if each.isActive)]

    def _others(self) -> list[EngineQuery]:
        """Return the queries of this session on another engine."""
        return [
            engine_query.running[part] for part in self._parts() if part in engine_query.running
        ]

    def vitals(self) -> Vitals:
        return next_vitals_of(self._stream())

    @property
    def state(self) -> State:
        # All queries are looked for once these are gone: to find one asks Spark nine times.
        if not any(each.isActive for each in self._here):
            self._here = self.queries()
        if self._here:
            self._left = False
            return "running"
        if time.monotonic() < self._sure:
            return "running"
        if self.error:
            return "failed"
        parts = set(self._parts())
        held = {table: each for table, each in (spark_held() | engines_held(parts)).items() if table in parts and each.active}  # fmt: skip
        self._left = any(each.left for each in held.values())
        if any(each.process != os.getpid() for each in held.values()):
            # Of another process: its lock is not looked at four times a second.
            self._sure = time.monotonic() + _LOCKS
        return "running" if held else "stopped"

    @property
    def error(self) -> str | None:
        failed = [error for each in self._others() if (error := each.exception())]
        return str(failed[0]) if failed else None

    def verdict(self, history: Sequence[Vitals], state: str) -> Verdict:
        return WITHOUT_ITS_KERNEL if state == "running" and self._left else super().verdict(history, state)  # fmt: skip

    def stop_query(self) -> None:
        if not (here := self.queries()):
            super().stop_query()
        for query in here:
            query.stop()

    def restart(self) -> None:
        from rta.engines.following import restart

        restart(self.title)


class ArchitectureFeed(TableFeed):
    """The answer of a batch, Lambda or Kappa architecture."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture.table)
        self.architecture, self.kind = architecture, architecture.architecture  # type: ignore[misc]

    def queries(self) -> Sequence[StreamingQuery | EngineQuery]:
        return [query for query in self.architecture.queries if query.isActive]

    def stop_query(self) -> None:
        self.architecture.stop()

    def restart(self) -> None:
        self.architecture.started()


def _count(table: Table) -> int | None:
    """Count the rows of a table."""
    import sqlalchemy as sa

    engine = database.engine()
    described = relation(table, engine.dialect.name)
    with database.reading(engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(described)).scalar_one())  # fmt: skip
