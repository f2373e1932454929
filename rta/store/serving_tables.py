"""Serving tables: made once with a schema and a key, and later found with exactly those."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pyspark.sql.types import StructField, StructType
from sqlalchemy import Connection, Engine

from rta.errors import InputError, TableError
from rta.html import Facts
from rta.names import checked
from rta.store import database
from rta.store.catalog import BATCHES, LATE, RESULTS, TABLES, VIEWS, relation
from rta.store.columns import flat
from rta.store.nested import NESTED


@dataclass(frozen=True)
class Table:
    """A serving table: the schema of the query that fills it, and the columns that identify a row.

    >>> from pyspark.sql.types import StructType
    >>> Table("totals", StructType().add("user_id", "string").add("events", "long"), ("user_id",))
    Table(totals: user_id STRING, events BIGINT; key user_id)
    """

    name: str
    schema: StructType
    key: tuple[str, ...]
    topic: str | None = None  # that fills it; of several, their names with commas
    view: bool = False  # of other tables: see rta.store.views

    @property
    def topics(self) -> list[str]:
        """The topics that fill it."""
        return self.topic.split(", ") if self.topic else []

    @property
    def columns(self) -> StructType:
        """The columns as they are in the database: structs flattened, key columns never null."""
        return StructType(
            [
                StructField(c.name, c.dataType, c.nullable and c.name not in self.key)
                for c in flat(self.schema)
            ]
        )

    def __repr__(self) -> str:
        key = f"key {', '.join(self.key)}" if self.key else "no key"
        return f"Table({self.name}: {_described(self.columns)}; {key})"


def planned(
    name: str,
    schema: StructType,
    key: Sequence[str],
    *,
    topic: str | None = None,
    on: Engine | None = None,
) -> Table:
    """Describe the table that a query is going to fill, or find the one that is there. Nothing is made.

    Args:
        name: The table.
        schema: That of the query's result. Nullability may differ from the first time.
        key: The columns that identify a row; a struct (`window`) stands for its columns. None: rows are only added.
        topic: The topic that the query reads.
        on: The database; by default the one of the settings.

    Raises:
        InputError: The name, the key or a column cannot be that of a table.
        TableError: There is a table of this name with another schema or key.

    >>> from pyspark.sql.types import StructType
    >>> planned("only_planned", StructType().add("page", "string"), key=["page"])
    Table(only_planned: page STRING; key page)
    >>> "only_planned" in [each.name for each in tables()]
    False
    """
    wanted = _wanted(name, schema, key, topic)
    with database.reading(on or database.engine()) as connection:
        if (there := lookup(connection, name)) is not None:
            return _fitting(there, wanted)
        _require_free(connection, name)
    return wanted


def make(table: Table, *, on: Engine | None = None) -> Table:
    """Make a planned table, or find it."""
    with database.writing(on or database.engine()) as connection:
        return ensure(connection, table)


def ensure(connection: Connection, table: Table) -> Table:
    """Make a table inside the transaction of its first rows, or find it."""
    database.lock_names(connection)  # before the lookup: two processes may both be first
    if (there := lookup(connection, table.name)) is not None:
        return _fitting(there, table)
    _require_free(connection, table.name)
    connection.execute(sa.schema.CreateTable(relation(table, connection.dialect.name)))
    entry = {
        "name": table.name, "key": list(table.key), "schema": table.schema.jsonValue(), "topic": table.topic,
        "created_at": dt.datetime.now(dt.UTC),
    }  # fmt: skip
    connection.execute(TABLES.insert().values(entry))
    return table


def _fitting(there: Table, wanted: Table) -> Table:
    """Return the table that is there. Raise TableError if it is not the one that is wanted."""
    if there.view:
        raise TableError(
            f"{wanted.name!r} is a view of other tables: nothing is written to it",
            fix="use another table name",
        )
    for what, old, new in (
        ("name", there.name, wanted.name),
        ("schema", _described(there.columns), _described(wanted.columns)),
        ("key", ", ".join(there.key), ", ".join(wanted.key)),
    ):
        if old != new:
            raise TableError(
                f"table {wanted.name!r} is there with another {what}",
                found=f"{old} there, {new} wanted",
                fix=f"use another table name; rta.reset({wanted.name!r}) would drop this one and its checkpoint",
            )
    return there


def table(name: str, *, on: Engine | None = None) -> Table:
    """Find a serving table or a view by its name.

    Raises:
        TableError: There is no such table; the message lists those that there are.

    >>> table("no_such_table")
    Traceback (most recent call last):
    rta.errors.TableError: there is no serving table 'no_such_table'; found: ...
    """
    engine = on or database.engine()
    with database.reading(engine) as connection:
        found = lookup(connection, name)
    if found is None:
        names = ", ".join(each.name for each in tables(on=engine)) or "no table at all"
        raise TableError(f"there is no serving table {name!r}", found=names, fix="check the name")
    return found


def tables(*, on: Engine | None = None) -> Facts[Table]:
    """List the serving tables and views, by name; a notebook shows them as a table.

    >>> from pyspark.sql.types import StructType
    >>> _ = make(planned("users", StructType().add("user_id", "long"), key="user_id"))
    >>> "users" in [each.name for each in tables()]
    True
    """
    with database.reading(on or database.engine()) as connection:
        found = [
            _from_row(row, view=source is VIEWS)
            for source in (TABLES, VIEWS)
            for row in connection.execute(source.select()).mappings()
        ]
    return Facts(sorted(found, key=lambda each: each.name), row=_row)


def _row(each: Table) -> dict[str, object]:
    """Return the cells of a table by column."""
    kind = "view" if each.view else "table"
    return {"name": each.name, "kind": kind, "key": ", ".join(each.key), "columns": _described(each.columns), "topic": each.topic}  # fmt: skip


def drop(name: str, *, on: Engine | None = None) -> None:
    """Drop a table with its rows and its ledger, in one transaction.

    A query that fills it must start again from a new checkpoint: the old one holds its offsets.

    Raises:
        TableError: There is no such table.

    >>> from pyspark.sql.types import StructType
    >>> _ = make(planned("to_drop", StructType().add("user_id", "long"), key="user_id"))
    >>> drop("to_drop")
    >>> "to_drop" in [each.name for each in tables()]
    False
    """
    engine = on or database.engine()
    gone = table(name, on=engine)
    if gone.view:
        fix = f"use rta.architectures.drop({name!r}), which drops its tables, too"
        raise TableError(f"{name!r} is a view", fix=fix)
    with database.writing(engine, ddl=True) as connection:
        forget(connection, gone.name)
        connection.execute(sa.schema.DropTable(relation(gone, engine.dialect.name), if_exists=True))


def forget(connection: Connection, name: str) -> None:
    """Delete what rta's own tables keep about a table. The late events of a view's version stay: they say what corrected them."""
    for named in (TABLES.c.name, BATCHES.c.table_name, RESULTS.c.table_name):
        connection.execute(named.table.delete().where(named == name))
    own = (LATE.c.table_name == name) & LATE.c.view_name.is_(None)
    connection.execute(LATE.delete().where(own))


def _wanted(name: str, schema: StructType, key: Sequence[str], topic: str | None) -> Table:
    if checked("table", name).casefold().startswith(("rta_", "sqlite_", "pg_")):
        raise InputError(f"table {name!r} is not free", fix="begin with another word")
    columns = flat(schema)
    names: list[str] = []
    for given in [key] if isinstance(key, str) else key:
        inner = schema[given].dataType if given in schema.names else None
        parts = inner.names if isinstance(inner, StructType) else None
        names += [given] if parts is None else [f"{given}_{part}" for part in parts]
    if len(set(names)) < len(names) or not set(names) <= set(columns.names):
        fix = f"choose from {', '.join(columns.names)}, each once"
        raise InputError(f"the key of table {name!r} is wrong", found=names, fix=fix)
    for each in names:
        if columns[each].dataType.typeName() in ("float", "double"):
            fix = "cast it to DECIMAL: equal floats are an accident"
            raise InputError(f"key column {each!r} is a float", fix=fix)
        if columns[each].dataType.typeName() in NESTED:
            fix = "take the parts that identify a row as columns of their own"
            raise InputError(
                f"key column {each!r} is an array, a map, a struct or a variant", fix=fix
            )
    bare = json.loads(schema.json(), object_hook=_without_metadata)
    return Table(name, StructType.fromJson(bare), tuple(names), topic)


def _without_metadata(node: dict[str, Any]) -> dict[str, Any]:
    """Forget what Spark notes in a column, such as the watermark: it is no part of what a table is."""
    return node | {"metadata": {}} if "metadata" in node else node


def lookup(connection: Connection, name: str) -> Table | None:
    """Find a serving table or a view inside a transaction; None if there is none."""
    for source in (TABLES, VIEWS):
        # Without regard to case, as SQLite's own names are: "Totals" and "totals" are one table there.
        same = sa.func.lower(source.c.name) == checked("table", name).lower()
        found = connection.execute(source.select().where(same)).mappings().one_or_none()
        if found is not None:
            return _from_row(found, view=source is VIEWS)
    return None


def _from_row(row: Any, *, view: bool) -> Table:
    schema = StructType.fromJson(row["schema"])
    return Table(row["name"], schema, tuple(row["key"]), row["topic"], view)


def _require_free(connection: Connection, name: str) -> None:
    """Refuse the name of a table that somebody else has made."""
    if sa.inspect(connection).has_table(name):
        fix = "use another table name"
        raise TableError(f"a table {name!r} that is not rta's is there", fix=fix)


def _described(columns: StructType) -> str:
    return ", ".join(f"{c.name} {c.dataType.simpleString().upper()}" for c in columns)
