"""Rows into a serving table by their key, in chunks, as fast as the driver goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from rta.errors import TableError
from rta.store.codec import encode
from rta.store.column_types import flat_columns, sql_type

if TYPE_CHECKING:
    from sqlalchemy import Connection, Dialect

    from rta.store.serving_tables import Table

_CHUNK: Final = 10_000


def upsert(
    connection: Connection, table: Table, rows: Iterable[Any], *, growing: str | None = None
) -> int:
    """Insert rows, or replace those of the same key; return how many were given.

    `rows`: Spark Rows, tuples in the schema's order, mappings, or an Arrow table.
    growing: a column; a row is replaced only by one in which it is greater.
    Raises TableError for a null in the key, a value that would be changed, and for two rows
    of one key: which of them is right would depend on their order.

    >>> from pyspark.sql.types import StructType
    >>> from rta.store import serving
    >>> counts = StructType().add("page", "string").add("n", "long")
    >>> pages = serving.create("upserted", counts, ["page"])
    >>> with serving.engine().begin() as connection:
    ...     upsert(connection, pages, [("home", 5), ("help", 1)])
    2
    """
    dialect = connection.dialect.name
    statement = _upsert_statement(table, connection.dialect, growing)
    columns, names = list(table.columns), table.columns.names
    places = [names.index(name) for name in table.key]
    seen: set[Any] = set()
    count = 0
    for chunk in flat_columns(table.schema, rows, _CHUNK):
        values = [encode(c, each, dialect) for c, each in zip(columns, chunk, strict=True)]
        count += (here := len(values[0]))
        keys = list(zip(*(values[place] for place in places), strict=True))
        seen.update(keys)
        if len(seen) != count:
            raise TableError(
                f"two rows of one batch have the same key in table {table.name!r}",
                found=dict(zip(table.key, _repeated(keys, here), strict=True)),
                fix="choose a key that names one row, or aggregate by it",
            )
        if dialect == "sqlite":
            connection.exec_driver_sql(statement, list(zip(*values, strict=True)))
        else:
            connection.exec_driver_sql(statement, tuple(list(each) for each in values))
    return count


def _repeated(keys: list[Any], length: int) -> Any:
    seen: set[Any] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return keys[length - 1]


def _upsert_statement(table: Table, dialect: Dialect, growing: str | None) -> str:
    quote = dialect.identifier_preparer.quote_identifier
    names = table.columns.names
    if dialect.name == "sqlite":
        source = f"VALUES ({', '.join('?' * len(names))})"
    else:
        # One array a column: one round trip, no temporary table to litter the catalog.
        types = [sql_type(column.dataType, dialect.name) for column in table.columns]
        source = f"SELECT * FROM unnest({', '.join(f'%s::{each}[]' for each in types)})"  # noqa: S608 - types of ours
    changed = [f"{quote(n)} = excluded.{quote(n)}" for n in names if n not in table.key]
    when = (
        f" WHERE excluded.{quote(growing)} > {quote(table.name)}.{quote(growing)}"
        if growing
        else ""
    )
    return (
        f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, names))}) {source} "
        f"ON CONFLICT ({', '.join(map(quote, table.key))}) DO "
        + (f"UPDATE SET {', '.join(changed)}{when}" if changed else "NOTHING")
    )
