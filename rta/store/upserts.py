"""Rows into a serving table by their key, in chunks, as fast as the driver goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from rta.errors import TableError
from rta.store.columns import encode, sql_type

if TYPE_CHECKING:
    from pyspark.sql.types import StructType
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


def flat_columns(
    schema: StructType, rows: Iterable[Any], chunk: int
) -> Iterator[list[Sequence[Any] | Any]]:
    """Turn Rows, tuples, mappings or an Arrow table of `schema` into its flat columns, some rows at a time.

    Yields a list with a sequence, or an Arrow array, for each column that the table has.

    >>> from pyspark.sql.types import StructType
    >>> pair = StructType().add("a", "long").add("b", "long")
    >>> schema = StructType().add("id", "long").add("pair", pair)
    >>> list(flat_columns(schema, [(1, (2, 3)), {"id": 4}], 10))
    [[(1, 4), (2, None), (3, None)]]
    """
    if hasattr(rows, "to_batches"):
        for batch in cast(Any, rows).to_batches(max_chunksize=chunk):
            if batch.num_rows:
                yield [part for column in batch.columns for part in _arrays(column)]
        return
    flat_rows = _flat_rows(schema, rows)
    while part := list(islice(flat_rows, chunk)):
        yield list(zip(*part, strict=True))


def _arrays(column: Any) -> list[Any]:
    """Return an Arrow column, or the fields of a struct with the struct's own nulls in them."""
    import pyarrow as pa

    return column.flatten() if pa.types.is_struct(column.type) else [column]


def _flat_rows(schema: StructType, rows: Iterable[Any]) -> Iterator[Sequence[Any]]:
    """Turn Rows, tuples or mappings into flat tuples in the schema's order."""
    from pyspark.sql.types import StructType

    widths = [
        len(field.dataType) if isinstance(field.dataType, StructType) else 0 for field in schema
    ]
    names = schema.names
    for row in rows:
        values = [row.get(name) for name in names] if isinstance(row, Mapping) else row
        if len(values) != len(names):
            raise TableError(
                "a row does not fit its table",
                found=f"{len(values)} values",
                fix=f"give {len(names)}: {', '.join(names)}",
            )
        if any(widths):
            values = [
                part
                for value, width in zip(values, widths, strict=True)
                for part in (_parts(value, width) if width else (value,))
            ]
        yield values


def _parts(value: Any, width: int) -> Sequence[Any]:
    if value is None:
        return (None,) * width
    return tuple(value.values()) if isinstance(value, Mapping) else cast(Sequence[Any], value)
