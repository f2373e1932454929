"""List the queries and which of them run, from what their processes have left and the ledger: from any process, without Spark."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rta.engines import engine_tables
from rta.engines.spark.checkpoint_lock import failures_left, working
from rta.html import Facts
from rta.store.rows import own_rows

_NEWEST = """SELECT table_name, topic, query_id, batch_id, watermark, committed_at FROM rta_batches AS one
WHERE batch_id = (SELECT MAX(batch_id) FROM rta_batches WHERE query_id = one.query_id) ORDER BY committed_at, query_id, topic"""


class _Doing:
    """How a query does, of what is known of it."""

    active: bool
    process: int | None
    error: str | None

    @property
    def state(self) -> str:
        """In a word: "running", "failed" or "stopped"."""
        return "running" if self.active else "failed" if self.error else "stopped"

    @property
    def left(self) -> bool:
        """Whether its job goes on without a process that fills the table."""
        return self.active and self.process is None


@dataclass(frozen=True)
class QuerySummary(_Doing):
    """A query that fills a table.

    Args:
        table: The table.
        topic: The topic, or the topics.
        active: Whether it runs.
        process: The id of the process in which it runs; None of a job of Flink that goes on without the one that started it.
        since: When it was started.
        last_batch: Its newest micro-batch; None before the first one, like the fields that follow.
        committed_at: When that micro-batch was committed.
        watermark: The watermark of that micro-batch.
        query_id: Spark's id of the query; of another engine its topic of results.
        engine: The engine that runs it.
        native: Another engine's own address of it; None if that does not run.
        error: Why it has failed; None if it has not, or its JVM was killed.
        progress: What another engine has told of it last.
    """

    table: str
    topic: str | None
    active: bool
    process: int | None
    since: str | None
    last_batch: int | None
    committed_at: datetime | None
    watermark: datetime | None
    query_id: str | None
    engine: str = "spark"
    native: str | None = None
    error: str | None = None
    progress: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __str__(self) -> str:
        batch = "no batch yet" if self.last_batch is None else f"batch {self.last_batch:,}"
        where = f"process {self.process}, since {self.since}" if self.process else f"goes on without the process that started it, at {self.native}"  # fmt: skip
        state = where if self.active else self.state
        on = "" if self.engine == "spark" else f"on {self.engine}, "
        return f"{self.topic or '?'} → {self.table}: {on}{state}, {batch}"


@dataclass(frozen=True)
class Held(_Doing):
    """What is known of the query of a table beside the ledger: the fields are those of QuerySummary."""

    active: bool = False
    process: int | None = None
    since: str | None = None
    engine: str = "spark"
    native: str | None = None
    error: str | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> dict[str, dict[int, int]]:
        """Topic → partition → the offset after the newest event that another engine has counted; empty if it is not known."""
        ends = self.progress.get("endOffset")
        return {self.progress["topic"]: {int(p): end for p, end in ends.items()}} if ends else {}


def queries() -> Facts[QuerySummary]:
    """List the queries of this RTA_HOME and its serving database: running ones first, then by table.

    Example:
        >>> "no_such_table" in [query.table for query in queries()]
        False
    """
    held = spark_held() | engines_held()
    # A batch view is not a query; its id has a space, those of Spark have none. Of several queries of a table the newest counts.
    newest: dict[str, dict[str, Any]] = {}
    for row in own_rows(_NEWEST):
        if " " not in row["query_id"]:
            before = newest.get(row["table_name"])
            same = before and (before["query_id"], before["batch_id"]) == (
                row["query_id"],
                row["batch_id"],
            )
            topic = f"{before['topic']}, {row['topic']}" if before and same else row["topic"]
            newest[row["table_name"]] = {**row, "topic": topic}
    found = []
    known = {table for table, now in held.items() if now.active or now.error}
    for table in {*known, *newest}:
        row, now = newest.get(table, {}), held.get(table, Held())
        found.append(
            QuerySummary(
                table, row.get("topic") or now.progress.get("topic"), now.active, now.process, now.since, row.get("batch_id"), row.get("committed_at"),
                row.get("watermark"), row.get("query_id"), now.engine, now.native, now.error, now.progress,
            )
        )  # fmt: skip
    return Facts(sorted(found, key=lambda query: (not query.active, query.table)), row=_row)


def spark_held() -> dict[str, Held]:
    """Return table → the query of Spark that fills it now, or that has failed.

    >>> "no_such_table" in spark_held()
    False
    """
    failed = {table: Held(error=why) for table, why in failures_left().items()}
    return failed | {lock["table"]: Held(active=True, process=lock["pid"], since=lock["since"]) for lock in working()}  # fmt: skip


def engines_held(tables: Collection[str] | None = None) -> dict[str, Held]:
    """Return table → what is known of its query on an engine beside Spark, of each that such an engine fills or has filled.

    Args:
        tables: Those to look at; by default all.

    >>> "no_such_table" in engines_held()
    False
    """
    known = engine_tables.engine_tables()
    return {table: _held(table, engine) for table, engine in known.items() if tables is None or table in tables}  # fmt: skip


def _held(table: str, engine: str) -> Held:
    """Look at what the process of a query has told, or else at the engine itself."""
    if told := engine_tables.told(table):
        running = told.state == "running"
        more = {"restarts": told.restarts + (told.progress.get("restarts") or 0)}
        return Held(running, told.pid if running else None, told.since, engine, told.native, told.error, {**told.progress, **more})  # fmt: skip
    from rta.engines.flink import cluster

    if (
        engine != "flink" or cluster.status() is None
    ):  # a job of Flink alone goes on without the process that started it
        return Held(engine=engine)
    from rta.engines import portable  # whose imports take a second

    if (job := portable.left(table)) is None:
        return Held(engine=engine)
    return Held(active=True, engine=engine, native=str(job.native), progress=job.progress())


def _row(query: QuerySummary) -> dict[str, object]:
    """Return the cells of a query by column; the id of a process is a name, not a number."""
    known = {name: value for name, value in vars(query).items() if name not in ("error", "progress")}  # fmt: skip
    return known | {"process": query.process and str(query.process)}
