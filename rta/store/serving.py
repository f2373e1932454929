"""The serving layer: write a micro-batch exactly once, read a table while it is written.

Tables and the ledger are in SQLite by default, in PostgreSQL if RTA_DATABASE_URL says so. `on` takes the engine of another
database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING, Any

from rta.errors import InputError, TableError
from rta.store import database, late_rows, ledger, upserts, views
from rta.store.binding import bind, column_value, is_list
from rta.store.catalog import relation
from rta.store.columns import decode, guess, moments, series, unmarked
from rta.store.ledger import Accounting, Batch, summed
from rta.store.nested import NESTED, arrow_schema, arrow_value
from rta.store.serving_tables import Table, ensure, lookup, table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import sqlalchemy as sa
    from pyspark.sql.types import StructField
    from sqlalchemy import Engine

    from rta.store.expiry import Expiry


def commit_batch(
    engine: Engine,
    table: Table,
    batch: Batch | Sequence[Batch],
    rows: Iterable[Any],
    late: Mapping[str, pa.Table] | None = None,
    *,
    whole: bool = False,
    expiry: Expiry | None = None,
) -> bool:
    """Write a micro-batch's rows, its late events and its ledger entries in one transaction: all, or nothing.

    The first micro-batch of a query makes the table, in the same transaction: there is no table before there is a result.

    Args:
        engine: The database.
        table: The table, planned or made.
        batch: The ledger's entry, or those of its topics.
        rows: See upsert(). They are read inside the transaction, so have them ready: other writers wait meanwhile.
        late: topic → the places of its late events, see rta.store.late_rows.keep().
        whole: Whether the rows are the whole table, so that those before them go.
        expiry: Which rows are too old afterwards, and deleted.

    Returns:
        False if (query_id, batch_id) is in the ledger already: then nothing is written.

    Raises:
        TableError: As upsert(); then nothing is written.

    >>> from pyspark.sql.types import StructType
    >>> from rta.store.serving_tables import planned
    >>> pages = planned("pages", StructType().add("page", "string").add("n", "long"), ["page"])
    >>> batch = Batch("a-query", 0, "clicks", end_offsets={0: 5}, consumed=5, used=5)
    >>> commit_batch(database.engine(), pages, batch, [("home", 5)])
    True
    >>> commit_batch(database.engine(), pages, batch, [("home", 5)])
    False
    >>> ledger.offsets("pages")
    {'clicks': {0: 5}}
    """
    entries = [batch] if isinstance(batch, Batch) else batch
    # A table that is gone later was dropped: a new one would lack its rows.
    first = entries[0].batch_id == 0
    with database.writing(engine, ddl=first) as connection:
        if not all(ledger.enter(connection, table.name, entry) for entry in entries):
            return False
        if first:
            ensure(connection, table)
        if whole:
            connection.execute(relation(table, engine.dialect.name).delete())
        ledger.count_rows(connection, entries[0], upserts.upsert(connection, table, rows))
        noted = 0
        for entry in entries:
            if places := (late or {}).get(entry.topic):
                late_rows.keep(connection, table.name, entry, places, first=noted)
                noted += len(places)
        if expiry:
            expiry.apply(connection, table, entries[0].watermark)
        return True


def accounting(
    name: str | None = None,
    *,
    query_id: str | None = None,
    run_id: str | None = None,
    topic: str | None = None,
    on: Engine | None = None,
) -> Accounting:
    """Sum where the events of a table, a view, a query, a run or a topic went, or all events.

    Args:
        name: A table, or the view of an architecture.
        query_id: Spark's id of a query.
        run_id: The run of a job.
        topic: One of the topics of a query that reads several.
        on: The database; by default the one of the settings.

    Raises:
        TableError: There is no table of this name; the message lists those that there are.

    >>> accounting("no_such_table")
    Traceback (most recent call last):
    rta.errors.TableError: there is no serving table 'no_such_table'; found: ...
    """
    if name is None:
        return summed(query_id=query_id, run_id=run_id, topic=topic, on=on)
    found = table(name, on=on)
    view = views.find(found.name, on=on) if found.view else None
    parts = view.parts if view else [found.name]
    return summed(*parts, query_id=query_id, run_id=run_id, topic=topic, on=on)


def read(
    name: str,
    *,
    where: Mapping[str, Any] | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
    on: Engine | None = None,
) -> pd.DataFrame:
    """Read a table as it is at one moment, sorted by its key, with Spark's types.

    Args:
        name: The table, or the view of an architecture.
        where: Column → value, or a list of values, one of which it has; None means null. Values may be NumPy's and pandas', and must
            have the column's type; a moment needs its zone.
        order_by: Columns, with a '-' before a descending one.
        limit: The most rows to read.
        on: The database; by default the one of the settings.

    Returns:
        DECIMAL as Decimal, TIMESTAMP in UTC with microseconds, integers as Int64 if they may be null.

    Raises:
        TableError: There is no such table.
        InputError: A column is unknown, or its value cannot be in that column.

    >>> from pyspark.sql.types import StructType
    >>> from rta.store.serving_tables import make, planned
    >>> _ = make(planned("hits", StructType().add("page", "string").add("n", "long"), ["page"]))
    >>> read("hits", where={"page": "home"}).dtypes.to_dict()
    {'page': dtype('O'), 'n': Int64Dtype()}
    """
    import pandas as pd

    found, values = _read(name, where, order_by, limit, on)
    return pd.DataFrame(
        {
            field.name: series(each, field.dataType.typeName(), nullable=field.nullable)
            for field, each in zip(found.columns, values, strict=True)
        }
    )


def read_arrow(
    name: str,
    *,
    where: Mapping[str, Any] | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
    on: Engine | None = None,
) -> pa.Table:
    """Read a table as Arrow, for Polars, DuckDB and all that speak it: decimals, moments, arrays, maps and structs have their types.

    The arguments and errors are those of read().

    >>> from pyspark.sql.types import StructType
    >>> from rta.store.serving_tables import make, planned
    >>> _ = make(planned("paid", StructType().add("page", "string").add("euros", "decimal(9,2)"), ["page"]))
    >>> read_arrow("paid").schema.field("euros").type
    Decimal128Type(decimal128(9, 2))
    """
    import pyarrow as pa

    found, values = _read(name, where, order_by, limit, on)
    schema = arrow_schema(found.columns)
    columns = [
        pa.array(
            [arrow_value(c.dataType, each) for each in column]
            if c.dataType.typeName() in NESTED
            else column,
            schema.field(c.name).type,
        )
        for c, column in zip(found.columns, values, strict=True)
    ]
    return pa.table(columns, schema=schema)


def _read(
    name: str,
    where: Mapping[str, Any] | None,
    order_by: str | Sequence[str] | None,
    limit: int | None,
    on: Engine | None,
) -> tuple[Table, list[list[Any]]]:
    """Read a table: what it is, and the values of each column in their Python types."""
    if not isinstance(where or {}, Mapping):
        raise InputError(
            "where is a mapping: column → value", found=repr(where), fix='give {"column": value}'
        )
    ordering = [order_by] if isinstance(order_by, str) else order_by
    most = None if limit is None else index(limit)
    if most is not None and most < 0:
        raise InputError("limit is a number of rows", found=limit, fix="give 0 or more")
    source = on or database.engine()
    with database.reading(source) as connection:  # one moment, also of what a view is made of
        found = lookup(connection, name)
        if found is not None:
            query = _query(found, where or {}, ordering or _sorted_by(found), source.dialect.name)
            rows = connection.execute(query.limit(most)).all()
    found = found or table(name, on=source)  # which says what there is
    return found, [
        decode(f.dataType, each) if found.view or f.dataType.typeName() in NESTED else each
        for f, each in zip(found.columns, _columns(rows, len(found.columns)), strict=True)
    ]


def _query(
    found: Table, where: Mapping[str, Any], order_by: Sequence[str], dialect: str
) -> sa.Select[Any]:
    import sqlalchemy as sa

    described = relation(found, dialect)
    chosen = [column.removeprefix("-") for column in order_by]
    if found.view and dialect == "sqlite":
        for column in {*where, *chosen} & {c.name for c in found.columns} - {*found.key}:
            if found.columns[column].dataType.typeName() == "decimal":
                fix = "read the whole view and choose in pandas; or read the tables it is made of"
                raise InputError(
                    f"SQLite does not compare the merged decimals of {column!r}", fix=fix
                )
    query = sa.select(*(_selected(described.c[c.name], c) for c in found.columns))
    for column, value in where.items():
        query = query.where(_is(_known(described, column), found.columns[column], value, dialect))
    for given, column in zip(order_by, chosen, strict=True):
        known = _known(described, column)
        _require_comparable(found.columns[column])
        query = query.order_by(known.desc() if given.startswith("-") else known)
    return query


def _selected(column: Any, field: StructField) -> Any:
    """Select a column; nested values as the text they are, since a driver's own JSON makes floats of decimals."""
    import sqlalchemy as sa

    nested = field.dataType.typeName() in NESTED
    return sa.cast(column, sa.Text).label(field.name) if nested else column


