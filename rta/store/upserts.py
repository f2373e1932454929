"""Rows into a serving table by their key, and out of it, in chunks, as fast as the driver goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from rta.errors import TableError
from rta.store.columns import encode, sql_type

if TYPE_CHECKING:
    from pyspark.sql.types import StructField
    from sqlalchemy import Connection, Dialect

    from rta.store.serving_tables import Table

_CHUNK: Final = 10_000


def upsert(
    connection: Connection,
    table: Table,
    rows: pa.Table | Iterable[Sequence[Any]],
    *,
    growing: str | None = None,
) -> int:
    """Insert rows, or replace those of the same key; return how many were given. A table without a key keeps each row.

    Args:
        connection: The transaction.
        table: The table.
        rows: An Arrow table as its query gives it, or tuples of the table's columns.
        growing: A column; a row is replaced only by one in which it is greater.

    Raises:
        TableError: A key is null, a value would be changed, or two rows have one key: which of them is right would depend on
            their order.

    >>> from pyspark.sql.types import StructType
    >>> from rta.store import database, serving_tables
    >>> counts = StructType().add("page", "string").add("n", "long")
    >>> pages = serving_tables.make(serving_tables.planned("upserted", counts, ["page"]))
    >>> with database.engine().begin() as connection:
    ...     upsert(connection, pages, [("home", 5), ("help", 1)])
    2
    """
    statement = _upsert_statement(table, connection.dialect, growing)
    columns, names = list(table.columns), table.columns.names
    places = [names.index(name) for name in table.key]
    seen: set[Any] = set()
    given = 0
    for chunk in _chunks(rows):
        values = _encoded(connection, columns, chunk)
        given += len(values[0])
        for key in zip(*(values[place] for place in places), strict=True):
            if key in seen:
                raise TableError(
                    f"two rows of one batch have the same key in table {table.name!r}",
                    found=dict(zip(table.key, key, strict=True)),
                    fix="choose a key that identifies one row, or aggregate by it",
                )
            seen.add(key)
        _executed(connection, statement, values)
    return given


def remove(connection: Connection, table: Table, keys: Sequence[Sequence[Any]]) -> int:
    """Remove the rows of these keys, whether they are there or not; return how many keys were given.

    Args:
        connection: The transaction.
        table: The table.
        keys: For each row the values of the columns of the table's key.

    >>> from pyspark.sql.types import StructType
    >>> from rta.store import database, serving_tables
    >>> counts = StructType().add("page", "string").add("n", "long")
    >>> pages = serving_tables.make(serving_tables.planned("removed_from", counts, ["page"]))
    >>> with database.engine().begin() as connection:
    ...     upsert(connection, pages, [("home", 5), ("help", 1)]), remove(connection, pages, [("home",), ("never there",)])
    (2, 2)
    >>> rta.read("removed_from")["page"].to_list()
    ['help']
    """
    quote = connection.dialect.identifier_preparer.quote_identifier
    columns = [table.columns[name] for name in table.key]
    if connection.dialect.name == "sqlite":
        same = " AND ".join(f"{quote(name)} = ?" for name in table.key)
        statement = f"DELETE FROM {quote(table.name)} WHERE {same}"  # noqa: S608 - quoted
    else:
        same = " AND ".join(f"{quote(table.name)}.{quote(name)} = gone.{quote(name)}" for name in table.key)  # fmt: skip
        gone = f"{_arrays_of(columns, connection.dialect)} AS gone ({', '.join(map(quote, table.key))})"  # fmt: skip
        statement = f"DELETE FROM {quote(table.name)} USING {gone} WHERE {same}"  # noqa: S608 - quoted
    for chunk in _chunks(keys):
        _executed(connection, statement, _encoded(connection, columns, chunk))
    return len(keys)


def _encoded(connection: Connection, columns: Iterable[StructField], chunk: Iterable[Any]) -> list[Any]:  # fmt: skip
    """Return columns as the driver stores them."""
    dialect = connection.dialect.name
    return [encode(c, each, dialect) for c, each in zip(columns, chunk, strict=True)]


def _executed(connection: Connection, statement: str, values: list[Any]) -> None:
    """Run a statement for rows that are given as columns."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(statement, list(zip(*values, strict=True)))
    else:
        connection.exec_driver_sql(statement, tuple(list(each) for each in values))


def _arrays_of(columns: Iterable[StructField], dialect: Dialect) -> str:
    """Return rows that are one array a column: one round trip, no temporary table to litter the catalog."""
    types = [sql_type(column.dataType, dialect.name) for column in columns]
    return f"unnest({', '.join(f'%s::{each}[]' for each in types)})"


def _upsert_statement(table: Table, dialect: Dialect, growing: str | None) -> str:
    quote = dialect.identifier_preparer.quote_identifier
    names = table.columns.names
    if dialect.name == "sqlite":
        source = f"VALUES ({', '.join('?' * len(names))})"
    else:
        source = f"SELECT * FROM {_arrays_of(table.columns, dialect)}"  # noqa: S608 - types of ours
    changed = [f"{quote(n)} = excluded.{quote(n)}" for n in names if n not in table.key]
    when = (
        f" WHERE excluded.{quote(growing)} > {quote(table.name)}.{quote(growing)}"
        if growing
        else ""
    )
    insert = f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, names))}) {source}"
    if not table.key:
        return insert
    return f"{insert} ON CONFLICT ({', '.join(map(quote, table.key))}) DO " + (
        f"UPDATE SET {', '.join(changed)}{when}" if changed else "NOTHING"
    )


def _chunks(rows: pa.Table | Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    """Cut rows into chunks: for each column of the table a sequence, or an Arrow array."""
    if isinstance(rows, pa.Table):
        for batch in rows.to_batches(max_chunksize=_CHUNK):
            if batch.num_rows:
                yield [part for column in batch.columns for part in _arrays(column)]
        return
    given = iter(rows)
    while part := list(islice(given, _CHUNK)):
        yield list(zip(*part, strict=True))


def _arrays(column: pa.Array) -> list[pa.Array]:
    """Return an Arrow column, or the fields of a struct with the struct's own nulls in them."""
    return column.flatten() if pa.types.is_struct(column.type) else [column]
