"""An overview of the serving database: its tables and views, and where the events of each went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rta.errors import TableError
from rta.names import checked
from rta.store.ledger import COUNTS, Accounting
from rta.store.rows import from_json, own_rows, rows, sum_of_integers


@dataclass(frozen=True)
class TableSummary:
    """A table, or a view of the tables in `parts`; rows: None if they were not counted."""

    name: str
    topic: str | None
    key: tuple[str, ...]
    parts: tuple[str, ...]
    accounting: Accounting
    rows: int | None = None

    @property
    def kind(self) -> str:
        """Whether it is a table or a view."""
        return "view" if self.parts else "table"


def overview() -> list[TableSummary]:
    """List the tables and views by name, each with its accounting: a view has that of its parts.

    >>> "no_such_table" in [each.name for each in overview()]
    False
    """
    taken = _accounting()
    found = [
        TableSummary(row["name"], row["topic"], tuple(from_json(row["key"])), parts, _sum(taken, parts or (row["name"],)))
        for source, columns in (("tables", ""), ("views", ", served, versions"))
        for row in own_rows(f"SELECT name, topic, key{columns} FROM rta_{source}")  # noqa: S608 - names of ours
        for parts in [_parts(row)]
    ]  # fmt: skip
    return sorted(found, key=lambda each: each.name)


def counted(summary: TableSummary) -> TableSummary:
    """Return the summary with the number of rows that are in the table now."""
    [row] = rows(f'SELECT COUNT(*) AS rows FROM "{checked("table", summary.name)}"')  # noqa: S608 - checked
    return replace(summary, rows=row["rows"])


def summary_of(name: str) -> TableSummary:
    """Return the summary of one table. Raise TableError if there is none; the message lists those that there are."""
    known = {each.name.casefold(): each for each in overview()}
    if found := known.get(name.casefold()):
        return found
    names = ", ".join(each.name for each in known.values()) or "no table at all"
    raise TableError(f"there is no serving table {name!r}", found=names, fix="correct the name")


def _accounting() -> Mapping[str, Accounting]:
    """Sum the ledger over each table."""
    sums = ", ".join(
        f'COALESCE({sum_of_integers()}("{count}"), 0) AS "{count}"' for count in COUNTS
    )
    number = "query_id || ' ' || batch_id"  # a micro-batch has an entry for each of its topics
    flawed = f"CASE WHEN flaw IS NOT NULL THEN {number} END"
    query = f"SELECT table_name, COUNT(DISTINCT {number}) AS batches, COUNT(DISTINCT {flawed}) AS flawed, {sums} FROM rta_batches GROUP BY table_name"  # noqa: S608 - names of ours
    return {
        row.pop("table_name"): Accounting(**{name: int(total) for name, total in row.items()})
        for row in own_rows(query)
    }


def _parts(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tables that a view shows; a table has no parts."""
    return tuple(from_json(row["versions"])[str(row["served"])]["parts"]) if "served" in row else ()


def _sum(taken: Mapping[str, Accounting], tables: tuple[str, ...]) -> Accounting:
    """Add up the accounting of some tables."""
    return Accounting.added(taken.get(table, Accounting()) for table in tables)