def _sorted_by(found: Table) -> Sequence[str]:
    """Return the columns by which a table is sorted: its key; without one, all that can be compared."""
    return found.key or [c.name for c in found.columns if c.dataType.typeName() not in NESTED]


def _is(column: Any, field: StructField, given: Any, dialect: str) -> Any:
    """Compare a column with a value, or with each of a list; null is a value like any other."""
    _require_comparable(field)
    values = [column_value(field, each, dialect) for each in (given if is_list(given) else [given])]
    present = column.in_([value for value in values if value is not None])
    return present | column.is_(None) if None in values else present


def _require_comparable(field: StructField) -> None:
    """Refuse a column of JSON: two databases order it in two ways."""
    if field.dataType.typeName() in NESTED:
        fix = (
            f"reach into it by SQL: rta.sql(\"SELECT … WHERE {field.name} ->> 'name' = :value\", …)"
        )
        raise InputError(f"column {field.name!r} is JSON, which is not compared", fix=fix)


def _known(described: Any, column: str) -> Any:
    if column not in described.c:
        names = ", ".join(described.c.keys())
        raise InputError(f"no column {column!r} in {described.name}", fix=f"choose from {names}")
    return described.c[column]


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Turn rows into columns, marked numbers read."""
    if not rows:
        return [[] for _ in range(width)]
    return [[unmarked(value) for value in each] for each in zip(*rows, strict=True)]


def sql(
    query: str, params: Mapping[str, Any] | None = None, *, on: Engine | None = None
) -> pd.DataFrame:
    """Run one SELECT with named parameters (`:name`). Any write is refused.

    Args:
        query: The SELECT. Text in quotes and comments holds no parameters.
        params: Name → str, int, float, Decimal, bool, bytes, date, time, timedelta, a moment with its zone, or what NumPy and pandas call so. None, NaT
            and NA are NULL. A list stands for `(…, …)`, as in `page IN :pages`.
        on: The database; by default the one of the settings.

    Returns:
        Columns are exact, and so is SUM of a DECIMAL. On SQLite, MIN and MAX of a DECIMAL are text, AVG and arithmetic over one are
        floats (on PostgreSQL Decimal), and MAX of a DATE is text.

    Raises:
        TableError: The database refused the query; the message has its reason.
        InputError: A parameter is missing, is not used, or has a type that no database takes.

    >>> sql("SELECT :n + 1 AS n", {"n": 41})
        n
    0  42
    """
    import pandas as pd

    source = on or database.engine()
    statement = bind(query, {} if params is None else params, source.dialect.name)
    with database.reading(source) as connection:
        # PostgreSQL: a cursor takes one SELECT; "COMMIT; DELETE …" would leave the transaction.
        one_only = connection.execution_options(stream_results=source.dialect.name != "sqlite")
        result = one_only.execute(statement)
        if not result.returns_rows:
            raise TableError("the statement returned no rows", fix="give one SELECT")
        names = list(result.keys())
        columns = _columns(result.all(), len(names))
    if source.dialect.name == "sqlite":
        columns = [moments(each) for each in columns]
    typed = [series(each, kind, nullable=null) for each in columns for kind, null in [guess(each)]]
    return pd.concat(typed, axis=1, keys=names) if typed else pd.DataFrame()
