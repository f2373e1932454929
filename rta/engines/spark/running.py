"""List the queries and which of them run, from the locks and the ledger: from any process, without Spark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rta.engines.spark.checkpoint_lock import working
from rta.html import Facts
from rta.store.rows import own_rows

_NEWEST = """SELECT table_name, topic, query_id, batch_id, watermark, committed_at FROM rta_batches AS one
WHERE batch_id = (SELECT MAX(batch_id) FROM rta_batches WHERE query_id = one.query_id) ORDER BY committed_at, query_id, topic"""


@dataclass(frozen=True)
class QuerySummary:
    """A query that fills a table.

    Args:
        table: The table.
        topic: The topic, or the topics.
        active: Whether it runs.
        process: The id of the process in which it runs.
        since: When it was started.
        last_batch: Its newest micro-batch; None before the first one, like the fields that follow.
        committed_at: When that micro-batch was committed.
        watermark: The watermark of that micro-batch.
        query_id: Spark's id of the query.
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

    def __str__(self) -> str:
        batch = "no batch yet" if self.last_batch is None else f"batch {self.last_batch:,}"
        state = f"process {self.process}, since {self.since}" if self.active else "stopped"
        return f"{self.topic or '?'} → {self.table}: {state}, {batch}"


def queries() -> Facts[QuerySummary]:
    """List the queries of this RTA_HOME and its serving database: running ones first, then by table.

    Example:
        >>> "no_such_table" in [query.table for query in queries()]
        False
    """
    locks = {lock["table"]: lock for lock in working()}
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
    for table in {*locks, *newest}:
        lock, row = locks.get(table, {}), newest.get(table, {})
        found.append(
            QuerySummary(
                table, row.get("topic"), table in locks, lock.get("pid"), lock.get("since"),
                row.get("batch_id"), row.get("committed_at"), row.get("watermark"), row.get("query_id"),
            )
        )  # fmt: skip
    return Facts(sorted(found, key=lambda query: (not query.active, query.table)), row=_row)


def _row(query: QuerySummary) -> dict[str, object]:
    """Return the cells of a query by column; the id of a process is a name, not a number."""
    return vars(query) | {"process": query.process and str(query.process)}
