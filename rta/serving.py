"""The serving layer: write a micro-batch exactly once, read a table while it is written.

Tables and the ledger live in SQLite by default, in PostgreSQL by RTA_DATABASE_URL. `on` takes an
engine where another database than that is meant.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rta import database, late_keeping, ledger
from rta.codec import decode, guess, moments, series, timestamp_text, unmarked
from rta.database import DatabaseAwayError, engine
from rta.errors import InputError, TableError
from rta.ledger import Accounting, Batch, batches, offsets, summed
from rta.tables import Table, create, drop, lookup, shown_by, table, tables
from rta.upserts import upsert

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Engine

__all__ = [
    "Accounting",
    "Batch",
    "DatabaseAwayError",
    "Table",
    "accounting",
    "batches",
    "commit_batch",
    "create",
    "drop",
    "engine",
    "offsets",
    "read",
    "sql",
    "summed",
    "table",
    "tables",
    "upsert",
]


def commit_batch(
    engine: Engine, table: Table, batch: Batch, rows: Iterable[Any], late: pa.Table | None = None
) -> bool:
    """Write a micro-batch's rows, its late events and its ledger entry in one transaction: all, or nothing.

    late: see rta.late_keeping.keep().
    Returns False, and writes nothing, where (query_id, batch_id) is in the ledger already.
    `rows` are read inside the transaction, so have them ready: other writers wait meanwhile.
    Raises TableError as `upsert` does; then nothing is written.

    >>> from pyspark.sql.types import StructType
    >>> pages = create("pages", StructType().add("page", "string").add("n", "long"), ["page"])
    >>> batch = Batch("a-query", 0, "clicks", end_offsets={0: 5}, consumed=5, used=5)
    >>> _ = commit_batch(engine(), pages, batch, [("home", 5)])
    >>> commit_batch(engine(), pages, batch, [("home", 5)])
    False
    >>> offsets("pages")
    {'clicks': {0: 5}}
    """
    with database.writing(engine) as connection:
        if not ledger.enter(connection, table.name, batch):
            return False
        ledger.count_rows(connection, batch, upsert(connection, table, rows))
        if late:
            late_keeping.keep(connection, table.name, batch, late)
        return True


def accounting(
    name: str | None = None,
    *,
    query_id: str | None = None,
    run_id: str | None = None,
    on: Engine | None = None,
) -> Accounting:
    """Sum where the events went: of a table, of what a view shows, of a query, a run, or of all.

    Raises TableError that lists the tables there are, if there is none of this name.

    >>> accounting("no_such_table")
    Traceback (most recent call last):
    rta.errors.TableError: there is no serving table 'no_such_table'; found: ...
    """
    if name is None:
        return summed(query_id=query_id, run_id=run_id, on=on)
    found = table(name, on=on)
    parts = shown_by(found.name, on=on) if found.view else [found.name]
    return summed(*parts, query_id=query_id, run_id=run_id, on=on)


def read(
    name: str,
    *,
    where: Mapping[str, Any] | None = None,
    order_by: Sequence[str] | None = None,
    limit: int | None = None,
    on: Engine | None = None,
) -> pd.DataFrame:
    """Read a table as one moment shows it, sorted by its key, each type as Spark has it.

    `where`: column → value; `order_by`: columns, with a '-' before one that falls. DECIMAL comes
    as Decimal, TIMESTAMP in UTC with microseconds, integers as Int64 where they may be null.
    Raises TableError for an unknown table, InputError for an unknown column.

    >>> from pyspark.sql.types import StructType
    >>> _ = create("hits", StructType().add("page", "string").add("n", "long"), ["page"])
    >>> read("hits", where={"page": "home"}).dtypes.to_dict()
    {'page': dtype('O'), 'n': Int64Dtype()}
    """
    import pandas as pd

    source = on or database.engine()
    with database.reading(source) as connection:  # one moment, also of what a view is made of
        found = lookup(connection, name)
        if found is not None:
            query = _query(found, where or {}, order_by or found.key, source.dialect.name)
            rows = connection.execute(query.limit(limit)).all()
    found = found or table(name, on=source)  # which says what there is
    values = _columns(rows, len(found.columns))
    if found.view:
        values = [decode(f.dataType, each) for f, each in zip(found.columns, values, strict=True)]
    return pd.DataFrame(
        {
            field.name: series(each, field.dataType.typeName(), nullable=field.nullable)
            for field, each in zip(found.columns, values, strict=True)
        }
    )


def _query(
    found: Table, where: Mapping[str, Any], order_by: Sequence[str], dialect: str
) -> sa.Select[Any]:
    from rta.catalog import relation

    described = relation(found, dialect)
    chosen = [column.removeprefix("-") for column in order_by]
    if found.view and dialect == "sqlite":
        for column in {*where, *chosen} & {c.name for c in found.columns} - {*found.key}:
            if found.columns[column].dataType.typeName() == "decimal":
                do = "read the whole view and choose in pandas; or read the tables it is made of"
                raise InputError(
                    f"SQLite does not compare the merged decimals of {column!r}", do=do
                )
    query = described.select()
    for column, value in where.items():
        query = query.where(_known(described, column) == value)
    for given, column in zip(order_by, chosen, strict=True):
        known = _known(described, column)
        query = query.order_by(known.desc() if given.startswith("-") else known)
    return query


def _known(described: Any, column: str) -> Any:
    if column not in described.c:
        names = ", ".join(described.c.keys())
        raise InputError(f"no column {column!r} in {described.name}", do=f"choose from {names}")
    return described.c[column]


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Turn rows into columns, marked numbers read."""
    if not rows:
        return [[] for _ in range(width)]
    return [[unmarked(value) for value in each] for each in zip(*rows, strict=True)]


def sql(
    query: str, params: Mapping[str, Any] | None = None, *, on: Engine | None = None
) -> pd.DataFrame:
    """Run one SELECT with named parameters (`:name`); any write is refused.

    Columns are exact, and so is SUM of a DECIMAL. On SQLite MIN and MAX of a DECIMAL come as text,
    AVG and arithmetic over one as floats (on PostgreSQL as Decimal), and MAX of a DATE as text.
    Raises TableError with the database's reason.

    >>> sql("SELECT :n + 1 AS n", {"n": 41})
        n
    0  42
    """
    import pandas as pd
    import sqlalchemy as sa

    source = on or database.engine()
    given = dict(params or {})
    if source.dialect.name == "sqlite":
        given = {name: _bound(value) for name, value in given.items()}
    with database.reading(source) as connection:
        # PostgreSQL: a cursor takes one SELECT; "COMMIT; DELETE …" would leave the transaction.
        one_only = connection.execution_options(stream_results=source.dialect.name != "sqlite")
        result = one_only.execute(sa.text(query), given)
        if not result.returns_rows:
            raise TableError("the statement returned no rows", do="give one SELECT")
        names = list(result.keys())
        values = _columns(result.all(), len(names))
    if source.dialect.name == "sqlite":
        values = [moments(each) for each in values]
    typed = [series(each, kind, nullable=null) for each in values for kind, null in [guess(each)]]
    return pd.concat(typed, axis=1, keys=names) if typed else pd.DataFrame()


def _bound(value: Any) -> Any:
    from decimal import Decimal

    if isinstance(value, dt.datetime):
        return timestamp_text(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else value
